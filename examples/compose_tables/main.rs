//! Composes the tables of `data-analysis`, its tasks and their gold from facts.
//!
//! ```text
//! cargo run --release --example compose_tables             writes the files
//! cargo run --release --example compose_tables -- --check  exits 1 if they would change
//! ```
//!
//! The facts are `corpora/data-analysis/facts/*.toml`, one file for each table: what its
//! columns hold, how carelessly they are written, and the tasks about it. This program knows
//! no table and no column by name. How to read it:
//!
//! * `facts` is what stands in the files;
//! * `compose` draws the rows by digest, so that every run draws the same, and spoils them;
//! * `table` reads what was written the way a careful person would;
//! * `pipeline` carries out the steps of a task's gold, and `measure` reads numbers off what
//!   is left: the gold is computed here, without Python, from the same text;
//! * `tasks` puts prompts, gold and solutions together, and refuses a task whose answer
//!   hangs on a rounding or on a tie.
#![allow(clippy::print_stdout, reason = "an example's report is for people")]

#[path = "../composing/mod.rs"]
mod composing;

mod facts;

mod compose;

mod measure;
mod pipeline;
mod table;

mod tasks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::composing::{lines, settle};
use crate::facts::TableFacts;
use crate::table::Table;

const NAME: &str = "data-analysis";

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let facts = facts::read(&root.join("corpora").join(NAME).join("facts"))?;
    let tables = compose::compose(&facts)?;
    let composed = tasks::compose(&facts, &tables)?;
    report(&facts, &tables, &composed);
    settle(files(&tables, &composed)?)
}

/// What is written, by path under the repository's root.
fn files(
    tables: &BTreeMap<String, Table>,
    composed: &[tasks::Composed],
) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let corpus = Path::new("corpora").join(NAME).join("tables");
    let environment = Path::new("environments").join(NAME);
    let mut files: Vec<(PathBuf, String)> = tables
        .iter()
        .map(|(name, table)| (corpus.join(format!("{name}.csv")), table.to_csv()))
        .collect();
    let tasks = lines(composed.iter().map(|composed| &composed.task))?;
    files.push((environment.join("tasks.jsonl"), tasks));
    let gold = lines(composed.iter().map(|composed| &composed.gold))?;
    files.push((environment.join("gold.jsonl"), gold));
    Ok(files)
}

fn report(
    facts: &BTreeMap<String, TableFacts>,
    tables: &BTreeMap<String, Table>,
    composed: &[tasks::Composed],
) {
    for (name, table) in tables {
        let (rows, tasks) = (table.rows.len(), facts[name].tasks.len());
        println!("{name:<10} {rows:>4} rows  {tasks:>3} tasks");
    }
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for composed in composed {
        *families.entry(composed.gold.groups.family).or_default() += 1;
    }
    let families: Vec<String> =
        families.iter().map(|(family, count)| format!("{count} {family}")).collect();
    println!("{} tasks: {}", composed.len(), families.join(", "));
}
