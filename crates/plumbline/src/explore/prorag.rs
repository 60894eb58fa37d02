//! ProRAG: tree search for pairs of siblings.
//!
//! "ProRAG: Process-Supervised Reinforcement Learning for Retrieval-Augmented Generation": 200
//! simulations, 5 children of different states, 10 steps, selection by PUCT with c 2.5 and equal
//! priors; from a random new child a trajectory goes on to its end, is worth its token F1, and
//! each step up gets 0.99 of what the one below it got. Among siblings that were visited three
//! times a model chooses the better and the worse one, or neither.
//!
//! Where a model chose there, here value and checks have to agree: the best and the worst sibling by
//! value, unless a check calls the best bad or the worst good. Those two are labelled, and make
//! the pair; their siblings are not. The continuation is sampled as the policy samples, not
//! greedily. The advantages of two granularities that the paper trains with are `dual` of
//! `plumb export --advantages`.

use futures::FutureExt;
use serde_json::json;

use super::search_tree::{SearchTree, Visited, puct};
use super::{
    Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number, Place,
};
use crate::scale::from_binary;
use crate::{NodeId, StepLabel};

const NAME: &str = "prorag";

pub(super) const METHOD: Method = Method {
    name: NAME,
    version: 2,
    paper: "ProRAG: Process-Supervised Reinforcement Learning for Retrieval-Augmented Generation",
    summary: "pairs of siblings from a tree search, by value and checks",
    constants: Constants {
        width: Some(5),
        depth: Some(10),
        searches: Some(200),
        exploration: Some(2.5),
        ..Constants::NONE
    },
    trajectories: false,
    checks: true,
    likelihoods: None,
    number: Some(Number::Reward("q")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

const DISCOUNT: f64 = 0.99;
/// Visits without which a step is in no pair.
const VISITS: u32 = 3;

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let mut tree = SearchTree::new();
    let done = run(explorer, &mut tree).await;
    let places: Vec<Place> =
        std::iter::once(None).chain(tree.steps().map(|(step, _)| Some(step))).collect();
    for place in places {
        pair(explorer, &tree, place).await?;
    }
    done
}

async fn run(
    explorer: &mut Explorer<'_>,
    tree: &mut SearchTree,
) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    for simulation in 0..settings.searches() {
        let mut path =
            tree.descend(|parent, child| puct(settings.exploration(), parent, child));
        let at = *path.last().expect("a way begins at the question");
        let is_deep = path.len() > settings.depth();
        if !is_deep && !at.is_some_and(|step| explorer.is_end(step)) {
            let steps = distinct(explorer, at, settings.width()).await?;
            let prior = 1.0 / steps.len().max(1) as f64;
            if !steps.is_empty() {
                let drawn =
                    explorer.draw(&(NAME, explorer.state(at), simulation), steps.len());
                path.push(Some(steps[drawn]));
            }
            tree.expand(at, steps.into_iter().map(|step| (step, prior)));
        }
        let Some(Some(step)) = path.last() else { break };
        if let Some(end) = explorer.finish(*step).await? {
            tree.back_up(&path, end.value, DISCOUNT);
        }
    }
    Ok(())
}

/// The next steps from a place, one for each state they lead to.
async fn distinct(
    explorer: &mut Explorer<'_>,
    at: Place,
    width: u32,
) -> Result<Vec<NodeId>, ExploreError> {
    let mut seen = std::collections::HashSet::new();
    let mut steps = explorer.candidates(at, width).await?;
    steps.retain(|step| seen.insert(explorer.state(Some(*step))));
    Ok(steps)
}

/// Labels the better and the worse of the steps from a place, where there are two to tell
/// apart.
async fn pair(
    explorer: &mut Explorer<'_>,
    tree: &SearchTree,
    at: Place,
) -> Result<(), ExploreError> {
    let of = |step: &NodeId| (*step, tree.get(Some(*step)));
    let siblings: Vec<(NodeId, &Visited)> =
        tree.get(at).children.iter().map(of).collect();
    let chosen = extremes(&siblings);
    let mut is_pair = false;
    if let Some((better, worse)) = chosen {
        is_pair = explorer.check(better).await? != Some(StepLabel::Bad)
            && explorer.check(worse).await? != Some(StepLabel::Good);
    }
    for (step, visited) in siblings.iter().filter(|(_, visited)| visited.visits > 0) {
        let side = chosen.filter(|_| is_pair).and_then(|(better, worse)| {
            (*step == better).then_some(true).or((*step == worse).then_some(false))
        });
        explorer.judge(*step, judged(visited, side));
    }
    Ok(())
}

/// The best and the worst of those visited often enough, if they differ in value.
fn extremes(siblings: &[(NodeId, &Visited)]) -> Option<(NodeId, NodeId)> {
    let often = || siblings.iter().filter(|(_, visited)| visited.visits >= VISITS);
    let better =
        often().reduce(|best, it| if it.1.mean() > best.1.mean() { it } else { best })?;
    let worse = often()
        .reduce(|worst, it| if it.1.mean() < worst.1.mean() { it } else { worst })?;
    (better.1.mean() > worse.1.mean()).then_some((better.0, worse.0))
}

fn judged(visited: &Visited, side: Option<bool>) -> Judged {
    let Visited { visits, prior, .. } = visited;
    let mean = visited.mean();
    let which = match side {
        Some(true) => "the better of a pair",
        Some(false) => "the worse of a pair",
        None => "in no pair",
    };
    Judged {
        value: json!({ "q": mean, "visits": visits, "prior": prior }),
        reading: from_binary(side),
        reason: format!("F1 {mean:.3} over {visits} simulations; {which}"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_of_steps_visited_often_that_differ() {
        let of = |visits: u32, mean: f64| Visited {
            visits,
            total: mean * f64::from(visits),
            ..Visited::default()
        };
        let (one, two, three) = (of(3, 0.5), of(9, 0.1), of(2, 0.9));
        let siblings = [(NodeId(1), &one), (NodeId(2), &two), (NodeId(3), &three)];
        assert_eq!(extremes(&siblings), Some((NodeId(1), NodeId(2))));
        assert_eq!(extremes(&[(NodeId(1), &one), (NodeId(3), &three)]), None);
        assert_eq!(extremes(&[]), None);
    }
}
