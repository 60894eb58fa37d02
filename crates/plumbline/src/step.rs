//! A step: one assistant message and everything it triggers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Action, Digest};

/// What the messages of guests that broke begin with.
const BROKEN: &str = "the tool broke: ";
/// What the messages of guests that say or keep too much begin with.
const EXCESS: &str = "too large: ";

/// One assistant message, as a [policy](crate::Policy) proposed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The message, byte for byte.
    pub text: String,
    /// What the message asks for.
    pub action: Action,
    /// The seed it was sampled with.
    pub seed: u64,
    /// The tokens it was sampled as, where the policy can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Which earlier steps of the path had their observations replaced by a marker because
    /// the context was full: indices into the path, the first step being 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elided: Vec<u32>,
}

/// The tokens of one proposal: what the model read and what it sampled.
///
/// What the model saw when it sampled this message is the first `kept` tokens of the path
/// so far (every earlier step's prompt and sampled tokens, in order), then `prompt`. Where
/// `kept` is the length of the path so far, the prompt is an exact extension of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// How many tokens of the path so far this prompt begins with.
    pub kept: u32,
    /// The prompt's tokens after those.
    pub prompt: Vec<u32>,
    /// The sampled tokens, the end-of-turn token included where it was sampled.
    pub sampled: Vec<u32>,
    /// Natural-log probability of each sampled token under the model's own distribution:
    /// full softmax, before temperature, truncation and grammar.
    pub logprobs: Vec<f32>,
}

impl Tokens {
    /// Appends this step to the tokens of the path before it.
    ///
    /// Returns false, and leaves `path` alone, if `kept` exceeds the path: a record that
    /// cannot be true.
    pub fn extend(&self, path: &mut Vec<u32>) -> bool {
        if self.kept as usize > path.len() {
            return false;
        }
        path.truncate(self.kept as usize);
        path.extend_from_slice(&self.prompt);
        path.extend_from_slice(&self.sampled);
        true
    }
}

/// What a tool call came to. A model's mistake is an observation, never an error of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Observation {
    /// The tool answered.
    Output {
        /// What the model reads.
        text: String,
        /// The same, for programs: verifiers and metrics read this.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
    },
    /// The call failed in a way the model is told about.
    Fault {
        /// Which way.
        fault: Fault,
        /// What the model reads: what is wrong and what would be right.
        message: String,
    },
}

impl Observation {
    /// A fault with its message.
    pub fn fault(fault: Fault, message: impl Into<String>) -> Self {
        Observation::Fault { fault, message: message.into() }
    }

    /// What a guest came to that failed in a way of its own: it ended, trapped, or answered
    /// what is no answer.
    pub fn broken(message: impl fmt::Display) -> Self {
        Self::fault(Fault::Trap, format!("{BROKEN}{message}"))
    }

    /// Whether a guest broke over the call, rather than to say that it failed.
    pub fn is_broken(&self) -> bool {
        self.as_fault() == Some(Fault::Trap) && self.text().starts_with(BROKEN)
    }

    /// What a guest came to whose answer or state is beyond its bound.
    pub fn excess(message: impl fmt::Display) -> Self {
        Self::fault(Fault::Limit, format!("{EXCESS}{message}"))
    }

    /// Whether a guest said or kept too much.
    pub fn is_excess(&self) -> bool {
        self.as_fault() == Some(Fault::Limit) && self.text().starts_with(EXCESS)
    }

    /// What the model reads.
    pub fn text(&self) -> &str {
        match self {
            Observation::Output { text, .. } => text,
            Observation::Fault { message, .. } => message,
        }
    }

    /// The machine-readable side of an output; `null` for a fault.
    pub fn data(&self) -> &Value {
        match self {
            Observation::Output { data, .. } => data,
            Observation::Fault { .. } => &Value::Null,
        }
    }

    /// Which fault this is, if it is one.
    pub fn as_fault(&self) -> Option<Fault> {
        match self {
            Observation::Output { .. } => None,
            Observation::Fault { fault, .. } => Some(*fault),
        }
    }
}

/// The ways in which a call can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The message itself could not be read.
    Malformed,
    /// There is no tool of that name.
    UnknownTool,
    /// The arguments do not fit the tool's schema.
    BadArgs,
    /// The tool understood and declined.
    Refused,
    /// A limit that reproduces was reached: calls, bytes, rows, fuel.
    Limit,
    /// The guest or the statement failed while it ran.
    Trap,
    /// Something outside failed; not the model's doing.
    External,
}

/// One assistant message and everything it triggered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The message.
    pub proposal: Proposal,
    /// One observation for each call, in order; a malformed message has one, its fault; an
    /// answer has none.
    pub observations: Vec<Observation>,
    /// The digest of the tools' state after the step.
    pub scratch: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_path_concatenate_to_what_the_model_saw() {
        let tokens = |kept, prompt: &[u32], sampled: &[u32]| Tokens {
            kept,
            prompt: prompt.to_vec(),
            sampled: sampled.to_vec(),
            logprobs: vec![0.0; sampled.len()],
        };
        let mut path = Vec::new();
        assert!(tokens(0, &[1, 2], &[3]).extend(&mut path));
        assert!(tokens(3, &[4], &[5, 6]).extend(&mut path));
        assert_eq!(path, [1, 2, 3, 4, 5, 6]);
        assert!(tokens(2, &[9], &[8]).extend(&mut path), "a shortened context");
        assert_eq!(path, [1, 2, 9, 8]);
        assert!(!tokens(5, &[9], &[8]).extend(&mut path), "more than there is");
    }
}
