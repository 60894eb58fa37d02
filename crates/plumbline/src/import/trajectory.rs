//! Trajectories that somebody else recorded, in our terms.
//!
//! One record is one trajectory. It becomes a path of steps; what the source says about the
//! right answer becomes gold, what people said becomes [`HumanLabel`]s, and what our nouns do
//! not hold goes into its [`Origin`], from which the source's own record can be written
//! again. Nothing of gold or labels is in a step.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::Record;
use super::{
    ImportError, agent_process_bench, atif, openai_chat, reflexion, sql_labels,
    who_and_when,
};
use crate::protocol::Protocol;
use crate::{Ending, Gold, HumanLabel, Node, NodeId, Step, Task, TaskId, Tree, Verdict};

/// A published layout of recorded trajectories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrajectoryFormat {
    /// AgentProcessBench: chat messages with a human label on each assistant message.
    AgentProcessBench,
    /// Chat messages with tool calls, as endpoints of the OpenAI kind take them: a line holds
    /// them under `messages` or `traj`.
    OpenaiChat,
    /// Reflexion's ReAct logs: thought, action, observation.
    Reflexion,
    /// Who&When: a conversation of several agents, and which message was the mistake.
    WhoAndWhen,
    /// SQLExam and NL2SQL-BUGs: a question, a query, and whether a person calls it right.
    SqlLabels,
    /// ATIF, the Agent Trajectory Interchange Format.
    Atif,
}

impl TrajectoryFormat {
    /// Every format, in the order they are listed to users.
    pub const ALL: [TrajectoryFormat; 6] = [
        TrajectoryFormat::AgentProcessBench,
        TrajectoryFormat::OpenaiChat,
        TrajectoryFormat::Reflexion,
        TrajectoryFormat::WhoAndWhen,
        TrajectoryFormat::SqlLabels,
        TrajectoryFormat::Atif,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            TrajectoryFormat::AgentProcessBench => "agentprocessbench",
            TrajectoryFormat::OpenaiChat => "openai-chat",
            TrajectoryFormat::Reflexion => "reflexion",
            TrajectoryFormat::WhoAndWhen => "who-and-when",
            TrajectoryFormat::SqlLabels => "sql-labels",
            TrajectoryFormat::Atif => "atif",
        }
    }

    /// How the messages of an imported step are written.
    pub fn protocol(self) -> Protocol {
        match self {
            TrajectoryFormat::Reflexion => Protocol::React,
            _ => Protocol::Hermes,
        }
    }

    /// Reads one trajectory.
    pub fn read(self, record: &Record) -> Result<Trajectory, ImportError> {
        record.unambiguous()?;
        match self {
            TrajectoryFormat::AgentProcessBench => agent_process_bench::read(record),
            TrajectoryFormat::OpenaiChat => openai_chat::read(record),
            TrajectoryFormat::Reflexion => reflexion::read(record),
            TrajectoryFormat::WhoAndWhen => who_and_when::read(record),
            TrajectoryFormat::SqlLabels => sql_labels::read(record),
            TrajectoryFormat::Atif => atif::read(record),
        }
    }
}

impl fmt::Display for TrajectoryFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no format of trajectories.
#[derive(Debug, thiserror::Error)]
#[error(
    "no format of trajectories is called {0:?}; there are: agentprocessbench, openai-chat, \
     reflexion, who-and-when, sql-labels, atif"
)]
pub struct TrajectoryFormatError(String);

impl FromStr for TrajectoryFormat {
    type Err = TrajectoryFormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| TrajectoryFormatError(name.to_owned()))
    }
}

