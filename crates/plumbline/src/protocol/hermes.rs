//! `<tool_call>` JSON, as Hermes and Qwen models are trained.
//!
//! ```text
//! I should look her up first.
//! <tool_call>
//! {"name": "search", "arguments": {"query": "Ada Lovelace"}}
//! </tool_call>
//! ```
//!
//! A message may hold several such blocks; what stands before the first is thought, and a
//! leading `<think>…</think>` is thought whatever it contains. A block holds an object, or
//! an array of them as SmolLM2 writes; `arguments` may be an object, a string of JSON, or
//! missing. The last closing tag may be missing where the JSON is complete.
//!
//! The answer stands in `<answer>` tags, and what comes before them is thought. These
//! models often answer in plain text: a message without any tag is an answer as a whole.
//! Traces of a call gone wrong make it malformed instead, so that a broken call never ends
//! an episode. Whichever tag comes first, call or answer, decides what the message is.
//!
//! Calls have no ids here: they are numbered.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::protocol::arguments::{
    check_room, example, json_grammar, numbered, read_json, summary, to_json,
};
use crate::protocol::tags::{ANSWER_CHARS_MAX, disarm, element_regex};
use crate::protocol::tiling::Tiling;
use crate::protocol::{Grammar, Message, PartKind, Reading};
use crate::{Action, ToolSpec, Turn};

const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";
const ANSWER: &str = "<answer>";
const ANSWER_END: &str = "</answer>";
const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const RESPONSE: &str = "<tool_response>";
const RESPONSE_END: &str = "</tool_response>";

const CALL_FORM: &str = "write each call as <tool_call>\n\
    {\"name\": \"TOOL\", \"arguments\": {\"NAME\": VALUE}}\n</tool_call>";
const ANSWER_FORM: &str = "write your answer as <answer>ANSWER</answer>";

/// A message may hold several calls, so the end of a call does not end it; a tool's response
/// is not the model's to write.
pub(super) const STOPS: &[&str] = &[ANSWER_END, RESPONSE];

pub(super) fn instructions(tools: &[ToolSpec]) -> String {
    let answer = "When you know the answer, write it between <answer> tags, as short as \
        possible:\n<answer>the answer</answer>";
    let Some(first) = tools.first() else { return answer.to_owned() };
    let listed: String = tools.iter().map(|tool| listing(tool) + "\n").collect();
    let call = write_call(&first.name, &example(first));
    format!(
        "You can call these tools:\n<tools>\n{listed}</tools>\n\
        To call one, write its name and arguments as JSON between <tool_call> tags:\n\
        {call}\n\
        You then get the result between <tool_response> tags.\n\
        {answer}"
    )
}

/// A tool as the models' own chat templates list it.
fn listing(tool: &ToolSpec) -> String {
    format!(
        r#"{{"type": "function", "function": {{"name": {}, "description": {}, "parameters": {}}}}}"#,
        to_json(&json!(tool.name)),
        to_json(&json!(summary(tool))),
        to_json(&tool.parameters),
    )
}

pub(super) fn parse(text: &str) -> Reading {
    let mut tiling = Tiling::new(text);
    let action = read(text, &mut tiling);
    tiling.finish(action)
}

fn read(text: &str, tiling: &mut Tiling<'_>) -> Result<Action, String> {
    let start = read_thinking(text, tiling);
    let after = |mark: &str| text[start..].find(mark).map(|at| start + at);
    match (after(CALL), after(ANSWER)) {
        (Some(call), answer) if answer.is_none_or(|answer| call < answer) => {
            read_calls(text, call, tiling)
        }
        (_, Some(answer)) => read_answer(text, answer, tiling),
        (_, None) => read_plain(text, start, tiling),
    }
}

/// Skips a leading thought in `<think>` tags; the first may stand in the prompt. Returns
/// where the message proper begins.
fn read_thinking(text: &str, tiling: &mut Tiling<'_>) -> usize {
    let mut start = 0;
    let indent = text.len() - text.trim_start().len();
    if text[indent..].starts_with(THINK) {
        start = indent + THINK.len();
        tiling.push(PartKind::Markup, start);
    }
    let Some(end) = text[start..].find(THINK_END).map(|at| start + at) else {
        return start;
    };
    let thought = &text[start..end];
    if start == 0 && (thought.contains(CALL) || thought.contains(ANSWER)) {
        return 0;
    }
    tiling.push(PartKind::Thought, end);
    tiling.push(PartKind::Markup, end + THINK_END.len());
    end + THINK_END.len()
}

