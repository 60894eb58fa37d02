//! Fitting a model to people's labels, and trying it on questions it was not fitted on.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::features::{Kind, StepFeatures, features};
use crate::fusion::softmax::{self, Row};
use crate::fusion::{
    CrossValidation, FORMAT, Fusion, Judgement, LABELS, Reads, Term, Training,
};
use crate::{
    Agreement, Digest, Gold, NodeId, Prediction, Rated, Sight, StepLabel, Task, TaskId,
    Tree,
};

/// The ridge penalty on every weight but those of terms that are always 1: of 0.1, 0.3 and 1
/// the one with the least log-loss on the shared half of AgentProcessBench, cross-validated by
/// question; their accuracies differ by less than the standard error.
const PENALTY: f64 = 0.1;
/// The penalty on terms that are always 1, which only says that labels may be rare.
const PENALTY_ALWAYS: f64 = 0.02;
/// What missing a neutral step costs against missing another: its share of steps is so small
/// that at equal cost hardly any would be found.
const NEUTRAL_COST: f64 = 1.5;
/// Below this the likeliest of three labels is hardly more likely than the next.
const CONFIDENCE_MIN: f64 = 0.4;
/// Parts that the questions are divided into: what is tried is fitted on nine tenths.
const FOLDS: usize = 10;
/// How often they are divided anew: the division alone moves a figure by a point.
const REPEATS: u64 = 20;

/// Features of later searches that a model reads.
const OF_SEARCHES: &[&str] = &["asked-again", "attempts", "new-documents"];
/// Features of answers that a model without gold reads.
const OF_ANSWERS: &[&str] = &["declines", "uncovered"];
/// Features of answers that a model with gold reads.
const OF_ANSWERS_WITH_GOLD: &[&str] = &["agreement"];

/// One labelled trajectory.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What it is about: examples of one question never stand on both sides of a division.
    pub question: String,
    /// The steps from the first on, with people's labels where they gave any.
    pub steps: Vec<(StepFeatures, Option<StepLabel>)>,
}

/// Why nothing can be fitted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FitError {
    /// A label never occurs.
    #[error("no step is labelled {0}; a model of three labels needs examples of each")]
    NoExamples(StepLabel),
    /// Too few questions to cross-validate.
    #[error("{0} questions are labelled; cross-validation needs at least {FOLDS}")]
    TooFewQuestions(usize),
    /// There is no model for this sight.
    #[error(
        "a model sees the path alone, or the path and gold; later steps it cannot use"
    )]
    Sight,
}

/// The labelled trajectories of a tree, one a leaf. A step that several share counts for each.
pub fn examples(
    tree: &Tree,
    task: &Task,
    gold: Option<&Gold>,
    labels: &BTreeMap<NodeId, StepLabel>,
) -> Vec<Example> {
    let example = |leaf: NodeId| {
        let steps = features(tree, leaf, task, gold).into_iter();
        let labelled = steps.map(|step| {
            let label = labels.get(&step.node).copied();
            (step, label)
        });
        Example { question: task.id.0.clone(), steps: labelled.collect() }
    };
    let labelled =
        |example: &Example| example.steps.iter().any(|(_, label)| label.is_some());
    tree.leaves().into_iter().map(example).filter(labelled).collect()
}

/// Fits a model for a sight, and cross-validates it by question. The result depends on the
/// examples, their order aside, and on nothing else.
pub fn fit(examples: &[Example], sight: Sight) -> Result<Fusion, FitError> {
    let design = design(sight)?;
    let mut examples: Vec<&Example> = examples.iter().collect();
    examples.sort_by_cached_key(|example| (example.question.clone(), digest(example)));
    let questions: BTreeSet<&str> =
        examples.iter().map(|e| e.question.as_str()).collect();
    if questions.len() < FOLDS {
        return Err(FitError::TooFewQuestions(questions.len()));
    }
    let mut counts = [0u64; 3];
    for label in examples.iter().flat_map(|e| &e.steps).filter_map(|(_, label)| *label) {
        counts[class(label)] += 1;
    }
    if let Some(missing) = counts.iter().position(|count| *count == 0) {
        return Err(FitError::NoExamples(LABELS[missing]));
    }
    let training = Training {
        digest: of_all(&examples),
        questions: questions.len() as u64,
        trajectories: examples.len() as u64,
        steps: counts,
        penalty: PENALTY,
    };
    let fusion = Fusion {
        format: FORMAT.to_owned(),
        sight,
        terms: weigh(&design, &examples),
        sharpness: 1.0,
        neutral_cost: NEUTRAL_COST,
        confidence_min: CONFIDENCE_MIN,
        training,
        cross_validation: None,
    };
    let questions: Vec<&str> = questions.into_iter().collect();
    let trials = cross_validate(&fusion, &design, &examples, &questions);
    let fusion = Fusion { sharpness: sharpness(&trials), ..fusion };
    let cross_validation = Some(figures(&fusion, &trials));
    Ok(Fusion { cross_validation, ..fusion }.rounded())
}

