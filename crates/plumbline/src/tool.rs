//! The seam to everything an agent can do.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Digest, Limits, Observation, Scratch};

/// What a tool is called, what it does, what it takes, and which data it answers from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// What the model calls it: 1 to 64 letters, digits, `_`, `-` and `.`; lower-case, unless
    /// somebody else chose it.
    pub name: String,
    /// What the model is told it does.
    pub description: String,
    /// JSON Schema of the arguments: an object.
    pub parameters: Value,
    /// Digest of the data and settings the answers depend on, besides the arguments.
    pub pinned: Digest,
}

/// What a tool's answers rest on, and so how a record of them is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Arguments and pinned data alone. The scratch is left as it was.
    Pure,
    /// The scratch as well. Executed again from the same state, a call comes to the same.
    Stateful,
    /// A world that nobody can put back. A replay takes what was recorded, nothing is cached,
    /// and the scratch is left as it was.
    External,
}

/// Something an agent can call.
///
/// An answer is a function of arguments, scratch, limits and the data pinned in the spec.
/// A tool keeps no state between calls: all of it goes into `scratch`. Work that blocks
/// belongs in `spawn_blocking` or on a thread of the tool's own.
#[async_trait]
pub trait Tool: Send + Sync {
    /// The tool's spec, the same for as long as the tool lives.
    fn spec(&self) -> &ToolSpec;

    /// What its answers rest on, the same for as long as the tool lives.
    fn effect(&self) -> Effect {
        Effect::Stateful
    }

    /// Permits for calls that are answered at once, where there is a bound. Whoever calls holds
    /// one ([`turn`]); the wait for it is no part of the call's time.
    fn turns(&self) -> Option<&Semaphore> {
        None
    }

    /// Gives up whatever it keeps running between calls: the next one is answered from a fresh
    /// start, which makes no difference but time.
    fn forget(&self) {}

    /// Answers one call. The arguments fit the spec's schema: the episode has checked. What
    /// the model got wrong in spite of that is an `Ok` with an [`Observation::Fault`]; an
    /// `Err` aborts the branch. Dropping the future cancels the call.
    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError>;
}

/// Waits until a tool has time for a call.
pub async fn turn(tool: &dyn Tool) -> Option<SemaphorePermit<'_>> {
    Some(tool.turns()?.acquire().await.expect("nobody closes it"))
}

/// A failure of the tool itself, which ends the branch: never the model's doing.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The tool's own engine failed.
    #[error("tool {tool}: {message}")]
    Engine {
        /// The tool's name.
        tool: String,
        /// What failed.
        message: String,
    },
    /// The machine failed it: disk, memory.
    #[error("tool {tool}: {message}")]
    Host {
        /// The tool's name.
        tool: String,
        /// What failed.
        message: String,
    },
}
