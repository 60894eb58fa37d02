//! Importers: published question sets become tasks, gold and a pool of documents; others'
//! trajectories become trees ([`TrajectoryFormat`]).
//!
//! One file a format. Everything here is pure: text comes in through a reader that the
//! caller opened, questions and documents go out one at a time, and what is held between
//! them is a title and a digest for each document, never its text.

mod dabench;
mod hotpotqa;
mod musique;
mod pool;
mod program;
mod record;
mod spider;
mod two_wiki;

mod agent_process_bench;
pub(crate) mod atif;
pub(crate) mod chat;
mod openai_chat;
mod optimisation;
mod reflexion;
mod said;
mod sql_labels;
mod trajectory;
mod who_and_when;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;

use serde_json::{Value, json};

pub use agent_process_bench::{Ratings, SampleKey};
pub use dabench::{TABLE_PROMPT, TableQuestion, table_answer, table_question};
pub use optimisation::{ProblemFormat, declared};
pub use pool::{Document, DocumentPool, TakenId};
pub use program::{PROGRAM_PROMPT, program_task};
pub use record::{Place, RECORD_BYTES_MAX, Record, Records};
pub use spider::{SQL_PROMPT, SqlQuestion, sql_question};
pub use trajectory::{
    Forest, Origin, PlantError, Planted, Trajectory, TrajectoryFormat,
    TrajectoryFormatError,
};

use crate::{Gold, Task, TaskId};

/// The prompt of imported environments, as a template for [`EnvironmentParts::prompt`]. Its
/// examples call a tool `search` with a `query`, which every protocol can say.
///
/// [`EnvironmentParts::prompt`]: crate::EnvironmentParts::prompt
pub const PROMPT: &str = include_str!("prompt.md");

/// A published layout of multi-hop questions with their paragraphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// HotpotQA: the official file, and the columns that dataset hubs make of it.
    HotpotQa,
    /// 2WikiMultihopQA: HotpotQA's layout with evidence triples.
    TwoWiki,
    /// MuSiQue: paragraphs that say themselves whether they are needed.
    Musique,
}

impl Format {
    /// Every format, in the order they are listed to users.
    pub const ALL: [Format; 3] = [Format::HotpotQa, Format::TwoWiki, Format::Musique];

    /// The name on the command line, which also begins the ids of questions without one.
    pub fn name(self) -> &'static str {
        match self {
            Format::HotpotQa => "hotpotqa",
            Format::TwoWiki => "2wiki",
            Format::Musique => "musique",
        }
    }

    /// The dataset, its authors and where its texts are from.
    pub fn source(self) -> &'static str {
        match self {
            Format::HotpotQa => {
                "HotpotQA (Yang et al., 2018); paragraphs from the English Wikipedia"
            }
            Format::TwoWiki => {
                "2WikiMultihopQA (Ho et al., 2020); paragraphs from the English Wikipedia"
            }
            Format::Musique => {
                "MuSiQue (Trivedi et al., 2022); paragraphs from the English Wikipedia"
            }
        }
    }

    /// The licence under which the dataset is published.
    pub fn licence(self) -> &'static str {
        match self {
            Format::HotpotQa => "CC BY-SA 4.0",
            Format::TwoWiki => "Apache-2.0; texts from Wikipedia: CC BY-SA",
            Format::Musique => "CC BY 4.0; texts from Wikipedia: CC BY-SA",
        }
    }

    fn question(self, record: &Record) -> Result<Entry, ImportError> {
        match self {
            Format::HotpotQa => hotpotqa::question(record).map(Entry::Question),
            Format::TwoWiki => two_wiki::question(record).map(Entry::Question),
            Format::Musique => musique::question(record),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no format.
#[derive(Debug, thiserror::Error)]
#[error("no dataset format is called {0:?}; there are: hotpotqa, 2wiki, musique")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| FormatError(name.to_owned()))
    }
}

/// Why something cannot be imported. Each message names the file, the line where there is
/// one, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("read {file}: {source}; check that it exists and may be read")]
    Read {
        /// Which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no record in it.
    #[error(
        "{file}: no records; give one JSON object a line, or a JSON array of objects"
    )]
    Empty {
        /// Which file.
        file: String,
    },
    /// A record is not a JSON object.
    #[error(
        "{place}: {message}; give one JSON object a line, or a JSON array of objects"
    )]
    Json {
        /// Where the record begins, or where the fault was noticed.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// A record is nested more deeply than is read.
    #[error(
        "{place}: a value lies in more than 127 others; leave the record out, or flatten it"
    )]
    TooDeep {
        /// Where the record begins, or where the fault was noticed.
        place: Place,
    },
    /// A record is larger than is held at a time.
    #[error(
        "{place}: the record has more than {RECORD_BYTES_MAX} bytes; leave it out or split it"
    )]
    TooLong {
        /// Where it begins.
        place: Place,
    },
    /// A field is missing or is not what it should be.
    #[error("{place}: field \"{field}\" {problem}; {remedy}")]
    Field {
        /// Where the record begins.
        place: Place,
        /// Which field, with dots between the names and indices from 0.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// What one record came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Intake {
    /// A question.
    Question(Box<Imported>),
    /// None, and why not.
    Skipped(Skip),
}

