//! Rollouts that something outside stopped: the task is not judged unless that is allowed.

use plumbline::{Ending, Tree};

/// Rollouts of a task that something outside stopped.
pub(super) struct Aborted {
    pub(super) count: u64,
    ended: u64,
    /// What the first said.
    pub(super) message: String,
}

impl Aborted {
    /// `missing` of them have not even a step, after one from which others go on.
    pub(super) fn of(tree: &Tree, missing: u64) -> Self {
        let leaves = tree.leaves();
        let endings = leaves.iter().filter_map(|leaf| tree.ending(*leaf));
        let endings = endings.chain(tree.stillborn().map(|(_, ending)| ending));
        let mut aborted = Self { count: missing, ended: missing, message: String::new() };
        let mut said = tree.nodes().filter_map(|(id, _)| match tree.last_ending(id) {
            Some(Ending::Aborted { message, .. }) => Some(message),
            _ => None,
        });
        if let Some(message) = said.next().filter(|_| missing > 0) {
            aborted.message.clone_from(message);
        }
        for ending in endings {
            aborted.ended += 1;
            if let Ending::Aborted { message, .. } = ending {
                if aborted.count == 0 {
                    aborted.message.clone_from(message);
                }
                aborted.count += 1;
            }
        }
        aborted
    }

    /// Whether there are few enough: none, unless a share is allowed, or a number from 1 on.
    pub(super) fn is_tolerable(&self, max: Option<f64>) -> bool {
        let (count, ended) = (self.count as f64, self.ended as f64);
        match max {
            None => self.count == 0,
            Some(share) if share < 1.0 => count <= share * ended,
            Some(number) => count < number,
        }
    }
}
