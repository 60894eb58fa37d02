//! Outcomes taken together: means with intervals, over all questions and by group.

use std::collections::BTreeMap;
use std::fmt;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::comparators::Text;
use crate::outcome::{Compared, Outcome, Score, answers, outcomes};
use crate::{Boundary, Budget, Gold, TaskId, Tree};

/// How often the questions are resampled for an interval.
const RESAMPLES: usize = 2000;
/// The fewest resamples an interval is made from, however many questions there are.
const RESAMPLES_MIN: usize = 200;
/// Draws for one interval; from 10,000 questions on it lowers the number of resamples.
const DRAWS_MAX: usize = 20_000_000;
/// Share of resampled means below an interval, and above it: together 5 %.
const TAIL: f64 = 0.025;
/// Values told apart in one group; the others are taken together as [`OTHER`].
const GROUP_VALUES_MAX: usize = 64;
/// The value under which a group's values beyond the first 64 are taken together.
const OTHER: &str = "(other)";

/// A mean over questions and its 95 % interval.
///
/// The mean is that of the questions' own means, so a question with more trajectories weighs
/// no more than another. The interval is a percentile bootstrap that resamples questions,
/// not trajectories: samples of one question are not independent, and counting them as if
/// they were makes intervals too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean, 0 to 1.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
    /// Questions with at least one value.
    pub questions: u64,
    /// Values in all.
    pub trajectories: u64,
}

impl fmt::Display for Estimate {
    /// `0.412 [0.350, 0.471]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.mean, self.low, self.high)
    }
}

/// The estimates for a set of questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimates {
    /// Share of answers equal to a gold answer.
    pub exact_match: Estimate,
    /// Word overlap with the nearest gold answer.
    pub f1: Estimate,
    /// Share of supporting documents retrieved; `None` if no question lists any.
    pub supporting_recall: Option<Estimate>,
}

/// How trajectories ended, each counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endings {
    /// With an answer.
    pub answered: u64,
    /// With a budget used up.
    pub exhausted: BTreeMap<Budget, u64>,
    /// By something that says nothing about the agent; not scored.
    pub aborted: BTreeMap<Boundary, u64>,
    /// Not yet; not scored.
    pub unfinished: u64,
}

impl Endings {
    /// Trajectories that ended by their own doing, so that their outcome can be scored.
    pub fn graded(&self) -> u64 {
        self.answered + self.exhausted.values().sum::<u64>()
    }

    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Answered { .. } => self.answered += 1,
            Outcome::Exhausted { budget, .. } => {
                *self.exhausted.entry(*budget).or_default() += 1;
            }
            Outcome::Aborted { boundary } => {
                *self.aborted.entry(*boundary).or_default() += 1;
            }
            Outcome::Unfinished => self.unfinished += 1,
        }
    }
}

impl fmt::Display for Endings {
    /// `118 answered, 2 out of steps, 1 aborted by endpoint`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered", self.answered)?;
        for (budget, count) in &self.exhausted {
            write!(f, ", {count} out of {budget}")?;
        }
        for (boundary, count) in &self.aborted {
            write!(f, ", {count} aborted by {boundary}")?;
        }
        if self.unfinished > 0 {
            write!(f, ", {} unfinished", self.unfinished)?;
        }
        Ok(())
    }
}

/// The outcomes of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How the trajectories ended.
    pub endings: Endings,
    /// Over all questions; `None` if no trajectory was scored.
    pub overall: Option<Estimates>,
    /// By the gold's groups: first the group's name (`hops`), then its value (`2`). Beyond
    /// 64 values of one group the rest is taken together as `(other)`.
    pub groups: BTreeMap<String, BTreeMap<String, Estimates>>,
}

/// The outcomes of a run so far: a few numbers a question, so that trees can be dropped once
/// they are added. The order in which questions are added changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    endings: Endings,
    questions: BTreeMap<TaskId, Question>,
}

