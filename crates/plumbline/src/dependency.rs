//! What a step reads of the steps before it: the edges along which an error spreads.
//!
//! Computed from the record alone, without a model and without executing anything. What a
//! message holds that the question does not must come from somewhere: from what a tool
//! showed, or from what an earlier message claimed. Each name, number, identifier, document
//! id and longer run of words in it is looked for there. The latest observation that shows
//! it wins over any message that claims it, for what a tool has shown no longer rests on the
//! claim; among claims the first wins.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Action, NodeId, Step, Tree, text};

/// Words in a row, beyond which two texts do not share them by accident.
const SPAN_WORDS: usize = 6;
/// Edges of one step; a message that quotes more has quoted enough.
const EDGES_MAX: usize = 256;
/// Bytes of one text that are read.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// What two steps have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The id of a document or call.
    Id,
    /// A name.
    Entity,
    /// A number or another literal, such as a cell of a table.
    Cell,
    /// A table's, column's or field's name.
    Table,
    /// A variable that earlier code set.
    Variable,
    /// A longer run of words, or the whole answer.
    Span,
    /// Nothing that can be pointed at: an answer rests on what came before it.
    Sequence,
}

/// Where the earlier step holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A tool showed it.
    Observation,
    /// Only the message said it.
    Message,
}

/// One thing that a step reads of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// The earlier step.
    pub on: NodeId,
    /// Where that step holds it.
    pub place: Place,
    /// What kind of thing it is.
    pub link: Link,
    /// The thing, in lower case and without punctuation.
    pub what: String,
    /// The steps before that one whose tools show it as well.
    pub also: Vec<NodeId>,
}

/// What every step of a tree reads of the steps before it. Deterministic; at most 256 edges
/// a step. A call that holds nothing but what the question says has none.
pub fn dependencies(question: &str, tree: &Tree) -> BTreeMap<NodeId, Vec<Edge>> {
    let asked = Words::of([question]);
    let mut sources: BTreeMap<NodeId, Source> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (id, node) in tree.nodes() {
        let mut earlier: Vec<&Source> = Vec::new();
        let mut above = node.parent;
        while let Some(parent) = above {
            earlier.push(&sources[&parent]);
            above = tree.get(parent).and_then(|node| node.parent);
        }
        earlier.reverse();
        found.insert(id, edges(&asked, &node.step, &earlier));
        sources.insert(id, Source::of(id, &node.step));
    }
    found
}

fn edges(asked: &Words, step: &Step, sources: &[&Source]) -> Vec<Edge> {
    let mut edges: BTreeSet<Edge> = BTreeSet::new();
    for (link, what) in items(step, sources) {
        if edges.len() == EDGES_MAX {
            break;
        }
        // A name that the question's own words make up, in whatever order, comes from there.
        if what.is_empty() || what.split(' ').all(|word| asked.has(word)) {
            continue;
        }
        let mut shown = sources.iter().rev().filter(|source| source.shows(link, &what));
        let claimed = || sources.iter().find(|source| source.said.has(&what));
        let (on, place) = match shown.next() {
            Some(source) => (source.node, Place::Observation),
            None => match claimed() {
                Some(source) => (source.node, Place::Message),
                None => continue,
            },
        };
        let also = shown.map(|source| source.node).collect();
        edges.insert(Edge { on, place, link, what, also });
    }
    if let (Action::Answer { .. }, true, Some(source)) =
        (&step.proposal.action, edges.is_empty(), sources.last())
    {
        let (link, what, also) = (Link::Sequence, String::new(), vec![]);
        edges.insert(Edge {
            on: source.node,
            place: Place::Observation,
            link,
            what,
            also,
        });
    }
    edges.into_iter().collect()
}

/// Whether a step's own observations show a thing that it read elsewhere: what a tool
/// confirms no longer rests on where it was first claimed.
pub fn confirms(step: &Step, what: &str) -> bool {
    !what.is_empty() && shown(step).has(what)
}

/// The words of some texts, to look runs of words up in.
struct Words {
    joined: String,
}

