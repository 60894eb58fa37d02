//! What a verifier says about a step, and what it rests on.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, NodeId, Step, StepLabel, ToolCall, Zero};

/// The name of a verifier: `name@version`, with `+digest` where it has settings. Two
/// verdicts can be compared only if these agree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VerifierId(pub String);

impl VerifierId {
    /// The part before `@`: what a user types.
    pub fn name(&self) -> &str {
        self.0.split('@').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for VerifierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a verifier must be shown beyond the path up to the step it judges. The harness shows
/// it that and no more, and every verdict carries it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sight {
    /// The gold answer and documents.
    pub gold: bool,
    /// Later steps of the trajectory, and its siblings.
    pub later: bool,
    /// How the trajectory ended.
    pub outcome: bool,
}

impl Sight {
    /// The path up to the step, and nothing else: what an agent could know at the time.
    pub const ONLINE: Sight = Sight { gold: false, later: false, outcome: false };
    /// The path up to the step and the gold.
    pub const GOLD: Sight = Sight { gold: true, later: false, outcome: false };

    /// Whether a verdict of this sight could have been given while the episode ran.
    pub fn is_online(self) -> bool {
        self == Self::ONLINE
    }
}

impl fmt::Display for Sight {
    /// `gold and later steps`, or `the path alone`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = [
            (self.gold, "gold"),
            (self.later, "later steps"),
            (self.outcome, "the outcome"),
        ];
        let seen: Vec<&str> =
            seen.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
        match seen.as_slice() {
            [] => f.write_str("the path alone"),
            seen => f.write_str(&seen.join(" and ")),
        }
    }
}

/// One verifier's judgement of one step. Immutable once written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The step judged.
    pub node: NodeId,
    /// Who judged.
    pub verifier: VerifierId,
    /// The judgement on the verifier's own scale.
    pub value: Value,
    /// The judgement as a step label; `None` where the scale has no such reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<StepLabel>,
    /// Why a neutral label is neutral.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero: Option<Zero>,
    /// How sure the verifier is, in 0..=1; `None` where it is a matter of fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// One sentence for people.
    pub reason: String,
    /// What it rests on; empty evidence makes it an opinion.
    pub evidence: Vec<Evidence>,
    /// What the verifier was shown.
    pub saw: Sight,
    /// What it cost.
    pub cost: Cost,
}

/// Something that can be looked at, or executed, again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Evidence {
    /// A tool call made on a fork of the state before the step, and the digest of the
    /// observation's JSON.
    Execution {
        /// The call.
        call: ToolCall,
        /// What its observation digests to.
        result: Digest,
    },
    /// A part of a text on the path.
    Span {
        /// The step.
        node: NodeId,
        /// Which of its observations; `None` means the message itself.
        observation: Option<u32>,
        /// Bytes of that text.
        range: Range<usize>,
        /// What those bytes digest to, so that they are known again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Digest>,
    },
    /// Another step on the path: one this step repeats, for instance.
    Step {
        /// The step.
        node: NodeId,
    },
    /// Completions sampled from the step, and how many of them came to a right end.
    Rollouts {
        /// How many were sampled.
        sampled: u32,
        /// How many succeeded.
        succeeded: u32,
    },
}

impl Evidence {
    /// A part of what a step said, or of what one of its observations showed.
    pub fn span(
        node: NodeId,
        step: &Step,
        observation: Option<u32>,
        range: Range<usize>,
    ) -> Self {
        let text = span_of(step, observation, &range).map(|s| Digest::of(s.as_bytes()));
        Evidence::Span { node, observation, range, text }
    }

    /// The whole message of a step.
    pub fn message(node: NodeId, step: &Step) -> Self {
        Self::span(node, step, None, 0..step.proposal.text.len())
    }
}

/// The text that a span points at, if it is there.
pub(crate) fn span_of<'s>(
    step: &'s Step,
    observation: Option<u32>,
    range: &Range<usize>,
) -> Option<&'s str> {
    let text = match observation {
        None => step.proposal.text.as_str(),
        Some(index) => step.observations.get(usize::try_from(index).ok()?)?.text(),
    };
    text.get(range.clone())
}

/// What a verdict cost, in units that reproduce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Tool calls executed.
    pub calls: u32,
    /// Tokens sampled from a model.
    pub tokens: u64,
}
