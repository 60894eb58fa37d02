//! How many supporting documents a question finds by itself: the figure by which the
//! tokenizer and the weight of titles were chosen.
//!
//! ```text
//! cargo run --release -p plumbline-search --example recall -- HOTPOTQA.jsonl
//! ```
//!
//! The paragraphs of all questions are pooled into one corpus, and each question is the
//! query.

#![allow(clippy::print_stdout, reason = "a program that reports figures")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;

use plumbline_search::{Corpus, Index};
use serde::Deserialize;
use serde_json::json;

/// A question of HotpotQA, as far as it is needed.
#[derive(Deserialize)]
struct Question {
    question: String,
    supporting_facts: Facts,
    context: Context,
}

#[derive(Deserialize)]
struct Facts {
    title: Vec<String>,
}

#[derive(Deserialize)]
struct Context {
    title: Vec<String>,
    sentences: Vec<Vec<String>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: recall HOTPOTQA.jsonl")?;
    let mut questions: Vec<Question> = Vec::new();
    let mut documents = BTreeMap::new();
    for line in fs::read_to_string(path)?.lines() {
        let mut question: Question = serde_json::from_str(line)?;
        let context = &mut question.context;
        for (title, sentences) in context.title.drain(..).zip(context.sentences.drain(..))
        {
            documents.insert(title, sentences.concat());
        }
        questions.push(question);
    }
    let folder = tempfile::tempdir()?;
    let lines = folder.path().join("documents.jsonl");
    let json: Vec<String> = documents
        .iter()
        .map(|(title, text)| {
            json!({ "id": title, "title": title, "text": text }).to_string()
        })
        .collect();
    fs::write(&lines, json.join("\n"))?;
    let index = Index::open_or_build(&Corpus::open(&lines)?, folder.path(), &|_| {})?;
    println!("{} questions, {} documents", questions.len(), index.documents());

    for top_k in [2, 5, 10] {
        let (mut found, mut wanted, mut complete) = (0, 0, 0);
        for question in &questions {
            let gold: BTreeSet<&String> =
                question.supporting_facts.title.iter().collect();
            let hits = index.search(&question.question, top_k)?.hits;
            let hit = hits.iter().filter(|hit| gold.contains(&hit.document.id)).count();
            found += hit;
            wanted += gold.len();
            complete += usize::from(hit == gold.len());
        }
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole as f64;
        println!(
            "top {top_k:>2}: {:.1} % of the supporting documents, all of them for {:.1} % of the questions",
            share(found, wanted),
            share(complete, questions.len())
        );
    }
    Ok(())
}
