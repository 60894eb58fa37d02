//! An assistant message object with `tool_calls`, as chat endpoints return.
//!
//! ```text
//! {"content": null, "tool_calls": [{"id": "call_0", "type": "function",
//!  "function": {"name": "search", "arguments": "{\"query\": \"Ada Lovelace\"}"}}]}
//! ```
//!
//! `arguments` is a string of JSON, as endpoints send it, or an object, as we write it: a
//! grammar can hold an object to the tool's schema. A string that is no JSON becomes the
//! arguments as it is; the schema refuses it and the model is told. An empty string, `null`
//! and a missing field stand for no arguments.
//!
//! `content` beside calls is thought; without calls it is the answer. Fields other than
//! these two and the endpoints' `reasoning` are ignored. If an id is missing or occurs
//! twice, all calls of the message are numbered instead.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Value, json};

use crate::protocol::arguments::{
    call_id, check_room, json_grammar, read_json, signature, summary, to_json,
};
use crate::protocol::tags::ANSWER_CHARS_MAX;
use crate::protocol::tiling::Tiling;
use crate::protocol::{Grammar, Message, PartKind, Reading};
use crate::{Action, Proposal, ToolCall, ToolSpec, Turn};

const FORM: &str = "send {\"content\": \"ANSWER\"}, or {\"content\": null, \"tool_calls\": \
    [{\"id\": \"call_0\", \"type\": \"function\", \"function\": {\"name\": \"TOOL\", \
    \"arguments\": {\"NAME\": VALUE}}}]}";

/// A message ends where its object does.
pub(super) const STOPS: &[&str] = &[];

/// Endpoints are given the tools beside the messages and know their own form of a call, so
/// this is short.
pub(super) fn instructions(tools: &[ToolSpec]) -> String {
    let answer = "When you know the answer, reply with the answer alone, as short as \
        possible, and call no tool.";
    if tools.is_empty() {
        return answer.to_owned();
    }
    let listed: String = tools
        .iter()
        .map(|tool| format!("- {}: {}\n", signature(tool), summary(tool)))
        .collect();
    format!("You can call these tools:\n{listed}{answer}")
}

pub(super) fn parse(text: &str) -> Reading {
    let mut tiling = Tiling::new(text);
    let action = read(text, &mut tiling);
    tiling.finish(action)
}

fn read(text: &str, tiling: &mut Tiling<'_>) -> Result<Action, String> {
    let fields = read_fields(text)?;
    let calls = read_calls(&fields)?;
    let content = fields.content()?.trim().to_owned();
    let mut parts = vec![];
    for Field { name, value, range } in &fields.0 {
        let kind = match name.as_str() {
            "tool_calls" => PartKind::Call,
            "content" if calls.is_empty() => PartKind::Answer,
            "content" | "reasoning" | "reasoning_content" => PartKind::Thought,
            _ => continue,
        };
        match value {
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            Value::String(_) => parts.push((kind, range.start + 1..range.end - 1)),
            _ => parts.push((kind, range.clone())),
        }
    }
    for (kind, range) in parts {
        tiling.push(PartKind::Markup, range.start);
        tiling.push(kind, range.end);
    }
    tiling.push(PartKind::Markup, text.len());
    if !calls.is_empty() {
        return Ok(Action::Calls { calls });
    }
    if content.is_empty() {
        return Err(format!("the message has neither content nor tool calls; {FORM}"));
    }
    Ok(Action::Answer { text: content })
}

/// A field of the message object, with its value's bytes.
struct Field {
    name: String,
    value: Value,
    range: Range<usize>,
}

/// The fields of the message object, in order.
struct Fields(Vec<Field>);

impl Fields {
    /// The last field of a name counts, as in any JSON reader.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|field| field.name == name).map(|field| &field.value)
    }

    /// The message's text; empty if there is none. Some endpoints send it in pieces.
    fn content(&self) -> Result<String, String> {
        match self.get("content") {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(content)) => Ok(content.clone()),
            Some(Value::Array(pieces)) => Ok(pieces
                .iter()
                .filter_map(|piece| piece.get("text").and_then(Value::as_str))
                .collect()),
            Some(_) => Err(format!("\"content\" is neither a string nor null; {FORM}")),
        }
    }
}

