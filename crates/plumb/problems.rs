//! Environments made of published optimisation problems: `plumb import nl4opt FILE...`.

use std::path::Path;

use plumbline::import::ProblemFormat;
use serde::Serialize;

use crate::failure::{Failure, Kind, Result};
use crate::import::{
    ImportArgs, ImportReport, JsonLines, each_record, write_file, write_toml,
};

/// The instructions of the shipped environment: they fit any problem of its kind.
const PROMPT: &str = include_str!("../../environments/or-modelling/prompt.md");
/// The verifiers that need no gold model, which these sets have not.
const VERIFIERS: [&str; 5] =
    ["well-formed", "repeat", "model-solvable", "model-sanity", "answer-correct"];

#[derive(Serialize)]
struct EnvironmentToml<'a> {
    name: &'a str,
    description: String,
    protocol: &'static str,
    verifiers: [&'static str; 5],
    limits: Limits,
    tools: [Tool; 1],
}

#[derive(Serialize)]
struct Limits {
    tokens_max: u32,
    step_tokens_max: u32,
}

#[derive(Serialize)]
struct Tool {
    r#type: &'static str,
}

/// Writes an environment of these files' problems into an empty folder.
pub(crate) fn write_environment(
    args: &ImportArgs,
    format: ProblemFormat,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    let mut tasks = JsonLines::create(dir.join("tasks.jsonl"))?;
    let mut gold = JsonLines::create(dir.join("gold.jsonl"))?;
    let mut report = ImportReport::default();
    let mut number = 0;
    for file in args.files() {
        each_record(file, json, |record| {
            number += 1;
            match format.read(record, number)? {
                Some((task, its_gold)) => {
                    report.questions += 1;
                    tasks.push(&task)?;
                    gold.push(&its_gold)
                }
                None => {
                    report.unanswerable += 1;
                    Ok(())
                }
            }
        })?;
    }
    if report.questions == 0 {
        let message = format!(
            "no problem has a recorded optimum; check that the files have the format {format}"
        );
        return Err(Failure::say(Kind::Input, message));
    }
    tasks.finish()?;
    gold.finish()?;
    let environment = EnvironmentToml {
        name,
        description: format!("Optimisation problems imported from {format}"),
        protocol: args.protocol().name(),
        verifiers: VERIFIERS,
        limits: Limits { tokens_max: 4096, step_tokens_max: 1024 },
        tools: [Tool { r#type: "solve" }],
    };
    write_toml(&dir.join("environment.toml"), &environment)?;
    write_file(&dir.join("prompt.md"), PROMPT)?;
    Ok(report)
}
