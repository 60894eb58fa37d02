//! SIM-RAG: whether what is known suffices, before and after each step.
//!
//! "Knowing You Don't Know: Learning When to Continue Search in Multi-round RAG through
//! Self-Practicing". In each round the policy is made to answer from what it has so far, the
//! round before the first search included; the gate is open if that answer is right. The paper
//! trains a critic on the gates. Here the change of the gate labels the step between: opened
//! is good, closed is bad. That is ours.
//!
//! A gate that stays open leaves the step of no consequence. One that stays closed leaves it
//! unknown: the first of two searches that are needed opens no gate either. Where the policy
//! has answered by itself the gate is that answer. One answer is sampled a place, as in the
//! paper, so a gate near even chances is a coin: compare labels over many trajectories.

use futures::FutureExt;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Rollout};
use crate::scale::Reading;
use crate::{Evidence, Fault, StepLabel, Zero};

pub(super) const METHOD: Method = Method {
    name: "sim-rag",
    version: 1,
    paper: "Knowing You Don't Know: Learning When to Continue Search in Multi-round RAG through Self-Practicing",
    summary: "whether a forced answer is right before and after each step",
    constants: Constants::NONE,
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    for rollout in explorer.samples().await? {
        let mut before = explorer.forced_answer(None).await?;
        for step in explorer.path(rollout.leaf) {
            let after = match step == rollout.leaf {
                true => Some(rollout),
                false => explorer.forced_answer(Some(step)).await?,
            };
            let node = explorer.tree().get(step).expect("it is on a path");
            let mut observations = node.step.observations.iter();
            let outside =
                observations.any(|seen| seen.as_fault() == Some(Fault::External));
            if let (Some(before), Some(after)) = (before, after) {
                explorer.judge(step, judged(before, after, outside));
            }
            before = after;
        }
    }
    Ok(())
}

fn judged(before: Rollout, after: Rollout, outside: bool) -> Judged {
    let (reading, what) = match (before.success, after.success) {
        (false, true) => (Reading::of(StepLabel::Good), "begins to suffice"),
        (true, false) => (Reading::of(StepLabel::Bad), "no longer suffices"),
        (true, true) => (Reading::zero(Zero::Neutral), "sufficed before"),
        (false, false) if outside => (Reading::zero(Zero::External), "does not suffice"),
        (false, false) => (Reading::zero(Zero::Unknown), "does not suffice yet"),
    };
    let gates = [before.success, after.success];
    Judged {
        value: json!({ "gate": gates, "f1": [before.value, after.value] }),
        reading,
        reason: format!("what is known after the step {what}"),
        evidence: vec![Evidence::Rollouts {
            sampled: 1,
            succeeded: after.success.into(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    #[test]
    fn a_gate_that_changes_labels_the_step_between() {
        let answer = |success, value| Rollout { leaf: NodeId(0), success, value };
        let (wrong, near, right) =
            (answer(false, 0.0), answer(false, 0.5), answer(true, 1.0));
        for (before, after, outside, label, zero) in [
            (near, right, false, StepLabel::Good, None),
            (right, near, false, StepLabel::Bad, None),
            (right, right, false, StepLabel::Neutral, Some(Zero::Neutral)),
            (wrong, near, false, StepLabel::Neutral, Some(Zero::Unknown)),
            (wrong, wrong, true, StepLabel::Neutral, Some(Zero::External)),
        ] {
            let reading = judged(before, after, outside).reading;
            assert_eq!((reading.label, reading.zero), (Some(label), zero));
        }
        let value = judged(near, right, false).value;
        assert_eq!(value, json!({ "gate": [false, true], "f1": [0.5, 1.0] }));
    }
}
