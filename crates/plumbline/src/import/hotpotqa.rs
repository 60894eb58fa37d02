//! HotpotQA: each question with ten paragraphs and the sentences that support its answer.
//!
//! Both layouts are read. The official file has `"context": [[title, [sentence, …]], …]` and
//! `"supporting_facts": [[title, sentence index], …]`; dataset hubs turn these into columns,
//! `{"title": […], "sentences": […]}` and `{"title": […], "sent_id": […]}`.

use std::collections::BTreeMap;

use serde_json::json;

use super::record::{Field, Record};
use super::{ImportError, Paragraph, Question, aliases};

pub(super) fn question(record: &Record) -> Result<Question, ImportError> {
    let mut passages = passages(&record.field("context"))?;
    let facts = facts(&record.field("supporting_facts"))?;
    let absent = mark(&mut passages, &facts);
    let mut groups = BTreeMap::from([("hops", json!(2))]);
    for name in ["type", "level"] {
        let group = record.field(name).optional_text()?;
        groups.extend(group.map(|group| (name, json!(group))));
    }
    let answer = record.field("answer").filled_text()?.to_owned();
    let listed = record.first_of(&["answer_aliases", "aliases"]).texts()?;
    Ok(Question {
        id: record.first_of(&["_id", "id"]).optional_text()?.map(str::to_owned),
        prompt: record.field("question").filled_text()?.to_owned(),
        aliases: aliases(&answer, listed),
        answer,
        paragraphs: paragraphs(passages),
        absent,
        groups,
    })
}

/// A paragraph as a list of sentences.
pub(super) struct Passage<'a> {
    title: &'a str,
    sentences: Vec<&'a str>,
    supporting: bool,
}

/// A supporting sentence.
pub(super) struct Fact<'a> {
    title: &'a str,
    sentence: usize,
}

impl<'a> Fact<'a> {
    pub(super) fn title(&self) -> &'a str {
        self.title.trim()
    }
}

/// Reads a context in either layout.
pub(super) fn passages<'a>(context: &Field<'a>) -> Result<Vec<Passage<'a>>, ImportError> {
    rows(context, &["sentences", "content"])?
        .into_iter()
        .map(|(title, sentences)| {
            let sentences = sentences.list()?;
            let sentences =
                sentences.iter().map(Field::text).collect::<Result<_, _>>()?;
            Ok(Passage { title: title.text()?, sentences, supporting: false })
        })
        .collect()
}

/// Reads supporting facts in either layout.
pub(super) fn facts<'a>(field: &Field<'a>) -> Result<Vec<Fact<'a>>, ImportError> {
    rows(field, &["sent_id"])?
        .into_iter()
        .map(|(title, sentence)| {
            Ok(Fact { title: title.text()?, sentence: sentence.index()? })
        })
        .collect()
}

/// Pairs of a title and what belongs to it, from a list of pairs or from two columns, the
/// second under one of the names given.
fn rows<'a>(
    field: &Field<'a>,
    columns: &[&str],
) -> Result<Vec<(Field<'a>, Field<'a>)>, ImportError> {
    if !field.is_object() {
        return field.list()?.iter().map(Field::pair).collect();
    }
    let there = columns.iter().find(|column| !field.get(column).is_absent());
    let titles = field.get("title").list()?;
    let others = field.get(there.unwrap_or(&columns[0])).list()?;
    if titles.len() != others.len() {
        let (titles, others) = (titles.len(), others.len());
        return Err(field.wrong(format!("has columns of {titles} and {others} rows")));
    }
    Ok(titles.into_iter().zip(others).collect())
}

/// Marks the passages that support the answer. Gives the titles that are not there.
///
/// Where two passages share a title, the fact is in the first that has the sentence; the
/// datasets hold facts beyond the last sentence, which count for the first of that title.
pub(super) fn mark(passages: &mut [Passage<'_>], facts: &[Fact<'_>]) -> Vec<String> {
    let mut absent = Vec::new();
    for fact in facts {
        let named = |passage: &Passage<'_>| passage.title.trim() == fact.title();
        let holding = |passage: &Passage<'_>| {
            named(passage) && passage.sentences.len() > fact.sentence
        };
        let at = passages.iter().position(holding);
        match at.or_else(|| passages.iter().position(named)) {
            Some(at) => passages[at].supporting = true,
            None => super::add_once(&mut absent, fact.title()),
        }
    }
    absent
}

