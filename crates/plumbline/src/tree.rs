//! The forest a run is: one [`Tree`] a task, one [`Node`] a step, a trajectory a path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Observation, Step, TaskId};

/// The name of a node within its tree: nodes are numbered from 0 in the order made.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One step and where it hangs. A node is never changed once it is in a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The step before; `None` for a first step.
    pub parent: Option<NodeId>,
    /// What happened.
    pub step: Step,
}

/// How a trajectory ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ending {
    /// The agent answered.
    Answered,
    /// A budget that reproduces was used up.
    Exhausted {
        /// Which one.
        budget: Budget,
    },
    /// Something that does not reproduce stopped this branch. Kept apart from low reward:
    /// it says nothing about the agent.
    Aborted {
        /// Whose boundary the failure crossed.
        boundary: Boundary,
        /// What it said.
        message: String,
    },
}

/// The budgets of an episode that are the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Steps of one trajectory.
    Steps,
    /// Tokens sampled over one trajectory.
    Tokens,
    /// Malformed messages in a row.
    Malformed,
    /// The context window: even with every old observation elided the prompt is too long.
    Context,
}

/// Whose fault an aborted branch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// The policy, in this process.
    Model,
    /// A tool, by its own failure.
    Tool,
    /// A server we asked.
    Endpoint,
    /// This machine: disk, memory, cancellation.
    Host,
    /// The wall clock ran out.
    Clock,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Budget::Steps => "steps",
            Budget::Tokens => "tokens",
            Budget::Malformed => "tries at a well-formed message",
            Budget::Context => "context",
        })
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Boundary::Model => "the model",
            Boundary::Tool => "a tool",
            Boundary::Endpoint => "the endpoint",
            Boundary::Host => "the host",
            Boundary::Clock => "the clock",
        })
    }
}

/// Every step taken for one task, over all samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    task: TaskId,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    /// In the order made, so that a walk over a large tree takes no search a step.
    children: BTreeMap<Option<NodeId>, Vec<NodeId>>,
    endings: BTreeMap<NodeId, Ending>,
    /// By the seed of the first step that did not come about; earlier formats had none.
    stillborn: BTreeMap<Option<u64>, Ending>,
}

/// A line that cannot belong to its tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// The id is not the next one.
    #[error(
        "node {found} of task {task} should be node {expected}: nodes are numbered in the order made"
    )]
    OutOfOrder {
        /// The task.
        task: TaskId,
        /// The id given.
        found: NodeId,
        /// The id due.
        expected: NodeId,
    },
    /// The node named does not exist.
    #[error("task {task} has no node {node}")]
    NoNode {
        /// The task.
        task: TaskId,
        /// The missing node.
        node: NodeId,
    },
}

impl Tree {
    /// A tree without a step.
    pub fn new(task: TaskId) -> Self {
        Self {
            task,
            nodes: BTreeMap::new(),
            children: BTreeMap::new(),
            endings: BTreeMap::new(),
            stillborn: BTreeMap::new(),
        }
    }

    /// The task all these steps are for.
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// The id the next node will get.
    pub fn next_id(&self) -> NodeId {
        NodeId(self.nodes.last_key_value().map_or(0, |(id, _)| id.0 + 1))
    }

    /// Adds a node under its parent and gives it the next id.
    pub fn push(&mut self, node: Arc<Node>) -> Result<NodeId, TreeError> {
        if let Some(parent) = node.parent {
            self.require(parent)?;
        }
        let id = self.next_id();
        self.insert(id, node);
        Ok(id)
    }

    fn insert(&mut self, id: NodeId, node: Arc<Node>) {
        self.children.entry(node.parent).or_default().push(id);
        self.nodes.insert(id, node);
    }

    /// Adds a node that already has an id, which must be the next one.
    pub fn push_as(&mut self, id: NodeId, node: Arc<Node>) -> Result<(), TreeError> {
        let expected = self.next_id();
        if id != expected {
            return Err(TreeError::OutOfOrder {
                task: self.task.clone(),
                found: id,
                expected,
            });
        }
        self.push(node).map(|_| ())
    }

