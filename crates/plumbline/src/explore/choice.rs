//! One trajectory of several, chosen by what the checks say of its steps.
//!
//! A choice needs a number for every step: one on which the checks abstain counts as a neutral
//! one does, 0.5. That is ours; a trained reward model never abstains.

use serde_json::{Map, Value, json};

use super::aggregate::process;
use super::{ExploreError, Explorer, Judged, Rollout};
use crate::NodeId;
use crate::scale::{Reading, from_binary};

/// What a step counts on which the checks abstain.
const UNKNOWN: f64 = 0.5;

/// The scores of steps, none missing.
pub(super) async fn scores(
    explorer: &mut Explorer<'_>,
    steps: &[NodeId],
) -> Result<Vec<f64>, ExploreError> {
    let scores = process(explorer, steps).await?;
    Ok(scores.into_iter().map(|score| score.unwrap_or(UNKNOWN)).collect())
}

/// A finished trajectory with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) rollout: Rollout,
    pub(super) score: f64,
}

/// The trajectories of the task, each with its score.
pub(super) async fn scored(
    explorer: &mut Explorer<'_>,
) -> Result<Vec<Scored>, ExploreError> {
    let settings = explorer.settings();
    let mut scored = Vec::new();
    for rollout in explorer.samples().await? {
        let scores = scores(explorer, &explorer.path(rollout.leaf)).await?;
        let score = settings.aggregate().of(&scores).expect("it has a last step");
        scored.push(Scored { rollout, score });
    }
    Ok(scored)
}

/// The best, and the first of equals.
pub(super) fn best(scored: &[Scored]) -> Option<Scored> {
    let better = |best: Scored, it: Scored| if it.score > best.score { it } else { best };
    scored.iter().copied().reduce(better)
}

/// The lowest score first: where among the steps of a trajectory it is. In reward models that
/// judge outcomes rather than steps it is the last one more often than not ("The Lessons of
/// Developing Process Reward Models in Mathematical Reasoning").
fn lowest(scores: &[f64]) -> Option<usize> {
    (0..scores.len()).reduce(|low, it| if scores[it] < scores[low] { it } else { low })
}

/// Marks the steps of the trajectory that was chosen, and says of its last one how it ended.
pub(super) async fn mark(
    explorer: &mut Explorer<'_>,
    Scored { rollout, score }: Scored,
    more: Value,
) -> Result<(), ExploreError> {
    let steps = explorer.path(rollout.leaf);
    let scores = scores(explorer, &steps).await?;
    for (step, score) in steps.iter().zip(&scores) {
        explorer.judge(
            *step,
            Judged {
                value: json!({ "chosen": true, "score": score }),
                reading: Reading::ABSTENTION,
                reason: "it is on the trajectory that was chosen".to_owned(),
                evidence: vec![],
            },
        );
    }
    let mut value = Map::from_iter([
        ("chosen".to_owned(), true.into()),
        ("right".to_owned(), rollout.success.into()),
        ("score".to_owned(), score.into()),
        ("lowest_step".to_owned(), lowest(&scores).into()),
        ("steps".to_owned(), steps.len().into()),
    ]);
    value.extend(more.as_object().cloned().unwrap_or_default());
    let outcome = if rollout.success { "right" } else { "wrong" };
    explorer.judge(
        rollout.leaf,
        Judged {
            value: value.into(),
            reading: from_binary(Some(rollout.success)),
            reason: format!(
                "the trajectory chosen, with a score of {score:.2}, is {outcome}"
            ),
            evidence: vec![],
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_best_is_chosen() {
        let scored = |leaf, score| {
            let rollout = Rollout { leaf: NodeId(leaf), success: true, value: 1.0 };
            Scored { rollout, score }
        };
        let of = [scored(1, 0.5), scored(2, 0.75), scored(3, 0.75)];
        assert_eq!(best(&of).map(|best| best.rollout.leaf), Some(NodeId(2)));
        assert_eq!(best(&[]), None);
        assert_eq!((lowest(&[1.0, 0.0, 0.0]), lowest(&[])), (Some(1), None));
    }
}
