//! The documents of a set of questions: each text once, under an id that people can read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ImportError;
use super::record::Record;
use crate::Digest;

/// Characters of a title that go into an id.
const ID_CHARS_MAX: usize = 120;
/// What a document without a title is called.
const UNTITLED: &str = "untitled";

/// A line of `documents.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Unique in its corpus.
    pub id: String,
    /// The title; documents may share one.
    pub title: String,
    /// The whole text.
    pub text: String,
}

/// Documents under readable, unique ids: the title, or `Title (2)` for another text under
/// the same title. The same title and text are one document. Ids depend on the order of
/// arrival alone.
///
/// It keeps ids, titles and digests, and hands the texts through.
#[derive(Debug, Default)]
pub struct DocumentPool {
    titles: BTreeMap<String, Vec<Variant>>,
    ids: BTreeSet<String>,
    merged: u64,
}

/// An id that another document has.
#[derive(Debug, thiserror::Error)]
#[error("the id {0:?} is that of an earlier document; give each an id of its own")]
pub struct TakenId(pub String);

#[derive(Debug)]
struct Variant {
    text: Digest,
    id: String,
}

impl DocumentPool {
    /// A pool without documents.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How often a document arrived that was there already.
    pub fn merged(&self) -> u64 {
        self.merged
    }

    /// Adds a text under its title. Gives its id, and the document if it is new.
    pub fn add(&mut self, title: &str, text: &str) -> (String, Option<Document>) {
        let digest = Digest::of(text.as_bytes());
        let title = title.trim();
        let variants = self.titles.entry(title.to_owned()).or_default();
        if let Some(known) = variants.iter().find(|variant| variant.text == digest) {
            self.merged += 1;
            return (known.id.clone(), None);
        }
        let id = free_id(&readable(title), variants.len() + 1, &self.ids);
        variants.push(Variant { text: digest, id: id.clone() });
        self.ids.insert(id.clone());
        let (title, text) = (title.to_owned(), text.to_owned());
        (id.clone(), Some(Document { id, title, text }))
    }

    /// Adds a document that has an id. Gives it back if it is new, and `None` if the same
    /// document is there under this id; another document under it is an error.
    pub fn add_named(&mut self, document: Document) -> Result<Option<Document>, TakenId> {
        let digest = Digest::of(document.text.as_bytes());
        let variants = self.titles.entry(document.title.trim().to_owned()).or_default();
        if self.ids.contains(&document.id) {
            let same = |known: &Variant| known.id == document.id && known.text == digest;
            if !variants.iter().any(same) {
                return Err(TakenId(document.id));
            }
            self.merged += 1;
            return Ok(None);
        }
        variants.push(Variant { text: digest, id: document.id.clone() });
        self.ids.insert(document.id.clone());
        Ok(Some(document))
    }

    /// Adds a record of a corpus; gives the document if it is new. Read are `title` and
    /// `text`, or `contents` with the title on its first line (as retrieval toolkits write
    /// it), and `id` or `_id`, a text or a number, where there is one.
    pub fn add_record(
        &mut self,
        record: &Record,
    ) -> Result<Option<Document>, ImportError> {
        let contents = record.field("contents");
        let (title, text) = if record.field("text").is_absent() && !contents.is_absent() {
            split_contents(contents.text()?)
        } else {
            let title = record.field("title");
            let title = if title.is_absent() { "" } else { title.text()? };
            (title, record.field("text").text()?)
        };
        let field = record.first_of(&["id", "_id"]);
        let Some(id) = field.name()? else {
            return Ok(self.add(title, text).1);
        };
        let (title, text) = (title.trim().to_owned(), text.to_owned());
        self.add_named(Document { id, title, text }).map_err(|TakenId(id)| {
            let problem = format!("is {id:?}, as that of an earlier document");
            field.error(problem, "give each document an id of its own")
        })
    }

    /// The id of a document by its title; the first to arrive where several share it.
    pub fn of_title(&self, title: &str) -> Option<&str> {
        let variants = self.titles.get(title.trim())?;
        variants.first().map(|variant| variant.id.as_str())
    }
}

/// A title on one line and of bearable length.
fn readable(title: &str) -> String {
    let visible = title.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = visible.filter(|word| !word.is_empty()).collect();
    let line: String = words.join(" ").chars().take(ID_CHARS_MAX).collect();
    if line.is_empty() { UNTITLED.to_owned() } else { line }
}

