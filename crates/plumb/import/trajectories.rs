//! Runs made of trajectories that somebody else recorded: `plumb import FORMAT FILE --out
//! RUN`. Such a run carries its environment, for nothing else has its tasks, and that
//! environment has no tools: what they answered stands in the record and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plumbline::import::{Forest, Origin, Planted, TrajectoryFormat};
use plumbline::store::{
    FORMAT, Host, Human, RunHeader, RunWriter, VerdictWriter, record_contents,
    write_human, write_origins,
};
use plumbline::{Digest, Environment, EnvironmentParts, Event, Limits, TaskId, Verdict};
use serde_json::{Value, json};

use super::environment::EnvironmentToml;
use super::files::{JsonLines, each_record};
use super::{ImportArgs, ImportReport};
use crate::failure::{Failure, Kind, Result, at};
use crate::manifest;

/// What an imported run carries of its environment.
const CARRIED: [&str; 4] = [
    "environment/environment.toml",
    "environment/prompt.md",
    "environment/tasks.jsonl",
    "environment/gold.jsonl",
];

/// The verifiers that need neither a tool nor supporting documents.
const VERIFIERS: [&str; 5] =
    ["well-formed", "repeat", "retrieval-gain", "answer-support", "answer-correct"];
/// Those that weigh the steps of a search, once without the gold and once with it.
const WEIGHING: [&str; 2] = ["fusion-online", "fusion-gold"];
const PROMPT: &str = "The instructions of these trajectories are in origin.jsonl, as their \
                      source has them.\n";

/// Writes a run of these files' trajectories into an empty folder.
pub(super) fn write(
    args: &ImportArgs,
    format: TrajectoryFormat,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    let mut forest = Forest::default();
    let mut planted: Vec<Planted> = Vec::new();
    let mut keys = BTreeSet::new();
    for file in &args.files {
        each_record(file, json, |record| {
            let trajectory = format.read(record)?;
            let place = record.place();
            let added = forest.plant(trajectory);
            let added = added.map_err(|error| {
                Failure::say(Kind::Input, format!("{place}: {error}"))
            })?;
            // There the key is the sample's number; elsewhere it need not tell them apart.
            let key = (added.origin.task.clone(), added.origin.key.to_string());
            if format == TrajectoryFormat::AgentProcessBench && !keys.insert(key) {
                let message = "its query_index and sample_index stand on an earlier line; \
                               leave one of the two out";
                return Err(Failure::say(Kind::Input, format!("{place}: {message}")));
            }
            planted.push(added);
            Ok(())
        })?;
    }
    write_environment(&dir.join("environment"), format, name, &forest)?;
    let mut report = ImportReport {
        questions: forest.tasks().len() as u64,
        trajectories: planted.len() as u64,
        ..ImportReport::default()
    };
    let header = header(args, format, name, &forest)?;
    let writer = RunWriter::open(dir, &header)?;
    let mut human = Human::new();
    let mut origins: Vec<Origin> = Vec::with_capacity(planted.len());
    let mut verdicts: BTreeMap<TaskId, Vec<Verdict>> = BTreeMap::new();
    for Planted { nodes, leaf, ending, human: labels, verdicts: said, origin } in planted
    {
        let task = &origin.task;
        for (id, node) in &nodes {
            writer.append(Event::Node { task, id: *id, node })?;
        }
        if let Some(ending) = &ending {
            writer.append(Event::Ending { task, node: leaf, seed: None, ending })?;
        }
        report.steps += nodes.len() as u64;
        report.labels += labels.len() as u64;
        human.entry(task.clone()).or_default().extend(labels);
        verdicts.entry(task.clone()).or_default().extend(said);
        origins.push(origin);
    }
    if report.labels > 0 {
        write_human(dir, &human)?;
    }
    write_origins(dir, &origins)?;
    write_verdicts(dir, &forest, &verdicts)?;
    writer.finish()?;
    record_contents(dir, &CARRIED)?;
    Ok(report)
}

