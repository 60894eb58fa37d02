//! Chat messages with tool calls, as steps: shared by the formats that hold them.
//!
//! A step is an assistant message and the replies to its calls. Its text is the message's
//! content, followed by its calls as the protocol Hermes writes them, since endpoints hand
//! calls back as objects beside the text. A user's reply to a message without calls is what
//! that message came to: a harness's complaint makes it malformed, anything else a call of
//! the user.
//!
//! Every message leaves a mark in a list beside the steps: which step it became, and, where
//! writing that step as a message would not give the same bytes, the message as it was.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ImportError;
use super::record::Field;
use crate::protocol::Protocol;
use crate::python_json::python_json;
use crate::{
    Action, Digest, Fault, NodeId, Observation, Proposal, Scratch, Step, ToolCall,
};

/// How AgentProcessBench's harness answers a message that neither calls nor answers.
const COMPLAINT: &str = "No effective tool call detected";
/// What a message to the user counts as a call of.
const USER: &str = "user";
/// Documents of one observation that are read.
const DOCUMENTS_MAX: usize = 1000;

/// A conversation, read.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// The first user message.
    pub(super) question: String,
    pub(super) steps: Vec<Step>,
    /// Message index to step.
    pub(super) messages: BTreeMap<u32, NodeId>,
    /// A mark for each message.
    pub(super) marks: Vec<Value>,
    /// Whether the last message is an answer.
    pub(super) answered: bool,
}

/// A step in the making: observations are filled in as replies come.
struct Open {
    text: String,
    action: Action,
    observations: Vec<Option<Observation>>,
}

/// Reads a conversation. `tools` are the declarations the model was given; `seed` tells
/// samples of one question apart.
pub(super) fn read(
    messages: &Field<'_>,
    tools: &Field<'_>,
    seed: u64,
) -> Result<Chat, ImportError> {
    if !tools.is_absent() {
        tools.list()?;
    }
    let mut chat = Chat::default();
    let mut steps: Vec<Open> = Vec::new();
    let listed = messages.list()?;
    for (index, message) in listed.iter().enumerate() {
        let number = u32::try_from(index).expect("a record is small");
        let role = message.get("role").text()?;
        let content = content(&message.get("content"))?;
        let mark = match role {
            "assistant" => {
                let calls = calls(&message.get("tool_calls"))?;
                let last = index + 1 == listed.len();
                let step = steps.len();
                let node = NodeId(u32::try_from(step).expect("a record is small"));
                chat.messages.insert(number, node);
                steps.push(open(content, calls, last));
                let opened = steps.last().expect("it was just pushed");
                mark(json!({ "step": step }), &assistant(opened), message)
            }
            "tool" => {
                let step = steps.len().saturating_sub(1);
                match steps.last_mut().and_then(|open| slot(open, message)) {
                    None => json!({ "as": message.value() }),
                    Some(call) => {
                        let opened = &mut steps[step];
                        let reply =
                            observe(&content, &opened.action, call, tools.value());
                        let written = tool(opened, call, reply.text());
                        opened.observations[call] = Some(reply);
                        mark(json!({ "step": step, "call": call }), &written, message)
                    }
                }
            }
            "user" if !steps.is_empty() => {
                reply(&mut steps, &content);
                json!({ "as": message.value() })
            }
            _ => {
                if role == "user" && chat.question.is_empty() {
                    chat.question = content;
                }
                json!({ "as": message.value() })
            }
        };
        chat.marks.push(mark);
    }
    chat.answered =
        steps.last().is_some_and(|open| matches!(open.action, Action::Answer { .. }));
    chat.steps = steps.into_iter().map(|open| close(open, seed)).collect();
    Ok(chat)
}

/// The mark, with the message itself where writing the step gives other bytes.
fn mark(mut mark: Value, written: &Value, message: &Field<'_>) -> Value {
    // Two objects that differ in the order of their fields are equal, and yet other bytes.
    if python_json(written) != python_json(message.value()) {
        mark["as"] = message.value().clone();
    }
    mark
}

/// The conversation's messages again, from its steps and the marks.
pub(crate) fn write(marks: &[Value], steps: &[&Step]) -> Option<Vec<Value>> {
    let mut messages = Vec::with_capacity(marks.len());
    for mark in marks {
        if let Some(message) = mark.get("as") {
            messages.push(message.clone());
            continue;
        }
        let index = |name: &str| usize::try_from(mark.get(name)?.as_u64()?).ok();
        let step = steps.get(index("step")?)?;
        let Proposal { text, action, .. } = &step.proposal;
        messages.push(match index("call") {
            None => assistant_message(text, action),
            Some(call) => {
                let text = step.observations.get(call)?.text();
                tool_message(action.calls().get(call)?, text)
            }
        });
    }
    Some(messages)
}

