//! Token ids with a label at the last token of each step: for a reward model that reads what
//! the policy read. `labels` is as long as `input_ids` and -100 where nothing is asked. Where
//! numbers are asked for, they stand in the place of labels.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Number, Value};

use super::group::{StepRow, node};
use super::rollout::TokenPath;
use super::{Group, Refusal, Rows, Settings, Worth};
use crate::{NodeId, StepLabel, TaskId};

/// Where nothing is asked: what losses leave out by default.
const IGNORED: i64 = -100;

#[derive(Serialize)]
struct Row<'r> {
    input_ids: &'r [u32],
    labels: Vec<Number>,
    task: &'r TaskId,
    sample: u64,
    nodes: Vec<NodeId>,
}

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let mut written = BTreeSet::new();
    for sample in group.lessons(settings, rows) {
        let tokens = match TokenPath::of(&sample) {
            Ok(tokens) => tokens,
            Err(refusal) => {
                rows.refuse(refusal);
                continue;
            }
        };
        let mut labels = vec![Number::from(IGNORED); tokens.ids.len()];
        let mut nodes = Vec::new();
        for ((id, _), span) in sample.path.iter().zip(&tokens.sampled) {
            if let Some(worth) = group.worth(*id, settings) {
                labels[span.end - 1] = match settings.worth {
                    Worth::Label => Number::from(worth as i64),
                    Worth::Number => Number::from_f64(worth).expect("JSON had it"),
                };
                nodes.push(*id);
            }
        }
        if nodes.is_empty() {
            rows.refuse(Refusal::nothing_said(settings));
            continue;
        }
        if !written.insert(nodes.clone()) {
            rows.refuse(Refusal::Repeated);
            continue;
        }
        rows.push(&Row {
            input_ids: &tokens.ids,
            labels,
            task: &group.task.id,
            sample: sample.number,
            nodes,
        });
    }
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(row.get("task")?.as_str()?.to_owned());
    let labels = row.get("labels")?.as_array()?.iter().map(Value::as_i64);
    let labels: Vec<i64> = labels.collect::<Option<_>>()?;
    let labels = labels.into_iter().filter(|label| *label != IGNORED);
    let nodes = row.get("nodes")?.as_array()?;
    let step = |(at, label): (&Value, i64)| {
        Some((task.clone(), node(at)?, StepLabel::from_number(label)?))
    };
    nodes.iter().zip(labels).map(step).collect()
}