#[derive(Debug, Clone, Default)]
struct Question {
    groups: BTreeMap<String, String>,
    exact_match: Sum,
    f1: Sum,
    supporting_recall: Sum,
}

/// Values of one metric for one question.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    total: f64,
    values: u64,
}

impl Tally {
    /// A tally of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every trajectory of a tree, with what its answers came to. Each tree is to be
    /// added once.
    pub fn add_tree(&mut self, tree: &Tree, gold: &Gold, compared: &Compared) {
        for outcome in outcomes(tree, gold, compared) {
            self.add(tree.task(), gold, &outcome);
        }
    }

    /// Counts how the trajectories of a tree ended, where no gold says what they are worth.
    pub fn add_ungraded(&mut self, tree: &Tree) {
        let gold = Gold(serde_json::Value::Null);
        let unequal = |answer| Text {}.compare(answer, &[]);
        let compared: Compared =
            answers(tree).map(|(leaf, answer)| (leaf, unequal(answer))).collect();
        for outcome in outcomes(tree, &gold, &compared) {
            self.endings.add(&outcome);
        }
    }

    /// Adds one trajectory.
    pub fn add(&mut self, task: &TaskId, gold: &Gold, outcome: &Outcome) {
        self.endings.add(outcome);
        let Some(score) = outcome.score() else { return };
        let question = self.questions.entry(task.clone()).or_insert_with(|| {
            let groups = gold.groups().map(|(name, value)| (name.to_owned(), value));
            Question { groups: groups.collect(), ..Question::default() }
        });
        question.add(score);
    }

    /// How the trajectories added so far ended.
    pub fn endings(&self) -> &Endings {
        &self.endings
    }

    /// The running mean of exact match over the questions so far; `None` before the first.
    pub fn exact_match(&self) -> Option<f64> {
        running(self.questions.values().map(|question| question.exact_match))
    }

    /// The running mean of F1 over the questions so far; `None` before the first.
    pub fn f1(&self) -> Option<f64> {
        running(self.questions.values().map(|question| question.f1))
    }

    /// The estimates with their intervals. The same outcomes and seed give the same
    /// intervals; the means do not depend on the seed.
    pub fn summary(&self, seed: u64) -> Summary {
        let all: Vec<&Question> = self.questions.values().collect();
        let groups = by_group(&all).into_iter().map(|(name, values)| {
            let estimates = values.into_iter().filter_map(|(value, questions)| {
                estimates(&questions, seed).map(|estimates| (value.to_owned(), estimates))
            });
            (name.to_owned(), estimates.collect())
        });
        Summary {
            endings: self.endings.clone(),
            overall: estimates(&all, seed),
            groups: groups.collect(),
        }
    }
}

impl Question {
    fn add(&mut self, score: &Score) {
        self.exact_match.add(f64::from(u8::from(score.exact_match)));
        self.f1.add(score.f1);
        if let Some(recall) = score.supporting_recall {
            self.supporting_recall.add(recall);
        }
    }
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.total += value;
        self.values += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.values > 0).then(|| self.total / self.values as f64)
    }
}

fn running(sums: impl Iterator<Item = Sum>) -> Option<f64> {
    let mut over_questions = Sum::default();
    for mean in sums.filter_map(|sum| sum.mean()) {
        over_questions.add(mean);
    }
    over_questions.mean()
}

type Groups<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Question>>>;

fn by_group<'a>(questions: &[&'a Question]) -> Groups<'a> {
    let mut groups = Groups::new();
    for question in questions {
        for (name, value) in &question.groups {
            let values = groups.entry(name).or_default();
            values.entry(value).or_default().push(question);
        }
    }
    for values in groups.values_mut() {
        let Some(&first_beyond) = values.keys().nth(GROUP_VALUES_MAX) else { continue };
        let beyond = values.split_off(first_beyond);
        let others = values.entry(OTHER).or_default();
        others.extend(beyond.into_values().flatten());
    }
    groups
}

