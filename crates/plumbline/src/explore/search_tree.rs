//! The statistics of a tree search, whatever its rule of selection.

use std::collections::BTreeMap;

use super::Place;
use crate::NodeId;

/// What a search knows of one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Visited {
    /// How often a simulation went through it.
    pub(super) visits: u32,
    /// The sum of what those came to, as much of it as was backed up here.
    pub(super) total: f64,
    /// How likely it was to be taken, before any simulation.
    pub(super) prior: f64,
    /// Its children, in the order they were added.
    pub(super) children: Vec<NodeId>,
}

impl Visited {
    /// The mean of what the simulations came to; 0 before the first.
    pub(super) fn mean(&self) -> f64 {
        self.total / f64::from(self.visits.max(1))
    }
}

/// The places that a search has come to, from the question on.
#[derive(Debug, Clone)]
pub(super) struct SearchTree {
    places: BTreeMap<Place, Visited>,
}

impl SearchTree {
    pub(super) fn new() -> Self {
        Self { places: BTreeMap::from([(None, Visited::default())]) }
    }

    pub(super) fn get(&self, at: Place) -> &Visited {
        &self.places[&at]
    }

    /// The steps that the search has come to, in the order made.
    pub(super) fn steps(&self) -> impl Iterator<Item = (NodeId, &Visited)> {
        self.places.iter().filter_map(|(at, visited)| Some(((*at)?, visited)))
    }

    /// The way from the question to a place without children, at each place to the child of
    /// the highest score; of equals, to the first.
    pub(super) fn descend(
        &self,
        score: impl Fn(&Visited, &Visited) -> f64,
    ) -> Vec<Place> {
        let mut path = vec![None];
        let mut here = &self.places[&None];
        while let Some(best) = here
            .children
            .iter()
            .map(|child| (*child, score(here, &self.places[&Some(*child)])))
            .reduce(|best, it| if it.1 > best.1 { it } else { best })
        {
            path.push(Some(best.0));
            here = &self.places[&Some(best.0)];
        }
        path
    }

    /// Adds children with their priors; those that are there already stay as they are, below
    /// this place as well: siblings in one state have the same children.
    pub(super) fn expand(
        &mut self,
        at: Place,
        children: impl IntoIterator<Item = (NodeId, f64)>,
    ) {
        for (child, prior) in children {
            let visited = || Visited { prior, ..Visited::default() };
            self.places.entry(Some(child)).or_insert_with(visited);
            let parent = self.places.get_mut(&at).expect("it was descended to");
            if !parent.children.contains(&child) {
                parent.children.push(child);
            }
        }
    }

    /// Counts a simulation along a path: its end is given `value`, and each place before it
    /// `discount` times what the one after it was given.
    pub(super) fn back_up(&mut self, path: &[Place], value: f64, discount: f64) {
        let mut share = value;
        for at in path.iter().rev() {
            let visited = self.places.get_mut(at).expect("it was descended to");
            visited.visits += 1;
            visited.total += share;
            share *= discount;
        }
    }
}

/// Selection by prior, as in AlphaGo: `Q + c P sqrt(N_parent) / (1 + N)`.
pub(super) fn puct(exploration: f64, parent: &Visited, child: &Visited) -> f64 {
    let spread = f64::from(parent.visits).sqrt() / (1.0 + f64::from(child.visits));
    child.mean() + exploration * child.prior * spread
}

/// Selection by upper confidence bounds: `Q + c sqrt(ln(N_parent + 1) / (N + 1))`.
pub(super) fn uct(
    exploration: f64,
    value: f64,
    parent: &Visited,
    child: &Visited,
) -> f64 {
    let (parent, child) = (f64::from(parent.visits), f64::from(child.visits));
    value + exploration * ((parent + 1.0).ln() / (child + 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_is_counted_all_the_way_up() {
        let mut search = SearchTree::new();
        let (one, two, three) = (NodeId(1), NodeId(2), NodeId(3));
        search.expand(None, [(one, 0.5), (two, 0.5)]);
        search.expand(Some(one), [(three, 1.0)]);
        search.back_up(&[None, Some(one), Some(three)], 1.0, 0.9);
        search.back_up(&[None, Some(two)], -1.0, 0.9);
        assert!((search.get(None).total - (0.81 - 0.9)).abs() < 1e-12);
        assert_eq!(search.get(Some(one)).visits, 1);
        assert!((search.get(Some(one)).mean() - 0.9).abs() < 1e-12);
        // 0.9 + 2.5 * 0.5 * sqrt(2) / 2 against -1 + the same.
        let path = search.descend(|parent, child| puct(2.5, parent, child));
        assert_eq!(path, [None, Some(one), Some(three)]);
        let hunting =
            search.descend(|parent, child| uct(1.8, -child.mean(), parent, child));
        assert_eq!(hunting, [None, Some(two)]);
        // Added again, and below a second parent, it keeps what is known of it.
        search.expand(Some(two), [(three, 1.0)]);
        search.expand(Some(one), [(three, 0.5)]);
        let below = |at| search.get(Some(at)).children.clone();
        assert_eq!((below(one), below(two)), (vec![three], vec![three]));
        assert_eq!(
            (search.get(Some(three)).visits, search.get(Some(three)).prior),
            (1, 1.0)
        );
    }

    #[test]
    fn formulas_by_hand() {
        let parent = Visited { visits: 16, ..Visited::default() };
        let child = Visited { visits: 3, total: 1.5, prior: 0.2, children: vec![] };
        // 0.5 + 2.5 * 0.2 * 4 / 4.
        assert!((puct(2.5, &parent, &child) - 1.0).abs() < 1e-12);
        // 0.5 + 1.8 * sqrt(ln 17 / 4) = 0.5 + 1.8 * 0.84161.
        assert!((uct(1.8, 0.5, &parent, &child) - 2.0149).abs() < 1e-4);
    }
}
