//! Tools: those of any MCP server, and ours for any MCP client.
//!
//! [`Server::open`] speaks with a server, over the pipes of a program or over streamable HTTP,
//! and gives a [`Tool`](plumbline::Tool) for each of the server's. Whoever opens it says what
//! their answers rest on ([`Effect`](plumbline::Effect)):
//!
//! * *pure* tools are asked over as many connections as there are calls at once, made anew when
//!   one breaks or hangs;
//! * *stateful* ones keep their state in a server, where nobody can clone it. The scratch holds
//!   the calls made so far instead, and a live server is a cache keyed by them: whoever forks
//!   gets a server of its own that was told the same calls;
//! * *external* ones are asked once, and what they said is in the record.
//!
//! Over pipes, a line that answers nothing (no message, or an answer to what was not asked) ends
//! the call with a fault that shows it, and the server is started afresh.
//!
//! [`serve`] is the reverse: it offers tools to an MCP client over standard input and output.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//!
//! use plumbline::{Effect, Limits};
//! use plumbline_mcp::{Address, Server, ServerSettings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = ServerSettings {
//!     address: Address::Url("http://127.0.0.1:3001/mcp".to_owned()),
//!     effect: Effect::External,
//!     effects: BTreeMap::from([("echo".to_owned(), Effect::Pure)]),
//!     only: None,
//!     prefix: "everything_".to_owned(),
//! };
//! let tools = Server::open(settings, &Limits::default()).await?;
//! assert_eq!(tools[0].spec().name, "everything_echo");
//! # Ok(())
//! # }
//! ```

mod serve;
mod server;

mod answer;
mod error;
mod line;
mod replies;
mod session;
mod tool;

pub use error::McpError;
pub use serve::{Call, serve};
pub use server::{Address, Pipes, Server, ServerSettings, Start};
