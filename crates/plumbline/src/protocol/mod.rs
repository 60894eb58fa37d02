//! Protocols: prompt out, action in. Pure functions of text; one file a protocol.
//!
//! A protocol decides how a message says "call this tool" or "this is my answer", and how
//! observations are shown. Two properties hold for each and are tested on random input:
//! [`Protocol::parse`] accepts any text, its [`Part`]s tile that text byte for byte, and
//! parsing what [`Protocol::render`] wrote gives the same action again.

mod hermes;
mod openai;
mod react;
mod search_r1;

mod arguments;
mod tags;
mod tiling;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Action, Proposal, ToolCall, ToolSpec, Turn};

/// How calls and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// `<think>`, `<search>query</search>`, `<answer>` tags, as Search-R1 trains.
    SearchR1,
    /// `Thought:`, `Action: Tool[input]`, `Observation:` lines, as ReAct prompts.
    React,
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, as Hermes and Qwen models.
    Hermes,
    /// An assistant message object with `tool_calls`, as chat endpoints return.
    Openai,
}

/// A chat message, as a policy sends it to a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The instructions.
    System {
        /// What they say.
        text: String,
    },
    /// The question, or what a protocol shows as if a user said it.
    User {
        /// What it says.
        text: String,
    },
    /// An earlier message of the model's own.
    Assistant {
        /// The message, byte for byte; without its calls where they stand in `calls`.
        text: String,
        /// Calls made beside the text: only in the protocol [`Protocol::Openai`].
        calls: Vec<ToolCall>,
    },
    /// The answer to one call: only in the protocol [`Protocol::Openai`].
    Tool {
        /// Which call.
        call_id: String,
        /// What it came to.
        text: String,
    },
}

impl Message {
    /// The role's name in chat templates and endpoints.
    pub fn role(&self) -> &'static str {
        match self {
            Message::System { .. } => "system",
            Message::User { .. } => "user",
            Message::Assistant { .. } => "assistant",
            Message::Tool { .. } => "tool",
        }
    }

    /// What the message says.
    pub fn text(&self) -> &str {
        match self {
            Message::System { text }
            | Message::User { text }
            | Message::Assistant { text, .. }
            | Message::Tool { text, .. } => text,
        }
    }
}

/// What a protocol made of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What the message asks for.
    pub action: Action,
    /// What each part of the text is. The ranges tile the text: they are in order, without
    /// gap or overlap, from its first byte to its last.
    pub parts: Vec<Part>,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its bytes in the message, at character boundaries.
    pub range: Range<usize>,
}

/// What a part of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Reasoning.
    Thought,
    /// A call's tool name and arguments.
    Call,
    /// The answer's text.
    Answer,
    /// Markup of the protocol itself, and white space.
    Markup,
    /// Whatever the protocol has no place for; it is ignored.
    Stray,
}

/// A grammar for one message, in llguidance's dialect of Lark.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grammar(pub String);

/// Stands where an elided observation stood.
pub const ELIDED: &str = "[an earlier result was removed here: the context is full]";

/// Asks for the answer in the last message that the step limit allows.
pub const LAST: &str = "No more calls are possible. Give your answer now.";