/// One recorded trajectory. Its nodes are numbered from 0 along the path.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// What it is about. Trajectories of one task share its id.
    pub task: Task,
    /// What is known of the right answer.
    pub gold: Option<Gold>,
    /// What happened.
    pub steps: Vec<Step>,
    /// What each step was in the tree that the record was written from, where it says: steps
    /// that trajectories share are one there. Empty where it does not.
    pub nodes: Vec<NodeId>,
    /// How it ended; `None` where it is unfinished.
    pub ending: Option<Ending>,
    /// What people said about it.
    pub human: Vec<HumanLabel>,
    /// What others than people said about it.
    pub verdicts: Vec<Verdict>,
    /// What the source calls it.
    pub key: Value,
    /// The step of each message that is one, by the message's index in the source.
    pub messages: BTreeMap<u32, NodeId>,
    /// What the source's record held beyond all this.
    pub rest: Value,
}

/// Where a trajectory of a run came from: a line of `origin.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The tree it hangs in.
    pub task: TaskId,
    /// Its last step; `None` if it has no step.
    pub leaf: Option<NodeId>,
    /// What the source calls it, such as `{"query_index": 2, "sample_index": 0}`.
    pub key: Value,
    /// The source's index of each message that is a step, and that step, in order.
    pub messages: Vec<(u32, NodeId)>,
    /// What the source's record held beyond what steps, gold and labels hold.
    pub rest: Value,
}

impl Origin {
    /// The system message that the source has for this trajectory; empty if it has none.
    pub fn system(&self) -> &str {
        let text = |value: &Value| value.as_str().map(str::len).is_some_and(|l| l > 0);
        let said = self.rest.get("system").filter(|value| text(value));
        let marks = self.rest.get("marks").and_then(Value::as_array);
        let messages = marks.into_iter().flatten().filter_map(|mark| mark.get("as"));
        let mut system =
            messages.filter(|message| message.get("role") == Some(&"system".into()));
        let said = said.or_else(|| system.find_map(|message| message.get("content")));
        said.and_then(Value::as_str).unwrap_or("")
    }

    /// The declarations of tools that the source has for this trajectory, as endpoints of
    /// the OpenAI kind take them.
    pub fn tools(&self) -> Vec<Value> {
        let record = self.rest.get("record");
        let agent = |record: &'_ Value| -> Option<Value> {
            record.get("agent")?.get("tool_definitions").cloned()
        };
        let tools = record.and_then(|record| {
            record
                .get("tools")
                .filter(|tools| tools.is_array())
                .cloned()
                .or(agent(record))
        });
        match tools {
            Some(Value::Array(tools)) => tools,
            _ => vec![],
        }
    }
}

/// Why a trajectory cannot join those of its task.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlantError {
    /// The question is not the one that the task has.
    #[error(
        "task {task} has another question than an earlier trajectory of that task; \
         correct the record or leave it out"
    )]
    Question {
        /// The task.
        task: TaskId,
    },
    /// The gold is not the one that the task has.
    #[error(
        "task {task} has another {what} than an earlier trajectory of that task; \
         correct the record or leave it out"
    )]
    Gold {
        /// The task.
        task: TaskId,
        /// What of it is another.
        what: String,
    },
}

/// The trees that trajectories are hung into, one a task, with tasks and gold beside them.
#[derive(Debug, Default)]
pub struct Forest {
    trees: BTreeMap<TaskId, Tree>,
    tasks: Vec<Task>,
    gold: BTreeMap<TaskId, Gold>,
    /// Where a step of a task hangs that was so numbered in the tree it came from.
    known: BTreeMap<(TaskId, NodeId), NodeId>,
}

/// What hanging one trajectory into its tree added.
#[derive(Debug)]
pub struct Planted {
    /// The nodes that are new.
    pub nodes: Vec<(NodeId, Arc<Node>)>,
    /// The trajectory's last step.
    pub leaf: Option<NodeId>,
    /// How the trajectory ended; `None` where it is unfinished.
    pub ending: Option<Ending>,
    /// What people said, with the nodes' numbers in the tree.
    pub human: Vec<HumanLabel>,
    /// What others said, with the nodes' numbers in the tree.
    pub verdicts: Vec<Verdict>,
    /// Where it came from.
    pub origin: Origin,
}