/// Puts the sentences of each passage together again.
///
/// HotpotQA leaves the space between two sentences at the head of the second, and none where
/// a quotation was split in its middle; 2WikiMultihopQA, and copies of HotpotQA that were
/// trimmed, leave none at all. So the spaces are added only where the whole question has not
/// a single one.
pub(super) fn paragraphs(passages: Vec<Passage<'_>>) -> Vec<Paragraph> {
    let spaced = |passage: &Passage<'_>| {
        passage.sentences.iter().skip(1).any(|s| s.starts_with(char::is_whitespace))
    };
    let between = if passages.iter().any(spaced) { "" } else { " " };
    let paragraph = |passage: Passage<'_>| {
        let filled = passage.sentences.into_iter().filter(|s| !s.trim().is_empty());
        let text = filled.collect::<Vec<_>>().join(between).trim().to_owned();
        let title = passage.title.to_owned();
        Paragraph { title, text, supporting: passage.supporting }
    };
    passages.into_iter().map(paragraph).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{import, questions, refusal};
    use super::super::{Format, Incomplete, Intake, Skip};

    const OFFICIAL: &str = r#"[{
        "_id": "q7", "question": "Which bridge is older, Elm or Oak?", "answer": "Elm",
        "type": "comparison", "level": "easy",
        "supporting_facts": [["Elm Bridge", 0], ["Oak Bridge", 1], ["Elm Bridge", 9]],
        "context": [
            ["Elm Bridge", ["It opened in 1901.", " They call it \"Elm? ", "\" at home."]],
            ["Pine Bridge", ["It fell."]],
            ["Oak Bridge", ["It is long.", " It opened in 1950."]]
        ]}]"#;

    const COLUMNS: &str = r#"{"id": null, "question": " Who built Elm Bridge? ",
        "answer": "Ada Birch", "type": "bridge",
        "supporting_facts": {"title": ["Elm Bridge"], "sent_id": [0]},
        "context": {"title": ["Elm Bridge", "Oak Bridge"],
            "sentences": [["Ada Birch built it.", "It stands."], ["It is long."]]}}"#;

    #[test]
    fn the_official_layout_is_read() {
        let found = questions(Format::HotpotQa, OFFICIAL);
        assert_eq!(found[0].task.id.0, "q7");
        assert_eq!(found[0].task.prompt, "Which bridge is older, Elm or Oak?");
        assert_eq!(
            found[0].gold.0,
            json!({
                "id": "q7", "answer": "Elm", "aliases": [],
                "supporting": ["Elm Bridge", "Oak Bridge"],
                "groups": {"hops": 2, "type": "comparison", "level": "easy"},
            })
        );
        let texts: Vec<&str> =
            found[0].documents.iter().map(|document| document.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "It opened in 1901. They call it \"Elm? \" at home.",
                "It fell.",
                "It is long. It opened in 1950.",
            ]
        );
    }

    #[test]
    fn columns_are_read_and_ids_made_up() {
        let line = COLUMNS.replace('\n', " ");
        let found = questions(Format::HotpotQa, &format!("{line}\r\n\r\n{line}\r\n"));
        let ids: Vec<&str> = found.iter().map(|q| q.task.id.0.as_str()).collect();
        assert_eq!(ids, ["hotpotqa-00001", "hotpotqa-00002"]);
        assert_eq!(found[0].task.prompt, "Who built Elm Bridge?");
        assert_eq!(found[0].documents[0].text, "Ada Birch built it. It stands.");
        assert!(found[1].documents.is_empty(), "both are in the pool already");
        assert_eq!(found[1].gold.supporting(), ["Elm Bridge"]);
    }

    #[test]
    fn gold_names_the_variant_that_its_question_brought() {
        let other = COLUMNS.replace("Ada Birch built it.", "Ann Beech built it.");
        let text =
            format!("{}\n{}", COLUMNS.replace('\n', " "), other.replace('\n', " "));
        let found = questions(Format::HotpotQa, &text);
        assert_eq!(found[0].gold.supporting(), ["Elm Bridge"]);
        assert_eq!(found[1].gold.supporting(), ["Elm Bridge (2)"]);
    }

    #[test]
    fn of_two_passages_with_one_title_the_one_with_the_sentence_counts() {
        let text = r#"{"question": "Q?", "answer": "yes", "supporting_facts": [["T", 1]],
            "context": [["T", ["One."]], ["T", ["Other.", "Two."]]]}"#;
        let found = questions(Format::HotpotQa, &text.replace('\n', " "));
        assert_eq!(found[0].gold.supporting(), ["T (2)"]);
    }

    #[test]
    fn a_missing_document_is_an_error_or_a_skip() {
        let text = OFFICIAL.replace("[\"Oak Bridge\", 1]", "[\"Ash Bridge\", 1]");
        let error = refusal(Format::HotpotQa, &text);
        for part in ["sample.jsonl:1", "\"Ash Bridge\"", "--corpus", "--skip-incomplete"]
        {
            assert!(error.contains(part), "{error}");
        }
        let found = import(Format::HotpotQa, Incomplete::Skip, &text).expect("skipped");
        assert_eq!(found, [Intake::Skipped(Skip::Incomplete)]);
    }

    #[test]
    fn a_bad_record_names_line_field_and_remedy() {
        let line = COLUMNS.replace('\n', " ");
        for (from, to, expected) in [
            ("\"question\"", "\"q\"", "field \"question\" is missing"),
            ("\"Ada Birch\"", "7", "field \"answer\" is a number, not a text"),
            ("\"Ada Birch\"", "\" \"", "field \"answer\" is empty"),
            ("[0]", "[-1]", "\"supporting_facts.sent_id.0\" is a number, not a whole"),
            ("[0]", "[0, 1]", "\"supporting_facts\" has columns of 1 and 2 rows"),
            ("[\"It is long.\"]", "null", "\"context.sentences.1\" is missing"),
            ("[\"It is long.\"]", "[3]", "\"context.sentences.1.0\" is a number"),
            ("\"context\"", "\"contexts\"", "field \"context\" is missing"),
            ("null", "\"a:b\"", "field \"id\" is \"a:b\", which holds ':'"),
        ] {
            let bad = line.replacen(from, to, 1);
            let error = refusal(Format::HotpotQa, &format!("{line}\n{bad}"));
            assert!(error.starts_with("sample.jsonl:2: "), "{error}");
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(error.contains("; "), "a remedy: {error}");
        }
        let pair = OFFICIAL.replace("[\"Pine Bridge\", [\"It fell.\"]]", "[\"Pine\"]");
        let error = refusal(Format::HotpotQa, &pair);
        assert!(error.contains("field \"context.1\" has 1 items, not 2"), "{error}");
    }

    #[test]
    fn two_questions_cannot_share_an_id() {
        let line = COLUMNS.replace('\n', " ").replace("null", "\"same\"");
        let error = refusal(Format::HotpotQa, &format!("{line}\n{line}"));
        assert!(error.contains("sample.jsonl:2: field \"id\""), "{error}");
        assert!(error.contains("as at sample.jsonl:1"), "{error}");
    }
}
