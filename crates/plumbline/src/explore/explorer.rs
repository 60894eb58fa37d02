//! What a method works with: one task's tree, the means to grow it, and the account of what
//! that cost.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use serde::Serialize;
use serde_json::Value;

use super::Settings;
use crate::grade::grade_answer;
use crate::grow::{graft, prompt_of, root_state, state_after, state_seed};
use crate::scale::{Reading, Rollouts};
use crate::verifier::label_nodes;
use crate::{
    Action, Cost, CostLedger, Digest, Effort, Ending, Environment, Evidence, Gold,
    GradeError, Ground, GrowError, NodeId, Policy, Shape, Sight, Start, StepLabel, Task,
    Tree, Verdict, Verifier, VerifierError, VerifierId, View, branch,
};

/// A place in a tree: after a step, or before the first one.
pub type Place = Option<NodeId>;

/// One completion: from a place to the end of its trajectory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollout {
    /// Its last step.
    pub leaf: NodeId,
    /// Whether its answer is right under the strict semantics of the gold's comparator; one
    /// that ran out of a budget is not.
    pub success: bool,
    /// How near the answer is, 0 to 1: F1 where answers are words.
    pub value: f64,
}

/// What a method says of a step.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The judgement on the method's own scale.
    pub value: Value,
    /// As a step label, where the scale has such a reading.
    pub reading: Reading,
    /// One sentence for people.
    pub reason: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

/// Why a method stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// The tree could not be grown.
    #[error(transparent)]
    Grow(#[from] GrowError),
    /// An answer could not be held against the gold.
    #[error(transparent)]
    Grade(#[from] GradeError),
    /// A verifier that the method asks could not judge.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// A step could not be executed again to go on from it.
    #[error(transparent)]
    Act(#[from] crate::ActError),
    /// A policy could not say how likely a text is.
    #[error(transparent)]
    Score(#[from] crate::PolicyError),
    /// The method needs a second policy.
    #[error("the method holds two policies against each other: name the other one")]
    NoReference,
    /// The budget is used up: what has been judged by then stands.
    #[error("the budget of the task is used up")]
    Spent,
    /// It was told to stop: nothing is to be concluded from what there is.
    #[error("interrupted")]
    Stopped,
}

/// What a method may draw on besides the policy.
#[derive(Clone, Copy)]
pub struct Others<'g> {
    /// Trajectories of the task, each by its messages, that are to be judged instead of new
    /// ones, by the methods that judge whole ones; empty for new ones.
    pub recorded: &'g [Vec<String>],
    /// Verifiers that judge single steps, for the methods that ask for that.
    pub checks: &'g [Box<dyn Verifier>],
    /// A second policy, for the methods that hold the likelihoods of two against each other.
    pub reference: Option<&'g dyn Policy>,
}

/// Whose likelihoods are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scorer {
    /// The policy that grows the tree.
    Policy,
    /// The other one.
    Reference,
}

/// One task's tree in the hands of a method.
///
/// The tree is the cache of rollouts: what a method asks for is named by the state it starts
/// from and by a number, and whatever the tree holds of that, from this method, from another
/// one or from a start that was killed, is taken up instead of being sampled. So a method has
/// to be a function of what it is told here, with [`Explorer::draw`] for chance; then running
/// it again over the same tree samples nothing and concludes the same.
///
/// Rollouts from a step are its children numbered from 1; child 0 is how the trajectory went
/// on that the step was taken from. A method that picks a step because of how its trajectory
/// ended, and asks for rollouts from there, so never counts that ending itself. Rollouts get
/// their seeds from the state, child 0 from the step: steps in one state have the same rollouts,
/// whichever of them came about first, and each its own trajectory.
pub struct Explorer<'g> {
    ground: &'g Ground<'g>,
    task: &'g Task,
    gold: &'g Gold,
    others: Others<'g>,
    settings: &'g Settings,
    tree: Tree,
    /// The first node that was not there when the method began.
    own: NodeId,
    states: BTreeMap<NodeId, Digest>,
    first_in: HashMap<Digest, Place>,
    asked_for: BTreeSet<NodeId>,
    ended: BTreeMap<NodeId, Option<Rollout>>,
    chances: BTreeMap<NodeId, Rollouts>,
    /// What each check said of a step, by the check's place in the list.
    said: BTreeMap<(NodeId, usize), Vec<Verdict>>,
    bills: BTreeMap<Place, Cost>,
    judged: BTreeMap<NodeId, Judged>,
    /// Children that were asked for after a step and did not come about, by their seeds.
    missing: BTreeSet<(NodeId, u64)>,
    ledger: CostLedger,
}

