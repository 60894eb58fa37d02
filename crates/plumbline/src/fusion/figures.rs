//! How well a model's labels agree with people's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::StepLabel;
use crate::fusion::LABELS;

/// Bins of the reliability table.
const BINS: usize = 5;

/// Agreement with people's labels over repeated cross-validation: each figure is its mean over
/// the repeats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Parts that the questions are divided into.
    pub folds: u64,
    /// How often they are divided anew.
    pub repeats: u64,
    /// Steps labelled as people labelled them.
    pub step_accuracy: Rate,
    /// The same if every step is called good.
    pub step_accuracy_all_good: f64,
    /// Trajectories whose first bad step, or that there is none, is the one people found.
    pub first_error_accuracy: Rate,
    /// The same if every step is called good.
    pub first_error_accuracy_all_good: f64,
    /// Of the steps people called bad, neutral and good, the share that the model called so.
    pub recall: [f64; 3],
    /// Of the steps the model called bad, neutral and good, the share that people called so.
    pub precision: [f64; 3],
    /// The mean over the labels of the harmonic mean of recall and precision.
    pub macro_f1: f64,
    /// The mean negative natural logarithm of the probability of people's labels.
    pub log_loss: f64,
    /// The share of steps on which the model abstained; they count as neutral above.
    pub abstained: f64,
    /// How right the model was where it was so sure.
    pub reliability: Vec<Bin>,
}

/// A share, with the standard error that comes from the choice of questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The share, 0 to 1.
    pub mean: f64,
    /// Its standard error, the steps or trajectories of one question taken together.
    pub error: f64,
}

/// The steps whose likeliest label had a probability within some bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bin {
    /// The lower bound.
    pub from: f64,
    /// Steps, over all repeats.
    pub steps: u64,
    /// The mean of those probabilities.
    pub confidence: f64,
    /// The share of the steps whose likeliest label is people's.
    pub accuracy: f64,
}

/// What a model said about a trajectory that it was not fitted on.
pub(super) struct Trial<'e> {
    pub(super) question: &'e str,
    pub(super) steps: Vec<StepTrial>,
}

/// What it said about one labelled step.
#[derive(Clone, Copy)]
pub(super) struct StepTrial {
    pub(super) human: usize,
    pub(super) said: usize,
    pub(super) abstained: bool,
    pub(super) probabilities: [f64; 3],
}

/// The figures over all trials of all repeats.
pub(super) fn figures(folds: u64, repeats: u64, trials: &[Trial<'_>]) -> Figures {
    let steps: Vec<StepTrial> =
        trials.iter().flat_map(|trial| trial.steps.clone()).collect();
    let good = 2;
    let mut counts = [[0u32; 3]; 3];
    for step in &steps {
        counts[step.human][step.said] += 1;
    }
    let column = |said: usize| -> u32 { counts.iter().map(|row| row[said]).sum() };
    let [recall, precision] = [
        [0, 1, 2].map(|c| ratio(counts[c][c], counts[c].iter().sum())),
        [0, 1, 2].map(|c| ratio(counts[c][c], column(c))),
    ];
    let f1 = |c: usize| {
        let sum = recall[c] + precision[c];
        if sum > 0.0 { 2.0 * recall[c] * precision[c] / sum } else { 0.0 }
    };
    let loss = |step: &StepTrial| -step.probabilities[step.human].max(1e-12).ln();
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        values.sum::<f64>() / (steps.len().max(1)) as f64
    };
    let first = |trial: &Trial<'_>, of: fn(&StepTrial) -> usize| {
        trial.steps.iter().position(|step| LABELS[of(step)] == StepLabel::Bad)
    };
    let none = trials.iter().filter(|trial| first(trial, |step| step.human).is_none());
    Figures {
        folds,
        repeats,
        step_accuracy: rate(trials, |trial| {
            let right = trial.steps.iter().filter(|step| step.human == step.said);
            (right.count(), trial.steps.len())
        }),
        step_accuracy_all_good: ratio(counts[good].iter().sum(), steps.len() as u32),
        first_error_accuracy: rate(trials, |trial| {
            let found = first(trial, |step| step.said) == first(trial, |step| step.human);
            (usize::from(found), 1)
        }),
        first_error_accuracy_all_good: ratio(none.count() as u32, trials.len() as u32),
        recall,
        precision,
        macro_f1: (f1(0) + f1(1) + f1(2)) / 3.0,
        log_loss: mean(&mut steps.iter().map(loss)),
        abstained: mean(&mut steps.iter().map(|s| f64::from(u8::from(s.abstained)))),
        reliability: reliability(&steps),
    }
    .rounded()
}

