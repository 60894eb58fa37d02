//! VPR: turn rewards of an oracle.
//!
//! "Verifiable Process Rewards for Agentic Reasoning": at every state 4 candidate actions are
//! sampled and an exact oracle scores each; one of the best goes on, drawn evenly; all are
//! trained on, with `A = r - mean(r)` over the candidates, and a group of equal rewards is
//! masked. Nothing is sampled to the end.
//!
//! The oracle is what the checks say, 1, 0 or −1: exact in the puzzle worlds, whose verifier
//! solves what is left. With checks that err their error enters the reward, and the paper finds
//! training below its start with a weak one. A candidate on which they abstain is masked.

use futures::FutureExt;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, Judged, Method, Number, Place};
use crate::export::advantage;
use crate::scale::Reading;
use crate::{NodeId, Sight, StepLabel, Zero};

const NAME: &str = "vpr";

pub(super) const METHOD: Method = Method {
    name: NAME,
    version: 2,
    paper: "Verifiable Process Rewards for Agentic Reasoning",
    summary: "candidates at each state, scored by an oracle against each other",
    constants: Constants { width: Some(4), depth: Some(16), ..Constants::NONE },
    trajectories: false,
    checks: true,
    likelihoods: None,
    number: Some(Number::Reward("reward")),
    saw: Sight { gold: true, later: false, outcome: false },
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let mut at: Place = None;
    for _ in 0..settings.depth() {
        let mut scored: Vec<(NodeId, StepLabel)> = Vec::new();
        let candidates = explorer.candidates(at, settings.width()).await?;
        for step in &candidates {
            scored.extend(explorer.check(*step).await?.map(|label| (*step, label)));
        }
        let rewards: Vec<f64> =
            scored.iter().map(|(_, label)| f64::from(label.to_number())).collect();
        let advantages = advantage::turn(&rewards);
        for (index, (step, label)) in scored.iter().enumerate() {
            let advantage = advantages.as_ref().map(|advantages| advantages[index]);
            explorer.judge(*step, judged(*label, advantage));
        }
        // Where the oracle is silent, on an answer say, any candidate is as good as the others.
        let best = best(&scored).unwrap_or(candidates);
        if best.is_empty() {
            break;
        }
        let step = best[explorer.draw(&(NAME, explorer.state(at)), best.len())];
        if explorer.is_end(step) {
            break;
        }
        at = Some(step);
    }
    Ok(())
}

/// Those of the highest score; `None` if none has one.
fn best(scored: &[(NodeId, StepLabel)]) -> Option<Vec<NodeId>> {
    let most = scored.iter().map(|(_, label)| *label).max()?;
    let best = scored.iter().filter(|(_, label)| *label == most);
    Some(best.map(|(step, _)| *step).collect())
}

fn judged(label: StepLabel, advantage: Option<f64>) -> Judged {
    let zero = (label == StepLabel::Neutral).then_some(Zero::Neutral);
    let against = match advantage {
        Some(advantage) => format!("{advantage:+.2} against its siblings"),
        None => "like its siblings, which masks them".to_owned(),
    };
    Judged {
        value: json!({ "reward": label.to_number(), "advantage": advantage }),
        reading: Reading { label: Some(label), zero, repairable: false },
        reason: format!("the oracle gives {}, {against}", label.to_number()),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepLabel::{Bad, Good};

    #[test]
    fn one_of_the_best_goes_on_and_a_group_of_equals_is_masked() {
        let scored = [(NodeId(1), Bad), (NodeId(2), Good), (NodeId(3), Good)];
        assert_eq!(best(&scored), Some(vec![NodeId(2), NodeId(3)]));
        assert_eq!(best(&[]), None);
        // 1, -1, -1, -1: the mean is -1/2.
        let advantages = advantage::turn(&[1.0, -1.0, -1.0, -1.0]).expect("they differ");
        assert_eq!(judged(Good, Some(advantages[0])).value["advantage"], 1.5);
        assert!(judged(Good, None).value["advantage"].is_null());
    }
}
