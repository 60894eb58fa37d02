//! PRL: the outcome spread over the steps, less what straying from a reference costs.
//!
//! "PRL: Process Reward Learning Improves LLMs' Reasoning Ability and Broadens the Reasoning
//! Boundary": from the identity `r*(x, a) - (1 / eta) ln(pi* / pi_0) = const`, a step is
//! worth the outcome that may be expected after it less the log-ratio of policy to reference
//! that has come together by then, over eta. The expectation is the outcome of the
//! trajectory, the one sample of it that there is; steps are messages here instead of blocks
//! of 256 tokens. Eta was not to be had; 100 nats a reward is ours.

use futures::FutureExt;
use serde_json::json;

use super::istar::log_ratio;
use super::{Constants, ExploreError, Explorer, Judged, Likelihoods, Method, Number};
use crate::Sight;
use crate::scale::Reading;

pub(super) const METHOD: Method = Method {
    name: "prl",
    version: 1,
    paper: "PRL: Process Reward Learning Improves LLMs' Reasoning Ability and Broadens the Reasoning Boundary",
    summary: "the outcome less the log-ratio to a reference so far",
    constants: Constants { threshold: Some(100.0), ..Constants::NONE },
    trajectories: true,
    checks: false,
    likelihoods: Some(Likelihoods::OfTwo),
    number: Some(Number::Reward("reward")),
    saw: Sight { gold: true, later: true, outcome: true },
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let eta = explorer.settings().threshold();
    for rollout in explorer.samples().await? {
        let outcome = f64::from(u8::from(rollout.success));
        let mut strayed = 0.0;
        for step in explorer.path(rollout.leaf) {
            // The log-ratio of the policy to the reference: the other way round.
            strayed -= log_ratio(explorer, step).await?;
            explorer.judge(step, judged(outcome, strayed, eta));
        }
    }
    Ok(())
}

fn judged(outcome: f64, strayed: f64, eta: f64) -> Judged {
    let reward = outcome - strayed / eta;
    Judged {
        value: json!({ "reward": reward, "strayed": strayed }),
        reading: Reading { label: None, zero: None, repairable: false },
        reason: format!("outcome {outcome} less {strayed:+.2} nats from the reference"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straying_costs() {
        assert_eq!(judged(1.0, 25.0, 100.0).value["reward"], 0.75);
        assert_eq!(judged(0.0, -25.0, 100.0).value["reward"], 0.25);
    }
}
