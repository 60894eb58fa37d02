//! Tools that code in a sandbox can call: those of the manifest before it that leave nothing.

use std::sync::Arc;

use plumbline::{Effect, Tool};

use crate::failure::{Failure, Kind, Result};
use crate::settings::nearest;

/// The tools that a sandbox's code can call, by name.
pub(super) fn called(
    names: &[String],
    tools: &[Arc<dyn Tool>],
    stateful: &[String],
) -> Result<Vec<Arc<dyn Tool>>> {
    let find = |name: &String| {
        let found = tools.iter().find(|tool| tool.spec().name == *name);
        if found.is_some_and(|tool| tool.effect() == Effect::External) {
            let message = format!(
                "the tool python calls {name:?}, whose effect is external: a replay of the \
                 code could not take its answers from the record"
            );
            return Err(Failure::say(Kind::Input, message));
        }
        if stateful.contains(name) {
            let message = format!(
                "the tool python calls {name:?}, whose effect is stateful: what it keeps \
                 would be lost"
            );
            return Err(Failure::say(Kind::Input, message));
        }
        found.cloned().ok_or_else(|| {
            let before = tools.iter().map(|tool| tool.spec().name.as_str());
            let hint = nearest(name, before)
                .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let message = format!(
                "the tool python calls {name:?}, but no tool before it in the manifest is \
                 called that{hint}"
            );
            Failure::say(Kind::Input, message)
        })
    };
    names.iter().map(find).collect()
}
