//! GroundedPRM: tree search in which tools check every step.
//!
//! "GroundedPRM: Tree-Guided and Fidelity-Aware Process Reward Modeling for Step-Level
//! Reasoning". A simulation goes down the tree by upper confidence bounds, takes one of the
//! children there and follows it to its end; each of its steps is checked by executing
//! something, +1 or −1, and 0 where that says nothing. With the outcome F, ±1, in the place of
//! the last check and N checked steps before it the simulation is worth
//!
//! ```text
//! V = sum over i from 0 to N - 1 of v_{i+1} (N - i) / N^2, and F / N      (N >= 1)
//! V = F                                                                   (N = 0)
//! ```
//!
//! and an ancestor at distance d of the simulated step gets 0.9^d of it. Children 3, depth 5,
//! 8 simulations, exploration 1.8; the sign of the value in the bound is turned once three
//! right paths are there, to hunt for wrong ones, and the search ends with three of each. A
//! step is labelled by the sign of its value, and only if its own check agrees.
//!
//! The paper's tool is a mathematics engine that a model asks; ours are the verifiers of the
//! environment, which execute in its own world. `as_published` does what the published code
//! does instead of what is described: a simulation goes to a child of the question at random
//! and never deeper, the first step of a simulation is not checked, ancestors are counted and
//! given nothing, and labels are signs alone (its filter compares with marks that committed
//! steps do not have). There a path also ends when its result equals the gold, which lets gold
//! into the length of trajectories; this we never do.

use futures::FutureExt;
use serde_json::json;

use super::search_tree::{SearchTree, uct};
use super::{
    Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number, Place,
};
use crate::scale::{Reading, from_binary};
use crate::{NodeId, StepLabel};

const NAME: &str = "groundedprm";