fn ratio(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
}

/// A ratio of sums over trajectories, with the error of a ratio estimator over questions. The
/// repeats of one question are one cluster, so that repeating does not narrow it.
fn rate(trials: &[Trial<'_>], count: impl Fn(&Trial<'_>) -> (usize, usize)) -> Rate {
    let mut questions: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for trial in trials {
        let (part, whole) = count(trial);
        let sums = questions.entry(trial.question).or_default();
        sums.0 += part as f64;
        sums.1 += whole as f64;
    }
    let (part, whole) =
        questions.values().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if whole == 0.0 {
        return Rate::default();
    }
    let mean = part / whole;
    let squares: f64 = questions.values().map(|(p, w)| (p - mean * w).powi(2)).sum();
    let clusters = questions.len() as f64;
    let correction = if clusters > 1.0 { clusters / (clusters - 1.0) } else { 1.0 };
    Rate { mean, error: (squares * correction).sqrt() / whole }
}

fn reliability(steps: &[StepTrial]) -> Vec<Bin> {
    let width = 1.0 / BINS as f64;
    let mut bins: Vec<Bin> =
        (0..BINS).map(|bin| Bin { from: bin as f64 * width, ..Bin::default() }).collect();
    for step in steps {
        let likeliest = super::largest(&step.probabilities);
        let confidence = step.probabilities[likeliest];
        let index = ((confidence / width) as usize).min(BINS - 1);
        let bin = &mut bins[index];
        bin.steps += 1;
        bin.confidence += confidence;
        bin.accuracy += f64::from(u8::from(likeliest == step.human));
    }
    bins.retain(|bin| bin.steps > 0);
    for bin in &mut bins {
        bin.confidence /= bin.steps as f64;
        bin.accuracy /= bin.steps as f64;
    }
    bins
}

impl Figures {
    /// To four decimals: what an artefact holds should not differ in digits nobody reads.
    fn rounded(mut self) -> Self {
        let numbers = [
            &mut self.step_accuracy.mean,
            &mut self.step_accuracy.error,
            &mut self.step_accuracy_all_good,
            &mut self.first_error_accuracy.mean,
            &mut self.first_error_accuracy.error,
            &mut self.first_error_accuracy_all_good,
            &mut self.macro_f1,
            &mut self.log_loss,
            &mut self.abstained,
        ];
        let bins = self
            .reliability
            .iter_mut()
            .flat_map(|bin| [&mut bin.from, &mut bin.confidence, &mut bin.accuracy]);
        let rates = self.recall.iter_mut().chain(&mut self.precision);
        for number in numbers.into_iter().chain(rates).chain(bins) {
            *number = super::fit::round(*number);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_what_counting_gives() {
        let step = |human, said| StepTrial {
            human,
            said,
            abstained: false,
            probabilities: [0, 1, 2].map(|c| if c == said { 0.8 } else { 0.1 }),
        };
        let trials = [
            Trial { question: "a", steps: vec![step(2, 2), step(0, 0)] },
            Trial { question: "a", steps: vec![step(2, 2), step(2, 0)] },
            Trial { question: "b", steps: vec![step(1, 2), step(0, 0), step(0, 2)] },
        ];
        let found = figures(2, 1, &trials);
        assert_eq!(found.step_accuracy.mean, 0.5714);
        assert_eq!(found.step_accuracy_all_good, 0.4286);
        assert_eq!(found.first_error_accuracy.mean, 0.6667);
        assert_eq!(found.first_error_accuracy_all_good, 0.3333);
        assert_eq!(found.recall, [0.6667, 0.0, 0.6667]);
        assert_eq!(found.precision, [0.6667, 0.0, 0.5]);
        // Question a has 3 of 4 right, b 1 of 3; 4 of 7 in all.
        let off = (3.0f64 - 16.0 / 7.0).powi(2) + (1.0 - 12.0f64 / 7.0).powi(2);
        let error = (2.0 * off).sqrt() / 7.0;
        assert!((found.step_accuracy.error - error).abs() < 1e-4);
        assert_eq!(found.reliability.len(), 1);
        assert_eq!(found.reliability[0].accuracy, 0.5714);
    }
}
