//! `plumb run`: grows one tree for each task, records every step, sums up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plumbline::store::{FORMAT, Host, Recording, RunHeader, RunWriter, read_header};
use plumbline::{
    CallCache, Digest, Ending, Environment, Event, Gold, GradeError, Ground, GrowError,
    Policy, SinkError, Summary, Tally, Task, TaskId, Tree, Usage, grade, grow,
};
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::args::RunArgs;
use crate::catalog;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::recording::warn_of_losses;
use crate::settings::Settings;

/// Bytes of tool results that are remembered between episodes.
pub(crate) const CALL_CACHE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a finished run is reported as.
#[derive(Debug, Serialize)]
struct Report {
    run: PathBuf,
    policy: String,
    tasks: u64,
    /// Tasks that had ended before this start.
    kept: u64,
    episodes: u64,
    steps: u64,
    seconds: f64,
    usage: Usage,
    interrupted: bool,
    summary: Summary,
}

/// All that the trees of a run share.
struct Run {
    environment: Environment,
    policy: Arc<dyn Policy>,
    cache: CallCache,
    slots: Semaphore,
    stop: watch::Receiver<bool>,
    writer: RunWriter,
    settings: Settings,
    steps: AtomicU64,
}

pub(crate) async fn run(args: &RunArgs, json: bool) -> Result<()> {
    let folder = EnvironmentFolder::open(&args.environment)?;
    let settings = Settings::resolve(args, &folder.manifest)?;
    let mut tasks = folder.tasks(settings.tasks.as_deref())?;
    let limit = settings.limit.and_then(|limit| usize::try_from(limit).ok());
    tasks.truncate(limit.unwrap_or(usize::MAX));
    let gold = folder.gold()?;
    let environment = catalog::environment(&folder, &settings.limits, json).await?;
    let policy = catalog::policy(settings.policy(), json).await?;
    let header = header(args, &settings, &environment, policy.as_ref(), &tasks);
    let out = args.out.clone().unwrap_or_else(|| default_out(&environment, &header));
    if args.dry_run {
        return dry_run(&header, &out, json);
    }
    refuse_strange(&out, &header)?;
    if out.join("run.json").exists() {
        warn_of_losses(&out)?;
    }
    let writer = RunWriter::open(&out, &header)?;
    let mut trees = steps_of(&out, &header)?;
    let (stopper, stop) = watch::channel(false);
    let run = Arc::new(Run {
        environment,
        policy,
        cache: CallCache::new(CALL_CACHE_BYTES_MAX),
        slots: Semaphore::new(settings.concurrency as usize),
        stop,
        writer,
        settings,
        steps: AtomicU64::new(0),
    });
    let interrupt = tokio::spawn(stop_on_interrupt(stopper.clone()));
    let began = Instant::now();
    let mut score = Score::new(&gold, tasks.len() as u64, run.settings.samples, json);
    let grown = grow_all(&run, &tasks, &mut trees, &mut score, &stopper).await;
    interrupt.abort();
    score.progress.finish();
    grown?;
    if !*run.stop.borrow() {
        run.writer.finish()?;
    }
    let report = Report {
        run: out,
        policy: run.policy.id().to_string(),
        tasks: tasks.len() as u64,
        kept: score.kept,
        episodes: score.episodes,
        steps: run.steps.load(Ordering::Relaxed),
        seconds: began.elapsed().as_secs_f64(),
        usage: run.policy.usage(),
        interrupted: *run.stop.borrow(),
        summary: score.tally.summary(run.settings.seed),
    };
    print(&report, json)?;
    conclude(&report, &score, &run.settings)
}