fn read_calls(
    text: &str,
    first: usize,
    tiling: &mut Tiling<'_>,
) -> Result<Action, String> {
    let mut calls = vec![];
    let mut before = PartKind::Thought;
    let mut next = Some(first);
    let mut end = first;
    while let Some(at) = next {
        tiling.push(before, at);
        tiling.push(PartKind::Markup, at + CALL.len());
        end = read_block(text, at + CALL.len(), tiling, &mut calls)?;
        before = PartKind::Stray;
        next = text[end..].find(CALL).map(|at| end + at);
    }
    if is_cut_off(&text[end..]) {
        return Err(format!("the last <tool_call> is cut off; {CALL_FORM}"));
    }
    Ok(numbered(calls))
}

/// Reads what stands between the tags of a block, and the closing tag. Returns where the
/// block ends.
fn read_block(
    text: &str,
    at: usize,
    tiling: &mut Tiling<'_>,
    calls: &mut Vec<(String, Value)>,
) -> Result<usize, String> {
    let start = text.len() - text[at..].trim_start().len();
    if !text[start..].starts_with(['{', '[']) {
        return Err(format!("<tool_call> is not followed by a JSON object; {CALL_FORM}"));
    }
    let (value, end) = read_json(text, start)
        .map_err(|error| format!("<tool_call> holds bad JSON: {error}; {CALL_FORM}"))?;
    match value {
        Value::Array(values) if values.is_empty() => {
            return Err(format!("<tool_call> holds no call; {CALL_FORM}"));
        }
        Value::Array(values) => {
            for value in values {
                check_room(calls.len())?;
                calls.push(read_call(value)?);
            }
        }
        value => {
            check_room(calls.len())?;
            calls.push(read_call(value)?);
        }
    }
    tiling.push(PartKind::Call, end);
    let close = text.len() - text[end..].trim_start().len();
    let rest = &text[close..];
    if rest.starts_with(CALL_END) {
        tiling.push(PartKind::Markup, close + CALL_END.len());
        Ok(close + CALL_END.len())
    } else if rest.is_empty() || rest.starts_with(CALL) {
        Ok(end)
    } else {
        Err(format!("after the JSON object </tool_call> must follow; {CALL_FORM}"))
    }
}

fn read_call(value: Value) -> Result<(String, Value), String> {
    let Value::Object(mut call) = value else {
        return Err(format!("<tool_call> holds no JSON object; {CALL_FORM}"));
    };
    let Some(Value::String(name)) = call.remove("name").filter(|name| name != "") else {
        return Err(format!("<tool_call> lacks \"name\", a tool's name; {CALL_FORM}"));
    };
    let args = call.remove("arguments").or_else(|| call.remove("parameters"));
    let args = match args {
        None | Some(Value::Null) => json!({}),
        // A text of something else stays one: the tool's schema will refuse it by name.
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(args @ Value::Object(_)) => args,
            _ => Value::String(text),
        },
        Some(args) => args,
    };
    Ok((name, args))
}

fn read_answer(text: &str, at: usize, tiling: &mut Tiling<'_>) -> Result<Action, String> {
    tiling.push(PartKind::Thought, at);
    let start = at + ANSWER.len();
    tiling.push(PartKind::Markup, start);
    let end = text[start..].find(ANSWER_END).map(|length| start + length);
    tiling.push(PartKind::Answer, end.unwrap_or(text.len()));
    tiling.push(PartKind::Markup, end.map_or(text.len(), |end| end + ANSWER_END.len()));
    let body = text[start..end.unwrap_or(text.len())].trim();
    if body.is_empty() {
        return Err(format!("the answer is empty; {ANSWER_FORM}"));
    }
    Ok(Action::Answer { text: body.to_owned() })
}

