//! What a format is given: everything recorded for one task.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Forged, Refusal, Rows, Settings, Worth, messages};
use crate::{
    Ending, Gold, Labelled, Node, NodeId, Outcome, Step, StepLabel, Task, TaskId,
    ToolSpec, Tree, Verdict,
};

/// Everything recorded for one task. Its samples are the group that GRPO and its like
/// compare with each other.
#[derive(Debug)]
pub struct Group<'r> {
    /// The task's place among the run's tasks, from 0.
    pub index: u64,
    /// The task.
    pub task: &'r Task,
    /// What is known of the right answer.
    pub gold: Option<&'r Gold>,
    /// The policy's id.
    pub policy: &'r str,
    /// What the model was told.
    pub told: &'r Told,
    /// What it was told in trajectories where that was something else, by their last steps.
    pub told_otherwise: &'r BTreeMap<NodeId, Told>,
    /// Every step.
    pub tree: &'r Tree,
    /// The step whose first observation is forged, if there is one.
    pub forged: Option<NodeId>,
    /// The verdicts that the view admits.
    pub verdicts: &'r [Verdict],
    /// What the view makes of each step.
    pub labels: BTreeMap<NodeId, Labelled<'r>>,
    /// The numbers that verdicts give steps, where those are asked for.
    pub numbers: BTreeMap<NodeId, f64>,
    /// What became of each trajectory, by its last step; empty where nothing was graded.
    pub outcomes: BTreeMap<NodeId, Outcome>,
}

/// What a model is told before the question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// The system message.
    pub system: String,
    /// The tools: [`declaration`]s.
    pub tools: Vec<Value>,
}

/// A tool as endpoints of the OpenAI kind are told of it.
pub fn declaration(spec: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": spec.name,
            "description": spec.description,
            "parameters": spec.parameters,
        },
    })
}

/// One trajectory: a path to a leaf.
#[derive(Debug, Clone)]
pub struct Sample<'r> {
    /// Its place among the task's trajectories, from 0.
    pub number: u64,
    /// Its last step.
    pub leaf: NodeId,
    /// Every step, the first one first.
    pub path: Vec<(NodeId, &'r Arc<Node>)>,
    /// What the model was told.
    pub told: &'r Told,
}

impl<'r> Group<'r> {
    /// The task's trajectories, in the order of their last steps.
    pub fn samples(&self) -> Vec<Sample<'r>> {
        let leaves = (0..).zip(self.tree.leaves());
        let sample = |(number, leaf)| {
            let (path, told) = (self.tree.path(leaf), self.told(leaf));
            Sample { number, leaf, path, told }
        };
        leaves.map(sample).collect()
    }

    /// The trajectories to learn from. Those in which something did not happen are counted in
    /// `rows`, unless they are asked for.
    pub(super) fn lessons(
        &self,
        settings: &Settings,
        rows: &mut Rows,
    ) -> Vec<Sample<'r>> {
        let mut samples = self.samples();
        let there_were = samples.len();
        samples.retain(|sample| {
            settings.forged == Forged::Keep || !self.is_forged(&sample.path)
        });
        rows.refuse_many(Refusal::Forged, there_were - samples.len());
        samples
    }

    /// Whether the forged observation is on a path.
    pub(super) fn is_forged(&self, path: &[(NodeId, &Arc<Node>)]) -> bool {
        path.iter().any(|(id, _)| self.forged == Some(*id))
    }

    /// What the model was told in the trajectory that ends in a step.
    pub(super) fn told(&self, leaf: NodeId) -> &'r Told {
        self.told_otherwise.get(&leaf).unwrap_or(self.told)
    }

    /// Who gave the verdicts, and what they saw.
    pub(super) fn judges(&self) -> Value {
        judges(self.verdicts)
    }

    /// A step's label, where it has one.
    pub fn label(&self, node: NodeId) -> Option<&Labelled<'r>> {
        self.labels.get(&node)
    }

    /// What is said of a step as a number, where something is.
    pub(super) fn worth(&self, node: NodeId, settings: &Settings) -> Option<f64> {
        match settings.worth {
            Worth::Label => settings.zeros.number(self.label(node)?).map(f64::from),
            Worth::Number => self.numbers.get(&node).copied(),
        }
    }

    /// The first accepted answer, as text; empty where there is none.
    pub fn answer(&self) -> String {
        let answers = self.gold.map(Gold::answers).unwrap_or_default();
        answers.first().map(|answer| (*answer).to_owned()).unwrap_or_default()
    }

    /// A trajectory as chat messages, and the index of each step's message among them.
    pub(super) fn chat(&self, sample: &Sample<'_>) -> (Vec<Value>, Vec<u32>) {
        messages(&sample.told.system, &self.task.prompt, &sample.steps())
    }

    /// What a row says of itself beside what its reader asks for: whose it is, and each
    /// step's label. `ends` are the places of the steps' last tokens, where there are any.
    pub(super) fn note(&self, sample: &Sample<'_>, ends: Option<&[usize]>) -> Value {
        let step = |(index, (node, _)): (usize, &(NodeId, _))| {
            let label = self.label(*node);
            let mut step = json!({
                "node": node,
                "label": label.map(|labelled| labelled.label.to_number()),
                "zero": label.and_then(|labelled| labelled.zero),
            });
            if let Some(ends) = ends {
                step["end"] = json!(ends[index]);
            }
            step
        };
        let steps: Vec<Value> = sample.path.iter().enumerate().map(step).collect();
        json!({
            "task": self.task.id,
            "sample": sample.number,
            "leaf": sample.leaf,
            "steps": steps,
        })
    }

    /// How a trajectory ended, if it did by its own doing.
    pub(super) fn ended(&self, sample: &Sample<'_>) -> Option<&'r Ending> {
        let ending = self.tree.ending(sample.leaf)?;
        (!matches!(ending, Ending::Aborted { .. })).then_some(ending)
    }
}

impl<'r> Sample<'r> {
    /// Its steps.
    pub fn steps(&self) -> Vec<&'r Step> {
        self.path.iter().map(|(_, node)| &node.step).collect()
    }
}

/// Who gave verdicts, and what they saw: each once.
pub(crate) fn judges(verdicts: &[Verdict]) -> Value {
    let mut judges: Vec<Value> = Vec::new();
    for Verdict { verifier, saw, .. } in verdicts {
        let judge = json!({ "verifier": verifier, "saw": saw });
        if !judges.contains(&judge) {
            judges.push(judge);
        }
    }
    Value::Array(judges)
}

/// The label of a step, read back from a row.
pub type StepRow = (TaskId, NodeId, StepLabel);

/// Reads the labels of a note back.
pub(super) fn noted(note: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(note.get("task")?.as_str()?.to_owned());
    let mut rows = Vec::new();
    for step in note.get("steps")?.as_array()? {
        let node = node(step.get("node")?)?;
        match step.get("label")? {
            Value::Null => {}
            label => {
                rows.push((task.clone(), node, StepLabel::from_number(label.as_i64()?)?))
            }
        }
    }
    Some(rows)
}

pub(super) fn node(value: &Value) -> Option<NodeId> {
    Some(NodeId(u32::try_from(value.as_u64()?).ok()?))
}
