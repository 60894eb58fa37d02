//! Programs to be written become an environment with the tool `python`.

use std::path::Path;

use plumbline::import::{PROGRAM_PROMPT, program_task};

use super::environment::{EnvironmentToml, THOUGHT_CHARS_MAX, ToolToml};
use super::files::{JsonLines, each_record};
use super::{ImportArgs, ImportReport};
use crate::failure::Result;

const VERIFIERS: [&str; 4] =
    ["well-formed", "repeat", "python-exception", "answer-correct"];

pub(super) fn write(
    args: &ImportArgs,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    let mut tasks = JsonLines::create(dir.join("tasks.jsonl"))?;
    let mut gold = JsonLines::create(dir.join("gold.jsonl"))?;
    let mut report = ImportReport::default();
    for file in &args.files {
        each_record(file, json, |record| {
            let (task, right) = program_task(record)?;
            report.questions += 1;
            tasks.push(&task)?;
            gold.push(&right)
        })?;
    }
    tasks.finish()?;
    gold.finish()?;
    let environment = EnvironmentToml {
        name,
        description: format!("{} programs to be written, imported.", report.questions),
        protocol: args.protocol,
        thought_chars_max: THOUGHT_CHARS_MAX,
        verifiers: &VERIFIERS,
        limits: None,
        // Programs need no tables: what is not imported beforehand starts sooner.
        tools: vec![ToolToml::Python { files: None, preload: Some([]) }],
    };
    environment.write(dir, PROGRAM_PROMPT)?;
    Ok(report)
}
