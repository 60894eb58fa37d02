//! Tools: Python in a sandbox that forks, and any component of the world `plumbline:tool`.
//!
//! [`Python`] runs the code that an agent wrote in CPython, compiled to WebAssembly and run
//! by wasmtime. It sees the files of its task and a scratch folder; no network, no host
//! file, no clock but its own. What it computes is a function of the code, the files and the
//! limits: time, chance and hash seeds are fixed, and limits are counted in units that
//! reproduce.
//!
//! [`Component`] is a tool that somebody else wrote, in any language that becomes a component
//! of the world in `wit/tool.wit`. It is given its arguments and the scratch, and nothing else
//! that is not granted; each call is answered by a fresh instance out of a pool.
//! [`ComponentVerifier`] is a verifier of the world in `wit/verifier.wit`, in the same way.
//!
//! Python's state persists over the calls of an episode, as in a notebook. An interpreter at rest is
//! its linear memory and one pointer, and so it is kept as an image: the next call maps the
//! image copy-on-write, runs, and leaves an image behind. Siblings map the same image, which
//! makes a fork of a live interpreter cost what it touches.
//!
//! ```no_run
//! use plumbline::{Limits, Scratch, Tool};
//! use plumbline_wasm::{Python, PythonSettings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = PythonSettings {
//!     artefact: "cache/python".into(),
//!     cache: "cache/sandbox".into(),
//!     files: None,
//!     preload: vec!["numpy".to_owned(), "pandas".to_owned()],
//!     states_bytes_max: 512 << 20,
//! };
//! let python = Python::open(&settings, vec![], &|_| {})?;
//! let mut scratch = Scratch::default();
//! let args = serde_json::json!({"code": "x = 20"});
//! python.call(&args, &mut scratch, &Limits::default()).await?;
//! let mut fork = scratch.clone();
//! let args = serde_json::json!({"code": "x + 1"});
//! let observation = python.call(&args, &mut fork, &Limits::default()).await?;
//! assert_eq!(observation.data()["echo"], "21");
//! # Ok(())
//! # }
//! ```

mod component;
mod error;
mod python;

mod artefact;
mod cells;
mod door;
mod files;
mod guest;
mod memory;
mod module;
mod pinned;
mod prepared;
mod states;
mod wasi;
mod world;

pub use artefact::find_python;
pub use component::{
    Component, ComponentError, ComponentSettings, ComponentVerifier, Components, Grants,
};
pub use error::{Progress, PythonError};
pub use python::{Python, PythonSettings};
