//! `plumb score`: measures what labels are worth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plumbline::fusion::{self, Fusion, FusionVerifier};
use plumbline::store::{Human, Recording, read_human};
use plumbline::{
    Agreement, Gold, HumanLabel, Interval, Labelled, MistakeAgreement, NodeId,
    Prediction, Rated, StepLabel, Task, TaskId, Verifier, VerifierId, View,
};
use serde_json::{Value, json};

use crate::disagreement::{DisagreementArgs, disagreement};
use crate::failure::{Failure, Kind, Result};
use crate::fit::{FitArgs, fit};
use crate::label::{Verdicts, by_task, chosen, judged, tasks, view, warn_of_unjudged};
use crate::manifest::EnvironmentFolder;
use crate::mutants::{MutantsArgs, mutants};
use crate::ratings::{self, Predictions};
use crate::recording;

/// Seed of the resampling, so that the same run gives the same intervals.
const SEED: u64 = 0;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ScoreCommand {
    /// Agreement of a run's labels with labels by people.
    Labels(LabelsArgs),
    /// Fits a model of labels to a run's labels by people.
    Fit(FitArgs),
    /// How many planted faults an environment's verifiers find, and how often they see one
    /// where there is none.
    Mutants(MutantsArgs),
    /// Which steps of a run its verifiers fight about, and how often any two of them agree.
    Disagreement(DisagreementArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct LabelsArgs {
    /// The run's folder.
    run: PathBuf,
    /// Labels by people, where the run has none of its own: a human.jsonl, or lines of
    /// AgentProcessBench for a run imported from it.
    #[arg(long, value_name = "FILE")]
    gold: Option<PathBuf>,
    /// How verdicts become one label a step.
    #[arg(long, default_value = "strict-local", value_name = "NAME")]
    view: String,
    /// Use only this verifier's verdicts; repeat for several. Default: all there are.
    #[arg(long = "verifier", value_name = "V")]
    verifiers: Vec<String>,
    /// Published labels to compare with: the word `judges`, and a folder `DIR/<judge>/*.jsonl`.
    #[arg(long, num_args = 2, value_names = ["judges", "DIR"])]
    against: Vec<PathBuf>,
}

pub(crate) async fn score(command: &ScoreCommand, json: bool) -> Result<()> {
    match command {
        ScoreCommand::Labels(args) => labels(args, json),
        ScoreCommand::Fit(args) => fit(args, json),
        ScoreCommand::Mutants(args) => mutants(args, json).await,
        ScoreCommand::Disagreement(args) => disagreement(args, json),
    }
}

fn labels(args: &LabelsArgs, json: bool) -> Result<()> {
    let view = view(&args.view)?;
    let recording = recording::open(&args.run)?;
    let folder = EnvironmentFolder::of_run(&args.run, &recording.header)?;
    let tasks = tasks(&folder, &recording)?;
    let gold = folder.gold()?;
    let run = &args.run;
    let others = ratings::Rated { run, recording: &recording, tasks: &tasks };
    let human = others.human(args.gold.as_deref())?;
    let judged = chosen(run, judged(run, &tasks)?, &args.verifiers, view)?;
    warn_of_unjudged(&judged, &recording, &gold);
    let verdicts = by_task(judged);
    let (predictions, left_out) = predictions(&recording, &tasks, &verdicts, view);
    let rated = rated(&recording, &human, &predictions);
    let mut table = Table::default();
    if let Some(agreement) = Agreement::of(&rated, SEED) {
        table.rows.push((format!("view {view}"), agreement));
        let fitted = fitted(view, &verdicts, &recording, &tasks, &gold, &human);
        if let Fitted::Wholly(agreement) = fitted {
            table.rows.push(("  on questions not fitted on".to_owned(), *agreement));
        }
        for constant in BTreeSet::from([StepLabel::Good, Rated::majority(&rated)]) {
            let rows = Rated::constant(&rated, constant);
            let agreement = Agreement::of(&rows, SEED).expect("the same steps");
            table.rows.push((format!("always {constant}"), agreement));
        }
        match args.against.as_slice() {
            [] => {}
            [what, dir] if what.as_os_str() == "judges" => {
                table.judges(dir, &others, &human)?;
            }
            _ => {
                let message = "--against takes the word judges and their folder";
                return Err(Failure::say(Kind::Usage, message));
            }
        }
    }
    let mistakes = mistakes(&recording, &human, &predictions);
    if table.rows.is_empty() && mistakes.trajectories == 0 {
        let message = match &args.gold {
            Some(file) => format!(
                "{}: it holds no label of a step of this run; give a human.jsonl, or lines of \
                 AgentProcessBench for a run that was imported from it",
                file.display()
            ),
            None => format!(
                "{}: nobody has labelled its steps; give labels with --gold FILE",
                args.run.display()
            ),
        };
        return Err(Failure::say(Kind::Input, message));
    }
    let left_out: Vec<String> = left_out.into_iter().collect();
    if json {
        let rows: Vec<Value> = table
            .rows
            .iter()
            .map(|(name, agreement)| json!({ "name": name, "agreement": agreement }))
            .collect();
        let mistakes = (mistakes.trajectories > 0).then_some(mistakes);
        println!(
            "{}",
            json!({ "labels": rows, "mistakes": mistakes, "left_out": left_out })
        );
        return Ok(());
    }
    table.print();
    print_mistakes(&mistakes, &rated_paths(&recording, &human));
    if !left_out.is_empty() {
        println!("left out by view {view}: {}", left_out.join(", "));
    }
    Ok(())
}

/// Whether labels by people are news to whoever gave the others.
pub(crate) enum Fitted {
    /// They are.
    Nowhere,
    /// One of the verifiers is a model that was fitted on them.
    Partly,
    /// The view's labels are those of a model that was fitted on them. How models that were
    /// fitted alike did on questions they had not seen: the figure to hold against others.
    Wholly(Box<Agreement>),
}

fn fitted(
    view: View,
    verdicts: &Verdicts,
    recording: &Recording,
    tasks: &BTreeMap<TaskId, Task>,
    gold: &BTreeMap<TaskId, Gold>,
    human: &Human,
) -> Fitted {
    let said: BTreeSet<&VerifierId> =
        verdicts.values().flatten().map(|verdict| &verdict.verifier).collect();
    let mut found = Fitted::Nowhere;
    for fusion in [Fusion::with_gold(), Fusion::online()] {
        if !said.contains(FusionVerifier::new(fusion.clone()).id()) {
            continue;
        }
        let mut examples = Vec::new();
        for (id, tree) in &recording.trees {
            let (Some(task), Some(labels)) = (tasks.get(id), human.get(id)) else {
                continue;
            };
            let gold = gold.get(id).filter(|_| fusion.sight.gold);
            examples.extend(fusion::examples(tree, task, gold, &steps(labels)));
        }
        if fusion::training_digest(&examples) != fusion.training.digest {
            continue;
        }
        let is_the_views = match view {
            View::Propagated => fusion.sight.gold,
            View::Online => !fusion.sight.gold,
            View::StrictLocal | View::ExecutionOnly | View::Consensus(_) => false,
        };
        match fusion.cross_validation {
            Some(cross_validation) if is_the_views || said.len() == 1 => {
                return Fitted::Wholly(Box::new(cross_validation.agreement));
            }
            _ => found = Fitted::Partly,
        }
    }
    found
}

/// How the labels that a view reads off these verifiers' verdicts agree with the run's labels
/// by people, and whether those are news; `None` if it has none.
pub(crate) fn agreement(
    run: &Path,
    verifiers: &[String],
    view: View,
) -> Result<Option<(Agreement, Fitted)>> {
    let recording = recording::open(run)?;
    let folder = EnvironmentFolder::of_run(run, &recording.header)?;
    let tasks = tasks(&folder, &recording)?;
    let human = read_human(&run.join("human.jsonl"))?;
    let judged = chosen(run, judged(run, &tasks)?, verifiers, view)?;
    let gold = folder.gold()?;
    warn_of_unjudged(&judged, &recording, &gold);
    let verdicts = by_task(judged);
    let (predictions, _) = predictions(&recording, &tasks, &verdicts, view);
    let agreement = Agreement::of(&rated(&recording, &human, &predictions), SEED);
    let fitted = || fitted(view, &verdicts, &recording, &tasks, &gold, &human);
    Ok(agreement.map(|agreement| (agreement, fitted())))
}

/// What a view says of each step, and whose verdicts it does not admit.
fn predictions(
    recording: &Recording,
    tasks: &BTreeMap<TaskId, Task>,
    verdicts: &Verdicts,
    view: View,
) -> (Predictions, BTreeSet<String>) {
    let mut left_out = BTreeSet::new();
    let mut predictions = Predictions::new();
    for (task, tree) in &recording.trees {
        let own = verdicts.get(task).map_or(&[][..], Vec::as_slice);
        left_out.extend(
            own.iter().filter(|v| !view.admits(v)).map(|v| v.verifier.to_string()),
        );
        let question = tasks.get(task).map_or("", |task| task.prompt.as_str());
        let labels = view.labels(question, tree, own);
        let prediction = |(node, labelled): (NodeId, Labelled<'_>)| {
            let (label, confidence) = (Some(labelled.label), labelled.confidence());
            ((task.clone(), node), Prediction { label, confidence })
        };
        predictions.extend(labels.into_iter().map(prediction));
    }
    (predictions, left_out)
}

/// The step labels of a tree by people.
pub(crate) fn steps(labels: &[HumanLabel]) -> BTreeMap<NodeId, StepLabel> {
    let step = |label: &HumanLabel| match label {
        HumanLabel::Step { node, label } => Some((*node, *label)),
        HumanLabel::Final { .. } | HumanLabel::Mistake { .. } => None,
    };
    labels.iter().filter_map(step).collect()
}

/// Each trajectory with its steps that people labelled, beside what a labeller says.
fn rated(recording: &Recording, human: &Human, predictions: &Predictions) -> Vec<Rated> {
    let mut rated = Vec::new();
    for (task, labels) in human {
        let Some(tree) = recording.trees.get(task) else { continue };
        let expected = steps(labels);
        for leaf in tree.leaves() {
            let nodes = tree.path(leaf).into_iter().map(|(node, _)| node);
            let step = |node: NodeId| {
                let prediction = predictions.get(&(task.clone(), node)).copied();
                let prediction = prediction.unwrap_or(Prediction::NONE);
                Some((*expected.get(&node)?, prediction))
            };
            let steps: Vec<_> = nodes.filter_map(step).collect();
            if !steps.is_empty() {
                rated.push(Rated { task: task.clone(), steps });
            }
        }
    }
    rated
}

/// The paths that have a mistake marked, with it.
fn rated_paths(
    recording: &Recording,
    human: &Human,
) -> Vec<(TaskId, Vec<NodeId>, NodeId)> {
    let mut paths = Vec::new();
    for (task, labels) in human {
        let Some(tree) = recording.trees.get(task) else { continue };
        for label in labels {
            if let HumanLabel::Mistake { node, leaf, .. } = label {
                let path = tree.path(*leaf).into_iter().map(|(node, _)| node).collect();
                paths.push((task.clone(), path, *node));
            }
        }
    }
    paths
}

fn mistakes(
    recording: &Recording,
    human: &Human,
    predictions: &Predictions,
) -> MistakeAgreement {
    let paths = rated_paths(recording, human);
    MistakeAgreement::of(paths.iter().map(|(task, path, marked)| {
        let is_bad = |node: &&NodeId| {
            let found = predictions.get(&(task.clone(), **node));
            found.is_some_and(|found| found.label == Some(StepLabel::Bad))
        };
        (path.as_slice(), *marked, path.iter().find(is_bad).copied())
    }))
}

#[derive(Default)]
struct Table {
    rows: Vec<(String, Agreement)>,
}

impl Table {
    /// Adds a row for each judge that labelled this run's trajectories, best first.
    fn judges(
        &mut self,
        dir: &Path,
        run: &ratings::Rated<'_>,
        human: &Human,
    ) -> Result<()> {
        let mut rows = Vec::new();
        for (name, predictions) in run.judges(dir)? {
            if predictions.is_empty() {
                continue;
            }
            let rated = rated(run.recording, human, &predictions);
            rows.extend(Agreement::of(&rated, SEED).map(|agreement| (name, agreement)));
        }
        if rows.is_empty() {
            let message = format!(
                "{}: no judge there has labelled a trajectory of this run; --against needs \
                 DIR/<judge>/*.jsonl and a run imported from agentprocessbench",
                dir.display()
            );
            return Err(Failure::say(Kind::Input, message));
        }
        let value = |row: &(String, Agreement)| row.1.step_accuracy.value;
        rows.sort_by(|one, two| value(two).total_cmp(&value(one)));
        self.rows.extend(rows);
        Ok(())
    }

    fn print(&self) {
        let Some((_, first)) = self.rows.first() else { return };
        let [good, neutral, bad] = first.classes.map(|class| class.steps);
        println!(
            "{} questions, {} trajectories, {} steps labelled by people: {good} good, \
             {neutral} neutral, {bad} bad",
            first.questions, first.trajectories, first.steps
        );
        println!("in percent, with 95 % intervals clustered by question\n");
        println!(
            "{:<30} {:<19} {:<19} {:>11} {:>11} {:>11} {:>8} {:>8}",
            "",
            "step accuracy",
            "first error",
            "good P/R",
            "neutral P/R",
            "bad P/R",
            "macro F1",
            "no label"
        );
        for (name, agreement) in &self.rows {
            let percent = |interval: Option<Interval>| match interval {
                Some(interval) => format!("{:.0}", interval.value * 100.0),
                None => "-".to_owned(),
            };
            let [good, neutral, bad] = agreement.classes.map(|class| {
                format!("{}/{}", percent(class.precision), percent(class.recall))
            });
            println!(
                "{name:<30} {:<19} {:<19} {good:>11} {neutral:>11} {bad:>11} {:>8.1} {:>8.1}",
                agreement.step_accuracy,
                agreement.first_error_accuracy,
                agreement.macro_f1.value * 100.0,
                agreement.abstention.value * 100.0,
            );
        }
        println!("\nintervals of the first row:");
        for class in &first.classes {
            let show = |interval: Option<Interval>| {
                interval.map_or_else(|| "-".to_owned(), |interval| interval.to_string())
            };
            println!(
                "{:<9} precision {:<19} recall {}",
                class.label.to_string(),
                show(class.precision),
                show(class.recall)
            );
        }
        println!("macro F1  {}", first.macro_f1);
        if let Some(covered) = first.covered_accuracy {
            println!("accuracy where there is a label  {covered}");
        }
        if let Some(error) = first.calibration_error {
            println!(
                "\nconfidence  steps  mean   accuracy   (calibration error {error:.3})"
            );
            for bin in &first.reliability {
                let (from, to) = (bin.from, bin.from + 0.1);
                println!(
                    "{from:.1}-{to:.1}     {:>5}  {:.3}  {:.3}",
                    bin.steps, bin.confidence, bin.accuracy
                );
            }
        }
    }
}

fn print_mistakes(mistakes: &MistakeAgreement, paths: &[(TaskId, Vec<NodeId>, NodeId)]) {
    let MistakeAgreement { trajectories, exact, near, silent } = mistakes;
    if *trajectories == 0 {
        return;
    }
    let percent = |count: &u64| 100.0 * *count as f64 / *trajectories as f64;
    println!("{trajectories} trajectories with a step marked as the mistake");
    println!("first bad step is that step         {:>5.1}", percent(exact));
    println!("within one step of it               {:>5.1}", percent(near));
    println!("no step called bad                  {:>5.1}", percent(silent));
    let constant = |at: &dyn Fn(&[NodeId]) -> Option<NodeId>| {
        MistakeAgreement::of(
            paths.iter().map(|(_, path, marked)| (path.as_slice(), *marked, at(path))),
        )
    };
    let first = constant(&|path| path.first().copied());
    let last = constant(&|path| path.last().copied());
    println!("always the first step               {:>5.1}", percent(&first.exact));
    println!("always the last step                {:>5.1}", percent(&last.exact));
    let chance: f64 = paths.iter().map(|(_, path, _)| 1.0 / path.len() as f64).sum();
    println!(
        "a step at random                    {:>5.1}",
        100.0 * chance / *trajectories as f64
    );
}