/// What a model for a sight reads.
fn design(sight: Sight) -> Result<Vec<(Kind, Reads)>, FitError> {
    let of_answers = match sight {
        Sight::ONLINE => OF_ANSWERS,
        Sight::GOLD => OF_ANSWERS_WITH_GOLD,
        _ => return Err(FitError::Sight),
    };
    let kinds = [Kind::Opening, Kind::Search, Kind::Answer, Kind::Malformed];
    let mut terms: Vec<(Kind, Reads)> = kinds.map(|kind| (kind, Reads::Always)).to_vec();
    let of = [(Kind::Search, OF_SEARCHES), (Kind::Answer, of_answers)];
    for (kind, names) in of {
        let reads = |name: &&str| (kind, Reads::Feature { name: (*name).to_owned() });
        terms.extend(names.iter().map(reads));
        let after = [StepLabel::Bad, StepLabel::Neutral];
        terms.extend(after.map(|label| (kind, Reads::After { label })));
    }
    Ok(terms)
}

fn class(label: StepLabel) -> usize {
    (label.to_number() + 1) as usize
}

/// The digest of examples that a model fitted on them has in its
/// [`Training`](super::Training), whatever their order.
pub fn training_digest(examples: &[Example]) -> Digest {
    let mut examples: Vec<&Example> = examples.iter().collect();
    examples.sort_by_cached_key(|example| (example.question.clone(), digest(example)));
    of_all(&examples)
}

fn of_all(examples: &[&Example]) -> Digest {
    let digests: Vec<String> = examples.iter().map(|e| digest(e).to_string()).collect();
    Digest::of_json(&digests)
}

/// What an example is told apart by: kinds, features and labels.
fn digest(example: &Example) -> Digest {
    let steps: Vec<_> = example
        .steps
        .iter()
        .map(|(step, label)| (step.kind, &step.values, *label))
        .collect();
    Digest::of_json(&(&example.question, steps))
}

/// The terms with the weights that the examples' labels make most likely.
fn weigh(design: &[(Kind, Reads)], examples: &[&Example]) -> Vec<Term> {
    let mut terms: Vec<Term> = design
        .iter()
        .map(|(kind, reads)| Term {
            kind: *kind,
            reads: reads.clone(),
            mean: 0.0,
            weights: [0.0; 3],
        })
        .collect();
    let mut rows = Vec::new();
    let mut steps_of: BTreeMap<Kind, f64> = BTreeMap::new();
    for example in examples {
        let mut before = None;
        for (step, label) in &example.steps {
            if matches!(step.kind, Kind::Outside | Kind::Other) {
                continue;
            }
            if let Some(label) = label {
                let values =
                    terms.iter().map(|term| term.value(step, before)).enumerate();
                let values = values.filter(|(_, value)| *value != 0.0).collect();
                *steps_of.entry(step.kind).or_default() += 1.0;
                rows.push(Row { values, class: class(*label) });
            }
            before = *label;
        }
    }
    let penalty = |term: &Term| match term.reads {
        Reads::Always => PENALTY_ALWAYS,
        Reads::Feature { .. } | Reads::After { .. } => PENALTY,
    };
    let penalties: Vec<f64> = terms.iter().map(penalty).collect();
    let weights = softmax::fit(&rows, &penalties);
    for (index, term) in terms.iter_mut().enumerate() {
        let values = rows.iter().flat_map(|row| &row.values);
        let sum: f64 =
            values.filter(|(at, _)| *at == index).map(|(_, value)| value).sum();
        let steps = steps_of.get(&term.kind).copied().unwrap_or(0.0);
        term.mean = if steps > 0.0 { sum / steps } else { 0.0 };
        term.weights = weights[index];
    }
    terms
}

