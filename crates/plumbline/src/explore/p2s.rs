//! P2S: how much more likely each step makes the right answer.
//!
//! "P2S: Probabilistic Process Supervision for General-Domain Reasoning Question Answering":
//! a step's path faithfulness is derived from the probability of the rest of a gold chain after
//! the model's prefix. Its normalisation was not to be had; ours is the mean log-probability of
//! a token, and a step's reward the difference between two places that follow each other.
//!
//! The rest of a gold chain would hold what other tools' answers had said; here it is the
//! chain's end alone, the message that gives the gold answer.

use futures::FutureExt;
use serde_json::json;

use super::explorer::Scorer;
use super::{
    Constants, ExploreError, Explorer, Judged, Likelihoods, Method, Number, Place,
};
use crate::scale::Reading;
use crate::{Action, Sight};

pub(super) const METHOD: Method = Method {
    name: "p2s",
    version: 1,
    paper: "P2S: Probabilistic Process Supervision for General-Domain Reasoning Question Answering",
    summary: "how much more likely each step makes the gold answer",
    constants: Constants::NONE,
    trajectories: true,
    checks: false,
    likelihoods: Some(Likelihoods::OfOne),
    number: Some(Number::Reward("faithfulness")),
    saw: Sight::GOLD,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let answer = explorer
        .gold()
        .answers()
        .first()
        .map(|answer| Action::Answer { text: (*answer).to_owned() });
    let protocol = explorer.environment().protocol();
    let Some(gold) = answer.and_then(|answer| protocol.render(&answer)) else {
        return Ok(());
    };
    for trajectory in explorer.trajectories().await? {
        let mut before = mean(&explorer.score(Scorer::Policy, None, &gold).await?);
        for step in trajectory {
            if explorer.is_end(step) {
                break;
            }
            let scores = explorer.score(Scorer::Policy, Place::Some(step), &gold).await?;
            let after = mean(&scores);
            explorer.judge(step, judged(before, after));
            before = after;
        }
    }
    Ok(())
}

fn mean(logprobs: &[f32]) -> f64 {
    let sum: f64 = logprobs.iter().copied().map(f64::from).sum();
    sum / logprobs.len().max(1) as f64
}

fn judged(before: f64, after: f64) -> Judged {
    let gain = after - before;
    Judged {
        value: json!({ "faithfulness": gain, "logprob": after }),
        reading: Reading { label: None, zero: None, repairable: false },
        reason: format!("{gain:+.3} nats a token of the gold answer"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_worth_what_it_adds_a_token() {
        let (before, after) = (mean(&[-4.0, -2.0]), mean(&[-1.0, -1.0]));
        assert_eq!(judged(before, after).value["faithfulness"], 2.0);
        assert_eq!(
            judged(before, after).reading.label,
            None,
            "no scale says what is good"
        );
    }
}
