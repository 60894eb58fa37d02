//! What keeps a component from becoming a tool.

use std::path::PathBuf;

/// Why a component cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// The file is no tool.
    #[error("{}: {message}", path.display())]
    Component {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The engine failed.
    #[error("components: {message}")]
    Engine {
        /// What failed.
        message: String,
    },
}
