//! TRL's stepwise supervision, as its PRM trainer took it until 1.13: a prompt, completions,
//! and whether each is right. `nodes` beside them says which step each one ends.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::group::{StepRow, node};
use super::stepwise::{prompt, segments};
use super::{Group, Refusal, Rows, Settings};
use crate::{NodeId, StepLabel, TaskId};

#[derive(Serialize)]
struct Row<'r> {
    prompt: String,
    completions: Vec<&'r str>,
    labels: Vec<bool>,
    task: &'r TaskId,
    sample: u64,
    nodes: Vec<NodeId>,
}

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let mut written = BTreeSet::new();
    for sample in group.lessons(settings, rows) {
        let truth = |node| settings.zeros.truth(group.label(node)?);
        let segments = segments(&sample, truth);
        if segments.is_empty() {
            rows.refuse(Refusal::NoLabel);
            continue;
        }
        let nodes: Vec<NodeId> = segments.iter().map(|segment| segment.node).collect();
        if !written.insert(nodes.clone()) {
            rows.refuse(Refusal::Repeated);
            continue;
        }
        rows.push(&Row {
            prompt: prompt(group, &sample),
            completions: segments.iter().map(|segment| segment.text.as_str()).collect(),
            labels: segments.iter().map(|segment| segment.said).collect(),
            task: &group.task.id,
            sample: sample.number,
            nodes,
        });
    }
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(row.get("task")?.as_str()?.to_owned());
    let (nodes, labels) = (row.get("nodes")?.as_array()?, row.get("labels")?.as_array()?);
    let step = |(at, label): (&Value, &Value)| {
        let label = if label.as_bool()? { StepLabel::Good } else { StepLabel::Bad };
        Some((task.clone(), node(at)?, label))
    };
    (nodes.len() == labels.len())
        .then(|| nodes.iter().zip(labels).map(step).collect())
        .flatten()
}
