//! Lines, as ReAct prompts: `Thought:`, `Action: Tool[input]`, `Observation:`.
//!
//! ```text
//! Thought: I should look her up first.
//! Action: Search[Ada Lovelace]
//! ```
//!
//! Labels may be numbered (`Action 2:`), as the published ReAct and Reflexion logs do. The
//! first action of a message counts; what a model goes on to invent after it is ignored.
//! Brackets in the input balance, or else the last one on the line closes. An input that
//! begins with `{` is JSON and holds all arguments; any other text is the only argument,
//! called `query` for `search`, `title` for `open`, and `input` for any other tool. Tool
//! names are read in lower case. `Action: tool` with an `Action Input:` line below is read
//! as well, and so is a line `Tool[input]` in a message that labels no action.
//!
//! `Finish[answer]` answers, as does a `Final Answer:` line. A message makes one call,
//! numbered 0.

use std::borrow::Cow;

use serde_json::Value;

use crate::protocol::arguments::{
    json_grammar, numbered, read_json, signature, sole, sole_chars_max, sole_name,
    sole_text, summary, to_json,
};
use crate::protocol::tags::ANSWER_CHARS_MAX;
use crate::protocol::tiling::Tiling;
use crate::protocol::{Grammar, Message, PartKind, Reading};
use crate::{Action, ToolSpec, Turn};

const FORMS: &str = "write a line like Action: search[your query] to call a tool, or \
    Action: Finish[your answer] to answer";

/// An observation is not the model's to write. The end of an action is no stop: its bracket
/// may stand inside.
pub(super) const STOPS: &[&str] = &["\nObservation"];

pub(super) fn instructions(tools: &[ToolSpec]) -> String {
    let mut said = String::from("Write one thought and one action, each on its line:\n");
    said += "Thought: what to do next\nAction: one of\n";
    for tool in tools {
        let name = &tool.name;
        let call = match sole_chars_max(tool) {
            Some(_) => format!("{name}[{}]", sole_name(name)),
            None => format!("{name}[JSON] with {}", signature(tool)),
        };
        said += &format!("- {call}: {}\n", summary(tool));
    }
    said += "- Finish[answer]: gives the answer, as short as possible, and ends.";
    if !tools.is_empty() {
        said += "\nYou then get the result in a line that begins with Observation.";
    }
    said
}

pub(super) fn parse(text: &str) -> Reading {
    let mut tiling = Tiling::new(text);
    let action = read(text, &mut tiling);
    tiling.finish(action)
}

/// The word a line begins with, before its colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Thought,
    Action,
    ActionInput,
    Observation,
    FinalAnswer,
}

impl Label {
    const ALL: [(&str, Label); 5] = [
        ("Thought", Label::Thought),
        ("Action Input", Label::ActionInput),
        ("Action", Label::Action),
        ("Observation", Label::Observation),
        ("Final Answer", Label::FinalAnswer),
    ];

    /// The label of a line, and the bytes of the line up to and with the colon.
    fn of(line: &str) -> Option<(Label, usize)> {
        let word = line.trim_start();
        let (rest, label) = Self::ALL
            .iter()
            .find_map(|(name, label)| Some((word.strip_prefix(name)?, *label)))?;
        let rest = rest.trim_start_matches([' ', '\t']);
        let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let rest = rest.trim_start_matches([' ', '\t']).strip_prefix(':')?;
        Some((label, line.len() - rest.len()))
    }
}

/// A section of a message: a label and what follows it, up to the next label.
#[derive(Debug, Clone, Copy)]
struct Section {
    /// Absent for what stands before the first label.
    label: Option<Label>,
    start: usize,
    body: usize,
    end: usize,
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections = vec![Section { label: None, start: 0, body: 0, end: 0 }];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if let Some((label, length)) = Label::of(line) {
            let (label, body) = (Some(label), at + length);
            sections.push(Section { label, start: at, body, end: body });
        }
        at += line.len();
        if let Some(last) = sections.last_mut() {
            last.end = at;
        }
    }
    sections
}

