//! Holds the answers of a tree against the gold: the verb behind every outcome.

use crate::comparators::{Comparator, ComparatorError, Comparison};
use crate::outcome::{Compared, answers};
use crate::{ActError, CallCache, Environment, Gold, NodeId, Task, Tree, fork};

/// Why answers could not be compared: never the agent's doing.
#[derive(Debug, thiserror::Error)]
pub enum GradeError {
    /// The gold is not what its comparator needs.
    #[error("gold of task {task}: {source}")]
    Gold {
        /// Which task.
        task: String,
        /// What is wrong.
        source: ComparatorError,
    },
    /// A call that the comparison takes failed.
    #[error(transparent)]
    Act(#[from] ActError),
}

/// Holds every answer of a tree against the gold. Where the gold's comparator executes, each
/// answer is executed on a fork of the state in which it was given, and the path to it is
/// executed first: pass the cache of the run, and only what is not remembered is.
pub async fn grade(
    environment: &Environment,
    task: &Task,
    gold: &Gold,
    tree: &Tree,
    cache: Option<&CallCache>,
) -> Result<Compared, GradeError> {
    let mut compared = Compared::new();
    for (leaf, answer) in answers(tree) {
        let comparison =
            grade_answer(environment, task, gold, tree, (leaf, answer), cache);
        compared.insert(leaf, comparison.await?);
    }
    Ok(compared)
}

/// Holds the one answer that a leaf gives against the gold.
pub(crate) async fn grade_answer(
    environment: &Environment,
    task: &Task,
    gold: &Gold,
    tree: &Tree,
    (leaf, answer): (NodeId, &str),
    cache: Option<&CallCache>,
) -> Result<Comparison, GradeError> {
    let comparator = Comparator::of(gold)
        .map_err(|source| GradeError::Gold { task: task.id.to_string(), source })?;
    let calls = comparator.calls(answer, gold);
    let mut observed = Vec::with_capacity(calls.len());
    if !calls.is_empty() {
        let state = fork(environment, task, tree, Some(leaf), cache).await?;
        for call in &calls {
            observed.push(state.clone().call(call).await?);
        }
    }
    Ok(comparator.compare(answer, gold, &observed))
}
