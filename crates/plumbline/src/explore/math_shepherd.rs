//! Math-Shepherd: every step by the completions that go on from it.
//!
//! "Math-Shepherd: Verify and Reinforce LLMs Step-by-step without Human Annotations", section
//! 3.3. A step's soft score is the share of its completions that come to a right answer
//! (equation 4), its hard one whether any does (equation 3). The soft score is an unbiased
//! estimate of the chance that the policy succeeds from there; the hard one calls a step good
//! that succeeds with chance p with chance `1 - (1 - p)^k`, which is nearly always.

use futures::FutureExt;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::Evidence;
use crate::scale::{Rollouts, from_binary};

pub(super) const METHOD: Method = Method {
    name: "math-shepherd",
    version: 1,
    paper: "Math-Shepherd: Verify and Reinforce LLMs Step-by-step without Human Annotations",
    summary: "each step by the share of completions from it that succeed",
    constants: Constants { rollouts: Some(8), ..Constants::NONE },
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: Some(Number::Chance("soft")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let rollouts = explorer.settings().rollouts();
    for trajectory in explorer.trajectories().await? {
        let places: Vec<_> = trajectory.iter().copied().map(Some).collect();
        let chances = explorer.chances(&places, rollouts).await?;
        for (step, chance) in trajectory.into_iter().zip(chances) {
            explorer.judge(step, judged(chance));
        }
    }
    Ok(())
}

/// What completions say of a step: good if any succeeds, and the share of those that do.
pub(super) fn judged(chance: Rollouts) -> Judged {
    let Rollouts { sampled, succeeded } = chance;
    let any = (sampled > 0).then_some(succeeded > 0);
    Judged {
        value: json!({ "hard": any, "soft": any.map(|_| chance.share()) }),
        reading: from_binary(any),
        reason: format!("{succeeded} of {sampled} completions from here are right"),
        evidence: vec![Evidence::Rollouts { sampled, succeeded }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_right_completions_of_eight() {
        let judged = judged(Rollouts { sampled: 8, succeeded: 2 });
        assert_eq!(judged.value, json!({ "hard": true, "soft": 0.25 }));
        assert_eq!(judged.reading, from_binary(Some(true)));
    }
}