    /// Records how the trajectory that ends in `node` ended; `None` where not even a first
    /// step came about. A later child of `node` overrules it: the branch was taken up again.
    pub fn end(&mut self, node: Option<NodeId>, ending: Ending) -> Result<(), TreeError> {
        match node {
            Some(node) => {
                self.require(node)?;
                self.endings.insert(node, ending);
            }
            None => self.end_unborn(None, ending),
        }
        Ok(())
    }

    /// Records how a trajectory ended whose first step, of this seed, did not come about. A
    /// first step of that seed overrules it; where no seed is known, any first step does.
    pub fn end_unborn(&mut self, seed: Option<u64>, ending: Ending) {
        self.stillborn.insert(seed, ending);
    }

    /// A node, if there is one of that id.
    pub fn get(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// All nodes in the order made.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Arc<Node>)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node yet.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The children of a node, or the first steps, in the order made.
    pub fn children(
        &self,
        of: Option<NodeId>,
    ) -> impl Iterator<Item = (NodeId, &Arc<Node>)> {
        let children = self.children.get(&of).into_iter().flatten();
        children.map(|id| (*id, &self.nodes[id]))
    }

    /// The child of a node, or the first step, that was sampled with a seed.
    pub fn child(&self, of: Option<NodeId>, seed: u64) -> Option<NodeId> {
        let mut children = self.children(of);
        children.find(|(_, node)| node.step.proposal.seed == seed).map(|(id, _)| id)
    }

    /// The nodes without children, in the order made: one a trajectory.
    pub fn leaves(&self) -> Vec<NodeId> {
        let is_leaf = |id: &NodeId| !self.children.contains_key(&Some(*id));
        self.nodes.keys().copied().filter(is_leaf).collect()
    }

    /// The last step of the first trajectory through a step: what that trajectory is called.
    pub fn first_leaf_through(&self, node: NodeId) -> NodeId {
        let mut last = node;
        while let Some((child, _)) = self.children(Some(last)).next() {
            last = child;
        }
        last
    }

    /// How the trajectory of a leaf ended; `None` while it is unfinished. For a node with
    /// children it is `None` too: the branch went on.
    pub fn ending(&self, leaf: NodeId) -> Option<&Ending> {
        let ending = self.endings.get(&leaf)?;
        self.children(Some(leaf)).next().is_none().then_some(ending)
    }

    /// How a trajectory ended after a node from which others may go on: the last one that did.
    pub fn last_ending(&self, node: NodeId) -> Option<&Ending> {
        self.endings.get(&node)
    }

    /// How trajectories ended that have not even a first step, and were not taken up again;
    /// by the seed it would have had, where that is known.
    pub fn stillborn(&self) -> impl Iterator<Item = (Option<u64>, &Ending)> {
        let taken_up = |seed: Option<u64>| match seed {
            Some(seed) => self.children(None).any(|(_, n)| n.step.proposal.seed == seed),
            None => !self.nodes.is_empty(),
        };
        let ended = self.stillborn.iter().map(|(seed, ending)| (*seed, ending));
        ended.filter(move |(seed, _)| !taken_up(*seed))
    }

    /// The path from a first step to `node`, both included.
    pub fn path(&self, node: NodeId) -> Vec<(NodeId, &Arc<Node>)> {
        let mut path = Vec::new();
        let mut next = Some(node);
        while let Some(id) = next {
            let node = self.nodes.get(&id).expect("a node's parent is in its tree");
            path.push((id, node));
            next = node.parent;
        }
        path.reverse();
        path
    }

    /// The steps up to a place, that one included; none before the first step.
    pub fn path_to(&self, after: Option<NodeId>) -> Vec<Arc<Node>> {
        let path = after.map(|node| self.path(node)).unwrap_or_default();
        path.into_iter().map(|(_, node)| Arc::clone(node)).collect()
    }

    /// The same tree with another observation in one place: a forged one put back, say.
    /// As it was where there is no such place.
    pub fn with_observation(
        mut self,
        node: NodeId,
        index: usize,
        observation: Observation,
    ) -> Tree {
        if let Some(node) = self.nodes.get_mut(&node)
            && let Some(place) = Arc::make_mut(node).step.observations.get_mut(index)
        {
            *place = observation;
        }
        self
    }

    /// The tree as it was known when `node` had just been made: its path alone, ids kept.
    /// This is what a verifier without sight of later steps is given.
    pub fn up_to(&self, node: NodeId) -> Tree {
        let mut tree = Tree::new(self.task.clone());
        for (id, node) in self.path(node) {
            tree.insert(id, Arc::clone(node));
        }
        tree
    }

    /// The same tree with those trajectories unfinished that something outside stopped.
    pub fn without_abortions(mut self) -> Tree {
        let stands = |ending: &Ending| !matches!(ending, Ending::Aborted { .. });
        self.endings.retain(|_, ending| stands(ending));
        self.stillborn.retain(|_, ending| stands(ending));
        self
    }

    /// The same tree without a word of how its trajectories ended.
    pub fn without_endings(&self) -> Tree {
        let (nodes, children) = (self.nodes.clone(), self.children.clone());
        Tree { nodes, children, ..Tree::new(self.task.clone()) }
    }

    /// This tree, knowing how the trajectory of `node` ended in `other`, if it did.
    pub fn with_ending_of(mut self, other: &Tree, node: NodeId) -> Tree {
        self.endings.extend(other.ending(node).map(|ending| (node, ending.clone())));
        self
    }

    fn require(&self, node: NodeId) -> Result<(), TreeError> {
        if self.nodes.contains_key(&node) {
            return Ok(());
        }
        Err(TreeError::NoNode { task: self.task.clone(), node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Digest, Proposal};

    fn node(parent: Option<u32>) -> Arc<Node> {
        let action = Action::Answer { text: "x".into() };
        let proposal =
            Proposal { text: "x".into(), action, seed: 0, tokens: None, elided: vec![] };
        let step = Step { proposal, observations: vec![], scratch: Digest::of(b"") };
        Arc::new(Node { parent: parent.map(NodeId), step })
    }

    #[test]
    fn paths_leaves_and_endings() {
        let mut tree = Tree::new(TaskId("t".into()));
        for parent in [None, Some(0), Some(0), Some(1)] {
            tree.push(node(parent)).expect("the parents are there");
        }
        assert_eq!(tree.leaves(), [NodeId(2), NodeId(3)]);
        let path: Vec<u32> = tree.path(NodeId(3)).iter().map(|(id, _)| id.0).collect();
        assert_eq!(path, [0, 1, 3]);
        tree.end(Some(NodeId(3)), Ending::Answered).expect("node 3 exists");
        assert_eq!(tree.ending(NodeId(3)), Some(&Ending::Answered));
        tree.push(node(Some(3))).expect("node 3 exists");
        assert_eq!(tree.ending(NodeId(3)), None, "the branch went on");
        assert_eq!(tree.up_to(NodeId(2)).nodes().count(), 2);
    }

    #[test]
    fn a_first_step_that_did_not_come_about_is_known_by_its_seed() {
        let mut tree = Tree::new(TaskId("t".into()));
        tree.end(None, Ending::Answered).expect("it needs no node");
        assert_eq!(tree.stillborn().count(), 1);
        tree.end_unborn(Some(0), Ending::Answered);
        tree.end_unborn(Some(7), Ending::Answered);
        tree.push(node(None)).expect("a first step, of seed 0");
        let left: Vec<Option<u64>> = tree.stillborn().map(|(seed, _)| seed).collect();
        assert_eq!(left, [Some(7)]);
    }

    #[test]
    fn a_line_that_cannot_be_is_refused() {
        let mut tree = Tree::new(TaskId("t".into()));
        assert!(tree.push(node(Some(0))).is_err());
        assert!(tree.push_as(NodeId(1), node(None)).is_err());
        assert!(tree.end(Some(NodeId(0)), Ending::Answered).is_err());
    }
}
