//! Components of other people's: opened by what the manifest says of them.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use plumbline::{Limits, Tool};
use plumbline_wasm::{ComponentError, ComponentSettings, Components, Grants};

use super::cache_dir;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::ToolManifest;

/// The engine they all run in: it reserves address space for as many as run at once.
static COMPONENTS: LazyLock<std::result::Result<Components, String>> =
    LazyLock::new(|| {
        let cache = cache_dir().map_err(|failure| failure.message())?.join("components");
        Components::new(&cache).map_err(|error| error.to_string())
    });

pub(super) async fn tool(
    tool: &ToolManifest,
    dir: &Path,
    limits: &Limits,
) -> Result<Arc<dyn Tool>> {
    let ToolManifest::Wasm { component, effect, clock, randomness, name } = tool else {
        unreachable!("{tool:?} is no component")
    };
    let settings = ComponentSettings {
        path: dir.join(component),
        effect: *effect,
        grants: Grants { clock: *clock, randomness: *randomness },
        name: name.clone(),
    };
    let limits = limits.clone();
    let open = move || {
        let components = COMPONENTS.as_ref();
        let components =
            components.map_err(|message| Failure::say(Kind::External, message))?;
        components.open(&settings, &limits).map_err(|error| {
            let kind = match &error {
                ComponentError::Component { .. } => Kind::Input,
                _ => Kind::External,
            };
            Failure::new(kind, error)
        })
    };
    let opened = tokio::task::spawn_blocking(open).await.blame(Kind::External)?;
    Ok(Arc::new(opened?))
}