/// The title itself for the first document under it, else the first free number from
/// `number` on.
fn free_id(title: &str, number: usize, taken: &BTreeSet<String>) -> String {
    if number == 1 && !taken.contains(title) {
        return title.to_owned();
    }
    let mut numbered = (number.max(2)..).map(|number| format!("{title} ({number})"));
    numbered.find(|id| !taken.contains(id)).expect("there are more numbers than ids")
}

fn split_contents(contents: &str) -> (&str, &str) {
    let (first, rest) = contents.split_once('\n').unwrap_or(("", contents));
    (first.trim().trim_matches('"'), rest.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Records;
    use super::*;

    #[test]
    fn a_text_is_one_document_and_a_title_may_be_several() {
        let mut pool = DocumentPool::new();
        let mut ids = vec![];
        for (title, text) in [
            ("Elm Street", "A street."),
            ("Elm Street", "A film."),
            (" Elm Street ", "A street."),
            ("Elm Street (2)", "A real title that looks like ours."),
            ("Elm Street", "A song."),
            ("", "Nameless."),
            ("\n", "Also nameless."),
            ("Two\n\tlines", "x"),
        ] {
            ids.push(pool.add(title, text).0);
        }
        assert_eq!(
            ids,
            [
                "Elm Street",
                "Elm Street (2)",
                "Elm Street",
                "Elm Street (2) (2)",
                "Elm Street (3)",
                "untitled",
                "untitled (2)",
                "Two lines",
            ]
        );
        assert_eq!((pool.len(), pool.merged()), (7, 1));
        assert_eq!(pool.of_title("Elm Street"), Some("Elm Street"));
        assert_eq!(pool.of_title("Oak Street"), None);
        let long = "é".repeat(5000);
        assert_eq!(pool.add(&long, "t").0.chars().count(), ID_CHARS_MAX);
    }

    fn add_all(text: &str) -> Result<Vec<(String, String, String)>, String> {
        let mut pool = DocumentPool::new();
        let mut found = vec![];
        for record in Records::new("c.jsonl", &mut text.as_bytes()) {
            let record = record.map_err(|error| error.to_string())?;
            let document = pool.add_record(&record).map_err(|error| error.to_string())?;
            found.extend(document.map(|d| (d.id, d.title, d.text)));
        }
        Ok(found)
    }

    #[test]
    fn corpora_come_with_and_without_ids() {
        let found = add_all(
            r#"{"title": "Elm", "text": "A tree."}
               {"id": 7, "title": "Elm", "text": "A village."}
               {"id": 7, "title": "Elm", "text": "A village."}
               {"id": "w1", "contents": "\"Oak\"\nAnother tree."}
               {"contents": "No title at all."}"#,
        );
        let row =
            |id: &str, title: &str, text: &str| (id.into(), title.into(), text.into());
        let expected = [
            row("Elm", "Elm", "A tree."),
            row("7", "Elm", "A village."),
            row("w1", "Oak", "Another tree."),
            row("untitled", "", "No title at all."),
        ];
        assert_eq!(found.expect("all layouts are read"), expected);
    }

    #[test]
    fn a_bad_document_names_its_field() {
        for (text, expected) in [
            (r#"{"title": "Elm"}"#, "c.jsonl:1: field \"text\" is missing"),
            (r#"{"title": 3, "text": "x"}"#, "field \"title\" is a number, not a text"),
            (r#"{"id": [], "text": "x"}"#, "field \"id\" is a list"),
            (r#"{"id": "", "text": "x"}"#, "field \"id\" is empty"),
            (
                "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"a\", \"text\": \"y\"}",
                "c.jsonl:2: field \"id\" is \"a\", as that of an earlier document; give",
            ),
        ] {
            let error = add_all(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn ids_are_unique_and_stable(
            documents in prop::collection::vec(("(A|B|A \\(2\\)| |\n){0,2}", "[xyz]"), 0..40),
        ) {
            let mut pool = DocumentPool::new();
            let mut fresh = BTreeSet::new();
            let added: Vec<String> = documents.iter().map(|(title, text)| {
                let (id, document) = pool.add(title, text);
                if let Some(document) = document {
                    assert!(fresh.insert(document.id), "an id was given twice");
                }
                id
            }).collect();
            prop_assert_eq!(fresh.len(), pool.len());
            for ((title, text), id) in documents.iter().zip(&added) {
                let (again, document) = pool.add(title, text);
                prop_assert_eq!(&again, id);
                prop_assert!(document.is_none());
            }
        }
    }
}
