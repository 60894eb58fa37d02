//! Executes a recorded tree again and compares: no policy is asked, every tool call is made
//! but those that go into a world nobody can put back.

use std::collections::BTreeMap;
use std::fmt;

use crate::{
    ActError, CallCache, Digest, Environment, Episode, Evidence, NodeId, Observation,
    Step, Task, TaskId, Tree, Verdict,
};

/// The first place where executing again gave something else than the record says.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// The tree.
    pub task: TaskId,
    /// The step.
    pub node: NodeId,
    /// What differs.
    pub field: Field,
    /// What the record says.
    pub recorded: String,
    /// What came out.
    pub found: String,
}

/// What of a step can differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The message, where two runs are compared: a replay takes it from the record.
    Message,
    /// How the trajectory ended, where two runs are compared.
    Ending,
    /// The observation of the call of this index.
    Observation(usize),
    /// How many observations there are.
    Observations,
    /// The tools' state after the step.
    Scratch,
    /// A verdict's evidence: the verifier, and the index of the evidence.
    Evidence(String, usize),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Message => f.write_str("the message"),
            Field::Ending => f.write_str("the ending"),
            Field::Observation(index) => write!(f, "observation {index}"),
            Field::Observations => f.write_str("the number of observations"),
            Field::Scratch => f.write_str("the digest of the tools' state"),
            Field::Evidence(verifier, index) => {
                write!(f, "evidence {index} of {verifier}")
            }
        }
    }
}

impl Divergence {
    /// The trajectory it is reported under, by its last step: the first one through the step.
    pub fn leaf(&self, tree: &Tree) -> NodeId {
        tree.first_leaf_through(self.node)
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Divergence { task, node, field, .. } = self;
        writeln!(f, "task {task}, step {node}: {field} differs")?;
        let (recorded, found) = first_difference(&self.recorded, &self.found);
        writeln!(f, "  recorded: {recorded}")?;
        write!(f, "  now:      {found}")
    }
}

/// Replays a tree: a fold over its nodes in the order made. Returns the first divergence;
/// steps below it are not executed, for they rest on it.
///
/// Pass an episode without a cache, or nothing is executed twice.
pub async fn replay(
    environment: &Environment,
    task: &Task,
    tree: &Tree,
) -> Result<Option<Divergence>, ActError> {
    let mut states = States::new(environment, task, tree);
    for (id, node) in tree.nodes() {
        let mut episode = states.before(id);
        let step = episode.follow(&node.step).await?;
        if let Some((field, recorded, found)) = difference(&node.step, &step) {
            let task = tree.task().clone();
            return Ok(Some(Divergence { task, node: id, field, recorded, found }));
        }
        states.after(id, episode);
    }
    Ok(None)
}

/// A fork of the state after a step, got by executing the path to it; `None` is the state
/// before the first step. With the cache of a run only what is not remembered is executed.
///
/// # Panics
///
/// If the tree has no such step.
pub async fn fork<'e>(
    environment: &'e Environment,
    task: &Task,
    tree: &Tree,
    after: Option<NodeId>,
    cache: Option<&'e CallCache>,
) -> Result<Episode<'e>, ActError> {
    let mut episode = Episode::new(environment, &task.inputs, cache);
    let Some(after) = after else { return Ok(episode) };
    assert!(tree.get(after).is_some(), "task {}: there is no step {after}", task.id);
    for (_, node) in tree.path(after) {
        episode.follow(&node.step).await?;
    }
    Ok(episode)
}

