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

mod family;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

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
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("the only argument is --check"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let families = Family::read_all(&root.join("corpora").join(NAME).join("facts"))?;
    let mut posed = Vec::new();
    for family in &families {
        posed.extend(family.pose()?);
    }
    let mut stale = 0;
    for (path, content) in files(&posed) {
        if std::fs::read(root.join(&path)).unwrap_or_default() == content.as_bytes() {
            continue;
        }
        stale += 1;
        let verb = if check { "differs from the facts" } else { "written" };
        println!("{}: {verb}", path.display());
        if !check {
            std::fs::write(root.join(&path), &content)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    report(&posed);
    Ok(if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is written, by path under the repository's root.
fn files(posed: &[Posed]) -> Vec<(PathBuf, String)> {
    let environment = Path::new("environments").join(NAME);
    let lines = |line: fn(&Posed) -> Value| -> String {
        posed.iter().map(|posed| format!("{}\n", line(posed))).collect()
    };
    let tasks = lines(|posed| json!({ "id": posed.id, "prompt": posed.prompt }));
    let gold = lines(|posed| {
        let args = json!({ "model": posed.model });
        json!({
            "id": posed.id,
            "answer": posed.answer,
            "comparator": { "type": "objective" },
            "model": args,
            "solution": [{ "tool": "solve", "args": args }],
            "groups": posed.groups,
        })
    });
    vec![(environment.join("tasks.jsonl"), tasks), (environment.join("gold.jsonl"), gold)]
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
