//! Verifiers of optimisation models: one file each. They read the model of every `solve` call
//! of a step as a [`Program`], put it beside the gold's model where they may see it, and have
//! the environment's own tool solve what tells the two apart. Those solves are their
//! evidence.
//!
//! Names do not count: columns are put together by what they cost and where they take part
//! ([`compare::aligned`]). Where the two programs have as many columns, two feasible sets are
//! compared limit by limit: a limit that one has and the other lacks is a difference only if
//! solving shows that the other goes beyond it, so that another way to say the same is none.
//! Where they have not, the optima are compared, as they are and after numbers of the problem
//! changed.
//!
//! A probe is never bad: a model without an objective, which asks only whether something is
//! feasible, or one that relaxes an earlier model of the episode, which asks why it came out
//! as it did.

mod cut_off;
mod following;
mod idle;
mod missing;
mod objective;
mod optimum;
mod sanity;
mod solvable;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::program::compare::{self, Limit, near};
use crate::program::{Program, Sense, Size, lp, read};
use crate::verifiers::modelling::following::{Following, following};
use crate::verifiers::{Finding, Path, verdict};
use crate::{
    Cost, Digest, Environment, Episode, Evidence, Gold, NodeId, Observation, Scratch,
    Seen, Sight, Step, StepLabel, Task, ToolCall, Tree, Verdict, Verifier, VerifierError,
    VerifierId,
};

const TOOL: &str = "solve";
/// Two objectives are one if they differ by less, relatively.
const SAME: f64 = 1e-4;
/// An activity beyond a limit by less than this, relatively, is not beyond it.
const BEYOND: f64 = 1e-5;
/// Limits of one model that are probed on the other.
const PROBES_MAX: usize = 60;

/// What solves for a verifier.
struct Workbench {
    environment: Arc<Environment>,
}

/// A solve on a fork.
struct Solve {
    observation: Observation,
    evidence: Evidence,
}

impl Solve {
    /// `optimal`, `infeasible` or `unbounded`; empty for a fault.
    fn status(&self) -> &str {
        self.observation.data().get("status").and_then(Value::as_str).unwrap_or_default()
    }

    fn objective(&self) -> Option<f64> {
        self.observation.data().get("objective").and_then(Value::as_f64)
    }
}

impl Workbench {
    fn new(environment: Arc<Environment>) -> Self {
        Self { environment }
    }

    /// Solves on a fork of the state before the first step. The tool keeps nothing, so that
    /// any other state would do as well.
    async fn solve(
        &self,
        task: &Task,
        args: Value,
        verifier: &dyn Verifier,
    ) -> Result<Solve, VerifierError> {
        let call = ToolCall { id: "check".to_owned(), tool: TOOL.to_owned(), args };
        let checks = Some(self.environment.checks());
        let mut fork = Episode::new(&self.environment, &task.inputs, checks);
        let observation =
            fork.call(&call).await.map_err(|error| VerifierError::Failed {
                verifier: verifier.id().clone(),
                message: error.to_string(),
            })?;
        let result = Digest::of_json(&observation);
        Ok(Solve { observation, evidence: Evidence::Execution { call, result } })
    }
}

/// One `solve` call of the judged step that could be read, and what it came to.
struct Model<'t> {
    /// The problem as it was put.
    prompt: &'t str,
    call: &'t ToolCall,
    program: Program,
    observation: &'t Observation,
    is_probe: bool,
    /// Whether an earlier model of the episode says the same, whatever its names.
    is_repeated: bool,
}

impl Model<'_> {
    fn status(&self) -> &str {
        self.observation.data().get("status").and_then(Value::as_str).unwrap_or_default()
    }

    fn objective(&self) -> Option<f64> {
        self.observation.data().get("objective").and_then(Value::as_f64)
    }
}

/// The models of a step, in order.
fn models<'t>(path: &Path<'t>, prompt: &'t str) -> Vec<Model<'t>> {
    let mut earlier: Vec<Program> = path
        .earlier
        .iter()
        .flat_map(|(_, step)| programs(step))
        .map(|(_, _, program)| program)
        .collect();
    let mut models = Vec::new();
    for (call, observation, program) in programs(path.step) {
        let is_probe = is_probe(&program, &earlier);
        let is_repeated = earlier.iter().any(|other| says_the_same(&program, other));
        earlier.push(program.clone());
        let model = Model { prompt, call, program, observation, is_probe, is_repeated };
        models.push(model);
    }
    models
}

