//! `plumb export`: writes a run's trajectories in a published format, with the labels of a
//! view. A run that was imported from that format goes back out as it came, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use plumbline::export::{agent_process_bench, messages, openai_chat};
use plumbline::import::Origin;
use plumbline::store::{Recording, read_origins, write_atomically};
use plumbline::{Action, Gold, NodeId, Step, StepLabel, Task, TaskId, Tree};
use serde_json::json;

use crate::failure::{Failure, Kind, Result, at};
use crate::label::{chosen, recorded_environment, tasks, unknown_task, view};
use crate::manifest::EnvironmentFolder;

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The run's folder.
    run: PathBuf,
    /// agentprocessbench or openai-chat.
    #[arg(long, value_name = "F")]
    format: Format,
    /// The folder to write into; the file in it must not exist.
    #[arg(short = 'o', long, value_name = "DIR")]
    out: PathBuf,
    /// Labels to write, as a view reads them off the verdicts. Default: those the source of
    /// an imported run had, none for a run of our own.
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// Use only this verifier's verdicts; repeat for several. Default: all there are.
    #[arg(long = "verifier", value_name = "V", requires = "view")]
    verifiers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    AgentProcessBench,
    OpenaiChat,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::AgentProcessBench => "agentprocessbench",
            Format::OpenaiChat => "openai-chat",
        }
    }
}

impl FromStr for Format {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> std::result::Result<Self, anyhow::Error> {
        let known = [Format::AgentProcessBench, Format::OpenaiChat];
        known.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            anyhow::anyhow!(
                "no format is called {name:?}; there are: agentprocessbench, openai-chat"
            )
        })
    }
}

pub(crate) async fn export(args: &ExportArgs, json: bool) -> Result<()> {
    let recording = Recording::open(&args.run)?;
    let folder = EnvironmentFolder::of_run(&args.run, &recording.header)?;
    let tasks = tasks(&folder, &recording)?;
    let labels = labels(args, &recording, &tasks)?;
    let origins = read_origins(&args.run)?;
    let mut lines = String::new();
    let mut count = 0u64;
    if origins.is_empty() {
        let environment = recorded_environment(&folder, &recording, json).await?;
        let gold = folder.gold()?;
        for (index, (id, tree)) in (0..).zip(&recording.trees) {
            let task = tasks.get(id).ok_or_else(|| unknown_task(id))?;
            for (sample, leaf) in (0..).zip(tree.leaves()) {
                let path = Path { task, gold: gold.get(id), tree, leaf, index, sample };
                lines +=
                    &path.line(args.format, environment.system(), labels.as_ref())?;
                lines.push('\n');
                count += 1;
            }
        }
    }
    for origin in &origins {
        let tree = recording.trees.get(&origin.task);
        lines += &returned(args, origin, tree, labels.as_ref())?;
        lines.push('\n');
        count += 1;
    }
    fs::create_dir_all(&args.out).map_err(at(&args.out))?;
    let file = args.out.join(format!("{}.jsonl", args.format.name()));
    if file.exists() {
        let message = format!("{}: exists; name another --out", file.display());
        return Err(Failure::say(Kind::Usage, message));
    }
    write_atomically(&file, lines.as_bytes())?;
    match json {
        true => println!("{}", json!({ "file": file, "trajectories": count })),
        false => println!("{count} trajectories written to {}", file.display()),
    }
    Ok(())
}

/// What a view makes of every step.
type Labels = BTreeMap<(TaskId, NodeId), StepLabel>;

fn labels(
    args: &ExportArgs,
    recording: &Recording,
    tasks: &BTreeMap<TaskId, Task>,
) -> Result<Option<Labels>> {
    let Some(name) = &args.view else { return Ok(None) };
    let view = view(name)?;
    let verdicts = chosen(&args.run, &args.verifiers, view)?;
    let mut labels = Labels::new();
    let mut left_out = BTreeSet::new();
    for (id, tree) in &recording.trees {
        let own = verdicts.get(id).map_or(&[][..], Vec::as_slice);
        left_out.extend(
            own.iter().filter(|v| !view.admits(v)).map(|v| v.verifier.to_string()),
        );
        let question = tasks.get(id).map_or("", |task| task.prompt.as_str());
        let found = view.labels(question, tree, own).into_iter();
        labels.extend(found.map(|(node, found)| ((id.clone(), node), found.label)));
    }
    if !left_out.is_empty() {
        let left_out: Vec<String> = left_out.into_iter().collect();
        eprintln!("left out by view {view}: {}", left_out.join(", "));
    }
    Ok(Some(labels))
}

/// A trajectory that was imported, in the format it came in.
fn returned(
    args: &ExportArgs,
    origin: &Origin,
    tree: Option<&Tree>,
    labels: Option<&Labels>,
) -> Result<String> {
    let path = match (tree, origin.leaf) {
        (Some(tree), Some(leaf)) if tree.get(leaf).is_some() => tree.path(leaf),
        _ => vec![],
    };
    let steps: Vec<&Step> = path.iter().map(|(_, node)| &node.step).collect();
    let line = match args.format {
        Format::OpenaiChat => openai_chat::line(&origin.rest, &steps),
        Format::AgentProcessBench => {
            let labels = labels.map(|labels| {
                let label = |(index, node): &(u32, NodeId)| {
                    Some((*index, *labels.get(&(origin.task.clone(), *node))?))
                };
                let steps = origin.messages.iter().filter_map(label).collect();
                agent_process_bench::Labels { steps, last: None }
            });
            agent_process_bench::line(&origin.rest, &steps, labels.as_ref())
        }
    };
    line.ok_or_else(|| {
        let message = format!(
            "{}: task {} was imported from another format than {}",
            args.run.display(),
            origin.task,
            args.format.name()
        );
        Failure::say(Kind::Usage, message)
    })
}

/// A trajectory of our own.
struct Path<'r> {
    task: &'r Task,
    gold: Option<&'r Gold>,
    tree: &'r Tree,
    leaf: NodeId,
    index: u64,
    sample: u64,
}

impl Path<'_> {
    fn line(
        &self,
        format: Format,
        system: &str,
        labels: Option<&Labels>,
    ) -> Result<String> {
        let path = self.tree.path(self.leaf);
        let steps: Vec<&Step> = path.iter().map(|(_, node)| &node.step).collect();
        let (messages, indices) = messages(system, &self.task.prompt, &steps);
        let mut record = json!({
            "query_index": self.index,
            "sample_index": self.sample,
            "id": self.task.id,
            "question": self.task.prompt,
            "messages": messages,
        });
        if format == Format::AgentProcessBench {
            if let Some(gold) = self.gold {
                record["ground_truth"] = json!({ "target": gold.answers() });
            }
            let answer = steps.last().and_then(|step| match &step.proposal.action {
                Action::Answer { text } => Some(text),
                Action::Calls { .. } | Action::Malformed { .. } => None,
            });
            record["answer_text"] = json!(answer);
            let label = |(index, (node, _)): (&u32, &(NodeId, _))| {
                let found = labels?.get(&(self.task.id.clone(), *node))?;
                Some((index.to_string(), json!(found.to_number())))
            };
            let labelled: serde_json::Map<_, _> =
                indices.iter().zip(&path).filter_map(label).collect();
            record["step_labels"] = labelled.into();
        }
        Ok(record.to_string())
    }
}
