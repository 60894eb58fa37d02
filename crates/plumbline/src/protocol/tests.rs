//! What holds for every protocol, and what their own tests share.

use std::sync::{Arc, OnceLock};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv};
use llguidance::{Matcher, ParserFactory};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Digest, Fault, Observation};

/// A tool with a schema; its description names it.
pub(super) fn tool(name: &str, parameters: Value) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: format!("What {name} does.\nMore about it."),
        parameters,
        pinned: Digest::of(b"nothing"),
    }
}

/// The two tools of the question-answering environments.
pub(super) fn search_and_open() -> Vec<ToolSpec> {
    let one = |name: &str| {
        json!({
            "type": "object",
            "properties": { name: { "type": "string", "minLength": 1 } },
            "required": [name],
            "additionalProperties": false,
        })
    };
    vec![tool("search", one("query")), tool("open", one("title"))]
}

/// Tools whose schemas use more of JSON Schema than most do.
pub(super) fn demanding() -> Vec<ToolSpec> {
    let parameters = json!({
        "type": "object",
        "properties": {
            "text": { "type": "string", "minLength": 2, "maxLength": 5 },
            "mode": { "enum": ["fast", "slow"] },
            "count": { "type": "integer", "minimum": 1 },
            "when": { "type": "string", "format": "date" },
            "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" } },
        },
        "$defs": { "tag": { "type": "string", "pattern": "^[a-z]+$" } },
        "required": ["text"],
        "if": { "properties": { "mode": { "const": "slow" } } },
        "then": { "required": ["count"] },
    });
    vec![
        tool("match_text", parameters),
        tool("today", json!({})),
        tool("any", json!(true)),
    ]
}

/// A call with the id that protocols without ids give it.
pub(super) fn call(index: usize, tool: &str, args: Value) -> ToolCall {
    ToolCall { id: format!("call_{index}"), tool: tool.to_owned(), args }
}

pub(super) fn calls(calls: Vec<ToolCall>) -> Action {
    Action::Calls { calls }
}

pub(super) fn answer(text: &str) -> Action {
    Action::Answer { text: text.to_owned() }
}

/// Checks a message given as its annotated parts, against one line for each call, or
/// `answer: TEXT`, or `malformed: WORDS OF THE REASON`.
#[track_caller]
pub(super) fn check(protocol: Protocol, message: &[(PartKind, &str)], expected: &str) {
    let text: String = message.iter().map(|(_, piece)| *piece).collect();
    let reading = protocol.parse(&text);
    match &reading.action {
        Action::Calls { calls } => {
            let read: Vec<String> = calls
                .iter()
                .map(|call| format!("{} {} {}", call.id, call.tool, call.args))
                .collect();
            assert_eq!(read.join("\n"), expected, "{text:?}");
        }
        Action::Answer { text: read } => {
            assert_eq!(format!("answer: {read}"), expected, "{text:?}");
        }
        Action::Malformed { reason } => {
            let words = expected.strip_prefix("malformed: ");
            assert!(
                words.is_some_and(|words| reason.contains(words)),
                "{text:?}: {reason:?} is not {expected:?}"
            );
        }
    }
    let parts: Vec<(PartKind, &str)> =
        reading.parts.iter().map(|part| (part.kind, &text[part.range.clone()])).collect();
    assert_eq!(parts, message, "{text:?}");
}

/// What a protocol shows of a step with this action and these outputs: `role: text`.
pub(super) fn shown(protocol: Protocol, action: Action, texts: &[&str]) -> Vec<String> {
    let proposal =
        Proposal { text: String::new(), action, seed: 0, tokens: None, elided: vec![] };
    let observations: Vec<Observation> = match proposal.action {
        Action::Calls { .. } => texts
            .iter()
            .map(|text| Observation::Output {
                text: (*text).to_owned(),
                data: Value::Null,
            })
            .collect(),
        _ => texts.iter().map(|t| Observation::fault(Fault::Malformed, *t)).collect(),
    };
    let turn = Turn { proposal: &proposal, observations: &observations };
    let messages = protocol.observations(&turn, false);
    messages.iter().map(|m| format!("{}: {}", m.role(), m.text())).collect()
}