fn programs(step: &Step) -> impl Iterator<Item = (&ToolCall, &Observation, Program)> {
    super::calls(step).filter(|(call, _)| call.tool == TOOL).filter_map(
        |(call, observation)| {
            let program = read(&call.args, &Size::default()).ok()?;
            Some((call, observation, program))
        },
    )
}

/// Whether a program asks something about the problem rather than stating it.
fn is_probe(program: &Program, earlier: &[Program]) -> bool {
    program.columns.iter().all(|column| column.cost == 0.0)
        || earlier.iter().any(|earlier| relaxes(program, earlier))
}

/// Whether `program` is `other` with constraints left out or columns no longer integer, and
/// is not the same.
fn relaxes(program: &Program, other: &Program) -> bool {
    let same_columns = program.columns.len() == other.columns.len()
        && program.columns.iter().zip(&other.columns).all(|(one, two)| {
            one.name == two.name
                && near(one.cost, two.cost)
                && (two.integer || !one.integer)
        });
    let there = compare::limits(other);
    let kept = |limit: &Limit| there.iter().any(|other| other.same(limit));
    program != other
        && program.sense == other.sense
        && same_columns
        && compare::limits(program).iter().all(kept)
}

/// Whether two programs have the same columns, costs and limits, but for names and order.
fn says_the_same(program: &Program, other: &Program) -> bool {
    let Some(program) = compare::aligned(program, other) else { return false };
    let (one, two) = (compare::limits(&program), compare::limits(other));
    let mut columns = program.columns.iter().zip(&other.columns);
    program.sense == other.sense
        && columns.all(|(a, b)| near(a.cost, b.cost) && a.integer == b.integer)
        && compare::lacking(&one, &two).is_empty()
        && compare::lacking(&two, &one).is_empty()
}

/// A model put beside the gold's.
struct Beside {
    gold: Program,
    /// What solving the gold came to.
    optimum: f64,
    gold_evidence: Evidence,
    /// How much better than the gold's optimum the model's is; negative where it is worse,
    /// `None` where it has none.
    gain: Option<f64>,
    /// The rest, where both have as many columns.
    difference: Option<Difference>,
    /// Where the model comes to the optimum in another form: whether that is chance.
    following: Option<Following>,
}

/// How two programs over the same columns differ.
struct Difference {
    /// Limits of the gold that the model goes beyond.
    missing: Vec<Beyond>,
    /// Limits of the model that the gold goes beyond.
    extra: Vec<Beyond>,
    /// Limits of the model that the gold has not, and never goes beyond.
    idle: Vec<Limit>,
    /// Names of gold columns with another cost, with both costs.
    costs: Vec<(String, f64, f64)>,
    /// The factor between the costs, where there is one; negative where the sense is turned
    /// round as well.
    scale: Option<f64>,
    /// Columns that are integer in one of both.
    integrality: usize,
    /// Limits in either that the other lacks, as a share of all.
    apart: f64,
}

/// A limit, and how far the other program goes.
struct Beyond {
    limit: Limit,
    /// The largest activity; infinite where nothing ends it.
    reached: f64,
    evidence: Evidence,
}

impl Difference {
    /// Whether the two say so little alike that they cannot be compared limit by limit.
    fn is_another_form(&self) -> bool {
        self.scale.is_none() && self.apart > 0.5
    }
}

impl Beside {
    /// Whether the model says what the gold says.
    fn is_equivalent(&self) -> bool {
        self.difference.as_ref().is_some_and(|difference| {
            difference.missing.is_empty()
                && difference.extra.is_empty()
                && difference.scale == Some(1.0)
        })
    }
}