/// A message without tags: an answer, unless it shows traces of something else.
fn read_plain(
    text: &str,
    start: usize,
    tiling: &mut Tiling<'_>,
) -> Result<Action, String> {
    let body = text[start..].trim();
    if body.is_empty() {
        return Err(format!("the message is empty; {CALL_FORM}, or {ANSWER_FORM}"));
    }
    if start > 0 && !text[..start].ends_with(THINK_END) {
        tiling.push(PartKind::Thought, text.len());
        return Err(format!("<think> is not closed; close it, then {ANSWER_FORM}"));
    }
    let untagged = body.starts_with(['{', '['])
        && body.contains("\"name\"")
        && (body.contains("\"arguments\"") || body.contains("\"parameters\""));
    if untagged || body.contains(CALL_END) || is_cut_off(body) {
        return Err(format!("a call stands between <tool_call> tags; {CALL_FORM}"));
    }
    if body.contains(ANSWER_END) {
        return Err(format!("</answer> closes nothing; {ANSWER_FORM}"));
    }
    if body.contains(RESPONSE) || body.contains(RESPONSE_END) {
        return Err(format!("only tools write <tool_response>; {CALL_FORM}"));
    }
    tiling.push(PartKind::Answer, text.len());
    Ok(Action::Answer { text: body.to_owned() })
}

/// Whether a text ends inside an opening tag.
fn is_cut_off(text: &str) -> bool {
    (2..CALL.len()).any(|length| text.ends_with(&CALL[..length]))
}

pub(super) fn render(action: &Action) -> Option<String> {
    match action {
        Action::Calls { calls } => {
            let blocks: Vec<String> =
                calls.iter().map(|call| write_call(&call.tool, &call.args)).collect();
            Some(blocks.join("\n"))
        }
        Action::Answer { text } => Some(format!("{ANSWER}{text}{ANSWER_END}")),
        Action::Malformed { .. } => None,
    }
}

fn write_call(tool: &str, args: &Value) -> String {
    let (start, end) = call_frame(tool);
    format!("{start}{}{end}", to_json(args))
}

/// What stands before and after the arguments of a call.
fn call_frame(tool: &str) -> (String, &'static str) {
    let name = to_json(&json!(tool));
    (format!("{CALL}\n{{\"name\": {name}, \"arguments\": "), "}\n</tool_call>")
}

pub(super) fn observations(turn: &Turn<'_>, texts: &[Cow<'_, str>]) -> Vec<Message> {
    let is_tag =
        |name: &str| matches!(name, "tool_response" | "tool_call" | "answer" | "think");
    let shown: Vec<String> = match turn.proposal.action {
        Action::Calls { .. } => texts
            .iter()
            .map(|text| format!("{RESPONSE}\n{}\n{RESPONSE_END}", disarm(text, is_tag)))
            .collect(),
        // A correction is ours, not a tool's.
        Action::Answer { .. } | Action::Malformed { .. } => {
            texts.iter().map(|text| text.to_string()).collect()
        }
    };
    vec![Message::User { text: shown.join("\n") }]
}

