//! Grows a tree of steps: the one loop that asks a policy, acts, and records.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::{
    ActError, Boundary, Budget, CallCache, Digest, Ending, Environment, Episode, Meter,
    Node, NodeId, Policy, PolicyError, Prompt, Proposal, Step, Task, TaskId, Tree, Turn,
    fork,
};

/// The number of the child that has to answer at once.
const FORCED: u32 = u32::MAX - 1;

/// What is to grow from a place.
///
/// The children of a step are numbered; a number and the step's seed, or at the place that of the
/// [`Start`], make the child's seed, so that the same child is asked for by the same number at any
/// time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Which children a step gets, by how far below the place it is: `children[0]` those of
    /// the place itself, and so on; beyond the end, child 0 alone.
    pub children: Vec<Range<u32>>,
    /// How many steps below the place a trajectory is left as it is, ended or not; `None`
    /// goes on to its end.
    pub steps_max: Option<u32>,
}

impl Shape {
    /// `samples` trajectories that share nothing but the place.
    pub fn samples(samples: u32) -> Self {
        Self::numbered(0..samples)
    }

    /// The trajectories of these numbers.
    pub fn numbered(samples: Range<u32>) -> Self {
        Self { children: vec![samples], steps_max: None }
    }

    /// So many children of the place, of each of those, and so on: `[3, 3, 3]` is a tree of
    /// 27 trajectories.
    pub fn tree(widths: &[u32]) -> Self {
        Self { children: widths.iter().map(|width| 0..*width).collect(), steps_max: None }
    }

    /// The next steps alone of these numbers.
    pub fn steps(numbers: Range<u32>) -> Self {
        Self { steps_max: Some(1), ..Self::numbered(numbers) }
    }

    /// One step that has to answer, as if it were the last that the limits allow: what the
    /// policy would say if it had to stop here.
    pub fn forced_answer() -> Self {
        Self::steps(FORCED..FORCED + 1)
    }

    /// The seeds of the children of a step of this seed.
    fn seeds(&self, seed: u64, below: usize) -> Vec<u64> {
        if self.steps_max.is_some_and(|max| below >= max as usize) {
            return vec![];
        }
        let numbers = self.children.get(below).cloned().unwrap_or(0..1);
        numbers.map(|number| child_seed(seed, number)).collect()
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
    /// Where the time that tools take is added up.
    pub meter: Option<&'g Meter>,
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
    let start = Start::root(ground, task);
    branch(ground, task, tree, &[start], shape).await
}

/// A place in a tree from which to go on.
#[derive(Clone)]
pub struct Start<'g> {
    /// The step after which; `None` before the first.
    pub after: Option<NodeId>,
    /// The state there.
    pub episode: Episode<'g>,
    /// What the seeds of the children are made from.
    pub seed: u64,
}

impl<'g> Start<'g> {
    /// Before the first step.
    pub fn root(ground: &Ground<'g>, task: &Task) -> Self {
        let episode = Episode::new(ground.environment, &task.inputs, ground.cache);
        let episode = episode.metered(ground.meter);
        Self { after: None, episode, seed: root_seed(ground.seed, task) }
    }

    /// Before the first step of a trajectory that is put there message by message, by its
    /// number: those that begin alike share no step.
    pub(crate) fn numbered(ground: &Ground<'g>, task: &Task, number: u32) -> Self {
        let root = Self::root(ground, task);
        Self { seed: child_seed(root.seed, number), ..root }
    }

    /// The seeds of the children of a place that the shape asks for and a tree does not have.
    pub(crate) fn missing(&self, tree: &Tree, shape: &Shape) -> Vec<u64> {
        let mut seeds = shape.seeds(self.seed, 0);
        seeds.retain(|seed| tree.child(self.after, *seed).is_none());
        seeds
    }

    /// After a step that the tree has, which is executed up to there. Its children are those
    /// that any growth gives it.
    ///
    /// # Panics
    ///
    /// If the tree has no such step.
    pub async fn after(
        ground: &Ground<'g>,
        task: &Task,
        tree: &Tree,
        node: NodeId,
    ) -> Result<Self, ActError> {
        let episode = fork(ground.environment, task, tree, Some(node), ground.cache);
        let seed = tree.get(node).expect("fork() needs it too").step.proposal.seed;
        let episode = episode.await?.metered(ground.meter);
        Ok(Self { after: Some(node), episode, seed })
    }

