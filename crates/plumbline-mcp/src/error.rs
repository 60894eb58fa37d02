//! What keeps a server's tools from becoming ours.

/// Why a server cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// Nobody answers, or not in MCP.
    #[error("MCP server {server}: {message}")]
    Unreachable {
        /// The server: its command or its address.
        server: String,
        /// What happened.
        message: String,
    },
    /// What it offers cannot be used.
    #[error("MCP server {server}: {message}")]
    Tools {
        /// The server.
        server: String,
        /// What is wrong and what would be right.
        message: String,
    },
}
