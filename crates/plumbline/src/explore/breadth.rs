//! A tree grown level by level, and what its leaves say of its steps.

use std::collections::BTreeMap;

use super::{ExploreError, Explorer, Place};
use crate::NodeId;

/// A tree whose leaves have ended, each with what it earned.
#[derive(Debug, Clone, Default)]
pub(super) struct Breadth {
    children: BTreeMap<Place, Vec<NodeId>>,
    earned: BTreeMap<NodeId, f64>,
}

impl Breadth {
    /// Grows `width` children of each place, `depth` levels down; what has not ended there
    /// goes on alone. `keep` is given the children of one place and may leave some out.
    pub(super) async fn grow(
        explorer: &mut Explorer<'_>,
        (width, depth): (u32, usize),
        earned: impl Fn(super::Rollout) -> f64,
        keep: impl Fn(&Explorer<'_>, Vec<NodeId>) -> Vec<NodeId>,
    ) -> Result<Self, ExploreError> {
        let mut tree = Self::default();
        let mut level: Vec<Place> = vec![None];
        for _ in 0..depth {
            let mut next = Vec::new();
            for at in level {
                let steps = explorer.candidates(at, width).await?;
                let steps = keep(explorer, steps);
                for step in &steps {
                    if explorer.is_end(*step) {
                        tree.end(explorer, *step, &earned).await?;
                    } else {
                        next.push(Some(*step));
                    }
                }
                tree.children.insert(at, steps);
            }
            level = next;
        }
        for step in level.into_iter().flatten() {
            tree.end(explorer, step, &earned).await?;
        }
        Ok(tree)
    }

    /// Follows a step to the end of its trajectory.
    async fn end(
        &mut self,
        explorer: &mut Explorer<'_>,
        step: NodeId,
        earned: impl Fn(super::Rollout) -> f64,
    ) -> Result<(), ExploreError> {
        let end = explorer.finish(step).await?;
        self.earned.extend(end.map(|end| (step, earned(end))));
        Ok(())
    }

    /// The steps below a place, each with the place it hangs on, parents first.
    pub(super) fn steps(&self) -> Vec<(Place, NodeId)> {
        let mut steps = Vec::new();
        let mut level: Vec<Place> = vec![None];
        while !level.is_empty() {
            let children = level
                .iter()
                .flat_map(|at| self.children_of(*at).iter().map(|child| (*at, *child)));
            let children: Vec<(Place, NodeId)> = children.collect();
            level = children.iter().map(|(_, child)| Some(*child)).collect();
            steps.extend(children);
        }
        steps
    }

    pub(super) fn children_of(&self, at: Place) -> &[NodeId] {
        self.children.get(&at).map_or(&[], Vec::as_slice)
    }

    /// What the leaves below a place earned; `None` if none came to an end.
    pub(super) fn value(&self, at: Place) -> Option<f64> {
        let (sum, count) = self.leaves(at);
        (count > 0).then(|| sum / f64::from(count))
    }

    fn leaves(&self, at: Place) -> (f64, u32) {
        if let Some(earned) = at.and_then(|step| self.earned.get(&step)) {
            return (*earned, 1);
        }
        let each = self.children_of(at).iter().map(|child| self.leaves(Some(*child)));
        each.fold((0.0, 0), |(sum, count), (more, leaves)| (sum + more, count + leaves))
    }

    /// The levels below a place.
    pub(super) fn height(&self, at: Place) -> usize {
        let below =
            self.children_of(at).iter().map(|child| 1 + self.height(Some(*child)));
        below.max().unwrap_or(0)
    }

    /// A tree of this shape, for tests.
    #[cfg(test)]
    pub(super) fn of(children: &[(Place, &[u32])], earned: &[(u32, f64)]) -> Self {
        let nodes = |ids: &[u32]| ids.iter().copied().map(NodeId).collect();
        Self {
            children: children.iter().map(|(at, ids)| (*at, nodes(ids))).collect(),
            earned: earned.iter().map(|(id, value)| (NodeId(*id), *value)).collect(),
        }
    }

    /// Hangs a step's own children on its parent in the step's place: two steps become one.
    pub(super) fn merge(&mut self, parent: Place, step: NodeId, child: NodeId) {
        if let Some(children) = self.children.get_mut(&Some(step)) {
            children.retain(|other| *other != child);
        }
        self.children.entry(parent).or_default().push(child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_worth_the_mean_of_its_leaves() {
        let one = Some(NodeId(1));
        let tree = Breadth::of(
            &[(None, &[1, 2]), (one, &[3, 4])],
            &[(2, 0.0), (3, 1.0), (4, 0.5)],
        );
        assert_eq!(tree.value(one), Some(0.75));
        assert_eq!(
            tree.value(None),
            Some(0.5),
            "of the three leaves, not of two children"
        );
        assert_eq!(tree.value(Some(NodeId(9))), None);
        assert_eq!((tree.height(None), tree.height(one)), (2, 1));
        let order: Vec<u32> = tree.steps().iter().map(|(_, step)| step.0).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }
}
