//! `plumb diff`: two runs side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plumbline::store::Recording;
use plumbline::{
    Gold, NodeId, Pair, Parting, StepLabel, Task, TaskId, Tree, Verdict, View,
    side_by_side,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::divergence::{self, readable};
use crate::failure::{Blame, Kind, Result};
use crate::label::{Verdicts, all_judged, by_task, stale, view, warn_of_stale};
use crate::recording::{self, Asked, asked};
use crate::show::{correct, ending};

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The one run's folder.
    one: PathBuf,
    /// The other's.
    two: PathBuf,
    /// How verdicts become one label a step.
    #[arg(long, default_value = "strict-local", value_name = "NAME")]
    view: String,
    /// Show only the first N trajectories that differ; --json lists all.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    limit: usize,
}

/// One of the two runs, read.
struct Side {
    recording: Recording,
    verdicts: Verdicts,
    /// Empty where the environment is not at hand.
    gold: BTreeMap<TaskId, Gold>,
    tasks: BTreeMap<TaskId, Task>,
}

/// A run's own figures.
#[derive(Debug, Default, Serialize)]
struct Totals {
    tasks: u64,
    trajectories: u64,
    steps: u64,
    right: u64,
    wrong: u64,
    /// Not ended or stopped from outside, no gold, or a comparison that takes execution and
    /// has not been judged.
    ungraded: u64,
    good: u64,
    neutral: u64,
    bad: u64,
    unlabelled: u64,
}

/// What the trajectories of both came to against each other.
#[derive(Debug, Default, Serialize)]
struct Against {
    tasks_in_both: u64,
    tasks_only_one: u64,
    tasks_only_two: u64,
    pairs: u64,
    same: u64,
    unpaired_one: u64,
    unpaired_two: u64,
    both_right: u64,
    only_one_right: u64,
    only_two_right: u64,
    both_wrong: u64,
    /// Steps before the parting that both runs label, and label differently.
    relabelled: u64,
}

/// Two trajectories that belong together, as they are reported.
#[derive(Debug, Serialize)]
struct Row {
    one: Half,
    two: Half,
    parting: Option<Value>,
    #[serde(skip)]
    shown: Option<Parting>,
    /// Steps before the parting whose label is another.
    relabelled: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Half {
    trajectory: String,
    ending: String,
    correct: Option<bool>,
    labels: String,
}

pub(crate) fn diff(args: &DiffArgs, json: bool) -> Result<()> {
    let view = view(&args.view)?;
    let (one, two) = (Side::open(&args.one)?, Side::open(&args.two)?);
    one.warn_of_others(&two);
    let mut against = Against::default();
    let mut rows = Vec::new();
    for (task, tree) in &one.recording.trees {
        let Some(other) = two.recording.trees.get(task) else {
            against.tasks_only_one += 1;
            continue;
        };
        against.tasks_in_both += 1;
        let labels = (one.labels(view, tree), two.labels(view, other));
        let found = side_by_side(tree, other);
        against.unpaired_one += found.only_one.len() as u64;
        against.unpaired_two += found.only_two.len() as u64;
        for pair in &found.pairs {
            let row = Row::of(pair, (&one, tree, &labels.0), (&two, other, &labels.1));
            against.add(&row);
            rows.push(row);
        }
    }
    let known = |task: &&TaskId| one.recording.trees.contains_key(*task);
    against.tasks_only_two =
        two.recording.trees.keys().filter(|task| !known(task)).count() as u64;
    let totals = (one.totals(view), two.totals(view));
    if json {
        let report = json!({
            "one": { "run": args.one, "totals": totals.0 },
            "two": { "run": args.two, "totals": totals.1 },
            "view": view.to_string(),
            "against": against,
            "trajectories": rows,
        });
        println!("{}", serde_json::to_string(&report).blame(Kind::External)?);
        return Ok(());
    }
    print_totals(args, view, &totals, &against);
    print_rows(&rows, args.limit);
    Ok(())
}

type Labels = BTreeMap<NodeId, StepLabel>;

impl Side {
    fn open(run: &Path) -> Result<Self> {
        let recording = recording::open(run)?;
        let Asked { tasks, gold } = asked(run, &recording)?;
        let judged = all_judged(run)?;
        warn_of_stale(run, &stale(&judged, &tasks, &gold));
        let verdicts = by_task(judged);
        Ok(Self { recording, verdicts, gold, tasks })
    }

