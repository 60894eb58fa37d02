//! Good trajectories of an environment's own tasks, and how changed copies are played.

use std::sync::Arc;

use serde_json::json;

use crate::mutants::Effect;
use crate::{
    ActError, Action, CallCache, Ending, Environment, Episode, Gold, Node, NodeId,
    Observation, Proposal, Task, ToolCall, Tree, text,
};

/// The actions of a trajectory, changed in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What was changed: `swapped-entity`, `repeated-query`.
    pub class: &'static str,
    /// What the change does.
    pub effect: Effect,
    /// What is done, in order.
    pub actions: Vec<Action>,
    /// The index of the action that is changed, or of the first that rests on the change.
    pub site: usize,
    /// What the message of that action says first.
    pub thought: Option<String>,
    /// Observations that are cut to so many bytes, by the action they belong to.
    pub cuts: Vec<(usize, usize)>,
}

impl Plan {
    /// A plan that changes an action and nothing else.
    pub fn new(
        class: &'static str,
        effect: Effect,
        actions: Vec<Action>,
        site: usize,
    ) -> Self {
        Self { class, effect, actions, site, thought: None, cuts: vec![] }
    }
}

/// A call as an action.
pub fn call(tool: &str, args: serde_json::Value) -> Action {
    let (id, tool) = ("call_0".to_owned(), tool.to_owned());
    Action::Calls { calls: vec![ToolCall { id, tool, args }] }
}

/// What somebody who knows the gold would do: the gold's `solution`; or a search for each
/// supporting document by its title, and the last one opened where the searches do not show
/// the answer; then the answer. `None` if the gold has no answer, or names a solution that
/// cannot be read.
pub async fn solve(
    environment: &Environment,
    task: &Task,
    gold: &Gold,
    cache: &CallCache,
) -> Result<Option<Vec<Action>>, ActError> {
    let (Some(answer), Ok(solution)) = (gold.answers().first().copied(), gold.solution())
    else {
        return Ok(None);
    };
    let answer = Action::Answer { text: answer.to_owned() };
    let mut actions: Vec<Action> = Vec::new();
    let opens: Vec<Action> = gold
        .supporting()
        .into_iter()
        .map(|id| call("open", json!({ "title": id })))
        .collect();
    if !solution.is_empty() {
        actions.extend(solution.into_iter().map(|(tool, args)| call(tool, args)));
    } else if environment.tool("search").is_some() && environment.tool("open").is_some() {
        let read = play(environment, task, &bare(opens.clone()), cache).await?;
        for (_, node) in read.nodes() {
            let passages = node.step.observations.iter().flat_map(text::passages);
            let titles = passages.map(|passage| passage.title.to_owned());
            actions.extend(titles.map(|title| call("search", json!({ "query": title }))));
        }
        let found = play(environment, task, &bare(actions.clone()), cache).await?;
        if shows(&found, gold).is_empty() {
            actions.extend(opens.into_iter().next_back());
        }
    } else if environment.tool("open").is_some() {
        actions = opens;
    }
    actions.push(answer);
    Ok(Some(actions))
}

fn bare(actions: Vec<Action>) -> Plan {
    Plan::new("none", Effect::NoOp, actions, 0)
}

/// Carries a plan out. A protocol that cannot say an action has it recorded without words.
pub async fn play(
    environment: &Environment,
    task: &Task,
    plan: &Plan,
    cache: &CallCache,
) -> Result<Tree, ActError> {
    let mut episode = Episode::new(environment, &task.inputs, Some(cache));
    let mut tree = Tree::new(task.id.clone());
    let mut parent = None;
    for (index, action) in plan.actions.iter().enumerate() {
        let protocol = environment.protocol();
        let said = protocol.render(action);
        let action = said
            .as_deref()
            .map_or_else(|| action.clone(), |text| protocol.parse(text).action);
        let thought = plan.thought.as_ref().filter(|_| index == plan.site);
        let thought = thought.map_or_else(String::new, |thought| format!("{thought}\n"));
        let text = thought + &said.unwrap_or_default();
        let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
        let mut step = episode.act(proposal).await?;
        for (_, bytes) in plan.cuts.iter().filter(|(at, _)| *at == index) {
            for observation in &mut step.observations {
                if let Observation::Output { text, .. } = observation {
                    text.truncate(text.floor_char_boundary(*bytes));
                }
            }
        }
        let node = Arc::new(Node { parent, step });
        parent = Some(tree.push(node).expect("the parent is the node before"));
    }
    tree.end(parent, Ending::Answered).expect("the leaf is in the tree");
    Ok(tree)
}

/// Where observations show the answer: the step, and the byte it begins on in one of its
/// texts. Empty for a yes or no, which stands nowhere.
pub(super) fn shows(tree: &Tree, gold: &Gold) -> Vec<(NodeId, usize)> {
    let answers: Vec<Vec<String>> = gold
        .answers()
        .into_iter()
        .map(|answer| text::normalised_words(answer).into_iter().map(|w| w.0).collect())
        .filter(|words: &Vec<String>| {
            !words.is_empty() && !matches!(words[0].as_str(), "yes" | "no")
        })
        .collect();
    let mut found = Vec::new();
    for (id, node) in tree.nodes() {
        for observation in &node.step.observations {
            let words = text::normalised_words(observation.text());
            let at = answers.iter().filter_map(|answer| {
                let mut runs = words.windows(answer.len());
                let run = runs.find(|run| run.iter().map(|w| &w.0).eq(answer.iter()))?;
                Some(run.first()?.1.start)
            });
            found.extend(at.min().map(|start| (id, start)));
        }
    }
    found
}
