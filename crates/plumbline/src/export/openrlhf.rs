//! Text with a separator token after each step, and a label for each separator: what
//! OpenRLHF's PRM trainer took (`--input_key input --label_key label --placeholder_token ки
//! --reward_tokens + -`), and Math-Shepherd before it. Where numbers are asked for the labels
//! are chances, 0 to 1, which that trainer takes for soft ones.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::group::{StepRow, node};
use super::stepwise::{prompt, segments};
use super::{Group, Refusal, Rows, Settings, Worth};
use crate::{NodeId, StepLabel, TaskId};

/// What stands after each labelled step. A text that holds it is refused.
pub const SEPARATOR: &str = "ки";
const GOOD: &str = "+";
const BAD: &str = "-";

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let mut written = BTreeSet::new();
    for sample in group.lessons(settings, rows) {
        let segments = segments(&sample, |node| said(group, node, settings));
        if segments.is_empty() {
            rows.refuse(Refusal::nothing_said(settings));
            continue;
        }
        let nodes: Vec<NodeId> = segments.iter().map(|segment| segment.node).collect();
        if !written.insert(nodes.clone()) {
            rows.refuse(Refusal::Repeated);
            continue;
        }
        let mut input = prompt(group, &sample);
        let is_free = |text: &str| !text.contains(SEPARATOR);
        if !is_free(&input) || !segments.iter().all(|segment| is_free(&segment.text)) {
            rows.refuse(Refusal::SeparatorInText);
            continue;
        }
        for segment in &segments {
            input += "\n\n";
            input += &segment.text;
            input += " ";
            input += SEPARATOR;
        }
        let labels: Vec<&Value> = segments.iter().map(|segment| &segment.said).collect();
        rows.push(&json!({
            "input": input,
            "label": labels,
            "task": group.task.id,
            "sample": sample.number,
            "nodes": nodes,
        }));
    }
}

/// A step's label, or its chance.
fn said(group: &Group<'_>, node: NodeId, settings: &Settings) -> Option<Value> {
    match settings.worth {
        Worth::Label => {
            let good = settings.zeros.truth(group.label(node)?)?;
            Some(if good { GOOD } else { BAD }.into())
        }
        Worth::Number => {
            let chance = group.worth(node, settings)?;
            (0.0..=1.0).contains(&chance).then(|| chance.into())
        }
    }
}

/// `None` too where there are not as many separators as labels.
pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(row.get("task")?.as_str()?.to_owned());
    let (nodes, labels) = (row.get("nodes")?.as_array()?, row.get("label")?.as_array()?);
    let separators = row.get("input")?.as_str()?.matches(SEPARATOR).count();
    let step = |(at, label): (&Value, &Value)| {
        let label = match label.as_str()? {
            GOOD => StepLabel::Good,
            BAD => StepLabel::Bad,
            _ => return None,
        };
        Some((task.clone(), node(at)?, label))
    };
    (separators == labels.len() && nodes.len() == labels.len())
        .then(|| nodes.iter().zip(labels).map(step).collect())
        .flatten()
}
