//! A trajectory as a question and steps of text, each with a yes or no at its end.

use super::{Group, Sample, Settings};
use crate::NodeId;

/// A step that has a label, and the text that leads up to its end: what came of the steps
/// before, and those of them that have no label of their own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) node: NodeId,
    pub(super) text: String,
    pub(super) good: bool,
}

/// The instructions and the question.
pub(super) fn prompt(group: &Group<'_>, sample: &Sample<'_>) -> String {
    format!("{}\n\n{}", sample.told.system, group.task.prompt)
}

/// The steps with a label. What follows the last of them is left out.
pub(super) fn segments(
    group: &Group<'_>,
    sample: &Sample<'_>,
    settings: &Settings,
) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut text = String::new();
    for (id, node) in &sample.path {
        text += &node.step.proposal.text;
        let label = group.label(*id);
        if let Some(good) = label.and_then(|label| settings.zeros.truth(label)) {
            segments.push(Segment { node: *id, text: std::mem::take(&mut text), good });
        }
        for observation in &node.step.observations {
            if !text.is_empty() {
                text += "\n\n";
            }
            text += "Observation: ";
            text += observation.text();
        }
        if !text.is_empty() {
            text += "\n\n";
        }
    }
    segments
}
