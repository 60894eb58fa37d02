//! Traces of the library verifiers: a graph of messages, each with the tokens it adds.
//!
//! Between two sampled messages the record knows one span of tokens, not whose each token is:
//! all of it is on the last message before the sampled one. The ids along the graph are
//! exactly what the model saw.

use serde_json::{Map, Value, json};

use super::group::{StepRow, noted};
use super::rollout::{Rollout, rollouts};
use super::{Group, Rows, Settings};
use crate::{Action, Outcome};

/// The schema that is written.
const TRACE_VERSION: u32 = 1;

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    for rollout in rollouts(group, settings, rows) {
        let row = trace(group, &rollout);
        rows.push(row);
    }
}

fn trace(group: &Group<'_>, rollout: &Rollout<'_>) -> Value {
    let sample = &rollout.sample;
    let tools: Vec<Value> = group
        .tools
        .iter()
        .map(|tool| tool.get("function").unwrap_or(tool).clone())
        .collect();
    let outcome = group.outcomes.get(&sample.leaf).and_then(Outcome::score);
    let mut info = group.note(sample, None);
    info["step_rewards"] = json!(rollout.rewards);
    let metrics = outcome.map_or_else(Map::new, |score| {
        let mut metrics = Map::new();
        metrics.insert("exact_match".into(), json!(f64::from(score.exact_match)));
        metrics.insert("f1".into(), json!(score.f1));
        metrics
    });
    json!({
        "version": TRACE_VERSION,
        "id": format!("{}-{}", group.task.id, sample.number),
        "verifiers": { "version": concat!("plumbline-", env!("CARGO_PKG_VERSION")) },
        "task": {
            "type": "plumbline",
            "data": {
                "idx": group.index,
                "id": group.task.id,
                "prompt": group.task.prompt,
                "system_prompt": group.system,
                "answer": group.answer(),
            },
        },
        "agent": { "config": { "model": group.policy } },
        "tools": tools,
        "nodes": nodes(group, rollout),
        "rewards": { "steps": { "score": rollout.total(), "weight": 1.0 } },
        "metrics": metrics,
        "info": info,
        "is_completed": true,
        "ok": true,
        "stop_condition": rollout.stop,
        "timing": { "start": 0.0 },
    })
}

fn nodes(group: &Group<'_>, rollout: &Rollout<'_>) -> Vec<Value> {
    let tokens = &rollout.tokens;
    let mut nodes: Vec<Value> = Vec::new();
    let mut push = |message: Value, ids: &[u32]| {
        let parent = nodes.len().checked_sub(1);
        nodes.push(json!({
            "parent": parent,
            "message": message,
            "sampled": false,
            "timestamp": 0.0,
            "token_ids": ids,
            "mask": vec![false; ids.len()],
            "logprobs": [],
        }));
        nodes.len() - 1
    };
    let system = json!({ "role": "system", "content": group.system });
    let mut before =
        vec![system, json!({ "role": "user", "content": group.task.prompt })];
    let mut sampled = Vec::new();
    let mut known = tokens.logprobs.as_slice();
    for (index, (_, node)) in rollout.sample.path.iter().enumerate() {
        let span = tokens.sampled[index].clone();
        let prompt = &tokens.ids[tokens.begins[index]..span.start];
        let last = before.len() - 1;
        for (at, message) in before.drain(..).enumerate() {
            push(message, if at == last { prompt } else { &[] });
        }
        let mut messages = crate::import::chat::write_step(&node.step).into_iter();
        let own = messages.next().expect("a step has a message");
        let at =
            push(assistant(own, &node.step.proposal.action), &tokens.ids[span.clone()]);
        sampled.push((at, index, take(&mut known, span.len())));
        before = messages.collect();
        if before.is_empty() {
            before = vec![json!({ "role": "user", "content": "" })];
        }
    }
    // What the last step came to, if anything; the model never read it.
    for message in before.drain(..).filter(|message| message["content"] != "") {
        push(message, &[]);
    }
    for (at, step, logprobs) in sampled {
        let count = nodes[at]["token_ids"].as_array().map_or(0, Vec::len);
        nodes[at]["sampled"] = json!(true);
        nodes[at]["mask"] = json!(vec![true; count]);
        nodes[at]["logprobs"] = json!(logprobs);
        nodes[at]["advantages"] = json!(vec![rollout.advantages[step]; count]);
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