/// Grows every tree, at most `concurrency` at a time, each on a task of its own so that all
/// cores are used.
async fn grow_all(
    run: &Arc<Run>,
    tasks: &[Task],
    trees: &mut BTreeMap<TaskId, Tree>,
    score: &mut Score<'_>,
    stopper: &watch::Sender<bool>,
) -> Result<()> {
    let mut waiting = tasks.iter();
    let mut growing: JoinSet<Grown> = JoinSet::new();
    let mut failure = None;
    loop {
        let stopped = *run.stop.borrow();
        while !stopped && growing.len() < run.settings.concurrency as usize {
            let Some(task) = waiting.next() else { break };
            let tree = trees.remove(&task.id);
            let kept = tree.is_some();
            let tree = tree.unwrap_or_else(|| Tree::new(task.id.clone()));
            if kept && is_complete(&tree, run) {
                score.keep(task, &tree, run).await?;
                continue;
            }
            growing.spawn(grow_one(Arc::clone(run), task.clone(), tree));
        }
        let Some(grown) = growing.join_next().await else { break };
        let (task, grown) = grown.blame(Kind::External)?;
        match grown {
            Ok(tree) => {
                score.add(&task, &tree, run).await?;
                if score.too_many_aborted(&run.settings) {
                    stopper.send_replace(true);
                }
            }
            Err(error) => {
                // Whatever else is in flight ends at its next step; the first error counts.
                stopper.send_replace(true);
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        None => Ok(()),
        Some(error) => Err(ungrown(error)),
    }
}

/// A task and the tree it came to.
type Grown = (Task, std::result::Result<Tree, GrowError>);

async fn grow_one(run: Arc<Run>, task: Task, tree: Tree) -> Grown {
    let sink = |event: Event<'_>| {
        if matches!(event, Event::Node { .. }) {
            run.steps.fetch_add(1, Ordering::Relaxed);
        }
        run.writer.append(event).map_err(|error| SinkError(Box::new(error)))
    };
    let ground = Ground {
        environment: &run.environment,
        policy: run.policy.as_ref(),
        cache: Some(&run.cache),
        meter: None,
        slots: &run.slots,
        stop: run.stop.clone(),
        sink: &sink,
        seed: run.settings.seed,
        retries: run.settings.retry_on_error,
    };
    let grown = grow(&ground, &task, tree, &run.settings.shape()).await;
    (task, grown)
}

/// Whether a recorded tree has nothing left to do: all samples are there and ended.
fn is_complete(tree: &Tree, run: &Run) -> bool {
    let again = |ending: &Ending| {
        matches!(ending, Ending::Aborted { .. }) && run.settings.retry_on_error > 0
    };
    let samples = tree.children(None).count() + tree.stillborn().count();
    // Whether all children of a tree are there, growing it tells.
    run.settings.tree.is_none()
        && samples >= run.settings.samples as usize
        && !tree.stillborn().any(|(_, ending)| again(ending))
        && tree.leaves().iter().all(|leaf| tree.ending(*leaf).is_some_and(|e| !again(e)))
}

/// The running score of a run.
struct Score<'g> {
    gold: &'g BTreeMap<TaskId, Gold>,
    tally: Tally,
    progress: Progress,
    samples: u32,
    done: u64,
    kept: u64,
    episodes: u64,
    /// What the first aborted episode said.
    complaint: Option<String>,
}

impl<'g> Score<'g> {
    fn new(
        gold: &'g BTreeMap<TaskId, Gold>,
        tasks: u64,
        samples: u32,
        json: bool,
    ) -> Self {
        let progress = Progress::new("episodes", tasks * u64::from(samples), json);
        let tally = Tally::new();
        Self {
            gold,
            tally,
            progress,
            samples,
            done: 0,
            kept: 0,
            episodes: 0,
            complaint: None,
        }
    }

    async fn keep(&mut self, task: &Task, tree: &Tree, run: &Run) -> Result<()> {
        self.kept += 1;
        self.tally_up(task, tree, run).await
    }

    async fn add(&mut self, task: &Task, tree: &Tree, run: &Run) -> Result<()> {
        self.episodes += (tree.leaves().len() + tree.stillborn().count()) as u64;
        self.tally_up(task, tree, run).await?;
        let (episodes, usage) = (self.episodes, run.policy.usage());
        self.progress.set(self.done * u64::from(self.samples), |elapsed| {
            let seconds = elapsed.as_secs_f64().max(0.001);
            let mut message = format!("{:.1} episodes/s", episodes as f64 / seconds);
            if usage.sampled > 0 {
                message += &format!(", {:.0} tokens/s", usage.sampled as f64 / seconds);
            }
            if let (Some(em), Some(f1)) = (self.tally.exact_match(), self.tally.f1()) {
                message += &format!(", EM {em:.3}, F1 {f1:.3}");
            }
            message
        });
        Ok(())
    }

    async fn tally_up(&mut self, task: &Task, tree: &Tree, run: &Run) -> Result<()> {
        self.done += 1;
        let endings = tree.leaves().into_iter().filter_map(|leaf| tree.ending(leaf));
        let stillborn = tree.stillborn().map(|(_, ending)| ending);
        let complaint = endings.chain(stillborn).find_map(|ending| match ending {
            Ending::Aborted { message, .. } => Some(message.clone()),
            Ending::Answered | Ending::Exhausted { .. } => None,
        });
        self.complaint = self.complaint.take().or(complaint);
        let Some(gold) = self.gold.get(tree.task()) else {
            self.tally.add_ungraded(tree);
            return Ok(());
        };
        let compared = grade(&run.environment, task, gold, tree, Some(&run.cache)).await;
        self.tally.add_tree(tree, gold, &compared.map_err(ungraded)?);
        Ok(())
    }