impl Forest {
    /// Hangs a trajectory into the tree of its task: as a branch of its own, but for the first
    /// steps that it shares with an earlier one, where the records say that they are one.
    pub fn plant(&mut self, trajectory: Trajectory) -> Result<Planted, PlantError> {
        let Trajectory {
            task,
            gold,
            steps,
            nodes: of_source,
            ending,
            human,
            mut verdicts,
            key,
            messages,
            rest,
        } = trajectory;
        let id = task.id.clone();
        match self.tasks.iter().find(|known| known.id == id) {
            None => self.tasks.push(task),
            Some(known) if *known == task => {}
            Some(_) => return Err(PlantError::Question { task: id }),
        }
        if let Some(gold) = gold {
            let known = self.gold.entry(id.clone()).or_insert_with(|| gold.clone());
            if *known != gold {
                let what = difference(known, &gold);
                return Err(PlantError::Gold { task: id, what });
            }
        }
        let tree = self.trees.entry(id.clone()).or_insert_with(|| Tree::new(id.clone()));
        let mut path = shared(tree, &self.known, &steps, &of_source);
        let there = path.len();
        let mut nodes = Vec::with_capacity(steps.len() - there);
        for step in steps.into_iter().skip(there) {
            let node = Arc::new(Node { parent: path.last().copied(), step });
            let node_id =
                tree.push(Arc::clone(&node)).expect("its parent is in the tree");
            path.push(node_id);
            nodes.push((node_id, node));
        }
        let numbered = of_source.iter().zip(&path);
        self.known.extend(numbered.map(|(was, is)| ((id.clone(), *was), *is)));
        let leaf = path.last().copied();
        if let Some(ending) = &ending {
            tree.end(leaf, ending.clone()).expect("the leaf is in the tree");
        }
        let here = |node: NodeId| path[node.0 as usize];
        let human = human.into_iter().map(|label| label.moved(here)).collect();
        let place = |(index, node): (u32, NodeId)| (index, here(node));
        let messages = messages.into_iter().map(place).collect();
        // Those on shared steps came along with the first one.
        verdicts.retain(|verdict| verdict.node.0 as usize >= there);
        verdicts.iter_mut().for_each(|verdict| verdict.node = here(verdict.node));
        let origin = Origin { task: id, leaf, key, messages, rest };
        Ok(Planted { nodes, leaf, ending, human, verdicts, origin })
    }

    /// The tasks, in the order they came.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The gold by task.
    pub fn gold(&self) -> &BTreeMap<TaskId, Gold> {
        &self.gold
    }

    /// The trees by task.
    pub fn trees(&self) -> &BTreeMap<TaskId, Tree> {
        &self.trees
    }
}

/// The first steps of a trajectory that a tree has already, numbered alike where they came
/// from. None where all are there: then a trajectory came twice, and is one of its own.
fn shared(
    tree: &Tree,
    known: &BTreeMap<(TaskId, NodeId), NodeId>,
    steps: &[Step],
    of_source: &[NodeId],
) -> Vec<NodeId> {
    let mut path: Vec<NodeId> = Vec::new();
    for (step, was) in steps.iter().zip(of_source) {
        let found = known.get(&(tree.task().clone(), *was)).filter(|found| {
            let node = tree.get(**found).expect("what is known is in the tree");
            node.parent == path.last().copied() && node.step == *step
        });
        let Some(found) = found else { return path };
        path.push(*found);
    }
    vec![]
}

