//! `plumb show`: a run's trajectories, or the steps of one with labels, reasons, evidence.

use std::collections::BTreeMap;

use plumbline::store::Recording;
use plumbline::{
    Action, Comparator, Ending, Evidence, Gold, Labelled, Node, NodeId, Observation,
    StepLabel, TaskId, Tree, Verdict,
};
use serde_json::json;

use crate::args::ShowArgs;
use crate::failure::{Failure, Kind, Result};
use crate::fork::{described, forged_step};
use crate::label::{Verdicts, all_judged, by_task, stale, view, warn_of_stale};
use crate::recording::{self, Asked, asked};
use crate::terminal::printable;

/// Characters of an observation that are shown without `--full`.
const BRIEF_CHARS: usize = 240;

pub(crate) fn show(args: &ShowArgs, json: bool) -> Result<()> {
    let view = view(&args.view)?;
    let recording = recording::open(&args.run)?;
    let Asked { tasks, gold } = asked(&args.run, &recording)?;
    let judged = all_judged(&args.run)?;
    warn_of_stale(&args.run, &stale(&judged, &tasks, &gold));
    let verdicts = by_task(judged);
    let task = |tree: &Tree| tasks.get(tree.task());
    // Without its question a step seems to read more of earlier ones than it does.
    let question = |tree: &Tree| task(tree).map_or("", |task| task.prompt.as_str());
    let Some(name) = &args.trajectory else {
        let rows = recording.trees.values().flat_map(|tree| {
            let gold = gold.get(tree.task());
            let own = of(&verdicts, tree);
            let labels = view.labels(question(tree), tree, own);
            let leaves = tree.leaves().into_iter();
            leaves.map(|leaf| row(tree, leaf, gold, &labels, own)).collect::<Vec<_>>()
        });
        list(rows, json);
        if let (Some(described), false) = (described(&recording.header), json) {
            println!("{described}");
        }
        return Ok(());
    };
    let (tree, leaf) = find(&recording, name)?;
    let own = of(&verdicts, tree);
    let trajectory = Trajectory {
        tree,
        leaf,
        question: task(tree).map(|task| task.prompt.as_str()),
        gold: gold.get(tree.task()),
        verdicts: own,
        labels: view.labels(question(tree), tree, own),
        forged: forged_step(&recording.header)
            .filter(|(task, _)| task == tree.task())
            .map(|(_, node)| node),
    };
    if json {
        println!("{}", trajectory.to_json());
    } else {
        print!("{}", printable(&trajectory.to_text(args.full)));
    }
    Ok(())
}

/// What a view makes of a tree's steps.
type Labels<'v> = BTreeMap<NodeId, Labelled<'v>>;

fn of<'v>(verdicts: &'v Verdicts, tree: &Tree) -> &'v [Verdict] {
    verdicts.get(tree.task()).map_or(&[], Vec::as_slice)
}

/// A trajectory by `TASK` (its first leaf) or `TASK:STEP`.
pub(crate) fn find<'r>(
    recording: &'r Recording,
    name: &str,
) -> Result<(&'r Tree, NodeId)> {
    let (task, step) = name.rsplit_once(':').map_or((name, None), |(t, s)| (t, Some(s)));
    let unknown = |message: String| Failure::say(Kind::Usage, message);
    let tree = recording.trees.get(&TaskId(task.to_owned())).ok_or_else(|| {
        let known = recording.trees.keys().map(|task| task.0.as_str());
        let near = crate::settings::nearest(task, known);
        let hint =
            near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        unknown(format!("the run has no task {task:?}{hint}"))
    })?;
    let leaf = match step {
        None => tree.leaves().first().copied(),
        Some(step) => step.parse().ok().map(NodeId).filter(|id| tree.get(*id).is_some()),
    };
    let leaf =
        leaf.ok_or_else(|| unknown(format!("{name}: the task has no such step")))?;
    Ok((tree, leaf))
}

struct Row {
    name: String,
    ending: String,
    correct: Option<bool>,
    labels: String,
    answer: String,
}

