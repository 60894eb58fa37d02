//! Composes the corpus `multihop-qa` and its questions from a table of facts.
//!
//! ```text
//! cargo run --release --example compose_multihop             writes the files
//! cargo run --release --example compose_multihop -- --check  exits 1 if they would change
//! ```
//!
//! The table is `corpora/multihop-qa/facts/*.toml`: one file for each kind of entity, which
//! holds the facts, the sentences that documents say them in, and the words that questions
//! ask for them with. This program knows no kind and no field by name, so a line in a file
//! adds a document, and a new file adds a kind, without touching Rust. How to read it:
//!
//! * `facts` reads the table and checks it as a whole;
//! * `documents` writes one document for each entity, in which only its own facts stand;
//! * `chain` walks from document to document;
//! * `families` finds every question that the table answers in exactly one way;
//! * `questions` chooses among them by digest, so that every run chooses the same.
#![allow(clippy::print_stdout, reason = "an example's report is for people")]

#[path = "../composing/mod.rs"]
mod composing;

mod facts;

mod documents;

mod chain;
mod families;
mod questions;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plumbline::Digest;
use serde::Serialize;

use crate::composing::{lines, settle};
use crate::documents::Document;
use crate::facts::Facts;
use crate::questions::{Family, Question};

const NAME: &str = "multihop-qa";

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let facts = Facts::read(&root.join("corpora").join(NAME).join("facts"))?;
    let documents = documents::compose(&facts)?;
    let questions = questions::choose(&facts, &documents)?;
    report(&facts, &documents, &questions);
    settle(files(&documents, &questions)?)
}

/// What is written, by path under the repository's root.
fn files(
    documents: &[Document],
    questions: &[Question],
) -> anyhow::Result<Vec<(PathBuf, String)>> {
    #[derive(Serialize)]
    struct Task<'a> {
        id: &'a str,
        prompt: &'a str,
    }
    #[derive(Serialize)]
    struct Gold<'a> {
        id: &'a str,
        answer: &'a str,
        aliases: &'a [String],
        supporting: &'a [String],
        groups: Groups,
    }
    #[derive(Serialize)]
    struct Groups {
        hops: usize,
        r#type: Family,
    }
    let corpus = Path::new("corpora").join(NAME);
    let environment = Path::new("environments").join(NAME);
    let documents = lines(documents.iter())?;
    let manifest = manifest(&documents);
    let tasks = lines(questions.iter().map(|q| Task { id: &q.id, prompt: &q.prompt }))?;
    let gold = lines(questions.iter().map(|q| Gold {
        id: &q.id,
        answer: &q.answer,
        aliases: &q.aliases,
        supporting: &q.supporting,
        groups: Groups { hops: q.hops, r#type: q.family },
    }))?;
    Ok(vec![
        (corpus.join("documents.jsonl"), documents),
        (corpus.join("corpus.toml"), manifest),
        (environment.join("tasks.jsonl"), tasks),
        (environment.join("gold.jsonl"), gold),
    ])
}

fn manifest(documents: &str) -> String {
    format!(
        "name = \"{NAME}\"\n\
         description = \"Short encyclopaedic documents, one an entity, that refer to each \
         other by name\"\n\
         source = \"composed by examples/compose_multihop from facts/\"\n\
         licence = \"CC0-1.0\"\n\
         documents = \"documents.jsonl\"\n\
         sha256 = \"{}\"\n",
        Digest::of(documents.as_bytes())
    )
}

fn report(facts: &Facts, documents: &[Document], questions: &[Question]) {
    let kinds: Vec<String> = facts
        .kinds()
        .map(|(name, _)| {
            let of_kind = facts.ids().filter(|id| facts.entity(*id).kind == name);
            format!("{} {name}", of_kind.count())
        })
        .collect();
    println!("{} documents: {}", documents.len(), kinds.join(", "));
    for hops in 2..=4 {
        let count = questions.iter().filter(|q| q.hops == hops).count();
        println!("{count} questions of {hops} hops");
    }
}
