//! `plumb fork`: what one step of a recorded trajectory caused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::ValueEnum;
use plumbline::store::{FORMAT, RunHeader, RunWriter};
use plumbline::{
    CallCache, Change, CounterfactualError, Digest, Ending, Environment, Event, Evidence,
    Gold, Ground, Interval, Node, NodeId, Observation, Outcome, Policy, Prefix,
    Proportion, Rest, Shape, SinkError, Start, Task, TaskId, Tree, Verdict, Worth,
    branch, grade, outcome, prefix,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::divergence::describe;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::import::trajectories;
use crate::label::{
    all_judged, recorded_environment, stale, tasks, unknown_task, warn_of_stale,
};
use crate::manifest::{EnvironmentFolder, read};
use crate::progress::Progress;
use crate::recording;
use crate::regenerate::{Slots, recorded_policy};
use crate::run::{
    CALL_CACHE_BYTES_MAX, host, now_unix_s, refuse_strange, steps_of, stop_on_interrupt,
    ungraded, ungrown, without_credentials,
};
use crate::show::find;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("change").required(true)))]
pub(crate) struct ForkArgs {
    /// The run's folder.
    run: PathBuf,
    /// The step: TASK:STEP, as plumb show numbers them. With --delete-each the trajectory:
    /// TASK, or TASK:STEP for the one that ends in that step.
    node: String,
    /// Put another message, word for word that of the file, into the step's place.
    #[arg(long, value_name = "FILE", group = "change")]
    replace: Option<PathBuf>,
    /// Leave the step out.
    #[arg(long, group = "change")]
    drop: bool,
    /// Show the policy the file's text instead of the step's first observation. The call is
    /// made all the same.
    #[arg(long, value_name = "FILE", group = "change")]
    observation: Option<PathBuf>,
    /// Leave each step of the trajectory out in turn, all but the last one.
    #[arg(long, group = "change")]
    delete_each: bool,
    /// Trajectories that go on from the change, and as many without it.
    #[arg(short = 'r', long, default_value_t = 8, value_name = "K",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    samples: u32,
    /// What becomes of the recorded steps after the changed one. Kept by default where a step
    /// is left out, resampled where it is changed.
    #[arg(long, value_name = "REST")]
    rest: Option<RestArg>,
    /// The policy that goes on. Default: the run's own.
    #[arg(short = 'm', long, value_name = "P")]
    policy: Option<String>,
    /// Seed of what is sampled. Default: the run's.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Trajectories in the making at once.
    #[arg(short = 'c', long, default_value_t = 8, value_name = "C",
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,
    /// A change in success whose interval lies within plus and minus this is none to speak
    /// of: then a step is useless.
    #[arg(long, default_value_t = 0.2, value_name = "M")]
    margin: f64,
    /// The folder of the run that the new trajectories become. Default: a name made from run,
    /// step and change, under runs/.
    #[arg(short = 'o', long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RestArg {
    /// Left out: the policy goes on from the change and may react to it.
    Resampled,
    /// Their messages are executed again in the changed state; the policy writes the last
    /// one anew.
    Kept,
}

/// What a run says of itself if it was made by changing another one: `counterfactual` among
/// the settings.
#[derive(Debug, Serialize, Deserialize)]
struct Provenance {
    /// The run that was changed.
    run: String,
    task: TaskId,
    /// The trajectory that was changed, by its last step there.
    trajectory: NodeId,
    rest: Rest,
    samples: u32,
    arms: Vec<ArmOrigin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forged: Option<Forged>,
}

/// Where the trajectories of one arm come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ArmOrigin {
    /// `none`, `drop`, `replace` or `observation`.
    change: String,
    /// The step that was changed, as it is numbered there.
    step: Option<NodeId>,
    /// The step after which the policy goes on, as it is numbered here; none before the
    /// first.
    after: Option<NodeId>,
}

/// An observation that no tool gave.
#[derive(Debug, Serialize, Deserialize)]
struct Forged {
    /// The step here whose first observation it is.
    node: NodeId,
    /// What executing its call gave.
    executed: Observation,
}

/// A tree as its tools made it: where an observation was forged, what was executed stands in
/// its place. Replaying a run compares with this.
pub(crate) fn executed(header: &RunHeader, tree: Tree) -> Tree {
    match forged(header) {
        Some((task, forged)) if &task == tree.task() => {
            tree.with_observation(forged.node, 0, forged.executed)
        }
        _ => tree,
    }
}

