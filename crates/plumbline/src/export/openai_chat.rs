//! Chat messages with tool calls, one trajectory a line.

use serde_json::{Value, json};

use super::{Group, Rows, Sample};
use crate::Step;
use crate::import::chat;
use crate::python_json::python_json;

/// A line of the format from what an [`Origin`](crate::import::Origin) kept beside the steps
/// of its path, byte for byte as the source had it. `None` if that is no chat.
pub fn line(rest: &Value, steps: &[&Step]) -> Option<String> {
    if let Some(line) = rest.get("line").and_then(Value::as_str) {
        return Some(line.to_owned());
    }
    let mut record = rest.get("record")?.as_object()?.clone();
    let marks = rest.get("marks")?.as_array()?;
    let field = rest.get("field")?.as_str()?;
    *record.get_mut(field)? = Value::Array(chat::write(marks, steps)?);
    Some(python_json(&record))
}

/// A group's own trajectories.
pub(super) fn rows(group: &Group<'_>, rows: &mut Rows) {
    for sample in group.samples() {
        let (messages, indices) = group.chat(&sample);
        let mut record = json!({
            "query_index": group.index,
            "sample_index": sample.number,
            "id": group.task.id,
            "question": group.task.prompt,
            "messages": messages,
        });
        mark_forged(group, &sample, &indices, &mut record);
        rows.push(&record);
    }
}

/// Says behind which message an observation stands that no tool gave.
pub(super) fn mark_forged(
    group: &Group<'_>,
    sample: &Sample<'_>,
    indices: &[u32],
    record: &mut Value,
) {
    let mut steps = sample.path.iter().zip(indices);
    if let Some((_, index)) = steps.find(|((id, _), _)| group.forged == Some(*id)) {
        record["forged_after"] = json!(index);
    }
}
