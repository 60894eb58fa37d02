//! How well labels agree with people: AgentProcessBench's two measures, what each class is
//! recalled with, and how far confidences can be believed.

use std::fmt;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::scale::to_first_error;
use crate::{NodeId, StepLabel, TaskId};

/// How often the questions are resampled for an interval.
const RESAMPLES: usize = 2000;
/// Share of resampled values below an interval, and above it: together 5 %.
const TAIL: f64 = 0.025;
/// Bins of the reliability curve, of equal width.
const BINS: usize = 10;
const CLASSES: [StepLabel; 3] = [StepLabel::Good, StepLabel::Neutral, StepLabel::Bad];

/// What a labeller says of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The label; `None` is an abstention, and scored as a zero, as the benchmark does.
    pub label: Option<StepLabel>,
    /// How sure it is of that label, 0 to 1.
    pub confidence: Option<f64>,
}

impl Prediction {
    /// An abstention.
    pub const NONE: Prediction = Prediction { label: None, confidence: None };

    /// A label without a confidence.
    pub fn of(label: StepLabel) -> Self {
        Self { label: Some(label), confidence: None }
    }
}

/// One trajectory: what people said of its steps, and what a labeller says, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Rated {
    /// Its task: trajectories of one task are not independent.
    pub task: TaskId,
    /// Each step that people labelled.
    pub steps: Vec<(StepLabel, Prediction)>,
}

/// A value and its 95 % interval, a percentile bootstrap that resamples questions. Unlike
/// [`Estimate`](crate::Estimate) the value is taken over all steps, or all trajectories,
/// at once, as the benchmark takes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value, 0 to 1.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl fmt::Display for Interval {
    /// `76.9 [70.1, 83.0]`, in percent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { value, low, high } = self;
        let text =
            format!("{:.1} [{:.1}, {:.1}]", value * 100.0, low * 100.0, high * 100.0);
        f.pad(&text)
    }
}

/// Agreement on one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassAgreement {
    /// The class.
    pub label: StepLabel,
    /// Steps that people put in it.
    pub steps: u64,
    /// Share of those put in it that people put there too; `None` if none is.
    pub precision: Option<Interval>,
    /// Share of people's that are found; `None` if people have none.
    pub recall: Option<Interval>,
}

/// Steps whose confidence falls into one bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The bin's lower edge.
    pub from: f64,
    /// Steps in it.
    pub steps: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that people agree with.
    pub accuracy: f64,
}

/// How a labeller agrees with people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Questions.
    pub questions: u64,
    /// Trajectories.
    pub trajectories: u64,
    /// Steps that people labelled.
    pub steps: u64,
    /// Share of steps with the label people gave.
    pub step_accuracy: Interval,
    /// Share of trajectories whose first bad step is the one people name, or that have none
    /// by either.
    pub first_error_accuracy: Interval,
    /// The classes: good, neutral, bad.
    pub classes: [ClassAgreement; 3],
    /// The mean of the classes' F1; a class nobody uses is left out.
    pub macro_f1: Interval,
    /// Share of steps without a label.
    pub abstention: Interval,
    /// Accuracy on the steps with one; `None` if there is none.
    pub covered_accuracy: Option<Interval>,
    /// The reliability curve: bins that are not empty. Empty if no label has a confidence.
    pub reliability: Vec<Bin>,
    /// The mean distance of confidence from accuracy, weighted by steps.
    pub calibration_error: Option<f64>,
}