/// Verdicts without the evidence that a forged observation is: no call gives it, so there is
/// nothing to execute again.
pub(crate) fn without_forged(
    header: &RunHeader,
    tree: &Tree,
    verdicts: &[Verdict],
) -> Vec<Verdict> {
    let mut verdicts = verdicts.to_vec();
    let step = forged_step(header).filter(|(task, _)| task == tree.task());
    let node = step.and_then(|(_, node)| tree.get(node));
    let Some(shown) = node.and_then(|node| node.step.observations.first()) else {
        return verdicts;
    };
    let forged = Digest::of_json(shown);
    for verdict in &mut verdicts {
        verdict.evidence.retain(|evidence| {
            !matches!(evidence, Evidence::Execution { result, .. } if *result == forged)
        });
    }
    verdicts
}

/// The step whose first observation is forged, if the run has one.
pub(crate) fn forged_step(header: &RunHeader) -> Option<(TaskId, NodeId)> {
    forged(header).map(|(task, forged)| (task, forged.node))
}

/// What a run says of itself if it was made by changing another one, for headers of exports.
pub(crate) fn counterfactual(header: &RunHeader) -> Option<Value> {
    let mut provenance = header.settings.get("counterfactual")?.clone();
    if let Some(Value::Object(forged)) = provenance.get_mut("forged") {
        forged.remove("executed");
    }
    Some(provenance)
}

fn forged(header: &RunHeader) -> Option<(TaskId, Forged)> {
    let provenance = header.settings.get("counterfactual")?;
    let provenance: Provenance = serde_json::from_value(provenance.clone()).ok()?;
    Some((provenance.task, provenance.forged?))
}

/// One arm before anything is sampled.
struct Arm<'e> {
    origin: ArmOrigin,
    prefix: Prefix<'e>,
}

/// What the trajectories of one arm came to.
#[derive(Debug, Serialize)]
struct ArmReport {
    origin: ArmOrigin,
    success: Proportion,
    /// Not counted: something outside stopped them.
    aborted: u64,
    /// How many different continuations there are among the samples that are counted.
    distinct: u64,
    /// Its trajectories here.
    trajectories: Vec<String>,
    /// The change in success, with a 95 % interval; none for the factual arm.
    #[serde(skip_serializing_if = "Option::is_none")]
    change_in_success: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worth: Option<Worth>,
}

#[derive(Debug, Serialize)]
struct Report {
    run: PathBuf,
    of: PathBuf,
    task: TaskId,
    trajectory: String,
    policy: String,
    rest: Rest,
    samples: u32,
    factual: ArmReport,
    counterfactual: Vec<ArmReport>,
}

/// What all arms share.
struct Fork<'f> {
    environment: &'f Environment,
    policy: Arc<dyn Policy>,
    task: &'f Task,
    gold: &'f Gold,
    samples: u32,
    concurrency: u32,
    seed: u64,
    margin: f64,
}

