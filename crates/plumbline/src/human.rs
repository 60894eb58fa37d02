//! What people said about recorded steps: the measure that verifiers are held against.

use serde::{Deserialize, Serialize};

use crate::{NodeId, StepLabel};

/// One judgement by a person. Never shown to a policy or a verifier: it lies in a file of
/// its own, and only scoring reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HumanLabel {
    /// What one step is worth.
    Step {
        /// The step.
        node: NodeId,
        /// Its label.
        label: StepLabel,
    },
    /// What a whole trajectory came to.
    Final {
        /// Its last step.
        node: NodeId,
        /// Its label.
        label: StepLabel,
    },
    /// The step that decided that a trajectory failed.
    Mistake {
        /// The step.
        node: NodeId,
        /// The last step of the trajectory.
        leaf: NodeId,
        /// Why, in the annotator's words.
        reason: String,
    },
}

impl HumanLabel {
    /// The same of the nodes that these have become: a trajectory that was read alone is hung
    /// into a tree that has nodes already.
    pub fn moved(self, to: impl Fn(NodeId) -> NodeId) -> Self {
        match self {
            HumanLabel::Step { node, label } => {
                HumanLabel::Step { node: to(node), label }
            }
            HumanLabel::Final { node, label } => {
                HumanLabel::Final { node: to(node), label }
            }
            HumanLabel::Mistake { node, leaf, reason } => {
                HumanLabel::Mistake { node: to(node), leaf: to(leaf), reason }
            }
        }
    }
}
