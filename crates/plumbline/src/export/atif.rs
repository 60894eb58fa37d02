//! ATIF 1.8, the Agent Trajectory Interchange Format: a line is a trajectory.
//!
//! What the format has no field for is in `extra`: a step's label with who gave it, what a
//! program reads of an observation, arguments that are no object. The system prompt and the
//! tools' definitions are filled in. With the importer of the same name a run comes back with
//! the same steps, tokens and labels.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::group::{StepRow, node};
use super::{Group, Rows, Sample, Settings, Zeros};
use crate::import::{atif as reader, chat};
use crate::{Ending, NodeId, Observation, Outcome, Step, StepLabel, TaskId, Tokens};

/// The version that is written.
pub const SCHEMA: &str = "ATIF-v1.8";

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    for sample in group.samples() {
        rows.push(&trajectory(group, settings.zeros, &sample));
    }
}

#[derive(Serialize)]
struct Trajectory<'r> {
    schema_version: &'static str,
    session_id: &'r TaskId,
    trajectory_id: String,
    agent: Value,
    steps: Vec<Written<'r>>,
    final_metrics: Value,
    extra: Value,
}

/// A step of the format.
#[derive(Serialize)]
struct Written<'r> {
    step_id: usize,
    source: &'static str,
    message: Cow<'r, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observation: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Metrics<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Value>,
}

#[derive(Serialize)]
struct Metrics<'r> {
    prompt_tokens: usize,
    completion_tokens: usize,
    cached_tokens: u32,
    prompt_token_ids: Vec<u32>,
    completion_token_ids: &'r [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'r [f32]>,
}

fn trajectory<'r>(
    group: &Group<'r>,
    zeros: Zeros,
    sample: &Sample<'r>,
) -> Trajectory<'r> {
    let told = |step_id: usize, source: &'static str, message: &'r str| Written {
        step_id,
        source,
        message: Cow::Borrowed(message),
        tool_calls: None,
        observation: None,
        metrics: None,
        extra: None,
    };
    let mut steps =
        vec![told(1, "system", &sample.told.system), told(2, "user", &group.task.prompt)];
    let mut seen = Vec::new();
    let (mut prompt_tokens, mut completion_tokens) = (0, 0);
    for (id, node) in &sample.path {
        let mut step = agent_step(group, zeros, *id, &node.step);
        step.step_id = steps.len() + 1;
        if let Some(tokens) = &node.step.proposal.tokens
            && let Some(metrics) = metrics(tokens, &mut seen)
        {
            prompt_tokens += seen.len() - tokens.sampled.len();
            completion_tokens += tokens.sampled.len();
            step.metrics = Some(metrics);
        }
        steps.push(step);
    }
    let count = steps.len();
    let score = group.outcomes.get(&sample.leaf).and_then(Outcome::score);
    let mut agent = json!({
        "name": "plumbline",
        "version": env!("CARGO_PKG_VERSION"),
        "model_name": group.policy,
    });
    if !sample.told.tools.is_empty() {
        agent["tool_definitions"] = json!(sample.told.tools);
    }
    let mut totals = json!({ "total_steps": count });
    if completion_tokens > 0 {
        totals["total_prompt_tokens"] = json!(prompt_tokens);
        totals["total_completion_tokens"] = json!(completion_tokens);
    }
    let ending: Option<&Ending> = group.tree.ending(sample.leaf);
    Trajectory {
        schema_version: SCHEMA,
        session_id: &group.task.id,
        trajectory_id: format!("{}:{}", group.task.id, sample.leaf),
        agent,
        steps,
        final_metrics: totals,
        extra: json!({
            "task": group.task.id,
            "sample": sample.number,
            "inputs": group.task.inputs,
            "gold": group.gold,
            "ending": ending,
            "score": score,
        }),
    }
}

