//! Questions with their paragraphs become an environment with a corpus to search.

use std::fs;
use std::path::Path;

use plumbline::import::{Format, Importer, Incomplete, Intake, PROMPT, Skip};
use plumbline::protocol::Protocol;

use super::corpus::CorpusToml;
use super::environment::{EnvironmentToml, THOUGHT_CHARS_MAX, ToolToml};
use super::files::{JsonLines, each_record};
use super::{ImportArgs, ImportReport};
use crate::failure::{Failure, Kind, Result, at};

/// Documents that a search returns, as in the papers' retrieval baselines.
const TOP_K: u32 = 3;
const VERIFIERS: [&str; 6] = [
    "well-formed",
    "repeat",
    "retrieval-gain",
    "retrieval-gain-gold",
    "answer-support",
    "answer-correct",
];

pub(super) fn write(
    args: &ImportArgs,
    format: Format,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    let incomplete =
        if args.skip_incomplete { Incomplete::Skip } else { Incomplete::Refuse };
    let mut importer = Importer::new(format, incomplete);
    let corpus = dir.join("corpus");
    fs::create_dir(&corpus).map_err(at(&corpus))?;
    let mut documents = JsonLines::create(corpus.join("documents.jsonl"))?;
    let mut tasks = JsonLines::create(dir.join("tasks.jsonl"))?;
    let mut gold = JsonLines::create(dir.join("gold.jsonl"))?;
    let mut report = ImportReport::default();
    for file in &args.corpus {
        each_record(file, json, |record| {
            documents.push_all(importer.pool().add_record(record)?)
        })?;
    }
    for file in &args.files {
        each_record(file, json, |record| match importer.add(record)? {
            Intake::Question(question) => {
                report.questions += 1;
                tasks.push(&question.task)?;
                gold.push(&question.gold)?;
                documents.push_all(question.documents)
            }
            Intake::Skipped(Skip::Unanswerable) => {
                report.unanswerable += 1;
                Ok(())
            }
            Intake::Skipped(Skip::Incomplete) => {
                report.incomplete += 1;
                Ok(())
            }
        })?;
    }
    if report.questions == 0 {
        let message = format!(
            "no question is left: {} unanswerable, {} without their documents; check that \
             the files have the format {format}",
            report.unanswerable, report.incomplete
        );
        return Err(Failure::say(Kind::Input, message));
    }
    report.documents = importer.pool().len() as u64;
    report.merged = importer.pool().merged();
    for lines in [documents, tasks, gold] {
        lines.finish()?;
    }
    let texts = CorpusToml {
        name: name.to_owned(),
        description: format!("Paragraphs that came with the {format} questions."),
        source: args.source.clone().unwrap_or_else(|| format.source().to_owned()),
        licence: args.licence.clone().unwrap_or_else(|| format.licence().to_owned()),
    };
    texts.write(&corpus)?;
    let description = format!("{} questions imported from {format}.", report.questions);
    let environment = EnvironmentToml {
        name,
        description,
        protocol: args.protocol,
        thought_chars_max: THOUGHT_CHARS_MAX,
        verifiers: &VERIFIERS,
        limits: None,
        tools: tools(args.protocol),
    };
    environment.write(dir, PROMPT)?;
    Ok(report)
}

/// Both tools over the corpus; Search-R1's tags can say nothing but a search.
fn tools(protocol: Protocol) -> Vec<ToolToml> {
    let search = ToolToml::Search { corpus: "corpus", top_k: TOP_K };
    match protocol {
        Protocol::SearchR1 => vec![search],
        Protocol::React | Protocol::Hermes | Protocol::Openai => {
            vec![search, ToolToml::Open { corpus: "corpus" }]
        }
    }
}
