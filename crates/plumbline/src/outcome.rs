//! Outcome metrics: what a finished trajectory is worth against the gold of its task.
//!
//! An answer's worth is what the gold's [comparator](crate::comparators) says of it.
//! [`supporting_recall`] is about retrieval alone: which of the documents that hold the
//! answer the agent has been shown.
//!
//! A trajectory that something outside stopped has no score at all: [`Outcome`] keeps it
//! apart from one that earned nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::comparators::Comparison;
use crate::{Action, Boundary, Budget, Ending, Gold, Node, NodeId, Observation, Tree};

/// What the answers of a tree came to when they were held against the gold, by the step that
/// gave them: see [`grade`](crate::grade()).
pub type Compared = BTreeMap<NodeId, Comparison>;

/// What became of one trajectory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// The agent answered.
    Answered {
        /// What it said.
        answer: String,
        /// What that is worth.
        score: Score,
    },
    /// A budget ran out first: no answer, so no credit for one.
    Exhausted {
        /// Which budget.
        budget: Budget,
        /// Exact match false and F1 zero; recall counts what was retrieved all the same.
        score: Score,
    },
    /// Something that says nothing about the agent stopped it: not scored.
    Aborted {
        /// Whose boundary the failure crossed.
        boundary: Boundary,
    },
    /// Not ended yet: not scored.
    Unfinished,
}

/// What a trajectory that ended by its own doing is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Whether the answer equals a gold answer under the strict semantics of the gold's
    /// comparator: after normalisation where answers are words, in its result where the
    /// answer is a query.
    pub exact_match: bool,
    /// Whether it does under the relaxed ones.
    pub relaxed: bool,
    /// How near it is to the nearest gold answer, 0 to 1: word overlap where answers are
    /// words.
    pub f1: f64,
    /// Share of the supporting documents retrieved, 0 to 1; `None` if the gold lists none.
    pub supporting_recall: Option<f64>,
}

impl Outcome {
    /// The score, unless the trajectory was aborted or has not ended.
    pub fn score(&self) -> Option<&Score> {
        match self {
            Outcome::Answered { score, .. } | Outcome::Exhausted { score, .. } => {
                Some(score)
            }
            Outcome::Aborted { .. } | Outcome::Unfinished => None,
        }
    }
}

/// What became of the trajectory that ends in `leaf`.
///
/// A node that does not exist, has children or has no ending is [`Outcome::Unfinished`], as
/// is an answer that has not been compared.
pub fn outcome(tree: &Tree, leaf: NodeId, gold: &Gold, compared: &Compared) -> Outcome {
    let (Some(ending), Some(node)) = (tree.ending(leaf), tree.get(leaf)) else {
        return Outcome::Unfinished;
    };
    let answer = match &node.step.proposal.action {
        Action::Answer { text } => Some(text.as_str()),
        Action::Calls { .. } | Action::Malformed { .. } => None,
    };
    let answer = answer.zip(compared.get(&leaf));
    outcome_of(ending, answer, &tree.path(leaf), gold)
}

/// What became of each trajectory of a tree: one a leaf, in the order of the leaves, or one
/// in all where the tree ended before its first step.
pub fn outcomes(tree: &Tree, gold: &Gold, compared: &Compared) -> Vec<Outcome> {
    let stillborn = tree.stillborn();
    let stillborn = stillborn.map(|(_, ending)| outcome_of(ending, None, &[], gold));
    let leaves = tree.leaves().into_iter();
    let grown = leaves.map(|leaf| outcome(tree, leaf, gold, compared));
    stillborn.chain(grown).collect()
}

fn outcome_of(
    ending: &Ending,
    answer: Option<(&str, &Comparison)>,
    path: &[(NodeId, &Arc<Node>)],
    gold: &Gold,
) -> Outcome {
    let supporting_recall = || supporting_recall(path, gold);
    match (ending, answer) {
        (Ending::Answered, Some((answer, comparison))) => {
            let score = Score {
                exact_match: comparison.strict,
                relaxed: comparison.relaxed,
                f1: comparison.value,
                supporting_recall: supporting_recall(),
            };
            Outcome::Answered { answer: answer.to_owned(), score }
        }
        // A record cut off between an answer and what was to follow it, or not compared.
        (Ending::Answered, None) => Outcome::Unfinished,
        (Ending::Exhausted { budget }, _) => {
            let supporting_recall = supporting_recall();
            let (exact_match, relaxed, f1) = (false, false, 0.0);
            let score = Score { exact_match, relaxed, f1, supporting_recall };
            Outcome::Exhausted { budget: *budget, score }
        }
        (Ending::Aborted { boundary, .. }, _) => Outcome::Aborted { boundary: *boundary },
    }
}

/// The answers of a tree, by the step that gave them.
pub(crate) fn answers(tree: &Tree) -> impl Iterator<Item = (NodeId, &str)> {
    tree.leaves().into_iter().filter_map(|leaf| {
        match &tree.get(leaf)?.step.proposal.action {
            Action::Answer { text } => Some((leaf, text.as_str())),
            Action::Calls { .. } | Action::Malformed { .. } => None,
        }
    })
}