impl Protocol {
    /// Every protocol, in the order they are listed to users.
    pub const ALL: [Protocol; 4] =
        [Protocol::SearchR1, Protocol::React, Protocol::Hermes, Protocol::Openai];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::SearchR1 => "search-r1",
            Protocol::React => "react",
            Protocol::Hermes => "hermes",
            Protocol::Openai => "openai",
        }
    }

    /// Tells a model which tools there are and how to call them and to answer: the part of
    /// the instructions that depends on protocol and tools alone.
    pub fn instructions(self, tools: &[ToolSpec]) -> String {
        match self {
            Protocol::SearchR1 => search_r1::instructions(tools),
            Protocol::React => react::instructions(tools),
            Protocol::Hermes => hermes::instructions(tools),
            Protocol::Openai => openai::instructions(tools),
        }
    }

    /// Reads a message. Never fails: what cannot be read is [`Action::Malformed`], with a
    /// reason that tells the model what would be right.
    pub fn parse(self, text: &str) -> Reading {
        match self {
            Protocol::SearchR1 => search_r1::parse(text),
            Protocol::React => react::parse(text),
            Protocol::Hermes => hermes::parse(text),
            Protocol::Openai => openai::parse(text),
        }
    }

    /// Writes an action as a message; `None` if this protocol cannot say it (a malformed
    /// action, several calls where it allows one, text that would close its own tag).
    pub fn render(self, action: &Action) -> Option<String> {
        let text = match self {
            Protocol::SearchR1 => search_r1::render(action),
            Protocol::React => react::render(action),
            Protocol::Hermes => hermes::render(action),
            Protocol::Openai => openai::render(action),
        }?;
        // The parser is the judge of what a protocol can say. Each protocol listing what it
        // cannot (its own tags, untrimmed text, other ids) would say the same less surely.
        (self.parse(&text).action == *action).then_some(text)
    }

    /// An earlier message of the model's own, as a chat message.
    pub fn assistant(self, proposal: &Proposal) -> Message {
        match self {
            Protocol::Openai => openai::assistant(proposal),
            Protocol::SearchR1 | Protocol::React | Protocol::Hermes => {
                Message::Assistant { text: proposal.text.clone(), calls: vec![] }
            }
        }
    }

    /// The chat messages that show a step's observations. With `elide`, each observation's
    /// text is [`ELIDED`].
    pub fn observations(self, turn: &Turn<'_>, elide: bool) -> Vec<Message> {
        let texts: Vec<Cow<'_, str>> = turn
            .observations
            .iter()
            .map(|o| if elide { Cow::Borrowed(ELIDED) } else { Cow::Borrowed(o.text()) })
            .collect();
        if texts.is_empty() {
            return vec![];
        }
        match self {
            Protocol::SearchR1 => search_r1::observations(turn, &texts),
            Protocol::React => react::observations(turn, &texts),
            Protocol::Hermes => hermes::observations(turn, &texts),
            Protocol::Openai => openai::observations(turn, &texts),
        }
    }

    /// Generation ends right after any of these.
    pub fn stops(self) -> &'static [&'static str] {
        match self {
            Protocol::SearchR1 => search_r1::STOPS,
            Protocol::React => react::STOPS,
            Protocol::Hermes => hermes::STOPS,
            Protocol::Openai => openai::STOPS,
        }
    }

    /// The grammar of one well-formed message that calls one of `tools` with arguments that
    /// fit its schema, or answers; with no tools it can only answer. At most
    /// `thought_chars_max` characters of thought come first; 0 allows none.
    pub fn grammar(self, tools: &[ToolSpec], thought_chars_max: u32) -> Grammar {
        match self {
            Protocol::SearchR1 => search_r1::grammar(tools, thought_chars_max),
            Protocol::React => react::grammar(tools, thought_chars_max),
            Protocol::Hermes => hermes::grammar(tools, thought_chars_max),
            Protocol::Openai => openai::grammar(tools, thought_chars_max),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no protocol.
#[derive(Debug, thiserror::Error)]
#[error("no protocol is called {0:?}; there are: search-r1, react, hermes, openai")]
pub struct ProtocolError(String);

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|protocol| protocol.name() == name);
        known.ok_or_else(|| ProtocolError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
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
        vec![tool("match_text", parameters), tool("today", json!({})), tool("any", json!(true))]
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
        let parts: Vec<(PartKind, &str)> = reading
            .parts
            .iter()
            .map(|part| (part.kind, &text[part.range.clone()]))
            .collect();
        assert_eq!(parts, message, "{text:?}");
    }

    /// What a protocol shows of a step with this action and these outputs: `role: text`.
    pub(super) fn shown(protocol: Protocol, action: Action, texts: &[&str]) -> Vec<String> {
        let proposal = Proposal {
            text: String::new(),
            action,
            seed: 0,
            tokens: None,
            elided: vec![],
        };
        let observations: Vec<Observation> = match proposal.action {
            Action::Calls { .. } => texts
                .iter()
                .map(|text| Observation::Output { text: (*text).to_owned(), data: Value::Null })
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
            "<", ">", "</", "<tool_call>", "</tool_call>", "<think>", "</think>",
            "<answer>", "</answer>", "<search>", "</search>", "<open>", "</open>",
            "<information>", "<tool_response>", "</tool_response>", "<tool_ca",
            "{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}",
            "{\"name\": \"\"}", "{\"name\":", "\"arguments\": \"{}\"", "{", "}", "[", "]",
            "\"", "\\", "null", "Thought:", "Thought 1:", "Action:", "Action 2: ",
            "Observation: ", "Final Answer:", "Action Input:", "Search[", "Finish[",
            "lookup", "{\"content\": ", "\"tool_calls\": [", "\"function\": ", ", ",
            "{\"content\": null, \"tool_calls\": [{\"id\": \"a\", \"function\": \
             {\"name\": \"search\", \"arguments\": \"{}\"}}]}",
            "\n", " ", "\t", "\u{a0}", "\u{2028}", "é", "🔵", "\u{0}", "word",
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
            "<", "<a>", "</a>", "<search>", "</search>", "<think>", "</think>", "<answer>",
            "<tool_call>", "<tool_call>{}", "<tool_call>{\"name\": \"a\"}", "[", "{", "]",
            "Action: a[", "Action: a[\n", "Action: a\n", "Thought:\n", "a[\n", "a[b]\n", " ",
            "{\"a\":", "{\"tool_calls\":[", "\n", "\"", "\\",
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
}