/// Puts a model beside the gold; `None` where the gold has no model with an optimum.
async fn beside(
    bench: &Workbench,
    verifier: &dyn Verifier,
    seen: Seen<'_>,
    model: &Model<'_>,
) -> Result<Option<Beside>, VerifierError> {
    let lacks = |message: String| seen.lacks(verifier.id(), message);
    let args = seen.gold.and_then(gold_model).ok_or_else(|| {
        lacks(
            "its gold has no model: add \"model\", the arguments of a solve call".into(),
        )
    })?;
    let gold = read(args, &Size::default())
        .map_err(|error| lacks(format!("its gold's model cannot be read: {error}")))?;
    let solved = bench.solve(seen.task, args.clone(), verifier).await?;
    let Some(optimum) = solved.objective() else { return Ok(None) };
    let (mut difference, mut reversed) = (None, false);
    if let Some(ours) = compare::aligned(&model.program, &gold) {
        let found = differ(bench, verifier, seen.task, &ours, &gold).await?;
        reversed = found.scale.is_some_and(|scale| scale < 0.0);
        difference = Some(found);
    }
    let objective = model.objective().map(|objective| match gold.sense {
        _ if reversed && model.program.sense != gold.sense => -objective,
        _ => objective,
    });
    let gain = objective.map(|objective| {
        let gain = match gold.sense {
            Sense::Maximize => objective - optimum,
            Sense::Minimize => optimum - objective,
        };
        if gain.abs() <= SAME * optimum.abs().max(1e-2) { 0.0 } else { gain }
    });
    let is_another = difference.as_ref().is_none_or(Difference::is_another_form);
    let following = match model.objective() {
        Some(reached) if is_another && gain == Some(0.0) => {
            let ours = (&model.program, reached);
            Some(following(bench, verifier, seen.task, ours, (&gold, optimum)).await?)
        }
        _ => None,
    };
    let gold_evidence = solved.evidence;
    Ok(Some(Beside { gold, optimum, gold_evidence, gain, difference, following }))
}

fn gold_model(gold: &Gold) -> Option<&Value> {
    gold.0.get("model").filter(|model| model.is_object())
}

async fn differ(
    bench: &Workbench,
    verifier: &dyn Verifier,
    task: &Task,
    ours: &Program,
    gold: &Program,
) -> Result<Difference, VerifierError> {
    let (our_limits, gold_limits) = (compare::limits(ours), compare::limits(gold));
    let lacking = compare::lacking(&gold_limits, &our_limits);
    let added = compare::lacking(&our_limits, &gold_limits);
    let all = (our_limits.len() + gold_limits.len()).max(1);
    let apart = (lacking.len() + added.len()) as f64 / all as f64;
    let (mut missing, mut extra, mut idle) = (vec![], vec![], vec![]);
    for limit in lacking.into_iter().take(PROBES_MAX) {
        missing.extend(beyond(bench, verifier, task, limit, ours).await?);
    }
    for limit in added.into_iter().take(PROBES_MAX) {
        match beyond(bench, verifier, task, limit, gold).await? {
            Some(beyond) => extra.push(beyond),
            None => idle.push(limit.clone()),
        }
    }
    let paired = || ours.columns.iter().zip(&gold.columns);
    let costs = paired()
        .filter(|(ours, gold)| !near(ours.cost, gold.cost))
        .map(|(ours, gold)| (gold.name.clone(), ours.cost, gold.cost));
    Ok(Difference {
        missing,
        extra,
        idle,
        costs: costs.collect(),
        scale: scale(ours, gold),
        integrality: paired().filter(|(one, two)| one.integer != two.integer).count(),
        apart,
    })
}

/// The factor that makes the gold's objective ours, sense included.
fn scale(ours: &Program, gold: &Program) -> Option<f64> {
    let pairs = || ours.columns.iter().zip(&gold.columns).map(|(a, b)| (a.cost, b.cost));
    let (one, two) = pairs().find(|(_, gold)| *gold != 0.0)?;
    let factor = one / two;
    let turned = ours.sense != gold.sense;
    let fits = factor != 0.0
        && (factor < 0.0) == turned
        && pairs().all(|(ours, gold)| near(ours, factor * gold))
        && near(ours.offset, factor * gold.offset);
    fits.then(|| if near(factor, 1.0) { 1.0 } else { factor })
}