/// How a text fares against a grammar, byte by byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// It is a whole message, and nothing may follow.
    Whole,
    /// It is the beginning of one.
    Beginning,
    /// Its first bytes, so many, are; the next cannot be.
    Breaks(usize),
}

pub(super) fn fare(grammar: &Grammar, text: &str) -> Match {
    static BYTES: OnceLock<TokEnv> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| Arc::new(ApproximateTokEnv::single_byte()));
    let factory = ParserFactory::new_simple(bytes).expect("defaults are valid");
    let lark = TopLevelGrammar::from_lark(grammar.0.clone());
    let mut matcher = Matcher::new(factory.create_parser(lark));
    assert!(!matcher.is_error(), "{:?}\n{}", matcher.get_error(), grammar.0);
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    let taken = matcher.try_consume_tokens(&tokens).expect("a fresh matcher");
    if taken < tokens.len() {
        return Match::Breaks(taken);
    }
    if matcher.is_stopped() { Match::Whole } else { Match::Beginning }
}

#[track_caller]
pub(super) fn check_whole(protocol: Protocol, tools: &[ToolSpec], action: &Action) {
    let text = protocol.render(action).expect("the protocol can say it");
    let grammar = protocol.grammar(tools, 20);
    assert_eq!(fare(&grammar, &text), Match::Whole, "{text:?}\n{}", grammar.0);
}

fn piece() -> impl Strategy<Value = String> {
    let fragments = prop::sample::select(vec![
        "<",
        ">",
        "</",
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<search>",
        "</search>",
        "<open>",
        "</open>",
        "<information>",
        "<tool_response>",
        "</tool_response>",
        "<tool_ca",
        "{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}",
        "{\"name\": \"\"}",
        "{\"name\":",
        "\"arguments\": \"{}\"",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "null",
        "Thought:",
        "Thought 1:",
        "Action:",
        "Action 2: ",
        "Observation: ",
        "Final Answer:",
        "Action Input:",
        "Search[",
        "Finish[",
        "lookup",
        "{\"content\": ",
        "\"tool_calls\": [",
        "\"function\": ",
        ", ",
        "{\"content\": null, \"tool_calls\": [{\"id\": \"a\", \"function\": \
         {\"name\": \"search\", \"arguments\": \"{}\"}}]}",
        "\n",
        " ",
        "\t",
        "\u{a0}",
        "\u{2028}",
        "é",
        "🔵",
        "\u{0}",
        "word",
    ]);
    prop_oneof![4 => fragments.prop_map(str::to_owned), 1 => any::<String>()]
}

/// Texts made of the protocols' own fragments, in any order.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..3)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn action() -> impl Strategy<Value = Action> {
    let name = prop_oneof![
        2 => Just("search".to_owned()),
        1 => Just("open".to_owned()),
        2 => "[a-z][a-z0-9_]{0,9}",
        1 => text(),
    ];
    let args = prop_oneof![
        text().prop_map(|text| json!({ "query": text })),
        text().prop_map(|text| json!({ "input": text })),
        json_value(),
    ];
    let call = (prop_oneof![Just("call_0".to_owned()), text()], name, args)
        .prop_map(|(id, tool, args)| ToolCall { id, tool, args });
    prop_oneof![
        4 => prop::collection::vec(call, 0..3).prop_map(calls),
        2 => text().prop_map(|text| Action::Answer { text }),
        1 => text().prop_map(|reason| Action::Malformed { reason }),
    ]
}