fn agent_step<'r>(
    group: &Group<'_>,
    zeros: Zeros,
    id: NodeId,
    step: &Step,
) -> Written<'r> {
    let message = chat::write_step(step).into_iter().next().expect("it has a message");
    let content = message.get("content").and_then(Value::as_str).unwrap_or_default();
    let calls = step.proposal.action.calls();
    let call = |call: &crate::ToolCall| match &call.args {
        object @ Value::Object(_) => json!({
            "tool_call_id": call.id, "function_name": call.tool, "arguments": object,
        }),
        other => json!({
            "tool_call_id": call.id, "function_name": call.tool, "arguments": {},
            "extra": { "arguments": other },
        }),
    };
    let tool_calls = (!calls.is_empty()).then(|| calls.iter().map(call).collect());
    let result = |(index, observation): (usize, &Observation)| {
        let mut result = json!({ "content": observation.text() });
        if let Some(call) = calls.get(index) {
            result["source_call_id"] = json!(call.id);
        }
        let mut extra = Map::new();
        if let Some(fault) = observation.as_fault() {
            extra.insert("fault".into(), json!(fault));
        }
        if !observation.data().is_null() {
            extra.insert("data".into(), observation.data().clone());
        }
        if !extra.is_empty() {
            result["extra"] = extra.into();
        }
        result
    };
    let results =
        || -> Value { step.observations.iter().enumerate().map(result).collect() };
    let observation =
        (!step.observations.is_empty()).then(|| json!({ "results": results() }));
    let mut extra = json!({
        "node": id,
        "seed": step.proposal.seed,
        "scratch": step.scratch,
    });
    if !step.proposal.elided.is_empty() {
        extra["elided"] = json!(step.proposal.elided);
    }
    if group.forged == Some(id) {
        extra["forged"] = json!(true);
    }
    let label = group.label(id);
    if let Some((label, number)) = label.and_then(|l| Some((l, zeros.number(l)?))) {
        extra["label"] = json!(number);
        if let Some(zero) = label.zero {
            extra["zero"] = json!(zero);
        }
        let (mut by, mut reasons) = (Vec::new(), Vec::new());
        for verdict in &label.deciding {
            by.push(json!({ "verifier": verdict.verifier, "saw": verdict.saw }));
            reasons.push(verdict.reason.as_str());
        }
        extra["label_by"] = json!(by);
        extra["label_reason"] = json!(reasons.join("; "));
    }
    // Where the message and its calls do not say it, byte for byte.
    let (text, action) = (&step.proposal.text, &step.proposal.action);
    if reader::text_and_action(content, calls) != (text.clone(), action.clone()) {
        extra["text"] = json!(text);
        extra["action"] = json!(action);
    }
    Written {
        step_id: 0,
        source: "agent",
        message: Cow::Owned(content.to_owned()),
        tool_calls,
        observation,
        metrics: None,
        extra: Some(extra),
    }
}

/// A step's tokens, with the whole prompt, and what the model has seen after it. `None` if
/// the record cannot be true.
fn metrics<'r>(tokens: &'r Tokens, seen: &mut Vec<u32>) -> Option<Metrics<'r>> {
    if !tokens.extend(seen) {
        return None;
    }
    let prompt = &seen[..seen.len() - tokens.sampled.len()];
    Some(Metrics {
        prompt_tokens: prompt.len(),
        completion_tokens: tokens.sampled.len(),
        cached_tokens: tokens.kept,
        prompt_token_ids: prompt.to_vec(),
        completion_token_ids: &tokens.sampled,
        logprobs: (!tokens.logprobs.is_empty()).then_some(&tokens.logprobs),
    })
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(row.get("extra")?.get("task")?.as_str()?.to_owned());
    let mut labels = Vec::new();
    for step in row.get("steps")?.as_array()? {
        let Some(extra) = step.get("extra") else { continue };
        let Some(label) = extra.get("label") else { continue };
        let label = StepLabel::from_number(label.as_i64()?)?;
        labels.push((task.clone(), node(extra.get("node")?)?, label));
    }
    Some(labels)
}
