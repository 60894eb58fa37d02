//! Has the policy itself run again: at every recorded prefix it is asked for the message that
//! the record holds, with the seed that the record holds.

use crate::grow::{is_forced, is_grafted, prompt_of};
use crate::{Environment, NodeId, Policy, PolicyError, Task, TaskId, Tree};

/// What a policy made of the prefixes of one tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Regeneration {
    /// Messages that came out word for word as recorded.
    pub same: u64,
    /// Messages that did not.
    pub different: u64,
    /// Prefixes for which the policy has no message now.
    pub failed: u64,
    /// The first message of each trajectory that came out otherwise, in the order of the
    /// trajectories.
    pub first: Vec<Reworded>,
}

/// A message that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reworded {
    /// The tree.
    pub task: TaskId,
    /// The trajectory, by its last step.
    pub leaf: NodeId,
    /// The step.
    pub node: NodeId,
    /// The recorded message.
    pub recorded: String,
    /// What the policy says now; an error is why it says nothing.
    pub found: Result<String, String>,
}

/// Asks the policy again for every message of a tree, one at a time; for those that
/// it never gave, which a method put there, it is not. Prefixes are those of the record, so that
/// one message that comes out otherwise does not change what is asked
/// after it. No tool is called. `seed` is the run's: a step that had to answer is known by it.
///
/// A difference is no fault of the record's: an endpoint may serve another model under the
/// same name, and a model computes slightly other numbers in batches of another size. An
/// endpoint that fails ends it; a model's own failure is a difference.
pub async fn regenerate(
    environment: &Environment,
    policy: &dyn Policy,
    task: &Task,
    tree: &Tree,
    seed: u64,
) -> Result<Regeneration, PolicyError> {
    let mut found: Vec<Reworded> = Vec::new();
    let mut regeneration = Regeneration::default();
    for (id, node) in tree.nodes() {
        if is_grafted(seed, task, tree, node) {
            continue;
        }
        let path = tree.path_to(node.parent);
        let recorded = &node.step.proposal;
        let mut prompt = prompt_of(environment, task, &path);
        prompt.last |= is_forced(seed, task, tree, node);
        let now = match policy.propose(&prompt, &[recorded.seed]).await {
            Ok(proposals) => {
                let proposal = proposals.into_iter().next();
                Ok(proposal.expect("one proposal for each seed").text)
            }
            Err(error @ PolicyError::Endpoint(_)) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        match &now {
            Ok(text) if *text == recorded.text => {
                regeneration.same += 1;
                continue;
            }
            Ok(_) => regeneration.different += 1,
            Err(_) => regeneration.failed += 1,
        }
        found.push(Reworded {
            task: tree.task().clone(),
            leaf: id,
            node: id,
            recorded: recorded.text.clone(),
            found: now,
        });
    }
    for leaf in tree.leaves() {
        let path = tree.path(leaf);
        let first = path.iter().find_map(|(id, _)| found.iter().find(|r| r.node == *id));
        regeneration.first.extend(first.map(|first| Reworded { leaf, ..first.clone() }));
    }
    Ok(regeneration)
}
