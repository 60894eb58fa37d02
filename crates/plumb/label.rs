//! `plumb label`: has verifiers judge a run and writes their verdicts beside its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use plumbline::explore::Method;
use plumbline::store::{
    Judged, JudgedTree, Recording, RunHeader, VerdictWriter, read_verdicts,
};
use plumbline::{
    Digest, Environment, Gold, Limits, NodeId, StepLabel, Task, TaskId, Tree, Verdict,
    Verifier, VerifierId, View,
};

use crate::args::LabelArgs;
use crate::catalog::{self, RecordedTool};
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::recording;

/// Trees that one verifier judges at once.
pub(crate) const TREES_AT_ONCE: usize = 8;

/// Every verdict of a run, by task.
pub(crate) type Verdicts = BTreeMap<TaskId, Vec<Verdict>>;

/// What each verifier has made of a run's trees.
pub(crate) type JudgedBy = BTreeMap<VerifierId, Judged>;

pub(crate) async fn label(args: &LabelArgs, json: bool) -> Result<()> {
    let view: View = view(&args.view)?;
    let recording = recording::open(&args.run)?;
    let folder = EnvironmentFolder::of_run(&args.run, &recording.header)?;
    let tasks = tasks(&folder, &recording)?;
    let gold = folder.gold()?;
    let names = args.verifiers.as_slice();
    if names.is_empty()
        && folder.manifest.verifiers.is_empty()
        && args.judge.policy.is_none()
    {
        let message = "the environment names no verifiers; name some with --verifier";
        return Err(Failure::say(Kind::Usage, message));
    }
    let world = Arc::new(recorded_environment(&folder, &recording, json).await?);
    // A judge that is alone judges alone.
    let mut verifiers = match (names, &args.judge.policy) {
        ([], Some(_)) => vec![],
        _ => catalog::verifiers(&folder, names, &world).await?,
    };
    if let Some(policy) = &args.judge.policy {
        verifiers.push(catalog::judge(&args.judge, policy, &world, json).await?);
    }
    let mut failures = Vec::new();
    for verifier in &verifiers {
        let done = judge(verifier.as_ref(), &args.run, &recording, &tasks, &gold, json);
        // What it did judge is recorded, and the others owe it nothing.
        failures.extend(done.await.err());
    }
    match judged(&args.run, &tasks) {
        Ok(judged) => {
            print(&recording, &tasks, &by_task(judged), &verifiers, view, json);
        }
        // Why one could not judge says more than that its verdicts cannot be read.
        Err(error) if failures.is_empty() => return Err(error),
        Err(_) => {}
    }
    Failure::all(failures)
}

/// What became of one tree.
enum Outcome<'r> {
    /// It had been judged as it is.
    Known,
    /// There is no gold, and the verifier needs some.
    Ungraded,
    /// It was judged.
    New { id: &'r TaskId, nodes: u32, shown: Digest, verdicts: Vec<Verdict> },
}

/// Judges every tree the verifier has not judged yet, or that has grown since.
pub(crate) async fn judge(
    verifier: &dyn Verifier,
    run: &Path,
    recording: &Recording,
    tasks: &BTreeMap<TaskId, Task>,
    gold: &BTreeMap<TaskId, Gold>,
    json: bool,
) -> Result<()> {
    let mut writer = VerdictWriter::open(run, verifier.id())?;
    let judged = read_verdicts(run, verifier.id())?;
    let mut ungraded = 0;
    let progress = Progress::new("trees judged", recording.trees.len() as u64, json);
    let judging = recording.trees.iter().map(|(id, tree)| async {
        let nodes = u32::try_from(tree.len()).expect("node ids are 32 bits wide");
        let task = tasks.get(id).ok_or_else(|| unknown_task(id))?;
        let gold = gold.get(id);
        let shown = Digest::of_json(&(task, gold.filter(|_| verifier.sight().gold)));
        let known = judged.get(id);
        if known.is_some_and(|known| known.nodes == nodes && known.shown == shown) {
            return Ok::<_, Failure>(Outcome::Known);
        }
        if gold.is_none() && verifier.sight().gold {
            return Ok(Outcome::Ungraded);
        }
        let verdicts = plumbline::label(verifier, task, gold, tree).await?;
        Ok(Outcome::New { id, nodes, shown, verdicts })
    });
    // Verifiers that wait for a model wait for several trees at once; the order of the
    // verdicts is that of the trees all the same.
    let mut judging = stream::iter(judging).buffered(TREES_AT_ONCE);
    let mut done = 0;
    while let Some(judged) = judging.next().await {
        match judged? {
            Outcome::Known => {}
            Outcome::Ungraded => ungraded += 1,
            Outcome::New { id, nodes, shown, verdicts } => {
                writer.append(id, nodes, shown, &verdicts, None)?;
            }
        }
        done += 1;
        progress.set(done, |_| verifier.id().to_string());
    }
    progress.finish();
    writer.finish()?;
    if ungraded > 0 {
        eprintln!("{}: {ungraded} tasks have no gold and get no verdict", verifier.id());
    }
    Ok(())
}

