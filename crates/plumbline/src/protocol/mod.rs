//! Protocols: prompt out, action in. Pure functions of text; one file a protocol.
//!
//! A protocol decides how a message says "call this tool" or "this is my answer", and how
//! observations are shown. Two properties hold for each and are tested on random input:
//! [`Protocol::parse`] accepts any text, its [`Part`]s tile that text byte for byte, and
//! parsing what [`Protocol::render`] wrote gives the same action again.

mod hermes;
mod openai;
mod react;
mod search_r1;

mod arguments;
mod tags;
mod tiling;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Action, Proposal, ToolCall, ToolSpec, Turn};

/// How calls and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// `<think>`, `<search>query</search>`, `<answer>` tags, as Search-R1 trains.
    SearchR1,
    /// `Thought:`, `Action: Tool[input]`, `Observation:` lines, as ReAct prompts.
    React,
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, as Hermes and Qwen models.
    Hermes,
    /// An assistant message object with `tool_calls`, as chat endpoints return.
    Openai,
}

/// A chat message, as a policy sends it to a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The instructions.
    System {
        /// What they say.
        text: String,
    },
    /// The question, or what a protocol shows as if a user said it.
    User {
        /// What it says.
        text: String,
    },
    /// An earlier message of the model's own.
    Assistant {
        /// The message, byte for byte; without its calls where they stand in `calls`.
        text: String,
        /// Calls made beside the text: only in the protocol [`Protocol::Openai`].
        calls: Vec<ToolCall>,
    },
    /// The answer to one call: only in the protocol [`Protocol::Openai`].
    Tool {
        /// Which call.
        call_id: String,
        /// What it came to.
        text: String,
    },
}

impl Message {
    /// The role's name in chat templates and endpoints.
    pub fn role(&self) -> &'static str {
        match self {
            Message::System { .. } => "system",
            Message::User { .. } => "user",
            Message::Assistant { .. } => "assistant",
            Message::Tool { .. } => "tool",
        }
    }

    /// What the message says.
    pub fn text(&self) -> &str {
        match self {
            Message::System { text }
            | Message::User { text }
            | Message::Assistant { text, .. }
            | Message::Tool { text, .. } => text,
        }
    }
}

/// What a protocol made of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What the message asks for.
    pub action: Action,
    /// What each part of the text is. The ranges tile the text: they are in order, without
    /// gap or overlap, from its first byte to its last.
    pub parts: Vec<Part>,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its bytes in the message, at character boundaries.
    pub range: Range<usize>,
}

/// What a part of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Reasoning.
    Thought,
    /// A call's tool name and arguments.
    Call,
    /// The answer's text.
    Answer,
    /// Markup of the protocol itself, and white space.
    Markup,
    /// Whatever the protocol has no place for; it is ignored.
    Stray,
}

/// A grammar for one message, in llguidance's dialect of Lark.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grammar(pub String);

/// Stands where an elided observation stood.
pub const ELIDED: &str = "[an earlier result was removed here: the context is full]";

/// Asks for the answer in the last message that the step limit allows.
pub const LAST: &str = "No more calls are possible. Give your answer now.";

impl Protocol {
    /// Every protocol, in the order they are listed to users.
    pub const ALL: [Protocol; 4] =
        [Protocol::SearchR1, Protocol::React, Protocol::Hermes, Protocol::Openai];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::SearchR1 => "search-r1",
            Protocol::React => "react",
            Protocol::Hermes => "hermes",
            Protocol::Openai => "openai",
        }
    }

    /// Tells a model which tools there are and how to call them and to answer: the part of
    /// the instructions that depends on protocol and tools alone.
    pub fn instructions(self, tools: &[ToolSpec]) -> String {
        match self {
            Protocol::SearchR1 => search_r1::instructions(tools),
            Protocol::React => react::instructions(tools),
            Protocol::Hermes => hermes::instructions(tools),
            Protocol::Openai => openai::instructions(tools),
        }
    }

    /// Reads a message. Never fails: what cannot be read is [`Action::Malformed`], with a
    /// reason that tells the model what would be right.
    pub fn parse(self, text: &str) -> Reading {
        match self {
            Protocol::SearchR1 => search_r1::parse(text),
            Protocol::React => react::parse(text),
            Protocol::Hermes => hermes::parse(text),
            Protocol::Openai => openai::parse(text),
        }
    }

    /// Writes an action as a message; `None` if this protocol cannot say it (a malformed
    /// action, several calls where it allows one, text that would close its own tag).
    pub fn render(self, action: &Action) -> Option<String> {
        let text = match self {
            Protocol::SearchR1 => search_r1::render(action),
            Protocol::React => react::render(action),
            Protocol::Hermes => hermes::render(action),
            Protocol::Openai => openai::render(action),
        }?;
        // The parser is the judge of what a protocol can say. Each protocol listing what it
        // cannot (its own tags, untrimmed text, other ids) would say the same less surely.
        (self.parse(&text).action == *action).then_some(text)
    }

    /// An earlier message of the model's own, as a chat message.
    pub fn assistant(self, proposal: &Proposal) -> Message {
        match self {
            Protocol::Openai => openai::assistant(proposal),
            Protocol::SearchR1 | Protocol::React | Protocol::Hermes => {
                Message::Assistant { text: proposal.text.clone(), calls: vec![] }
            }
        }
    }

    /// The chat messages that show a step's observations. With `elide`, each observation's
    /// text is [`ELIDED`].
    pub fn observations(self, turn: &Turn<'_>, elide: bool) -> Vec<Message> {
        let texts: Vec<Cow<'_, str>> = turn
            .observations
            .iter()
            .map(|o| if elide { Cow::Borrowed(ELIDED) } else { Cow::Borrowed(o.text()) })
            .collect();
        if texts.is_empty() {
            return vec![];
        }
        match self {
            Protocol::SearchR1 => search_r1::observations(turn, &texts),
            Protocol::React => react::observations(turn, &texts),
            Protocol::Hermes => hermes::observations(turn, &texts),
            Protocol::Openai => openai::observations(turn, &texts),
        }
    }

    /// Generation ends right after any of these.
    pub fn stops(self) -> &'static [&'static str] {
        match self {
            Protocol::SearchR1 => search_r1::STOPS,
            Protocol::React => react::STOPS,
            Protocol::Hermes => hermes::STOPS,
            Protocol::Openai => openai::STOPS,
        }
    }

    /// The grammar of one well-formed message that calls one of `tools` with arguments that
    /// fit its schema, or answers; with no tools it can only answer. At most
    /// `thought_chars_max` characters of thought come first; 0 allows none.
    pub fn grammar(self, tools: &[ToolSpec], thought_chars_max: u32) -> Grammar {
        match self {
            Protocol::SearchR1 => search_r1::grammar(tools, thought_chars_max),
            Protocol::React => react::grammar(tools, thought_chars_max),
            Protocol::Hermes => hermes::grammar(tools, thought_chars_max),
            Protocol::Openai => openai::grammar(tools, thought_chars_max),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no protocol.
#[derive(Debug, thiserror::Error)]
#[error("no protocol is called {0:?}; there are: search-r1, react, hermes, openai")]
pub struct ProtocolError(String);

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|protocol| protocol.name() == name);
        known.ok_or_else(|| ProtocolError(name.to_owned()))
    }
}
