//! Puts the trajectories of two trees of one task side by side, and finds where they part.

use std::collections::BTreeMap;

use crate::replay::difference;
use crate::{Field, NodeId, Tree};

/// The trajectories of two trees, side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SideBySide {
    /// Two that belong together.
    pub pairs: Vec<Pair>,
    /// Last steps of those that only the first tree has.
    pub only_one: Vec<NodeId>,
    /// Last steps of those that only the second tree has.
    pub only_two: Vec<NodeId>,
}

/// Two trajectories that belong together, by their last steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// That of the first tree.
    pub one: NodeId,
    /// That of the second tree.
    pub two: NodeId,
    /// Where they part; `None` if they are the same.
    pub parting: Option<Parting>,
    /// Steps that are the same in both, from the first one on.
    pub shared: Vec<(NodeId, NodeId)>,
}

/// The first difference of two trajectories.
#[derive(Debug, Clone, PartialEq)]
pub struct Parting {
    /// Which step of the trajectory it is, from 0.
    pub index: usize,
    /// What differs.
    pub field: Field,
    /// What the first one has there.
    pub one: String,
    /// What the second one has there.
    pub two: String,
}

/// Puts two trees of one task side by side. Trajectories whose first steps have one seed are
/// the same sample and belong together, in the order made; so do those left over.
pub fn side_by_side(one: &Tree, two: &Tree) -> SideBySide {
    assert_eq!(one.task(), two.task(), "trajectories of one task are compared");
    let mut of_two = by_seed(two);
    let mut pairs: Vec<(NodeId, NodeId)> = Vec::new();
    let mut left: Vec<NodeId> = Vec::new();
    for (seed, leaves) in by_seed(one) {
        let mut others = of_two.remove(&seed).unwrap_or_default().into_iter();
        for leaf in leaves {
            match others.next() {
                Some(other) => pairs.push((leaf, other)),
                None => left.push(leaf),
            }
        }
        of_two.insert(seed, others.collect());
    }
    let mut right: Vec<NodeId> = of_two.into_values().flatten().collect();
    left.sort();
    right.sort();
    let both = left.len().min(right.len());
    let (only_one, only_two) = (left.split_off(both), right.split_off(both));
    pairs.extend(left.into_iter().zip(right));
    pairs.sort();
    let pairs = pairs.into_iter().map(|(a, b)| pair(one, two, a, b)).collect();
    SideBySide { pairs, only_one, only_two }
}

fn by_seed(tree: &Tree) -> BTreeMap<u64, Vec<NodeId>> {
    let mut leaves: BTreeMap<u64, Vec<NodeId>> = BTreeMap::new();
    for leaf in tree.leaves() {
        let seed = tree.path(leaf)[0].1.step.proposal.seed;
        leaves.entry(seed).or_default().push(leaf);
    }
    leaves
}

fn pair(one: &Tree, two: &Tree, a: NodeId, b: NodeId) -> Pair {
    let (of_one, of_two) = (one.path(a), two.path(b));
    let mut pair = Pair { one: a, two: b, parting: None, shared: vec![] };
    for (index, ((a, first), (b, second))) in of_one.iter().zip(&of_two).enumerate() {
        let (first, second) = (&first.step, &second.step);
        let parting = if first.proposal.text != second.proposal.text {
            let texts = (first.proposal.text.clone(), second.proposal.text.clone());
            Some((Field::Message, texts.0, texts.1))
        } else {
            difference(first, second)
        };
        if let Some((field, one, two)) = parting {
            pair.parting = Some(Parting { index, field, one, two });
            return pair;
        }
        pair.shared.push((*a, *b));
    }
    let index = pair.shared.len();
    let next = |path: &[(NodeId, &std::sync::Arc<crate::Node>)]| {
        path.get(index).map(|(_, node)| node.step.proposal.text.clone())
    };
    let (field, first, second) = match (next(&of_one), next(&of_two)) {
        (None, None) => {
            let ending = |tree: &Tree, leaf| match tree.ending(leaf) {
                None => "unfinished".to_owned(),
                Some(ending) => {
                    serde_json::to_string(ending).expect("an ending serialises")
                }
            };
            (Field::Ending, ending(one, a), ending(two, b))
        }
        (first, second) => {
            (Field::Message, first.unwrap_or_default(), second.unwrap_or_default())
        }
    };
    if first != second {
        pair.parting = Some(Parting { index, field, one: first, two: second });
    }
    pair
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Action, Digest, Ending, Node, Observation, Proposal, Step, TaskId};

    /// A tree of trajectories: a seed, and for each step its message and what it showed.
    fn tree(trajectories: &[(u64, &[(&str, &str)])]) -> Tree {
        let mut tree = Tree::new(TaskId("t".into()));
        for (seed, steps) in trajectories {
            let mut parent = None;
            for (text, shown) in *steps {
                let action = Action::Answer { text: (*text).into() };
                let (text, seed, elided) = ((*text).into(), *seed, vec![]);
                let proposal = Proposal { text, action, seed, tokens: None, elided };
                let shown = Observation::Output {
                    text: (*shown).into(),
                    data: Default::default(),
                };
                let (observations, scratch) = (vec![shown], Digest::of(b""));
                let step = Step { proposal, observations, scratch };
                let node = Arc::new(Node { parent, step });
                parent = Some(tree.push(node).expect("in order"));
            }
            tree.end(parent, Ending::Answered).expect("it is there");
        }
        tree
    }

    #[test]
    fn samples_are_matched_by_seed_and_part_at_the_first_difference() {
        let one = tree(&[
            (1, &[("search", "a"), ("answer", "")]),
            (2, &[("search", "a"), ("answer", "")]),
            (3, &[("search", "a")]),
        ]);
        let two = tree(&[
            (2, &[("search", "b"), ("answer", "")]),
            (1, &[("search", "a"), ("other", "")]),
            (9, &[("search", "a"), ("more", "")]),
            (8, &[("more", "")]),
        ]);
        let found = side_by_side(&one, &two);
        let partings: Vec<String> = found
            .pairs
            .iter()
            .map(|pair| {
                let Parting { index, field, .. } =
                    pair.parting.as_ref().expect("they part");
                format!("{}-{} {index} {field}", pair.one, pair.two)
            })
            .collect();
        assert_eq!(
            partings,
            ["1-3 1 the message", "3-1 0 observation 0", "4-5 1 the message"]
        );
        assert_eq!(found.pairs[0].shared, [(NodeId(0), NodeId(2))]);
        assert_eq!((found.only_one, found.only_two), (vec![], vec![NodeId(6)]));
    }

    #[test]
    fn a_tree_is_like_itself() {
        let one = tree(&[(1, &[("search", "a"), ("answer", "")])]);
        let found = side_by_side(&one, &one);
        assert_eq!(found.pairs[0].parting, None);
        assert_eq!(found.pairs[0].shared.len(), 2);
    }
}
