//! What an episode is about, and what its answer should be: kept apart on purpose.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of a task: unique within its environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub String);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A question put to an agent. It holds nothing of the answer: see [`Gold`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Unique within the environment.
    pub id: TaskId,
    /// The question as the agent reads it.
    pub prompt: String,
    /// What the tools are given for this task (files, a database); `null` where nothing is.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub inputs: Value,
}

/// What is known about the right answer, read from a file of its own. Only a verifier whose
/// [`Sight`](crate::Sight) says so is shown it; no policy and no tool ever is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gold(pub Value);

impl Gold {
    /// Every accepted answer, the preferred one first: `answer`, then `aliases`.
    pub fn answers(&self) -> Vec<&str> {
        let preferred = self.0.get("answer").and_then(Value::as_str);
        preferred.into_iter().chain(self.strings("aliases")).collect()
    }

    /// Ids of the documents that together hold the answer.
    pub fn supporting(&self) -> Vec<&str> {
        self.strings("supporting").collect()
    }

    /// The calls that somebody who knows the gold would make before answering, as tool and
    /// arguments: `solution`, a list of `{"tool", "args"}`. Empty where there is none; what
    /// is no such list is told in words.
    pub fn solution(&self) -> Result<Vec<(&str, Value)>, String> {
        let Some(calls) = self.0.get("solution") else { return Ok(vec![]) };
        let shape = "field \"solution\": must be a list of {\"tool\", \"args\"}";
        let calls = calls.as_array().ok_or(shape)?;
        let read: Option<Vec<_>> = calls
            .iter()
            .map(|value| {
                let args = value.get("args").filter(|args| args.is_object())?;
                Some((value.get("tool")?.as_str()?, args.clone()))
            })
            .collect();
        read.ok_or_else(|| shape.to_owned())
    }

    /// The groups that results are broken down by, such as `hops` and `type`.
    pub fn groups(&self) -> impl Iterator<Item = (&str, String)> {
        let groups = self.0.get("groups").and_then(Value::as_object);
        groups.into_iter().flatten().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.as_str(), value)
        })
    }

    fn strings(&self, field: &str) -> impl Iterator<Item = &str> {
        let values = self.0.get(field).and_then(Value::as_array);
        values.into_iter().flatten().filter_map(Value::as_str)
    }
}
