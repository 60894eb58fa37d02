//! What keeps a program from becoming a tool or a verifier.

use plumbline::BundleError;

/// Why a program cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program is not there.
    #[error("{program}: no such program in the tool's files or on the PATH")]
    Missing {
        /// What was looked for.
        program: String,
    },
    /// What the manifest says of the program cannot be.
    #[error("command {command}: {message}")]
    Settings {
        /// The command, as it stands there.
        command: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A file cannot be taken along.
    #[error("files: {0}")]
    File(#[from] BundleError),
    /// The program's first line does not say what it is.
    #[error("{command}: {message}{}", heard(stderr))]
    Hello {
        /// The command.
        command: String,
        /// What is wrong and what would be right.
        message: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// The machine failed.
    #[error("{command}: {message}")]
    Host {
        /// The command.
        command: String,
        /// What failed.
        message: String,
    },
}

pub(crate) fn heard(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        said => format!("; it wrote to standard error: {said}"),
    }
}
