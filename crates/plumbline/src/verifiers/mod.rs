//! Verifiers: one file each. All but [`Judge`] need no model: what they say rests on the
//! record of what was executed, so most of it can be executed again.
//!
//! None of those calls a step good merely because nothing is wrong with it: in a view a good
//! outweighs a neutral, and would hide that a step brought nothing.

mod answer_correct;
mod answer_solved;
mod answer_support;
mod judge;
mod modelling;
mod puzzle_oracle;
mod python_exception;
mod python_grounded;
mod python_silent;
mod repeat;
mod retrieval_gain;
mod sql_equivalent;
mod sql_prefix;
mod sql_result;
mod sql_silent;
mod value_reached;
mod well_formed;

/// What those of Python share.
mod python;
/// What those of SQL share.
mod sql;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Cost, Digest, Evidence, Fault, NodeId, Observation, Scratch, Step, StepLabel, Task,
    ToolCall, Tree, Verdict, Verifier, Zero, text,
};

pub use answer_correct::AnswerCorrect;
pub use answer_solved::AnswerSolved;
pub use answer_support::AnswerSupport;
pub use judge::{Judge, JudgeSettings, Merge};
pub use modelling::ModelVerifier;
pub use puzzle_oracle::PuzzleOracle;
pub use python_exception::PythonException;
pub use python_grounded::PythonGrounded;
pub use python_silent::PythonSilent;
pub use repeat::Repeat;
pub use retrieval_gain::{RetrievalGain, RetrievalGainGold};
pub use sql_equivalent::SqlEquivalent;
pub use sql_prefix::SqlPrefix;
pub use sql_result::SqlResult;
pub use sql_silent::SqlSilent;
pub use value_reached::ValueReached;
pub use well_formed::WellFormed;

/// The path up to the step that is judged.
struct Path<'t> {
    /// The digest of the tools' state before the first step.
    root: Digest,
    earlier: Vec<(NodeId, &'t Step)>,
    node: NodeId,
    step: &'t Step,
}

/// What a verifier found out about one step: a [`Verdict`] without its frame.
struct Finding {
    value: Value,
    label: Option<StepLabel>,
    zero: Option<Zero>,
    reason: String,
    evidence: Vec<Evidence>,
}

impl Finding {
    fn labelled(label: StepLabel, value: impl Into<Value>, reason: String) -> Self {
        let (value, label) = (value.into(), Some(label));
        Self { value, label, zero: None, reason, evidence: vec![] }
    }

    fn good(value: impl Into<Value>, reason: String) -> Self {
        Self::labelled(StepLabel::Good, value, reason)
    }

    fn bad(value: impl Into<Value>, reason: String) -> Self {
        Self::labelled(StepLabel::Bad, value, reason)
    }

    fn neutral(zero: Zero, value: impl Into<Value>, reason: String) -> Self {
        Self { zero: Some(zero), ..Self::labelled(StepLabel::Neutral, value, reason) }
    }

    /// A value that is worth keeping and says nothing about the step's worth.
    fn unlabelled(value: impl Into<Value>, reason: String) -> Self {
        let value = value.into();
        Self { value, label: None, zero: None, reason, evidence: vec![] }
    }

    fn resting_on(self, evidence: Vec<Evidence>) -> Self {
        Self { evidence, ..self }
    }
}

/// Judges each node by its path; no finding is silence.
fn judge_each(
    verifier: &dyn Verifier,
    tree: &Tree,
    nodes: &[NodeId],
    task: &Task,
    find: impl Fn(&Path<'_>) -> Option<Finding>,
) -> Vec<Verdict> {
    let root = Scratch::of_inputs(&task.inputs).digest();
    let judge = |node: &NodeId| {
        let nodes = tree.path(*node);
        let mut earlier: Vec<(NodeId, &Step)> =
            nodes.iter().map(|(id, node)| (*id, &node.step)).collect();
        let (node, step) = earlier.pop()?;
        let finding = find(&Path { root, earlier, node, step })?;
        Some(verdict(verifier, node, finding))
    };
    nodes.iter().filter_map(judge).collect()
}

/// A finding as its verifier's verdict.
fn verdict(verifier: &dyn Verifier, node: NodeId, finding: Finding) -> Verdict {
    let Finding { value, label, zero, reason, evidence } = finding;
    Verdict {
        node,
        verifier: verifier.id().clone(),
        value,
        label,
        zero,
        confidence: None,
        reason,
        evidence,
        saw: verifier.sight(),
        cost: Cost::default(),
    }
}

/// A step's calls with what each came to.
fn calls(step: &Step) -> impl Iterator<Item = (&ToolCall, &Observation)> {
    step.proposal.action.calls().iter().zip(&step.observations)
}

impl Path<'_> {
    /// The calls of the judged step as evidence: see [`execution`](Self::execution).
    fn executions(&self) -> Vec<Evidence> {
        let calls = 0..self.step.proposal.action.calls().len();
        calls.filter_map(|call| self.execution(self.earlier.len(), call)).collect()
    }

    /// A call on the path as evidence, if making it again on a fork of the state before the
    /// judged step must come to the same: it met that very state, and was answered neither
    /// by a failure outside nor by a limit (the budget of calls is no part of the state).
    /// `step` is an index into the path.
    fn execution(&self, step: usize, call: usize) -> Option<Evidence> {
        let fork = self.scratch_before(self.earlier.len());
        let before = self.scratch_before(step);
        let step = self.earlier.get(step).map_or(self.step, |(_, step)| step);
        // Only the state around a whole step is recorded, not that between its calls.
        let met_fork = before == fork && (call == 0 || step.scratch == before);
        let (call, observation) = calls(step).nth(call)?;
        let again =
            !matches!(observation.as_fault(), Some(Fault::External | Fault::Limit));
        (met_fork && again).then(|| Evidence::Execution {
            call: call.clone(),
            result: Digest::of_json(observation),
        })
    }

    /// The digest of the tools' state before a step, given as an index into the path.
    fn scratch_before(&self, step: usize) -> Digest {
        let before = step.checked_sub(1).and_then(|before| self.earlier.get(before));
        before.map_or(self.root, |(_, step)| step.scratch)
    }

    /// How many bytes of each document, by id, the agent had been shown before this step.
    fn bytes_shown(&self) -> BTreeMap<&str, usize> {
        let mut shown = BTreeMap::new();
        let observations = self.earlier.iter().flat_map(|(_, step)| &step.observations);
        for passage in observations.flat_map(text::passages) {
            let bytes = shown.entry(passage.id).or_insert(0);
            *bytes = passage.text.len().max(*bytes);
        }
        shown
    }

    /// Each document that this step shows for the first time, once, in the order shown. One
    /// that was listed before and is now shown at more than twice the length, as by opening
    /// it, counts: what is new is what the agent can read.
    fn new_passages(&self) -> Vec<text::Passage<'_>> {
        let mut shown = self.bytes_shown();
        let mut new: Vec<text::Passage<'_>> = Vec::new();
        for passage in self.step.observations.iter().flat_map(text::passages) {
            let bytes = shown.insert(passage.id, passage.text.len());
            if bytes.is_none_or(|bytes| passage.text.len() > 2 * bytes)
                && new.iter().all(|other| other.id != passage.id)
            {
                new.push(passage);
            }
        }
        new
    }
}

#[cfg(test)]
pub(crate) mod trajectory;
