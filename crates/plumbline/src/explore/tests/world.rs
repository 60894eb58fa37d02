//! A small world whose policy is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::super::*;
use crate::mutants::call;
use crate::protocol::Protocol;
use crate::{
    Action, Effort, Environment, EnvironmentParts, Fault, Limits, NodeId, Observation,
    Policy, PolicyError, PolicyId, Prompt, Proposal, Scratch, Seen, Shape, Start,
    StepLabel, TaskId, Tokens, Tool, ToolError, ToolSpec, Verifier, VerifierError,
    branch,
};
use StepLabel::{Bad, Good};

/// A policy that takes steps and then answers. A step is good with chance `p`, by its seed.
/// The answer is right if all steps were good and there were enough of them; if not, it is
/// right all the same with chance `r`.
pub(super) struct Walk {
    pub(super) id: PolicyId,
    pub(super) p: f64,
    pub(super) r: f64,
    pub(super) steps: usize,
    /// Without so many good steps the answer is not known.
    pub(super) needed: usize,
    /// The one step that may be bad; any may if there is none such.
    pub(super) planted: Option<usize>,
    /// What it does instead of all that, if anything.
    pub(super) script: Vec<Action>,
    /// Whether no two of its steps are the same.
    pub(super) marks: bool,
    /// Messages it was asked for, and prompts for which it was asked for several.
    pub(super) asked: AtomicU64,
    pub(super) batches: AtomicU64,
}

/// A number from 0 to 1, of a seed.
fn drawn(seed: u64, what: &str) -> f64 {
    let drawn = Digest::of_parts(&[&seed.to_le_bytes(), what.as_bytes()]).to_u64();
    drawn as f64 / u64::MAX as f64
}

pub(super) fn is_good(proposal: &Proposal) -> bool {
    proposal.text.contains("\"good\"")
}

impl Walk {
    fn action(&self, prompt: &Prompt<'_>, seed: u64) -> Action {
        let taken = prompt.turns.len();
        if let Some(action) = self.script.get(taken) {
            return action.clone();
        }
        let good = prompt.turns.iter().filter(|turn| is_good(turn.proposal)).count();
        if prompt.last || taken >= self.steps {
            let knows = good == taken && good >= self.needed;
            let right = knows || drawn(seed, "recovers") < self.r;
            return Action::Answer { text: if right { "right" } else { "wrong" }.into() };
        }
        let may_fail = self.planted.is_none_or(|planted| planted == taken);
        let quality =
            if !may_fail || drawn(seed, "good") < self.p { "good" } else { "bad" };
        let mark = if self.marks { seed } else { 0 };
        call("look", json!({ "quality": quality, "mark": mark.to_string() }))
    }