/// Labels that came along and are not by people.
fn write_verdicts(
    dir: &Path,
    forest: &Forest,
    verdicts: &BTreeMap<TaskId, Vec<Verdict>>,
) -> Result<()> {
    let said = verdicts.values().flatten().map(|verdict| &verdict.verifier);
    for verifier in said.collect::<BTreeSet<_>>() {
        let mut writer = VerdictWriter::open(dir, verifier)?;
        for (task, tree) in forest.trees() {
            let own = verdicts.get(task).into_iter().flatten();
            let own: Vec<Verdict> =
                own.filter(|verdict| &verdict.verifier == verifier).cloned().collect();
            let nodes = u32::try_from(tree.len()).expect("node ids are 32 bits wide");
            writer.append(task, nodes, Digest::of_json(task), &own, None)?;
        }
        writer.finish()?;
    }
    Ok(())
}

fn write_environment(
    dir: &Path,
    format: TrajectoryFormat,
    name: &str,
    forest: &Forest,
) -> Result<()> {
    fs::create_dir(dir).map_err(at(dir))?;
    let verifiers = match format {
        TrajectoryFormat::AgentProcessBench | TrajectoryFormat::Reflexion => {
            [&VERIFIERS[..], &WEIGHING].concat()
        }
        TrajectoryFormat::OpenaiChat
        | TrajectoryFormat::WhoAndWhen
        | TrajectoryFormat::Atif => VERIFIERS.to_vec(),
        // Without its database a query can only be read, and the gold's is one of many that
        // are right: what there is to say of it takes a judge.
        TrajectoryFormat::SqlLabels => vec!["well-formed"],
    };
    let environment = EnvironmentToml {
        name,
        description: format!(
            "Tasks of trajectories imported from {format}; their tools are not here."
        ),
        protocol: format.protocol(),
        thought_chars_max: 0,
        verifiers: &verifiers,
        limits: None,
        tools: vec![],
    };
    environment.write(dir, PROMPT)?;
    let mut tasks = JsonLines::create(dir.join("tasks.jsonl"))?;
    tasks.push_all(forest.tasks())?;
    tasks.finish()?;
    if !forest.gold().is_empty() {
        let mut gold = JsonLines::create(dir.join("gold.jsonl"))?;
        gold.push_all(forest.gold().values())?;
        gold.finish()?;
    }
    Ok(())
}

fn header(
    args: &ImportArgs,
    format: TrajectoryFormat,
    name: &str,
    forest: &Forest,
) -> Result<RunHeader> {
    let limits = Limits::default();
    let environment = Environment::new(EnvironmentParts {
        name: name.to_owned(),
        prompt: PROMPT.to_owned(),
        protocol: format.protocol(),
        thought_chars_max: 0,
        limits: limits.clone(),
        tools: vec![],
    })?;
    let files: Vec<Value> = args
        .files
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Ok(json!({ "file": name, "sha256": manifest::sha256(file)? }))
        })
        .collect::<Result<_>>()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(RunHeader {
        format: FORMAT,
        environment: args.out.join("environment").display().to_string(),
        environment_digest: environment.digest(),
        tools: Default::default(),
        tasks_digest: Digest::of_json(forest.tasks()),
        tasks: forest.tasks().len() as u64,
        policy: format!("imported:{format}"),
        seed: 0,
        samples: 1,
        settings: json!({
            "imported": { "format": format.name(), "files": files },
            "limits": limits,
        }),
        begun_unix_s: now.as_secs(),
        host: Host {
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            plumb: env!("CARGO_PKG_VERSION").to_owned(),
        },
    })
}

/// The format a run was imported from; `None` for a run of our own, whose tools can be asked
/// again.
pub(crate) fn source(header: &RunHeader) -> Option<TrajectoryFormat> {
    header.settings.get("imported")?.get("format")?.as_str()?.parse().ok()
}
