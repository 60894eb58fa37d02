//! Outcome metrics: what a finished trajectory is worth against the gold of its task.
//!
//! [`normalise_answer`], [`exact_match`] and [`token_f1`] follow the evaluation of SQuAD
//! (Rajpurkar et al., 2016) with the rule that HotpotQA (Yang et al., 2018) adds for yes/no
//! questions, so that figures stand beside published ones. [`supporting_recall`] is about
//! retrieval alone: which of the documents that hold the answer the agent has been shown.
//!
//! A trajectory that something outside stopped has no score at all: [`Outcome`] keeps it
//! apart from one that earned nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Action, Boundary, Budget, Ending, Gold, Node, NodeId, Observation, Tree};

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
    /// Whether the answer equals a gold answer after normalisation.
    pub exact_match: bool,
    /// Overlap with the nearest gold answer, 0 to 1.
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
/// A node that does not exist, has children or has no ending is [`Outcome::Unfinished`].
pub fn outcome(tree: &Tree, leaf: NodeId, gold: &Gold) -> Outcome {
    let (Some(ending), Some(node)) = (tree.ending(leaf), tree.get(leaf)) else {
        return Outcome::Unfinished;
    };
    let answer = match &node.step.proposal.action {
        Action::Answer { text } => Some(text.as_str()),
        Action::Calls { .. } | Action::Malformed { .. } => None,
    };
    outcome_of(ending, answer, &tree.path(leaf), gold)
}

/// What became of each trajectory of a tree: one a leaf, in the order of the leaves, or one
/// in all where the tree ended before its first step.
pub fn outcomes(tree: &Tree, gold: &Gold) -> Vec<Outcome> {
    let stillborn = tree.stillborn().map(|ending| outcome_of(ending, None, &[], gold));
    let grown = tree.leaves().into_iter().map(|leaf| outcome(tree, leaf, gold));
    stillborn.into_iter().chain(grown).collect()
}

