//! Faults, no-ops and canaries in retrieval: what an agent asks, reads and answers.

use serde_json::json;

use super::canaries::{invented, unearned};
use super::plan::{Plan, call, shows};
use crate::Action;
use crate::mutants::{Effect, Good};

/// Every change of a good trajectory.
///
/// Faults: `swapped-entity` (a call asks after something else), `swapped-answer`,
/// `fabricated-answer` (quoted from nowhere), `truncated-evidence` (what was read ends before
/// the answer), `dropped-hop` (the document with the answer is never read),
/// `question-copied` (instead of the first query), `repeated-query`. No-ops: `function-words`,
/// `reordered` (two calls in one message, the later first), `alias`, `case-and-stop`,
/// `thought`. Canaries: `question-as-query`, `irrelevant-quote`, `unearned-answer`.
pub fn retrieval_mutants(good: Good<'_>) -> Vec<Plan> {
    let mut plans = Vec::new();
    faults(&good, &mut plans);
    no_ops(&good, &mut plans);
    canaries(&good, &mut plans);
    plans
}

fn faults(good: &Good<'_>, plans: &mut Vec<Plan>) {
    let Good { gold, actions, tree, other, task } = good;
    let last = actions.len() - 1;
    let mut add = |class, actions: Vec<Action>, site| {
        plans.push(Plan::new(class, Effect::Fault, actions, site));
    };
    for (site, action) in actions[..last].iter().enumerate() {
        let tool = action.calls().first().map(|call| call.tool.as_str());
        let stranger = other
            .iter()
            .find(|action| action.calls().first().map(|call| call.tool.as_str()) == tool);
        if let Some(stranger) = stranger {
            add("swapped-entity", with(actions, site, stranger.clone()), site);
        }
        let mut twice = actions.to_vec();
        twice.insert(site, action.clone());
        add("repeated-query", twice, site + 1);
    }
    if let Some(Action::Answer { text }) = other.last() {
        add("swapped-answer", answering(actions, text), last);
    }
    let answer = gold.answers().first().copied().unwrap_or_default();
    let shown = shows(tree, gold);
    if is_searched(actions) {
        let query = call("search", json!({ "query": task.prompt }));
        add("question-copied", with(actions, 0, query), 0);
    }
    if shown.is_empty() {
        return;
    }
    add("fabricated-answer", answering(actions, &invented(answer)), last);
    let holding: Vec<usize> = shown.iter().map(|(node, _)| node.0 as usize).collect();
    let kept = actions.iter().enumerate().filter(|(index, _)| !holding.contains(index));
    let kept: Vec<Action> = kept.map(|(_, action)| action.clone()).collect();
    let site = kept.len() - 1;
    add("dropped-hop", kept, site);
    let cuts = shown.iter().map(|(node, start)| (node.0 as usize, *start)).collect();
    let cut = Plan::new("truncated-evidence", Effect::Fault, actions.to_vec(), last);
    plans.push(Plan { cuts, ..cut });
}

fn no_ops(good: &Good<'_>, plans: &mut Vec<Plan>) {
    let Good { gold, actions, .. } = good;
    let last = actions.len() - 1;
    let mut add = |class, actions: Vec<Action>, site| {
        plans.push(Plan::new(class, Effect::NoOp, actions, site));
    };
    for (site, action) in actions[..last].iter().enumerate() {
        let Some(made) = action.calls().first().filter(|made| made.tool == "search")
        else {
            continue;
        };
        let query = made.args.get("query").and_then(|query| query.as_str()).unwrap_or("");
        let asked = call("search", json!({ "query": format!("about the {query}") }));
        add("function-words", with(actions, site, asked), site);
        let next = actions[site + 1].calls();
        if let [next] = next {
            let calls = vec![next.clone(), made.clone()];
            let mut merged = with(actions, site, Action::Calls { calls });
            merged.remove(site + 1);
            add("reordered", merged, site);
        }
    }
    for alias in gold.answers().into_iter().skip(1).take(2) {
        add("alias", answering(actions, alias), last);
    }
    if let Some(answer) = gold.answers().first() {
        let shouted = format!("{}.", answer.to_uppercase());
        add("case-and-stop", answering(actions, &shouted), last);
    }
    let thought = Some("Let me look this up first.".to_owned());
    let plan = Plan::new("thought", Effect::NoOp, actions.to_vec(), 0);
    plans.push(Plan { thought, ..plan });
}

fn canaries(good: &Good<'_>, plans: &mut Vec<Plan>) {
    let Good { gold, actions, task, tree, other } = good;
    let Some(wrong @ Action::Answer { .. }) = other.last() else { return };
    let mut add = |class, actions: Vec<Action>, thought: Option<&str>| {
        let plan = Plan::new(class, Effect::Canary, actions, 1);
        plans.push(Plan { thought: thought.map(str::to_owned), ..plan });
    };
    if is_searched(actions) {
        let query = call("search", json!({ "query": task.prompt }));
        add("question-as-query", vec![query, wrong.clone()], None);
    }
    if let Some(first) = other.first().filter(|first| !first.calls().is_empty()) {
        let quoted = vec![first.clone(), wrong.clone()];
        add("irrelevant-quote", quoted, Some("The document says so word for word."));
    }
    // A yes or no stands nowhere, and may be guessed.
    if !shows(tree, gold).is_empty() {
        plans.extend(unearned(*good));
    }
}

fn is_searched(actions: &[Action]) -> bool {
    actions[0].calls().first().is_some_and(|call| call.tool == "search")
}

fn with(actions: &[Action], site: usize, action: Action) -> Vec<Action> {
    let mut actions = actions.to_vec();
    actions[site] = action;
    actions
}

fn answering(actions: &[Action], text: &str) -> Vec<Action> {
    with(actions, actions.len() - 1, Action::Answer { text: text.to_owned() })
}