/// A step as messages: what it says, then a reply a call. What a malformed message or a call
/// of the user came to is a user's message.
pub(crate) fn write_step(step: &Step) -> Vec<Value> {
    let Proposal { text, action, .. } = &step.proposal;
    let mut messages = vec![assistant_message(text, action)];
    let calls = action.calls();
    for (index, observation) in step.observations.iter().enumerate() {
        messages.push(match calls.get(index) {
            Some(call) if call.tool != USER => tool_message(call, observation.text()),
            _ => json!({ "role": "user", "content": observation.text() }),
        });
    }
    messages
}

/// A content: a text, nothing, or a list of texts as some endpoints send it.
pub(super) fn content(field: &Field<'_>) -> Result<String, ImportError> {
    match field.value() {
        Value::Null => Ok(String::new()),
        Value::Array(parts) => {
            let text = |part: &Value| Some(part.get("text")?.as_str()?.to_owned());
            Ok(parts.iter().filter_map(text).collect())
        }
        _ => Ok(field.text()?.to_owned()),
    }
}

fn calls(field: &Field<'_>) -> Result<Vec<ToolCall>, ImportError> {
    if field.is_absent() {
        return Ok(vec![]);
    }
    let call = |(index, call): (usize, &Field<'_>)| {
        let function = call.get("function");
        let id = call.get("id").value().as_str().map(str::to_owned);
        Ok(ToolCall {
            id: id.unwrap_or_else(|| format!("call_{index}")),
            tool: function.get("name").text()?.to_owned(),
            args: arguments(function.get("arguments").value()),
        })
    };
    field.list()?.iter().enumerate().map(call).collect()
}

/// Arguments as the model wrote them: what is no JSON object stays a text.
fn arguments(written: &Value) -> Value {
    let Some(text) = written.as_str() else { return written.clone() };
    match serde_json::from_str::<Value>(text) {
        Ok(object @ Value::Object(_)) => object,
        _ => written.clone(),
    }
}

fn open(content: String, calls: Vec<ToolCall>, last: bool) -> Open {
    if calls.is_empty() {
        let action = match answer(&content) {
            Some(text) => Action::Answer { text },
            None if last => Action::Answer { text: content.trim().to_owned() },
            // Until a reply says what became of it.
            None => Action::Malformed {
                reason: "the message neither calls a tool nor answers".to_owned(),
            },
        };
        return Open { text: content, action, observations: vec![] };
    }
    let observations = vec![None; calls.len()];
    let action = Action::Calls { calls };
    Open { text: with_calls(&content, &action), action, observations }
}

/// The text and the action of a message; `last` if nothing follows it.
pub(super) fn message(
    content: String,
    calls: Vec<ToolCall>,
    last: bool,
) -> (String, Action) {
    let Open { text, action, .. } = open(content, calls, last);
    (text, action)
}

/// What stands between the last `<answer>` tags.
fn answer(content: &str) -> Option<String> {
    let (_, after) = content.rsplit_once("<answer>")?;
    let inner = after.split_once("</answer>").map_or(after, |(inner, _)| inner);
    Some(inner.trim().to_owned())
}

fn with_calls(content: &str, action: &Action) -> String {
    let calls = written(action);
    match (content.is_empty(), calls.is_empty()) {
        (true, _) => calls,
        (_, true) => content.to_owned(),
        _ => format!("{content}\n{calls}"),
    }
}

/// Calls as the protocol writes them; in its form, too, where it could not say them, as when
/// the arguments are no JSON.
fn written(action: &Action) -> String {
    let block = |call: &ToolCall| {
        let call = json!({ "name": call.tool, "arguments": call.args });
        format!("<tool_call>\n{}\n</tool_call>", python_json(&call))
    };
    let blocks = || action.calls().iter().map(block).collect::<Vec<_>>().join("\n");
    Protocol::Hermes.render(action).unwrap_or_else(blocks)
}

/// The call that a tool's message replies to: the one it names, else the first without.
fn slot(open: &Open, message: &Field<'_>) -> Option<usize> {
    let free = |index: &usize| open.observations.get(*index).is_some_and(Option::is_none);
    let id = message.get("tool_call_id").value().as_str();
    let calls = open.action.calls();
    let named = calls.iter().position(|call| Some(call.id.as_str()) == id).filter(free);
    named.or_else(|| (0..calls.len()).find(free))
}

/// A user's reply to the last step, where that step waits for one.
fn reply(steps: &mut [Open], content: &str) {
    let Some(open) = steps.last_mut() else { return };
    let waits =
        matches!(open.action, Action::Malformed { .. }) && open.observations.is_empty();
    if !waits {
        return;
    }
    if content.starts_with(COMPLAINT) {
        open.observations = vec![Some(Observation::fault(Fault::Malformed, content))];
        return;
    }
    let args = json!({ "message": open.text });
    let call = ToolCall { id: "call_0".to_owned(), tool: USER.to_owned(), args };
    open.action = Action::Calls { calls: vec![call] };
    let output = Observation::Output { text: content.to_owned(), data: Value::Null };
    open.observations = vec![Some(output)];
}