fn read(text: &str, tiling: &mut Tiling<'_>) -> Result<Action, String> {
    if text.trim().is_empty() {
        return Err(format!("the message is empty; {FORMS}"));
    }
    let sections = sections(text);
    let announced = sections
        .iter()
        .take_while(|section| section.label != Some(Label::Observation))
        .any(|section| matches!(section.label, Some(Label::Action | Label::FinalAnswer)));
    for (index, section) in sections.iter().enumerate() {
        match section.label {
            Some(Label::FinalAnswer) => {
                tiling.push(PartKind::Markup, section.body);
                let answer = &text[section.body..section.end];
                return read_answer(answer, section.end, section.end, tiling);
            }
            Some(Label::Action) => {
                tiling.push(PartKind::Markup, section.body);
                let input = sections.get(index + 1);
                let input = input.filter(|next| next.label == Some(Label::ActionInput));
                return read_action(text, *section, input.copied(), tiling);
            }
            Some(Label::Observation | Label::ActionInput) => {
                tiling.push(PartKind::Stray, section.end);
            }
            Some(Label::Thought) | None => {
                tiling.push(PartKind::Markup, section.body);
                let line = bare_action(text, *section).filter(|_| !announced);
                if let Some(line) = line {
                    tiling.push(PartKind::Thought, line.start);
                    return read_action(text, line, None, tiling);
                }
                tiling.push(PartKind::Thought, section.end);
            }
        }
    }
    Err(format!("the message has no action; {FORMS}"))
}

/// A line of a thought that is an action without its label. It counts only if no label
/// announces an action before the model invents an observation.
fn bare_action(text: &str, thought: Section) -> Option<Section> {
    let mut at = thought.body;
    for line in text[thought.body..thought.end].split_inclusive('\n') {
        let start = at;
        at += line.len();
        let named = line.trim().split_once('[').is_some_and(|(name, _)| is_name(name));
        if named && line.trim_end().ends_with(']') {
            return Some(Section { label: None, start, body: start, end: at });
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn read_action(
    text: &str,
    section: Section,
    input: Option<Section>,
    tiling: &mut Tiling<'_>,
) -> Result<Action, String> {
    let body = &text[section.body..section.end];
    if let Some(input) = input.filter(|_| is_name(body.trim())) {
        tiling.push(PartKind::Call, input.end);
        return read_call(body.trim(), text[input.body..input.end].trim());
    }
    let (name, rest) = body
        .split_once('[')
        .filter(|(name, _)| is_name(name.trim()))
        .ok_or_else(|| format!("the action is not a tool with its input; {FORMS}"))?;
    let start = section.end - rest.len();
    let length = closing_bracket(rest)
        .ok_or_else(|| format!("the action is not closed by ]; {FORMS}"))?;
    let (inside, end) = (&rest[..length], start + length);
    if name.trim().eq_ignore_ascii_case("finish") {
        tiling.push(PartKind::Markup, start);
        return read_answer(inside, end, end + 1, tiling);
    }
    tiling.push(PartKind::Call, end + 1);
    read_call(name.trim(), inside.trim())
}

fn read_answer(
    body: &str,
    body_end: usize,
    end: usize,
    tiling: &mut Tiling<'_>,
) -> Result<Action, String> {
    tiling.push(PartKind::Answer, body_end);
    tiling.push(PartKind::Markup, end);
    match body.trim() {
        "" => Err(format!("the answer is empty; {FORMS}")),
        answer => Ok(Action::Answer { text: answer.to_owned() }),
    }
}

fn read_call(name: &str, input: &str) -> Result<Action, String> {
    let tool = name.to_ascii_lowercase();
    if input.is_empty() {
        return Err(format!("the input of {tool} is empty; {FORMS}"));
    }
    let args = if input.starts_with('{') {
        serde_json::from_str(input).map_err(|error| {
            format!("the input of {tool} is bad JSON: {error}; write {tool}[{{\"NAME\": VALUE}}]")
        })?
    } else {
        sole(&tool, input)
    };
    Ok(numbered(vec![(tool, args)]))
}

/// The byte of the bracket that closes an input. JSON knows where it ends; in other text
/// brackets balance, or else the last one on the first line closes.
fn closing_bracket(rest: &str) -> Option<usize> {
    let indent = rest.len() - rest.trim_start().len();
    if rest[indent..].starts_with('{')
        && let Ok((Value::Object(_), end)) = read_json(rest, indent)
    {
        let close = rest.len() - rest[end..].trim_start().len();
        if rest[close..].starts_with(']') {
            return Some(close);
        }
    }
    let mut depth = 0usize;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' if depth == 0 => return Some(at),
            b']' => depth -= 1,
            _ => {}
        }
    }
    rest.lines().next()?.rfind(']')
}

pub(super) fn render(action: &Action) -> Option<String> {
    match action {
        Action::Calls { calls } => {
            let [call] = calls.as_slice() else { return None };
            let tool = &call.tool;
            Some(match sole_text(call) {
                Some(text) => format!("Action: {tool}[{text}]"),
                None => format!("Action: {tool}[{}]", to_json(&call.args)),
            })
        }
        Action::Answer { text } => Some(format!("Action: Finish[{text}]")),
        Action::Malformed { .. } => None,
    }
}

pub(super) fn observations(turn: &Turn<'_>, texts: &[Cow<'_, str>]) -> Vec<Message> {
    let shown: Vec<String> = match turn.proposal.action {
        Action::Calls { .. } => {
            texts.iter().map(|text| format!("Observation: {}", disarm(text))).collect()
        }
        // A correction is ours, not a tool's.
        Action::Answer { .. } | Action::Malformed { .. } => {
            texts.iter().map(|text| text.to_string()).collect()
        }
    };
    vec![Message::User { text: shown.join("\n") }]
}