    fn aborted(&self) -> u64 {
        self.tally.endings().aborted.values().sum()
    }

    fn too_many_aborted(&self, settings: &Settings) -> bool {
        let Some(max) = settings.fail_on_error else { return false };
        let aborted = self.aborted() as f64;
        let all = (self.done * u64::from(self.samples)) as f64;
        // A share is only judged once there are enough episodes to speak of one.
        if max < 1.0 { all >= 10.0 && aborted > max * all } else { aborted >= max }
    }
}

/// Whose turn it is when answers cannot be held against the gold.
pub(crate) fn ungraded(error: GradeError) -> Failure {
    let kind = match &error {
        GradeError::Gold { .. } => Kind::Input,
        GradeError::Act(_) => Kind::External,
    };
    Failure::new(kind, error)
}

/// Whose turn it is when a tree could not be grown.
pub(crate) fn ungrown(error: GrowError) -> Failure {
    let kind = match &error {
        GrowError::Diverged { .. } => Kind::Finding,
        GrowError::Record { .. } => Kind::External,
    };
    Failure::new(kind, error)
}

/// Refuses a folder that holds something else, before anything is written there.
pub(crate) fn refuse_strange(out: &Path, header: &RunHeader) -> Result<()> {
    if out.join("run.json").exists() {
        return refuse_conflict(out, header);
    }
    // What is left of a run that was killed before its header stood.
    let entries = match std::fs::read_dir(out) {
        Ok(entries) => entries,
        Err(_) => return Ok(()),
    };
    let names = entries.filter_map(|entry| entry.ok()).map(|entry| entry.file_name());
    let strange = names.into_iter().any(|name| {
        let name = name.to_string_lossy();
        name != "steps.jsonl" && !name.starts_with("run.json.")
    });
    // Then nothing but its format stands in the file of steps.
    let steps = std::fs::read_to_string(out.join("steps.jsonl")).unwrap_or_default();
    if steps.lines().nth(1).is_some() {
        let message = format!(
            "{}: it holds steps, and no run.json that says of which run; restore that, or \
             choose another --out",
            out.display()
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    if strange {
        let out = out.display();
        let message = format!("{out}: not empty, and not a run; choose another --out");
        return Err(Failure::say(Kind::Usage, message));
    }
    Ok(())
}

fn refuse_conflict(out: &Path, header: &RunHeader) -> Result<()> {
    let Some(conflict) = read_header(out)?.conflict(header) else { return Ok(()) };
    let message = format!(
        "{}: holds another run ({conflict}); choose another --out, or remove it",
        out.display()
    );
    Err(Failure::say(Kind::Usage, message))
}

/// The settings as they are stored.
fn recorded(settings: &Settings, environment: &Environment) -> Value {
    let mut recorded = serde_json::to_value(settings).expect("settings serialise");
    recorded["policy"] = without_credentials(&settings.policy).into();
    let external = catalog::external_tools(environment);
    if !external.is_empty() {
        recorded["external"] = serde_json::to_value(external).expect("specs serialise");
    }
    recorded
}

/// A policy's name as it is stored: a user name and password in its address are nobody's
/// business.
pub(crate) fn without_credentials(policy: &str) -> String {
    if let Some((scheme, address)) = policy.split_once("://") {
        let authority = address.find('/').unwrap_or(address.len());
        if let Some(at) = address[..authority].rfind('@') {
            return format!("{scheme}://{}", &address[at + 1..]);
        }
    }
    policy.to_owned()
}

/// The steps already recorded in `out`, which is locked by now. Whoever held the lock before
/// may have begun another run there.
pub(crate) fn steps_of(out: &Path, header: &RunHeader) -> Result<BTreeMap<TaskId, Tree>> {
    refuse_conflict(out, header)?;
    Ok(Recording::open(out)?.trees)
}

pub(crate) fn header(
    args: &RunArgs,
    settings: &Settings,
    environment: &Environment,
    policy: &dyn Policy,
    tasks: &[Task],
) -> RunHeader {
    let tools = environment.specs().iter().map(|spec| (spec.name.clone(), spec.pinned));
    RunHeader {
        format: FORMAT,
        environment: args.environment.clone(),
        environment_digest: environment.digest(),
        tools: tools.collect(),
        tasks_digest: Digest::of_json(tasks),
        tasks: tasks.len() as u64,
        policy: policy.id().to_string(),
        seed: settings.seed,
        samples: settings.samples,
        settings: recorded(settings, environment),
        begun_unix_s: now_unix_s(),
        host: host(),
    }
}

/// Seconds since 1970, by this machine's clock.
pub(crate) fn now_unix_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.as_secs()
}

/// This machine.
pub(crate) fn host() -> Host {
    Host {
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        plumb: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// `runs/<environment>-<policy's kind>-<digest>`: the same command finds the same folder.
pub(crate) fn default_out(environment: &Environment, header: &RunHeader) -> PathBuf {
    let kind = header.policy.split([':', '+']).next().unwrap_or("policy");
    let identity = (
        header.environment_digest,
        header.tasks_digest,
        &header.policy,
        header.seed,
        header.settings.get("tree").cloned().unwrap_or(header.samples.into()),
    );
    let digest = Digest::of_json(&identity).short();
    let name: String = environment
        .name()
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .collect();
    Path::new("runs").join(format!("{name}-{kind}-{digest}"))
}

pub(crate) fn dry_run(header: &RunHeader, out: &Path, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::json!({ "run": out, "header": header }));
        return Ok(());
    }
    println!("would run {} tasks of {}", header.tasks, header.environment);
    println!("  policy    {}", header.policy);
    println!("  samples   {}", header.samples);
    println!("  seed      {}", header.seed);
    for (tool, pinned) in &header.tools {
        println!("  tool      {tool} over {}", pinned.short());
    }
    println!("  settings  {}", header.settings);
    println!("  into      {}", out.display());
    Ok(())
}

/// The first Ctrl-C lets nothing new begin, and so does being told to terminate; the second
/// one ends the process.
pub(crate) async fn stop_on_interrupt(stopper: watch::Sender<bool>) {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    let interrupted = tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.is_ok(),
        terminated = terminate.recv() => terminated.is_some(),
    };
    if !interrupted {
        return;
    }
    eprintln!("stopping; the same command resumes (Ctrl-C again to stop at once)");
    stopper.send_replace(true);
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(report).blame(Kind::External)?);
        return Ok(());
    }
    let Report { summary, usage, seconds, .. } = report;
    let endings = &summary.endings;
    println!("policy    {}", report.policy);
    let kept =
        if report.kept > 0 { format!(" ({} kept)", report.kept) } else { String::new() };
    println!(
        "tasks     {}{kept}, {} episodes and {} steps in {seconds:.1} s",
        report.tasks, report.episodes, report.steps
    );
    if usage.sampled > 0 {
        println!(
            "tokens    {} sampled ({:.0}/s), {} prompt tokens evaluated, {} reused",
            usage.sampled,
            usage.sampled as f64 / seconds.max(0.001),
            usage.prompt_evaluated,
            usage.prompt_reused
        );
        if usage.prompt_new > 0 {
            let ratio = usage.prompt_evaluated as f64 / usage.prompt_new as f64;
            println!("prefix    {ratio:.2} prompt tokens evaluated for each new one");
        }
    }
    println!("endings   {endings}");
    match &summary.overall {
        Some(overall) => println!("{}", table(overall, &summary.groups)),
        None => {
            println!("nothing is scored: no episode with a gold answer ended by itself")
        }
    }
    println!("run       {}", report.run.display());
    Ok(())
}

