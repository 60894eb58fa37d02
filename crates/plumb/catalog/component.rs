//! Components of other people's: opened by what the manifest says of them.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use plumbline::{Bundle, Limits, Tool, Verifier};
use plumbline_wasm::{ComponentError, ComponentSettings, Components, Grants};

use super::cache_dir;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::{GuestManifest, ToolManifest};

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
    let ToolManifest::Wasm { component, effect, files, clock, randomness, name } = tool
    else {
        unreachable!("{tool:?} is no component")
    };
    let files = Bundle::read(dir, files)
        .map_err(|error| Failure::say(Kind::Input, format!("files: {error}")))?;
    let settings = ComponentSettings {
        path: dir.join(component),
        effect: *effect,
        grants: Grants { clock: *clock, randomness: *randomness },
        files: Arc::new(files),
        name: name.clone(),
    };
    let limits = limits.clone();
    let opened = opened(move |components| components.open(&settings, &limits));
    Ok(Arc::new(opened.await?))
}

pub(super) async fn verifier(
    guest: &GuestManifest,
    dir: &Path,
    limits: &Limits,
) -> Result<Box<dyn Verifier>> {
    let GuestManifest::Wasm { component, name } = guest else {
        unreachable!("{guest:?} is no component")
    };
    let (path, name, limits) = (dir.join(component), name.clone(), limits.clone());
    let opened = opened(move |components| {
        components.open_verifier(&path, name.as_deref(), &limits)
    });
    Ok(Box::new(opened.await?))
}

/// Opens something on a thread that may block.
async fn opened<T: Send + 'static>(
    open: impl FnOnce(&Components) -> std::result::Result<T, ComponentError> + Send + 'static,
) -> Result<T> {
    let open = move || {
        let components = COMPONENTS.as_ref();
        let components =
            components.map_err(|message| Failure::say(Kind::External, message))?;
        open(components).map_err(|error| {
            let kind = match &error {
                ComponentError::Component { .. } => Kind::Input,
                _ => Kind::External,
            };
            Failure::new(kind, error)
        })
    };
    tokio::task::spawn_blocking(open).await.blame(Kind::External)?
}
