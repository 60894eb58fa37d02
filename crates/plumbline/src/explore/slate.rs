//! SLATE: several next steps from one prefix, judged before the trajectory goes on.
//!
//! "Truncated Step-Level Sampling with Process Rewards for Retrieval-Augmented Reasoning": at
//! each of 4 steps 5 candidates are sampled from the shared prefix and judged, each +1, 0 or
//! −1; an answer also earns 0.1 of the share of steps that it spares. The advantage is
//! `(r - mean) / (std + 1e-6)` over the candidates, all of which are trained on, and the one
//! that goes on is drawn with chances of `softmax(A / 0.7)`. Nothing is sampled to the end.
//!
//! The paper's three judges, of thought, query and answer, are one here: the checks. A
//! candidate on which they abstain is left out of the group instead of counting as 0, which is
//! what the published code makes of it.

use futures::FutureExt;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, Judged, Method, Number, Place};
use crate::export::advantage;
use crate::scale::Reading;
use crate::{Action, NodeId, Sight, StepLabel, Zero};

const NAME: &str = "slate";

pub(super) const METHOD: Method = Method {
    name: NAME,
    version: 2,
    paper: "Truncated Step-Level Sampling with Process Rewards for Retrieval-Augmented Reasoning",
    summary: "next steps from one prefix, each judged against the others",
    constants: Constants { width: Some(5), depth: Some(4), ..Constants::NONE },
    trajectories: false,
    checks: true,
    likelihoods: None,
    number: Some(Number::Reward("reward")),
    saw: Sight { gold: true, later: false, outcome: false },
    run: |explorer| explore(explorer).boxed(),
};

/// What an answer earns for all the steps it might have taken and did not.
const THRIFT: f64 = 0.1;
/// How even the chances of going on are.
const TEMPERATURE: f64 = 0.7;

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let mut at: Place = None;
    for taken in 0..settings.depth() {
        let steps = explorer.candidates(at, settings.width()).await?;
        let mut rewarded: Vec<(NodeId, StepLabel, f64)> = Vec::new();
        for step in steps {
            if let Some(label) = explorer.check(step).await? {
                let node = explorer.tree().get(step).expect("it was just grown");
                let is_answer =
                    matches!(node.step.proposal.action, Action::Answer { .. });
                let spared = (settings.depth() - taken - 1) as f64;
                let thrift = THRIFT * spared / settings.depth() as f64;
                let thrift = if is_answer { thrift } else { 0.0 };
                rewarded.push((step, label, f64::from(label.to_number()) + thrift));
            }
        }
        let rewards: Vec<f64> = rewarded.iter().map(|(.., reward)| *reward).collect();
        let advantages = advantage::sibling(&rewards);
        for ((step, label, reward), advantage) in rewarded.iter().zip(&advantages) {
            explorer.judge(*step, judged(*label, *reward, *advantage));
        }
        let Some(chosen) =
            choose(&advantages, explorer.draw(&(NAME, explorer.state(at)), DRAWS))
        else {
            break;
        };
        let (step, ..) = rewarded[chosen];
        if explorer.is_end(step) {
            break;
        }
        at = Some(step);
    }
    Ok(())
}

/// Parts into which chance is divided.
const DRAWS: usize = 1 << 20;

/// Which candidate goes on: the one in whose share of `DRAWS` the number drawn falls, shares
/// being `softmax(A / temperature)`.
fn choose(advantages: &[f64], drawn: usize) -> Option<usize> {
    let weights: Vec<f64> = advantages.iter().map(|a| (a / TEMPERATURE).exp()).collect();
    let all: f64 = weights.iter().sum();
    let mut left = all * drawn as f64 / DRAWS as f64;
    let within = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    within.or(advantages.len().checked_sub(1))
}

fn judged(label: StepLabel, reward: f64, advantage: f64) -> Judged {
    let zero = (label == StepLabel::Neutral).then_some(Zero::Neutral);
    Judged {
        value: json!({ "reward": reward, "advantage": advantage }),
        reading: Reading { label: Some(label), zero, repairable: false },
        reason: format!("earns {reward:+.2}, {advantage:+.3} against its siblings"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_candidate_goes_on_more_often() {
        // exp(1/0.7) = 4.1727, exp(-1/0.7) = 0.2397: the first has 94.6 % of the chances.
        let advantages = [1.0, -1.0];
        assert_eq!(choose(&advantages, 0), Some(0));
        assert_eq!(choose(&advantages, DRAWS * 94 / 100), Some(0));
        assert_eq!(choose(&advantages, DRAWS * 95 / 100), Some(1));
        assert_eq!(choose(&advantages, DRAWS), Some(1));
        assert_eq!(choose(&[], 7), None);
    }
}