/// The world a run was made in, with the limits it was made with, not those the manifest has
/// now. Says so where it is not quite that world any more.
pub(crate) async fn recorded_environment(
    folder: &EnvironmentFolder,
    recording: &Recording,
    json: bool,
) -> Result<Environment> {
    environment_of(folder, &recording.header, json).await
}

/// The same, of a run whose steps have not been read.
pub(crate) async fn environment_of(
    folder: &EnvironmentFolder,
    header: &RunHeader,
    json: bool,
) -> Result<Environment> {
    let limits = header.settings.get("limits").cloned().unwrap_or_default();
    let limits: Limits = serde_json::from_value(limits).blame(Kind::Input)?;
    // Runs that are older have not recorded them.
    let external = header.settings.get("external").cloned();
    let external: Vec<RecordedTool> =
        external.map_or(Ok(vec![]), serde_json::from_value).blame(Kind::Input)?;
    let environment =
        catalog::environment_of_run(folder, &limits, &external, json).await?;
    let mut others: Vec<String> = Vec::new();
    if tells_otherwise(&environment, header) {
        others.push("its prompt, protocol or list of tools is another".to_owned());
    }
    let changed = environment.specs().iter().filter(|spec| {
        header.tools.get(&spec.name).is_some_and(|pinned| *pinned != spec.pinned)
    });
    let changed: Vec<&str> = changed.map(|spec| spec.name.as_str()).collect();
    if !changed.is_empty() {
        let changed = changed.join(", ");
        others.push(format!("the data of these tools are others: {changed}"));
    }
    if !others.is_empty() {
        let (name, others) = (folder.dir.display(), others.join("; "));
        eprintln!("warning: {name} is not what the run was made in: {others}");
    }
    Ok(environment)
}

/// Whether a model would be told something else now than that of the run was, or its messages
/// be read otherwise.
pub(crate) fn tells_otherwise(environment: &Environment, header: &RunHeader) -> bool {
    environment.digest_over(&header.tools) != header.environment_digest
}

/// The tasks a run was made of, from the file it was made with. Refuses others: whoever
/// labels or exports steps with them says what nobody was asked.
pub(crate) fn tasks(
    folder: &EnvironmentFolder,
    recording: &Recording,
) -> Result<BTreeMap<TaskId, Task>> {
    tasks_of(folder, &recording.header)
}

/// The same, of a run whose steps have not been read.
pub(crate) fn tasks_of(
    folder: &EnvironmentFolder,
    header: &RunHeader,
) -> Result<BTreeMap<TaskId, Task>> {
    let file = header.settings.get("tasks").and_then(|file| file.as_str());
    let mut tasks = folder.tasks(file.map(Path::new))?;
    // The run may have been of the first ones only, and others may have come since.
    tasks.truncate(usize::try_from(header.tasks).unwrap_or(usize::MAX));
    if Digest::of_json(&tasks) != header.tasks_digest {
        let file = file.map_or_else(|| folder.dir.join("tasks.jsonl"), PathBuf::from);
        let message = format!(
            "{}: these are not the tasks that the run was made of; restore the file, or make \
             a new run of it",
            file.display()
        );
        return Err(Failure::say(Kind::Input, message));
    }
    Ok(tasks.into_iter().map(|task| (task.id.clone(), task)).collect())
}

/// Whether verdicts were given on a task as it is, with the gold that it has or with none.
/// What an import brought along was given elsewhere, on whatever there was; what was taken back
/// says nothing.
pub(crate) fn is_current(
    verifier: &VerifierId,
    judged: &JudgedTree,
    task: &Task,
    gold: Option<&Gold>,
) -> bool {
    let shown = |gold: Option<&Gold>| Digest::of_json(&(task, gold));
    let is_taken_back = judged.nodes == 0;
    is_taken_back
        || verifier.name() == "imported"
        || [None, gold].map(shown).contains(&judged.shown)
}

pub(crate) fn unknown_task(id: &TaskId) -> Failure {
    let message = format!("the run has steps for task {id}, which the tasks file lacks");
    Failure::say(Kind::Input, message)
}

pub(crate) fn view(name: &str) -> Result<View> {
    name.parse().map_err(|error: plumbline::ViewError| Failure::new(Kind::Usage, error))
}

