//! Weighted vote: the answer whose trajectories score most together.
//!
//! "Math-Shepherd: Verify and Reinforce LLMs Step-by-step without Human Annotations", section
//! 3.4: self-consistency with a reward model, answers being grouped and each group having the sum
//! of its trajectories' scores. Answers are one group if they are the same after the
//! normalisation by which answers are compared; trajectories without an answer have no vote. Of
//! the group that wins the best trajectory is the one chosen. The score of a trajectory is the
//! smallest of its steps', as there.

use std::collections::BTreeMap;

use futures::FutureExt;
use serde_json::json;

use super::choice::{Scored, best, mark, scored};
use super::{Aggregate, Constants, ExploreError, Explorer, HINDSIGHT, Method};
use crate::{Action, normalise_answer};

pub(super) const METHOD: Method = Method {
    name: "weighted-vote",
    version: 1,
    paper: "Math-Shepherd: Verify and Reinforce LLMs Step-by-step without Human Annotations",
    summary: "the answer whose trajectories score most together",
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
    let voter = |scored: Scored| {
        let node = explorer.tree().get(scored.rollout.leaf)?;
        match &node.step.proposal.action {
            Action::Answer { text } => Some((normalise_answer(text), scored)),
            Action::Calls { .. } | Action::Malformed { .. } => None,
        }
    };
    let voters: Vec<(String, Scored)> =
        scored.iter().copied().filter_map(voter).collect();
    let Some((answer, weight, votes)) = elect(&voters) else { return Ok(()) };
    let of = votes.len();
    if let Some(chosen) = best(&votes) {
        let more = json!({ "answer": answer, "weight": weight, "votes": of, "of": scored.len() });
        mark(explorer, chosen, more).await?;
    }
    Ok(())
}

/// The answer of the greatest weight, the first of equals, with its weight and voters.
fn elect(voters: &[(String, Scored)]) -> Option<(&str, f64, Vec<Scored>)> {
    let mut groups: BTreeMap<&str, Vec<Scored>> = BTreeMap::new();
    for (answer, scored) in voters {
        groups.entry(answer).or_default().push(*scored);
    }
    let weight =
        |answer: &str| groups[answer].iter().map(|voter| voter.score).sum::<f64>();
    let answers = voters.iter().map(|(answer, _)| answer.as_str());
    let winner =
        answers.reduce(|best, it| if weight(it) > weight(best) { it } else { best })?;
    Some((winner, weight(winner), groups[winner].clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;
    use crate::explore::Rollout;

    #[test]
    fn two_fair_voters_outweigh_a_sure_one_and_three_poor_ones() {
        let voter = |leaf, answer: &str, score| {
            let rollout = Rollout { leaf: NodeId(leaf), success: false, value: 0.0 };
            (answer.to_owned(), Scored { rollout, score })
        };
        let voters = [
            voter(1, "oslo", 0.0),
            voter(2, "rome", 1.0),
            voter(3, "bern", 0.5),
            voter(4, "oslo", 0.25),
            voter(5, "bern", 0.75),
            voter(6, "oslo", 0.25),
        ];
        let (answer, weight, votes) = elect(&voters).expect("there are voters");
        assert_eq!((answer, weight, votes.len()), ("bern", 1.25, 2));
        assert_eq!(best(&votes).map(|best| best.rollout.leaf), Some(NodeId(5)));
        assert!(elect(&[]).is_none());
    }
}