pub(super) fn grammar(tools: &[ToolSpec], thought_chars_max: u32) -> Grammar {
    let mut lark = String::from(match thought_chars_max {
        0 => "start: action\n",
        _ => "start: THOUGHT? action\n",
    });
    if thought_chars_max > 0 {
        lark += &format!("THOUGHT: /[^<\\s][^<\\n]{{0,{}}}\\n/\n", thought_chars_max - 1);
    }
    lark += "action: ANSWER\n";
    for tool in tools {
        let (start, end) = call_frame(&tool.name);
        let (start, end) = (to_json(&json!(start)), to_json(&json!(end)));
        lark += &format!("  | {start} {} {end}\n", json_grammar(tool));
    }
    lark += &format!("ANSWER: {}\n", element_regex("answer", ANSWER_CHARS_MAX));
    Grammar(lark)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::PartKind::{Answer, Call, Markup, Stray, Thought};
    use crate::protocol::Protocol;
    use crate::protocol::tests::{
        Match, answer, call, calls, check_whole, demanding, fare, search_and_open, shown,
    };

    #[track_caller]
    fn check(message: &[(PartKind, &str)], expected: &str) {
        crate::protocol::tests::check(Protocol::Hermes, message, expected);
    }

    #[test]
    fn calls_are_read() {
        check(
            &[
                (Thought, "I should look her up."),
                (Markup, "\n<tool_call>\n"),
                (Call, r#"{"name": "search", "arguments": {"query": "Ada Lovelace"}}"#),
                (Markup, "\n</tool_call>"),
            ],
            r#"call_0 search {"query":"Ada Lovelace"}"#,
        );
        check(
            &[
                (Markup, "<tool_call>"),
                (Call, r#"{"name":"search","arguments":"{\"query\":\"a\"}"}"#),
                (Markup, "</tool_call>\n<tool_call>\n  "),
                (Call, "{\"name\": \"today\"}"),
                (Markup, "  </tool_call> "),
                (Stray, "That is all."),
            ],
            "call_0 search {\"query\":\"a\"}\ncall_1 today {}",
        );
        check(
            &[
                (Markup, "<think>\n"),
                (Thought, "A <tool_call> would help: é."),
                (Markup, "\n</think>\n\n<tool_call>\n"),
                (
                    Call,
                    r#"[{"name": "a", "arguments": {}}, {"name": "b", "parameters": {}}]"#,
                ),
            ],
            "call_0 a {}\ncall_1 b {}",
        );
        check(
            &[
                (Thought, "The prompt opened this thought."),
                (Markup, "</think><tool_call>"),
                (Call, r#"{"name": "a", "arguments": "not json"}"#),
                (Markup, "<tool_call>"),
                (Call, r#"{"name": "b", "arguments": [1]}"#),
                (Markup, "</tool_call>\n"),
                (Stray, "<tool_response>"),
            ],
            "call_0 a \"not json\"\ncall_1 b [1]",
        );
    }

    #[test]
    fn answers_are_read() {
        check(
            &[
                (Thought, "She wrote the first program."),
                (Markup, "\n<answer> "),
                (Answer, "Ada Lovelace"),
                (Markup, "\n</answer>\n"),
                (Stray, "<tool_call>{}</tool_call>"),
            ],
            "answer: Ada Lovelace",
        );
        check(&[(Markup, "<answer>"), (Answer, "cut off")], "answer: cut off");
        check(
            &[(Markup, " "), (Answer, "It was Ada."), (Markup, "\n")],
            "answer: It was Ada.",
        );
        check(
            &[
                (Markup, "<think>"),
                (Thought, "Hm."),
                (Markup, "</think>\n"),
                (Answer, "42"),
            ],
            "answer: 42",
        );
    }

    #[test]
    fn broken_messages_say_what_would_be_right() {
        check(&[], "malformed: empty");
        check(&[(Markup, " \n")], "malformed: empty");
        check(&[(Markup, "<answer>  </answer>")], "malformed: the answer is empty");
        check(
            &[(Markup, "<think>"), (Thought, "on and on")],
            "malformed: <think> is not closed",
        );
        let broken = [
            (r#"{"name": "search", "arguments": {"query": "a"}"#, "bad JSON: EOF"),
            (r#"{"name": "search", "arguments": {"query": "a}}</tool_call>"#, "bad JSON"),
            (r#"{"name": "search"}} </tool_call>"#, "</tool_call> must follow"),
            (r#"{"arguments": {}}</tool_call>"#, "lacks \"name\""),
            (r#"{"name": ""}</tool_call>"#, "lacks \"name\""),
            ("[1]</tool_call>", "holds no JSON object"),
            ("[]</tool_call>", "holds no call"),
            ("search(a)</tool_call>", "not followed by a JSON object"),
            (r#"{"name": "a"}</tool_call> and <tool_c"#, "cut off"),
        ];
        for (rest, words) in broken {
            let reading = parse(&format!("Thinking. <tool_call>{rest}"));
            let Action::Malformed { reason } = reading.action else {
                panic!("{rest:?} was read as {:?}", reading.action);
            };
            assert!(reason.contains(words) && reason.contains(CALL_FORM), "{reason}");
        }
        for text in [
            r#"{"name": "search", "arguments": {"query": "a"}}"#,
            "search a</tool_call>",
            "I will call <tool_cal",
            "42</answer>",
            "42 <tool_response>ok",
        ] {
            check(&[(Stray, text)], "malformed: ");
        }
    }

    #[test]
    fn a_message_of_too_many_calls_is_malformed() {
        let message =
            |count: usize| r#"<tool_call>{"name": "a"}</tool_call>"#.repeat(count);
        assert_eq!(parse(&message(64)).action.calls().len(), 64);
        assert_eq!(parse(&message(65)).action.calls().len(), 0);
    }

    #[test]
    fn what_cannot_be_said_is_not_written() {
        let unsayable = [
            answer("a</answer>b"),
            answer(" padded"),
            answer(""),
            calls(vec![]),
            calls(vec![call(1, "search", json!({}))]),
            calls(vec![call(0, "", json!({}))]),
            calls(vec![call(0, "search", json!(null))]),
            calls(vec![call(0, "search", json!("{}"))]),
            Action::Malformed { reason: "it was".to_owned() },
        ];
        for action in unsayable {
            assert_eq!(Protocol::Hermes.render(&action), None, "{action:?}");
        }
        let two = calls(vec![
            call(0, "b", json!({ "z": "</tool_call>", "a": [1, true] })),
            call(1, "a", json!({})),
        ]);
        assert_eq!(
            Protocol::Hermes.render(&two).as_deref(),
            Some(
                "<tool_call>\n{\"name\": \"b\", \"arguments\": {\"a\": [1, true], \
                 \"z\": \"</tool_call>\"}}\n</tool_call>\n\
                 <tool_call>\n{\"name\": \"a\", \"arguments\": {}}\n</tool_call>"
            )
        );
    }

    #[test]
    fn a_document_cannot_end_its_block() {
        let two = calls(vec![call(0, "a", json!({})), call(1, "b", json!({}))]);
        assert_eq!(
            shown(Protocol::Hermes, two, &["x</tool_response></b></answer", "</answer>"]),
            [
                "user: <tool_response>\nx<\\/tool_response></b></answer\n</tool_response>\n\
              <tool_response>\n<\\/answer>\n</tool_response>"
            ]
        );
        let malformed = Action::Malformed { reason: "r".to_owned() };
        assert_eq!(
            shown(Protocol::Hermes, malformed, &["close </tool_call>"]),
            ["user: close </tool_call>"]
        );
    }

    #[test]
    fn the_grammar_holds_a_model_to_one_short_message() {
        let hermes = Protocol::Hermes;
        let tools = search_and_open();
        for action in [
            answer("x"),
            answer("3 < 5, é"),
            calls(vec![call(0, "search", json!({ "query": "\"quoted\" \\ <b> é" }))]),
            calls(vec![call(0, "open", json!({ "title": "q".repeat(200) }))]),
        ] {
            check_whole(hermes, &tools, &action);
        }
        for args in [
            json!({ "text": "ab" }),
            json!({ "count": 3, "mode": "fast", "tags": ["a", "b"], "text": "a\nb" }),
            json!({ "text": "abc", "when": "2024-02-29" }),
        ] {
            check_whole(hermes, &demanding(), &calls(vec![call(0, "match_text", args)]));
        }
        let grammar = hermes.grammar(&tools, 20);
        let call = |args: &str| {
            format!(
                "<tool_call>\n{{\"name\": \"search\", \"arguments\": {args}}}\n</tool_call>"
            )
        };
        let fares = |text: &str| fare(&grammar, text);
        assert_eq!(fares("Look it up.\n<answer>x</answer>"), Match::Whole);
        assert_eq!(fares("Look it up.\n<answer>x"), Match::Beginning);
        assert_eq!(fares("Longer than twenty characters\n<answer>"), Match::Breaks(20));
        let answer = |body: &str| fares(&format!("<answer>{body}</answer>"));
        assert_eq!(answer(&"a".repeat(120)), Match::Whole);
        assert_eq!(answer(&"a".repeat(121)), Match::Breaks(128));
        for bad in ["", " a", "a ", "a\nb"] {
            assert!(matches!(answer(bad), Match::Breaks(_)), "{bad:?}");
        }
        for bad in [
            "{}",
            r#"{"query": ""}"#,
            r#"{"query": 1}"#,
            r#"{"query": "a\nb"}"#,
            r#"{"query": "a", "b": 1}"#,
            &format!("{{\"query\": \"{}\"}}", "a".repeat(201)),
        ] {
            assert!(matches!(fares(&call(bad)), Match::Breaks(_)), "{bad}");
        }
        assert_eq!(fares(&call(r#"{"query": "a"}"#)), Match::Whole);
        assert!(matches!(fare(&hermes.grammar(&tools, 0), "Hm"), Match::Breaks(0)));
    }
}
