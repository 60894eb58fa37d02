//! The state that tools leave behind: all of it, so that a branch can be cloned, compared
//! and replayed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::Digest;

/// All state of an episode's tools, by a key that a tool chooses (its own name, as a rule),
/// and under `inputs` what the task gave them.
///
/// Cloning is cheap and makes a fork: a change to one is not seen by the other. Two
/// scratches are the same state exactly if their digests agree. Whatever a tool keeps
/// outside (a live interpreter, a copied database) is a cache keyed by that digest.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    entries: Arc<BTreeMap<String, Value>>,
    digest: Option<Digest>,
}

static EMPTY: LazyLock<Digest> = LazyLock::new(|| digest(&BTreeMap::new()));

/// The key of what the task gives the tools.
const INPUTS: &str = "inputs";

impl Scratch {
    /// The state before the first step of a task: what it gives the tools, and nothing else.
    pub fn of_inputs(inputs: &Value) -> Self {
        let mut scratch = Self::default();
        if !inputs.is_null() {
            scratch.set(INPUTS, inputs.clone());
        }
        scratch
    }

    /// What the task gives the tools, [`Task::inputs`](crate::Task); `null` where nothing is.
    pub fn inputs(&self) -> &Value {
        self.get(INPUTS).unwrap_or(&Value::Null)
    }

    /// What is kept under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// Keeps a value under a key, in place of what was there.
    pub fn set(&mut self, key: &str, value: Value) {
        Arc::make_mut(&mut self.entries).insert(key.to_owned(), value);
        self.digest = Some(digest(&self.entries));
    }

    /// The digest of the whole state.
    pub fn digest(&self) -> Digest {
        self.digest.unwrap_or(*EMPTY)
    }
}

fn digest(entries: &BTreeMap<String, Value>) -> Digest {
    Digest::of_json(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_is_independent_and_the_digest_tells_states_apart() {
        let mut one = Scratch::default();
        let empty = one.digest();
        one.set("cells", serde_json::json!(["x = 1"]));
        let mut two = one.clone();
        assert_eq!(one.digest(), two.digest());
        two.set("cells", serde_json::json!(["x = 2"]));
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.get("cells"), Some(&serde_json::json!(["x = 1"])));
        assert_ne!(one.digest(), empty);
        assert_eq!(Scratch::of_inputs(&Value::Null).digest(), empty);
        let inputs = serde_json::json!({ "database": "rivers" });
        let given = Scratch::of_inputs(&inputs);
        assert_eq!((given.inputs(), given.digest() == empty), (&inputs, false));
    }
}
