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

mod facts;
mod tasks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

const NAME: &str = "text-to-sql";

fn main() -> anyhow::Result<ExitCode> {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("the only argument is --check"),
    };
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
    let mut stale = 0;
    for (path, content) in files {
        if std::fs::read(root.join(&path)).unwrap_or_default() == content.as_bytes() {
            continue;
        }
        stale += 1;
        let verb = if check { "differs from the facts" } else { "written" };
        println!("{}: {verb}", path.display());
        if !check {
            replace(&root.join(&path), &content)?;
        }
    }
    tasks::report(&tasks);
    Ok(if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lines(items: impl Iterator<Item = serde_json::Value>) -> anyhow::Result<String> {
    let mut text = String::new();
    for item in items {
        text.push_str(&serde_json::to_string(&item)?);
        text.push('\n');
    }
    Ok(text)
}

/// Writes a file whole or not at all.
fn replace(path: &Path, content: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("our paths have a folder")?;
    std::fs::create_dir_all(folder)?;
    let written = path.with_extension("new");
    std::fs::write(&written, content)
        .and_then(|()| std::fs::rename(&written, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
