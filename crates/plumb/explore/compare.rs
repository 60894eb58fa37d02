//! `plumb explore compare`: what the labels of several methods are worth, and what they cost.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use plumbline::explore::Method;
use plumbline::store::read_human;
use plumbline::{
    Agreement, CostLedger, Digest, Gold, Interval, Ledger, NodeId, PairAgreement,
    Prediction, Rated, StepLabel, Task, TaskId, Tree, Verdict, Verifier, VerifierId,
    View,
};
use serde::Serialize;

use super::{Exploration, MethodReport, Report};
use crate::failure::{Blame, Kind, Result};
use crate::label;
use crate::recording;
use crate::score;

/// How the environment's verifiers are read that methods are compared by: as labels that something
/// executed stands behind.
const REFERENCE: View = View::StrictLocal;

/// What is said of one method.
#[derive(Debug, Serialize)]
struct Row {
    method: &'static str,
    /// Whether it asks verifiers about steps itself, the reference's by default: then agreement
    /// with them says little.
    asks_verifiers: bool,
    /// Steps it labels.
    labels: u64,
    /// Those that the reference labels too.
    rated: u64,
    /// Share of those with the reference's label, and the interval of questions.
    accuracy: Option<Interval>,
    /// Share of the reference's commonest label among them.
    majority: Option<f64>,
    /// Share of the reference's good, neutral and bad steps that it finds.
    recall: BTreeMap<StepLabel, Option<Interval>>,
    /// Tokens it would have had sampled alone, a label.
    tokens_per_label: Option<f64>,
    /// The same, a label that the reference agrees with.
    tokens_per_correct_label: Option<f64>,
    /// Tool calls, a label.
    calls_per_label: Option<f64>,
    /// Share of its rollouts that an earlier method had made.
    reused: Option<f64>,
    cost: CostLedger,
}

#[derive(Debug, Serialize)]
struct Comparison<'r> {
    #[serde(flatten)]
    report: &'r Report,
    reference: Vec<VerifierId>,
    comparison: Vec<Row>,
    /// The same by what people said, if they said anything.
    by_people: Option<Vec<Row>>,
    pairs: Vec<PairAgreement>,
}

/// Has the environment's verifiers judge the run, compares, and prints. `from` is
/// the run that the trajectories are from.
pub(super) async fn compare(
    report: &Report,
    exploration: &Exploration,
    reference: &[Box<dyn Verifier>],
    tasks: Vec<(Task, Gold)>,
    from: Option<&Path>,
    json: bool,
) -> Result<()> {
    let recording = recording::open(&report.run)?;
    let golds =
        tasks.iter().map(|(task, gold)| (task.id.clone(), gold.clone())).collect();
    let tasks = tasks.into_iter().map(|(task, _)| (task.id.clone(), task)).collect();
    for verifier in reference {
        let verifier = verifier.as_ref();
        label::judge(verifier, &report.run, &recording, &tasks, &golds, json).await?;
    }
    let reference: Vec<VerifierId> = reference.iter().map(|v| v.id().clone()).collect();
    let verdicts = label::by_task(label::judged(&report.run, &tasks)?);
    let trees = &recording.trees;
    let rows = |labels: &Labels| -> Vec<Row> {
        let seed = exploration.settings.seed;
        let methods = report.methods.iter();
        methods.map(|method| row(method, &verdicts, labels, seed)).collect()
    };
    let comparison = rows(&by_verifiers(&reference, &tasks, trees, &verdicts));
    let people = by_people(trees, [Some(report.run.as_path()), from])?;
    let by_people = (!people.is_empty()).then(|| rows(&people));
    let pairs = pairs(&report.methods, &verdicts);
    let comparison = Comparison { report, reference, comparison, by_people, pairs };
    print(&comparison, json)
}

/// The label that a reference gives each step.
type Labels = BTreeMap<TaskId, BTreeMap<NodeId, StepLabel>>;