impl Words {
    fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut joined = String::from(" ");
        for text in texts {
            for (word, _) in text::normalised_words(head(text)) {
                joined.push_str(&word);
                joined.push(' ');
            }
            // No run of words goes from one text into the next.
            joined.push_str("| ");
        }
        Self { joined }
    }

    fn has(&self, what: &str) -> bool {
        self.joined.contains(&format!(" {what} "))
    }
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// An earlier step, as something to read.
struct Source {
    node: NodeId,
    shown: Words,
    said: Words,
    ids: BTreeSet<String>,
    variables: BTreeSet<String>,
}

impl Source {
    fn of(node: NodeId, step: &Step) -> Self {
        let ids = step.observations.iter().flat_map(crate::document_ids);
        let said = texts(step);
        Self {
            node,
            shown: shown(step),
            variables: said.iter().flat_map(|text| assigned(text)).collect(),
            said: Words::of(said.iter().map(String::as_str)),
            ids: ids.map(normalised).collect(),
        }
    }

    fn shows(&self, link: Link, what: &str) -> bool {
        match link {
            Link::Id => self.ids.contains(what),
            _ => self.shown.has(what),
        }
    }
}

fn shown(step: &Step) -> Words {
    Words::of(step.observations.iter().flat_map(text::readings))
}

/// Everything a message says: its text, and its arguments, which need not stand in it.
fn texts(step: &Step) -> Vec<String> {
    let mut found = vec![step.proposal.text.clone()];
    for call in step.proposal.action.calls() {
        leaves(&call.args, &mut found);
    }
    if let Action::Answer { text } = &step.proposal.action {
        found.push(text.clone());
    }
    found
}

fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| leaves(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| leaves(value, found)),
        Value::Number(number) => found.push(number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

fn normalised(text: &str) -> String {
    let words = text::normalised_words(text);
    words.into_iter().map(|(word, _)| word).collect::<Vec<_>>().join(" ")
}

/// What a message holds that can have come from somewhere.
fn items(step: &Step, sources: &[&Source]) -> Vec<(Link, String)> {
    let mut found: BTreeMap<String, Link> = BTreeMap::new();
    let mut add = |link: Link, what: String| {
        found.entry(what).and_modify(|known| *known = link.min(*known)).or_insert(link);
    };
    if let Action::Answer { text } = &step.proposal.action {
        let answer = normalised(text);
        if !matches!(answer.as_str(), "yes" | "no") {
            add(Link::Span, answer);
        }
    }
    let known: BTreeSet<&String> = sources.iter().flat_map(|s| &s.variables).collect();
    for text in texts(step) {
        let text = head(&text);
        let whole = normalised(text);
        if sources.iter().any(|source| source.ids.contains(&whole)) {
            add(Link::Id, whole);
        }
        for range in text::names(text) {
            add(Link::Entity, normalised(&text[range]));
        }
        for word in text.split(|c: char| !(c.is_alphanumeric() || "_.".contains(c))) {
            let word = word.trim_matches('.');
            if is_number(word) {
                add(Link::Cell, normalised(word));
            } else if word.contains('_') {
                add(Link::Table, normalised(word));
            }
            if known.contains(&word.to_owned()) {
                add(Link::Variable, normalised(word));
            }
        }
        let words: Vec<String> =
            text::normalised_words(text).into_iter().map(|(word, _)| word).collect();
        for run in words.windows(SPAN_WORDS).step_by(SPAN_WORDS / 2) {
            add(Link::Span, run.join(" "));
        }
    }
    found.into_iter().map(|(what, link)| (link, what)).collect()
}

/// A number that says something: two digits or more.
fn is_number(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    digits >= 2 && word.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// The variables that a piece of code sets: `name = …` at the beginning of a line.
fn assigned(code: &str) -> Vec<String> {
    let name = |line: &str| {
        let (name, rest) = line.split_once('=')?;
        let name = name.trim();
        let is_name = !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        (is_name && !rest.starts_with('=')).then(|| name.to_owned())
    };
    head(code).lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Node, Observation, Proposal, Scratch, TaskId, ToolCall};

    /// A step that searches, or answers where nothing is shown.
    fn step(text: &str, args: Value, shown: Option<Observation>) -> Step {
        let action = match &shown {
            None => Action::Answer { text: text.to_owned() },
            Some(_) => {
                let (id, tool) = ("call_0".to_owned(), "search".to_owned());
                Action::Calls { calls: vec![ToolCall { id, tool, args }] }
            }
        };
        let (text, elided) = (text.to_owned(), vec![]);
        Step {
            proposal: Proposal { text, action, seed: 0, tokens: None, elided },
            observations: shown.into_iter().collect(),
            scratch: Scratch::default().digest(),
        }
    }

    fn output(text: &str) -> Option<Observation> {
        Some(Observation::Output { text: text.to_owned(), data: Value::Null })
    }

    fn edges(question: &str, steps: &[Step]) -> Vec<String> {
        let mut tree = Tree::new(TaskId("t".into()));
        let mut parent = None;
        for step in steps {
            let node = Arc::new(Node { parent, step: step.clone() });
            parent = Some(tree.push(node).expect("the parent is there"));
        }
        let found = dependencies(question, &tree);
        let edges = &found[&parent.expect("at least one step")];
        let show = |e: &Edge| format!("{} {:?} {:?} {}", e.on, e.place, e.link, e.what);
        edges.iter().map(show).collect()
    }

    #[test]
    fn what_the_question_says_is_read_nowhere() {
        let question = "Who built the Bell Tower in 1901?";
        let first =
            step("look", json!({"query": "Bell Tower"}), output("Bell Tower, 1901."));
        let second = step("", json!({"query": "Bell Tower 1901"}), output("no"));
        assert_eq!(edges(question, &[first, second]), Vec::<String>::new());
    }

    #[test]
    fn names_numbers_ids_and_spans_lead_to_where_they_stood() {
        let question = "Who built the Bell Tower?";
        let data = json!({"documents": [{"id": "d-7", "title": "Bell Tower"}]});
        let shown = Observation::Output {
            text: "[1] Bell Tower: built in 1901 by Ann Lee of Oslo".into(),
            data,
        };
        let first = step("look", json!({"query": "Bell Tower"}), Some(shown));
        let next =
            |args: Value| edges(question, &[first.clone(), step("", args, output("x"))]);
        assert_eq!(next(json!({"query": "Ann Lee"})), ["0 Observation Entity ann lee"]);
        assert_eq!(next(json!({"title": "d-7"})), ["0 Observation Id d7"]);
        assert_eq!(next(json!({"year": 1901})), ["0 Observation Cell 1901"]);
        assert_eq!(next(json!({"query": "banana"})), Vec::<String>::new());
        let answer = step("Ann Lee", Value::Null, None);
        assert_eq!(
            edges(question, &[first.clone(), answer]),
            ["0 Observation Entity ann lee"]
        );
        let yes = step("yes", Value::Null, None);
        assert_eq!(edges(question, &[first, yes]), ["0 Observation Sequence "]);
    }

    #[test]
    fn evidence_outranks_claims_and_the_first_claim_the_later() {
        let claim = step("It was Eve Fox.", json!({"query": "tower"}), output("nothing"));
        let again = step("", json!({"query": "Eve Fox"}), output("nothing"));
        let answer = step("Eve Fox", Value::Null, None);
        let steps = [claim, again, answer.clone()];
        assert_eq!(edges("Who?", &steps), ["0 Message Entity eve fox"]);
        let [claim, ..] = steps;
        let confirmed =
            step("", json!({"query": "Eve Fox"}), output("Eve Fox built it."));
        assert!(confirms(&confirmed, "eve fox"));
        assert_eq!(
            edges("Who?", &[claim, confirmed, answer]),
            ["1 Observation Entity eve fox"]
        );
    }

    #[test]
    fn code_reads_the_variables_and_columns_that_came_before() {
        let load =
            step("", json!({"code": "frame = read('a.csv')\n"}), output("net_price"));
        let sum =
            step("", json!({"code": "print(frame['net_price'].sum())"}), output("7"));
        assert_eq!(
            edges("Sum?", &[load, sum]),
            ["0 Observation Table netprice", "0 Message Variable frame"]
        );
    }

    proptest! {
        #[test]
        fn any_texts_can_be_read(one in "\\PC{0,60}", two in "\\PC{0,60}") {
            let first = step(&one, json!({"query": two.clone()}), output(&two));
            let second = step(&two, Value::Null, None);
            let found = edges(&one, &[first, second]);
            prop_assert!(found.len() <= EDGES_MAX);
        }
    }
}