/// Reads the outermost object by hand, because a JSON reader does not say where values stand.
fn read_fields(text: &str) -> Result<Fields, String> {
    let bad = |what: &str| format!("the message is not a JSON object: {what}; {FORM}");
    let skip = |at: usize| {
        text.len() - text[at..].trim_start_matches([' ', '\n', '\r', '\t']).len()
    };
    let mut fields = vec![];
    let mut at = skip(0);
    if !text[at..].starts_with('{') {
        return Err(bad("it does not begin with {"));
    }
    at = skip(at + 1);
    while !(fields.is_empty() && text[at..].starts_with('}')) {
        let (name, end) = read_json(text, at).map_err(|error| bad(&error))?;
        let Value::String(name) = name else { return Err(bad("a name is no string")) };
        at = skip(end);
        if !text[at..].starts_with(':') {
            return Err(bad("a name lacks its :"));
        }
        let start = skip(at + 1);
        let (value, end) = read_json(text, start).map_err(|error| bad(&error))?;
        fields.push(Field { name, value, range: start..end });
        at = skip(end);
        if !text[at..].starts_with(',') {
            break;
        }
        at = skip(at + 1);
    }
    if !text[at..].starts_with('}') {
        return Err(bad("it does not end with }"));
    }
    if !text[at + 1..].trim().is_empty() {
        return Err(bad("something follows it"));
    }
    Ok(Fields(fields))
}

fn read_calls(fields: &Fields) -> Result<Vec<ToolCall>, String> {
    let given = match fields.get("tool_calls") {
        None | Some(Value::Null) => return Ok(vec![]),
        Some(Value::Array(given)) => given,
        Some(_) => return Err(format!("\"tool_calls\" is not an array; {FORM}")),
    };
    let mut calls = vec![];
    for value in given {
        check_room(calls.len())?;
        calls.push(read_call(value)?);
    }
    let ids: BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    if ids.len() < calls.len() || ids.contains("") {
        for (index, call) in calls.iter_mut().enumerate() {
            call.id = call_id(index);
        }
    }
    Ok(calls)
}

fn read_call(value: &Value) -> Result<ToolCall, String> {
    let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
    let function = value.get("function");
    let tool = text(function.and_then(|function| function.get("name")))
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            format!("a tool call lacks \"function\" with a \"name\"; {FORM}")
        })?;
    let args = match function.and_then(|function| function.get("arguments")) {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(args)) if args.trim().is_empty() => json!({}),
        Some(Value::String(args)) => {
            serde_json::from_str(args).unwrap_or_else(|_| json!(args))
        }
        Some(args) => args.clone(),
    };
    Ok(ToolCall { id: text(value.get("id")).unwrap_or_default(), tool, args })
}

pub(super) fn render(action: &Action) -> Option<String> {
    match action {
        Action::Calls { calls } => {
            let calls: Vec<String> = calls.iter().map(write_call).collect();
            Some(format!("{{\"content\": null, \"tool_calls\": [{}]}}", calls.join(", ")))
        }
        Action::Answer { text } => Some(to_json(&json!({ "content": text }))),
        Action::Malformed { .. } => None,
    }
}

fn write_call(call: &ToolCall) -> String {
    let args = match &call.args {
        args @ Value::Object(_) => to_json(args),
        // What is no object could be mistaken for text of the endpoint's form.
        args => to_json(&json!(to_json(args))),
    };
    format!(
        r#"{{"id": {}, "type": "function", "function": {{"name": {}, "arguments": {args}}}}}"#,
        to_json(&json!(call.id)),
        to_json(&json!(call.tool)),
    )
}

/// The message with its calls beside it, as endpoints take it back. What could not be read
/// goes back as it was.
pub(super) fn assistant(proposal: &Proposal) -> Message {
    let content = read_fields(&proposal.text).and_then(|fields| fields.content());
    let calls = proposal.action.calls().to_vec();
    let text = match &proposal.action {
        Action::Calls { .. } | Action::Answer { .. } => content.unwrap_or_default(),
        Action::Malformed { .. } => proposal.text.clone(),
    };
    Message::Assistant { text, calls }
}

pub(super) fn observations(turn: &Turn<'_>, texts: &[Cow<'_, str>]) -> Vec<Message> {
    match &turn.proposal.action {
        Action::Calls { calls } => calls
            .iter()
            .zip(texts)
            .map(|(call, text)| Message::Tool {
                call_id: call.id.clone(),
                text: text.to_string(),
            })
            .collect(),
        Action::Answer { .. } | Action::Malformed { .. } => {
            vec![Message::User { text: texts.concat() }]
        }
    }
}