impl<'g> Explorer<'g> {
    /// A method's view of a tree.
    pub fn new(
        ground: &'g Ground<'g>,
        (task, gold): (&'g Task, &'g Gold),
        tree: Tree,
        others: Others<'g>,
        settings: &'g Settings,
    ) -> Self {
        let mut explorer = Self {
            ground,
            task,
            gold,
            others,
            settings,
            own: tree.next_id(),
            tree,
            states: BTreeMap::new(),
            first_in: HashMap::from([(root_state(task), None)]),
            asked_for: BTreeSet::new(),
            ended: BTreeMap::new(),
            chances: BTreeMap::new(),
            said: BTreeMap::new(),
            bills: BTreeMap::new(),
            judged: BTreeMap::new(),
            missing: BTreeSet::new(),
            ledger: CostLedger::default(),
        };
        explorer.learn_states();
        explorer
    }

    /// The world.
    pub fn environment(&self) -> &'g Environment {
        self.ground.environment
    }

    /// The task.
    pub fn task(&self) -> &'g Task {
        self.task
    }

    /// What is known about the right answer.
    pub fn gold(&self) -> &'g Gold {
        self.gold
    }

    /// The method's constants, as they were chosen for this run.
    pub fn settings(&self) -> &'g Settings {
        self.settings
    }

    /// The tree as it is now.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The trajectories that are to be judged, each from its first step to its last. Those that
    /// something outside stopped are left out.
    pub async fn trajectories(&mut self) -> Result<Vec<Vec<NodeId>>, ExploreError> {
        let samples = self.samples().await?;
        Ok(samples.iter().map(|rollout| self.path(rollout.leaf)).collect())
    }

    /// The same by their ends: those that were recorded, or else as many as the run's `samples`,
    /// grown if they are not there.
    pub async fn samples(&mut self) -> Result<Vec<Rollout>, ExploreError> {
        if self.others.recorded.is_empty() {
            return self.rollouts(None, self.settings.samples).await;
        }
        let mut samples = Vec::with_capacity(self.others.recorded.len());
        // Two that say the same are one; two that begin alike are two all the same, as they are
        // when they are sampled: each of their steps is judged by its own trajectory.
        let distinct: BTreeSet<&Vec<String>> = self.others.recorded.iter().collect();
        for (number, messages) in (0..).zip(distinct) {
            samples.extend(self.retell(number, messages).await?);
        }
        Ok(samples)
    }

    /// Puts a trajectory's messages one after the other, each executed again. One that ended for
    /// want of tokens, which nobody counts here, has failed where it ended.
    async fn retell(
        &mut self,
        number: u32,
        messages: &[String],
    ) -> Result<Option<Rollout>, ExploreError> {
        let mut at: Place = None;
        for message in messages {
            let start = match at {
                None => Start::numbered(self.ground, self.task, number),
                Some(step) if self.is_end(step) => break,
                Some(step) => {
                    Start::after(self.ground, self.task, &self.tree, step).await?
                }
            };
            let Some(step) = self.graft_at(&start, message).await? else { break };
            at = Some(step);
        }
        let Some(leaf) = at else { return Ok(None) };
        match self.tree.ending(leaf) {
            Some(_) => self.rollout(leaf).await,
            None => Ok(Some(Rollout { leaf, success: false, value: 0.0 })),
        }
    }

    /// `k` completions from a place, and what became of each. Those that something outside
    /// stopped are left out. From a step that ends its trajectory there is one: itself.
    pub async fn rollouts(
        &mut self,
        at: Place,
        k: u32,
    ) -> Result<Vec<Rollout>, ExploreError> {
        let mut each = self.rollouts_of(&[at], k).await?;
        Ok(each.pop().expect("one list a place"))
    }

    /// `k` completions from each of several places, which grow at the same time.
    pub async fn rollouts_of(
        &mut self,
        places: &[Place],
        k: u32,
    ) -> Result<Vec<Vec<Rollout>>, ExploreError> {
        let grown = self.grow(places, |at| Shape::numbered(numbers(at, k))).await?;
        let mut each = Vec::with_capacity(grown.len());
        for (at, leaves) in places.iter().zip(grown) {
            let mut rollouts = Vec::with_capacity(leaves.len());
            for leaf in leaves {
                self.account_for(*at, leaf);
                rollouts.extend(self.rollout(leaf).await?);
            }
            if let Some(node) = at {
                self.chances.insert(*node, chance(&rollouts));
            }
            each.push(rollouts);
        }
        Ok(each)
    }

    /// How many of `k` completions from each of several places succeed: the Monte-Carlo
    /// estimate of what the places are worth.
    pub async fn chances(
        &mut self,
        places: &[Place],
        k: u32,
    ) -> Result<Vec<Rollouts>, ExploreError> {
        let each = self.rollouts_of(places, k).await?;
        Ok(each.iter().map(|rollouts| chance(rollouts)).collect())
    }

    /// The same from one place.
    pub async fn chance(&mut self, at: Place, k: u32) -> Result<Rollouts, ExploreError> {
        Ok(chance(&self.rollouts(at, k).await?))
    }

    /// `k` next steps from a place, no further: the first steps of its rollouts. Fewer where
    /// something stopped them, none from a step that ends its trajectory.
    pub async fn candidates(
        &mut self,
        at: Place,
        k: u32,
    ) -> Result<Vec<NodeId>, ExploreError> {
        let grown = self.grow(&[at], |at| Shape::steps(numbers(at, k))).await?;
        let mut steps = grown.into_iter().next().expect("one list a place");
        let at = self.first_like(at);
        steps.retain(|step| self.tree.get(*step).is_some_and(|node| node.parent == at));
        for step in &steps {
            self.account_for(at, *step);
        }
        Ok(steps)
    }

    /// How the trajectory went on that a step was taken from: child 0 of each step, to the
    /// end. `None` if something outside stopped it.
    pub async fn finish(&mut self, at: NodeId) -> Result<Option<Rollout>, ExploreError> {
        self.refuse_if_spent()?;
        let start = Start::after(self.ground, self.task, &self.tree, at).await?;
        let shape = Shape::samples(1);
        self.branch(std::slice::from_ref(&start), &shape).await?;
        match start.trajectories(&self.tree, &shape).first() {
            Some(leaf) => {
                self.account_for(Some(at), *leaf);
                self.rollout(*leaf).await
            }
            None => Ok(None),
        }
    }

    /// What the policy says if it has to answer after a place. `None` if something outside
    /// stopped it, or the step ended its trajectory.
    pub async fn forced_answer(
        &mut self,
        at: Place,
    ) -> Result<Option<Rollout>, ExploreError> {
        let grown = self.grow(&[at], |_| Shape::forced_answer()).await?;
        let at = self.first_like(at);
        let child =
            |leaf: &NodeId| self.tree.get(*leaf).is_some_and(|node| node.parent == at);
        match grown.concat().into_iter().find(child) {
            Some(leaf) => {
                self.account_for(at, leaf);
                self.rollout(leaf).await
            }
            None => Ok(None),
        }
    }

    /// What the checks say of a step: the label of the view `strict-local` over their verdicts.
    /// `None` is an abstention.
    pub async fn check(
        &mut self,
        node: NodeId,
    ) -> Result<Option<StepLabel>, ExploreError> {
        Ok(self.reading(node, |_| true).await?.label)
    }

    /// The same by those of the checks that take such an effort, with the reason of a zero.
    pub(super) async fn checked_by(
        &mut self,
        effort: Effort,
        node: NodeId,
    ) -> Result<Reading, ExploreError> {
        self.reading(node, |own| own == effort).await
    }

    async fn reading(
        &mut self,
        node: NodeId,
        is_asked: impl Fn(Effort) -> bool,
    ) -> Result<Reading, ExploreError> {
        let checks = self.others.checks;
        let mut verdicts = Vec::new();
        for (place, check) in
            checks.iter().enumerate().filter(|(_, check)| is_asked(check.effort()))
        {
            verdicts.extend(self.ask(place, check.as_ref(), node).await?);
        }
        let labels = View::StrictLocal.labels(&self.task.prompt, &self.tree, &verdicts);
        Ok(labels.get(&node).map_or(Reading::ABSTENTION, |labelled| Reading {
            label: Some(labelled.label),
            zero: labelled.zero,
            repairable: false,
        }))
    }

    /// What one check says of a step. It is asked once.
    async fn ask(
        &mut self,
        place: usize,
        check: &dyn Verifier,
        node: NodeId,
    ) -> Result<Vec<Verdict>, ExploreError> {
        if let Some(said) = self.said.get(&(node, place)) {
            return Ok(said.clone());
        }
        let gold = Some(self.gold);
        let said = label_nodes(check, self.task, gold, &self.tree, &[node]).await?;
        let bill = self.bills.entry(Some(node)).or_default();
        for verdict in &said {
            bill.calls += verdict.cost.calls;
            bill.tokens += verdict.cost.tokens;
            self.ledger.checks += 1;
            self.ledger.sampled.fresh += verdict.cost.tokens;
        }
        self.said.insert((node, place), said.clone());
        Ok(said)
    }

    /// A message that nobody sampled, put after a place and executed there. `None` if something
    /// outside stopped it, or the trajectory ends with the place.
    pub async fn graft(
        &mut self,
        at: Place,
        message: &str,
    ) -> Result<Option<NodeId>, ExploreError> {
        let at = self.first_like(at);
        if at.is_some_and(|node| self.is_end(node)) {
            return Ok(None);
        }
        let start = self.start(at).await?;
        self.graft_at(&start, message).await
    }

    async fn graft_at(
        &mut self,
        start: &Start<'g>,
        message: &str,
    ) -> Result<Option<NodeId>, ExploreError> {
        self.refuse_if_spent()?;
        let tree = std::mem::replace(&mut self.tree, Tree::new(self.task.id.clone()));
        let (tree, grafted) = graft(self.ground, self.task, tree, start, message).await?;
        self.tree = tree;
        self.learn_states();
        if let Some(node) = grafted {
            self.account_for(start.after, node);
        }
        Ok(grafted)
    }

    /// What has been spent so far.
    pub fn ledger(&self) -> &CostLedger {
        &self.ledger
    }

    /// The natural-log probability of each token of a text, if a policy had written it after a
    /// place. The policy divides the text into tokens its own way.
    pub(super) async fn score(
        &self,
        who: Scorer,
        at: Place,
        text: &str,
    ) -> Result<Vec<f32>, ExploreError> {
        let policy = match who {
            Scorer::Policy => self.ground.policy,
            Scorer::Reference => {
                self.others.reference.ok_or(ExploreError::NoReference)?
            }
        };
        let path = self.tree.path_to(at);
        let prompt = prompt_of(self.ground.environment, self.task, &path);
        let scores = policy.score(&prompt, &[text]).await?;
        Ok(scores.into_iter().next().expect("one list a text"))
    }

    /// Says something of a step. The last word on a step stands.
    pub fn judge(&mut self, node: NodeId, judged: Judged) {
        self.judged.insert(node, judged);
    }

    /// The steps from the first one to this one.
    pub fn path(&self, node: NodeId) -> Vec<NodeId> {
        self.tree.path(node).into_iter().map(|(id, _)| id).collect()
    }

    /// Whether a trajectory ends with this step.
    pub fn is_end(&self, node: NodeId) -> bool {
        self.tree.ending(node).is_some()
    }

    /// What everything that follows a place depends on: the messages and observations up to
    /// there, and the tools' state. Two steps that lead to one state share their rollouts.
    pub fn state(&self, at: Place) -> Digest {
        match at {
            Some(node) => self.states[&node],
            None => root_state(self.task),
        }
    }

    /// A number below `n` that depends on the run's seed, the task and what is drawn for.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn draw(&self, what: &impl Serialize, n: usize) -> usize {
        let drawn = Digest::of_json(&(self.ground.seed, &self.task.id, what)).to_u64();
        (drawn % n as u64) as usize
    }

    /// The tree, what was said of its steps, and what that cost.
    pub fn conclude(
        self,
        id: &VerifierId,
        saw: Sight,
    ) -> (Tree, Vec<Verdict>, CostLedger) {
        // Of a step from which nothing goes on its ending tells.
        let absent = |(at, seed): &&(NodeId, u64)| {
            matches!(self.tree.last_ending(*at), Some(Ending::Aborted { .. }))
                && self.tree.ending(*at).is_none()
                && self.tree.child(Some(*at), *seed).is_none()
        };
        let ledger = CostLedger {
            verdicts: self.judged.len() as u64,
            recoveries: self.recoveries(),
            missing: self.missing.iter().filter(absent).count() as u64,
            ..self.ledger
        };
        let verdict = |(node, judged): (NodeId, Judged)| Verdict {
            node,
            verifier: id.clone(),
            value: judged.value,
            label: judged.reading.label,
            zero: judged.reading.zero,
            confidence: None,
            reason: judged.reason,
            evidence: judged.evidence,
            saw,
            cost: self.bills.get(&Some(node)).copied().unwrap_or_default(),
        };
        let verdicts = self.judged.into_iter().map(verdict).collect();
        (self.tree, verdicts, ledger)
    }

    /// Grows a shape from each place and returns its trajectories there, by their last steps.
    /// Of places in one state the first one made grows for all.
    async fn grow(
        &mut self,
        places: &[Place],
        shape: impl Fn(Place) -> Shape,
    ) -> Result<Vec<Vec<NodeId>>, ExploreError> {
        self.refuse_if_spent()?;
        let mut starts: BTreeMap<Place, Start<'g>> = BTreeMap::new();
        for at in places.iter().map(|at| self.first_like(*at)) {
            if let Entry::Vacant(vacant) = starts.entry(at) {
                vacant.insert(self.start(at).await?);
            }
        }
        // One shape a growth: places before the first step number their children otherwise.
        for is_root in [true, false] {
            let of_kind = starts.iter().filter(|(at, _)| at.is_none() == is_root);
            let starts: Vec<Start<'g>> =
                of_kind.map(|(_, start)| start.clone()).collect();
            let Some(first) = starts.first() else { continue };
            let shape = shape(first.after);
            self.branch(&starts, &shape).await?;
        }
        let of = |at: &Place| {
            let at = self.first_like(*at);
            starts[&at].trajectories(&self.tree, &shape(at))
        };
        Ok(places.iter().map(of).collect())
    }

    async fn branch(
        &mut self,
        starts: &[Start<'g>],
        shape: &Shape,
    ) -> Result<(), ExploreError> {
        let tree = std::mem::replace(&mut self.tree, Tree::new(self.task.id.clone()));
        self.tree = branch(self.ground, self.task, tree, starts, shape).await?;
        if *self.ground.stop.borrow() {
            return Err(ExploreError::Stopped);
        }
        self.learn_states();
        for start in starts {
            let missing = start.missing(&self.tree, shape).into_iter();
            self.missing.extend(missing.filter_map(|seed| Some((start.after?, seed))));
        }
        Ok(())
    }

    /// A place to grow what all steps in its state share.
    async fn start(&self, at: Place) -> Result<Start<'g>, ExploreError> {
        let Some(node) = at else { return Ok(Start::root(self.ground, self.task)) };
        let start = Start::after(self.ground, self.task, &self.tree, node).await?;
        Ok(Start { seed: state_seed(self.ground.seed, self.state(at)), ..start })
    }

    fn refuse_if_spent(&self) -> Result<(), ExploreError> {
        let Settings { tokens_max, calls_max, .. } = self.settings;
        let over = |max: &Option<u64>, spent: u64| max.is_some_and(|max| spent >= max);
        let is_spent = over(tokens_max, self.ledger.sampled.total())
            || over(calls_max, self.ledger.calls.total());
        if is_spent { Err(ExploreError::Spent) } else { Ok(()) }
    }

    /// The step that stands for all in the same state.
    fn first_like(&self, at: Place) -> Place {
        self.first_in[&self.state(at)]
    }

    fn learn_states(&mut self) {
        for (id, node) in self.tree.nodes().skip(self.states.len()) {
            let before = match node.parent {
                Some(parent) => self.states[&parent],
                None => root_state(self.task),
            };
            let state = state_after(before, &node.step);
            self.states.insert(id, state);
            self.first_in.entry(state).or_insert(Some(id));
        }
    }

    /// What became of the trajectory of a leaf; `None` if something outside stopped it.
    async fn rollout(&mut self, leaf: NodeId) -> Result<Option<Rollout>, ExploreError> {
        if let Some(known) = self.ended.get(&leaf) {
            return Ok(*known);
        }
        let Some(node) = self.tree.get(leaf) else { return Ok(None) };
        let rollout = match (self.tree.ending(leaf), &node.step.proposal.action) {
            (Some(Ending::Answered), Action::Answer { text }) => {
                let Ground { environment, cache, .. } = self.ground;
                let answer = (leaf, text.as_str());
                let (task, gold) = (self.task, self.gold);
                let graded =
                    grade_answer(environment, task, gold, &self.tree, answer, *cache);
                let comparison = graded.await?;
                let (success, value) = (comparison.strict, comparison.value);
                Some(Rollout { leaf, success, value })
            }
            (Some(Ending::Answered | Ending::Exhausted { .. }), _) => {
                Some(Rollout { leaf, success: false, value: 0.0 })
            }
            (Some(Ending::Aborted { .. }) | None, _) => None,
        };
        self.ended.insert(leaf, rollout);
        Ok(rollout)
    }

    /// After how many steps rollouts succeeded although none did from a step before.
    fn recoveries(&self) -> u64 {
        let state = |node: &NodeId| self.states[node];
        let hopeless = self.chances.iter().filter(|(_, chance)| chance.are_hopeless());
        let hopeless: BTreeSet<Digest> = hopeless.map(|(node, _)| state(node)).collect();
        let recovered = self.chances.iter().filter(|(node, chance)| {
            let path = self.tree.path(**node);
            let mut before = path[..path.len() - 1].iter();
            chance.succeeded > 0 && before.any(|(id, _)| hopeless.contains(&state(id)))
        });
        recovered.count() as u64
    }

    /// Puts the steps from a place to a leaf on the bill of the place, once.
    fn account_for(&mut self, at: Place, leaf: NodeId) {
        let path = self.tree.path(leaf);
        let place = self.state(at);
        let (mut is_new, mut is_fresh) = (false, false);
        for (id, node) in path.into_iter().rev() {
            if self.states[&id] == place || !self.asked_for.insert(id) {
                break;
            }
            is_new = true;
            is_fresh |= id >= self.own;
            let (bill, step) = (self.bills.entry(at).or_default(), &node.step);
            let calls = step.proposal.action.calls().len() as u64;
            let tokens = step.proposal.tokens.as_ref();
            let sampled = tokens.map_or(0, |tokens| tokens.sampled.len() as u64);
            bill.calls += u32::try_from(calls).unwrap_or(u32::MAX);
            bill.tokens += sampled;
            let own = id >= self.own;
            self.ledger.sampled.add(own, sampled);
            self.ledger.calls.add(own, calls);
            if let Some(tokens) = tokens.filter(|_| own) {
                self.ledger.prompt_kept += u64::from(tokens.kept);
                self.ledger.prompt_new += tokens.prompt.len() as u64;
            }
        }
        if is_new && self.is_end(leaf) {
            self.ledger.rollouts.add(is_fresh, 1);
        }
    }
}

/// The numbers of `k` rollouts from a place: child 0 of a step is how its own trajectory went
/// on.
fn numbers(at: Place, k: u32) -> Range<u32> {
    match at {
        None => 0..k,
        Some(_) => 1..k + 1,
    }
}

fn chance(rollouts: &[Rollout]) -> Rollouts {
    Rollouts::of(rollouts.iter().map(|rollout| rollout.success))
}
