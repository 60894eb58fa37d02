//! TreePS-RAG: advantages of steps from the leaves of a tree.
//!
//! "TreePS-RAG: Tree-based Process Supervision for Reinforcement Learning in Agentic RAG": a step
//! is worth the mean outcome of the leaves below it, and near-duplicates among siblings are
//! pruned by the documents they retrieved. Its widths, depths and formula of the advantage were
//! not to be had. Ours: up to 3 children, 4 levels; a sibling is left out whose documents
//! overlap with a kept one's by a Jaccard index of 0.8, or that gives the same answer; and
//! `A = [V(n) - V(parent)] + [V(n) - V(root)]`, its two terms named local and global.

use std::collections::BTreeSet;

use futures::FutureExt;
use serde_json::json;

use super::breadth::Breadth;
use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::scale::{Reading, from_binary};
use crate::{Action, NodeId, Step, StepLabel, Zero, document_ids, normalise_answer};

pub(super) const METHOD: Method = Method {
    name: "treeps-rag",
    version: 2,
    paper: "TreePS-RAG: Tree-based Process Supervision for Reinforcement Learning in Agentic RAG",
    summary: "each step's advantage over parent and question, from the leaves below",
    constants: Constants {
        width: Some(3),
        depth: Some(4),
        threshold: Some(0.8),
        ..Constants::NONE
    },
    trajectories: false,
    checks: false,
    likelihoods: None,
    number: Some(Number::Reward("advantage")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let shape = (settings.width(), settings.depth());
    let alike = settings.threshold();
    let keep = |explorer: &Explorer<'_>, steps: Vec<NodeId>| {
        let step = |id: NodeId| &explorer.tree().get(id).expect("just grown").step;
        let mut kept: Vec<NodeId> = Vec::new();
        for id in steps {
            if !kept.iter().any(|other| is_alike(step(id), step(*other), alike)) {
                kept.push(id);
            }
        }
        kept
    };
    let tree = Breadth::grow(explorer, shape, |end| end.value, keep).await?;
    let Some(root) = tree.value(None) else { return Ok(()) };
    for (parent, step) in tree.steps() {
        if let (Some(value), Some(before)) = (tree.value(Some(step)), tree.value(parent))
        {
            explorer.judge(step, judged(value, before, root));
        }
    }
    Ok(())
}

/// Whether two steps from one place bring the same: documents, or an answer.
fn is_alike(one: &Step, two: &Step, threshold: f64) -> bool {
    if let (Action::Answer { text: one }, Action::Answer { text: two }) =
        (&one.proposal.action, &two.proposal.action)
    {
        return normalise_answer(one) == normalise_answer(two);
    }
    let documents = |step: &'_ Step| -> BTreeSet<String> {
        step.observations.iter().flat_map(document_ids).map(str::to_owned).collect()
    };
    let (one, two) = (documents(one), documents(two));
    let shared = one.intersection(&two).count() as f64;
    let all = one.union(&two).count() as f64;
    all > 0.0 && shared / all >= threshold
}

fn judged(value: f64, parent: f64, root: f64) -> Judged {
    let (local, global) = (value - parent, value - root);
    let advantage = local + global;
    let reading = match advantage {
        0.0 => {
            let (label, zero) = (Some(StepLabel::Neutral), Some(Zero::Neutral));
            Reading { label, zero, repairable: false }
        }
        _ => from_binary(Some(advantage > 0.0)),
    };
    Judged {
        value: json!({
            "v": value,
            "local": local,
            "global": global,
            "advantage": advantage,
        }),
        reading,
        reason: format!(
            "leaves below earn {value:.3}, {local:+.3} against its parent's and {global:+.3} \
             against the question's"
        ),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advantage_has_two_terms() {
        let judged = judged(0.75, 0.5, 0.25);
        let value = json!({ "v": 0.75, "local": 0.25, "global": 0.5, "advantage": 0.75 });
        assert_eq!(judged.value, value);
        assert_eq!(judged.reading.label, Some(StepLabel::Good));
        assert_eq!(
            super::judged(0.5, 0.75, 0.25).reading.label,
            Some(StepLabel::Neutral)
        );
    }
}