pub(crate) async fn fork(args: &ForkArgs, json: bool) -> Result<()> {
    if !(0.0..=1.0).contains(&args.margin) {
        return Err(Failure::say(Kind::Usage, "--margin must be in 0..=1"));
    }
    let rest = rest(args);
    if args.delete_each && rest == Rest::Resampled {
        let message = "--delete-each compares every step with one factual arm, and so keeps \
                       the rest";
        return Err(Failure::say(Kind::Usage, message));
    }
    let recording = recording::open(&args.run)?;
    let header = &recording.header;
    refuse_unforkable(args, header)?;
    let (tree, node) = find(&recording, &args.node)?;
    let leaf = tree.first_leaf_through(node);
    let folder = EnvironmentFolder::of_run(&args.run, header)?;
    let tasks = tasks(&folder, &recording)?;
    let task = tasks.get(tree.task()).ok_or_else(|| unknown_task(tree.task()))?;
    let gold = folder.gold()?;
    warn_of_stale(&args.run, &stale(&all_judged(&args.run)?, &tasks, &gold));
    let gold = gold.get(&task.id).ok_or_else(|| {
        let message =
            format!("task {} has no gold: success cannot be told from failure", task.id);
        Failure::say(Kind::Input, message)
    })?;
    let changes = changes(args, tree, node)?;
    let environment = recorded_environment(&folder, &recording, json).await?;
    let slots = Slots::Many(args.concurrency.max(args.samples.min(64)));
    let policy = recorded_policy(header, args.policy.as_deref(), slots, json).await?;
    let arms = arms(&environment, task, tree, leaf, &changes, rest).await?;
    let fork = Fork {
        environment: &environment,
        policy,
        task,
        gold,
        samples: args.samples,
        concurrency: args.concurrency,
        seed: args.seed.unwrap_or(header.seed),
        margin: args.margin,
    };
    let (grown, arms) = lay_out(&task.id, arms);
    let header = new_header(args, header, &fork, leaf, rest, &arms);
    let out = args.out.clone().unwrap_or_else(|| default_out(args, &header));
    refuse_strange(&out, &header)?;
    if out.join("run.json").exists() {
        recording::warn_of_losses(&out)?;
    }
    let writer = RunWriter::open(&out, &header)?;
    let grown = take_up(&out, &header, grown, &writer)?;
    let (reports, complaint) = fork.grow(grown, arms, &writer, json).await?;
    let empty = reports.iter().any(|arm| arm.success.trials == 0);
    let mut reports = reports.into_iter();
    let report = Report {
        run: out,
        of: args.run.clone(),
        task: task.id.clone(),
        trajectory: format!("{}:{leaf}", task.id),
        policy: fork.policy.id().to_string(),
        rest,
        samples: args.samples,
        factual: reports.next().expect("the factual arm is the first one"),
        counterfactual: reports.collect(),
    };
    match json {
        true => println!("{}", serde_json::to_string(&report).blame(Kind::External)?),
        false => print(&report, tree, args.margin),
    }
    let Some(complaint) = complaint else { return Ok(()) };
    let message = format!(
        "trajectories were stopped from outside; the first said: {complaint}. The run is \
         kept: the same command takes them up again"
    );
    if empty {
        return Err(Failure::say(Kind::External, message).reported());
    }
    eprintln!("warning: {message}");
    Ok(())
}

