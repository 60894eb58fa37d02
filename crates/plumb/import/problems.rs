//! Environments made of published optimisation problems: `plumb import nl4opt FILE...`.

use std::path::Path;

use plumbline::import::ProblemFormat;

use super::environment::{EnvironmentToml, LimitsToml, ToolToml};
use super::files::{JsonLines, each_record};
use super::{ImportArgs, ImportReport};
use crate::failure::{Failure, Kind, Result};

/// The instructions of the shipped environment: they fit any problem of its kind.
const PROMPT: &str = include_str!("../../../environments/or-modelling/prompt.md");
/// The verifiers that need no gold model, which these sets have not.
const VERIFIERS: [&str; 6] = [
    "well-formed",
    "repeat",
    "model-solvable",
    "model-sanity",
    "answer-solved",
    "answer-correct",
];

/// Writes an environment of these files' problems into an empty folder.
pub(super) fn write(
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
    for file in &args.files {
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
        protocol: args.protocol,
        thought_chars_max: 0,
        verifiers: &VERIFIERS,
        limits: Some(LimitsToml { tokens_max: 4096, step_tokens_max: 1024 }),
        tools: vec![ToolToml::Solve],
    };
    environment.write(dir, PROMPT)?;
    Ok(report)
}
