//! `plumb explore`: judges steps by growing trees from them.

mod aborted;
mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgMatches, Args, FromArgMatches};
use plumbline::explore::{
    Aggregate, Constants, ExploreError, Likelihoods, METHODS, Method, Others, Settings,
};
use plumbline::store::{RunHeader, RunWriter, VerdictWriter, read_verdicts};
use plumbline::{
    CallCache, CostLedger, Digest, Ending, Environment, Event, Gold, Ground, GrowError,
    Meter, NodeId, Policy, PolicyError, SinkError, StepLabel, Task, TaskId, Tree,
    Verdict, Verifier, VerifierId,
};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::aborted::Aborted;
use crate::args::{JudgeArgs, RunArgs};
use crate::catalog;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::recording::{self, warn_of_losses};
use crate::run::{
    CALL_CACHE_BYTES_MAX, default_out, dry_run, header, refuse_strange, steps_of,
    stop_on_interrupt, ungraded, ungrown,
};
use crate::settings::{PolicyChoice, Settings as RunSettings};

/// Trajectories of a task that are judged, unless `--samples` says otherwise: as many as methods
/// complete a state by default, so that those that one of them judges are the completions of the
/// question that another one takes.
const SAMPLES: u32 = 8;

/// `plumb explore ENV ...` and `plumb explore compare ENV ...`, which take the same. Clap derives
/// no command that has either arguments or a subcommand.
#[derive(Debug)]
pub(crate) struct ExploreCommand {
    args: ExploreArgs,
    compares: bool,
}

impl FromArgMatches for ExploreCommand {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let compare = matches.subcommand_matches("compare");
        let args = ExploreArgs::from_arg_matches(compare.unwrap_or(matches))?;
        Ok(Self { args, compares: compare.is_some() })
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ExploreCommand {
    fn augment_args(command: clap::Command) -> clap::Command {
        let compare = clap::Command::new("compare").about(
            "Run methods over the same tasks, and say what their labels are worth by the \
             environment's verifiers, how they agree, and what a label costs",
        );
        ExploreArgs::augment_args(command)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .subcommand(ExploreArgs::augment_args(compare))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExploreArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// A method; repeat for several, which are run one after the other.
    #[arg(long = "method", value_name = "M", required = true, value_parser = method_names())]
    pub(crate) methods: Vec<String>,
    /// Rollouts for an estimate.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) rollouts: Option<u32>,
    /// Children of a step.
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) width: Option<u32>,
    /// Steps of a path.
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) depth: Option<u32>,
    /// Searches, or simulations.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) searches: Option<u32>,
    /// Paths that a search goes on with.
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) kept: Option<u32>,
    /// How the scores of a trajectory's steps become one: min, mean, product or last.
    #[arg(long, value_name = "A")]
    pub(crate) aggregate: Option<Aggregate>,
    /// Where a judgement turns from bad to good; istar's beta, prl's eta, and how much the
    /// documents of two siblings overlap that treeps-rag takes for one.
    #[arg(long, value_name = "E", value_parser = above_zero)]
    pub(crate) threshold: Option<f64>,
    /// How much is explored rather than exploited.
    #[arg(long, value_name = "C", value_parser = above_zero)]
    pub(crate) exploration: Option<f64>,
    /// Do as the published code does where that departs from its paper.
    #[arg(long)]
    pub(crate) as_published: bool,
    /// Tokens that a method may sample for a task; what it finds in the run counts too. It is
    /// looked at before each batch of rollouts, and so may be passed by one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) task_tokens_max: Option<u64>,
    /// Tool calls that a method may make for a task, looked at in the same way.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) task_calls_max: Option<u64>,
    /// A verifier that methods ask about single steps; repeat for several. Default: those the
    /// environment names.
    #[arg(long = "verifier", value_name = "V")]
    pub(crate) verifiers: Vec<String>,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
    /// A run whose trajectories are judged, each message executed again, instead of new ones; by
    /// the methods that judge whole trajectories.
    #[arg(long, value_name = "RUN", conflicts_with = "samples")]
    pub(crate) from: Option<PathBuf>,
    /// The second policy of methods that hold the likelihoods of two against each other.
    #[arg(long, value_name = "P")]
    pub(crate) reference: Option<String>,
}

fn above_zero(text: &str) -> std::result::Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let is_one = number.is_finite() && number > 0.0;
    is_one.then_some(number).ok_or_else(|| "it must be a number above 0".to_owned())
}