fn table(
    overall: &plumbline::Estimates,
    groups: &BTreeMap<String, BTreeMap<String, plumbline::Estimates>>,
) -> String {
    let mut lines = vec![format!(
        "{:<22} {:>9}  {:<22} {:<22} supporting recall",
        "", "questions", "exact match", "F1"
    )];
    let mut line = |name: &str, estimates: &plumbline::Estimates| {
        let recall =
            estimates.supporting_recall.map_or("-".to_owned(), |e| e.to_string());
        lines.push(
            format!(
                "{name:<22} {:>9}  {:<22} {:<22} {recall:<22}",
                estimates.f1.questions,
                estimates.exact_match.to_string(),
                estimates.f1.to_string(),
            )
            .trim_end()
            .to_owned(),
        );
    };
    line("all", overall);
    for (group, values) in groups {
        for (value, estimates) in values {
            line(&format!("{group} {value}"), estimates);
        }
    }
    lines.join("\n")
}

/// The exit code of a run that was recorded: done, interrupted, or too much failed outside.
fn conclude(report: &Report, score: &Score<'_>, settings: &Settings) -> Result<()> {
    let aborted = score.aborted();
    let all_aborted = aborted > 0 && report.summary.endings.graded() == 0;
    if score.too_many_aborted(settings) || all_aborted {
        let message = format!(
            "{aborted} episodes were aborted ({}); the first said: {}. The run is kept: the \
             same command with --retry-on-error 1 takes them up again",
            report.summary.endings,
            score.complaint.as_deref().unwrap_or("nothing")
        );
        return Err(Failure::say(Kind::External, message).reported());
    }
    if report.interrupted {
        let message = "interrupted; the same command resumes";
        return Err(Failure::say(Kind::External, message).reported());
    }
    Ok(())
}
