//! MuSiQue: two to four hops, each paragraph saying itself whether it is needed.

use std::collections::BTreeMap;

use serde_json::json;

use super::record::Record;
use super::{Entry, ImportError, Paragraph, Question, Skip, aliases};

/// Reads a question; one that its paragraphs do not answer is skipped, since the dataset
/// gives it the answer of its answerable twin.
pub(super) fn question(record: &Record) -> Result<Entry, ImportError> {
    let answerable = record.field("answerable");
    if !answerable.is_absent() && !answerable.flag()? {
        return Ok(Entry::Skipped(Skip::Unanswerable));
    }
    let paragraphs = record.field("paragraphs").list()?;
    let paragraphs = paragraphs.iter().map(|paragraph| {
        Ok(Paragraph {
            title: paragraph.get("title").text()?.to_owned(),
            text: paragraph.get("paragraph_text").text()?.trim().to_owned(),
            supporting: paragraph.get("is_supporting").flag()?,
        })
    });
    let id = record.field("id").filled_text()?;
    let answer = record.field("answer").filled_text()?.to_owned();
    Ok(Entry::Question(Question {
        id: Some(id.to_owned()),
        prompt: record.field("question").filled_text()?.to_owned(),
        aliases: aliases(&answer, record.field("answer_aliases").texts()?),
        answer,
        paragraphs: paragraphs.collect::<Result<_, _>>()?,
        absent: vec![],
        groups: groups(id),
    }))
}

/// Ids begin with the shape of the question: `2hop__…`, or `3hop1__…` and `3hop2__…` where
/// the hops can hang together in more than one way.
fn groups(id: &str) -> BTreeMap<&'static str, serde_json::Value> {
    let shape = id.split_once("__").map(|(shape, _)| shape);
    let hops = shape.and_then(|shape| shape.split_once("hop")?.0.parse::<u8>().ok());
    let (Some(shape), Some(hops)) = (shape, hops) else { return BTreeMap::new() };
    BTreeMap::from([("hops", json!(hops)), ("type", json!(shape))])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{import, questions, refusal};
    use super::super::{Format, Incomplete, Intake, Skip};

    const SAMPLE: &str = r#"{"id": "3hop1__12_34_56",
        "question": "In which county was the founder of the Elm Press born?",
        "paragraphs": [
            {"idx": 0, "title": "Elm Press", "paragraph_text": "Ida Rowan founded it. ",
                "is_supporting": true},
            {"idx": 1, "title": "Elm Press", "paragraph_text": "It prints maps.",
                "is_supporting": false},
            {"idx": 2, "title": "Rowan", "paragraph_text": "She is from Ashford.",
                "is_supporting": true}],
        "question_decomposition": [{"id": 1, "question": "Elm Press >> founder",
            "answer": "Ida Rowan", "paragraph_support_idx": 0}],
        "answer": "Ash County", "answer_aliases": ["Ash"], "answerable": true}"#;

    #[test]
    fn flags_and_ids_become_gold() {
        let found = questions(Format::Musique, &SAMPLE.replace('\n', " "));
        assert_eq!(
            found[0].gold.0,
            json!({
                "id": "3hop1__12_34_56", "answer": "Ash County", "aliases": ["Ash"],
                "supporting": ["Elm Press", "Rowan"],
                "groups": {"hops": 3, "type": "3hop1"},
            })
        );
        let ids: Vec<&str> = found[0].documents.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, ["Elm Press", "Elm Press (2)", "Rowan"]);
        assert_eq!(found[0].documents[0].text, "Ida Rowan founded it.");
    }

    #[test]
    fn unanswerable_questions_are_skipped_and_odd_ids_have_no_group() {
        let line = SAMPLE.replace('\n', " ");
        let twin = line.replace("\"answerable\": true", "\"answerable\": false");
        let odd = line.replace("3hop1__12_34_56", "hop__x");
        let text = format!("{twin}\n{odd}\n");
        let found = import(Format::Musique, Incomplete::Refuse, &text).expect("fine");
        assert_eq!(found[0], Intake::Skipped(Skip::Unanswerable));
        let Intake::Question(odd) = &found[1] else { panic!("a question was due") };
        assert_eq!(odd.gold.groups().count(), 0);
    }

    #[test]
    fn a_bad_record_names_its_field() {
        let line = SAMPLE.replace('\n', " ");
        for (from, to, expected) in [
            (
                "\"paragraph_text\"",
                "\"text\"",
                "\"paragraphs.0.paragraph_text\" is missing",
            ),
            ("\"is_supporting\": true", "\"is_supporting\": 1", "is a number, not true"),
            (
                "\"answerable\": true",
                "\"answerable\": \"no\"",
                "\"answerable\" is a text",
            ),
            ("\"id\": \"3hop", "\"ids\": \"3hop", "field \"id\" is missing"),
            ("[\"Ash\"]", "\"Ash\"", "field \"answer_aliases\" is a text, not a list"),
        ] {
            let error = refusal(Format::Musique, &line.replacen(from, to, 1));
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