/// What people said of steps of these runs, as labels of the steps that say the same after the
/// same messages.
fn by_people(trees: &BTreeMap<TaskId, Tree>, runs: [Option<&Path>; 2]) -> Result<Labels> {
    let mut labels = Labels::new();
    for run in runs.into_iter().flatten() {
        let human = read_human(&run.join("human.jsonl"))?;
        if human.is_empty() {
            continue;
        }
        let theirs = recording::open(run)?.trees;
        for (task, said) in human {
            let (Some(tree), Some(their)) = (trees.get(&task), theirs.get(&task)) else {
                continue;
            };
            let their = by_messages(their);
            let steps = score::steps(&said).into_iter();
            let said: HashMap<Digest, StepLabel> = steps
                .filter_map(|(node, label)| Some((*their.get(&node)?, label)))
                .collect();
            let own = by_messages(tree).into_iter();
            let own = own.filter_map(|(node, path)| Some((node, *said.get(&path)?)));
            labels.entry(task).or_default().extend(own);
        }
    }
    labels.retain(|_, steps| !steps.is_empty());
    Ok(labels)
}

/// Each step by all messages up to it.
fn by_messages(tree: &Tree) -> BTreeMap<NodeId, Digest> {
    let mut paths: BTreeMap<NodeId, Digest> = BTreeMap::new();
    for (id, node) in tree.nodes() {
        let before = node.parent.map(|parent| paths[&parent]);
        paths.insert(id, Digest::of_json(&(before, &node.step.proposal.text)));
    }
    paths
}

/// What the environment's verifiers say.
fn by_verifiers(
    reference: &[VerifierId],
    tasks: &BTreeMap<TaskId, Task>,
    trees: &BTreeMap<TaskId, Tree>,
    verdicts: &label::Verdicts,
) -> Labels {
    let of_tree = |(id, tree): (&TaskId, &Tree)| {
        let mut own = verdicts.get(id).cloned().unwrap_or_default();
        own.retain(|verdict| reference.contains(&verdict.verifier));
        let question = tasks.get(id).map_or("", |task| task.prompt.as_str());
        let labels = REFERENCE.labels(question, tree, &own);
        let labels = labels.into_iter().map(|(node, it)| (node, it.label));
        (id.clone(), labels.collect())
    };
    trees.iter().map(of_tree).collect()
}

/// What is said of one method, held against a reference.
fn row(
    report: &MethodReport,
    verdicts: &label::Verdicts,
    labels: &Labels,
    seed: u64,
) -> Row {
    let mut rated: Vec<Rated> = Vec::new();
    for (task, verdicts) in verdicts {
        let own = verdicts.iter().filter(|v| v.verifier == report.verifier);
        let step = |verdict: &Verdict| {
            let label = verdict.label?;
            Some((*labels.get(task)?.get(&verdict.node)?, Prediction::of(label)))
        };
        let steps: Vec<_> = own.filter_map(step).collect();
        if !steps.is_empty() {
            rated.push(Rated { task: task.clone(), steps });
        }
    }
    let count = |wanted: StepLabel| {
        let steps = rated.iter().flat_map(|rated| &rated.steps);
        steps.filter(|(label, _)| *label == wanted).count() as u64
    };
    let classes = [StepLabel::Good, StepLabel::Neutral, StepLabel::Bad];
    let (steps, most) = classes
        .into_iter()
        .map(count)
        .fold((0, 0), |(all, most), it| (all + it, most.max(it)));
    let same: u64 = rated
        .iter()
        .flat_map(|rated| &rated.steps)
        .filter(|(label, prediction)| prediction.label == Some(*label))
        .count() as u64;
    let agreement = Agreement::of(&rated, seed);
    let made = report.good + report.neutral + report.bad;
    let tokens = report.ledger.sampled.total();
    let per = |count: u64, of: u64| (of > 0).then(|| count as f64 / of as f64);
    // Some policies do not say how many tokens they sample.
    let knows_tokens = tokens > 0;
    // Of all its labels, as many are taken for correct as of those that can be rated.
    let correct = per(same, steps).map(|share| share * made as f64);
    Row {
        method: report.method,
        asks_verifiers: Method::find(report.method).is_some_and(|it| it.checks),
        labels: made,
        rated: steps,
        accuracy: agreement.as_ref().map(|agreement| agreement.step_accuracy),
        majority: per(most, steps),
        recall: agreement
            .iter()
            .flat_map(|agreement| agreement.classes)
            .map(|class| (class.label, class.recall))
            .collect(),
        tokens_per_label: per(tokens, made).filter(|_| knows_tokens),
        tokens_per_correct_label: correct
            .filter(|correct| knows_tokens && *correct > 0.0)
            .map(|correct| tokens as f64 / correct),
        calls_per_label: per(report.ledger.calls.total(), made),
        reused: per(report.ledger.rollouts.reused, report.ledger.rollouts.total()),
        cost: report.ledger,
    }
}