fn method_names() -> PossibleValuesParser {
    let value = |method: &Method| PossibleValue::new(method.name).help(method.summary);
    PossibleValuesParser::new(METHODS.iter().map(value))
}

impl ExploreArgs {
    fn constants(&self) -> Constants {
        Constants {
            rollouts: self.rollouts,
            width: self.width,
            depth: self.depth,
            searches: self.searches,
            threshold: self.threshold,
            exploration: self.exploration,
            as_published: self.as_published.then_some(true),
            kept: self.kept,
            aggregate: self.aggregate,
        }
    }
}

/// What one method made of all tasks.
#[derive(Debug, Serialize)]
struct MethodReport {
    method: &'static str,
    verifier: VerifierId,
    tasks: u64,
    /// Tasks it had judged before this start.
    kept: u64,
    good: u64,
    neutral: u64,
    bad: u64,
    unlabelled: u64,
    /// Tasks on which it came to the end of its budget.
    spent: u64,
    /// Over all tasks: wall time is added up as if they had been one after the other.
    ledger: CostLedger,
    /// Wall time of this start.
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    run: PathBuf,
    policy: String,
    tasks: u64,
    without_gold: u64,
    methods: Vec<MethodReport>,
}

/// All that methods and trees share.
struct Exploration {
    environment: Arc<Environment>,
    policy: Arc<dyn Policy>,
    checks: Vec<Box<dyn Verifier>>,
    reference: Option<Arc<dyn Policy>>,
    /// Trajectories to be judged instead of new ones, by their messages.
    recorded: Recorded,
    cache: CallCache,
    slots: Semaphore,
    stop: watch::Receiver<bool>,
    writer: RunWriter,
    settings: RunSettings,
}

/// The trajectories of each task, each by its messages.
type Recorded = BTreeMap<TaskId, Vec<Vec<String>>>;

impl Exploration {
    fn others(&self, task: Option<&TaskId>) -> Others<'_> {
        let recorded = task.and_then(|task| self.recorded.get(task));
        Others {
            recorded: recorded.map_or(&[], Vec::as_slice),
            checks: &self.checks,
            reference: self.reference.as_deref(),
        }
    }
}

pub(crate) async fn explore(command: &ExploreCommand, json: bool) -> Result<()> {
    let ExploreCommand { args, compares } = command;
    if args.run.tree.is_some() {
        let message = "--tree: methods grow trees of their own shape; --width and --depth are \
                       those of some, and plumb run --tree grows one without judging it";
        return Err(Failure::say(Kind::Usage, message));
    }
    let folder = EnvironmentFolder::open(&args.run.environment)?;
    let mut settings = RunSettings::resolve(&args.run, &folder.manifest)?;
    if args.run.samples.is_none() {
        settings.samples = settings.samples.max(SAMPLES);
    }
    let methods = methods(args, settings.samples)?;
    let mut tasks = folder.tasks(settings.tasks.as_deref())?;
    let limit = settings.limit.and_then(|limit| usize::try_from(limit).ok());
    let recorded = args.from.as_deref().map(|run| recorded(run, &methods)).transpose()?;
    if let (Some(recorded), Some(run)) = (&recorded, &args.from) {
        tasks.retain(|task| recorded.contains_key(&task.id));
        refuse_others(&tasks, run)?;
    }
    tasks.truncate(limit.unwrap_or(usize::MAX));
    let mut gold = folder.gold()?;
    let judgeable: Vec<(Task, Gold)> = tasks
        .iter()
        .filter_map(|task| Some((task.clone(), gold.remove(&task.id)?)))
        .collect();
    if judgeable.is_empty() {
        let message = format!(
            "{}: it has gold of none of these tasks, without which a method cannot tell a right \
             ending from a wrong one",
            folder.dir.join("gold.jsonl").display()
        );
        return Err(Failure::say(Kind::Input, message));
    }
    let environment =
        Arc::new(catalog::environment(&folder, &settings.limits, json).await?);
    let checks = checks(args, &folder, &environment, &methods, json).await?;
    let mut choice = settings.policy();
    choice.samples = widest(&methods).max(settings.samples);
    let policy = catalog::policy(choice, json).await?;
    let reference = reference(args, &settings, &methods, json).await?;
    refuse_unscored(&methods, policy.as_ref(), reference.as_deref())?;
    let mut header = header(&args.run, &settings, &environment, policy.as_ref(), &tasks);
    header.settings["explore"] = true.into();
    let mut kind = "explore".to_owned();
    if let Some(recorded) = &recorded {
        let digest = Digest::of_json(recorded);
        header.settings["from"] = json!(digest);
        kind = format!("from-{}.{kind}", digest.short());
    }
    let out = args
        .run
        .out
        .clone()
        .unwrap_or_else(|| default_out(&environment, &header).with_extension(kind));
    if args.run.dry_run {
        return dry_run(&header, &out, json);
    }
    let report = Report {
        policy: policy.id().to_string(),
        tasks: tasks.len() as u64,
        without_gold: (tasks.len() - judgeable.len()) as u64,
        methods: vec![],
        run: out,
    };
    let opened = open(&report.run, &header)?;
    let (stopper, stop) = watch::channel(false);
    let exploration = Arc::new(Exploration {
        environment,
        policy,
        checks,
        reference,
        recorded: recorded.unwrap_or_default(),
        cache: CallCache::new(CALL_CACHE_BYTES_MAX),
        slots: Semaphore::new(settings.concurrency as usize),
        stop,
        writer: opened.0,
        settings,
    });
    let interrupt = tokio::spawn(stop_on_interrupt(stopper));
    let explored =
        explore_all(&exploration, &methods, &judgeable, opened.1, report, json).await;
    interrupt.abort();
    let report = explored?;
    if !*compares {
        return print(&report, json);
    }
    let reference = catalog::verifiers(&folder, &[], &exploration.environment).await?;
    let from = args.from.as_deref();
    compare::compare(&report, &exploration, &reference, judgeable, from, json).await
}

