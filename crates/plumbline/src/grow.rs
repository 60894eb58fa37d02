//! Grows a tree of steps: the one loop that asks a policy, acts, and records.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::{
    ActError, Boundary, Budget, CallCache, Digest, Ending, Environment, Episode, Node,
    NodeId, Policy, PolicyError, Prompt, Proposal, Task, TaskId, Tree, Turn,
};

/// What a tree is to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Children of each node by depth: `widths[0]` first steps, and so on; 1 beyond the end.
    pub widths: Vec<u32>,
}

impl Shape {
    /// `samples` episodes that share nothing but the question.
    pub fn samples(samples: u32) -> Self {
        Self { widths: vec![samples] }
    }

    fn width(&self, depth: usize) -> u32 {
        self.widths.get(depth).copied().unwrap_or(1)
    }
}

/// What all trees of a run share.
pub struct Ground<'g> {
    /// The world.
    pub environment: &'g Environment,
    /// Who proposes.
    pub policy: &'g dyn Policy,
    /// What calls came to before; `None` executes each one.
    pub cache: Option<&'g CallCache>,
    /// How many branches may be in the making at once, over all trees.
    pub slots: &'g Semaphore,
    /// Turns true when no further step is to be started.
    pub stop: watch::Receiver<bool>,
    /// Where each step goes before the next one is taken.
    pub sink: &'g Sink<'g>,
    /// The run's seed: with the task and the place in the tree it gives each step its own.
    pub seed: u64,
    /// How often a step that failed outside is tried again, now and when a run is resumed.
    pub retries: u32,
}

/// Receives every event in the order it happened within its tree. An error stops the run:
/// an unrecorded episode is worthless.
pub type Sink<'s> = dyn Fn(Event<'_>) -> Result<(), SinkError> + Send + Sync + 's;

/// An event could not be recorded.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SinkError(pub Box<dyn std::error::Error + Send + Sync>);

/// Something that happened to a tree.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step was taken.
    Node {
        /// The tree.
        task: &'a TaskId,
        /// The id it got.
        id: NodeId,
        /// The step and its parent.
        node: &'a Node,
    },
    /// A trajectory ended.
    Ending {
        /// The tree.
        task: &'a TaskId,
        /// Its last step; `None` if not even a first one came about.
        node: Option<NodeId>,
        /// The seed of that first one, where there is no step.
        seed: Option<u64>,
        /// How.
        ending: &'a Ending,
    },
}

/// Why a tree could not be grown. A failure that only stops one branch is an
/// [`Ending::Aborted`] instead.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// The sink refused an event.
    #[error("failed to record a step of task {task}: {source}")]
    Record {
        /// The tree.
        task: TaskId,
        /// What the sink said.
        source: SinkError,
    },
    /// A recorded step came out differently when it was executed again to go on from it.
    #[error(
        "task {task}, step {node}: executing the recorded step again gave another result; \
         the tools' data has changed: start a new run"
    )]
    Diverged {
        /// The tree.
        task: TaskId,
        /// The step.
        node: NodeId,
    },
}

/// Grows a tree to a shape and returns it. Steps the tree already has are kept: an
/// unfinished branch is executed up to its last step and goes on from there; missing
/// siblings are added. When `ground.stop` turns true, what is unfinished stays so.
pub async fn grow(
    ground: &Ground<'_>,
    task: &Task,
    tree: Tree,
    shape: &Shape,
) -> Result<Tree, GrowError> {
    assert_eq!(&task.id, tree.task(), "a tree is grown for its own task");
    let grower = Grower { ground, task, shape, tree: Mutex::new(tree) };
    let root = Branch {
        at: None,
        path: vec![],
        episode: Episode::new(ground.environment, &task.inputs, ground.cache),
        seed: Digest::of_parts(&[&ground.seed.to_le_bytes(), task.id.0.as_bytes()])
            .to_u64(),
    };
    grower.grow(root).await?;
    Ok(grower.tree.into_inner().expect("nothing panics while it holds this lock"))
}

/// A place in a tree from which several trajectories are to go on.
pub struct Start<'g> {
    /// The step after which they do; `None` before the first.
    pub after: Option<NodeId>,
    /// The state there.
    pub episode: Episode<'g>,
    /// How many.
    pub samples: u32,
    /// With it each gets a seed of its own.
    pub seed: u64,
}