impl Agreement {
    /// Measures agreement; the same rows and seed give the same intervals. `None` if no
    /// trajectory has a labelled step.
    pub fn of(rated: &[Rated], seed: u64) -> Option<Self> {
        let questions = by_question(rated);
        let all = questions.iter().fold(Counts::default(), Counts::plus);
        if all.steps() == 0 {
            return None;
        }
        let resampled = resample(&questions, seed);
        let measure = |value: &dyn Fn(&Counts) -> Option<f64>| {
            let mut values: Vec<f64> = resampled.iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            let at =
                |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
            let mean = value(&all)?;
            (!values.is_empty()).then(|| Interval {
                value: mean,
                low: at(TAIL),
                high: at(1.0 - TAIL),
            })
        };
        let always = |value: &dyn Fn(&Counts) -> Option<f64>| {
            measure(value).expect("there is a step, and so a value")
        };
        let classes = CLASSES.map(|label| ClassAgreement {
            label,
            steps: all.row(label),
            precision: measure(&|counts| counts.precision(label)),
            recall: measure(&|counts| counts.recall(label)),
        });
        let (reliability, calibration_error) = reliability(rated);
        Some(Self {
            questions: questions.len() as u64,
            trajectories: all.trajectories,
            steps: all.steps(),
            step_accuracy: always(&|c| share(c.right(), c.steps())),
            first_error_accuracy: always(&|c| share(c.first_errors, c.trajectories)),
            classes,
            macro_f1: always(&Counts::macro_f1),
            abstention: always(&|c| share(c.abstained, c.steps())),
            covered_accuracy: measure(&|c| {
                share(c.covered_right, c.steps() - c.abstained)
            }),
            reliability,
            calibration_error,
        })
    }
}

impl Rated {
    /// The same trajectories as a constant labels them.
    pub fn constant(rated: &[Rated], label: StepLabel) -> Vec<Rated> {
        let row = |rated: &Rated| {
            let steps = rated.steps.iter();
            let steps = steps.map(|(expected, _)| (*expected, Prediction::of(label)));
            Rated { task: rated.task.clone(), steps: steps.collect() }
        };
        rated.iter().map(row).collect()
    }

    /// The label most steps have by what people said.
    pub fn majority(rated: &[Rated]) -> StepLabel {
        let count = |label: StepLabel| {
            let steps = rated.iter().flat_map(|rated| &rated.steps);
            steps.filter(|(expected, _)| *expected == label).count()
        };
        CLASSES.into_iter().max_by_key(|label| count(*label)).expect("there are three")
    }
}

/// What of a question can be added up.
#[derive(Debug, Clone, Default)]
struct Counts {
    /// By people's class, then by the labeller's.
    confusion: [[u64; 3]; 3],
    trajectories: u64,
    first_errors: u64,
    abstained: u64,
    covered_right: u64,
}

impl Counts {
    fn add(&mut self, rated: &Rated) {
        for (expected, prediction) in &rated.steps {
            let label = prediction.label.unwrap_or(StepLabel::Neutral);
            self.confusion[class(*expected)][class(label)] += 1;
            match prediction.label {
                None => self.abstained += 1,
                Some(label) => self.covered_right += u64::from(label == *expected),
            }
        }
        let expected: Vec<_> =
            rated.steps.iter().map(|(label, _)| Some(*label)).collect();
        let found: Vec<_> = rated.steps.iter().map(|(_, found)| found.label).collect();
        self.trajectories += 1;
        self.first_errors +=
            u64::from(to_first_error(&expected) == to_first_error(&found));
    }

    fn plus(mut self, other: &Counts) -> Counts {
        for (row, others) in self.confusion.iter_mut().zip(&other.confusion) {
            for (cell, other) in row.iter_mut().zip(others) {
                *cell += other;
            }
        }
        self.trajectories += other.trajectories;
        self.first_errors += other.first_errors;
        self.abstained += other.abstained;
        self.covered_right += other.covered_right;
        self
    }

    fn steps(&self) -> u64 {
        self.confusion.iter().flatten().sum()
    }

    fn right(&self) -> u64 {
        (0..3).map(|class| self.confusion[class][class]).sum()
    }

    fn row(&self, label: StepLabel) -> u64 {
        self.confusion[class(label)].iter().sum()
    }

    fn column(&self, label: StepLabel) -> u64 {
        self.confusion.iter().map(|row| row[class(label)]).sum()
    }

    fn hits(&self, label: StepLabel) -> u64 {
        self.confusion[class(label)][class(label)]
    }

    fn precision(&self, label: StepLabel) -> Option<f64> {
        share(self.hits(label), self.column(label))
    }

    fn recall(&self, label: StepLabel) -> Option<f64> {
        share(self.hits(label), self.row(label))
    }