/// The methods asked for, with their settings.
fn methods(args: &ExploreArgs, samples: u32) -> Result<Vec<(&'static Method, Settings)>> {
    let find = |name: &String| Method::find(name).expect("clap lets in what METHODS has");
    let mut seen = BTreeSet::new();
    let names = args.methods.iter().filter(|name| seen.insert(*name));
    let methods: Vec<&'static Method> = names.map(find).collect();
    let given = args.constants();
    given.check(&methods).blame(Kind::Usage)?;
    let (tokens_max, calls_max) = (args.task_tokens_max, args.task_calls_max);
    let with_settings = |method: &'static Method| {
        let constants = method.constants(&given);
        (method, Settings { samples, constants, tokens_max, calls_max })
    };
    Ok(methods.into_iter().map(with_settings).collect())
}

/// The trajectories of a run that came to an end of their own, by their messages.
fn recorded(run: &Path, methods: &[(&'static Method, Settings)]) -> Result<Recorded> {
    if let Some((method, _)) = methods.iter().find(|(method, _)| !method.trajectories) {
        let message = format!(
            "the method {} grows trees of its own, and cannot judge the trajectories of a \
             run: leave --from out, or --method {0}",
            method.name
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    let messages = |tree: &Tree, leaf: NodeId| -> Vec<String> {
        let path = tree.path(leaf).into_iter();
        path.map(|(_, node)| node.step.proposal.text.clone()).collect()
    };
    let of = |tree: &Tree| -> Vec<Vec<String>> {
        let has_ended = |leaf: &NodeId| {
            matches!(
                tree.ending(*leaf),
                Some(Ending::Answered | Ending::Exhausted { .. })
            )
        };
        let leaves = tree.leaves().into_iter().filter(has_ended);
        leaves.map(|leaf| messages(tree, leaf)).collect()
    };
    let trees = recording::open(run)?.trees;
    let trajectories = trees.into_iter().map(|(task, tree)| (task, of(&tree)));
    Ok(trajectories.filter(|(_, each)| !each.is_empty()).collect())
}

/// Refuses a run that has nothing of these tasks, or was asked something else under their names.
fn refuse_others(tasks: &[Task], run: &Path) -> Result<()> {
    let shown = run.display();
    if tasks.is_empty() {
        let message =
            format!("{shown}: it has no finished trajectory of any of these tasks");
        return Err(Failure::say(Kind::Input, message));
    }
    let asked = recording::asked(run, &recording::open(run)?)?.tasks;
    let differs = |task: &&Task| asked.get(&task.id).is_some_and(|other| other != *task);
    if let Some(task) = tasks.iter().find(differs) {
        let message = format!("{shown}: its task {} is another question", task.id);
        return Err(Failure::say(Kind::Input, message));
    }
    Ok(())
}

/// The most messages that a method asks for at once from one prompt.
fn widest(methods: &[(&Method, Settings)]) -> u32 {
    let of = |(_, settings): &(&Method, Settings)| {
        let Constants { rollouts, width, .. } = settings.constants;
        rollouts.max(width).unwrap_or(1)
    };
    methods.iter().map(of).max().unwrap_or(1).min(64)
}

/// The verifiers that judge single steps, where a method asks for that.
async fn checks(
    args: &ExploreArgs,
    folder: &EnvironmentFolder,
    world: &Arc<Environment>,
    methods: &[(&Method, Settings)],
    json: bool,
) -> Result<Vec<Box<dyn Verifier>>> {
    let asked_for = !args.verifiers.is_empty() || args.judge.policy.is_some();
    if !methods.iter().any(|(method, _)| method.checks) {
        if asked_for {
            let message = "none of these methods asks verifiers about single steps";
            return Err(Failure::say(Kind::Usage, message));
        }
        return Ok(vec![]);
    }
    let names = args.verifiers.as_slice();
    let mut verifiers = match (names, &args.judge.policy) {
        ([], Some(_)) => vec![],
        _ => catalog::verifiers(folder, names, world).await?,
    };
    if let Some(policy) = &args.judge.policy {
        verifiers.push(catalog::judge(&args.judge, policy, world, json).await?);
    }
    Ok(verifiers)
}

/// The second policy, where a method needs one.
async fn reference(
    args: &ExploreArgs,
    settings: &RunSettings,
    methods: &[(&'static Method, Settings)],
    json: bool,
) -> Result<Option<Arc<dyn Policy>>> {
    let needs = methods.iter().find(|(it, _)| it.likelihoods == Some(Likelihoods::OfTwo));
    match (needs, &args.reference) {
        (Some(_), Some(name)) => {
            let choice = PolicyChoice { name, ..settings.policy() };
            Ok(Some(catalog::policy(choice, json).await?))
        }
        (Some((method, _)), None) => {
            let message = format!(
                "the method {} holds two policies against each other: --reference names the \
                 other one",
                method.name
            );
            Err(Failure::say(Kind::Usage, message))
        }
        (None, Some(_)) => {
            let message =
                "none of these methods takes a second policy: leave --reference out";
            Err(Failure::say(Kind::Usage, message))
        }
        (None, None) => Ok(None),
    }
}

/// Refuses methods that ask for likelihoods which a policy cannot tell, before anything is
/// sampled.
fn refuse_unscored(
    methods: &[(&Method, Settings)],
    policy: &dyn Policy,
    reference: Option<&dyn Policy>,
) -> Result<()> {
    for (method, _) in methods {
        let asked = match method.likelihoods {
            None => continue,
            Some(Likelihoods::OfOne) => [Some(policy), None],
            Some(Likelihoods::OfTwo) => [Some(policy), reference],
        };
        if let Some(policy) = asked.into_iter().flatten().find(|policy| !policy.scores())
        {
            let error = PolicyError::Unscored { policy: policy.id().clone() };
            let message = format!("the method {}: {error}", method.name);
            return Err(Failure::say(Kind::Usage, message));
        }
    }
    Ok(())
}

/// Opens the run's folder, and what it holds already.
fn open(out: &Path, header: &RunHeader) -> Result<(RunWriter, BTreeMap<TaskId, Tree>)> {
    refuse_strange(out, header)?;
    if out.join("run.json").exists() {
        warn_of_losses(out)?;
    }
    let writer = RunWriter::open(out, header)?;
    let trees = steps_of(out, header)?;
    recording::take_back(out, &trees)?;
    Ok((writer, trees))
}

async fn explore_all(
    exploration: &Arc<Exploration>,
    methods: &[(&'static Method, Settings)],
    tasks: &[(Task, Gold)],
    mut trees: BTreeMap<TaskId, Tree>,
    mut report: Report,
    json: bool,
) -> Result<Report> {
    let tasks: Vec<Arc<(Task, Gold)>> = tasks.iter().cloned().map(Arc::new).collect();
    for (method, settings) in methods {
        let of = Of { exploration, run: &report.run, method, settings, tasks: &tasks };
        report.methods.push(of.explore(&mut trees, json).await?);
        exploration.writer.finish()?;
    }
    Ok(report)
}

/// One method over all tasks.
struct Of<'o> {
    exploration: &'o Arc<Exploration>,
    run: &'o Path,
    method: &'static Method,
    settings: &'o Settings,
    tasks: &'o [Arc<(Task, Gold)>],
}

/// What a method made of a task.
struct Explored {
    task: Arc<(Task, Gold)>,
    found: std::result::Result<(Tree, Vec<Verdict>, CostLedger), ExploreError>,
}

impl Of<'_> {
    async fn explore(
        &self,
        trees: &mut BTreeMap<TaskId, Tree>,
        json: bool,
    ) -> Result<MethodReport> {
        let Exploration { settings: run_settings, stop, .. } = self.exploration.as_ref();
        let began = Instant::now();
        let verifier = self.method.id(self.settings, self.exploration.others(None));
        let mut writer = VerdictWriter::open(self.run, &verifier)?;
        let judged = read_verdicts(self.run, &verifier)?;
        let mut report = MethodReport::new(self.method, verifier);
        let progress = Progress::new(self.method.name, self.tasks.len() as u64, json);
        let mut waiting = self.tasks.iter();
        let mut exploring: JoinSet<Explored> = JoinSet::new();
        let (mut failure, mut unfinished) = (None, None);
        loop {
            let is_stopped = failure.is_some() || *stop.borrow();
            while !is_stopped && exploring.len() < run_settings.concurrency as usize {
                let Some(task) = waiting.next() else { break };
                let id = &task.0.id;
                let known = judged.get(id).filter(|known| known.shown == shown(task));
                // One that was cut short goes on, as far as the budget now lets it.
                let known =
                    known.filter(|known| !known.ledger.is_some_and(|it| it.spent));
                if let Some(known) = known {
                    report.add(&known.verdicts, known.ledger.unwrap_or_default());
                    report.kept += 1;
                    continue;
                }
                let tree = trees.remove(id).unwrap_or_else(|| Tree::new(id.clone()));
                let exploration = Arc::clone(self.exploration);
                let settings = self.settings.clone();
                let task = Arc::clone(task);
                exploring.spawn(explore_one(
                    exploration,
                    self.method,
                    settings,
                    task,
                    tree,
                ));
            }
            let Some(explored) = exploring.join_next().await else { break };
            let Explored { task, found } = explored.blame(Kind::External)?;
            match found {
                Ok((tree, verdicts, ledger)) => {
                    let id = &task.0.id;
                    let aborted = Aborted::of(&tree, ledger.missing);
                    if aborted.is_tolerable(run_settings.fail_on_error) {
                        let nodes = tree.len().try_into().expect("ids are 32 bits wide");
                        writer.append(
                            id,
                            nodes,
                            shown(&task),
                            &verdicts,
                            Some(ledger),
                        )?;
                    } else {
                        unfinished.get_or_insert(aborted);
                    }
                    report.add(&verdicts, ledger);
                    trees.insert(id.clone(), tree);
                }
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
            progress.set(report.tasks, |_| {
                format!("{} rollouts", report.ledger.rollouts.fresh)
            });
        }
        progress.finish();
        if let Some(error) = failure {
            return Err(unexplored(error));
        }
        let CostLedger { rollouts, sampled, .. } = report.ledger;
        if self.settings.tokens_max.is_some()
            && sampled.total() == 0
            && rollouts.total() > 0
        {
            eprintln!(
                "warning: --task-tokens-max limits nothing: the policy does not say how many \
                 tokens it samples; --task-calls-max counts tool calls"
            );
        }
        if *stop.borrow() {
            return Err(unexplored(ExploreError::Stopped));
        }
        writer.finish()?;
        if let Some(Aborted { count, message, .. }) = unfinished {
            let message = format!(
                "{}: {count} rollouts of a task were aborted; the first said: {message}. What \
                 there is is kept, and not taken for judged: the same command with \
                 --retry-on-error 1 samples them again, with --fail-on-error R it does without \
                 that share of them",
                self.method.name
            );
            return Err(Failure::say(Kind::External, message));
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }
}

/// What a method is shown beside the tree.
fn shown(task: &(Task, Gold)) -> Digest {
    Digest::of_json(task)
}

async fn explore_one(
    exploration: Arc<Exploration>,
    method: &'static Method,
    settings: Settings,
    task: Arc<(Task, Gold)>,
    tree: Tree,
) -> Explored {
    let sink = |event: Event<'_>| {
        exploration.writer.append(event).map_err(|error| SinkError(Box::new(error)))
    };
    let began = Instant::now();
    let meter = Meter::default();
    let ground = Ground {
        environment: &exploration.environment,
        policy: exploration.policy.as_ref(),
        cache: Some(&exploration.cache),
        meter: Some(&meter),
        slots: &exploration.slots,
        stop: exploration.stop.clone(),
        sink: &sink,
        seed: exploration.settings.seed,
        retries: exploration.settings.retry_on_error,
    };
    let others = exploration.others(Some(&task.0.id));
    let found =
        method.explore(&ground, (&task.0, &task.1), tree, others, &settings).await;
    let found = found.map(|(tree, verdicts, ledger)| {
        let seconds = began.elapsed().as_secs_f64();
        let tool_seconds = meter.time().as_secs_f64();
        (tree, verdicts, CostLedger { seconds, tool_seconds, ..ledger })
    });
    Explored { task: Arc::clone(&task), found }
}

/// Whose turn it is when a method could not come to its end.
fn unexplored(error: ExploreError) -> Failure {
    match error {
        ExploreError::Grow(error @ GrowError::Diverged { .. })
        | ExploreError::Grow(error @ GrowError::Record { .. }) => ungrown(error),
        ExploreError::Grade(error) => ungraded(error),
        ExploreError::Verifier(error) => error.into(),
        ExploreError::Act(error) => Failure::new(Kind::External, error),
        ExploreError::Score(error @ PolicyError::Unscored { .. }) => {
            Failure::new(Kind::Usage, error)
        }
        ExploreError::Score(error) => Failure::new(Kind::External, error),
        error @ ExploreError::NoReference => Failure::new(Kind::Usage, error),
        error @ (ExploreError::Spent | ExploreError::Stopped) => {
            let message = format!("{error}; the same command goes on");
            Failure::say(Kind::External, message)
        }
    }
}

impl MethodReport {
    fn new(method: &Method, verifier: VerifierId) -> Self {
        Self {
            method: method.name,
            verifier,
            tasks: 0,
            kept: 0,
            good: 0,
            neutral: 0,
            bad: 0,
            unlabelled: 0,
            spent: 0,
            ledger: CostLedger::default(),
            seconds: 0.0,
        }
    }

    fn add(&mut self, verdicts: &[Verdict], ledger: CostLedger) {
        self.tasks += 1;
        self.spent += u64::from(ledger.spent);
        self.ledger += ledger;
        for verdict in verdicts {
            *match verdict.label {
                Some(StepLabel::Good) => &mut self.good,
                Some(StepLabel::Neutral) => &mut self.neutral,
                Some(StepLabel::Bad) => &mut self.bad,
                None => &mut self.unlabelled,
            } += 1;
        }
    }
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(report).blame(Kind::External)?);
        return Ok(());
    }
    println!("policy    {}", report.policy);
    println!("tasks     {}", report.tasks);
    if report.without_gold > 0 {
        println!(
            "          {} without gold, and so without verdicts",
            report.without_gold
        );
    }
    println!(
        "{:<16} {:>6} {:>6} {:>6} {:>6}  {:>8} {:>6}  {:>9} {:>6}  {:>8}",
        "method",
        "steps",
        "good",
        "zero",
        "bad",
        "rollouts",
        "reused",
        "tokens",
        "reused",
        "seconds"
    );
    for method in &report.methods {
        let CostLedger { verdicts, rollouts, sampled, .. } = method.ledger;
        println!(
            "{:<16} {verdicts:>6} {:>6} {:>6} {:>6}  {:>8} {:>6}  {:>9} {:>6}  {:>8.1}",
            method.method,
            method.good,
            method.neutral,
            method.bad,
            rollouts.total(),
            share(rollouts),
            sampled.total(),
            share(sampled),
            method.seconds,
        );
        if method.spent > 0 {
            println!(
                "  the budget was used up on {} of {} tasks",
                method.spent, method.tasks
            );
        }
        if method.ledger.recoveries > 0 {
            println!(
                "  after {} steps rollouts succeed although none did from a step before",
                method.ledger.recoveries
            );
        }
    }
    println!("run       {}", report.run.display());
    Ok(())
}

fn share(split: plumbline::Split) -> String {
    match split.total() {
        0 => "-".to_owned(),
        total => format!("{:.0}%", 100.0 * split.reused as f64 / total as f64),
    }
}