fn row(
    tree: &Tree,
    leaf: NodeId,
    gold: Option<&Gold>,
    labels: &Labels<'_>,
    verdicts: &[Verdict],
) -> Row {
    let path = tree.path(leaf);
    let answer = answer(path.last().map(|(_, node)| node.as_ref()));
    let label = |id: &NodeId| labels.get(id).map(|labelled| labelled.label);
    let labels = path.iter().map(|(id, _)| match label(id) {
        Some(StepLabel::Good) => '+',
        Some(StepLabel::Neutral) => '0',
        Some(StepLabel::Bad) => '-',
        None => '.',
    });
    Row {
        name: format!("{}:{leaf}", tree.task()),
        ending: ending(tree.ending(leaf)),
        correct: gold.and_then(|gold| correct(tree, leaf, gold, verdicts)),
        labels: labels.collect(),
        answer: answer.unwrap_or("").to_owned(),
    }
}

/// Whether a trajectory came to a right answer: as a verifier found, or by comparing it here
/// and now where that takes no execution. One that has not ended, or that something outside
/// stopped, is neither right nor wrong.
pub(crate) fn correct(
    tree: &Tree,
    leaf: NodeId,
    gold: &Gold,
    verdicts: &[Verdict],
) -> Option<bool> {
    match tree.ending(leaf)? {
        Ending::Aborted { .. } => return None,
        Ending::Exhausted { .. } => return Some(false),
        Ending::Answered => {}
    }
    let answer = answer(tree.get(leaf).map(AsRef::as_ref))?;
    let judged = |v: &&Verdict| v.node == leaf && v.verifier.name() == "answer-correct";
    if let Some(verdict) = verdicts.iter().find(judged) {
        return Some(verdict.label == Some(StepLabel::Good));
    }
    let comparator = Comparator::of(gold).ok().filter(|it| !it.executes())?;
    Some(comparator.compare(answer, gold, &[]).strict)
}

fn list(rows: impl Iterator<Item = Row>, json: bool) {
    if !json {
        println!(
            "{:<28} {:<10} {:<8} {:<7} answer",
            "trajectory", "steps", "correct", "ending"
        );
    }
    for Row { name, ending, correct, labels, answer } in rows {
        if json {
            println!(
                "{}",
                json!({ "trajectory": name, "ending": ending, "correct": correct,
                    "labels": labels, "answer": answer })
            );
            continue;
        }
        let correct = correct.map_or("-", |correct| if correct { "yes" } else { "no" });
        println!(
            "{name:<28} {labels:<10} {correct:<8} {ending:<8} {}",
            printable(&brief(&answer, 60))
        );
    }
}

pub(crate) fn ending(ending: Option<&Ending>) -> String {
    match ending {
        None => "unfinished".into(),
        Some(Ending::Answered) => "answered".into(),
        Some(Ending::Exhausted { budget }) => format!("out of {budget}"),
        Some(Ending::Aborted { boundary, message }) => {
            format!("aborted by {boundary}: {message}")
        }
    }
}

pub(crate) fn answer(node: Option<&Node>) -> Option<&str> {
    match &node?.step.proposal.action {
        Action::Answer { text } => Some(text),
        Action::Calls { .. } | Action::Malformed { .. } => None,
    }
}

struct Trajectory<'r> {
    tree: &'r Tree,
    leaf: NodeId,
    question: Option<&'r str>,
    gold: Option<&'r Gold>,
    verdicts: &'r [Verdict],
    labels: Labels<'r>,
    /// The step whose first observation no tool gave.
    forged: Option<NodeId>,
}