    /// The chance of a right answer after so many steps, all good or not.
    pub(super) fn value(&self, taken: usize, good: bool) -> f64 {
        let left = (self.steps - taken) as i32;
        let knows = if good { self.p.powi(left) } else { 0.0 };
        knows + (1.0 - knows) * self.r
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Policy for Walk {
    fn id(&self) -> &PolicyId {
        &self.id
    }

    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError> {
        self.asked.fetch_add(seeds.len() as u64, Ordering::Relaxed);
        self.batches.fetch_add(u64::from(seeds.len() > 1), Ordering::Relaxed);
        let proposal = |seed: &u64| {
            let action = self.action(prompt, *seed);
            let text = prompt.protocol.render(&action).expect("it can say all of this");
            let action = prompt.protocol.parse(&text).action;
            let (sampled, logprobs) = (vec![7; 4], vec![-0.5; 4]);
            let tokens = Some(Tokens { sampled, logprobs, ..Tokens::default() });
            Proposal { text, action, seed: *seed, tokens, elided: vec![] }
        };
        Ok(seeds.iter().map(proposal).collect())
    }

    fn scores(&self) -> bool {
        true
    }

    /// The same for every word, the less the more steps there were: another text each time.
    async fn score(
        &self,
        prompt: &Prompt<'_>,
        texts: &[&str],
    ) -> Result<Vec<Vec<f32>>, PolicyError> {
        let each = -0.5 - prompt.turns.len() as f32;
        let score = |text: &&str| text.split_whitespace().map(|_| each).collect();
        Ok(texts.iter().map(score).collect())
    }
}

/// A search that finds the gold document if the step is good; or a program that adds up the
/// numbers in its text; or a database without tables.
struct Toy(ToolSpec);

impl Toy {
    fn called(name: &str) -> Arc<dyn Tool> {
        let (name, pinned) = (name.to_owned(), Digest::of(b"toy"));
        let parameters = json!({ "type": "object" });
        Arc::new(Self(ToolSpec {
            name,
            description: "A toy.".into(),
            parameters,
            pinned,
        }))
    }
}

#[async_trait]
impl Tool for Toy {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(
        &self,
        args: &Value,
        _scratch: &mut Scratch,
        _limits: &Limits,
    ) -> Result<Observation, ToolError> {
        if let Some(query) = args["query"].as_str() {
            return Ok(match query.contains(" missing") {
                true => Observation::fault(Fault::BadArgs, "no such table: missing"),
                false => Observation::Output {
                    text: "1 row".into(),
                    data: json!({ "rows": [[1]] }),
                },
            });
        }
        let data = match args["code"].as_str() {
            Some(code) => {
                let numbers = code.split(|c: char| !c.is_ascii_digit());
                let sum: u64 = numbers.filter_map(|it| it.parse::<u64>().ok()).sum();
                json!({ "stdout": sum.to_string() })
            }
            None => {
                let (id, text) = match args["quality"].as_str() {
                    Some("good") => ("den", "The red fox lives in a den."),
                    _ => ("bog", "Nothing lives in the bog."),
                };
                json!({ "documents": [{ "id": id, "title": id, "text": text }] })
            }
        };
        Ok(Observation::Output { text: data.to_string(), data })
    }
}

/// A verifier that says of a step, given how many come before it, what it is told to say.
struct Says {
    id: VerifierId,
    effort: Effort,
    says: fn(&Proposal, usize) -> Option<StepLabel>,
}

pub(super) fn says(
    id: &str,
    effort: Effort,
    says: fn(&Proposal, usize) -> Option<StepLabel>,
) -> Box<dyn Verifier> {
    Box::new(Says { id: VerifierId(id.to_owned()), effort, says })
}

#[async_trait]
impl Verifier for Says {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    fn effort(&self) -> Effort {
        self.effort
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        _seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let verdict = |node: &NodeId| {
            let path = tree.path(*node);
            let proposal = &path.last()?.1.step.proposal;
            Some(Verdict {
                node: *node,
                verifier: self.id.clone(),
                value: Value::Null,
                label: Some((self.says)(proposal, path.len() - 1)?),
                zero: None,
                confidence: None,
                reason: "it is told to say so".to_owned(),
                evidence: vec![],
                saw: Sight::ONLINE,
                cost: Default::default(),
            })
        };
        Ok(nodes.iter().filter_map(verdict).collect())
    }
}

/// Knows the quality of each step, and nothing of answers.
pub(super) fn knows(proposal: &Proposal, _before: usize) -> Option<StepLabel> {
    let is_answer = matches!(proposal.action, Action::Answer { .. });
    (!is_answer).then_some(if is_good(proposal) { Good } else { Bad })
}

pub(super) struct World {
    pub(super) environment: Environment,
    pub(super) policy: Walk,
    pub(super) task: Task,
    pub(super) gold: Gold,
    pub(super) recorded: Vec<Vec<String>>,
    pub(super) checks: Vec<Box<dyn Verifier>>,
    pub(super) seed: u64,
}

pub(super) type Explored = (Tree, Vec<Verdict>, CostLedger);

impl World {
    /// A policy of 4 steps.
    pub(super) fn new(p: f64, r: f64) -> Self {
        let environment = Environment::new(EnvironmentParts {
            name: "toys".into(),
            prompt: "{{tools}}".into(),
            protocol: Protocol::Hermes,
            thought_chars_max: 0,
            limits: Limits { steps_max: 10, ..Limits::default() },
            tools: vec![Toy::called("look"), Toy::called("python"), Toy::called("sql")],
        });
        let policy = Walk {
            id: PolicyId("walk".into()),
            p,
            r,
            steps: 4,
            needed: 0,
            planted: None,
            script: vec![],
            marks: true,
            asked: AtomicU64::new(0),
            batches: AtomicU64::new(0),
        };
        let (id, prompt) = (TaskId("fox".into()), "Where does the fox live?".into());
        Self {
            environment: environment.expect("the parts fit"),
            policy,
            task: Task { id, prompt, inputs: Value::Null },
            gold: Gold(json!({ "answer": "right", "supporting": ["den"] })),
            recorded: vec![],
            checks: vec![says("knows@1", Effort::Check, knows)],
            seed: 0,
        }
    }

    pub(super) fn checked_by(
        mut self,
        what: fn(&Proposal, usize) -> Option<StepLabel>,
    ) -> Self {
        self.checks = vec![says("says@1", Effort::Check, what)];
        self
    }

    pub(super) fn tree(&self) -> Tree {
        Tree::new(self.task.id.clone())
    }

    fn ground<'g>(
        &'g self,
        slots: &'g Semaphore,
        stop: watch::Receiver<bool>,
    ) -> Ground<'g> {
        Ground {
            environment: &self.environment,
            policy: &self.policy,
            cache: None,
            meter: None,
            slots,
            stop,
            sink: &|_| Ok(()),
            seed: self.seed,
            retries: 0,
        }
    }

