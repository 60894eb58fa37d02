//! A trajectory as a question and steps of text, with something said at the end of each.

use super::{Group, Sample};
use crate::NodeId;

/// A step of which something is said, and the text that leads up to its end: what came of the
/// steps before, and those of them of which nothing is.
#[derive(Debug, PartialEq)]
pub(super) struct Segment<T> {
    pub(super) node: NodeId,
    pub(super) text: String,
    pub(super) said: T,
}

/// The instructions and the question.
pub(super) fn prompt(group: &Group<'_>, sample: &Sample<'_>) -> String {
    format!("{}\n\n{}", sample.told.system, group.task.prompt)
}

/// The steps of which something is said. What follows the last of them is left out.
pub(super) fn segments<T>(
    sample: &Sample<'_>,
    says: impl Fn(NodeId) -> Option<T>,
) -> Vec<Segment<T>> {
    let mut segments = Vec::new();
    let mut text = String::new();
    for (id, node) in &sample.path {
        text += &node.step.proposal.text;
        if let Some(said) = says(*id) {
            segments.push(Segment { node: *id, text: std::mem::take(&mut text), said });
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