impl Trajectory<'_> {
    fn to_json(&self) -> serde_json::Value {
        let steps: Vec<serde_json::Value> = self
            .tree
            .path(self.leaf)
            .into_iter()
            .map(|(id, node)| {
                let labelled = self.labels.get(&id);
                let own: Vec<&Verdict> =
                    self.verdicts.iter().filter(|verdict| verdict.node == id).collect();
                json!({
                    "node": id,
                    "label": labelled.map(|labelled| labelled.label),
                    "zero": labelled.and_then(|labelled| labelled.zero),
                    "rests_on": labelled.and_then(|labelled| labelled.rests_on),
                    "forged": self.forged == Some(id),
                    "step": node.step,
                    "verdicts": own,
                })
            })
            .collect();
        json!({
            "task": self.tree.task(),
            "question": self.question,
            "gold": self.gold,
            "ending": self.tree.ending(self.leaf),
            "steps": steps,
        })
    }

    fn to_text(&self, full: bool) -> String {
        let chars = if full { usize::MAX } else { BRIEF_CHARS };
        let mut text = format!("task {}\n", self.tree.task());
        if let Some(question) = self.question {
            text += &format!("question: {question}\n");
        }
        if let Some(gold) = self.gold {
            text += &format!("gold: {}\n", gold.answers().join(" | "));
        }
        for (id, node) in self.tree.path(self.leaf) {
            text += &format!("\nstep {id}  {}\n", self.label(id));
            text += &format!("  {}\n", indented(&brief(&node.step.proposal.text, chars)));
            for (index, observation) in node.step.observations.iter().enumerate() {
                let mark = match observation {
                    _ if index == 0 && self.forged == Some(id) => {
                        "=> (forged)".to_owned()
                    }
                    Observation::Output { .. } => "=>".to_owned(),
                    Observation::Fault { fault, .. } => format!("!! {fault:?}:"),
                };
                text += &format!(
                    "  {mark} {}\n",
                    indented(&brief(observation.text(), chars))
                );
            }
            for verdict in self.verdicts.iter().filter(|verdict| verdict.node == id) {
                text += &format!("  {}\n", self.verdict(verdict));
            }
        }
        text + &format!("\nending: {}\n", ending(self.tree.ending(self.leaf)))
    }

    fn label(&self, node: NodeId) -> String {
        match self.labels.get(&node) {
            None => "[no label]".into(),
            Some(Labelled { rests_on: Some(on), label, .. }) => {
                format!("[{label}: rests on step {on}]")
            }
            Some(Labelled { zero: Some(zero), label, .. }) => {
                format!("[{label}: {zero}]")
            }
            Some(Labelled { label, .. }) => format!("[{label}]"),
        }
    }

    fn verdict(&self, verdict: &Verdict) -> String {
        let label = verdict.label.map_or("-", StepLabel::as_str);
        let evidence: Vec<String> =
            verdict.evidence.iter().map(|evidence| self.evidence(evidence)).collect();
        let evidence = match evidence.as_slice() {
            [] => String::new(),
            some => format!(" ({})", some.join("; ")),
        };
        format!("{:<18} {label:<8} {}{evidence}", verdict.verifier.name(), verdict.reason)
    }

    fn evidence(&self, evidence: &Evidence) -> String {
        match evidence {
            Evidence::Execution { call, result } => {
                format!("executed {} -> {}", call.tool, result.short())
            }
            Evidence::Step { node } => format!("step {node}"),
            Evidence::Rollouts { sampled, succeeded } => {
                format!("{succeeded} of {sampled} rollouts succeeded")
            }
            Evidence::Span { node, observation, range, .. } => {
                let step = self.tree.get(*node).map(|node| &node.step);
                let text = step.and_then(|step| match observation {
                    None => Some(step.proposal.text.as_str()),
                    Some(index) => {
                        let index = usize::try_from(*index).ok()?;
                        step.observations.get(index).map(Observation::text)
                    }
                });
                let span = text.and_then(|text| text.get(range.clone())).unwrap_or("?");
                format!("step {node}: {:?}", brief(span, 80))
            }
        }
    }
}

/// The beginning of a text, and how much of it is missing.
fn brief(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.trim_end().to_owned(),
        Some((at, _)) => {
            format!("{}… (+{} chars)", &text[..at], text[at..].chars().count())
        }
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n     ")
}