fn refuse_unforkable(args: &ForkArgs, header: &RunHeader) -> Result<()> {
    let run = args.run.display();
    if let Some(format) = trajectories::source(header) {
        let message = format!(
            "{run}: imported from {format}, whose tools are not here: the state before a \
             step cannot be restored"
        );
        return Err(Failure::say(Kind::Missing, message));
    }
    if let Some((task, node)) = forged_step(header) {
        let message = format!(
            "{run}: the observation of task {task}, step {node} is forged; fork the run that \
             this one was made from"
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    Ok(())
}

/// The arms as an earlier start of the same command left them, or else as they are laid out,
/// recorded by now. What was stopped from outside is taken up again.
fn take_up(
    out: &Path,
    header: &RunHeader,
    laid_out: Tree,
    writer: &RunWriter,
) -> Result<Tree> {
    let mut recorded = steps_of(out, header)?;
    let task = laid_out.task();
    let recorded = recorded.remove(task).unwrap_or_else(|| Tree::new(task.clone()));
    let differs = |(id, node): &(NodeId, &Arc<Node>)| {
        recorded.get(*id).is_some_and(|other| &other != node)
    };
    if let Some((id, _)) = laid_out.nodes().find(differs) {
        let message = format!(
            "{}: holds another run (step {id} is not what the change makes of it now); choose \
             another --out, or remove it",
            out.display()
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    let count = recorded.len();
    for (id, node) in laid_out.nodes().skip(count) {
        writer.append(Event::Node { task, id, node })?;
    }
    Ok(if count < laid_out.len() { laid_out } else { recorded.without_abortions() })
}

fn rest(args: &ForkArgs) -> Rest {
    match args.rest {
        Some(RestArg::Kept) => Rest::Kept,
        Some(RestArg::Resampled) => Rest::Resampled,
        None if args.drop || args.delete_each => Rest::Kept,
        None => Rest::Resampled,
    }
}

/// The changes asked for, each with the step it is about.
fn changes(args: &ForkArgs, tree: &Tree, node: NodeId) -> Result<Vec<(NodeId, Change)>> {
    if args.delete_each {
        let mut path: Vec<NodeId> = tree
            .path(tree.first_leaf_through(node))
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        path.pop();
        if path.is_empty() {
            let message =
                format!("{}: a single step; there is none to leave out", args.node);
            return Err(Failure::say(Kind::Usage, message));
        }
        return Ok(path.into_iter().map(|id| (id, Change::Drop)).collect());
    }
    if !args.node.contains(':') {
        let message = format!("{}: name a step: {}:STEP", args.node, args.node);
        return Err(Failure::say(Kind::Usage, message));
    }
    // An editor ends a file with a line end that no message has.
    let text = |file: &Path| {
        let text = read(file)?;
        Ok::<_, Failure>(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    };
    let change = match (&args.replace, &args.observation) {
        (Some(file), _) => Change::Replace(text(file)?),
        (_, Some(file)) => Change::Observation(text(file)?),
        (None, None) => Change::Drop,
    };
    Ok(vec![(node, change)])
}

/// The factual arm, then one for each change. Where several steps are left out in turn, one
/// factual arm serves all: with the rest kept it goes on from the same place.
async fn arms<'e>(
    environment: &'e Environment,
    task: &Task,
    tree: &Tree,
    leaf: NodeId,
    changes: &[(NodeId, Change)],
    rest: Rest,
) -> Result<Vec<Arm<'e>>> {
    let first = changes.first().expect("something is changed").0;
    let wanted = std::iter::once((first, None))
        .chain(changes.iter().map(|(node, change)| (*node, Some(change))));
    let mut arms = Vec::new();
    for (node, change) in wanted {
        let prefix = prefix(environment, task, tree, (node, leaf), change, rest).await;
        let prefix = prefix.map_err(|error| match &error {
            CounterfactualError::Diverged(divergence) => {
                let message = format!("{error}:\n{}", describe(divergence, tree));
                Failure::say(Kind::Finding, message)
            }
            CounterfactualError::Act(_) => Failure::new(Kind::External, error),
            CounterfactualError::NoObservation(_) => Failure::new(Kind::Usage, error),
        })?;
        let name = match change {
            None => "none",
            Some(Change::Drop) => "drop",
            Some(Change::Replace(_)) => "replace",
            Some(Change::Observation(_)) => "observation",
        };
        let step = change.is_some().then_some(node);
        let origin = ArmOrigin { change: name.to_owned(), step, after: None };
        arms.push(Arm { origin, prefix });
    }
    Ok(arms)
}

/// Puts the prefix of every arm into one tree, each as a trajectory of its own.
fn lay_out<'e>(task: &TaskId, mut arms: Vec<Arm<'e>>) -> (Tree, Vec<Arm<'e>>) {
    let mut tree = Tree::new(task.clone());
    for arm in &mut arms {
        arm.origin.after = arm.prefix.push_to(&mut tree);
    }
    (tree, arms)
}

fn new_header(
    args: &ForkArgs,
    source: &RunHeader,
    fork: &Fork<'_>,
    leaf: NodeId,
    rest: Rest,
    arms: &[Arm<'_>],
) -> RunHeader {
    let forged = arms.iter().find_map(|arm| {
        let (at, executed) = arm.prefix.forged.clone()?;
        // Its prefix was laid out in one piece, and ends in `after`.
        let last = arm.origin.after?.0;
        let behind = u32::try_from(arm.prefix.steps.len() - 1 - at).ok()?;
        Some(Forged { node: NodeId(last - behind), executed })
    });
    let provenance = Provenance {
        run: args.run.display().to_string(),
        task: fork.task.id.clone(),
        trajectory: leaf,
        rest,
        samples: args.samples,
        arms: arms.iter().map(|arm| arm.origin.clone()).collect(),
        forged,
    };
    let mut settings = source.settings.clone();
    if let Some(policy) = &args.policy {
        settings["policy"] = without_credentials(policy).into();
    }
    settings["samples"] = args.samples.into();
    settings["seed"] = fork.seed.into();
    settings["counterfactual"] =
        serde_json::to_value(&provenance).expect("provenance serialises");
    let specs = fork.environment.specs().iter();
    RunHeader {
        format: FORMAT,
        environment_digest: fork.environment.digest(),
        tools: specs.map(|spec| (spec.name.clone(), spec.pinned)).collect(),
        policy: fork.policy.id().to_string(),
        seed: fork.seed,
        samples: args.samples,
        settings,
        begun_unix_s: now_unix_s(),
        host: host(),
        ..source.clone()
    }
}

/// `runs/<source>-fork-<digest>`.
fn default_out(args: &ForkArgs, header: &RunHeader) -> PathBuf {
    let source = args.run.file_name().map_or("run".into(), |name| name.to_string_lossy());
    let replaced = args.replace.as_deref().and_then(|file| read(file).ok());
    let shown = args.observation.as_deref().and_then(|file| read(file).ok());
    let identity =
        (&header.settings, &header.policy, header.environment_digest, replaced, shown);
    let digest = Digest::of_json(&identity).short();
    Path::new("runs").join(format!("{source}-fork-{digest}"))
}

impl Fork<'_> {
    /// Has the policy go on from every arm, and counts. Says as well what first stopped a
    /// trajectory from outside, if anything did.
    async fn grow(
        &self,
        mut tree: Tree,
        arms: Vec<Arm<'_>>,
        writer: &RunWriter,
        json: bool,
    ) -> Result<(Vec<ArmReport>, Option<String>)> {
        let (stopper, stop) = watch::channel(false);
        let interrupt = tokio::spawn(stop_on_interrupt(stopper));
        let complaint = OnceLock::new();
        let sink = |event: Event<'_>| {
            if let Event::Ending { ending: Ending::Aborted { message, .. }, .. } = &event
            {
                complaint.get_or_init(|| message.clone());
            }
            writer.append(event).map_err(|error| SinkError(Box::new(error)))
        };
        let task = &self.task.id;
        let cache = CallCache::new(CALL_CACHE_BYTES_MAX);
        let slots = Semaphore::new(self.concurrency as usize);
        let ground = Ground {
            environment: self.environment,
            policy: self.policy.as_ref(),
            cache: Some(&cache),
            meter: None,
            slots: &slots,
            stop: stop.clone(),
            sink: &sink,
            seed: self.seed,
            retries: 0,
        };
        let shape = Shape::samples(self.samples);
        let progress = Progress::new("arms", arms.len() as u64, json);
        let mut reports: Vec<ArmReport> = Vec::with_capacity(arms.len());
        for (index, arm) in (0u64..).zip(arms) {
            let after = arm.origin.after;
            let seed = Digest::of_json(&(self.seed, task, index)).to_u64();
            let episode = arm.prefix.episode;
            let start = [Start { after, episode, seed }];
            tree = match arm.prefix.ending {
                Some(ending) => end(tree, after, ending, writer)?,
                None => branch(&ground, self.task, tree, &start, &shape)
                    .await
                    .map_err(ungrown)?,
            };
            if *stop.borrow() {
                let message = "interrupted: the arms are not whole, and nothing is compared; \
                               the same command goes on";
                return Err(Failure::say(Kind::External, message));
            }
            let factual = reports.first().map(|report| report.success);
            let leaves = start[0].trajectories(&tree, &shape);
            let report = self.report(&tree, arm.origin, leaves, &cache).await?;
            reports.push(self.compared(report, factual));
            progress.set(index + 1, |_| String::new());
        }
        progress.finish();
        interrupt.abort();
        writer.finish()?;
        Ok((reports, complaint.into_inner()))
    }

    async fn report(
        &self,
        tree: &Tree,
        origin: ArmOrigin,
        leaves: Vec<NodeId>,
        cache: &CallCache,
    ) -> Result<ArmReport> {
        let grade = grade(self.environment, self.task, self.gold, tree, Some(cache));
        let compared = grade.await.map_err(ungraded)?;
        let mut success = Proportion::default();
        let mut texts = BTreeSet::new();
        for leaf in &leaves {
            // An arm that ended before anything was sampled is the same in every sample.
            let weight = match origin.after {
                Some(after) if after == *leaf => u64::from(self.samples),
                _ => 1,
            };
            match outcome(tree, *leaf, self.gold, &compared) {
                Outcome::Answered { score, .. } | Outcome::Exhausted { score, .. } => {
                    success.trials += weight;
                    success.successes += if score.exact_match { weight } else { 0 };
                }
                Outcome::Aborted { .. } | Outcome::Unfinished => continue,
            }
            let path = tree.path(*leaf).into_iter();
            texts.insert(
                path.map(|(_, node)| node.step.proposal.text.as_str())
                    .collect::<Vec<_>>(),
            );
        }
        Ok(ArmReport {
            origin,
            success,
            aborted: u64::from(self.samples) - success.trials,
            distinct: texts.len() as u64,
            trajectories: leaves
                .iter()
                .map(|leaf| format!("{}:{leaf}", tree.task()))
                .collect(),
            change_in_success: None,
            worth: None,
        })
    }

    fn compared(&self, report: ArmReport, factual: Option<Proportion>) -> ArmReport {
        let change_in_success = factual.and_then(|factual| report.success.minus(factual));
        let worth = change_in_success
            .filter(|_| report.origin.change == "drop")
            .map(|change| Worth::of(change, self.margin));
        ArmReport { change_in_success, worth, ..report }
    }
}

/// Records that an arm ended where a policy was to go on, unless an earlier start has.
fn end(
    mut tree: Tree,
    after: Option<NodeId>,
    ending: Ending,
    writer: &RunWriter,
) -> Result<Tree> {
    if after.and_then(|after| tree.ending(after)) != Some(&ending) {
        let (task, seed, ending) = (tree.task(), None, &ending);
        writer.append(Event::Ending { task, node: after, seed, ending })?;
    }
    tree.end(after, ending).expect("it was laid out");
    Ok(tree)
}

fn print(report: &Report, tree: &Tree, margin: f64) {
    let rest = match report.rest {
        Rest::Kept => "later steps kept, the last message sampled again",
        Rest::Resampled => "sampled again from the step on",
    };
    println!("policy      {}", report.policy);
    println!("trajectory  {} of {}", report.trajectory, report.of.display());
    println!("samples     {} an arm, {rest}", report.samples);
    println!();
    println!(
        "{:<22} {:>9}  {:<26} {:<10} step",
        "", "success", "change in success (95 %)", "worth"
    );
    for arm in std::iter::once(&report.factual).chain(&report.counterfactual) {
        let ArmReport { origin, success, .. } = arm;
        let name = match origin.step {
            None => "as recorded".to_owned(),
            Some(step) => format!("step {step}: {}", origin.change),
        };
        let change = arm.change_in_success.map_or_else(String::new, |change| {
            let Interval { value, low, high } = change;
            format!("{value:+.3} [{low:+.3}, {high:+.3}]")
        });
        let worth = arm.worth.map_or_else(String::new, |worth| worth.to_string());
        let message = origin.step.and_then(|step| tree.get(step)).map_or("", |node| {
            let text = node.step.proposal.text.as_str();
            text.split(&['\n', '<', '>'][..]).find(|l| l.contains(' ')).unwrap_or(text)
        });
        let message: String = message.chars().take(60).collect();
        let share = format!("{}/{}", success.successes, success.trials);
        let line = format!(
            "{name:<22} {share:>9}  {change:<26} {worth:<10} {}",
            crate::terminal::printable(&message)
        );
        println!("{}", line.trim_end());
    }
    println!();
    let all = || std::iter::once(&report.factual).chain(&report.counterfactual);
    let is_constant = |arm: &&ArmReport| arm.success.trials > 1 && arm.distinct == 1;
    let constant = all().filter(is_constant).count();
    if constant > 0 {
        println!(
            "in {constant} of {} arms all samples are word for word the same: where a policy \
             does not vary, the intervals, which take samples for independent, claim more \
             than is known",
            all().count()
        );
    }
    let aborted: u64 = all().map(|arm| arm.aborted).sum();
    if aborted > 0 {
        println!("{aborted} trajectories were stopped from outside and are not counted");
    }
    if report.counterfactual.iter().any(|arm| arm.worth.is_some()) {
        println!(
            "worth: by the interval; useless means within plus and minus {margin}, \
             undecided that there are too few samples to tell"
        );
    }
    println!("run         {}", report.run.display());
}

/// What a run says of where it came from, for `plumb show`; none unless it was forked.
pub(crate) fn described(header: &RunHeader) -> Option<String> {
    let provenance = header.settings.get("counterfactual")?;
    let provenance: Provenance = serde_json::from_value(provenance.clone()).ok()?;
    let Provenance { run, task, trajectory, arms, forged, .. } = provenance;
    let arms: Vec<String> = arms
        .iter()
        .map(|ArmOrigin { change, step, after }| {
            let what = match step {
                None => "as recorded".to_owned(),
                Some(step) => format!("step {step}: {change}"),
            };
            let place = after.map_or("from the beginning".to_owned(), |after| {
                format!("after step {after}")
            });
            format!("{what} ({place})")
        })
        .collect();
    let mut text =
        format!("counterfactuals of {task}:{trajectory} in {run}: {}", arms.join(", "));
    if let Some(Forged { node, .. }) = forged {
        text += &format!("; the observation of step {node} is forged");
    }
    Some(text)
}
