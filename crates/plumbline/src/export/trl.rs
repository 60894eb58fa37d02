//! TRL's stepwise supervision, as its PRM trainer took it until 1.13: a prompt, completions,
//! and whether each is right. `nodes` beside them says which step each one ends.

use serde_json::{Value, json};

use super::group::{StepRow, node};
use super::stepwise::{Segment, prompt, segments};
use super::{Group, Refusal, Rows, Settings};
use crate::{StepLabel, TaskId};

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    for sample in group.samples() {
        let segments = segments(group, &sample, settings);
        if segments.is_empty() {
            rows.refuse(Refusal::NoLabel);
            continue;
        }
        let each = |of: &dyn Fn(&Segment) -> Value| {
            Value::Array(segments.iter().map(of).collect())
        };
        rows.push(&json!({
            "prompt": prompt(group),
            "completions": each(&|segment| json!(segment.text)),
            "labels": each(&|segment| json!(segment.good)),
            "task": group.task.id,
            "sample": sample.number,
            "nodes": each(&|segment| json!(segment.node)),
        }));
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