/// What of two golds that differ is another, in words.
fn difference(one: &Gold, two: &Gold) -> String {
    if one.answers() != two.answers() {
        return "right answer".to_owned();
    }
    let groups = |gold: &Gold| gold.0.get("groups").cloned().unwrap_or_default();
    let (one, two) = (groups(one), groups(two));
    match (one.get("source"), two.get("source")) {
        (Some(one), Some(two)) if one != two => {
            "source (in AgentProcessBench: data_source)".to_owned()
        }
        _ => "gold, though the same right answer,".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::record::Records;
    use super::*;

    pub(in super::super) fn try_read(
        format: TrajectoryFormat,
        text: &str,
    ) -> Result<Vec<Trajectory>, ImportError> {
        let mut bytes = text.as_bytes();
        Records::new("sample.jsonl", &mut bytes)
            .map(|record| format.read(&record?))
            .collect()
    }

    pub(in super::super) fn read(
        format: TrajectoryFormat,
        text: &str,
    ) -> Vec<Trajectory> {
        try_read(format, text).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(in super::super) fn refusal(format: TrajectoryFormat, text: &str) -> String {
        try_read(format, text).expect_err("it is refused").to_string()
    }

    #[test]
    fn steps_that_are_one_where_they_came_from_stay_one() {
        let line = |nodes: [u32; 2], said: &str| {
            let step = |node: u32, text: &str| {
                serde_json::json!({"source": "agent", "message": text,
                    "extra": {"node": node, "seed": node, "label": 1}})
            };
            serde_json::json!({
                "schema_version": "ATIF-v1.8", "session_id": "t",
                "steps": [{"source": "user", "message": "Who?"},
                    step(nodes[0], "Hm."), step(nodes[1], said)],
                "extra": {"ending": {"type": "answered"}},
            })
            .to_string()
        };
        let mut forest = Forest::default();
        let mut plant = |nodes, said| {
            let trajectory = read(TrajectoryFormat::Atif, &line(nodes, said)).remove(0);
            let planted = forest.plant(trajectory).expect("they fit");
            let judged = planted.verdicts.iter().map(|verdict| verdict.node.0);
            (planted.nodes.len(), planted.origin.messages, judged.collect::<Vec<_>>())
        };
        let at = |one, two| vec![(1, NodeId(one)), (2, NodeId(two))];
        let [one, two] = ["<answer>a</answer>", "<answer>b</answer>"];
        assert_eq!(plant([0, 3], one), (2, at(0, 1), vec![0, 1]));
        assert_eq!(plant([0, 5], two), (1, at(0, 2), vec![2]));
        assert_eq!(plant([0, 5], two), (2, at(3, 4), vec![3, 4]), "it came twice");
        assert_eq!(plant([6, 7], one), (2, at(5, 6), vec![5, 6]));
    }

    #[test]
    fn samples_of_a_task_become_branches_of_one_tree() {
        let line = |sample: u32, question: &str, source: &str| {
            serde_json::json!({
                "query_index": 1, "sample_index": sample, "question": question,
                "data_source": source, "ground_truth": {"target": ["x"]},
                "messages": [{"role": "user", "content": "U"},
                    {"role": "assistant", "content": "<answer>x</answer>"}],
                "step_labels": {"1": -1}, "final_label": -1,
            })
            .to_string()
        };
        let format = TrajectoryFormat::AgentProcessBench;
        let mut forest = Forest::default();
        for sample in 0..2 {
            let trajectory = read(format, &line(sample, "Who?", "s")).remove(0);
            let planted = forest.plant(trajectory).expect("they fit");
            assert_eq!(planted.leaf, Some(NodeId(sample)));
            assert_eq!(planted.origin.messages, [(1, NodeId(sample))]);
            assert!(planted.human.iter().all(|label| match label {
                HumanLabel::Step { node, .. } | HumanLabel::Final { node, .. } => {
                    node.0 == sample
                }
                HumanLabel::Mistake { .. } => false,
            }));
        }
        assert_eq!(forest.tasks().len(), 1);
        assert_eq!(forest.trees().values().next().map(Tree::len), Some(2));
        let other = read(format, &line(2, "Where?", "s")).remove(0);
        assert!(matches!(forest.plant(other), Err(PlantError::Question { .. })));
        let other = read(format, &line(2, "Who?", "t")).remove(0);
        let error = forest.plant(other).expect_err("another source").to_string();
        assert!(error.contains("another source"), "{error}");
    }
}
