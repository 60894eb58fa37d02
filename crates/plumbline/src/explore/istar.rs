//! iStar: implicit step rewards, from the likelihoods of two policies.
//!
//! "Online Process Reward Learning for Agentic Reinforcement Learning" (OPRL, later iStar):
//! `r = beta * sum over the step's tokens of [log pi_prm - log pi_old]`, beta 0.05, where
//! pi_prm is trained on which trajectories succeeded and pi_old is the policy that took the
//! step. The reference is pi_prm here; training it is the trainer's, who also adds
//! `rloo` of the episodes to `rloo` over all steps of the group.

use futures::FutureExt;
use serde_json::json;

use super::explorer::Scorer;
use super::{Constants, ExploreError, Explorer, Judged, Likelihoods, Method, Number};
use crate::export::advantage;
use crate::scale::Reading;
use crate::{NodeId, Sight};

pub(super) const METHOD: Method = Method {
    name: "istar",
    version: 1,
    paper: "Online Process Reward Learning for Agentic Reinforcement Learning",
    summary: "log-ratio of a reward policy to the policy, summed over each step",
    constants: Constants { threshold: Some(0.05), ..Constants::NONE },
    trajectories: true,
    checks: false,
    likelihoods: Some(Likelihoods::OfTwo),
    number: Some(Number::Reward("reward")),
    saw: Sight::ONLINE,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let beta = explorer.settings().threshold();
    let mut rewards: Vec<(NodeId, f64)> = Vec::new();
    for step in explorer.trajectories().await?.concat() {
        rewards.push((step, beta * log_ratio(explorer, step).await?));
    }
    let group: Vec<f64> = rewards.iter().map(|(_, reward)| *reward).collect();
    for ((step, reward), advantage) in rewards.into_iter().zip(advantage::rloo(&group)) {
        explorer.judge(step, judged(reward, advantage));
    }
    Ok(())
}

/// How much likelier a step's message is by the reference than by the policy: the sum over its
/// tokens, in nats. Each divides the message into tokens its own way.
pub(super) async fn log_ratio(
    explorer: &Explorer<'_>,
    step: NodeId,
) -> Result<f64, ExploreError> {
    let node = explorer.tree().get(step).expect("it is on a trajectory");
    let (parent, text) = (node.parent, node.step.proposal.text.clone());
    if text.is_empty() {
        return Ok(0.0);
    }
    let one = explorer.score(Scorer::Reference, parent, &text).await?;
    let two = explorer.score(Scorer::Policy, parent, &text).await?;
    let sum = |scores: Vec<f32>| scores.into_iter().map(f64::from).sum::<f64>();
    Ok(sum(one) - sum(two))
}

fn judged(reward: f64, advantage: f64) -> Judged {
    Judged {
        value: json!({ "reward": reward, "advantage": advantage }),
        reading: Reading { label: None, zero: None, repairable: false },
        reason: format!("an implicit reward of {reward:+.4}"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_held_against_those_of_all_steps_of_the_group() {
        // 0.05 * (-3 - -5) = 0.1 against a mean of 0 over the others.
        let rewards = [0.05 * 2.0, 0.0, 0.0];
        let advantages = advantage::rloo(&rewards);
        assert!((advantages[0] - 0.1).abs() < 1e-12);
        assert!((advantages[1] + 0.05).abs() < 1e-12);
        assert_eq!(judged(0.1, advantages[0]).value["reward"], 0.1);
    }
}