impl Start<'_> {
    /// The seed of each one's first step from here.
    fn seeds(&self) -> Vec<u64> {
        (0..self.samples).map(|index| child_seed(self.seed, index)).collect()
    }

    /// The trajectories of a tree that go on from here, by their last steps. The place is one
    /// itself where nothing goes on from it.
    pub fn trajectories(&self, tree: &Tree) -> Vec<NodeId> {
        let seeds = self.seeds();
        let is_first = |node: &Node| {
            node.parent == self.after && seeds.contains(&node.step.proposal.seed)
        };
        let mut leaves = tree.leaves();
        leaves.retain(|leaf| {
            Some(*leaf) == self.after
                || tree.path(*leaf).iter().any(|(_, node)| is_first(node))
        });
        leaves
    }
}

/// Grows so many trajectories from a place, whatever else the tree holds, and returns it;
/// those that it has of them already are kept, as by [`grow`]. The state there is taken as
/// given: what led to it need not be what the tree says, for an observation can be forged.
/// When `ground.stop` turns true, what is unfinished stays so.
pub async fn branch(
    ground: &Ground<'_>,
    task: &Task,
    tree: Tree,
    start: &Start<'_>,
) -> Result<Tree, GrowError> {
    assert_eq!(&task.id, tree.task(), "a tree is grown for its own task");
    if start.after.is_some_and(|after| tree.ending(after).is_some()) {
        return Ok(tree);
    }
    let path = tree.path_to(start.after);
    let mut widths = vec![1; path.len()];
    widths.push(start.samples);
    let shape = Shape { widths };
    let grower = Grower { ground, task, shape: &shape, tree: Mutex::new(tree) };
    let (episode, seed) = (start.episode.clone(), start.seed);
    grower.grow(Branch { at: start.after, path, episode, seed }).await?;
    Ok(grower.tree.into_inner().expect("nothing panics while it holds this lock"))
}

/// What a policy is shown after the steps of a path: a function of them alone.
pub(crate) fn prompt_of<'p>(
    environment: &'p Environment,
    task: &'p Task,
    path: &'p [Arc<Node>],
) -> Prompt<'p> {
    let limits = environment.limits();
    let turns = path.iter().map(|node| Turn {
        proposal: &node.step.proposal,
        observations: &node.step.observations,
    });
    let sampled = path.iter().filter_map(|node| node.step.proposal.tokens.as_ref());
    let sampled: u64 = sampled.map(|tokens| tokens.sampled.len() as u64).sum();
    let steps = u32::try_from(path.len()).expect("a path has at most steps_max steps");
    Prompt {
        system: environment.system(),
        question: &task.prompt,
        turns: turns.collect(),
        tools: environment.specs(),
        protocol: environment.protocol(),
        last: steps.saturating_add(1) >= limits.steps_max,
        thought_chars_max: environment.thought_chars_max(),
        tokens_max: limits.tokens_left(sampled),
    }
}

/// The seed of the `index`-th child of a step: a function of the path, not of the order in
/// which things happened.
fn child_seed(parent: u64, index: u32) -> u64 {
    Digest::of_parts(&[&parent.to_le_bytes(), &index.to_le_bytes()]).to_u64()
}

struct Grower<'g> {
    ground: &'g Ground<'g>,
    task: &'g Task,
    shape: &'g Shape,
    tree: Mutex<Tree>,
}

/// A place in the tree from which to go on.
struct Branch<'g> {
    at: Option<NodeId>,
    path: Vec<Arc<Node>>,
    episode: Episode<'g>,
    seed: u64,
}

/// What became of one attempt to go on.
enum Outcome {
    Children(Vec<Child>),
    Ended(Ending),
    Stopped,
}

enum Child {
    Recorded(NodeId, Arc<Node>),
    Proposed(Proposal),
}