pub(super) const METHOD: Method = Method {
    name: NAME,
    version: 2,
    paper: "GroundedPRM: Tree-Guided and Fidelity-Aware Process Reward Modeling for Step-Level Reasoning",
    summary: "tree search in which tools check every step, fused with the outcome",
    constants: Constants {
        width: Some(3),
        depth: Some(5),
        searches: Some(8),
        exploration: Some(1.8),
        as_published: Some(false),
        ..Constants::NONE
    },
    trajectories: false,
    checks: true,
    likelihoods: None,
    number: Some(Number::Reward("value")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

/// Paths of each kind after which the search ends.
const PATHS: u32 = 3;
/// What an ancestor gets of the value of the step below it.
const DISCOUNT: f64 = 0.9;

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let mut search = Search { tree: SearchTree::new(), right: 0, wrong: 0 };
    let done = search.run(explorer).await;
    search.judge(explorer).await?;
    done
}

struct Search {
    tree: SearchTree,
    /// Complete paths so far.
    right: u32,
    wrong: u32,
}

impl Search {
    async fn run(&mut self, explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
        for simulation in 0..explorer.settings().searches() {
            if self.right >= PATHS && self.wrong >= PATHS {
                break;
            }
            let Some(path) = self.select(explorer, simulation).await? else { break };
            let Some(step) = path.last().copied().flatten() else { break };
            if let Some(value) = self.simulate(explorer, step).await? {
                let as_published = explorer.settings().as_published();
                self.tree.back_up(
                    &path,
                    value,
                    if as_published { 0.0 } else { DISCOUNT },
                );
            }
        }
        Ok(())
    }

    /// The way to the step that is simulated next: one without simulations of its own, or an
    /// end.
    async fn select(
        &mut self,
        explorer: &mut Explorer<'_>,
        simulation: u32,
    ) -> Result<Option<Vec<Place>>, ExploreError> {
        let settings = explorer.settings();
        if settings.as_published() {
            self.expand(explorer, None).await?;
            let children = &self.tree.get(None).children;
            let drawn = |n| explorer.draw(&(NAME, simulation), n);
            let child = (!children.is_empty()).then(|| children[drawn(children.len())]);
            return Ok(child.map(|child| vec![None, Some(child)]));
        }
        let sign = if self.right < PATHS { 1.0 } else { -1.0 };
        let exploration = settings.exploration();
        let mut path = self.tree.descend(|parent, child| {
            uct(exploration, sign * child.mean(), parent, child)
        });
        let at = *path.last().expect("a way begins at the question");
        let is_new = at.is_some() && self.tree.get(at).visits == 0;
        if is_new
            || path.len() > settings.depth()
            || at.is_some_and(|s| explorer.is_end(s))
        {
            return Ok(Some(path));
        }
        self.expand(explorer, at).await?;
        let children = &self.tree.get(at).children;
        if children.is_empty() {
            return Ok(at.map(|_| path));
        }
        let drawn =
            explorer.draw(&(NAME, explorer.state(at), simulation), children.len());
        path.push(Some(children[drawn]));
        Ok(Some(path))
    }

    async fn expand(
        &mut self,
        explorer: &mut Explorer<'_>,
        at: Place,
    ) -> Result<(), ExploreError> {
        if self.tree.get(at).children.is_empty() {
            let steps = explorer.candidates(at, explorer.settings().width()).await?;
            self.tree.expand(at, steps.into_iter().map(|step| (step, 0.0)));
        }
        Ok(())
    }

    /// Follows a step to the end of its trajectory, checks what it passes, and says what the
    /// whole is worth. `None` if something outside stopped it.
    async fn simulate(
        &mut self,
        explorer: &mut Explorer<'_>,
        step: NodeId,
    ) -> Result<Option<f64>, ExploreError> {
        let Some(end) = explorer.finish(step).await? else { return Ok(None) };
        let outcome = if end.success { 1.0 } else { -1.0 };
        *if end.success { &mut self.right } else { &mut self.wrong } += 1;
        let path = explorer.path(end.leaf);
        let first = path.iter().position(|id| *id == step);
        let simulated = first.map_or(&path[..], |first| &path[first..]);
        let skipped = usize::from(explorer.settings().as_published());
        let mut checks = Vec::with_capacity(simulated.len());
        for step in &simulated[skipped.min(simulated.len())..] {
            checks.push(sign(explorer.check(*step).await?));
        }
        Ok(Some(hybrid(&checks, outcome)))
    }

    async fn judge(&self, explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
        let visited: Vec<(NodeId, u32, f64)> = self
            .tree
            .steps()
            .filter(|(_, visited)| visited.visits > 0 && visited.total != 0.0)
            .map(|(step, visited)| (step, visited.visits, visited.total))
            .collect();
        for (step, visits, value) in visited {
            let check = match explorer.settings().as_published() {
                true => None,
                false => Some(explorer.check(step).await?),
            };
            explorer.judge(step, judged(value, visits, check));
        }
        Ok(())
    }
}

fn sign(check: Option<StepLabel>) -> f64 {
    check.map_or(0.0, |label| f64::from(label.to_number()))
}

/// The value of a simulation: checks that weigh less the later they are, and the outcome in the
/// place of the last.
fn hybrid(checks: &[f64], outcome: f64) -> f64 {
    let n = checks.len().saturating_sub(1);
    if n == 0 {
        return outcome;
    }
    let size = n as f64;
    let weighed = checks[..n]
        .iter()
        .enumerate()
        .map(|(index, check)| check * (size - index as f64) / (size * size));
    weighed.sum::<f64>() + outcome / size
}

/// The sign of a step's value, if its own check agrees; `check` is `None` where none is asked.
fn judged(value: f64, visits: u32, check: Option<Option<StepLabel>>) -> Judged {
    let label = if value > 0.0 { StepLabel::Good } else { StepLabel::Bad };
    let agrees = check.is_none_or(|check| check == Some(label));
    let reading: Reading = from_binary(agrees.then_some(label == StepLabel::Good));
    let found = match check {
        None => "no check was asked".to_owned(),
        Some(None) => "its check abstains".to_owned(),
        Some(Some(check)) => format!("its check says {check}"),
    };
    Judged {
        value: json!({ "value": value, "visits": visits, "check": check.flatten() }),
        reading,
        reason: format!("worth {value:+.3} over {visits} simulations; {found}"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepLabel::{Bad, Good, Neutral};

    #[test]
    fn early_checks_weigh_more_and_the_outcome_stands_for_the_last() {
        // Three checked steps and the end: N = 3; weights 3/9, 2/9, 1/9, and 1/3.
        let value = hybrid(&[1.0, -1.0, 1.0, 1.0], -1.0);
        assert!((value - (3.0 - 2.0 + 1.0 - 3.0) / 9.0).abs() < 1e-12, "{value}");
        // N = 1: both weigh 1.
        assert_eq!(hybrid(&[1.0, -1.0], 1.0), 2.0);
        assert_eq!(hybrid(&[1.0], -1.0), -1.0, "the end alone");
        assert_eq!(hybrid(&[], 1.0), 1.0);
    }

    #[test]
    fn a_step_is_labelled_only_where_its_check_agrees() {
        for (value, check, label) in [
            (0.4, Some(Some(Good)), Some(Good)),
            (0.4, Some(Some(Bad)), None),
            (0.4, Some(Some(Neutral)), None),
            (-0.4, Some(Some(Bad)), Some(Bad)),
            (-0.4, Some(None), None),
            (-0.4, None, Some(Bad)),
        ] {
            assert_eq!(judged(value, 2, check).reading.label, label, "{value} {check:?}");
        }
    }
}
