//! OmegaPRM: the first error of wrong completions, by bisection.
//!
//! "Improve Mathematical Reasoning in Language Models by Automated Process Supervision",
//! sections 3.2 and 3.3. A step is worth the share of `k` completions from it that succeed
//! (MC). From a state with MC between 0 and 1, a wrong completion is taken and bisected: where
//! completions from its middle step fail one and all the first error is not after it, else not
//! before it. That takes `log2` of its length in batches of rollouts.
//!
//! Constants: `k` 8, exploration (`c_puct`) 0.125, 100 searches, alpha 0.5, beta 0.9, L 500.
//! The paper measures a completion's length in words; where its tokens are known we take those.

use std::collections::BTreeMap;

use futures::FutureExt;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Place};
use crate::scale::{Rollouts, from_binary};
use crate::{Evidence, NodeId};

pub(super) const METHOD: Method = Method {
    name: "omegaprm",
    version: 1,
    paper: "Improve Mathematical Reasoning in Language Models by Automated Process Supervision",
    summary: "the first error of wrong completions, by bisection",
    constants: Constants {
        rollouts: Some(8),
        rounds: Some(100),
        exploration: Some(0.125),
        ..Constants::NONE
    },
    checks: false,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

const ALPHA: f64 = 0.5;
const BETA: f64 = 0.9;
const LENGTH: f64 = 500.0;

/// A state and a wrong completion from it, which waits to be bisected.
#[derive(Debug, Clone, PartialEq)]
struct Wrong {
    from: Place,
    /// The MC of that state.
    chance: f64,
    /// The completion's steps from there on.
    steps: Vec<NodeId>,
    /// How long those are.
    length: f64,
}

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let mut pool = Vec::new();
    let mut visits: BTreeMap<Place, u32> = BTreeMap::new();
    evaluate(explorer, None, &mut pool).await?;
    for _ in 0..settings.rounds() {
        let Some(next) = select(&pool, &visits, settings.exploration()) else { break };
        let wrong = pool.swap_remove(next);
        *visits.entry(wrong.from).or_default() += 1;
        bisect(explorer, &wrong, &mut pool).await?;
    }
    Ok(())
}

/// Completes a state, judges the step that leads to it, and adds its wrong completions to the
/// pool if some are right.
async fn evaluate(
    explorer: &mut Explorer<'_>,
    at: Place,
    pool: &mut Vec<Wrong>,
) -> Result<Rollouts, ExploreError> {
    let rollouts = explorer.rollouts(at, explorer.settings().rollouts()).await?;
    let succeeded = rollouts.iter().filter(|rollout| rollout.success).count();
    let chance = Rollouts {
        sampled: u32::try_from(rollouts.len()).expect("no more than were asked for"),
        succeeded: u32::try_from(succeeded).expect("no more than there are"),
    };
    if let Some(step) = at {
        explorer.judge(step, judged(chance));
    }
    if (1..rollouts.len()).contains(&succeeded) {
        let share = succeeded as f64 / rollouts.len() as f64;
        for rollout in rollouts.iter().filter(|rollout| !rollout.success) {
            let steps = steps_after(explorer, at, rollout.leaf);
            let length = steps.iter().map(|step| length_of(explorer, *step)).sum();
            pool.push(Wrong { from: at, chance: share, steps, length });
        }
    }
    Ok(chance)
}

/// The steps of a completion from a place. Where another step leads to the same state, the
/// completion may hang there instead.
fn steps_after(explorer: &Explorer<'_>, at: Place, leaf: NodeId) -> Vec<NodeId> {
    let depth = at.map_or(0, |step| explorer.path(step).len());
    explorer.path(leaf).split_off(depth)
}

fn length_of(explorer: &Explorer<'_>, step: NodeId) -> f64 {
    let proposal = &explorer.tree().get(step).expect("it is on a path").step.proposal;
    match &proposal.tokens {
        Some(tokens) => tokens.sampled.len() as f64,
        None => proposal.text.split_whitespace().count() as f64,
    }
}

/// Which of the pool is searched next: one that should have been right, and is short
/// (equations 1 and 2 of section 3.3). The first of equals.
fn select(
    pool: &[Wrong],
    visits: &BTreeMap<Place, u32>,
    exploration: f64,
) -> Option<usize> {
    let all = f64::from(visits.values().sum::<u32>());
    let score = |wrong: &Wrong| {
        let visited = f64::from(visits.get(&wrong.from).copied().unwrap_or(0));
        let quality = ALPHA.powf(1.0 - wrong.chance) * BETA.powf(wrong.length / LENGTH);
        quality + exploration * all.sqrt() / (1.0 + visited)
    };
    let scores: Vec<f64> = pool.iter().map(score).collect();
    (0..pool.len()).reduce(|best, it| if scores[it] > scores[best] { it } else { best })
}

/// Finds the first step of a wrong completion after which no completion succeeds.
async fn bisect(
    explorer: &mut Explorer<'_>,
    wrong: &Wrong,
    pool: &mut Vec<Wrong>,
) -> Result<(), ExploreError> {
    // Completions succeed before the first step and not after the last one, which is the end.
    let (mut hopeful, mut hopeless) = (0, wrong.steps.len());
    while hopeless - hopeful > 1 {
        let middle = (hopeful + hopeless) / 2;
        let chance = evaluate(explorer, Some(wrong.steps[middle - 1]), pool).await?;
        *if chance.succeeded > 0 { &mut hopeful } else { &mut hopeless } = middle;
    }
    if hopeless == wrong.steps.len() {
        let end = wrong.steps[hopeless - 1];
        explorer.judge(end, judged(Rollouts { sampled: 1, succeeded: 0 }));
    }
    Ok(())
}

fn judged(chance: Rollouts) -> Judged {
    let Rollouts { sampled, succeeded } = chance;
    let share = f64::from(succeeded) / f64::from(sampled.max(1));
    let hard = (sampled > 0).then_some(succeeded > 0);
    Judged {
        value: json!({ "mc": hard.map(|_| share), "rollouts": sampled }),
        reading: from_binary(hard),
        reason: format!("{succeeded} of {sampled} completions from here are right"),
        evidence: vec![Evidence::Rollouts { sampled, succeeded }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(from: u32, chance: f64, length: f64) -> Wrong {
        Wrong { from: Some(NodeId(from)), chance, steps: vec![], length }
    }

    #[test]
    fn a_short_completion_of_a_promising_state_comes_first() {
        // Q: 0.5^0.25 * 0.9^0.2 = 0.8234; 0.5^0.75 * 0.9^0.2 = 0.5822; 0.5^0.25 * 0.9^2 = 0.6811.
        let pool = [wrong(1, 0.25, 100.0), wrong(2, 0.75, 100.0), wrong(2, 0.75, 1000.0)];
        assert_eq!(select(&pool, &BTreeMap::new(), 0.125), Some(1));
        // After nine visits there: U is 0.125 * 3 / 10 = 0.0375 for it, 0.375 for the other.
        let visits = BTreeMap::from([(Some(NodeId(2)), 9)]);
        assert_eq!(select(&pool, &visits, 0.125), Some(0));
        assert_eq!(select(&[], &visits, 0.125), None);
    }
}