/// Executes the evidence of verdicts again, each call on a fork of the state before the step
/// that the verdict is about. Returns the first divergence and how many calls were made.
pub async fn replay_evidence(
    environment: &Environment,
    task: &Task,
    tree: &Tree,
    verdicts: &[Verdict],
) -> Result<(Option<Divergence>, u64), ActError> {
    let mut states = States::new(environment, task, tree);
    let mut calls = 0;
    for (id, node) in tree.nodes() {
        let mut episode = states.before(id);
        for verdict in verdicts.iter().filter(|verdict| verdict.node == id) {
            for (index, evidence) in verdict.evidence.iter().enumerate() {
                let Evidence::Execution { call, result } = evidence else { continue };
                if environment.is_external(&call.tool) {
                    continue;
                }
                calls += 1;
                let found = episode.clone().call(call).await?;
                if Digest::of_json(&found) != *result {
                    let field = Field::Evidence(verdict.verifier.to_string(), index);
                    let recorded = format!("an observation of digest {result}");
                    let task = tree.task().clone();
                    let found = text_of(&found);
                    let divergence =
                        Divergence { task, node: id, field, recorded, found };
                    return Ok((Some(divergence), calls));
                }
            }
        }
        episode.follow(&node.step).await?;
        states.after(id, episode);
    }
    Ok((None, calls))
}

/// The state after each step that something still hangs on.
pub(crate) struct States<'e, 't> {
    environment: &'e Environment,
    task: &'t Task,
    tree: &'t Tree,
    after: BTreeMap<NodeId, (Episode<'e>, usize)>,
}

impl<'e, 't> States<'e, 't> {
    pub(crate) fn new(
        environment: &'e Environment,
        task: &'t Task,
        tree: &'t Tree,
    ) -> Self {
        Self { environment, task, tree, after: BTreeMap::new() }
    }

    pub(crate) fn before(&mut self, node: NodeId) -> Episode<'e> {
        let parent = self.tree.get(node).and_then(|node| node.parent);
        let Some(parent) = parent else {
            return Episode::new(self.environment, &self.task.inputs, None);
        };
        let (episode, left) = self.after.get_mut(&parent).expect("parents come first");
        *left -= 1;
        if *left > 0 {
            return episode.clone();
        }
        let (episode, _) = self.after.remove(&parent).expect("it was just there");
        episode
    }

    pub(crate) fn after(&mut self, node: NodeId, episode: Episode<'e>) {
        let children = self.tree.children(Some(node)).count();
        if children > 0 {
            self.after.insert(node, (episode, children));
        }
    }
}

pub(crate) fn difference(
    recorded: &Step,
    found: &Step,
) -> Option<(Field, String, String)> {
    let pairs = recorded.observations.iter().zip(&found.observations).enumerate();
    for (index, (recorded, found)) in pairs {
        if recorded != found {
            return Some((Field::Observation(index), text_of(recorded), text_of(found)));
        }
    }
    let counts = (recorded.observations.len(), found.observations.len());
    if counts.0 != counts.1 {
        return Some((Field::Observations, counts.0.to_string(), counts.1.to_string()));
    }
    let scratch = (recorded.scratch, found.scratch);
    (scratch.0 != scratch.1)
        .then(|| (Field::Scratch, scratch.0.to_string(), scratch.1.to_string()))
}

pub(crate) fn text_of(observation: &Observation) -> String {
    serde_json::to_string(observation).expect("an observation serialises")
}

/// Both texts around the first character in which they differ.
fn first_difference(one: &str, two: &str) -> (String, String) {
    let same = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let start = text.floor_char_boundary(same.saturating_sub(60));
        let end = text.ceil_char_boundary((same + 100).min(text.len()));
        let head = if start > 0 { "…" } else { "" };
        let tail = if end < text.len() { "…" } else { "" };
        format!("{head}{}{tail}", text[start..end].replace('\n', "\\n"))
    };
    (around(one), around(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shown_where_they_part() {
        let one = format!("{}red{}", "a".repeat(500), "b".repeat(500));
        let two = format!("{}rot{}", "a".repeat(500), "b".repeat(500));
        let (one, two) = first_difference(&one, &two);
        assert!(one.contains("ared") && two.contains("arot") && one.len() < 200);
        assert_eq!(first_difference("é", "è"), ("é".into(), "è".into()));
    }
}