    /// Says so where it was not the same that the two were asked, or not the same world.
    fn warn_of_others(&self, other: &Self) {
        let shared = self.recording.trees.keys();
        let shared = shared.filter(|task| other.recording.trees.contains_key(*task));
        let differs = |task: &&TaskId| self.tasks.get(*task) != other.tasks.get(*task);
        let differing = shared.filter(differs).count();
        let (one, two) = (&self.recording.header, &other.recording.header);
        let is_known = !self.tasks.is_empty() && !other.tasks.is_empty();
        if is_known && differing > 0 {
            eprintln!(
                "warning: the question of {differing} tasks is not the same in both"
            );
        } else if !is_known && one.tasks_digest != two.tasks_digest {
            eprintln!("warning: whether both were asked the same cannot be told");
        }
        if one.environment_digest != two.environment_digest {
            eprintln!(
                "warning: the two were not made in the same environment: its prompt, limits, \
                 tools or their data differ"
            );
        }
    }

    fn verdicts(&self, tree: &Tree) -> &[Verdict] {
        self.verdicts.get(tree.task()).map_or(&[], Vec::as_slice)
    }

    fn labels(&self, view: View, tree: &Tree) -> Labels {
        let question = self.tasks.get(tree.task()).map_or("", |task| &task.prompt);
        let labels = view.labels(question, tree, self.verdicts(tree));
        labels.into_iter().map(|(node, labelled)| (node, labelled.label)).collect()
    }

    fn correct(&self, tree: &Tree, leaf: NodeId) -> Option<bool> {
        let gold = self.gold.get(tree.task())?;
        correct(tree, leaf, gold, self.verdicts(tree))
    }

    fn totals(&self, view: View) -> Totals {
        let mut totals = Totals::default();
        for tree in self.recording.trees.values() {
            let labels = self.labels(view, tree);
            totals.tasks += 1;
            totals.steps += tree.len() as u64;
            for leaf in tree.leaves() {
                totals.trajectories += 1;
                *match self.correct(tree, leaf) {
                    Some(true) => &mut totals.right,
                    Some(false) => &mut totals.wrong,
                    None => &mut totals.ungraded,
                } += 1;
            }
            for (node, _) in tree.nodes() {
                *match labels.get(&node) {
                    Some(StepLabel::Good) => &mut totals.good,
                    Some(StepLabel::Neutral) => &mut totals.neutral,
                    Some(StepLabel::Bad) => &mut totals.bad,
                    None => &mut totals.unlabelled,
                } += 1;
            }
        }
        totals
    }
}

impl Against {
    fn add(&mut self, row: &Row) {
        self.pairs += 1;
        self.same += u64::from(row.parting.is_none());
        self.relabelled += row.relabelled.len() as u64;
        match (row.one.correct, row.two.correct) {
            (Some(true), Some(true)) => self.both_right += 1,
            (Some(true), Some(false)) => self.only_one_right += 1,
            (Some(false), Some(true)) => self.only_two_right += 1,
            (Some(false), Some(false)) => self.both_wrong += 1,
            (None, _) | (_, None) => {}
        }
    }
}

impl Row {
    fn of(
        pair: &Pair,
        one: (&Side, &Tree, &Labels),
        two: (&Side, &Tree, &Labels),
    ) -> Self {
        let half = |(side, tree, labels): (&Side, &Tree, &Labels), leaf: NodeId| {
            let path = tree.path(leaf);
            let labels = path.iter().map(|(id, _)| match labels.get(id) {
                Some(StepLabel::Good) => '+',
                Some(StepLabel::Neutral) => '0',
                Some(StepLabel::Bad) => '-',
                None => '.',
            });
            Half {
                trajectory: format!("{}:{leaf}", tree.task()),
                ending: ending(tree.ending(leaf)),
                correct: side.correct(tree, leaf),
                labels: labels.collect(),
            }
        };
        let relabelled = pair.shared.iter().enumerate().filter_map(|(index, (a, b))| {
            let (was, is) = (one.2.get(a)?, two.2.get(b)?);
            (was != is).then(|| json!({ "index": index, "one": was, "two": is }))
        });
        Self {
            one: half(one, pair.one),
            two: half(two, pair.two),
            relabelled: relabelled.collect(),
            parting: pair.parting.as_ref().map(|Parting { index, field, one, two }| {
                json!({ "index": index, "field": field.to_string(), "one": one, "two": two })
            }),
            shown: pair.parting.clone(),
        }
    }