    /// The trajectories of a shape that a tree has from here, by their last steps. The place
    /// is one itself where nothing goes on from it.
    pub fn trajectories(&self, tree: &Tree, shape: &Shape) -> Vec<NodeId> {
        let mut trajectories = Vec::new();
        let mut open = vec![(self.after, self.seed, 0)];
        while let Some((at, seed, below)) = open.pop() {
            let children: Vec<NodeId> = shape
                .seeds(seed, below)
                .into_iter()
                .filter_map(|seed| tree.child(at, seed))
                .collect();
            if children.is_empty() {
                trajectories.extend(at);
            }
            for child in children.into_iter().rev() {
                let seed = tree.get(child).expect("a child is there").step.proposal.seed;
                open.push((Some(child), seed, below + 1));
            }
        }
        trajectories
    }
}

/// Grows a shape from each of these places, whatever else the tree holds, and returns it; what
/// it has of that already is kept, as by [`grow`]. The state at a place is taken as given: what
/// led to it need not be what the tree says, for an observation can be forged. Nothing grows
/// from where a trajectory has ended. When `ground.stop` turns true, what is unfinished stays
/// so.
pub async fn branch(
    ground: &Ground<'_>,
    task: &Task,
    tree: Tree,
    starts: &[Start<'_>],
    shape: &Shape,
) -> Result<Tree, GrowError> {
    assert_eq!(&task.id, tree.task(), "a tree is grown for its own task");
    let going_on =
        |start: &&Start<'_>| start.after.is_none_or(|after| tree.ending(after).is_none());
    let branches: Vec<Branch<'_>> = starts
        .iter()
        .filter(going_on)
        .map(|Start { after, episode, seed }| Branch {
            at: *after,
            below: 0,
            path: tree.path_to(*after),
            episode: episode.clone(),
            seed: *seed,
        })
        .collect();
    let grower = Grower { ground, task, shape, tree: Mutex::new(tree) };
    try_join_all(branches.into_iter().map(|branch| grower.grow(branch))).await?;
    Ok(grower.tree.into_inner().expect("nothing panics while it holds this lock"))
}

/// Puts a message that nobody sampled after a place, executes and records it as any other, and
/// returns the step; `None` if something outside stopped it. The same message after the same
/// place is the same step.
pub(crate) async fn graft(
    ground: &Ground<'_>,
    task: &Task,
    tree: Tree,
    start: &Start<'_>,
    message: &str,
) -> Result<(Tree, Option<NodeId>), GrowError> {
    let seed = graft_seed(start.seed, message);
    if let Some(known) = tree.child(start.after, seed) {
        return Ok((tree, Some(known)));
    }
    let (at, path, shape) = (start.after, tree.path_to(start.after), Shape::steps(0..1));
    let episode = start.episode.clone();
    let branch = Branch { at, below: 0, path, episode, seed: start.seed };
    let (text, action) =
        (message.to_owned(), ground.environment.protocol().parse(message).action);
    let proposal = Proposal { text, action, seed, tokens: None, elided: vec![] };
    let time_max = Duration::from_millis(ground.environment.limits().episode_ms_max);
    let grower = Grower { ground, task, shape: &shape, tree: Mutex::new(tree) };
    let child = Child::Proposed(proposal);
    grower.enter(&branch, child, Instant::now() + time_max).await?;
    let tree = grower.tree.into_inner().expect("nothing panics while it holds this lock");
    let grafted = tree.child(at, seed);
    Ok((tree, grafted))
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

/// What the seeds of a task's first steps are made from.
fn root_seed(run: u64, task: &Task) -> u64 {
    Digest::of_parts(&[&run.to_le_bytes(), task.id.0.as_bytes()]).to_u64()
}

/// What everything that follows depends on, before the first step: see [`state_after`].
pub(crate) fn root_state(task: &Task) -> Digest {
    Digest::of_json(task)
}

/// What everything that follows a step depends on: the messages and observations up to there,
/// and the tools' state.
pub(crate) fn state_after(before: Digest, step: &Step) -> Digest {
    Digest::of_json(&(before, &step.proposal.text, &step.observations, step.scratch))
}

/// What the seeds of the steps are made from that are taken from a state, whichever of several
/// paths led to it.
pub(crate) fn state_seed(run: u64, state: Digest) -> u64 {
    Digest::of_json(&(run, state)).to_u64()
}

/// Whether a step had to answer: its seed says so, in a run of this seed.
pub(crate) fn is_forced(run: u64, task: &Task, tree: &Tree, node: &Node) -> bool {
    let mut origins = origins(run, task, tree, node).into_iter();
    origins.any(|origin| node.step.proposal.seed == child_seed(origin, FORCED))
}

/// Whether nobody sampled a step: see [`graft`].
pub(crate) fn is_grafted(run: u64, task: &Task, tree: &Tree, node: &Node) -> bool {
    let Proposal { seed, text, .. } = &node.step.proposal;
    let mut origins = origins(run, task, tree, node).into_iter();
    origins.any(|origin| *seed == graft_seed(origin, text))
}

/// What the seed of a step can have been made from: its parent, or the state after that; of a
/// first step that is put there the number of its trajectory, of which there are no more than
/// first steps.
fn origins(run: u64, task: &Task, tree: &Tree, node: &Node) -> Vec<u64> {
    let path = tree.path_to(node.parent);
    let steps = path.iter().map(|node| &node.step);
    let state = state_seed(run, steps.fold(root_state(task), state_after));
    match path.last() {
        Some(parent) => vec![parent.step.proposal.seed, state],
        None => {
            let root = root_seed(run, task);
            let numbers = (0u32..).take(tree.children(None).count());
            let numbered = numbers.map(|number| child_seed(root, number));
            [root, state].into_iter().chain(numbered).collect()
        }
    }
}

/// The seed of a step's child: a function of the path, not of the order in which things
/// happened.
fn child_seed(parent: u64, number: u32) -> u64 {
    Digest::of_parts(&[&parent.to_le_bytes(), &number.to_le_bytes()]).to_u64()
}

/// The seed of a step that nobody sampled: a function of what it says.
fn graft_seed(parent: u64, message: &str) -> u64 {
    Digest::of_parts(&[&parent.to_le_bytes(), b"graft", message.as_bytes()]).to_u64()
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
    /// How many steps below the place it began at.
    below: usize,
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
        let mut seeds = self.shape.seeds(branch.seed, branch.below);
        let mut children = Vec::new();
        {
            let tree = self.lock();
            // Of another seed are those that another shape gave it.
            let recorded: Vec<NodeId> =
                seeds.iter().filter_map(|seed| tree.child(branch.at, *seed)).collect();
            seeds.retain(|seed| tree.child(branch.at, *seed).is_none());
            if branch.at.is_none() && self.ground.retries == 0 {
                let ended: BTreeSet<Option<u64>> =
                    tree.stillborn().map(|(seed, _)| seed).collect();
                seeds.retain(|seed| {
                    !ended.contains(&Some(*seed)) && !ended.contains(&None)
                });
            }
            for id in recorded {
                if !self.is_finished(&tree, id, branch.below + 1) {
                    let node = tree.get(id).expect("it is a child there");
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
        let mut prompt = prompt_of(self.ground.environment, self.task, &branch.path);
        prompt.last |= seeds == [child_seed(branch.seed, FORCED)];
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
                    PolicyError::Model(_)
                    | PolicyError::Context { .. }
                    | PolicyError::Unscored { .. } => Boundary::Model,
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
            Some((id, _)) => self.end_below(*id, branch.below + 1, ending),
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
        Ok(Some(Branch { at: Some(id), below: branch.below + 1, path, episode, seed }))
    }

    /// Whether nothing below a node is left to do, which is so many steps below the start.
    fn is_finished(&self, tree: &Tree, node: NodeId, below: usize) -> bool {
        if let Some(ending) = tree.ending(node) {
            let again =
                matches!(ending, Ending::Aborted { .. }) && self.ground.retries > 0;
            return !again;
        }
        let seed = tree.get(node).expect("it is in the tree").step.proposal.seed;
        self.shape.seeds(seed, below).into_iter().all(|seed| {
            let child = tree.child(Some(node), seed);
            child.is_some_and(|child| self.is_finished(tree, child, below + 1))
        })
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
    /// again, which is so many steps below the start.
    fn end_below(
        &self,
        node: NodeId,
        below: usize,
        ending: &Ending,
    ) -> Result<(), GrowError> {
        let unfinished: Vec<NodeId> = {
            let tree = self.lock();
            let depth = tree.path(node).len();
            let is_unfinished = |leaf: &NodeId| {
                let path = tree.path(*leaf);
                let is_below = path.get(depth - 1).is_some_and(|(id, _)| *id == node);
                is_below && !self.is_finished(&tree, *leaf, below + path.len() - depth)
            };
            tree.leaves().into_iter().filter(is_unfinished).collect()
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