/// What a model said about a trajectory that it was not fitted on: for each labelled step
/// people's class, the probabilities, and whether it may be called good.
struct Trial<'e> {
    question: &'e str,
    steps: Vec<(usize, [f64; 3], bool)>,
}

/// What models say about the questions that they were not fitted on, over all repeats.
fn cross_validate<'e>(
    whole: &Fusion,
    design: &[(Kind, Reads)],
    examples: &[&'e Example],
    questions: &[&str],
) -> Vec<Trial<'e>> {
    let mut trials = Vec::new();
    for repeat in 0..REPEATS {
        let mut shuffled = questions.to_vec();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(repeat));
        for fold in 0..FOLDS {
            let held: BTreeSet<&str> =
                shuffled.iter().skip(fold).step_by(FOLDS).copied().collect();
            let (out, kept): (Vec<&Example>, Vec<&Example>) =
                examples.iter().partition(|e| held.contains(e.question.as_str()));
            let model = Fusion { terms: weigh(design, &kept), ..whole.clone() };
            trials.extend(out.into_iter().map(|example| try_on(&model, example)));
        }
    }
    trials
}

fn try_on<'e>(model: &Fusion, example: &'e Example) -> Trial<'e> {
    let path: Vec<StepFeatures> =
        example.steps.iter().map(|(step, _)| step.clone()).collect();
    let judged = model.judge(&path).into_iter().zip(&example.steps);
    let step = |(judgement, (step, label)): (Option<Judgement>, &(StepFeatures, _))| {
        let label: Option<StepLabel> = *label;
        // Steps that no model judges are neutral.
        let probabilities = judgement.map_or([0.0, 1.0, 0.0], |j| j.probabilities);
        Some((class(label?), probabilities, step.doubt.is_none()))
    };
    Trial { question: &example.question, steps: judged.filter_map(step).collect() }
}

/// The power, between 1/3 and 3, under which people's labels are most likely.
fn sharpness(trials: &[Trial<'_>]) -> f64 {
    // Ternary search: the loss has one minimum in the power.
    let (mut low, mut high) = (1.0f64 / 3.0, 3.0f64);
    for _ in 0..60 {
        let (one, two) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if log_loss(trials, one) < log_loss(trials, two) {
            high = two;
        } else {
            low = one;
        }
    }
    (low + high) / 2.0
}

fn log_loss(trials: &[Trial<'_>], power: f64) -> f64 {
    let losses: Vec<f64> = trials
        .iter()
        .flat_map(|trial| &trial.steps)
        .map(|(human, p, _)| -super::sharpen(*p, power)[*human].max(1e-12).ln())
        .collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

fn figures(fusion: &Fusion, trials: &[Trial<'_>]) -> CrossValidation {
    let predict = |(human, probabilities, may_be_good): &(usize, [f64; 3], bool)| {
        let probabilities = super::sharpen(*probabilities, fusion.sharpness);
        let chosen = fusion.choose(&probabilities);
        let chosen =
            chosen.filter(|label| *may_be_good || LABELS[*label] != StepLabel::Good);
        let label = chosen.map(|label| LABELS[label]);
        let confidence = chosen.map(|label| probabilities[label]);
        (LABELS[*human], Prediction { label, confidence })
    };
    let rated: Vec<Rated> = trials
        .iter()
        .map(|trial| Rated {
            task: TaskId(trial.question.to_owned()),
            steps: trial.steps.iter().map(predict).collect(),
        })
        .collect();
    let measure =
        |rated: &[Rated]| Agreement::of(rated, 0).expect("there is a labelled step");
    let constant = measure(&Rated::constant(&rated, StepLabel::Good));
    CrossValidation {
        folds: FOLDS as u64,
        repeats: REPEATS,
        agreement: measure(&rated),
        always_good: constant.step_accuracy.value,
        never_bad: constant.first_error_accuracy.value,
        log_loss: log_loss(trials, fusion.sharpness),
    }
}
