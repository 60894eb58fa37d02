//! What the rewards of a task's trajectories are held against, and what that makes of each
//! step. A trajectory with nothing to hold against is refused.

use std::collections::BTreeMap;

use super::rollout::Rollout;
use super::{Advantages, Refusal, Rows, advantage};
use crate::NodeId;

/// A state, by the step that led to it; `None` is the question.
type State = Option<NodeId>;

/// Trajectories that have to go on from a state before their mean says what it is worth: with
/// one alone, that is what became of it and no expectation.
const CONTINUATIONS_MIN: usize = 2;
/// What a reward loses of its worth a step: nothing, as episodes are short and end.
const GAMMA: f64 = 1.0;
/// How far generalised advantages look ahead: "High-Dimensional Continuous Control Using
/// Generalized Advantage Estimation" finds 0.92 to 0.98 best.
const LAMBDA: f64 = 0.95;
/// The weight of steps against outcomes in [`advantage::dual`]: what ProRAG has.
const BETA: f64 = 0.3;

/// Gives each step its advantage. The trajectories for which there is none are left out, and
/// counted in `rows`.
pub(super) fn compare<'r>(
    mut rollouts: Vec<Rollout<'r>>,
    how: Advantages,
    rows: &mut Rows,
) -> Vec<Rollout<'r>> {
    match how {
        Advantages::Grpo => of_trajectories(&mut rollouts, advantage::grpo),
        Advantages::Rloo => of_trajectories(&mut rollouts, advantage::rloo),
        Advantages::Turn => of_siblings(&mut rollouts, |rewards| {
            advantage::turn(rewards).unwrap_or_else(|| vec![0.0; rewards.len()])
        }),
        Advantages::Sibling => of_siblings(&mut rollouts, advantage::sibling),
        Advantages::Gae => rollouts = generalised(rollouts, rows),
        Advantages::Tree => {
            rollouts = graded(rollouts, rows);
            of_nodes(&mut rollouts);
        }
        Advantages::Dual => {
            rollouts = graded(rollouts, rows);
            of_both(&mut rollouts);
        }
    }
    rollouts
}

/// Compares whole trajectories, by what they earned.
fn of_trajectories(rollouts: &mut [Rollout<'_>], compare: impl Fn(&[f64]) -> Vec<f64>) {
    let totals: Vec<f64> = rollouts.iter().map(Rollout::total).collect();
    for (rollout, advantage) in rollouts.iter_mut().zip(compare(&totals)) {
        rollout.advantages.fill(advantage);
    }
}

/// Compares steps with those taken from the same state; each step counts once, however many
/// trajectories go on from it.
fn of_siblings(rollouts: &mut [Rollout<'_>], compare: impl Fn(&[f64]) -> Vec<f64>) {
    let mut states: BTreeMap<State, BTreeMap<NodeId, f64>> = BTreeMap::new();
    for rollout in rollouts.iter() {
        for ((id, node), reward) in rollout.sample.path.iter().zip(&rollout.rewards) {
            states.entry(node.parent).or_default().insert(*id, *reward);
        }
    }
    let mut of: BTreeMap<NodeId, f64> = BTreeMap::new();
    for siblings in states.values() {
        let rewards: Vec<f64> = siblings.values().copied().collect();
        of.extend(siblings.keys().copied().zip(compare(&rewards)));
    }
    for rollout in rollouts {
        for ((id, _), slot) in rollout.sample.path.iter().zip(&mut rollout.advantages) {
            *slot = of[id];
        }
    }
}

/// Holds each step against the value of the state it was taken from: the mean of what the
/// trajectories through that state earned from there on.
fn generalised<'r>(rollouts: Vec<Rollout<'r>>, rows: &mut Rows) -> Vec<Rollout<'r>> {
    let mut to_come: BTreeMap<State, Vec<f64>> = BTreeMap::new();
    for rollout in &rollouts {
        let returns = advantage::returns(&rollout.rewards, GAMMA);
        for ((_, node), earned) in rollout.sample.path.iter().zip(returns) {
            to_come.entry(node.parent).or_default().push(earned);
        }
    }
    let value = |state: State| {
        let earned = &to_come[&state];
        (earned.len() >= CONTINUATIONS_MIN).then(|| mean(earned))
    };
    let valued = |mut rollout: Rollout<'r>| {
        let before = rollout.sample.path.iter().map(|(_, node)| value(node.parent));
        // Nothing is to come after the last step.
        let values: Option<Vec<f64>> = before.chain([Some(0.0)]).collect();
        rollout.advantages = advantage::gae(&rollout.rewards, &values?, GAMMA, LAMBDA);
        Some(rollout)
    };
    let there_were = rollouts.len();
    let kept: Vec<Rollout<'r>> = rollouts.into_iter().filter_map(valued).collect();
    rows.refuse_many(Refusal::NoValue, there_were - kept.len());
    kept
}

/// The trajectories that were graded, if there are at least two to compare.
fn graded<'r>(rollouts: Vec<Rollout<'r>>, rows: &mut Rows) -> Vec<Rollout<'r>> {
    let (graded, others): (Vec<_>, Vec<_>) =
        rollouts.into_iter().partition(|rollout| rollout.outcome.is_some());
    rows.refuse_many(Refusal::NoOutcome, others.len());
    if graded.len() < 2 {
        rows.refuse_many(Refusal::Alone, graded.len());
        return vec![];
    }
    graded
}

/// Holds each step against the state it was taken from and against the question: by the mean
/// outcome of the trajectories through each.
fn of_nodes(rollouts: &mut [Rollout<'_>]) {
    let mut outcomes: BTreeMap<State, Vec<f64>> = BTreeMap::new();
    for rollout in rollouts.iter() {
        let outcome = rollout.outcome.expect("it was graded");
        let states = rollout.sample.path.iter().map(|(id, _)| Some(*id)).chain([None]);
        states.for_each(|state| outcomes.entry(state).or_default().push(outcome));
    }
    let value = |state: State| mean(&outcomes[&state]);
    for rollout in rollouts {
        for ((id, node), slot) in rollout.sample.path.iter().zip(&mut rollout.advantages)
        {
            *slot = advantage::tree(value(Some(*id)), value(node.parent), value(None));
        }
    }
}

/// Compares outcomes with outcomes and steps with steps.
fn of_both(rollouts: &mut [Rollout<'_>]) {
    let outcomes: Vec<f64> =
        rollouts.iter().map(|rollout| rollout.outcome.expect("it was graded")).collect();
    let scores: Vec<Vec<f64>> =
        rollouts.iter().map(|rollout| rollout.scores.clone()).collect();
    let advantages = advantage::dual(&outcomes, &scores, BETA);
    for (rollout, advantages) in rollouts.iter_mut().zip(advantages) {
        rollout.advantages = advantages;
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