fn estimates(questions: &[&Question], seed: u64) -> Option<Estimates> {
    let estimate = |metric: fn(&Question) -> Sum| {
        let sums: Vec<Sum> = questions.iter().map(|question| metric(question)).collect();
        estimate(&sums, seed)
    };
    Some(Estimates {
        exact_match: estimate(|question| question.exact_match)?,
        f1: estimate(|question| question.f1)?,
        supporting_recall: estimate(|question| question.supporting_recall),
    })
}

fn estimate(questions: &[Sum], seed: u64) -> Option<Estimate> {
    let means: Vec<f64> = questions.iter().filter_map(Sum::mean).collect();
    if means.is_empty() {
        return None;
    }
    let count = means.len() as f64;
    let resamples = (DRAWS_MAX / means.len()).clamp(RESAMPLES_MIN, RESAMPLES);
    // The same seed for each metric and group: estimates over the same questions are then
    // made from the same resamples, and their difference is not blurred by chance.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resampled: Vec<f64> = (0..resamples)
        .map(|_| {
            let draws = (0..means.len()).map(|_| means[rng.random_range(0..means.len())]);
            draws.sum::<f64>() / count
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    let cut = (TAIL * resamples as f64) as usize;
    Some(Estimate {
        mean: means.iter().sum::<f64>() / count,
        low: resampled[cut],
        high: resampled[resamples - 1 - cut],
        questions: means.len() as u64,
        trajectories: questions.iter().map(|sum| sum.values).sum(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answered(f1: f64) -> Outcome {
        let exact_match = f1 == 1.0;
        let (relaxed, supporting_recall) = (f1 >= 0.8, Some(1.0 - f1));
        let score = Score { exact_match, relaxed, f1, supporting_recall };
        Outcome::Answered { answer: "x".into(), score }
    }

    /// A tally of questions of which each entry lists the tenths of F1 of its trajectories.
    fn tally<'a>(questions: impl Iterator<Item = (usize, &'a Vec<u8>)>) -> Tally {
        let mut tally = Tally::new();
        for (index, tenths) in questions {
            let task = TaskId(format!("q{index:03}"));
            let gold = Gold(json!({"groups": {"hops": 2 + index % 2}}));
            for tenth in tenths {
                tally.add(&task, &gold, &answered(f64::from(*tenth) / 10.0));
            }
        }
        tally
    }

    fn f1(questions: &[Vec<u8>], seed: u64) -> Estimate {
        let summary = tally(questions.iter().enumerate()).summary(seed);
        summary.overall.expect("something was scored").f1
    }

    fn questions() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(0u8..=10, 1..4), 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_order_of_questions_changes_nothing(questions in questions(), seed: u64) {
            let forth = tally(questions.iter().enumerate());
            let back = tally(questions.iter().enumerate().rev());
            prop_assert_eq!(forth.summary(seed), back.summary(seed));
            prop_assert_eq!(forth.f1(), back.f1());
        }

        #[test]
        fn an_interval_contains_its_mean(questions in questions(), seed: u64) {
            let estimate = f1(&questions, seed);
            // The last bits of a sum depend on what it is made of.
            prop_assert!(estimate.low <= estimate.mean + 1e-12, "{}", estimate);
            prop_assert!(estimate.mean <= estimate.high + 1e-12, "{}", estimate);
            prop_assert!(0.0 <= estimate.low && estimate.high <= 1.0 + 1e-12);
            prop_assert_eq!(estimate.questions as usize, questions.len());
            let trajectories: usize = questions.iter().map(Vec::len).sum();
            prop_assert_eq!(estimate.trajectories as usize, trajectories);
        }

        #[test]
        fn equal_questions_have_no_width(tenth in 0u8..=10, n in 1usize..40, seed: u64) {
            let estimate = f1(&vec![vec![tenth]; n], seed);
            prop_assert_eq!(estimate.low, estimate.mean);
            prop_assert_eq!(estimate.high, estimate.mean);
        }

        #[test]
        fn a_better_question_lowers_nothing(
            questions in questions(), at: prop::sample::Index, seed: u64,
        ) {
            let before = f1(&questions, seed);
            let mut better = questions.clone();
            better[at.index(questions.len())].fill(10);
            let after = f1(&better, seed);
            prop_assert!(after.mean >= before.mean - 1e-12);
            prop_assert!(after.low >= before.low - 1e-12);
            prop_assert!(after.high >= before.high - 1e-12);
        }
    }

    #[test]
    fn questions_are_resampled_and_not_trajectories() {
        let few: Vec<Vec<u8>> = (0..20).map(|i| vec![10 * (i % 2)]).collect();
        let many: Vec<Vec<u8>> = (0..20).map(|i| vec![10 * (i % 2); 50]).collect();
        let (few, many) = (f1(&few, 3), f1(&many, 3));
        assert_eq!((few.low, few.high), (many.low, many.high));
        assert_eq!((many.questions, many.trajectories), (20, 1000));
        // Twenty fair coins: the normal interval is 0.5 ± 0.22.
        assert!((0.15..0.4).contains(&few.low), "{few}");
        assert!((0.6..0.85).contains(&few.high), "{few}");
        let unequal = f1(&[vec![0], vec![10; 99]], 3);
        assert_eq!(unequal.mean, 0.5, "a question's weight is not its sample count");
    }

    #[test]
    fn groups_and_endings_are_told_apart() {
        let mut tally = tally([vec![10], vec![0], vec![10, 0]].iter().enumerate());
        let gold = Gold(json!({"groups": {"hops": 2}}));
        let budget = Budget::Tokens;
        let (exact_match, relaxed, f1) = (false, false, 0.0);
        let score = Score { exact_match, relaxed, f1, supporting_recall: None };
        let task = |name: &str| TaskId(name.into());
        tally.add(&task("spent"), &gold, &Outcome::Exhausted { budget, score });
        let boundary = Boundary::Tool;
        tally.add(&task("lost"), &gold, &Outcome::Aborted { boundary });
        tally.add(&task("open"), &gold, &Outcome::Unfinished);
        let summary = tally.summary(1);
        let overall = summary.overall.expect("four questions were scored");
        assert_eq!(overall.f1.mean, 0.375);
        assert_eq!((overall.f1.questions, overall.f1.trajectories), (4, 5));
        let recall = overall.supporting_recall.expect("three questions list documents");
        assert_eq!((recall.mean, recall.questions), (0.5, 3));
        let hops: Vec<(&str, f64)> = summary.groups["hops"]
            .iter()
            .map(|(value, estimates)| (value.as_str(), estimates.exact_match.mean))
            .collect();
        assert_eq!(hops, [("2", 0.5), ("3", 0.0)]);
        assert_eq!(summary.endings, *tally.endings());
        assert_eq!(summary.endings.answered, 4);
        assert_eq!(summary.endings.exhausted[&Budget::Tokens], 1);
        assert_eq!(summary.endings.aborted[&Boundary::Tool], 1);
        assert_eq!(summary.endings.unfinished, 1);
        let text = serde_json::to_string(&summary).expect("summaries serialise");
        let read: Summary = serde_json::from_str(&text).expect("and come back");
        assert_eq!(read, summary);
    }

    #[test]
    fn nothing_scored_is_no_estimate_and_groups_are_bounded() {
        assert_eq!(Tally::new().summary(0).overall, None);
        assert_eq!(Tally::new().exact_match(), None);
        let mut tally = Tally::new();
        for index in 0..100 {
            let gold = Gold(json!({"groups": {"topic": format!("{index:03}")}}));
            tally.add(&TaskId(format!("q{index}")), &gold, &answered(1.0));
        }
        let summary = tally.summary(0);
        assert_eq!(summary.groups["topic"].len(), GROUP_VALUES_MAX + 1);
        assert_eq!(summary.groups["topic"][OTHER].f1.questions, 36);
    }
}
