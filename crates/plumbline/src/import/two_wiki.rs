//! 2WikiMultihopQA: HotpotQA's layout, with two or four supporting documents a question.
//!
//! Some files leave the contexts out and come with one corpus for all questions; the
//! supporting documents are then found in the pool by their titles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::record::Record;
use super::{ImportError, Question, aliases, hotpotqa};

pub(super) fn question(record: &Record) -> Result<Question, ImportError> {
    let context = record.field("context");
    let mut passages =
        if context.is_absent() { vec![] } else { hotpotqa::passages(&context)? };
    let facts = hotpotqa::facts(&record.field("supporting_facts"))?;
    let absent = hotpotqa::mark(&mut passages, &facts);
    let documents: BTreeSet<&str> = facts.iter().map(hotpotqa::Fact::title).collect();
    let mut groups = BTreeMap::new();
    if !documents.is_empty() {
        groups.insert("hops", json!(documents.len()));
    }
    let question_type = record.field("type").optional_text()?;
    groups.extend(question_type.map(|value| ("type", json!(value))));
    let answer = record.field("answer").filled_text()?.to_owned();
    let listed = record.first_of(&["answer_aliases", "aliases"]).texts()?;
    Ok(Question {
        id: record.first_of(&["_id", "id"]).optional_text()?.map(str::to_owned),
        prompt: record.field("question").filled_text()?.to_owned(),
        aliases: aliases(&answer, listed),
        answer,
        paragraphs: hotpotqa::paragraphs(passages),
        absent,
        groups,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{questions, refusal};
    use super::super::{Format, Importer, Incomplete, Intake, Records};

    const SAMPLE: &str = r#"{"_id": "w1", "type": "bridge_comparison",
        "question": "Which film has the younger director, Moss or Fern?",
        "context": [["Moss (film)", ["Moss is by Ida Rowan.", "It is short."]],
            ["Fern (film)", ["Fern is by Lev Aspen."]],
            ["Ida Rowan", ["Ida Rowan was born in 1930."]],
            ["Lev Aspen", ["Lev Aspen was born in 1940."]]],
        "supporting_facts": [["Moss (film)", 0], ["Fern (film)", 0], ["Ida Rowan", 0],
            ["Lev Aspen", 0], ["Moss (film)", 1]],
        "evidences": [["Moss (film)", "director", "Ida Rowan"]],
        "answer": "Fern", "answer_aliases": ["Fern", "The Fern", "", "The Fern"]}"#;

    #[test]
    fn hops_are_the_supporting_documents() {
        let found = questions(Format::TwoWiki, &SAMPLE.replace('\n', " "));
        assert_eq!(
            found[0].gold.0,
            json!({
                "id": "w1", "answer": "Fern", "aliases": ["The Fern"],
                "supporting": ["Moss (film)", "Fern (film)", "Ida Rowan", "Lev Aspen"],
                "groups": {"hops": 4, "type": "bridge_comparison"},
            })
        );
        assert_eq!(found[0].documents[0].text, "Moss is by Ida Rowan. It is short.");
    }

    #[test]
    fn without_contexts_the_corpus_is_looked_in() {
        let line = SAMPLE.replace('\n', " ").replace("\"context\"", "\"left_out\"");
        let error = refusal(Format::TwoWiki, &line);
        assert!(error.contains("\"Moss (film)\", which is neither in"), "{error}");
        let corpus = r#"[{"title": "Moss (film)", "text": "a"},
            {"title": "Fern (film)", "text": "b"}, {"title": "Ida Rowan", "text": "c"},
            {"title": "Lev Aspen", "text": "d"}, {"title": "Moss (film)", "text": "e"}]"#;
        let mut importer = Importer::new(Format::TwoWiki, Incomplete::Refuse);
        for record in Records::new("corpus.json", &mut corpus.as_bytes()) {
            let record = record.expect("a good corpus");
            let document = importer.pool().add_record(&record).expect("a good document");
            assert!(document.is_some());
        }
        let record = Records::new("q.jsonl", &mut line.as_bytes()).next();
        let record = record.expect("one record").expect("a good record");
        let Intake::Question(found) = importer.add(&record).expect("all are found")
        else {
            panic!("a question was due");
        };
        assert_eq!(found.gold.supporting().len(), 4);
        assert_eq!(found.gold.supporting()[0], "Moss (film)", "the first of that title");
        assert!(found.documents.is_empty());
    }
}