/// How every two of the methods agree.
fn pairs(methods: &[MethodReport], verdicts: &label::Verdicts) -> Vec<PairAgreement> {
    let is_ours = |verdict: &Verdict| {
        methods.iter().any(|method| method.verifier == verdict.verifier)
            && Method::find(verdict.verifier.name()).is_some()
    };
    let ours = verdicts.iter().map(|(task, verdicts)| {
        let own = verdicts.iter().filter(|verdict| is_ours(verdict)).cloned();
        (task.clone(), own.collect())
    });
    Ledger::of(&ours.collect()).pairs
}

fn print(comparison: &Comparison<'_>, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(comparison).blame(Kind::External)?);
        return Ok(());
    }
    super::print(comparison.report, false)?;
    let names: Vec<&str> = comparison.reference.iter().map(VerifierId::name).collect();
    println!();
    println!("against {REFERENCE} over {}", names.join(", "));
    print_rows(&comparison.comparison);
    if let Some(rows) = &comparison.by_people {
        println!();
        println!("against what people said");
        print_rows(rows);
    }
    let asking = comparison.comparison.iter().filter(|row| row.asks_verifiers);
    let asking: Vec<&str> = asking.map(|row| row.method).collect();
    if !asking.is_empty() {
        println!(
            "{} asked verifiers itself: where they are these, agreement says little",
            asking.join(", ")
        );
    }
    println!();
    println!(
        "{:<34} {:>6} {:>6} {:>8} {:>6}",
        "agreement", "steps", "same", "opposed", "kappa"
    );
    for pair in &comparison.pairs {
        let kappa = pair.kappa.map_or("-".to_owned(), |kappa| format!("{kappa:.2}"));
        println!(
            "{:<34} {:>6} {:>6} {:>8} {kappa:>6}",
            format!("{} and {}", pair.one.name(), pair.two.name()),
            pair.steps,
            pair.same,
            pair.opposed
        );
    }
    Ok(())
}

fn print_rows(rows: &[Row]) {
    println!(
        "{:<16} {:>6}  {:<20} {:>8}  {:>5} {:>5} {:>5}  {:>7} {:>9} {:>6}",
        "method",
        "rated",
        "accuracy (95 %)",
        "majority",
        "good",
        "zero",
        "bad",
        "tokens/",
        "tokens/",
        "calls/"
    );
    println!(
        "{:<16} {:>6}  {:<20} {:>8}  {:>5} {:>5} {:>5}  {:>7} {:>9} {:>6}",
        "", "", "", "", "recall", "", "", "label", "correct", "label"
    );
    for row in rows {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let recall = |label| {
            let recall = row.recall.get(&label).copied().flatten();
            number(recall.map(|interval| 100.0 * interval.value), 0)
        };
        println!(
            "{:<16} {:>6}  {:<20} {:>8}  {:>5} {:>5} {:>5}  {:>7} {:>9} {:>6}",
            row.method,
            row.rated,
            row.accuracy.map_or("-".to_owned(), |accuracy| accuracy.to_string()),
            number(row.majority.map(|share| 100.0 * share), 1),
            recall(StepLabel::Good),
            recall(StepLabel::Neutral),
            recall(StepLabel::Bad),
            number(row.tokens_per_label, 0),
            number(row.tokens_per_correct_label, 0),
            number(row.calls_per_label, 1),
        );
    }
}
