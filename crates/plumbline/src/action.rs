//! What a model's message asks for, once a [protocol](crate::protocol) has read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call of one tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id the model gave the call, or `call_<index>` where its protocol has none.
    pub id: String,
    /// The tool's name as the model wrote it; it need not exist.
    pub tool: String,
    /// The arguments as the model wrote them; they need not fit the tool's schema.
    pub args: Value,
}

/// What one assistant message does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Action {
    /// Calls tools, in order. Never empty.
    Calls {
        /// The calls of this message.
        calls: Vec<ToolCall>,
    },
    /// Answers, which ends the episode.
    Answer {
        /// The answer, trimmed.
        text: String,
    },
    /// Neither: the protocol could not read the message.
    Malformed {
        /// What was wrong, in words the model is shown.
        reason: String,
    },
}

impl Action {
    /// The calls of the message; empty for an answer and for a malformed message.
    pub fn calls(&self) -> &[ToolCall] {
        match self {
            Action::Calls { calls } => calls,
            Action::Answer { .. } | Action::Malformed { .. } => &[],
        }
    }
}
