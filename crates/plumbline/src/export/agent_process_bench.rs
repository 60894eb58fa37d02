//! AgentProcessBench's lines: chat messages, and labels keyed by the message's index.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::import::chat;
use crate::python_json::python_json;
use crate::{Step, StepLabel};

/// Labels to write in place of those the source had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// By the index of the assistant message; a message without a label is left out.
    pub steps: BTreeMap<u32, StepLabel>,
    /// Of the whole trajectory; left out where there is none.
    pub last: Option<StepLabel>,
}

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