/// Every verdict that lies beside a run's steps, whoever gave it.
pub(crate) fn verdicts(run: &Path) -> Result<Verdicts> {
    all_judged(run).map(by_task)
}

/// The same by who gave it.
pub(crate) fn all_judged(run: &Path) -> Result<JudgedBy> {
    let verifiers = plumbline::store::verifiers(run)?.into_iter();
    let judged = verifiers.map(|verifier| {
        let judged = read_verdicts(run, &verifier)?;
        Ok((verifier, judged))
    });
    judged.collect()
}

/// Says of verdicts that were given when a task or its gold was another: they are as good as
/// none, and whoever mixes them with what is known now compares two things.
pub(crate) fn warn_of_stale(run: &Path, stale: &Stale) {
    if !stale.is_empty() {
        eprintln!("warning: {}", stale_in_words(run, stale));
    }
}

/// Who judged how many tasks when something else was known of them, and the remedy.
pub(crate) fn stale_in_words(run: &Path, stale: &Stale) -> String {
    let each = stale.iter().map(|(verifier, tasks)| format!("{tasks} by {verifier}"));
    format!(
        "{}: tasks judged when their gold was another: {}; plumb label judges them again, as \
         does plumb explore by its methods",
        run.display(),
        each.collect::<Vec<_>>().join(", ")
    )
}

/// On how many tasks verifiers gave verdicts that are not [current](is_current).
pub(crate) type Stale = BTreeMap<VerifierId, u64>;

pub(crate) fn stale(
    judged: &JudgedBy,
    tasks: &BTreeMap<TaskId, Task>,
    gold: &BTreeMap<TaskId, Gold>,
) -> Stale {
    let mut stale = Stale::new();
    for (verifier, judged) in judged {
        let is_stale = |(id, of): &(&TaskId, &JudgedTree)| {
            let task = tasks.get(*id);
            task.is_some_and(|task| !is_current(verifier, of, task, gold.get(*id)))
        };
        let count = judged.iter().filter(is_stale).count() as u64;
        if count > 0 {
            stale.insert(verifier.clone(), count);
        }
    }
    stale
}

/// What every verifier has made of a run of these tasks. That none has is an error: nothing
/// could be said of its labels.
pub(crate) fn judged(run: &Path, tasks: &BTreeMap<TaskId, Task>) -> Result<JudgedBy> {
    let mut all = JudgedBy::new();
    for verifier in labelled(run)? {
        let judged = read_verdicts(run, &verifier)?;
        for (task, tree) in &judged {
            known_task(run, &verifier, task, tree.line, tasks)?;
        }
        all.insert(verifier, judged);
    }
    Ok(all)
}

/// The verifiers that have judged a run; an error if there are none.
pub(crate) fn labelled(run: &Path) -> Result<Vec<VerifierId>> {
    let verifiers = plumbline::store::verifiers(run)?;
    if verifiers.is_empty() {
        let message =
            format!("{}: has no verdicts; run plumb label first", run.display());
        return Err(Failure::say(Kind::Usage, message));
    }
    Ok(verifiers)
}

/// Refuses a line of verdicts on a task that the run is not of.
pub(crate) fn known_task(
    run: &Path,
    verifier: &VerifierId,
    task: &TaskId,
    line: u64,
    tasks: &BTreeMap<TaskId, Task>,
) -> Result<()> {
    if tasks.contains_key(task) {
        return Ok(());
    }
    let file = run.join("verdicts").join(format!("{verifier}.jsonl"));
    let message = format!(
        "{}:{line}: field \"task\" is {:?}, which is no task of the run; delete the file and \
         run plumb label, which makes it again",
        file.display(),
        task.0
    );
    Err(Failure::say(Kind::Input, message))
}

/// The verdicts of all verifiers, by task.
pub(crate) fn by_task(judged: JudgedBy) -> Verdicts {
    let mut all = Verdicts::new();
    for (task, judged) in judged.into_values().flatten() {
        all.entry(task).or_default().extend(judged.verdicts);
    }
    all
}

/// Says of which tasks verifiers have not judged every step: they were interrupted, or the run
/// has grown since. Silence there is no abstention.
pub(crate) fn warn_of_unjudged(
    judged: &JudgedBy,
    recording: &Recording,
    gold: &BTreeMap<TaskId, Gold>,
) {
    for (verifier, judged) in judged {
        let whole = |task: &TaskId| {
            let nodes = recording.trees[task].len();
            judged.get(task).is_some_and(|of| of.nodes as usize >= nodes)
        };
        warn_of_missing(verifier, recording.trees.keys(), whole, gold);
    }
}

