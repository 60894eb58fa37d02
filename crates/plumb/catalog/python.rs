//! Python in a sandbox, compiled once.

use std::path::PathBuf;
use std::sync::Arc;

use plumbline::Tool;
use plumbline_wasm::{Progress, Python, PythonError, PythonSettings};

use super::cache_dir;
use crate::failure::{Blame, Failure, Kind, Result};

/// Memory for interpreters at rest: siblings of a fork find theirs there.
const STATES_BYTES_MAX: usize = 1 << 30;

pub(super) async fn tool(
    files: Option<PathBuf>,
    preload: Option<Vec<String>>,
    calls: Vec<Arc<dyn Tool>>,
    json: bool,
) -> Result<Arc<dyn Tool>> {
    let cache = cache_dir()?;
    let settings = PythonSettings {
        artefact: cache.join("python"),
        cache: cache.join("sandbox"),
        files,
        preload: preload.unwrap_or_else(|| vec!["numpy".to_owned(), "pandas".to_owned()]),
        states_bytes_max: STATES_BYTES_MAX,
    };
    let opened = tokio::task::spawn_blocking(move || {
        let bar = std::sync::OnceLock::new();
        // Twice the seconds it takes on a quiet machine of two cores: nobody knows the end.
        let bar_of = || {
            bar.get_or_init(|| {
                crate::progress::Progress::new("compiling Python, once (s)", 180, json)
            })
        };
        let opened = Python::open(&settings, calls, &|progress| match progress {
            Progress::Waiting => {
                bar_of().set(0, |_| "waiting for another process".into())
            }
            Progress::Compiling { seconds } => bar_of().set(seconds, |_| String::new()),
            Progress::Starting => bar_of().set(180, |_| "importing".into()),
        });
        if let Some(bar) = bar.get() {
            bar.finish();
        }
        opened
    })
    .await
    .blame(Kind::External)?;
    let python = opened.map_err(|error| {
        let kind = match &error {
            PythonError::Missing { .. } => Kind::Missing,
            PythonError::WrongHash { .. } | PythonError::Unreadable { .. } => Kind::Input,
            _ => Kind::External,
        };
        Failure::new(kind, error)
    })?;
    Ok(Arc::new(python))
}
