//! The seam to whatever proposes the next message.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::protocol::{Grammar, LAST, Message, Protocol};
use crate::{Observation, Proposal, ToolSpec};

/// The name of a policy: kind, model, and a digest of its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyId(pub String);

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything a policy may know when it proposes a step. It contains no gold.
#[derive(Debug, Clone)]
pub struct Prompt<'a> {
    /// The environment's instructions, tools included, as `protocol` words them.
    pub system: &'a str,
    /// The task's question.
    pub question: &'a str,
    /// The steps so far, first to last.
    pub turns: Vec<Turn<'a>>,
    /// The tools there are.
    pub tools: &'a [ToolSpec],
    /// How calls and answers are written.
    pub protocol: Protocol,
    /// Whether this is the last message the step limit allows: it can only answer.
    pub last: bool,
    /// Characters of reasoning that a constrained message may begin with.
    pub thought_chars_max: u32,
    /// The most tokens this message may take.
    pub tokens_max: u32,
}

/// One earlier step, as a prompt shows it.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The message.
    pub proposal: &'a Proposal,
    /// What it came to.
    pub observations: &'a [Observation],
}

impl Prompt<'_> {
    /// The chat messages of this prompt: system, question, then each step's message and
    /// observations, in the protocol's words.
    pub fn messages(&self) -> Vec<Message> {
        self.messages_eliding(&[])
    }

    /// As [`messages`](Self::messages), with the observations of some steps (indices into
    /// `turns`) replaced by a marker that the model can read. For a full context.
    pub fn messages_eliding(&self, elided: &[u32]) -> Vec<Message> {
        let mut messages = vec![
            Message::System { text: self.system.to_owned() },
            Message::User { text: self.question.to_owned() },
        ];
        for (index, turn) in (0u32..).zip(&self.turns) {
            messages.push(self.protocol.assistant(turn.proposal));
            messages.extend(self.protocol.observations(turn, elided.contains(&index)));
        }
        if self.last {
            match messages.last_mut() {
                Some(Message::User { text } | Message::Tool { text, .. }) => {
                    text.push_str("\n\n");
                    text.push_str(LAST);
                }
                _ => messages.push(Message::User { text: LAST.to_owned() }),
            }
        }
        messages
    }

    /// The grammar of the message to come: any tool or an answer, or the answer alone in the
    /// last message.
    pub fn grammar(&self) -> Grammar {
        let tools = if self.last { &[] } else { self.tools };
        self.protocol.grammar(tools, self.thought_chars_max)
    }
}

/// Something that proposes the next assistant message.
#[async_trait]
pub trait Policy: Send + Sync {
    /// The policy's name, settings included.
    fn id(&self) -> &PolicyId;

    /// Exactly one proposal for each seed, in order: all of them share one prefix, and an
    /// implementation should read that prefix once. The proposals' `text` is what
    /// [`Protocol::parse`] reads; `action` is that reading.
    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError>;

    /// Whether it can say how likely a given text is: see [`score`](Self::score).
    fn scores(&self) -> bool {
        false
    }

    /// How likely it is to write each of some texts as its next message: the natural-log
    /// probability of every token of each, as it divides the text into tokens, given the
    /// prompt and the tokens before. Full softmax, before temperature, truncation and grammar;
    /// one number a token, all of them finite.
    ///
    /// Servers answer for what they sampled themselves, if at all: the default says that there
    /// is no such thing.
    async fn score(
        &self,
        prompt: &Prompt<'_>,
        texts: &[&str],
    ) -> Result<Vec<Vec<f32>>, PolicyError> {
        let _ = (prompt, texts);
        Err(PolicyError::Unscored { policy: self.id().clone() })
    }

    /// What it has read and sampled so far; zeros where the policy cannot tell.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// How a policy chooses among tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// 0 is greedy; otherwise logits are divided by it.
    pub temperature: f32,
    /// Keeps the smallest set of tokens whose probabilities sum to this; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this many times as probable as the best; 0 keeps all.
    pub min_p: f32,
}

/// What a policy has read and sampled so far, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens evaluated.
    pub prompt_evaluated: u64,
    /// Prompt tokens found in a cache instead.
    pub prompt_reused: u64,
    /// Prompt tokens that no earlier prompt or message of the same run held: what an ideal
    /// cache would have had to evaluate.
    pub prompt_new: u64,
    /// Tokens sampled.
    pub sampled: u64,
}

/// Why there is no proposal.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policy in this process failed.
    #[error("policy: {0}")]
    Model(String),
    /// A server we asked failed, after retries.
    #[error("endpoint: {0}")]
    Endpoint(String),
    /// It cannot say how likely a text is.
    #[error(
        "policy {policy}: it gives no log-probabilities of a text it did not sample; use a \
         local model, llama:MODEL"
    )]
    Unscored {
        /// Which policy.
        policy: PolicyId,
    },
    /// The prompt does not fit the context, even with every old observation elided.
    #[error("context: the prompt takes {tokens} tokens of {tokens_max}")]
    Context {
        /// What it takes.
        tokens: usize,
        /// What there is, less room for a message.
        tokens_max: usize,
    },
}