pub(super) fn grammar(tools: &[ToolSpec], thought_chars_max: u32) -> Grammar {
    // The characters of a JSON string on one line; at its edges, none that is trimmed.
    let middle = r#"([^"\\\x00-\x1f]|\\["\\])"#;
    let edge = r#"([^"\\\s\x00-\x1f]|\\["\\])"#;
    let content = match thought_chars_max {
        0 => "null".to_owned(),
        most => format!("(null|\"{middle}{{1,{most}}}\")"),
    };
    let mut lark = String::from("start: ANSWER\n");
    for tool in tools {
        let name =
            to_json(&json!(format!("{}, \"arguments\": ", to_json(&json!(tool.name)))));
        lark += &format!("  | CALL {name} {} \"}}}}]}}\"\n", json_grammar(tool));
    }
    if !tools.is_empty() {
        lark += &format!(
            "CALL: /\\{{\"content\": {content}, \"tool_calls\": \\[\\{{\"id\": \"call_0\", \
             \"type\": \"function\", \"function\": \\{{\"name\": /\n"
        );
    }
    lark += &format!(
        "ANSWER: /\\{{\"content\": \"{edge}({middle}{{0,{}}}{edge})?\"\\}}/\n",
        ANSWER_CHARS_MAX - 2
    );
    Grammar(lark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PartKind::{Answer, Call, Markup, Stray, Thought};
    use crate::protocol::Protocol;
    use crate::protocol::tests::{
        Match, answer, call, calls, check_whole, demanding, fare, search_and_open, shown,
    };

    #[track_caller]
    fn check(message: &[(PartKind, &str)], expected: &str) {
        crate::protocol::tests::check(Protocol::Openai, message, expected);
    }

    #[test]
    fn calls_are_read() {
        check(
            &[
                (Markup, "{\"role\": \"assistant\", \"content\": \""),
                (Thought, "Let me see: \\u00e9."),
                (Markup, "\",\n \"tool_calls\": "),
                (
                    Call,
                    r#"[{"id":"abc","type":"function","function":{"name":"search","arguments":"{\"query\":\"Ada\"}"}}]"#,
                ),
                (Markup, ", \"refusal\": null}\n"),
            ],
            r#"abc search {"query":"Ada"}"#,
        );
        check(
            &[
                (Markup, "{\"tool_calls\": "),
                (
                    Call,
                    r#"[{"function":{"name":"a","arguments":{"n":1}}}, {"function":{"name":"b"}}, {"id":"x","function":{"name":"c","arguments":"{oops"}}]"#,
                ),
                (Markup, ", \"content\": null, \"reasoning\": \""),
                (Thought, "hm"),
                (Markup, "\"}"),
            ],
            "call_0 a {\"n\":1}\ncall_1 b {}\ncall_2 c \"{oops\"",
        );
        let same = r#"{"id":"x","function":{"name":"a","arguments":""}}"#;
        let reading = parse(&format!(r#"{{"tool_calls":[{same},{same}]}}"#));
        let twice = calls(vec![call(0, "a", json!({})), call(1, "a", json!({}))]);
        assert_eq!(reading.action, twice);
    }

    #[test]
    fn answers_are_read() {
        check(
            &[
                (Markup, "{\"content\": \" "),
                (Answer, "Ada \\\"L\\\""),
                (Markup, " \", \"tool_calls\": []}"),
            ],
            "answer: Ada \"L\"",
        );
        check(
            &[
                (Markup, "{\"content\": "),
                (Answer, r#"[{"type": "text", "text": "Ada "}, {"text": "L"}, {}]"#),
                (Markup, "}"),
            ],
            "answer: Ada L",
        );
        check(
            &[
                (Markup, "{\"content\": \""),
                (Answer, "earlier"),
                (Markup, "\", \"content\": \""),
                (Answer, "later"),
                (Markup, "\"}"),
            ],
            "answer: later",
        );
    }

    #[test]
    fn broken_messages_say_what_would_be_right() {
        for (text, words) in [
            ("", "does not begin with {"),
            ("Ada Lovelace", "does not begin with {"),
            ("[]", "does not begin with {"),
            ("{", "nothing is there"),
            ("{\"content\": \"a", "EOF"),
            ("{1: 2}", "a name is no string"),
            ("{\"content\" \"a\"}", "a name lacks its :"),
            ("{\"content\": \"a\"", "does not end with }"),
            ("{\"content\": \"a\",}", "expected value"),
            ("{\"content\": \"a\"} b", "something follows"),
            ("{\"content\": 1}", "neither a string nor null"),
            ("{\"tool_calls\": 1}", "is not an array"),
            ("{\"tool_calls\": [1]}", "lacks \"function\""),
            (
                "{\"tool_calls\": [{\"function\": {\"name\": \"\"}}]}",
                "lacks \"function\"",
            ),
        ] {
            let parts: &[(PartKind, &str)] =
                if text.is_empty() { &[] } else { &[(Stray, text)] };
            check(parts, &format!("malformed: {words}"));
        }
        check(&[(Markup, "{}")], "malformed: neither content nor tool calls");
        check(
            &[(Markup, "{\"content\": \"  \", \"tool_calls\": null}")],
            "malformed: neither content nor tool calls",
        );
    }

    #[test]
    fn a_message_of_too_many_calls_is_malformed() {
        let message = |count: usize| {
            let calls = vec![r#"{"function":{"name":"a"}}"#; count].join(",");
            format!("{{\"tool_calls\":[{calls}]}}")
        };
        assert_eq!(parse(&message(64)).action.calls().len(), 64);
        assert_eq!(parse(&message(65)).action.calls().len(), 0);
    }

    #[test]
    fn anything_with_ids_of_its_own_can_be_said() {
        let one = ToolCall { id: "abc".into(), tool: "a".into(), args: json!("{oops") };
        let two = ToolCall { id: "call_0".into(), tool: "b".into(), args: json!(null) };
        for action in [
            calls(vec![one.clone(), two.clone()]),
            calls(vec![
                call(0, "a", json!({ "b": "\u{0}\n\"" })),
                call(1, "c", json!([])),
            ]),
            answer("</answer> \u{0} \" \\"),
        ] {
            let text = Protocol::Openai.render(&action).expect("no tags to close");
            assert_eq!(parse(&text).action, action);
        }
        for action in [
            answer(""),
            answer(" a"),
            calls(vec![]),
            calls(vec![one.clone(), one]),
            calls(vec![ToolCall { id: String::new(), ..two }]),
        ] {
            assert_eq!(Protocol::Openai.render(&action), None, "{action:?}");
        }
    }

    #[test]
    fn a_message_goes_back_with_its_calls_beside_it() {
        let proposal = |text: &str| Proposal {
            text: text.to_owned(),
            action: parse(text).action,
            seed: 0,
            tokens: None,
            elided: vec![],
        };
        let text = r#"{"content": "Hm. ", "tool_calls": [{"function": {"name": "a"}}]}"#;
        assert_eq!(
            assistant(&proposal(text)),
            Message::Assistant {
                text: "Hm. ".into(),
                calls: vec![call(0, "a", json!({}))]
            }
        );
        assert_eq!(
            assistant(&proposal("plain")),
            Message::Assistant { text: "plain".into(), calls: vec![] }
        );
    }

    #[test]
    fn each_call_gets_a_message_of_its_own() {
        let two = calls(vec![call(0, "a", json!({})), call(1, "b", json!({}))]);
        assert_eq!(shown(Protocol::Openai, two, &["x", "y"]), ["tool: x", "tool: y"]);
        let malformed = Action::Malformed { reason: "r".to_owned() };
        assert_eq!(shown(Protocol::Openai, malformed, &["x"]), ["user: x"]);
    }

    #[test]
    fn the_grammar_holds_a_model_to_one_short_message() {
        let openai = Protocol::Openai;
        let tools = search_and_open();
        for action in [
            answer("\"3\" < 5 \\ é"),
            answer(&"a".repeat(120)),
            calls(vec![call(0, "search", json!({ "query": "\"quoted\" \\ é" }))]),
        ] {
            check_whole(openai, &tools, &action);
        }
        let args = json!({ "count": 3, "mode": "fast", "text": "a\nb" });
        check_whole(openai, &demanding(), &calls(vec![call(0, "match_text", args)]));
        let grammar = openai.grammar(&tools, 20);
        let head = r#"{"content": "Look \"it\" up", "tool_calls": [{"id": "call_0", "#;
        let rest = r#""type": "function", "function": {"name": "search", "arguments": "#;
        let whole = format!(r#"{head}{rest}{{"query": "a"}}}}}}]}}"#);
        assert_eq!(fare(&grammar, &whole), Match::Whole);
        assert_eq!(parse(&whole).action.calls().len(), 1);
        for bad in [
            "Ada".to_owned(),
            "{\"content\": null}".to_owned(),
            "{\"content\": \"\"}".to_owned(),
            "{\"content\": \"a\\nb\"}".to_owned(),
            format!("{{\"content\": \"{}\"}}", "a".repeat(121)),
            format!("{{\"content\": \"{}\", \"tool_calls\": [", "a".repeat(21)),
            format!("{head}{rest}{{}}"),
        ] {
            assert!(matches!(fare(&grammar, &bad), Match::Breaks(_)), "{bad}");
        }
    }
}