    fn differs(&self) -> bool {
        self.parting.is_some() || !self.relabelled.is_empty()
    }
}

fn print_totals(
    args: &DiffArgs,
    view: View,
    (one, two): &(Totals, Totals),
    against: &Against,
) {
    println!("one  {}\ntwo  {}\n", args.one.display(), args.two.display());
    println!("{:<24} {:>8} {:>8}", "", "one", "two");
    let rows = [
        ("tasks", one.tasks, two.tasks),
        ("trajectories", one.trajectories, two.trajectories),
        ("steps", one.steps, two.steps),
        ("right", one.right, two.right),
        ("wrong", one.wrong, two.wrong),
        ("not graded", one.ungraded, two.ungraded),
        ("steps good", one.good, two.good),
        ("steps neutral", one.neutral, two.neutral),
        ("steps bad", one.bad, two.bad),
        ("steps without a label", one.unlabelled, two.unlabelled),
    ];
    for (name, one, two) in rows {
        println!("{name:<24} {one:>8} {two:>8}");
    }
    println!("(labels by the view {view})\n");
    println!(
        "tasks in both {}, only in one {}, only in two {}",
        against.tasks_in_both, against.tasks_only_one, against.tasks_only_two
    );
    println!(
        "trajectories side by side {}: {} the same, {} part; only in one {}, only in two {}",
        against.pairs,
        against.same,
        against.pairs - against.same,
        against.unpaired_one,
        against.unpaired_two
    );
    println!(
        "right in both {}, only in one {}, only in two {}, in neither {}",
        against.both_right,
        against.only_one_right,
        against.only_two_right,
        against.both_wrong
    );
    println!("steps that are the same and labelled differently {}", against.relabelled);
}

fn print_rows(rows: &[Row], limit: usize) {
    let different: Vec<&Row> = rows.iter().filter(|row| row.differs()).collect();
    for row in different.iter().take(limit) {
        let half = |Half { trajectory, ending, correct, labels }: &Half| {
            let correct = match correct {
                Some(true) => "right",
                Some(false) => "wrong",
                None => "-",
            };
            format!("{trajectory:<28} {labels:<10} {correct:<6} {ending}")
        };
        println!("\none  {}\ntwo  {}", half(&row.one), half(&row.two));
        for label in &row.relabelled {
            let text = |name: &str| label[name].as_str().unwrap_or("-").to_owned();
            println!("  step {}: {} and {}", label["index"], text("one"), text("two"));
        }
        if let Some(Parting { index, field, one, two }) = &row.shown {
            println!("  they part at step {index} of the trajectory, in {field}:");
            let (one, two) = (readable(one), readable(two));
            println!("{}", divergence::diff(&one, &two, "one", "two"));
        }
    }
    if different.len() > limit {
        println!("\nand {} more that differ; --json lists all", different.len() - limit);
    }
}
