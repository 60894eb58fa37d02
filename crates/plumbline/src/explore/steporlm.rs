//! StepORLM: whole trajectories against each other, by outcome and by process.
//!
//! "StepORLM: A Self-Evolving Framework With Generative Process Supervision For Operations
//! Research Language Models". Several solutions of one problem are sampled; the solver says
//! which are right, a critic that sees the whole says how good the way there was, and pairs of
//! them train the policy, weighted by how far they are apart in the second. Who is better the
//! outcome alone decides.
//!
//! There the critic is a trained model and the formula of the weight was not to be had. Ours:
//! the process score is the mean of what the checks say of the steps, and the weight is
//! `clip(|difference|, 0.1, 1)`. A trajectory on which they abstain throughout is in no pair.
//! The pairs stand in the value of each trajectory's last step, which is labelled by its
//! outcome; all of it is hindsight, and says so. `plumb export --format pairs` writes them.

use futures::FutureExt;
use serde_json::{Value, json};

use super::aggregate::process_mean;
use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::NodeId;
use crate::scale::from_binary;

pub(super) const METHOD: Method = Method {
    name: "steporlm",
    version: 1,
    paper: "StepORLM: A Self-Evolving Framework With Generative Process Supervision For Operations Research Language Models",
    summary: "pairs of trajectories, weighted by how far their processes differ",
    constants: Constants::NONE,
    trajectories: true,
    checks: true,
    likelihoods: None,
    number: Some(Number::Chance("process")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

const WEIGHT_MIN: f64 = 0.1;
const WEIGHT_MAX: f64 = 1.0;

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let mut trajectories = Vec::new();
    for rollout in explorer.samples().await? {
        let process = process_mean(explorer, &explorer.path(rollout.leaf)).await?;
        trajectories.push(Trajectory {
            leaf: rollout.leaf,
            right: rollout.success,
            process,
        });
    }
    for trajectory in &trajectories {
        explorer.judge(trajectory.leaf, trajectory.judged(&trajectories));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
struct Trajectory {
    leaf: NodeId,
    right: bool,
    process: Option<f64>,
}

impl Trajectory {
    /// The others of which the outcome differs, each with the weight of the pair.
    fn pairs(&self, all: &[Trajectory]) -> Vec<(NodeId, f64)> {
        let pair = |other: &Trajectory| {
            let apart = (self.process? - other.process?).abs();
            let weight = apart.clamp(WEIGHT_MIN, WEIGHT_MAX);
            (self.right != other.right).then_some((other.leaf, weight))
        };
        all.iter().filter_map(pair).collect()
    }

    fn judged(&self, all: &[Trajectory]) -> Judged {
        let pairs = self.pairs(all);
        let told: Vec<Value> = pairs
            .iter()
            .map(|(leaf, weight)| json!({ "leaf": leaf, "weight": weight }))
            .collect();
        let (better, worse) = if self.right { (told, vec![]) } else { (vec![], told) };
        let (is, than) =
            if self.right { ("right", "better") } else { ("wrong", "worse") };
        Judged {
            value: json!({
                "right": self.right,
                "process": self.process,
                "better_than": better,
                "worse_than": worse,
            }),
            reading: from_binary(Some(self.right)),
            reason: format!("the trajectory is {is}, {than} than {} others", pairs.len()),
            evidence: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_decides_and_the_process_weighs() {
        let of = |leaf, right, process| Trajectory { leaf: NodeId(leaf), right, process };
        let all = [
            of(1, true, Some(0.75)),
            of(2, false, Some(0.25)),
            of(3, false, Some(0.75)),
            of(4, false, None),
            of(5, true, Some(1.0)),
        ];
        // |0.75 - 0.25|; no difference is the least weight; the fourth cannot be weighed.
        assert_eq!(all[0].pairs(&all), [(NodeId(2), 0.5), (NodeId(3), 0.1)]);
        assert_eq!(all[1].pairs(&all), [(NodeId(1), 0.5), (NodeId(5), 0.75)]);
        assert_eq!(all[3].pairs(&all), []);
        let value = all[1].judged(&all).value;
        assert_eq!(value["worse_than"][0], json!({ "leaf": 1, "weight": 0.5 }));
        assert_eq!(value["better_than"], json!([]));
    }
}