fn close(open: Open, seed: u64) -> Step {
    let Open { text, action, observations } = open;
    let unanswered =
        || Observation::fault(Fault::External, "the record holds no reply to this call");
    let mut observations: Vec<Observation> =
        observations.into_iter().map(|seen| seen.unwrap_or_else(unanswered)).collect();
    if let (Action::Malformed { reason }, true) = (&action, observations.is_empty()) {
        observations.push(Observation::fault(Fault::Malformed, reason.clone()));
    }
    let proposal = Proposal { text, action, seed, tokens: None, elided: vec![] };
    Step { proposal, observations, scratch: no_state() }
}

/// The state of tools that are not here: none.
pub(super) fn no_state() -> Digest {
    Scratch::default().digest()
}

/// What a reply came to. Its text is kept as it is; what a program can read of it lies
/// beside.
pub(super) fn observe(
    content: &str,
    action: &Action,
    call: usize,
    tools: &Value,
) -> Observation {
    let parsed: Option<Value> = serde_json::from_str(content).ok();
    let refused = parsed.as_ref().and_then(|value| value.get("error"));
    if refused.is_some_and(|error| !error.is_null()) {
        let fault = match action.calls().get(call) {
            Some(call) => fault(call, tools),
            None => Fault::Refused,
        };
        return Observation::fault(fault, content);
    }
    let documents = parsed.as_ref().and_then(documents);
    let data = documents.map_or(Value::Null, |found| json!({ "documents": found }));
    Observation::Output { text: content.to_owned(), data }
}

/// Why a tool refused a call, as far as the declarations tell.
fn fault(call: &ToolCall, tools: &Value) -> Fault {
    let function = |tool: &Value| tool.get("function").unwrap_or(tool).clone();
    let declared: Vec<Value> =
        tools.as_array().into_iter().flatten().map(function).collect();
    let named =
        |tool: &&Value| tool.get("name").and_then(Value::as_str) == Some(&call.tool);
    let Some(tool) = declared.iter().find(named) else {
        return if declared.is_empty() { Fault::Refused } else { Fault::UnknownTool };
    };
    let schema = tool.get("parameters").unwrap_or(&Value::Null);
    let fits = call.args.is_object()
        && jsonschema::validator_for(schema)
            .is_ok_and(|schema| schema.is_valid(&call.args));
    if fits { Fault::Refused } else { Fault::BadArgs }
}

/// The passages of a retrieval server's reply: `{"result": [[{"document": {"id", "contents"},
/// "score"}]]}`, a list a query. The first line of `contents` is the title.
fn documents(reply: &Value) -> Option<Vec<Value>> {
    let lists = reply.get("result")?.as_array()?;
    let mut found = Vec::new();
    for (query, list) in lists.iter().enumerate() {
        for hit in list.as_array()? {
            let document = hit.get("document").unwrap_or(hit);
            let contents = document.get("contents")?.as_str()?;
            let (title, text) = contents.split_once('\n').unwrap_or(("", contents));
            let mut passage = Map::new();
            let id = document.get("id")?;
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            passage.insert("id".into(), json!(id));
            passage.insert("title".into(), json!(title.trim().trim_matches('"')));
            passage.insert("text".into(), json!(text.trim()));
            if let Some(score) = hit.get("score") {
                passage.insert("score".into(), score.clone());
            }
            passage.insert("query".into(), json!(query));
            found.push(Value::Object(passage));
            if found.len() == DOCUMENTS_MAX {
                return Some(found);
            }
        }
    }
    Some(found)
}

fn assistant(open: &Open) -> Value {
    assistant_message(&open.text, &open.action)
}

/// A step's message as endpoints write it.
fn assistant_message(text: &str, action: &Action) -> Value {
    let calls = action.calls();
    if calls.is_empty() || calls[0].tool == USER {
        return json!({ "role": "assistant", "content": text });
    }
    let content = text.strip_suffix(written(action).as_str()).unwrap_or(text);
    let content = content.strip_suffix('\n').unwrap_or(content);
    let call = |call: &ToolCall| {
        let arguments = match &call.args {
            Value::String(text) => text.clone(),
            args => python_json(args),
        };
        json!({
            "id": call.id,
            "type": "function",
            "function": { "name": call.tool, "arguments": arguments },
        })
    };
    let calls: Vec<Value> = calls.iter().map(call).collect();
    json!({ "role": "assistant", "content": content, "tool_calls": calls })
}

fn tool(open: &Open, call: usize, text: &str) -> Value {
    open.action.calls().get(call).map_or(Value::Null, |call| tool_message(call, text))
}

fn tool_message(call: &ToolCall, text: &str) -> Value {
    json!({
        "role": "tool",
        "name": call.tool,
        "content": text,
        "tool_call_id": call.id,
    })
}
