//! Programs to be written become an environment with the tool `python`.

use std::path::Path;

use plumbline::import::{PROGRAM_PROMPT, program_task};
use plumbline::protocol::Protocol;
use serde::Serialize;

use super::{
    ImportArgs, ImportReport, JsonLines, THOUGHT_CHARS_MAX, each_record, write_file,
    write_toml,
};
use crate::failure::Result;

const VERIFIERS: [&str; 4] =
    ["well-formed", "repeat", "python-exception", "answer-correct"];

#[derive(Serialize)]
struct EnvironmentToml<'a> {
    name: &'a str,
    description: String,
    protocol: Protocol,
    thought_chars_max: u32,
    verifiers: [&'static str; 4],
    tools: [ToolToml; 1],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolToml {
    Python {
        /// Programs need no tables: what is not imported beforehand starts sooner.
        preload: [&'static str; 0],
    },
}

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
        verifiers: VERIFIERS,
        tools: [ToolToml::Python { preload: [] }],
    };
    write_toml(&dir.join("environment.toml"), &environment)?;
    write_file(&dir.join("prompt.md"), PROGRAM_PROMPT)?;
    Ok(report)
}