/// How far a program goes beyond a limit; `None` if it never does, or it cannot be told.
async fn beyond(
    bench: &Workbench,
    verifier: &dyn Verifier,
    task: &Task,
    limit: &Limit,
    within: &Program,
) -> Result<Option<Beyond>, VerifierError> {
    let args = json!({ "lp": lp::write(&limit.probe(within)) });
    let solved = bench.solve(task, args, verifier).await?;
    let reached = match solved.status() {
        "unbounded" => f64::INFINITY,
        "optimal" => solved.objective().unwrap_or(f64::NEG_INFINITY),
        _ => return Ok(None),
    };
    let room = BEYOND * limit.limit.abs().max(1.0);
    let evidence = solved.evidence;
    Ok((reached > limit.limit + room).then(|| Beyond {
        limit: limit.clone(),
        reached,
        evidence,
    }))
}

/// A limit in words, with the gold's names.
fn words(limit: &Limit, names: &Program) -> String {
    let terms: Vec<String> = limit
        .terms
        .iter()
        .take(6)
        .map(|(column, coefficient)| {
            let coefficient = (coefficient * 1e6).round() / 1e6;
            format!("{coefficient} {}", names.columns[*column].name)
        })
        .collect();
    let more = if limit.terms.len() > terms.len() { " + …" } else { "" };
    let bound = (limit.limit * 1e6).round() / 1e6;
    format!("{} ({}{more} <= {bound})", limit.name, terms.join(" + "))
}

/// What a verifier says of one model and what stands beside it.
type Find = fn(&Model<'_>, Option<&Beside>) -> Option<Finding>;

/// A verifier of models. Its files tell what each finds: [`ModelVerifier::solvable`],
/// [`sanity`](ModelVerifier::sanity), [`optimum`](ModelVerifier::optimum),
/// [`cut_off`](ModelVerifier::cut_off), [`missing`](ModelVerifier::missing),
/// [`idle`](ModelVerifier::idle), [`objective`](ModelVerifier::objective).
///
/// A step gets the verdict on its last model, or on the first that is bad. Gold must have a
/// `model` where the sight includes it.
pub struct ModelVerifier {
    id: VerifierId,
    sight: Sight,
    find: Find,
    bench: Workbench,
}

impl ModelVerifier {
    fn new(id: &str, sight: Sight, find: Find, environment: Arc<Environment>) -> Self {
        let id = VerifierId(id.to_owned());
        Self { id, sight, find, bench: Workbench::new(environment) }
    }

    /// The finding with the model's own solve in front of its evidence.
    async fn with_own(
        &self,
        task: &Task,
        model: &Model<'_>,
        mut finding: Finding,
    ) -> Result<Finding, VerifierError> {
        let own = self.bench.solve(task, model.call.args.clone(), self).await?;
        if own.observation.as_fault().is_none() {
            finding.evidence.insert(0, own.evidence);
        }
        Ok(finding)
    }
}

#[async_trait]
impl Verifier for ModelVerifier {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        self.sight
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let mut verdicts = Vec::new();
        let root = Scratch::of_inputs(&seen.task.inputs).digest();
        for node in nodes {
            let steps = tree.path(*node);
            let mut earlier: Vec<(NodeId, &Step)> =
                steps.iter().map(|(id, node)| (*id, &node.step)).collect();
            let Some((node, step)) = earlier.pop() else { continue };
            let path = Path { root, earlier, node, step };
            let mut chosen: Option<Verdict> = None;
            for model in models(&path, &seen.task.prompt) {
                let beside = match self.sight.gold {
                    true => beside(&self.bench, self, seen, &model).await?,
                    false => None,
                };
                let Some(finding) = (self.find)(&model, beside.as_ref()) else {
                    continue;
                };
                let finding = self.with_own(seen.task, &model, finding).await?;
                let calls = u32::try_from(finding.evidence.len()).unwrap_or(u32::MAX);
                let cost = Cost { calls, tokens: 0 };
                chosen = Some(Verdict { cost, ..verdict(self, node, finding) });
                if chosen.as_ref().and_then(|v| v.label) == Some(StepLabel::Bad) {
                    break;
                }
            }
            verdicts.extend(chosen);
        }
        Ok(verdicts)
    }
}