/// The same of one verifier, given which tasks it has judged. Those without gold are passed
/// over by a verifier that needs some: they count only where it has judged one of them.
pub(crate) fn warn_of_missing<'t>(
    verifier: &VerifierId,
    tasks: impl Iterator<Item = &'t TaskId> + Clone,
    is_judged: impl Fn(&TaskId) -> bool,
    gold: &BTreeMap<TaskId, Gold>,
) {
    // A tree method judges the steps it commits to; the rest of the tree are its rollouts.
    if Method::find(verifier.name()).is_some() {
        return;
    }
    let needs_gold =
        !tasks.clone().any(|task| !gold.contains_key(task) && is_judged(task));
    let due = tasks.filter(|task| !needs_gold || gold.contains_key(*task));
    let (all, missing) = due.fold((0, 0), |(all, missing), task| {
        (all + 1, missing + u64::from(!is_judged(task)))
    });
    if missing > 0 {
        eprintln!(
            "warning: {missing} of {all} tasks not judged by {verifier}: run plumb label"
        );
    }
}

/// What the verifiers named have made of a run; all there are where none is named. Those that were named
/// and that the view cannot use are an error: to leave them out silently would give something
/// else than was asked for.
pub(crate) fn chosen(
    run: &Path,
    mut judged: JudgedBy,
    names: &[String],
    view: View,
) -> Result<JudgedBy> {
    if names.is_empty() {
        return Ok(judged);
    }
    let named = named(run, names)?;
    judged.retain(|verifier, _| named.contains(verifier));
    for tree in judged.values().flat_map(Judged::values) {
        view.require(&tree.verdicts).blame(Kind::Usage)?;
    }
    Ok(judged)
}

/// The verifiers that these names mean, among those that have judged a run.
pub(crate) fn named(run: &Path, names: &[String]) -> Result<BTreeSet<VerifierId>> {
    let known = plumbline::store::verifiers(run)?;
    let mut found = BTreeSet::new();
    for name in names {
        let is = |id: &&VerifierId| id.name() == name || &id.0 == name;
        if !known.iter().any(|id| is(&id)) {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            let message = format!(
                "{}: {name:?} has not judged this run; run plumb label --verifier {name} \
                 first. There are: {}",
                run.display(),
                known.join(", ")
            );
            return Err(Failure::say(Kind::Usage, message));
        }
        found.extend(known.iter().filter(is).cloned());
    }
    Ok(found)
}

/// How many steps have each label; the last is the steps without one.
#[derive(Debug, Default, Clone, Copy, serde::Serialize)]
struct Counts {
    good: u64,
    neutral: u64,
    bad: u64,
    unlabelled: u64,
}

impl Counts {
    fn add(&mut self, label: Option<StepLabel>) {
        *match label {
            Some(StepLabel::Good) => &mut self.good,
            Some(StepLabel::Neutral) => &mut self.neutral,
            Some(StepLabel::Bad) => &mut self.bad,
            None => &mut self.unlabelled,
        } += 1;
    }
}

fn print(
    recording: &Recording,
    tasks: &BTreeMap<TaskId, Task>,
    verdicts: &Verdicts,
    verifiers: &[Box<dyn Verifier>],
    view: View,
    json: bool,
) {
    let of = |tree: &Tree| verdicts.get(tree.task()).map_or(&[][..], Vec::as_slice);
    let mut rows: Vec<(String, Counts)> = Vec::new();
    for verifier in verifiers {
        let mut counts = Counts::default();
        for tree in recording.trees.values() {
            let own =
                of(tree).iter().filter(|verdict| &verdict.verifier == verifier.id());
            let own: BTreeMap<NodeId, &Verdict> = own.map(|v| (v.node, v)).collect();
            let label = |node| own.get(&node).and_then(|verdict| verdict.label);
            tree.nodes().for_each(|(node, _)| counts.add(label(node)));
        }
        rows.push((verifier.id().to_string(), counts));
    }
    let mut viewed = Counts::default();
    for tree in recording.trees.values() {
        let question = tasks.get(tree.task()).map_or("", |task| task.prompt.as_str());
        let labels = view.labels(question, tree, of(tree));
        let label = |node| labels.get(&node).map(|labelled| labelled.label);
        tree.nodes().for_each(|(node, _)| viewed.add(label(node)));
    }
    rows.push((format!("view {view}"), viewed));
    if json {
        let rows: BTreeMap<String, Counts> = rows.into_iter().collect();
        println!("{}", serde_json::json!({ "labels": rows }));
        return;
    }
    println!("{:<28} {:>7} {:>7} {:>7} {:>10}", "", "good", "neutral", "bad", "no label");
    for (name, Counts { good, neutral, bad, unlabelled }) in rows {
        println!("{name:<28} {good:>7} {neutral:>7} {bad:>7} {unlabelled:>10}");
    }
}
