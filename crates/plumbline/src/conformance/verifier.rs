//! Whether a verifier keeps what [`Verifier`] promises: tried out on known good trajectories,
//! on changed ones, and on degenerate ones that must never be rewarded.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use super::arguments;
use crate::audit::{Ground, audit};
use crate::mutants::canaries::{canaries, invented};
use crate::mutants::{Effect, Good, Plan, call, mutants, play, solve};
use crate::verifier::label_step;
use crate::{
    ActError, Action, Boundary, CallCache, Ending, Environment, Gold, NodeId, StepLabel,
    Task, Tree, Verdict, Verifier, VerifierError, label,
};

/// Bytes of observations that are kept while trajectories are played.
const CACHE_BYTES_MAX: usize = 64 << 20;
/// Calls made from the schema of each tool, for a task that nobody knows how to solve.
const CALLS_MAX: usize = 2;

/// Planted faults, one of each class, that each task's good trajectory is tried with.
const FAULTS_MAX: usize = 12;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifierPromise {
    /// It answers, and as the seam asks.
    Answers,
    /// The same question comes to the same verdicts.
    Determinism,
    /// Nothing lasts from one question to the next.
    State,
    /// What it was not promised to see does not show: later steps, the outcome, the gold.
    Hindsight,
    /// What it rests on can be executed again, or is there.
    Evidence,
    /// What is known to be right is not called bad.
    Solutions,
    /// What is degenerate is not called good.
    Canaries,
    /// Answers and time have their bounds.
    Limits,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifierBreach {
    /// Which.
    pub promise: VerifierPromise,
    /// What happened.
    pub message: String,
    /// What it was shown: the task, then a line a step.
    pub trajectory: Vec<String>,
}

/// What trying a verifier out came to.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifierConformance {
    /// Steps it was asked about.
    pub asked: u64,
    /// Verdicts it gave on them; the rest were abstentions.
    pub verdicts: u64,
    /// The slowest question, for each step of it.
    pub slowest: Duration,
    /// Promises that were looked at and kept.
    pub kept: Vec<VerifierPromise>,
    /// Those that were not, the first breach of each.
    pub breaches: Vec<VerifierBreach>,
}

/// A trajectory that verifiers are tried out on.
#[derive(Debug, Clone)]
pub struct Exhibit {
    task: Task,
    gold: Option<Gold>,
    tree: Tree,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Known to be right, by calls that the gold names.
    Solution,
    /// Neither right nor wrong for certain.
    Other,
    /// Degenerate from a step on. What follows it fails honestly in its place.
    Canary(&'static str, NodeId),
}

impl fmt::Display for VerifierPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VerifierPromise::Answers => "answers",
            VerifierPromise::Determinism => "determinism",
            VerifierPromise::State => "no hidden state",
            VerifierPromise::Hindsight => "no hindsight",
            VerifierPromise::Evidence => "evidence",
            VerifierPromise::Solutions => "solutions",
            VerifierPromise::Canaries => "canaries",
            VerifierPromise::Limits => "limits",
        })
    }
}

/// Plays what verifiers are tried out on, for each of some tasks: the good trajectory, one that
/// makes its calls and fails honestly, some with a fault, and those that are degenerate. Where nobody knows a good
/// one, calls made from the tools' schemas.
pub async fn exhibits(
    environment: &Environment,
    tasks: &[(Task, Option<Gold>)],
) -> Result<Vec<Exhibit>, ActError> {
    let cache = CallCache::new(CACHE_BYTES_MAX);
    let mut found = Vec::new();
    let mut solved: Vec<(&Task, &Gold, Vec<Action>)> = Vec::new();
    for (task, gold) in tasks {
        let actions = match gold {
            Some(gold) => solve(environment, task, gold, &cache).await?,
            None => None,
        };
        match (gold, actions) {
            (Some(gold), Some(actions)) => solved.push((task, gold, actions)),
            _ => {
                let plan = unsolved(environment);
                let tree = play(environment, task, &plan, &cache).await?;
                let (task, gold) = (task.clone(), gold.clone());
                found.push(Exhibit { task, gold, tree, kind: Kind::Other });
            }
        }
    }
    for (task, gold, actions) in &solved {
        let others = solved.iter().map(|(.., actions)| actions.as_slice());
        let other = others.clone().find(|other| other.last() != actions.last());
        let invented = [answer(invented(gold.answers().first().unwrap_or(&"")))];
        let other = other.unwrap_or(&invented);
        for (kind, plan) in plans(environment, task, gold, actions, other, &cache).await?
        {
            let tree = play(environment, task, &plan, &cache).await?;
            let (task, gold) = ((*task).clone(), Some((*gold).clone()));
            found.push(Exhibit { task, gold, tree, kind });
        }
    }
    Ok(found)
}

