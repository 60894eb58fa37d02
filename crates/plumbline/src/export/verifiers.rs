//! Traces of the library verifiers: a graph of messages, each with the tokens it adds.
//!
//! Between two sampled messages the record knows one span of tokens, not whose each token is:
//! all of it is on the last message before the sampled one. The ids along the graph are
//! exactly what the model saw.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::group::{StepRow, noted};
use super::rollout::{Rollout, rollouts};
use super::{Group, Rows, Settings};
use crate::{Action, Outcome};

/// The schema that is written.
const TRACE_VERSION: u32 = 1;

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    for rollout in rollouts(group, settings, rows) {
        rows.push(&trace(group, &rollout));
    }
}

#[derive(Serialize)]
struct Trace<'r> {
    version: u32,
    id: String,
    verifiers: Value,
    task: Value,
    agent: Value,
    tools: Vec<Value>,
    nodes: Vec<Node<'r>>,
    rewards: Value,
    metrics: Map<String, Value>,
    info: Value,
    is_completed: bool,
    ok: bool,
    stop_condition: &'static str,
    timing: Value,
}

/// A message and the tokens it adds.
#[derive(Serialize)]
struct Node<'r> {
    parent: Option<usize>,
    message: Value,
    sampled: bool,
    timestamp: f64,
    token_ids: &'r [u32],
    mask: Vec<bool>,
    logprobs: &'r [f32],
    advantages: Option<Vec<f64>>,
}

fn trace<'r>(group: &Group<'_>, rollout: &'r Rollout<'_>) -> Trace<'r> {
    let sample = &rollout.sample;
    let function = |tool: &Value| tool.get("function").unwrap_or(tool).clone();
    let outcome = group.outcomes.get(&sample.leaf).and_then(Outcome::score);
    let mut info = group.note(sample, None);
    info["step_rewards"] = json!(rollout.rewards);
    let mut metrics = Map::new();
    if let Some(score) = outcome {
        metrics.insert("exact_match".into(), json!(f64::from(score.exact_match)));
        metrics.insert("f1".into(), json!(score.f1));
    }
    Trace {
        version: TRACE_VERSION,
        id: format!("{}-{}", group.task.id, sample.number),
        verifiers: json!({ "version": concat!("plumbline-", env!("CARGO_PKG_VERSION")) }),
        task: json!({
            "type": "plumbline",
            "data": {
                "idx": group.index,
                "id": group.task.id,
                "prompt": group.task.prompt,
                "system_prompt": sample.told.system,
                "answer": group.answer(),
            },
        }),
        agent: json!({ "config": { "model": group.policy } }),
        tools: sample.told.tools.iter().map(function).collect(),
        nodes: nodes(group, rollout),
        rewards: json!({ "steps": { "score": rollout.total(), "weight": 1.0 } }),
        metrics,
        info,
        is_completed: true,
        ok: true,
        stop_condition: rollout.stop,
        timing: json!({ "start": 0.0 }),
    }
}

fn nodes<'r>(group: &Group<'_>, rollout: &'r Rollout<'_>) -> Vec<Node<'r>> {
    let tokens = &rollout.tokens;
    let mut nodes: Vec<Node<'r>> = Vec::new();
    let told = |message: Value, token_ids: &'r [u32], parent: Option<usize>| Node {
        parent,
        message,
        sampled: false,
        timestamp: 0.0,
        token_ids,
        mask: vec![false; token_ids.len()],
        logprobs: &[],
        advantages: None,
    };
    let system = json!({ "role": "system", "content": rollout.sample.told.system });
    let mut before =
        vec![system, json!({ "role": "user", "content": group.task.prompt })];
    let mut known = tokens.logprobs.as_slice();
    for (index, (_, node)) in rollout.sample.path.iter().enumerate() {
        let span = tokens.sampled[index].clone();
        let prompt = &tokens.ids[tokens.begins[index]..span.start];
        let last = before.len() - 1;
        for (at, message) in before.drain(..).enumerate() {
            let parent = nodes.len().checked_sub(1);
            nodes.push(told(message, if at == last { prompt } else { &[] }, parent));
        }
        let mut messages = crate::import::chat::write_step(&node.step).into_iter();
        let own = messages.next().expect("a step has a message");
        nodes.push(Node {
            parent: nodes.len().checked_sub(1),
            message: assistant(own, &node.step.proposal.action),
            sampled: true,
            timestamp: 0.0,
            token_ids: &tokens.ids[span.clone()],
            mask: vec![rollout.trained[index]; span.len()],
            logprobs: take(&mut known, span.len()),
            advantages: Some(vec![rollout.advantages[index]; span.len()]),
        });
        before = messages.collect();
        if before.is_empty() {
            before = vec![json!({ "role": "user", "content": "" })];
        }
    }
    // What the last step came to, if anything; the model never read it.
    for message in before.into_iter().filter(|message| message["content"] != "") {
        let parent = nodes.len().checked_sub(1);
        nodes.push(told(message, &[], parent));
    }
    nodes
}

/// A message's calls in the library's own shape.
fn assistant(mut message: Value, action: &Action) -> Value {
    if message.get("tool_calls").is_some() {
        let calls = action.calls().iter().map(|call| {
            let arguments = match &call.args {
                Value::String(text) => text.clone(),
                args => args.to_string(),
            };
            json!({ "id": call.id, "name": call.tool, "arguments": arguments })
        });
        message["tool_calls"] = Value::Array(calls.collect());
    }
    message
}

fn take<'l>(known: &mut &'l [f32], count: usize) -> &'l [f32] {
    let (first, rest) = known.split_at(count.min(known.len()));
    *known = rest;
    first
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    noted(row.get("info")?)
}
