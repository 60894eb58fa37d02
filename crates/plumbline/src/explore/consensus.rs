//! Consensus: first errors that rollouts and checks place at the same step.
//!
//! "The Lessons of Developing Process Reward Models in Mathematical Reasoning". The first step
//! from which none of 8 completions succeeds is the first error by rollouts; a large model's
//! critique gives another. A trajectory is kept only if they are the same, which is about two
//! of five there; what comes after the error is dropped. Here the second opinion is that of the
//! checks: the first step that they call bad. Where the two differ every step is an abstention
//! whose value says both positions: the disagreement is worth looking at.
//!
//! Completions are sampled step after step and no further than the first error, for nothing
//! beyond it is used.

use futures::FutureExt;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method};
use crate::scale::{Reading, Rollouts, from_first_error, to_first_error};
use crate::{NodeId, StepLabel};

pub(super) const METHOD: Method = Method {
    name: "consensus",
    version: 3,
    paper: "The Lessons of Developing Process Reward Models in Mathematical Reasoning",
    summary: "first errors on which rollouts and checks agree",
    constants: Constants { rollouts: Some(8), ..Constants::NONE },
    trajectories: true,
    checks: true,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    for trajectory in explorer.trajectories().await? {
        let mut labels = Vec::with_capacity(trajectory.len());
        for step in &trajectory {
            labels.push(explorer.check(*step).await?);
        }
        // Silence is no second opinion.
        let is_told = labels.iter().any(Option::is_some);
        let by_checks = is_told.then(|| to_first_error(&labels));
        let Some(by_rollouts) = first_hopeless(explorer, &trajectory).await? else {
            continue;
        };
        let judged = judged(by_rollouts, by_checks, trajectory.len());
        for (step, judged) in trajectory.into_iter().zip(judged) {
            explorer.judge(step, judged);
        }
    }
    Ok(())
}

/// The index of the first step after which no completion succeeds, if there is one; none at all
/// where a step before it has no completion, and so nobody knows.
async fn first_hopeless(
    explorer: &mut Explorer<'_>,
    trajectory: &[NodeId],
) -> Result<Option<Option<usize>>, ExploreError> {
    let rollouts = explorer.settings().rollouts();
    for (index, step) in trajectory.iter().enumerate() {
        let chance = explorer.chance(Some(*step), rollouts).await?;
        match chance {
            Rollouts { sampled: 0, .. } => return Ok(None),
            Rollouts { succeeded: 0, .. } => return Ok(Some(Some(index))),
            _ => {}
        }
    }
    Ok(Some(None))
}

/// What two opinions on the first error say of a trajectory's steps.
fn judged(
    by_rollouts: Option<usize>,
    by_checks: Option<Option<usize>>,
    steps: usize,
) -> Vec<Judged> {
    let agreed = by_checks == Some(by_rollouts);
    let labels =
        if agreed { from_first_error(by_rollouts, steps) } else { vec![None; steps] };
    let told = |first: Option<usize>| match first {
        Some(index) => format!("at step {index}"),
        None => "nowhere".to_owned(),
    };
    let by_rollouts_told = told(by_rollouts);
    let reason = match by_checks {
        _ if agreed => {
            format!("rollouts and checks see the first error {by_rollouts_told}")
        }
        Some(first) => format!(
            "rollouts see the first error {by_rollouts_told}, checks {}",
            told(first)
        ),
        None => {
            format!("rollouts see the first error {by_rollouts_told}, checks say nothing")
        }
    };
    let by_checks = by_checks.flatten();
    let judged = |label: Option<StepLabel>| Judged {
        value: json!({ "rollouts": by_rollouts, "checks": by_checks, "agreed": agreed }),
        reading: label.map_or(Reading::ABSTENTION, Reading::of),
        reason: reason.clone(),
        evidence: vec![],
    };
    labels.into_iter().map(judged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepLabel::{Bad, Good};

    #[test]
    fn labels_go_up_to_an_error_that_both_see() {
        let labels = |rollouts, checks| -> Vec<Option<StepLabel>> {
            let judged = judged(rollouts, Some(checks), 4).into_iter();
            judged.map(|it| it.reading.label).collect()
        };
        assert_eq!(labels(Some(2), Some(2)), [Some(Good), Some(Good), Some(Bad), None]);
        assert_eq!(labels(None, None), [Some(Good); 4]);
        assert_eq!(labels(Some(2), Some(1)), [None; 4]);
        assert_eq!(labels(Some(2), None), [None; 4]);
        let silent = judged(None, None, 4);
        assert!(silent.iter().all(|it| it.reading.label.is_none()), "{silent:?}");
        let value = &judged(Some(2), Some(None), 4)[0].value;
        assert_eq!(*value, json!({ "rollouts": 2, "checks": null, "agreed": false }));
    }
}