/// Why a record gives no question though nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The dataset says that its paragraphs do not answer it.
    Unanswerable,
    /// A supporting document is neither in its context nor in the pool, and the importer
    /// was told to pass over such questions.
    Incomplete,
}

/// A question in our terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What the agent is given.
    pub task: Task,
    /// What it is not: a line of `gold.jsonl`.
    pub gold: Gold,
    /// The documents of this question that no earlier one brought along, in their order.
    pub documents: Vec<Document>,
}

/// What to do with a question whose supporting documents cannot all be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// Refuse the file, naming the record and the document.
    Refuse,
    /// Leave the question out.
    Skip,
}

/// Turns records of one format into questions that share one pool of documents.
#[derive(Debug)]
pub struct Importer {
    format: Format,
    incomplete: Incomplete,
    pool: DocumentPool,
    ids: BTreeMap<String, Place>,
    records: u64,
}

impl Importer {
    /// An importer with an empty pool.
    pub fn new(format: Format, incomplete: Incomplete) -> Self {
        let (pool, ids) = (DocumentPool::new(), BTreeMap::new());
        Self { format, incomplete, pool, ids, records: 0 }
    }

    /// The documents of all questions so far. Documents added here first are found by
    /// questions that name them without bringing them along.
    pub fn pool(&mut self) -> &mut DocumentPool {
        &mut self.pool
    }

    /// Reads one question. A record without an id gets one from its number, counted from 1
    /// over all files: `hotpotqa-00001`.
    pub fn add(&mut self, record: &Record) -> Result<Intake, ImportError> {
        self.records += 1;
        let question = match self.format.question(record)? {
            Entry::Question(question) => question,
            Entry::Skipped(skip) => return Ok(Intake::Skipped(skip)),
        };
        let mut supporting = Vec::new();
        for title in &question.absent {
            match (self.pool.of_title(title), self.incomplete) {
                (Some(id), _) => add_once(&mut supporting, id),
                (None, Incomplete::Skip) => {
                    return Ok(Intake::Skipped(Skip::Incomplete));
                }
                (None, Incomplete::Refuse) => {
                    let problem = format!(
                        "names {title:?}, which is neither in the context nor in a corpus"
                    );
                    let remedy = "add the documents with --corpus FILE, or leave such \
                                  questions out with --skip-incomplete";
                    return Err(record.field("supporting_facts").error(problem, remedy));
                }
            }
        }
        let id = self.id(record, question.id)?;
        let mut documents = Vec::new();
        for paragraph in question.paragraphs {
            let (id, document) = self.pool.add(&paragraph.title, &paragraph.text);
            documents.extend(document);
            if paragraph.supporting {
                add_once(&mut supporting, &id);
            }
        }
        let gold = Gold(json!({
            "id": id,
            "answer": question.answer,
            "aliases": question.aliases,
            "supporting": supporting,
            "groups": question.groups,
        }));
        let task = Task { id: TaskId(id), prompt: question.prompt, inputs: Value::Null };
        Ok(Intake::Question(Box::new(Imported { task, gold, documents })))
    }

    fn id(&mut self, record: &Record, id: Option<String>) -> Result<String, ImportError> {
        let id = id.unwrap_or_else(|| format!("{}-{:05}", self.format, self.records));
        // Commands name a step as TASK:STEP, and logs keep one line a task.
        if id.contains(|c: char| c == ':' || c.is_control()) {
            let problem = format!("is {id:?}, which holds ':' or a control character");
            return Err(record
                .field("id")
                .error(problem, "give the question another id"));
        }
        if let Some(first) = self.ids.get(&id) {
            let problem = format!("is {id:?}, as at {first}");
            let remedy = "leave one of the two out, or give it another id";
            return Err(record.field("id").error(problem, remedy));
        }
        self.ids.insert(id.clone(), record.place().clone());
        Ok(id)
    }
}

fn add_once(ids: &mut Vec<String>, id: &str) {
    if !ids.iter().any(|known| known == id) {
        ids.push(id.to_owned());
    }
}