fn answer(text: String) -> Action {
    Action::Answer { text }
}

/// Two calls of each tool, and an answer.
fn unsolved(environment: &Environment) -> Plan {
    let specs = environment.specs().iter();
    let specs = specs.filter(|spec| !environment.is_external(&spec.name));
    let calls = specs.flat_map(|spec| {
        let made = arguments::inside(&spec.parameters, CALLS_MAX).into_iter();
        made.map(|args| call(&spec.name, args))
    });
    let actions = calls.chain([answer("nothing".to_owned())]).collect();
    Plan::new("none", Effect::NoOp, actions, 0)
}

async fn plans(
    environment: &Environment,
    task: &Task,
    gold: &Gold,
    actions: &[Action],
    other: &[Action],
    cache: &CallCache,
) -> Result<Vec<(Kind, Plan)>, ActError> {
    let plan = |actions| Plan::new("none", Effect::NoOp, actions, 0);
    let solution = plan(actions.to_vec());
    let tree = play(environment, task, &solution, cache).await?;
    let is_known = gold.solution().is_ok_and(|calls| !calls.is_empty());
    let mut honest = actions[..actions.len() - 1].to_vec();
    honest.push(answer("I do not know".to_owned()));
    let mut plans = vec![
        (if is_known { Kind::Solution } else { Kind::Other }, solution),
        (Kind::Other, plan(honest)),
    ];
    let good = Good { task, gold, actions, tree: &tree, other };
    let mut classes = BTreeSet::new();
    let faults = mutants(environment, good, cache).await?.into_iter();
    // Of those whose observations are cut no evidence can be had again.
    let faults = faults.filter(|it| {
        it.effect == Effect::Fault && it.cuts.is_empty() && classes.insert(it.class)
    });
    plans.extend(faults.take(FAULTS_MAX).map(|fault| (Kind::Other, fault)));
    for canary in canaries(good) {
        let site = NodeId(u32::try_from(canary.site).expect("plans are short"));
        let failing = failing(&canary, other);
        plans.push((Kind::Canary(canary.class, site), canary));
        plans.push((Kind::Other, plan(failing)));
    }
    Ok(plans)
}

/// What fails as a canary does, and plainly: each call once, and one answer that is wrong.
fn failing(canary: &Plan, other: &[Action]) -> Vec<Action> {
    let mut plain = canary.actions.clone();
    plain.dedup();
    if canary.class == "two-answers" {
        plain.pop();
        plain.extend(other.last().cloned());
    }
    plain
}

/// Tries a verifier out.
pub async fn verifier_conformance(
    environment: &Environment,
    verifier: &dyn Verifier,
    exhibits: &[Exhibit],
) -> Result<VerifierConformance, ActError> {
    let sight = verifier.sight();
    let exhibits: Vec<&Exhibit> =
        exhibits.iter().filter(|it| it.gold.is_some() || !sight.gold).collect();
    let (asked, given, slowest) = (0, 0, Duration::ZERO);
    let mut trial =
        Trial { environment, verifier, asked, given, slowest, breaches: vec![] };
    // Before anything else: each step in order, by one that has seen nothing later yet.
    let first = trial.all(&exhibits).await;
    let mut looked = vec![VerifierPromise::Answers, VerifierPromise::Limits];
    // Whoever hangs once is not waited for again.
    if !trial.is_broken(VerifierPromise::Answers) {
        trial.repeats(&exhibits).await;
        looked.push(VerifierPromise::Determinism);
    }
    // Of one that says something else each time nothing else can be told.
    if trial.breaches.is_empty() {
        trial.foresees(&exhibits, &first).await;
        trial.forgets(&exhibits, &first).await;
        trial.rests(&exhibits, &first).await?;
        trial.recognises(&exhibits, &first);
        looked.extend([
            VerifierPromise::State,
            VerifierPromise::Hindsight,
            VerifierPromise::Evidence,
            VerifierPromise::Solutions,
            VerifierPromise::Canaries,
        ]);
    }
    looked.retain(|promise| !trial.is_broken(*promise));
    let Trial { asked, given: verdicts, slowest, breaches, .. } = trial;
    Ok(VerifierConformance { asked, verdicts, slowest, kept: looked, breaches })
}

/// What a verifier says of an exhibit; `None` where it failed.
type Said = Option<Vec<Verdict>>;

/// A verifier being tried out.
struct Trial<'v> {
    environment: &'v Environment,
    verifier: &'v dyn Verifier,
    asked: u64,
    given: u64,
    slowest: Duration,
    breaches: Vec<VerifierBreach>,
}

