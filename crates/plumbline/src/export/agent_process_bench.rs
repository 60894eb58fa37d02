//! AgentProcessBench's lines: chat messages, and labels keyed by the message's index.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::group::judges;
use super::openai_chat::mark_forged;
use super::{Group, Rows, Settings};
use crate::import::chat;
use crate::python_json::python_json;
use crate::{Action, Step, StepLabel, Verdict};

/// Labels to write in place of those the source had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// By the index of the assistant message; a message without a label is left out.
    pub steps: BTreeMap<u32, StepLabel>,
    /// Of the whole trajectory; left out where there is none.
    pub last: Option<StepLabel>,
    /// Who gave them, and what they saw.
    pub by: Value,
}

impl Labels {
    /// Labels of steps that were read off these verdicts.
    pub fn of(steps: BTreeMap<u32, StepLabel>, verdicts: &[Verdict]) -> Self {
        Self { steps, last: None, by: judges(verdicts) }
    }
}

/// The field that says of labels that they are not by people: who gave them.
pub(crate) const LABELLED_BY: &str = "labelled_by";

/// A line of the format from what an [`Origin`](crate::import::Origin) kept beside the steps
/// of its path; with the source's own labels unless others are given, and then byte for byte
/// as the source had it. `None` if that is no trajectory of this format.
pub fn line(rest: &Value, steps: &[&Step], labels: Option<&Labels>) -> Option<String> {
    if let (Some(line), None) = (rest.get("line").and_then(Value::as_str), labels) {
        return Some(line.to_owned());
    }
    let mut record = rest.get("record")?.as_object()?.clone();
    let marks = rest.get("marks")?.as_array()?;
    let messages = record.get_mut("messages")?;
    *messages = Value::Array(chat::write(marks, steps)?);
    if let Some(labels) = labels {
        let step = |(index, label): (&u32, &StepLabel)| {
            (index.to_string(), json!(label.to_number()))
        };
        let steps: Map<String, Value> = labels.steps.iter().map(step).collect();
        record.insert("step_labels".to_owned(), Value::Object(steps));
        record.insert(LABELLED_BY.to_owned(), labels.by.clone());
        match labels.last {
            Some(label) => {
                record.insert("final_label".to_owned(), json!(label.to_number()));
            }
            None => {
                record.shift_remove("final_label");
            }
        }
    }
    Some(python_json(&record))
}

/// A group's own trajectories, with the labels it has.
pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    for sample in group.samples() {
        let (messages, indices) = group.chat(&sample);
        let mut record = json!({
            "query_index": group.index,
            "sample_index": sample.number,
            "id": group.task.id,
            "question": group.task.prompt,
            "messages": messages,
        });
        if let Some(gold) = group.gold {
            record["ground_truth"] = json!({ "target": gold.answers() });
        }
        let answer =
            sample.path.last().and_then(|(_, node)| match &node.step.proposal.action {
                Action::Answer { text } => Some(text),
                Action::Calls { .. } | Action::Malformed { .. } => None,
            });
        record["answer_text"] = json!(answer);
        let label = |(index, (node, _)): (&u32, &(_, _))| {
            let number = settings.zeros.number(group.label(*node)?)?;
            Some((index.to_string(), json!(number)))
        };
        let labelled: Map<_, _> =
            indices.iter().zip(&sample.path).filter_map(label).collect();
        if !labelled.is_empty() {
            record[LABELLED_BY] = group.judges();
        }
        record["step_labels"] = labelled.into();
        mark_forged(group, &sample, &indices, &mut record);
        rows.push(&record);
    }
}