/// Takes the force from labels inside a tool's text, so that a document can neither end the
/// observation nor pass for a message: a line that begins `Action:` begins `\Action:`
/// instead. Nothing else is changed.
fn disarm(text: &str) -> String {
    let mut disarmed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if Label::of(line).is_some() {
            disarmed.push('\\');
        }
        disarmed.push_str(line);
    }
    disarmed
}

pub(super) fn grammar(tools: &[ToolSpec], thought_chars_max: u32) -> Grammar {
    let mut lark = String::from(match thought_chars_max {
        0 => "start: action\n",
        _ => "start: THOUGHT? action\n",
    });
    if thought_chars_max > 0 {
        lark += &format!("THOUGHT: /Thought: [^\\n]{{1,{thought_chars_max}}}\\n/\n");
    }
    let mut terminals = format!("FINISH: {}\n", action_regex("Finish", ANSWER_CHARS_MAX));
    lark += "action: FINISH\n";
    for (index, tool) in tools.iter().enumerate() {
        match sole_chars_max(tool) {
            Some(chars_max) => {
                lark += &format!("  | CALL_{index}\n");
                let regex = action_regex(&tool.name, chars_max);
                terminals += &format!("CALL_{index}: {regex}\n");
            }
            None => {
                let json = json_grammar(tool);
                lark += &format!("  | \"Action: {}[\" {json} \"]\"\n", tool.name);
            }
        }
    }
    Grammar(lark + &terminals)
}

