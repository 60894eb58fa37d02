//! AlphaMath: values from a tree search, for a value model.
//!
//! "AlphaMath Almost Zero: process Supervision without process": 5 samples, 40 simulations, 8
//! steps, selection by PUCT with c 1.25 and as prior the exponential of a step's mean token
//! log-probability; an end is worth 1 if it is right and −1 if not, and the mean value of a step is
//! what the value head is trained on, on correct and wrong paths alike.
//!
//! This is the first round, before there is a value head: a new step is valued by going on from
//! it to the end. Where the policy records no log-probabilities the priors are equal.

use futures::FutureExt;
use serde_json::json;

use super::search_tree::{SearchTree, Visited, puct};
use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::NodeId;
use crate::scale::from_binary;

pub(super) const METHOD: Method = Method {
    name: "alphamath",
    version: 2,
    paper: "AlphaMath Almost Zero: process Supervision without process",
    summary: "the mean value of each step in a tree search",
    constants: Constants {
        width: Some(5),
        depth: Some(8),
        searches: Some(40),
        exploration: Some(1.25),
        ..Constants::NONE
    },
    trajectories: false,
    checks: false,
    likelihoods: None,
    number: Some(Number::Reward("q")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let mut tree = SearchTree::new();
    let done = run(explorer, &mut tree).await;
    for (step, visited) in tree.steps().filter(|(_, visited)| visited.visits > 0) {
        explorer.judge(step, judged(visited));
    }
    done
}

async fn run(
    explorer: &mut Explorer<'_>,
    tree: &mut SearchTree,
) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    for _ in 0..settings.searches() {
        let mut path =
            tree.descend(|parent, child| puct(settings.exploration(), parent, child));
        let at = *path.last().expect("a way begins at the question");
        let is_deep = path.len() > settings.depth();
        if !is_deep && !at.is_some_and(|step| explorer.is_end(step)) {
            let steps = explorer.candidates(at, settings.width()).await?;
            let of = |step: NodeId| (step, prior(explorer, step, steps.len()));
            let children: Vec<(NodeId, f64)> = steps.iter().copied().map(of).collect();
            let likeliest =
                children.iter().reduce(|best, it| if it.1 > best.1 { it } else { best });
            path.extend(likeliest.map(|(step, _)| Some(*step)));
            tree.expand(at, children);
        }
        let Some(Some(step)) = path.last() else { break };
        if let Some(end) = explorer.finish(*step).await? {
            tree.back_up(&path, if end.success { 1.0 } else { -1.0 }, 1.0);
        }
    }
    Ok(())
}

/// How likely the policy was to take a step, by its tokens: their geometric mean.
fn prior(explorer: &Explorer<'_>, step: NodeId, siblings: usize) -> f64 {
    let node = explorer.tree().get(step).expect("it was just grown");
    let tokens = node.step.proposal.tokens.as_ref();
    let logprobs = tokens.map_or(&[][..], |tokens| tokens.logprobs.as_slice());
    if logprobs.is_empty() {
        return 1.0 / siblings as f64;
    }
    let sum: f64 = logprobs.iter().copied().map(f64::from).sum();
    (sum / logprobs.len() as f64).exp()
}

fn judged(visited: &Visited) -> Judged {
    let mean = visited.mean();
    let sign = (mean != 0.0).then_some(mean > 0.0);
    Judged {
        value: json!({ "q": mean, "visits": visited.visits, "prior": visited.prior }),
        reading: from_binary(sign),
        reason: format!("worth {mean:+.3} over {} simulations", visited.visits),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepLabel::{Bad, Good};

    #[test]
    fn a_step_is_labelled_by_the_sign_of_its_value() {
        for (total, label) in [(2.0, Some(Good)), (-2.0, Some(Bad)), (0.0, None)] {
            let visited = Visited { visits: 4, total, ..Visited::default() };
            let judged = judged(&visited);
            assert_eq!(judged.reading.label, label);
            assert_eq!(judged.value["q"], total / 4.0);
        }
    }
}