#[track_caller]
fn check_tiled(text: &str, reading: &Reading) {
    let mut end = 0;
    for part in &reading.parts {
        assert_eq!(part.range.start, end, "a gap or an overlap in {text:?}");
        assert!(part.range.end > end, "an empty part in {text:?}");
        assert!(text.is_char_boundary(part.range.end), "half a character in {text:?}");
        end = part.range.end;
    }
    assert_eq!(end, text.len(), "parts end early in {text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_read_and_its_parts_tile_it(text in text()) {
        for protocol in Protocol::ALL {
            let reading = protocol.parse(&text);
            check_tiled(&text, &reading);
            match reading.action {
                Action::Calls { calls } => prop_assert!(!calls.is_empty()),
                Action::Answer { text } => {
                    prop_assert!(!text.is_empty() && text.trim() == text);
                }
                Action::Malformed { reason } => prop_assert!(!reason.is_empty()),
            }
        }
    }

    #[test]
    fn what_is_written_reads_back(action in action()) {
        for protocol in Protocol::ALL {
            if let Some(text) = protocol.render(&action) {
                prop_assert_eq!(protocol.parse(&text).action, action.clone());
            }
        }
    }

}

proptest! {
    // Each case compiles eight grammars.
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn ordinary_words_can_be_said(words in "[a-zA-Z0-9é,.'?!-]{1,9}( [a-zé:]{1,9}){0,5}") {
        for protocol in Protocol::ALL {
            let query = call(0, "search", json!({ "query": words }));
            for action in [answer(&words), calls(vec![query])] {
                let text = protocol.render(&action);
                prop_assert!(text.is_some(), "{} cannot say {:?}", protocol, action);
                let grammar = protocol.grammar(&search_and_open(), 20);
                let text = text.expect("just checked");
                prop_assert_eq!(fare(&grammar, &text), Match::Whole, "{}", text);
            }
        }
    }
}

/// A megabyte of one fragment. A parser that looks ahead from each of them to the end
/// would read 10^11 bytes and never come back.
#[test]
fn the_work_is_linear_in_the_text() {
    let fragments = [
        "<",
        "<a>",
        "</a>",
        "<search>",
        "</search>",
        "<think>",
        "</think>",
        "<answer>",
        "<tool_call>",
        "<tool_call>{}",
        "<tool_call>{\"name\": \"a\"}",
        "[",
        "{",
        "]",
        "Action: a[",
        "Action: a[\n",
        "Action: a\n",
        "Thought:\n",
        "a[\n",
        "a[b]\n",
        " ",
        "{\"a\":",
        "{\"tool_calls\":[",
        "\n",
        "\"",
        "\\",
    ];
    for fragment in fragments {
        for start in ["", "<tool_call>", "Action: a[", "{\"content\": \"", "<search>"] {
            let text = start.to_owned() + &fragment.repeat(1_000_000 / fragment.len());
            for protocol in Protocol::ALL {
                check_tiled(&text, &protocol.parse(&text));
            }
        }
    }
}

#[test]
fn every_grammar_compiles_and_without_tools_only_answers() {
    for protocol in Protocol::ALL {
        for tools in [vec![], search_and_open(), demanding()] {
            for thought_chars_max in [0, 1, 400] {
                let grammar = protocol.grammar(&tools, thought_chars_max);
                let text = protocol.render(&answer("42")).expect("an answer");
                assert_eq!(fare(&grammar, &text), Match::Whole, "{}", grammar.0);
            }
        }
        let query = calls(vec![call(0, "search", json!({ "query": "x" }))]);
        let text = protocol.render(&query).expect("a call");
        let grammar = protocol.grammar(&[], 0);
        assert!(matches!(fare(&grammar, &text), Match::Breaks(_)), "{text}");
    }
}

#[test]
fn instructions_name_every_tool_and_how_to_answer() {
    for protocol in Protocol::ALL {
        let said = protocol.instructions(&search_and_open());
        for word in ["search", "What search does.", "open", "What open does."] {
            assert!(said.contains(word), "{protocol}: {said}");
        }
        assert!(!said.contains("More about it"), "{protocol}: {said}");
        assert!(protocol.instructions(&[]).contains("answer"), "{protocol}");
    }
}