fn outcome_of(
    ending: &Ending,
    answer: Option<&str>,
    path: &[(NodeId, &Arc<Node>)],
    gold: &Gold,
) -> Outcome {
    let supporting_recall = || supporting_recall(path, gold);
    match (ending, answer) {
        (Ending::Answered, Some(answer)) => {
            let golds = gold.answers();
            let score = Score {
                exact_match: exact_match(answer, &golds),
                f1: token_f1(answer, &golds),
                supporting_recall: supporting_recall(),
            };
            Outcome::Answered { answer: answer.to_owned(), score }
        }
        // A record cut off between an answer and what was to follow it.
        (Ending::Answered, None) => Outcome::Unfinished,
        (Ending::Exhausted { budget }, _) => {
            let supporting_recall = supporting_recall();
            let score = Score { exact_match: false, f1: 0.0, supporting_recall };
            Outcome::Exhausted { budget: *budget, score }
        }
        (Ending::Aborted { boundary, .. }, _) => Outcome::Aborted { boundary: *boundary },
    }
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

/// An answer in the form in which answers are compared: lower case, without ASCII
/// punctuation, without the words `a`, `an` and `the`, with single spaces between words.
///
/// A word ends where letters and digits of any script end, as in the SQuAD evaluation:
/// `thesis` keeps its head, while `the–end` loses its article.
pub fn normalise_answer(text: &str) -> String {
    let mut bare = text.to_lowercase();
    bare.retain(|character| !character.is_ascii_punctuation());
    let mut spaced = String::with_capacity(bare.len());
    let mut rest = bare.as_str();
    while !rest.is_empty() {
        let outside = |character: char| !character.is_alphanumeric();
        let (word, after) = rest.split_at(rest.find(outside).unwrap_or(rest.len()));
        spaced.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        let gap = after.find(char::is_alphanumeric).unwrap_or(after.len());
        spaced.push_str(&after[..gap]);
        rest = &after[gap..];
    }
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.join(" ")
}

/// Whether an answer equals one of the gold answers after normalisation. False without a
/// gold answer.
pub fn exact_match(answer: &str, golds: &[&str]) -> bool {
    let answer = normalise_answer(answer);
    golds.iter().any(|gold| normalise_answer(gold) == answer)
}

/// The largest F1, 0 to 1, between the words of an answer and those of a gold answer, words
/// counted as often as they stand. Zero without a gold answer.
///
/// Where either side is `yes`, `no` or `noanswer` nothing but equality counts: a sentence
/// that merely contains a "no" earns nothing (HotpotQA). Where either side has no words left
/// after normalisation the F1 is 1 if both have none and 0 otherwise (SQuAD 2.0), so that an
/// exact match is never worth less than 1 here.
pub fn token_f1(answer: &str, golds: &[&str]) -> f64 {
    let answer = normalise_answer(answer);
    let f1 = |gold: &&str| f1_of_normalised(&answer, &normalise_answer(gold));
    golds.iter().map(f1).fold(0.0, f64::max)
}

fn f1_of_normalised(answer: &str, gold: &str) -> f64 {
    let all_or_nothing = |text: &str| matches!(text, "" | "yes" | "no" | "noanswer");
    if answer == gold {
        return 1.0;
    }
    if all_or_nothing(answer) || all_or_nothing(gold) {
        return 0.0;
    }
    let (answer, gold) = (word_counts(answer), word_counts(gold));
    let shared: u64 = answer
        .iter()
        .filter_map(|(word, count)| gold.get(word).map(|other| *count.min(other)))
        .sum();
    let total: u64 = answer.values().chain(gold.values()).sum();
    // The harmonic mean of shared/answer and shared/gold, without dividing by zero.
    2.0 * shared as f64 / total as f64
}

fn word_counts(normalised: &str) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for word in normalised.split(' ') {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Digest, Fault, Proposal, Step, TaskId, ToolCall};

    #[test]
    fn answers_normalise_as_in_squad() {
        for (text, expected) in [
            ("The  Quick, brown fox!", "quick brown fox"),
            ("A thesis on Athens and Ann", "thesis on athens and ann"),
            ("an-the-a", "anthea"),
            ("the–end", "–end"),
            ("1,234.5", "12345"),
            ("ÉCOLE de l'Été", "école de lété"),
            ("\u{a0}東京\u{3000}the タワー\n", "東京 タワー"),
            ("the", ""),
            ("…", "…"),
            ("", ""),
            ("snake_case", "snakecase"),
        ] {
            assert_eq!(normalise_answer(text), expected, "{text:?}");
        }
    }

    #[test]
    fn f1_counts_words_and_treats_yes_and_no_apart() {
        for (answer, golds, expected) in [
            ("the red fox", &["red fox"][..], 1.0),
            ("red fox", &["red panda"], 0.5),
            ("red red fox", &["red panda"], 0.4),
            ("red red", &["red red"], 1.0),
            ("fox", &["panda", "fox cub"], 2.0 / 3.0),
            ("yes", &["Yes."], 1.0),
            ("no", &["no way out"], 0.0),
            ("yes it is", &["yes"], 0.0),
            ("noanswer", &["noanswer given"], 0.0),
            ("", &["the"], 1.0),
            ("", &["fox"], 0.0),
            ("fox", &["a"], 0.0),
            ("1,000", &["1000"], 1.0),
            ("fox", &[], 0.0),
        ] {
            let found = token_f1(answer, golds);
            assert!((found - expected).abs() < 1e-12, "{answer:?} {golds:?}: {found}");
        }
    }

    proptest! {
        #[test]
        fn normalising_is_bounded_and_f1_is_a_similarity(
            left in "(the|a|red|Fox|,| |é|–|yes|\\PC){0,12}",
            right in "(the|a|red|Fox|,| |é|–|yes|\\PC){0,12}",
        ) {
            let f1 = token_f1(&left, &[&right]);
            prop_assert!((0.0..=1.0).contains(&f1));
            prop_assert_eq!(f1, token_f1(&right, &[&left]));
            prop_assert_eq!(token_f1(&left, &[&right, &left]), 1.0);
            if exact_match(&left, &[&right]) {
                prop_assert_eq!(f1, 1.0);
            }
            let normalised = normalise_answer(&left);
            prop_assert!(!normalised.contains("  ") && normalised.trim() == normalised);
            prop_assert!(!normalised.split(' ').any(|w| matches!(w, "a" | "an" | "the")));
        }
    }

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
        let right = Score { exact_match: true, f1: 1.0, supporting_recall: Some(0.5) };
        let spent = Score { exact_match: false, f1: 0.0, supporting_recall: Some(1.0) };
        let found = outcomes(&tree, &gold);
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
        assert_eq!(outcome(&tree, NodeId(77), &gold), Outcome::Unfinished);
        let bare = Gold(json!({"answer": "x"}));
        assert_eq!(supporting_recall(&tree.path(NodeId(2)), &bare), None);
        let json = serde_json::to_value(&found[1]).expect("outcomes serialise");
        assert_eq!(json["type"], "exhausted");
    }

    #[test]
    fn a_tree_that_never_began_has_one_outcome() {
        let gold = Gold(json!({"answer": "x", "supporting": ["d"]}));
        let mut tree = Tree::new(TaskId("t".into()));
        assert_eq!(outcomes(&tree, &gold), []);
        let ending = Ending::Exhausted { budget: Budget::Context };
        tree.end(None, ending).expect("a tree can always be stillborn");
        let score = Score { exact_match: false, f1: 0.0, supporting_recall: Some(0.0) };
        let expected = Outcome::Exhausted { budget: Budget::Context, score };
        assert_eq!(outcomes(&tree, &gold), [expected]);
    }
}
