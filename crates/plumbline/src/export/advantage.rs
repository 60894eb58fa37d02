//! Advantages and rewards: small pure functions, each with the paper it is from.
//!
//! A reward is what a step earned; an advantage is how much better that is than what it is
//! compared with. Slices go in, a vector of the same length comes out. No unit: rewards are
//! whatever the caller measures them in. Where there is nothing to compare with (a group of
//! one) the advantage is 0, whatever the reward.

/// Keeps a division by a spread of zero finite: what GRPO's and SLATE's code adds.
const SPREAD_MIN: f64 = 1e-6;
/// What ProRAG adds to the spread of outcomes.
const PRORAG_SPREAD_MIN: f64 = 1e-4;

/// The outcome on the last of `steps` steps, and nothing before it.
///
/// The sparse reward of "Search-R1: Training LLMs to Reason and Leverage Search Engines with
/// Reinforcement Learning", section 3.4.
pub fn outcome(steps: usize, outcome: f64) -> Vec<f64> {
    let mut rewards = vec![0.0; steps];
    if let Some(last) = rewards.last_mut() {
        *last = outcome;
    }
    rewards
}

/// Each step's process score (0 to 1) plus the outcome (0 or 1) minus 1, so that no step of a
/// wrong ending earns more than 0 and none of a right ending less.
///
/// "Hybrid Reward Normalization for Process-supervised Non-verifiable Agentic Tasks" (PPR),
/// ReNorm: `r_t = r_{p,t} + r_o - 1`.
pub fn renorm(process: &[f64], outcome: f64) -> Vec<f64> {
    process.iter().map(|score| score + outcome - 1.0).collect()
}

/// What is still to come at each step: `G_t = r_t + gamma * G_{t+1}`.
///
/// Sutton and Barto, "Reinforcement Learning: An Introduction", equation 3.9.
pub fn returns(rewards: &[f64], gamma: f64) -> Vec<f64> {
    let mut returns = vec![0.0; rewards.len()];
    let mut after = 0.0;
    for (slot, reward) in returns.iter_mut().zip(rewards).rev() {
        after = reward + gamma * after;
        *slot = after;
    }
    returns
}

/// Each sample's reward against its group: minus the mean, over the standard deviation.
///
/// "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
/// section 4.1.2 (outcome supervision with GRPO). The deviation is the sample's, with n − 1.
pub fn grpo(rewards: &[f64]) -> Vec<f64> {
    let middle = mean(rewards);
    let spread = deviation(rewards, 1.0) + SPREAD_MIN;
    rewards.iter().map(|reward| (reward - middle) / spread).collect()
}

/// Each sample's reward minus the mean of the others'.
///
/// "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback
/// in LLMs", the estimator RLOO.
pub fn rloo(rewards: &[f64]) -> Vec<f64> {
    let n = rewards.len() as f64;
    if rewards.len() < 2 {
        return vec![0.0; rewards.len()];
    }
    let middle = mean(rewards);
    rewards.iter().map(|reward| (reward - middle) * n / (n - 1.0)).collect()
}

/// Each sibling's reward minus the mean over all siblings of one state; `None` where all are
/// equal: such a group is masked.
///
/// "Verifiable Process Rewards for Agentic Reasoning" (VPR): `A = r - mean_K(r)`.
pub fn turn(rewards: &[f64]) -> Option<Vec<f64>> {
    let first = rewards.first()?;
    if rewards.iter().all(|reward| reward == first) {
        return None;
    }
    let middle = mean(rewards);
    Some(rewards.iter().map(|reward| reward - middle).collect())
}

/// Each sibling's reward against all siblings of one state: minus the mean, over the standard
/// deviation (with n).
///
/// "Truncated Step-Level Sampling with Process Rewards for Retrieval-Augmented Reasoning"
/// (SLATE): `A = (r - mean_k) / (std_k + 1e-6)`.
pub fn sibling(rewards: &[f64]) -> Vec<f64> {
    let middle = mean(rewards);
    let spread = deviation(rewards, 0.0) + SPREAD_MIN;
    rewards.iter().map(|reward| (reward - middle) / spread).collect()
}