/// The share of the gold's supporting documents, 0 to 1, among the documents that the
/// observations on a path list in `data.documents[].id`. `None` if the gold lists none.
pub fn supporting_recall(path: &[(NodeId, &Arc<Node>)], gold: &Gold) -> Option<f64> {
    let wanted: BTreeSet<&str> = gold.supporting().into_iter().collect();
    if wanted.is_empty() {
        return None;
    }
    let observations = path.iter().flat_map(|(_, node)| &node.step.observations);
    let shown: BTreeSet<&str> = observations.flat_map(document_ids).collect();
    Some(wanted.intersection(&shown).count() as f64 / wanted.len() as f64)
}

/// The ids of the documents that an observation lists, in rank order.
pub fn document_ids(observation: &Observation) -> impl Iterator<Item = &str> {
    let documents = observation.data().get("documents").and_then(Value::as_array);
    let ids = documents.into_iter().flatten().map(|document| document.get("id"));
    ids.filter_map(|id| id.and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::comparators::Text;
    use crate::{Digest, Fault, Proposal, Step, TaskId, ToolCall};

    fn node(parent: Option<u32>, action: Action, documents: &[&str]) -> Arc<Node> {
        let documents: Vec<Value> =
            documents.iter().map(|id| json!({"id": id, "title": "T"})).collect();
        let observations = vec![
            Observation::Output {
                text: "found".into(),
                data: json!({ "documents": documents }),
            },
            Observation::Output { text: "odd".into(), data: json!({"documents": [7]}) },
            Observation::fault(Fault::Refused, "no"),
        ];
        let text = "a message".to_owned();
        let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
        let step = Step { proposal, observations, scratch: Digest::of(b"") };
        Arc::new(Node { parent: parent.map(NodeId), step })
    }

    fn search() -> Action {
        let args = json!({"query": "q"});
        let call = ToolCall { id: "call_0".into(), tool: "search".into(), args };
        Action::Calls { calls: vec![call] }
    }

    fn answer(text: &str) -> Action {
        Action::Answer { text: text.into() }
    }

    #[test]
    fn each_way_to_end_has_its_outcome() {
        let gold = Gold(json!({
            "answer": "Red Fox", "aliases": ["Vulpes"], "supporting": ["d1", "d2", "d2"],
        }));
        let mut tree = Tree::new(TaskId("t".into()));
        for node in [
            node(None, search(), &["d1", "d9"]),
            node(Some(0), answer("a vulpes"), &[]),
            node(Some(0), search(), &["d2"]),
            node(Some(0), search(), &[]),
            node(Some(0), search(), &[]),
        ] {
            tree.push(node).expect("the parents are there");
        }
        let budget = Budget::Steps;
        let aborted =
            Ending::Aborted { boundary: Boundary::Endpoint, message: "503".into() };
        for (leaf, ending) in
            [(1, Ending::Answered), (2, Ending::Exhausted { budget }), (3, aborted)]
        {
            tree.end(Some(NodeId(leaf)), ending).expect("the leaf is there");
        }
        let score = |right, f1, recall| Score {
            exact_match: right,
            relaxed: right,
            f1,
            supporting_recall: Some(recall),
        };
        let (right, spent) = (score(true, 1.0, 0.5), score(false, 0.0, 1.0));
        let comparison = Text {}.compare("a vulpes", &gold.answers());
        let compared = Compared::from([(NodeId(1), comparison)]);
        let found = outcomes(&tree, &gold, &compared);
        assert_eq!(
            found,
            [
                Outcome::Answered { answer: "a vulpes".into(), score: right },
                Outcome::Exhausted { budget, score: spent },
                Outcome::Aborted { boundary: Boundary::Endpoint },
                Outcome::Unfinished,
            ]
        );
        assert_eq!(found.iter().filter_map(Outcome::score).count(), 2);
        assert_eq!(outcome(&tree, NodeId(77), &gold, &compared), Outcome::Unfinished);
        let bare = Gold(json!({"answer": "x"}));
        assert_eq!(supporting_recall(&tree.path(NodeId(2)), &bare), None);
        let json = serde_json::to_value(&found[1]).expect("outcomes serialise");
        assert_eq!(json["type"], "exhausted");
    }

    #[test]
    fn a_tree_that_never_began_has_one_outcome() {
        let gold = Gold(json!({"answer": "x", "supporting": ["d"]}));
        let mut tree = Tree::new(TaskId("t".into()));
        let none = Compared::new();
        assert_eq!(outcomes(&tree, &gold, &none), []);
        let ending = Ending::Exhausted { budget: Budget::Context };
        tree.end(None, ending).expect("a tree can always be stillborn");
        let score = Score {
            exact_match: false,
            relaxed: false,
            f1: 0.0,
            supporting_recall: Some(0.0),
        };
        let expected = Outcome::Exhausted { budget: Budget::Context, score };
        assert_eq!(outcomes(&tree, &gold, &none), [expected]);
    }
}
