//! PPR: process scores, moved so that no step of a wrong ending earns anything.
//!
//! "Hybrid Reward Normalization for Process-supervised Non-verifiable Agentic Tasks". A step's
//! score, 0 to 1, becomes `score + outcome - 1` with the outcome 0 or 1: see
//! [`renorm`](crate::export::advantage::renorm). There a model scores by principles that it
//! picks; here the checks do, good 1, neutral 0.5, bad 0, and a step on which they abstain has
//! no reward, which is not a reward of 0. The value is a number for a trainer and names no
//! label.

use futures::FutureExt;
use serde_json::json;

use super::aggregate::process;
use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::export::advantage::renorm;
use crate::scale::Reading;

pub(super) const METHOD: Method = Method {
    name: "ppr",
    version: 1,
    paper: "Hybrid Reward Normalization for Process-supervised Non-verifiable Agentic Tasks",
    summary: "what the checks say of each step, normalised with the outcome",
    constants: Constants::NONE,
    trajectories: true,
    checks: true,
    likelihoods: None,
    number: Some(Number::Reward("reward")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    for rollout in explorer.samples().await? {
        let steps = explorer.path(rollout.leaf);
        let scores = process(explorer, &steps).await?;
        for (step, score) in steps.into_iter().zip(scores) {
            if let Some(score) = score {
                explorer.judge(step, judged(score, rollout.success));
            }
        }
    }
    Ok(())
}

fn judged(process: f64, right: bool) -> Judged {
    let outcome = f64::from(u8::from(right));
    let reward = renorm(&[process], outcome)[0];
    Judged {
        value: json!({ "reward": reward, "process": process, "outcome": outcome }),
        reading: Reading::ABSTENTION,
        reason: format!("the checks give it {process}, and the outcome is {outcome}"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_step_of_a_wrong_ending_earns_nothing() {
        let reward = |process, right| judged(process, right).value["reward"].clone();
        assert_eq!(reward(1.0, false), 0.0);
        assert_eq!(reward(0.5, false), -0.5);
        assert_eq!(reward(0.0, false), -1.0);
        assert_eq!(reward(0.5, true), 0.5);
    }
}