/// The generalised advantage of each step. `values` holds the value of the state before each
/// step, and one more of the state after the last, 0 where the episode ended there.
///
/// "High-Dimensional Continuous Control Using Generalized Advantage Estimation", equation 16:
/// the sum of `(gamma * lambda)^l * delta_{t+l}` with
/// `delta_t = r_t + gamma * V(s_{t+1}) - V(s_t)`.
///
/// # Panics
///
/// If `values` is not one longer than `rewards`.
pub fn gae(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Vec<f64> {
    assert_eq!(values.len(), rewards.len() + 1, "a value before each step and one after");
    let deltas: Vec<f64> = rewards
        .iter()
        .zip(values.windows(2))
        .map(|(reward, value)| reward + gamma * value[1] - value[0])
        .collect();
    returns(&deltas, gamma * lambda)
}

/// The advantage of a tree's node, from the mean outcome of the leaves below it, below its
/// parent and below the root: what it added locally and what it is better than globally.
///
/// "TreePS-RAG: Tree-based Process Supervision for Reinforcement Learning in Agentic RAG"
/// takes values of nodes from leaves alone; its formula of the advantage was not to be had,
/// and this one, `[V(n) - V(parent)] + [V(n) - V(root)]`, is ours.
pub fn tree(node: f64, parent: f64, root: f64) -> f64 {
    (node - parent) + (node - root)
}

/// Two granularities at once: each sample's outcome against its group, plus `beta` times each
/// step's score against all steps of the group. One list of scores a sample; the same shape
/// comes out.
///
/// "ProRAG: Process-Supervised Reinforcement Learning for Retrieval-Augmented Generation":
/// `A = (R - mean) / (std + 1e-4) + beta * (s - mean_all) / std_all`, with `beta` 0.3 there.
///
/// # Panics
///
/// If there are not as many lists of scores as outcomes.
pub fn dual(outcomes: &[f64], scores: &[Vec<f64>], beta: f64) -> Vec<Vec<f64>> {
    assert_eq!(outcomes.len(), scores.len(), "a list of scores a sample");
    let spread = deviation(outcomes, 1.0) + PRORAG_SPREAD_MIN;
    let middle = mean(outcomes);
    let all: Vec<f64> = scores.iter().flatten().copied().collect();
    let (middle_all, spread_all) = (mean(&all), deviation(&all, 1.0) + SPREAD_MIN);
    let step = |outcome: f64, score: &f64| {
        (outcome - middle) / spread + beta * (score - middle_all) / spread_all
    };
    let sample = |(outcome, scores): (&f64, &Vec<f64>)| {
        scores.iter().map(|score| step(*outcome, score)).collect()
    };
    outcomes.iter().zip(scores).map(sample).collect()
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation with n − `freedom`; 0 where that is not positive.
fn deviation(values: &[f64], freedom: f64) -> f64 {
    let over = values.len() as f64 - freedom;
    if over <= 0.0 {
        return 0.0;
    }
    let middle = mean(values);
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    (squares / over).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (one, two) in found.iter().zip(expected) {
            assert!((one - two).abs() < 1e-4, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn the_outcome_stands_on_the_last_step() {
        near(&outcome(3, 1.0), &[0.0, 0.0, 1.0]);
        near(&outcome(0, 1.0), &[]);
    }

    #[test]
    fn a_right_ending_earns_nothing_below_zero_and_a_wrong_one_nothing_above() {
        near(&renorm(&[0.25, 1.0, 0.0], 1.0), &[0.25, 1.0, 0.0]);
        near(&renorm(&[0.25, 1.0, 0.0], 0.0), &[-0.75, 0.0, -1.0]);
    }

    #[test]
    fn returns_look_ahead() {
        near(&returns(&[1.0, 0.0, 2.0], 1.0), &[3.0, 2.0, 2.0]);
        near(&returns(&[1.0, 0.0, 2.0], 0.5), &[1.5, 1.0, 2.0]);
    }

    #[test]
    fn a_group_of_four_with_one_success() {
        // mean 1/4; deviation with n - 1 is 1/2.
        near(&grpo(&[1.0, 0.0, 0.0, 0.0]), &[1.5, -0.5, -0.5, -0.5]);
        // 1 against a mean of 0; 0 against a mean of 1/3.
        let third = 1.0 / 3.0;
        near(&rloo(&[1.0, 0.0, 0.0, 0.0]), &[1.0, -third, -third, -third]);
        // deviation with n is sqrt(3)/4.
        let root = 3f64.sqrt();
        near(
            &sibling(&[1.0, 0.0, 0.0, 0.0]),
            &[root, -1.0 / root, -1.0 / root, -1.0 / root],
        );
        near(
            &turn(&[1.0, 0.0, 0.0, 0.0]).expect("they differ"),
            &[0.75, -0.25, -0.25, -0.25],
        );
    }

    #[test]
    fn nothing_is_learned_where_there_is_nothing_to_compare() {
        assert_eq!(turn(&[1.0, 1.0]), None);
        assert_eq!(turn(&[]), None);
        for one in [grpo(&[1.0]), rloo(&[1.0]), sibling(&[1.0]), grpo(&[2.0, 2.0])] {
            assert!(one.iter().all(|advantage| *advantage == 0.0), "{one:?}");
        }
    }

    #[test]
    fn generalised_advantages_of_three_steps() {
        let (rewards, values) = ([0.0, 0.0, 1.0], [0.5, 0.6, 0.9, 0.0]);
        // deltas 0.1, 0.3, 0.1
        near(&gae(&rewards, &values, 1.0, 0.0), &[0.1, 0.3, 0.1]);
        near(&gae(&rewards, &values, 1.0, 1.0), &[0.5, 0.4, 0.1]);
        near(&gae(&rewards, &values, 1.0, 0.5), &[0.275, 0.35, 0.1]);
    }

    #[test]
    fn a_node_is_held_against_parent_and_root() {
        assert!((tree(0.75, 0.5, 0.25) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn both_granularities_add_up() {
        let found = dual(&[1.0, 0.0], &[vec![1.0, -1.0], vec![1.0, -1.0]], 0.3);
        // outcomes: ±0.5 over 0.7071 + 1e-4; scores: ±1 over 1.1547, times 0.3.
        let (of, step) = (0.5 / (0.5f64.sqrt() + 1e-4), 0.3 / (4.0f64 / 3.0).sqrt());
        near(&found[0], &[of + step, of - step]);
        near(&found[1], &[-of + step, -of - step]);
    }

    proptest! {
        #[test]
        fn comparisons_within_a_group_add_up_to_nothing(
            rewards in proptest::collection::vec(-3.0f64..3.0, 1..12)
        ) {
            for advantages in [grpo(&rewards), rloo(&rewards), sibling(&rewards)] {
                prop_assert!(advantages.iter().sum::<f64>().abs() < 1e-6);
                prop_assert!(advantages.iter().all(|advantage| advantage.is_finite()));
            }
        }
    }
}