/// What a format made of a record.
enum Entry {
    Question(Question),
    Skipped(Skip),
}

/// A question as its dataset puts it, whatever the format.
struct Question {
    id: Option<String>,
    prompt: String,
    answer: String,
    aliases: Vec<String>,
    paragraphs: Vec<Paragraph>,
    /// Titles of supporting documents that are not among the paragraphs.
    absent: Vec<String>,
    groups: BTreeMap<&'static str, Value>,
}

/// One paragraph of a question's context.
struct Paragraph {
    title: String,
    text: String,
    supporting: bool,
}

/// Answers besides the preferred one: filled, each once, and none equal to it.
fn aliases(answer: &str, listed: Vec<&str>) -> Vec<String> {
    let mut aliases = Vec::new();
    for alias in listed.into_iter().map(str::trim) {
        if !alias.is_empty() && alias != answer {
            add_once(&mut aliases, alias);
        }
    }
    aliases
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Protocol;
    use crate::{
        Environment, EnvironmentParts, Limits, Observation, Scratch, Tool, ToolError,
        ToolSpec,
    };

    /// Reads a whole text; what the tests of the formats go through.
    pub(super) fn import(
        format: Format,
        incomplete: Incomplete,
        text: &str,
    ) -> Result<Vec<Intake>, ImportError> {
        let mut importer = Importer::new(format, incomplete);
        let mut bytes = text.as_bytes();
        Records::new("sample.jsonl", &mut bytes).map(|r| importer.add(&r?)).collect()
    }

    pub(super) fn questions(format: Format, text: &str) -> Vec<Imported> {
        let intakes = import(format, Incomplete::Refuse, text).expect("a good sample");
        let question = |intake| match intake {
            Intake::Question(imported) => Some(*imported),
            Intake::Skipped(_) => None,
        };
        intakes.into_iter().filter_map(question).collect()
    }

    pub(super) fn refusal(format: Format, text: &str) -> String {
        let error = import(format, Incomplete::Refuse, text).expect_err("a bad sample");
        error.to_string()
    }

    #[test]
    fn formats_have_names() {
        for format in Format::ALL {
            assert_eq!(format.name().parse::<Format>().expect("its own name"), format);
        }
        let error = "hotpot".parse::<Format>().expect_err("half a name").to_string();
        assert!(error.contains("hotpotqa, 2wiki, musique"), "{error}");
    }

    struct Search(ToolSpec);

    #[async_trait]
    impl Tool for Search {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }

        async fn call(
            &self,
            _args: &Value,
            _scratch: &mut Scratch,
            _limits: &Limits,
        ) -> Result<Observation, ToolError> {
            unreachable!("the prompt is only filled in")
        }
    }

    #[test]
    fn every_protocol_can_fill_the_prompt_in() {
        for protocol in Protocol::ALL {
            let spec = ToolSpec {
                name: "search".into(),
                description: "Find documents.".into(),
                parameters: json!({
                    "type": "object",
                    "properties": {"query": {"type": "string"}},
                    "required": ["query"],
                }),
                pinned: crate::Digest::of(b""),
            };
            let environment = Environment::new(EnvironmentParts {
                name: "imported".into(),
                prompt: PROMPT.into(),
                protocol,
                thought_chars_max: 0,
                limits: Limits::default(),
                tools: vec![Arc::new(Search(spec))],
            });
            let environment = environment.expect("the template is for every protocol");
            assert!(!environment.system().contains("{{"));
        }
    }

    /// JSON in the shapes that importers look for, right and wrong.
    fn json_like() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~é日]{0,6}".prop_map(Value::from),
            Just(Value::from("2hop__1")),
        ];
        leaf.prop_recursive(4, 48, 4, |inner| {
            let name = prop::sample::select(vec![
                "_id",
                "id",
                "question",
                "answer",
                "answer_aliases",
                "answerable",
                "type",
                "level",
                "context",
                "title",
                "sentences",
                "supporting_facts",
                "sent_id",
                "paragraphs",
                "paragraph_text",
                "is_supporting",
                "contents",
                "text",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..12).prop_map(|map| {
                    map.into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_an_importer_panic(value in json_like(), lines in "\\PC{0,40}") {
            let one = value.to_string();
            let half = &one[..one.floor_char_boundary(one.len() / 2)];
            for text in [&one, &format!("[{one}, {one}]"), &lines, half] {
                for format in Format::ALL {
                    // Whether it is an error is the business of the other tests.
                    let _ = import(format, Incomplete::Skip, text);
                }
                let mut pool = DocumentPool::new();
                for record in Records::new("f", &mut text.as_bytes()).flatten() {
                    let _ = pool.add_record(&record);
                }
            }
        }
    }
}