    /// A tree of one trajectory, the question's of that number.
    pub(super) fn sampled(&self, number: u32) -> Tree {
        let (slots, (_stopper, stop)) = (Semaphore::new(1), watch::channel(false));
        let ground = self.ground(&slots, stop);
        let shape = Shape::numbered(number..number + 1);
        let start = [Start::root(&ground, &self.task)];
        block_on(branch(&ground, &self.task, self.tree(), &start, &shape))
            .expect("nothing fails in this world")
    }

    /// Runs a method on a tree with these constants in place of its own.
    pub(super) fn run(
        &self,
        name: &str,
        tree: Tree,
        samples: u32,
        given: Constants,
    ) -> Explored {
        let method = Method::find(name).expect("a method of that name");
        let constants = method.constants(&given);
        let settings = Settings { samples, constants, tokens_max: None, calls_max: None };
        let (slots, (_stopper, stop)) = (Semaphore::new(16), watch::channel(false));
        let ground = self.ground(&slots, stop);
        let known = (&self.task, &self.gold);
        let reference = Some(&self.policy as &dyn Policy);
        let others = Others { recorded: &self.recorded, checks: &self.checks, reference };
        block_on(method.explore(&ground, known, tree, others, &settings))
            .expect("nothing fails in this world")
    }

    /// How many steps were taken up to a node, and whether all of them were good.
    pub(super) fn taken(&self, tree: &Tree, node: NodeId) -> (usize, bool) {
        let path = tree.path(node);
        (path.len(), path.iter().all(|(_, node)| is_good(&node.step.proposal)))
    }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime with a clock").block_on(future)
}

pub(super) fn rollouts(rollouts: u32) -> Constants {
    Constants { rollouts: Some(rollouts), ..Constants::NONE }
}

/// A method's constants, small where it has them.
pub(super) fn few(method: &Method) -> Constants {
    let Constants { rollouts, searches, width, .. } = method.constants;
    let (rollouts, searches) = (rollouts.map(|_| 3), searches.map(|_| 4));
    Constants { rollouts, searches, width: width.map(|_| 2), ..Constants::NONE }
}
