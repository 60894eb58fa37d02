//! HNC: steps merged with the next, so that a slip put right at once counts as fine.
//!
//! "Towards Hierarchical Multi-Step Reward Models for Enhanced Reasoning in Large Language
//! Models": a step of a tree grown level by level is worth the share of right leaves below it.
//! Hierarchical node compression takes steps of height 2 or more among at least 4 siblings
//! and, with chance 0.5, merges at most one child of each with it: the pair hangs in the
//! step's place, and scores are counted anew. Trained on pairs as on single steps, a model sees
//! the later label over both.
//!
//! Trees have 4 children and 4 levels. A merged pair is judged at its second step, whose value
//! names both in `merged_from`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use futures::FutureExt;
use serde_json::json;

use super::breadth::Breadth;
use super::{
    Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number, Place,
};
use crate::NodeId;
use crate::scale::from_binary;

const NAME: &str = "hnc";

pub(super) const METHOD: Method = Method {
    name: NAME,
    version: 3,
    paper: "Towards Hierarchical Multi-Step Reward Models for Enhanced Reasoning in Large Language Models",
    summary: "the share of right leaves, for steps and for pairs of steps",
    constants: Constants {
        width: Some(4),
        depth: Some(4),
        threshold: Some(0.5),
        ..Constants::NONE
    },
    trajectories: false,
    checks: false,
    likelihoods: None,
    number: Some(Number::Chance("score")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

const SIBLINGS_MIN: usize = 4;
const HEIGHT_MIN: usize = 2;
/// Out of how many draws one merges.
const ODDS: usize = 2;

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let shape = (settings.width(), settings.depth());
    let earned = |end: super::Rollout| f64::from(u8::from(end.success));
    let mut tree = Breadth::grow(explorer, shape, earned, |_, steps| steps).await?;
    let draw =
        |step: NodeId, n: usize| explorer.draw(&(NAME, explorer.state(Some(step)), n), n);
    let merged = merge(&mut tree, draw);
    for (_, step) in tree.steps() {
        if let Some(score) = tree.value(Some(step)) {
            let from = merged.get(&step).copied();
            explorer.judge(step, judged(step, from, score, settings.threshold()));
        }
    }
    Ok(())
}

/// Merges pairs of steps; returns the first step of each pair by the second.
fn merge(
    tree: &mut Breadth,
    draw: impl Fn(NodeId, usize) -> usize,
) -> BTreeMap<NodeId, NodeId> {
    let mut merged = BTreeMap::new();
    for (parent, step) in tree.steps() {
        let is_candidate = tree.children_of(parent).len() >= SIBLINGS_MIN
            && tree.height(Place::Some(step)) >= HEIGHT_MIN
            && !merged.contains_key(&step)
            && !merged.values().any(|first| *first == step);
        if is_candidate && draw(step, ODDS) == 0 {
            let children = tree.children_of(Some(step));
            let child = children[draw(step, children.len())];
            // Steps in one state share their children: the first of them takes it along.
            if let Entry::Vacant(vacant) = merged.entry(child) {
                tree.merge(parent, step, child);
                vacant.insert(step);
            }
        }
    }
    merged
}

fn judged(step: NodeId, merged: Option<NodeId>, score: f64, threshold: f64) -> Judged {
    let from = merged.map(|first| vec![first, step]);
    let what = if merged.is_some() { "both steps together" } else { "the step" };
    Judged {
        value: json!({ "score": score, "merged_from": from }),
        reading: from_binary(Some(score >= threshold)),
        reason: format!("{:.0}% of the leaves below {what} are right", 100.0 * score),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_takes_the_place_of_its_first_step() {
        let one = Some(NodeId(1));
        let mut tree = Breadth::of(
            &[(None, &[1, 2, 3, 4]), (one, &[5, 6]), (Some(NodeId(5)), &[7, 8])],
            &[(2, 0.0), (3, 0.0), (4, 0.0), (6, 0.0), (7, 1.0), (8, 1.0)],
        );
        assert_eq!(tree.value(one), Some(2.0 / 3.0));
        let merged = merge(&mut tree, |_, _| 0);
        assert_eq!(merged, BTreeMap::from([(NodeId(5), NodeId(1))]));
        assert_eq!(tree.children_of(None).len(), 5, "it hangs on the question now");
        assert_eq!(tree.value(one), Some(0.0), "without the child that put it right");
        assert_eq!(tree.value(Some(NodeId(5))), Some(1.0));
        let judged = judged(NodeId(5), Some(NodeId(1)), 1.0, 0.5);
        assert_eq!(judged.value["merged_from"], json!([1, 5]));
    }
}