    fn macro_f1(&self) -> Option<f64> {
        let f1 = |label: StepLabel| {
            share(2 * self.hits(label), self.row(label) + self.column(label))
        };
        let values: Vec<f64> = CLASSES.into_iter().filter_map(f1).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

fn class(label: StepLabel) -> usize {
    match label {
        StepLabel::Good => 0,
        StepLabel::Neutral => 1,
        StepLabel::Bad => 2,
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn by_question(rated: &[Rated]) -> Vec<Counts> {
    let mut questions = std::collections::BTreeMap::<&TaskId, Counts>::new();
    for rated in rated.iter().filter(|rated| !rated.steps.is_empty()) {
        questions.entry(&rated.task).or_default().add(rated);
    }
    questions.into_values().collect()
}

fn resample(questions: &[Counts], seed: u64) -> Vec<Counts> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |_| {
        let drawn = (0..questions.len()).map(|_| random.random_range(0..questions.len()));
        drawn.fold(Counts::default(), |sum, index| sum.plus(&questions[index]))
    };
    (0..RESAMPLES).map(&mut draw).collect()
}

fn reliability(rated: &[Rated]) -> (Vec<Bin>, Option<f64>) {
    let mut bins = [(0u64, 0.0, 0u64); BINS];
    for (expected, prediction) in rated.iter().flat_map(|rated| &rated.steps) {
        let (Some(label), Some(confidence)) = (prediction.label, prediction.confidence)
        else {
            continue;
        };
        let index = ((confidence * BINS as f64) as usize).min(BINS - 1);
        let (steps, sum, right) = &mut bins[index];
        *steps += 1;
        *sum += confidence;
        *right += u64::from(label == *expected);
    }
    let filled = bins.iter().enumerate().filter(|(_, (steps, ..))| *steps > 0);
    let bins: Vec<Bin> = filled
        .map(|(index, (steps, sum, right))| Bin {
            from: index as f64 / BINS as f64,
            steps: *steps,
            confidence: sum / *steps as f64,
            accuracy: *right as f64 / *steps as f64,
        })
        .collect();
    let steps: u64 = bins.iter().map(|bin| bin.steps).sum();
    let distance = |bin: &Bin| bin.steps as f64 * (bin.confidence - bin.accuracy).abs();
    let error = bins.iter().map(distance).sum::<f64>() / steps as f64;
    let error = (steps > 0).then_some(error);
    (bins, error)
}

/// Agreement on which step decided a failure: Who&When's measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MistakeAgreement {
    /// Trajectories with a marked mistake.
    pub trajectories: u64,
    /// Those whose first bad step is the marked one.
    pub exact: u64,
    /// Those where it is at most one step away.
    pub near: u64,
    /// Those without a bad step.
    pub silent: u64,
}

impl MistakeAgreement {
    /// Counts agreement; each item is the path of a trajectory, the marked step, and the
    /// first bad one.
    pub fn of<'a>(
        items: impl IntoIterator<Item = (&'a [NodeId], NodeId, Option<NodeId>)>,
    ) -> Self {
        let mut counts = Self { trajectories: 0, exact: 0, near: 0, silent: 0 };
        for (path, marked, found) in items {
            let at = |node: NodeId| path.iter().position(|other| *other == node);
            counts.trajectories += 1;
            match (at(marked), found.and_then(at)) {
                (Some(marked), Some(found)) => {
                    counts.exact += u64::from(marked == found);
                    counts.near += u64::from(marked.abs_diff(found) <= 1);
                }
                (_, None) => counts.silent += 1,
                (None, Some(_)) => {}
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trajectories in shorthand: task, people's labels, the labeller's; `.` abstains.
    fn rated(rows: &[(&str, &str, &str)]) -> Vec<Rated> {
        let label = |c: char| match c {
            '+' => Some(StepLabel::Good),
            '0' => Some(StepLabel::Neutral),
            '-' => Some(StepLabel::Bad),
            _ => None,
        };
        let row = |(task, expected, found): &(&str, &str, &str)| Rated {
            task: TaskId((*task).to_owned()),
            steps: expected
                .chars()
                .zip(found.chars())
                .map(|(e, f)| {
                    let prediction = Prediction { label: label(f), confidence: None };
                    (label(e).expect("people give a label"), prediction)
                })
                .collect(),
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn both_accuracies_are_the_benchmarks() {
        let rows = rated(&[
            ("a", "++-", "++-"), // all right
            ("a", "+--", "++-"), // the first error is a step late
            ("b", "+0+", "+++"), // no error by either
            ("b", "--", "+."),   // none found; an abstention counts as 0
        ]);
        let found = Agreement::of(&rows, 1).expect("there are steps");
        assert_eq!((found.questions, found.trajectories, found.steps), (2, 4, 11));
        assert!((found.step_accuracy.value - 7.0 / 11.0).abs() < 1e-12);
        assert!((found.first_error_accuracy.value - 0.5).abs() < 1e-12);
        assert!((found.abstention.value - 1.0 / 11.0).abs() < 1e-12);
        let covered = found.covered_accuracy.expect("most are covered").value;
        assert!((covered - 0.7).abs() < 1e-12, "{covered}");
        let [good, neutral, bad] = found.classes;
        assert_eq!((good.steps, neutral.steps, bad.steps), (5, 1, 5));
        let value = |interval: Option<Interval>| interval.map(|interval| interval.value);
        assert_eq!(value(good.recall), Some(1.0));
        assert_eq!(value(bad.recall), Some(0.4));
        assert_eq!(value(bad.precision), Some(1.0));
        assert_eq!(value(neutral.recall), Some(0.0));
        let f1 = (2.0 * 5.0 / 13.0 + 0.0 + 2.0 * 2.0 / 7.0) / 3.0;
        assert!((found.macro_f1.value - f1).abs() < 1e-12, "{}", found.macro_f1.value);
    }

    #[test]
    fn intervals_are_clustered_by_question() {
        let few = rated(&[("a", "++", "++"), ("b", "--", "++"), ("c", "++", "++")]);
        let many: Vec<Rated> = few.iter().flat_map(|r| vec![r.clone(); 50]).collect();
        let (few, many) = (Agreement::of(&few, 3), Agreement::of(&many, 3));
        let of = |found: Option<Agreement>| {
            let Interval { value, low, high } = found.expect("steps").step_accuracy;
            (value, low, high)
        };
        assert_eq!(of(few), of(many), "fifty copies of a sample tell nothing new");
        assert!(Agreement::of(&[], 3).is_none());
    }

    #[test]
    fn constants_are_measured_alike() {
        let rows = rated(&[("a", "++-", "..."), ("b", "+", ".")]);
        assert_eq!(Rated::majority(&rows), StepLabel::Good);
        let constant = Agreement::of(&Rated::constant(&rows, StepLabel::Good), 1);
        let constant = constant.expect("steps");
        assert_eq!(constant.step_accuracy.value, 0.75);
        assert_eq!(constant.first_error_accuracy.value, 0.5);
    }

    #[test]
    fn confidence_is_held_against_accuracy() {
        let step = |confidence, right: bool| {
            let label = if right { StepLabel::Good } else { StepLabel::Bad };
            let prediction =
                Prediction { label: Some(label), confidence: Some(confidence) };
            (StepLabel::Good, prediction)
        };
        let steps =
            vec![step(0.95, true), step(0.95, true), step(0.55, false), step(1.0, true)];
        let (bins, error) = reliability(&[Rated { task: TaskId("a".into()), steps }]);
        assert_eq!(bins.len(), 2);
        assert_eq!((bins[0].steps, bins[0].accuracy), (1, 0.0));
        assert_eq!((bins[1].steps, bins[1].accuracy), (3, 1.0));
        let expected = (0.55 + (3.0 - 2.9)) / 4.0;
        assert!((error.expect("confidences") - expected).abs() < 1e-12);
    }

    #[test]
    fn mistakes_are_found_exactly_nearly_or_not() {
        let path = [0, 1, 2, 3].map(NodeId);
        let items = [(1, Some(1)), (1, Some(2)), (1, Some(3)), (1, None)];
        let items = items.map(|(marked, found): (u32, Option<u32>)| {
            (path.as_slice(), NodeId(marked), found.map(NodeId))
        });
        let counts = MistakeAgreement::of(items);
        let expected = MistakeAgreement { trajectories: 4, exact: 1, near: 2, silent: 1 };
        assert_eq!(counts, expected);
    }
}
