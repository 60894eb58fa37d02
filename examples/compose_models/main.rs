//! Composes the tasks of `or-modelling` from a table of facts, and solves each of them.
//!
//! ```text
//! cargo run --release --example compose_models             writes the files
//! cargo run --release --example compose_models -- --check  exits 1 if they would change
//! ```
//!
//! The table is `corpora/or-modelling/facts/*.toml`: one file for each family of problems,
//! which holds the family's model in the JSON algebra without its numbers, the words it is
//! told in, and its instances: sets, parameters, and names. This program knows no family by
//! name, so that a line in a file adds a task and a new file adds a family. The gold answer
//! of a task is what its gold model comes to, solved here; `plumb env check or-modelling`
//! solves it again.
#![allow(clippy::print_stdout, reason = "an example's report is for people")]

#[path = "../composing/mod.rs"]
mod composing;

mod family;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::composing::{lines, settle};
use crate::family::Family;

const NAME: &str = "or-modelling";

/// A word problem with everything that is known about it.
struct Posed {
    id: String,
    prompt: String,
    model: Value,
    answer: String,
    groups: Value,
}

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let families = Family::read_all(&root.join("corpora").join(NAME).join("facts"))?;
    let mut posed = Vec::new();
    for family in &families {
        posed.extend(family.pose()?);
    }
    report(&posed);
    settle(files(&posed)?)
}

/// What is written, by path under the repository's root.
fn files(posed: &[Posed]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let environment = Path::new("environments").join(NAME);
    let task = |posed: &Posed| json!({ "id": posed.id, "prompt": posed.prompt });
    let gold = |posed: &Posed| {
        let args = json!({ "model": posed.model });
        json!({
            "id": posed.id,
            "answer": posed.answer,
            "comparator": { "type": "objective" },
            "model": args,
            "solution": [{ "tool": "solve", "args": args }],
            "groups": posed.groups,
        })
    };
    Ok(vec![
        (environment.join("tasks.jsonl"), lines(posed.iter().map(task))?),
        (environment.join("gold.jsonl"), lines(posed.iter().map(gold))?),
    ])
}

fn report(posed: &[Posed]) {
    println!("{} tasks", posed.len());
    for group in ["family", "integrality", "size"] {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for posed in posed {
            *counts.entry(posed.groups[group].as_str().unwrap_or("")).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        println!("  by {group}: {}", counts.join(", "));
    }
}