impl Trial<'_> {
    fn is_broken(&self, promise: VerifierPromise) -> bool {
        self.breaches.iter().any(|breach| breach.promise == promise)
    }

    fn breach(&mut self, promise: VerifierPromise, message: String, of: &Exhibit) {
        if !self.is_broken(promise) {
            let trajectory = of.lines();
            self.breaches.push(VerifierBreach { promise, message, trajectory });
        }
    }

    /// Has the verifier judge a whole tree.
    async fn judge(&mut self, of: &Exhibit, gold: Option<&Gold>, tree: &Tree) -> Said {
        let began = Instant::now();
        let said = label(self.verifier, &of.task, gold, tree).await;
        self.heard(of, tree.len(), began.elapsed(), said)
    }

    /// Has the verifier judge one step, as if it were the last; or the whole tree, where it is
    /// to see later steps.
    async fn judge_at(&mut self, of: &Exhibit, tree: &Tree, node: NodeId) -> Said {
        if self.verifier.sight().later {
            return self.judge(of, of.gold.as_ref(), tree).await;
        }
        let began = Instant::now();
        let gold = of.gold.as_ref();
        let said = label_step(self.verifier, &of.task, gold, tree, node).await;
        self.heard(of, 1, began.elapsed(), said)
    }

    /// Counts an answer. A failure is a breach, and gives nothing.
    fn heard(
        &mut self,
        of: &Exhibit,
        steps: usize,
        took: Duration,
        said: Result<Vec<Verdict>, VerifierError>,
    ) -> Said {
        self.asked += steps as u64;
        let each = took / u32::try_from(steps.max(1)).expect("trees are small");
        self.slowest = self.slowest.max(each);
        let limits = self.environment.limits();
        if each > Duration::from_millis(limits.call_ms_max) {
            let message =
                format!("{each:?} a step; call_ms_max = {}", limits.call_ms_max);
            self.breach(VerifierPromise::Limits, message, of);
        }
        match said {
            Ok(verdicts) => {
                self.given += verdicts.len() as u64;
                let sizes = verdicts.iter().map(|it| shown(it).len());
                let bytes = sizes.max().unwrap_or(0);
                if bytes > limits.output_bytes_max {
                    let max = limits.output_bytes_max;
                    let message =
                        format!("a verdict of {bytes} bytes; output_bytes_max = {max}");
                    self.breach(VerifierPromise::Limits, message, of);
                }
                Some(verdicts)
            }
            Err(error) => {
                self.breach(VerifierPromise::Answers, error.to_string(), of);
                None
            }
        }
    }

    /// The same question, asked twice.
    async fn repeats(&mut self, exhibits: &[&Exhibit]) {
        for exhibit in exhibits {
            for leaf in exhibit.tree.leaves() {
                let first = self.judge_at(exhibit, &exhibit.tree, leaf).await;
                let again = self.judge_at(exhibit, &exhibit.tree, leaf).await;
                if let Some(message) = difference(&first, &again) {
                    let message = format!("the same question, asked twice: {message}");
                    self.breach(VerifierPromise::Determinism, message, exhibit);
                    return;
                }
            }
        }
    }

    /// Every trajectory, up to the first failure.
    async fn all(&mut self, exhibits: &[&Exhibit]) -> Vec<Said> {
        let mut said = Vec::with_capacity(exhibits.len());
        for exhibit in exhibits {
            said.push(self.judge(exhibit, exhibit.gold.as_ref(), &exhibit.tree).await);
            if self.is_broken(VerifierPromise::Answers) {
                break;
            }
        }
        said
    }

    /// What a verifier is not promised to see is changed, and it says the same.
    async fn foresees(&mut self, exhibits: &[&Exhibit], first: &[Said]) {
        let sight = self.verifier.sight();
        for (exhibit, said) in exhibits.iter().zip(first) {
            let Exhibit { gold, tree, .. } = exhibit;
            let nodes: Vec<NodeId> = tree.nodes().map(|(id, _)| id).collect();
            for node in nodes.into_iter().filter(|_| !sight.later) {
                let of_node = |said: &Said| {
                    let verdicts = said.iter().flatten().filter(|it| it.node == node);
                    said.as_ref().map(|_| verdicts.cloned().collect::<Vec<_>>())
                };
                let again = self.judge_at(exhibit, tree, node).await;
                let what = "it was shown later steps in between, and that changes";
                self.compare(what, exhibit, &of_node(said), &again);
            }
            if !sight.outcome {
                let changed = aborted(tree);
                let again = self.judge(exhibit, gold.as_ref(), &changed).await;
                self.compare("another ending changes", exhibit, said, &again);
            }
            if !sight.gold {
                let again = self.judge(exhibit, Some(&other_gold()), tree).await;
                self.compare("another gold changes", exhibit, said, &again);
            }
        }
    }

    fn compare(&mut self, what: &str, of: &Exhibit, one: &Said, two: &Said) {
        if let Some(message) = difference(one, two) {
            let message = format!("{what} the verdict: {message}");
            self.breach(VerifierPromise::Hindsight, message, of);
        }
    }

    /// The trajectories in another order.
    async fn forgets(&mut self, exhibits: &[&Exhibit], first: &[Said]) {
        for (exhibit, said) in exhibits.iter().zip(first).rev() {
            let again = self.judge(exhibit, exhibit.gold.as_ref(), &exhibit.tree).await;
            if let Some(message) = difference(said, &again) {
                let message = format!(
                    "another trajectory in between changes the verdict: {message}"
                );
                self.breach(VerifierPromise::State, message, exhibit);
            }
        }
    }

    /// Whatever is cited is executed and looked up again.
    async fn rests(
        &mut self,
        exhibits: &[&Exhibit],
        first: &[Said],
    ) -> Result<(), ActError> {
        for (exhibit, said) in exhibits.iter().zip(first) {
            let Some(verdicts) = said else { continue };
            let ground = Ground::World(self.environment);
            let (_, diverged) =
                audit(ground, &exhibit.task, &exhibit.tree, verdicts).await?;
            if let Some(diverged) = diverged {
                self.breach(VerifierPromise::Evidence, diverged.to_string(), exhibit);
            }
        }
        Ok(())
    }

    /// What is right is not bad, and what is degenerate earns no more than honest failure.
    fn recognises(&mut self, exhibits: &[&Exhibit], first: &[Said]) {
        let labelled = |at: usize, label, from| {
            let verdicts = first.get(at).into_iter().flatten().flatten();
            verdicts.filter(move |it| it.label == Some(label) && it.node >= from)
        };
        for (at, exhibit) in exhibits.iter().enumerate() {
            match exhibit.kind {
                Kind::Solution => {
                    if let Some(bad) = labelled(at, StepLabel::Bad, NodeId(0)).next() {
                        let bad = shown(bad);
                        let message = format!("it calls a known solution bad: {bad}");
                        self.breach(VerifierPromise::Solutions, message, exhibit);
                    }
                }
                Kind::Canary(class, site) => {
                    let earned = labelled(at, StepLabel::Good, site).count();
                    let plainly = labelled(at + 1, StepLabel::Good, site).count();
                    if earned > plainly {
                        let message = format!(
                            "it calls {earned} steps of the canary {class:?} good, and \
                             {plainly} of one that fails honestly"
                        );
                        self.breach(VerifierPromise::Canaries, message, exhibit);
                    }
                }
                Kind::Other => {}
            }
        }
    }
}

