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

use super::{
    Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number, Place,
};
use crate::scale::{Rollouts, from_binary};
use crate::{Evidence, NodeId};

pub(super) const METHOD: Method = Method {
    name: "omegaprm",
    version: 1,
    paper: "Improve Mathematical Reasoning in Language Models by Automated Process Supervision",
    summary: "the first error of wrong completions, by bisection",
    constants: Constants {
        rollouts: Some(8),
        searches: Some(100),
        exploration: Some(0.125),
        ..Constants::NONE
    },
    trajectories: false,
    checks: false,
    likelihoods: None,
    number: Some(Number::Chance("mc")),
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
    let (chances, done) = search(explorer, LENGTH).await;
    for (step, chance) in chances {
        explorer.judge(step, judged(chance));
    }
    done
}

/// What the search found out about steps, in the order of their ids, and how it ended: what it
/// found before its budget was used up stands.
pub(super) async fn search(
    explorer: &mut Explorer<'_>,
    length: f64,
) -> (BTreeMap<NodeId, Rollouts>, Result<(), ExploreError>) {
    let mut search = Search { length, pool: vec![], chances: BTreeMap::new() };
    let done = search.run(explorer).await;
    (search.chances, done)
}

struct Search {
    /// The length by which a completion loses a tenth of its quality.
    length: f64,
    pool: Vec<Wrong>,
    chances: BTreeMap<NodeId, Rollouts>,
}

impl Search {
    async fn run(&mut self, explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
        let settings = explorer.settings();
        let mut visits: BTreeMap<Place, u32> = BTreeMap::new();
        self.evaluate(explorer, None).await?;
        for _ in 0..settings.searches() {
            let exploration = settings.exploration();
            let next = select(&self.pool, &visits, exploration, self.length);
            let Some(next) = next else { break };
            let wrong = self.pool.swap_remove(next);
            *visits.entry(wrong.from).or_default() += 1;
            self.bisect(explorer, &wrong).await?;
        }
        Ok(())
    }

    /// Completes a state, and adds its wrong completions to the pool if some are right.
    async fn evaluate(
        &mut self,
        explorer: &mut Explorer<'_>,
        at: Place,
    ) -> Result<Rollouts, ExploreError> {
        let rollouts = explorer.rollouts(at, explorer.settings().rollouts()).await?;
        let chance = Rollouts::of(rollouts.iter().map(|rollout| rollout.success));
        let known = at.and_then(|step| self.chances.insert(step, chance));
        if known.is_none() && (1..chance.sampled).contains(&chance.succeeded) {
            for rollout in rollouts.iter().filter(|rollout| !rollout.success) {
                let steps = steps_after(explorer, at, rollout.leaf);
                let length = steps.iter().map(|step| length_of(explorer, *step)).sum();
                self.pool.push(Wrong { from: at, chance: chance.share(), steps, length });
            }
        }
        Ok(chance)
    }

    /// Finds the first step of a wrong completion after which no completion succeeds.
    async fn bisect(
        &mut self,
        explorer: &mut Explorer<'_>,
        wrong: &Wrong,
    ) -> Result<(), ExploreError> {
        // Completions succeed before the first step and not after the last, which is the end.
        let (mut hopeful, mut hopeless) = (0, wrong.steps.len());
        while hopeless - hopeful > 1 {
            let middle = (hopeful + hopeless) / 2;
            let chance = self.evaluate(explorer, Some(wrong.steps[middle - 1])).await?;
            if chance.sampled == 0 {
                return Ok(());
            }
            *if chance.succeeded > 0 { &mut hopeful } else { &mut hopeless } = middle;
        }
        if hopeless == wrong.steps.len() {
            let end = wrong.steps[hopeless - 1];
            self.chances.insert(end, Rollouts { sampled: 1, succeeded: 0 });
        }
        Ok(())
    }
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
    length: f64,
) -> Option<usize> {
    let all = f64::from(visits.values().sum::<u32>());
    let score = |wrong: &Wrong| {
        let visited = f64::from(visits.get(&wrong.from).copied().unwrap_or(0));
        let quality = ALPHA.powf(1.0 - wrong.chance) * BETA.powf(wrong.length / length);
        quality + exploration * all.sqrt() / (1.0 + visited)
    };
    let scores: Vec<f64> = pool.iter().map(score).collect();
    (0..pool.len()).reduce(|best, it| if scores[it] > scores[best] { it } else { best })
}

fn judged(chance: Rollouts) -> Judged {
    let Rollouts { sampled, succeeded } = chance;
    let hard = (sampled > 0).then_some(succeeded > 0);
    Judged {
        value: json!({ "mc": hard.map(|_| chance.share()), "rollouts": sampled }),
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
        assert_eq!(select(&pool, &BTreeMap::new(), 0.125, LENGTH), Some(1));
        // After nine visits there: U is 0.125 * 3 / 10 = 0.0375 for it, 0.375 for the other.
        let visits = BTreeMap::from([(Some(NodeId(2)), 9)]);
        assert_eq!(select(&pool, &visits, 0.125, LENGTH), Some(0));
        assert_eq!(select(&[], &visits, 0.125, LENGTH), None);
    }
}