impl<'g> Grower<'g> {
    /// Grows everything below a branch. Where a node gets one child the loop goes on in
    /// place; where it gets several, each becomes a branch of its own.
    fn grow(&'g self, mut branch: Branch<'g>) -> BoxFuture<'g, Result<(), GrowError>> {
        async move {
            let permit = self.ground.slots.acquire().await;
            let permit = permit.expect("the semaphore is never closed");
            let time_max =
                Duration::from_millis(self.ground.environment.limits().episode_ms_max);
            let deadline = Instant::now() + time_max;
            loop {
                let Some(children) = self.children(&branch, deadline).await? else {
                    return Ok(());
                };
                let mut branches = Vec::with_capacity(children.len());
                for child in children {
                    branches.extend(self.enter(&branch, child, deadline).await?);
                }
                let Some(next) = branches.pop() else { return Ok(()) };
                if !branches.is_empty() {
                    branches.push(next);
                    drop(permit);
                    return try_join_all(branches.into_iter().map(|b| self.grow(b)))
                        .await
                        .map(|_| ());
                }
                branch = next;
            }
        }
        .boxed()
    }

    /// The children a branch is to have: those recorded that are unfinished, and new
    /// proposals for those missing. `None` if nothing further is to be started.
    async fn children(
        &self,
        branch: &Branch<'_>,
        deadline: Instant,
    ) -> Result<Option<Vec<Child>>, GrowError> {
        let width = self.shape.width(branch.path.len());
        let mut seeds: Vec<u64> =
            (0..width).map(|i| child_seed(branch.seed, i)).collect();
        let mut children = Vec::new();
        {
            let tree = self.lock();
            // Of another seed are the arms of a counterfactual beside this one.
            let recorded: Vec<(NodeId, &Arc<Node>)> = tree
                .children(branch.at)
                .filter(|(_, node)| seeds.contains(&node.step.proposal.seed))
                .collect();
            let taken: BTreeSet<u64> =
                recorded.iter().map(|(_, node)| node.step.proposal.seed).collect();
            seeds.retain(|seed| !taken.contains(seed));
            if branch.at.is_none() && self.ground.retries == 0 {
                let ended: BTreeSet<Option<u64>> =
                    tree.stillborn().map(|(seed, _)| seed).collect();
                seeds.retain(|seed| {
                    !ended.contains(&Some(*seed)) && !ended.contains(&None)
                });
            }
            for (id, node) in recorded {
                if !self.is_finished(&tree, id) {
                    children.push(Child::Recorded(id, Arc::clone(node)));
                }
            }
        }
        if seeds.is_empty() {
            return Ok(Some(children));
        }
        match self.propose(branch, &seeds, deadline).await {
            Outcome::Children(proposed) => children.extend(proposed),
            // The siblings that are there go on all the same.
            Outcome::Ended(ending) if branch.at.is_none() => {
                for seed in seeds {
                    self.end_unborn(seed, &ending)?;
                }
            }
            Outcome::Ended(ending) => self.end(branch.at, &ending)?,
            Outcome::Stopped => return Ok(None),
        }
        Ok(Some(children))
    }

    async fn propose(
        &self,
        branch: &Branch<'_>,
        seeds: &[u64],
        deadline: Instant,
    ) -> Outcome {
        let prompt = prompt_of(self.ground.environment, self.task, &branch.path);
        let mut stop = self.ground.stop.clone();
        let mut attempt = 0;
        loop {
            let proposals = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Outcome::Stopped,
                proposals = tokio::time::timeout_at(
                    deadline,
                    self.ground.policy.propose(&prompt, seeds),
                ) => proposals,
            };
            let error = match proposals {
                Ok(Ok(proposals)) => {
                    assert_eq!(
                        proposals.len(),
                        seeds.len(),
                        "one proposal for each seed"
                    );
                    return Outcome::Children(
                        proposals.into_iter().map(Child::Proposed).collect(),
                    );
                }
                Err(_) => return Outcome::Ended(self.out_of_time()),
                Ok(Err(PolicyError::Context { .. })) => {
                    return Outcome::Ended(Ending::Exhausted { budget: Budget::Context });
                }
                Ok(Err(error)) => error,
            };
            if attempt == self.ground.retries {
                let boundary = match &error {
                    PolicyError::Endpoint(_) => Boundary::Endpoint,
                    PolicyError::Model(_) | PolicyError::Context { .. } => {
                        Boundary::Model
                    }
                };
                let message = error.to_string();
                return Outcome::Ended(Ending::Aborted { boundary, message });
            }
            attempt += 1;
            tracing::warn!(task = %self.task.id, %error, attempt, "trying again");
        }
    }

    /// Takes (or takes again) the step to a child. `None` if the branch ends there.
    async fn enter(
        &self,
        branch: &Branch<'g>,
        child: Child,
        deadline: Instant,
    ) -> Result<Option<Branch<'g>>, GrowError> {
        let (proposal, recorded) = match child {
            Child::Proposed(proposal) => (proposal, None),
            Child::Recorded(id, node) => (node.step.proposal.clone(), Some((id, node))),
        };
        let ended = |ending: &Ending| match &recorded {
            Some((id, _)) => self.end_below(*id, ending),
            None if branch.at.is_none() => self.end_unborn(proposal.seed, ending),
            None => self.end(branch.at, ending),
        };
        let mut episode = branch.episode.clone();
        let mut attempt = 0;
        let step = loop {
            let mut fork = episode.clone();
            let step = async {
                match &recorded {
                    Some((_, node)) => fork.follow(&node.step).await,
                    None => fork.act(proposal.clone()).await,
                }
            };
            let error = match tokio::time::timeout_at(deadline, step).await {
                Ok(Ok(step)) => {
                    episode = fork;
                    break step;
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    ended(&self.out_of_time())?;
                    return Ok(None);
                }
            };
            if attempt == self.ground.retries {
                ended(&aborted(&error))?;
                return Ok(None);
            }
            attempt += 1;
            tracing::warn!(task = %self.task.id, %error, attempt, "trying again");
        };
        let ending = episode.ending(&step);
        let seed = step.proposal.seed;
        let (id, node) = match recorded {
            Some((id, node)) => {
                if node.step != step {
                    let task = self.task.id.clone();
                    return Err(GrowError::Diverged { task, node: id });
                }
                (id, node)
            }
            None => self.record(Arc::new(Node { parent: branch.at, step }))?,
        };
        if let Some(ending) = ending {
            self.end(Some(id), &ending)?;
            return Ok(None);
        }
        let mut path = branch.path.clone();
        path.push(node);
        Ok(Some(Branch { at: Some(id), path, episode, seed }))
    }

    /// Whether nothing below a node is left to do.
    fn is_finished(&self, tree: &Tree, node: NodeId) -> bool {
        if let Some(ending) = tree.ending(node) {
            let again =
                matches!(ending, Ending::Aborted { .. }) && self.ground.retries > 0;
            return !again;
        }
        let depth = tree.path(node).len();
        let children: Vec<NodeId> = tree.children(Some(node)).map(|(id, _)| id).collect();
        children.len() >= self.shape.width(depth) as usize
            && children.iter().all(|child| self.is_finished(tree, *child))
    }

    fn record(&self, node: Arc<Node>) -> Result<(NodeId, Arc<Node>), GrowError> {
        // Held while the sink writes, so that lines stand in the order of their ids.
        let mut tree = self.lock();
        let id = tree.next_id();
        let event = Event::Node { task: &self.task.id, id, node: &node };
        (self.ground.sink)(event).map_err(|source| self.unrecorded(source))?;
        tree.push(Arc::clone(&node)).expect("the parent was pushed before");
        Ok((id, node))
    }

    /// Ends every unfinished trajectory through a recorded step that could not be executed
    /// again.
    fn end_below(&self, node: NodeId, ending: &Ending) -> Result<(), GrowError> {
        let unfinished: Vec<NodeId> = {
            let tree = self.lock();
            let below = |leaf: &NodeId| {
                let path = tree.path(*leaf);
                path.iter().any(|(id, _)| *id == node) && !self.is_finished(&tree, *leaf)
            };
            tree.leaves().into_iter().filter(below).collect()
        };
        unfinished.into_iter().try_for_each(|leaf| self.end(Some(leaf), ending))
    }

    /// Ends a trajectory whose first step did not come about.
    fn end_unborn(&self, seed: u64, ending: &Ending) -> Result<(), GrowError> {
        let (task, seed) = (&self.task.id, Some(seed));
        let mut tree = self.lock();
        let event = Event::Ending { task, node: None, seed, ending };
        (self.ground.sink)(event).map_err(|source| self.unrecorded(source))?;
        tree.end_unborn(seed, ending.clone());
        Ok(())
    }

    fn end(&self, node: Option<NodeId>, ending: &Ending) -> Result<(), GrowError> {
        let mut tree = self.lock();
        let event = Event::Ending { task: &self.task.id, node, seed: None, ending };
        (self.ground.sink)(event).map_err(|source| self.unrecorded(source))?;
        tree.end(node, ending.clone()).expect("the node was pushed before");
        Ok(())
    }

    fn unrecorded(&self, source: SinkError) -> GrowError {
        GrowError::Record { task: self.task.id.clone(), source }
    }

    fn out_of_time(&self) -> Ending {
        let ms_max = self.ground.environment.limits().episode_ms_max;
        let message =
            format!("the episode took longer than episode_ms_max = {ms_max} ms");
        Ending::Aborted { boundary: Boundary::Clock, message }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tree> {
        self.tree.lock().expect("nothing panics while it holds this lock")
    }
}

fn aborted(error: &ActError) -> Ending {
    Ending::Aborted { boundary: error.boundary(), message: error.to_string() }
}
