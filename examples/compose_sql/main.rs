//! Composes the databases and tasks of `text-to-sql` from tables of facts.
//!
//! ```text
//! cargo run --release --example compose_sql             writes the files
//! cargo run --release --example compose_sql -- --check  exits 1 if they would change
//! ```
//!
//! * `facts` reads `corpora/text-to-sql/facts/*.toml`, one file a database, fills in the
//!   tables of events by digest, and writes each database as a script of SQL;
//! * `tasks` reads `corpora/text-to-sql/tasks.toml`, fills in the questions from the databases
//!   themselves, and has the tool `sql` answer each, so that the recorded result is what an
//!   agent would see.
#![allow(clippy::print_stdout, reason = "an example's report is for people")]

#[path = "../composing/mod.rs"]
mod composing;

mod facts;
mod tasks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::composing::{lines, settle};

const NAME: &str = "text-to-sql";

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = root.join("corpora").join(NAME);
    let scripts = facts::scripts(&corpus.join("facts"))?;
    // The databases of the tasks are those just composed, not those on disk.
    let folder = tempfile::tempdir()?;
    for (name, script) in &scripts {
        std::fs::write(folder.path().join(format!("{name}.sql")), script)?;
    }
    let tasks = tasks::compose(&corpus.join("tasks.toml"), folder.path())?;
    let databases = PathBuf::from("corpora").join(NAME).join("databases");
    let environment = PathBuf::from("environments").join(NAME);
    let mut files = vec![
        (environment.join("tasks.jsonl"), lines(tasks.iter().map(tasks::Task::line))?),
        (environment.join("gold.jsonl"), lines(tasks.iter().map(tasks::Task::gold))?),
    ];
    for (name, script) in scripts {
        files.push((databases.join(format!("{name}.sql")), script));
    }
    tasks::report(&tasks);
    settle(files)
}
