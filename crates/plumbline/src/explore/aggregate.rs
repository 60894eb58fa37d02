//! One score for a whole trajectory, from what the checks say of its steps.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ExploreError, Explorer};
use crate::{NodeId, StepLabel};

/// How the scores of a trajectory's steps become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The smallest: a chain is as strong as its weakest link.
    Min,
    /// The mean.
    Mean,
    /// The product: the chance that all are right, were they independent.
    Product,
    /// The last one's.
    Last,
}

impl Aggregate {
    /// One score for several; `None` for none.
    pub fn of(self, scores: &[f64]) -> Option<f64> {
        let last = *scores.last()?;
        Some(match self {
            Aggregate::Min => scores.iter().copied().fold(last, f64::min),
            Aggregate::Mean => scores.iter().sum::<f64>() / scores.len() as f64,
            Aggregate::Product => scores.iter().product(),
            Aggregate::Last => last,
        })
    }
}

impl FromStr for Aggregate {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "min" => Ok(Aggregate::Min),
            "mean" => Ok(Aggregate::Mean),
            "product" => Ok(Aggregate::Product),
            "last" => Ok(Aggregate::Last),
            _ => Err(format!("{name:?} is none of min, mean, product, last")),
        }
    }
}

/// What the checks say of steps, from 0 (bad) to 1 (good); `None` where they abstain.
pub(super) async fn process(
    explorer: &mut Explorer<'_>,
    steps: &[NodeId],
) -> Result<Vec<Option<f64>>, ExploreError> {
    let mut scores = Vec::with_capacity(steps.len());
    for step in steps {
        scores.push(explorer.check(*step).await?.map(score));
    }
    Ok(scores)
}

/// The mean over the steps on which the checks do not abstain.
pub(super) async fn process_mean(
    explorer: &mut Explorer<'_>,
    steps: &[NodeId],
) -> Result<Option<f64>, ExploreError> {
    let scores: Vec<f64> =
        process(explorer, steps).await?.into_iter().flatten().collect();
    Ok(Aggregate::Mean.of(&scores))
}

fn score(label: StepLabel) -> f64 {
    (f64::from(label.to_number()) + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_a_neutral_and_a_good_step() {
        let labels = [StepLabel::Good, StepLabel::Neutral, StepLabel::Good];
        let scores = labels.map(score);
        assert_eq!(scores, [1.0, 0.5, 1.0]);
        for (name, expected) in
            [("min", 0.5), ("mean", 2.5 / 3.0), ("product", 0.5), ("last", 1.0)]
        {
            let aggregate: Aggregate = name.parse().expect("its own name");
            assert_eq!(aggregate.of(&scores), Some(expected));
            assert_eq!(aggregate.of(&[]), None);
            assert_eq!(serde_json::json!(aggregate), name);
        }
        assert!("sum".parse::<Aggregate>().expect_err("none").contains("product"));
    }
}
