//! Counterfactuals: a recorded trajectory with one thing changed and everything before it kept,
//! from which a policy goes on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::replay::difference;
use crate::{
    ActError, Divergence, Ending, Environment, Episode, Interval, Node, NodeId,
    Observation, Proposal, Step, Task, Tree,
};

/// What is changed about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its message: another one is read and executed in its place.
    Replace(String),
    /// It is left out.
    Drop,
    /// The text of its first observation, as the policy is shown it. The call is made as
    /// recorded and the tools' state is what it was; the observation is forged, and has no
    /// data: those would say what the text no longer does.
    Observation(String),
}

/// What becomes of the recorded steps after the one that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// They are left out: the policy goes on from the change and may react to it. This
    /// measures all that the step brings about.
    Resampled,
    /// Their messages are kept, all but the trajectory's last one, and executed again in the
    /// changed state; the policy goes on from there. This measures what the step gives to
    /// the steps that were taken after it: a policy that would take a dropped step again at
    /// once cannot hide that it was needed.
    Kept,
}

/// Where the trajectories of one arm go on.
#[derive(Clone)]
pub struct Prefix<'e> {
    /// The steps up to there.
    pub steps: Vec<Step>,
    /// The state after them.
    pub episode: Episode<'e>,
    /// How the trajectory has ended already, if it has: by an answer in the place of a step,
    /// or by a budget. Then there is nothing to go on from.
    pub ending: Option<Ending>,
    /// Which of the steps shows a forged first observation, and what executing it gave.
    pub forged: Option<(usize, Observation)>,
}

/// Why a prefix could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CounterfactualError {
    /// A step that the change does not touch came out differently.
    #[error("what was recorded cannot be restored")]
    Diverged(Box<Divergence>),
    /// A tool failed.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The step has no observation to forge.
    #[error("step {0} has no observation: it calls no tool")]
    NoObservation(NodeId),
}

/// The trajectory that ends in `leaf` up to where a policy is to go on, with a step changed;
/// without a change, the factual arm to compare with. Everything is executed, and must come
/// out as recorded unless another message, or one less, stands before it: an observation that
/// is forged changes no tool's state.
///
/// # Panics
///
/// If `node` is not on the path to `leaf`.
pub async fn prefix<'e>(
    environment: &'e Environment,
    task: &Task,
    tree: &Tree,
    (node, leaf): (NodeId, NodeId),
    change: Option<&Change>,
    rest: Rest,
) -> Result<Prefix<'e>, CounterfactualError> {
    let path = tree.path(leaf);
    let at =
        path.iter().position(|(id, _)| *id == node).expect("the step is on the path");
    let episode = Episode::new(environment, &task.inputs, None);
    let mut prefix = Prefix { steps: vec![], episode, ending: None, forged: None };
    for (id, recorded) in &path[..at] {
        prefix.restore(task, *id, &recorded.step).await?;
    }
    let recorded = &path[at].1.step;
    // The last message is what is sampled again; where it is the step itself, only a change
    // puts something into its place.
    let last = path.len() - 1;
    match change {
        None if at == last && rest == Rest::Kept => {}
        None => prefix.restore(task, node, recorded).await?,
        Some(Change::Drop) => {}
        Some(Change::Replace(text)) => {
            let action = environment.protocol().parse(text).action;
            let text = text.clone();
            let seed = recorded.proposal.seed;
            let proposal = Proposal { text, action, seed, tokens: None, elided: vec![] };
            prefix.act(proposal).await?;
        }
        Some(Change::Observation(text)) => {
            prefix.restore(task, node, recorded).await?;
            let step = prefix.steps.last_mut().expect("it was just taken");
            let shown = step.observations.first_mut();
            let shown = shown.ok_or(CounterfactualError::NoObservation(node))?;
            let forged =
                Observation::Output { text: text.clone(), data: serde_json::Value::Null };
            let executed = std::mem::replace(shown, forged);
            prefix.forged = Some((at, executed));
        }
    }
    if rest == Rest::Kept {
        for (id, node) in path.get(at + 1..last).unwrap_or_default() {
            if prefix.ending.is_some() {
                break;
            }
            let mut step = node.step.clone();
            if change.is_some() {
                // What the model read then is not what it would read now.
                (step.proposal.tokens, step.proposal.elided) = (None, vec![]);
            }
            match change {
                None | Some(Change::Observation(_)) => {
                    prefix.restore(task, *id, &step).await?;
                }
                Some(Change::Replace(_) | Change::Drop) => {
                    prefix.follow(&step).await?;
                }
            }
        }
    }
    Ok(prefix)
}

impl Prefix<'_> {
    async fn act(&mut self, proposal: Proposal) -> Result<(), ActError> {
        let step = self.episode.act(proposal).await?;
        self.push(step);
        Ok(())
    }

    async fn follow(&mut self, recorded: &Step) -> Result<Step, ActError> {
        let step = self.episode.follow(recorded).await?;
        self.push(step.clone());
        Ok(step)
    }

    /// Follows a step that has to come out as recorded.
    async fn restore(
        &mut self,
        task: &Task,
        node: NodeId,
        recorded: &Step,
    ) -> Result<(), CounterfactualError> {
        let step = self.follow(recorded).await?;
        let Some((field, recorded, found)) = difference(recorded, &step) else {
            return Ok(());
        };
        let task = task.id.clone();
        let divergence = Divergence { task, node, field, recorded, found };
        Err(CounterfactualError::Diverged(Box::new(divergence)))
    }

    fn push(&mut self, step: Step) {
        self.ending = self.episode.ending(&step);
        self.steps.push(step);
    }

    /// Adds the steps to a tree as a trajectory of their own, and returns the last one.
    pub fn push_to(&self, tree: &mut Tree) -> Option<NodeId> {
        let mut parent = None;
        for step in &self.steps {
            let node = Arc::new(Node { parent, step: step.clone() });
            parent = Some(tree.push(node).expect("its parent was just pushed"));
        }
        parent
    }
}

/// What leaving a step out does to a trajectory's success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    /// Success falls without it.
    Needed,
    /// Success rises without it.
    Harmful,
    /// Success is the same without it, within the margin.
    Useless,
    /// Too few samples to tell.
    Undecided,
}

impl Worth {
    /// What a change in success by leaving a step out says of the step. The interval decides:
    /// one within the margin on both sides of zero says that there is none to speak of, another
    /// that lies on one side of zero names the direction, any other says nothing.
    pub fn of(change: Interval, margin: f64) -> Self {
        let Interval { low, high, .. } = change;
        if -margin <= low && high <= margin {
            Worth::Useless
        } else if low > 0.0 {
            Worth::Harmful
        } else if high < 0.0 {
            Worth::Needed
        } else {
            Worth::Undecided
        }
    }
}

impl std::fmt::Display for Worth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Worth::Needed => "needed",
            Worth::Harmful => "harmful",
            Worth::Useless => "useless",
            Worth::Undecided => "undecided",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_decides_what_a_step_was_worth() {
        let of = |low: f64, high: f64| {
            Worth::of(Interval { value: (low + high) / 2.0, low, high }, 0.2)
        };
        assert_eq!(of(0.1, 0.9), Worth::Harmful);
        assert_eq!(of(-0.9, -0.1), Worth::Needed);
        assert_eq!(of(-0.15, 0.15), Worth::Useless);
        assert_eq!(of(0.05, 0.15), Worth::Useless);
        assert_eq!(of(-0.3, 0.3), Worth::Undecided);
        assert_eq!(of(-0.1, 0.3), Worth::Undecided);
    }
}