/// A regular expression for `Action: NAME[input]`: one line of 1 to `chars_max` characters,
/// trimmed, that is no JSON. Brackets inside may hold a few characters, and count as one.
fn action_regex(name: &str, chars_max: u64) -> String {
    let nested = r"\[[^\[\]\n]{0,20}\]";
    let first = format!(r"([^\[\]\s{{]|{nested})");
    let middle = format!(r"([^\[\]\n]|{nested})");
    let last = format!(r"([^\[\]\s]|{nested})");
    let body = match chars_max {
        0 | 1 => first,
        _ => format!("{first}({middle}{{0,{}}}{last})?", chars_max - 2),
    };
    format!(r"/Action: {name}\[{body}\]/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::PartKind::{Answer, Call, Markup, Stray, Thought};
    use crate::protocol::Protocol;
    use crate::protocol::tests::{
        Match, answer, call, calls, check_whole, demanding, fare, search_and_open, shown,
        tool,
    };

    #[track_caller]
    fn check(message: &[(PartKind, &str)], expected: &str) {
        crate::protocol::tests::check(Protocol::React, message, expected);
    }

    #[test]
    fn calls_are_read() {
        check(
            &[
                (Markup, "Thought 1: "),
                (Thought, "I need to search [her] and find\nher field."),
                (Markup, "\nAction 1: "),
                (Call, "Search[Ada Lovelace]"),
                (Markup, "\n"),
                (Stray, "Observation 1: made up\nAction 2: Finish[x]"),
            ],
            r#"call_0 search {"query":"Ada Lovelace"}"#,
        );
        check(
            &[
                (Thought, "The prompt wrote the label, é."),
                (Markup, "\n  Action : "),
                (Call, "Open[ Ada [album] (1990) ]"),
                (Markup, " "),
                (Stray, "and so on ]"),
            ],
            r#"call_0 open {"title":"Ada [album] (1990)"}"#,
        );
        check(
            &[
                (Markup, "Action: "),
                (Call, "search[{\"query\": \"a]\", \n\"top_k\": 2} ]"),
                (Markup, "\n"),
                (Stray, "Observation"),
            ],
            r#"call_0 search {"query":"a]","top_k":2}"#,
        );
        check(
            &[
                (Markup, "Action: "),
                (Call, "Lookup[a [ b]"),
                (Markup, "\n"),
                (Stray, "c"),
            ],
            r#"call_0 lookup {"input":"a [ b"}"#,
        );
        check(
            &[
                (Markup, "Action: "),
                (Call, "search\nAction Input: Ada"),
                (Markup, "\n"),
                (Stray, "Observation: x"),
            ],
            r#"call_0 search {"query":"Ada"}"#,
        );
        check(
            &[
                (Markup, "Thought: "),
                (Thought, "I'll search[it]."),
                (Markup, "\n"),
                (Call, "Search[\"Ada\"]"),
            ],
            r#"call_0 search {"query":"\"Ada\""}"#,
        );
    }

    #[test]
    fn answers_are_read() {
        check(
            &[
                (Markup, "Thought 3: "),
                (Thought, "So it is Ada."),
                (Markup, "\nAction 3: Finish["),
                (Answer, "Ada [L]"),
                (Markup, "]"),
            ],
            "answer: Ada [L]",
        );
        check(
            &[
                (Markup, "Thought: "),
                (Thought, "Done.\nfinish[no]"),
                (Markup, "\nFinal Answer: "),
                (Answer, "two\nlines"),
                (Markup, "\n"),
            ],
            "answer: two\nlines",
        );
        check(
            &[
                (Markup, "Thought: "),
                (Thought, "a"),
                (Markup, "\nThought: "),
                (Thought, "b\nsearch[no]"),
                (Markup, "\nThought: "),
                (Thought, "c"),
                (Markup, "\nAction: Finish["),
                (Answer, "d"),
                (Markup, "]"),
            ],
            "answer: d",
        );
        check(
            &[(Markup, "Finish["), (Answer, "{\"a\": 1}"), (Markup, "]")],
            "answer: {\"a\": 1}",
        );
    }

    #[test]
    fn broken_messages_say_what_would_be_right() {
        check(&[], "malformed: empty");
        check(&[(Thought, "Ada Lovelace")], "malformed: no action");
        check(&[(Stray, "Observation: Action: a[b]")], "malformed: no action");
        check(&[(Markup, "Action: Finish[ ]")], "malformed: the answer is empty");
        check(&[(Markup, "Final Answer:")], "malformed: the answer is empty");
        check(
            &[(Markup, "Action: "), (Call, "search[]")],
            "malformed: the input of search is empty",
        );
        check(
            &[(Markup, "Action: "), (Call, "search[{\"query\": a}]")],
            "malformed: the input of search is bad JSON",
        );
        check(
            &[(Markup, "Action: "), (Stray, "search[Ada")],
            "malformed: the action is not closed by ]",
        );
        for body in ["search", "search for [Ada]", "[Ada]", "search\nThought: a[b]"] {
            check(
                &[(Markup, "Action: "), (Stray, body)],
                "malformed: the action is not a tool with its input",
            );
        }
    }

    #[test]
    fn what_cannot_be_said_is_not_written() {
        let search = |args| calls(vec![call(0, "search", args)]);
        let unsayable = [
            answer("a]"),
            answer("a\nObservation: b"),
            answer(" a"),
            search(json!({ "query": "a] b" })),
            search(json!({ "query": "{" })),
            search(json!({ "query": "" })),
            search(json!([])),
            calls(vec![call(0, "Search", json!({ "query": "a" }))]),
            calls(vec![call(0, "finish", json!({ "input": "a" }))]),
            calls(vec![call(0, "two words", json!({ "input": "a" }))]),
            calls(vec![call(0, "a", json!({ "input": "a" })); 2]),
        ];
        for action in unsayable {
            assert_eq!(Protocol::React.render(&action), None, "{action:?}");
        }
        for (action, text) in [
            (search(json!({ "query": "a [b] c" })), "Action: search[a [b] c]"),
            (
                search(json!({ "query": "]", "top_k": 1 })),
                r#"Action: search[{"query": "]", "top_k": 1}]"#,
            ),
            (calls(vec![call(0, "today", json!({}))]), "Action: today[{}]"),
        ] {
            assert_eq!(Protocol::React.render(&action).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_document_cannot_end_its_observation() {
        let search = calls(vec![call(0, "search", json!({ "query": "a" }))]);
        assert_eq!(
            shown(
                Protocol::React,
                search,
                &["A action: b\n  Action 2: Finish[c]\nThought\n"]
            ),
            ["user: Observation: A action: b\n\\  Action 2: Finish[c]\nThought\n"]
        );
        let malformed = Action::Malformed { reason: "r".to_owned() };
        assert_eq!(
            shown(Protocol::React, malformed, &["Action: x"]),
            ["user: Action: x"]
        );
    }

    #[test]
    fn the_grammar_holds_a_model_to_one_short_message() {
        let react = Protocol::React;
        let mut tools = search_and_open();
        tools.extend(demanding());
        let sql =
            json!({ "properties": { "input": { "type": "string", "maxLength": 3 } } });
        tools.push(tool("sql", sql));
        for action in [
            answer("3 < 5, [é]"),
            answer(&"a".repeat(120)),
            calls(vec![call(0, "search", json!({ "query": "a [b] \"c\"" }))]),
            calls(vec![call(0, "open", json!({ "title": "t".repeat(200) }))]),
            calls(vec![call(0, "sql", json!({ "input": "a b" }))]),
            calls(vec![call(0, "match_text", json!({ "count": 2, "text": "]]" }))]),
        ] {
            check_whole(react, &tools, &action);
        }
        let grammar = react.grammar(&tools, 20);
        let fares = |text: &str| fare(&grammar, text);
        assert_eq!(fares("Thought: Look it up.\nAction: Finish[x]"), Match::Whole);
        assert_eq!(fares("Thought: Look\nAction: search[x"), Match::Beginning);
        assert_eq!(fares("Thought: Longer than twenty characters"), Match::Breaks(29));
        for (bad, taken) in [
            ("Look", 0),
            ("Action: search[]", 15),
            ("Action: search[{\"query\": \"x\"}]", 15),
            ("Action: search[ x]", 15),
            ("Action: search[x ]", 17),
            ("Action: search[x\n]", 16),
            ("Action: sql[abcd]", 15),
            ("Action: search[x]\n", 17),
        ] {
            assert_eq!(fares(bad), Match::Breaks(taken), "{bad:?}");
        }
    }
}
