//! Best of n: the trajectory whose steps score best.
//!
//! The use that most papers of step rewards end with. Aggregates differ: the minimum in "MM-PRM:
//! Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision" and in
//! Reward-SQL's final file, our default; the product in "The Lessons of Developing Process
//! Reward Models in Mathematical Reasoning"; the mean; the last. `n` is the number of
//! trajectories, and the scores are what the checks say, good 1, neutral 0.5, bad 0. Of equals
//! the first is taken. It flatters scores that judge outcomes: the value says on which step the
//! lowest score is, and where it is the last one as a rule, steps are not what is judged.

use futures::FutureExt;
use serde_json::json;

use super::choice::{Scored, best, mark, scored};
use super::{Aggregate, Constants, ExploreError, Explorer, HINDSIGHT, Method};

pub(super) const METHOD: Method = Method {
    name: "best-of-n",
    version: 1,
    paper: "MM-PRM: Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision",
    summary: "the trajectory whose steps score best",
    constants: Constants { aggregate: Some(Aggregate::Min), ..Constants::NONE },
    trajectories: true,
    checks: true,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let scored = scored(explorer).await?;
    if let Some(chosen) = best(&scored) {
        mark(explorer, chosen, among(&scored)).await?;
    }
    Ok(())
}

/// What there was to choose from: the rate of success is that of a choice at random.
pub(super) fn among(scored: &[Scored]) -> serde_json::Value {
    let right = scored.iter().filter(|scored| scored.rollout.success).count();
    json!({ "of": scored.len(), "right_of": right })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;
    use crate::explore::Rollout;

    #[test]
    fn one_right_trajectory_of_two() {
        let of = |leaf, success, score| {
            let rollout = Rollout { leaf: NodeId(leaf), success, value: 0.0 };
            Scored { rollout, score }
        };
        let scored = [of(1, false, 0.0), of(2, true, 0.5)];
        assert_eq!(among(&scored), json!({ "of": 2, "right_of": 1 }));
        assert!(best(&scored).expect("two").rollout.success);
    }
}