impl Exhibit {
    /// The task, then a line a step.
    fn lines(&self) -> Vec<String> {
        let step = |(id, node): (NodeId, &std::sync::Arc<crate::Node>)| {
            let what = match &node.step.proposal.action {
                Action::Calls { calls } => calls
                    .iter()
                    .map(|call| format!("{} {}", call.tool, call.args))
                    .collect::<Vec<_>>()
                    .join("; "),
                Action::Answer { text } => format!("answer {text}"),
                Action::Malformed { reason } => format!("malformed: {reason}"),
            };
            format!("step {id}: {}", crate::cut(what, 200))
        };
        let task = format!("task {}: {}", self.task.id, self.task.prompt);
        [task].into_iter().chain(self.tree.nodes().map(step)).collect()
    }
}

/// The same tree, which ended otherwise.
fn aborted(tree: &Tree) -> Tree {
    let mut changed = tree.without_endings();
    for leaf in tree.leaves() {
        let (boundary, message) = (Boundary::Host, "the lights went out".to_owned());
        let ending = Ending::Aborted { boundary, message };
        changed.end(Some(leaf), ending).expect("the leaf is in the tree");
    }
    changed
}

/// What nobody's gold is.
fn other_gold() -> Gold {
    Gold(serde_json::json!({ "answer": "zzyzx qwfpg" }))
}

fn shown(verdict: &Verdict) -> String {
    serde_json::to_string(verdict).expect("a verdict serialises")
}

/// What differs between two answers. One that failed says nothing.
fn difference(one: &Said, two: &Said) -> Option<String> {
    let (Some(one), Some(two)) = (one, two) else { return None };
    let found = (0..one.len().max(two.len()))
        .map(|at| (one.get(at), two.get(at)))
        .find(|(first, second)| first != second)?;
    let shown = |verdict: Option<&Verdict>| {
        let shown = verdict.map_or_else(|| "none".to_owned(), shown);
        crate::cut(shown, 400)
    };
    Some(format!("{} and then {}", shown(found.0), shown(found.1)))
}
