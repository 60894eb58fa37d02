//! Questions to databases become an environment with the tools `sql` and `describe`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plumbline::import::{SQL_PROMPT, sql_question};

use super::environment::{EnvironmentToml, THOUGHT_CHARS_MAX, ToolToml};
use super::files::{JsonLines, each_record};
use super::{ImportArgs, ImportReport};
use crate::failure::{Failure, Kind, Result, at};

/// Folders beside a file of questions in which its databases may be.
const BESIDE: [&str; 4] = [".", "database", "databases", "dev_databases"];
/// What a database's file may be called, `NAME` being its name.
const FILES: [&str; 5] =
    ["NAME.sqlite", "NAME/NAME.sqlite", "NAME.db", "NAME.sqlite3", "NAME.sql"];
const VERIFIERS: [&str; 7] = [
    "well-formed",
    "repeat",
    "sql-prefix",
    "sql-silent",
    "sql-result",
    "sql-equivalent",
    "answer-correct",
];

/// Writes the environment; the databases that the questions name are copied into it.
pub(super) fn write(
    args: &ImportArgs,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    let databases = dir.join("databases");
    fs::create_dir(&databases).map_err(at(&databases))?;
    let mut tasks = JsonLines::create(dir.join("tasks.jsonl"))?;
    let mut gold = JsonLines::create(dir.join("gold.jsonl"))?;
    let mut report = ImportReport::default();
    let mut copied: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in &args.files {
        let mut number = 0;
        each_record(file, json, |record| {
            number += 1;
            let question = sql_question(record, number)?;
            let place = record.place();
            let source = find(args, file, &question.database).map_err(|message| {
                Failure::say(Kind::Input, format!("{place}: {message}"))
            })?;
            match copied.get(&question.database) {
                Some(first) if *first == source => {}
                Some(first) => {
                    let message = format!(
                        "{place}: the database {:?} is {} here and {} before; rename one, or \
                         import the files apart",
                        question.database,
                        source.display(),
                        first.display()
                    );
                    return Err(Failure::say(Kind::Input, message));
                }
                None => {
                    let extension = source.extension().unwrap_or_default();
                    let target = databases
                        .join(&question.database)
                        .with_added_extension(extension);
                    fs::copy(&source, &target).map_err(at(&source))?;
                    copied.insert(question.database.clone(), source);
                }
            }
            report.questions += 1;
            tasks.push(&question.task)?;
            gold.push(&question.gold)
        })?;
    }
    tasks.finish()?;
    gold.finish()?;
    report.databases = copied.len() as u64;
    let environment = EnvironmentToml {
        name,
        description: format!(
            "{} questions to {} databases, imported.",
            report.questions, report.databases
        ),
        protocol: args.protocol,
        thought_chars_max: THOUGHT_CHARS_MAX,
        verifiers: &VERIFIERS,
        limits: None,
        tools: vec![
            ToolToml::Sql { databases: "databases" },
            ToolToml::Describe { databases: "databases" },
        ],
    };
    environment.write(dir, SQL_PROMPT)?;
    Ok(report)
}

/// The file of a database: in the folder given, else beside the questions.
fn find(
    args: &ImportArgs,
    file: &Path,
    name: &str,
) -> std::result::Result<PathBuf, String> {
    let is_name = !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    if !is_name {
        return Err(format!("field \"db_id\": {name:?} is no name of a file"));
    }
    let beside = file.parent().unwrap_or(Path::new("."));
    let folders: Vec<PathBuf> = match &args.databases {
        Some(folder) => vec![folder.clone()],
        None => BESIDE.iter().map(|folder| beside.join(folder)).collect(),
    };
    let candidates = folders.iter().flat_map(|folder| {
        FILES.iter().map(|file| folder.join(file.replace("NAME", name)))
    });
    let found = candidates.into_iter().find(|path| path.is_file());
    // Some sets spell a name otherwise than its file, as a file system that takes no notice of
    // case lets them.
    found.or_else(|| folders.iter().find_map(|folder| spelt_otherwise(folder, name))).ok_or_else(|| {
        let folders: Vec<String> =
            folders.iter().map(|folder| folder.display().to_string()).collect();
        format!(
            "there is no database {name:?} ({}) in {}; name its folder with --databases",
            FILES.join(", ").replace("NAME", name),
            folders.join(", ")
        )
    })
}

/// The first file in a folder that is a database of this name but for upper and lower case.
fn spelt_otherwise(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().find(|path| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let extension = path.extension().and_then(|extension| extension.to_str());
        stem.is_some_and(|stem| stem.eq_ignore_ascii_case(name))
            && extension.is_some_and(|e| ["sqlite", "sqlite3", "db", "sql"].contains(&e))
            && path.is_file()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Place, names_ours, run};
    use super::*;
    use crate::manifest::EnvironmentFolder;

    const SCRIPT: &str = "CREATE TABLE pet(name); INSERT INTO pet VALUES ('Rex');";

    #[test]
    fn questions_and_their_databases_become_an_environment() {
        let place = Place::new();
        let line =
            r#"{"db_id": "pets", "question": "Who?", "query": "SELECT name FROM pet"}"#;
        let file = place.file("train.jsonl", line);
        let out = place.path("out");
        let failure = run(&["spider", &file, "--out", &out]).expect_err("no database");
        assert!(failure.message().contains("--databases"), "{}", failure.message());
        assert!(failure.message().contains("train.jsonl:1"), "{}", failure.message());
        place.file("database/pets/pets.sqlite", SCRIPT);
        let report = run(&["spider", &file, "--out", &out]).expect("an environment");
        assert_eq!((report.questions, report.databases), (1, 1));
        assert!(Path::new(&out).join("databases/pets.sqlite").is_file());
        let folder = EnvironmentFolder::open(&out).expect("it is read");
        assert_eq!(folder.tasks(None).expect("tasks").len(), 1);
        assert_eq!(folder.gold().expect("gold").len(), 1);
        assert!(names_ours(&folder));
    }

    #[test]
    fn a_database_is_a_name_and_no_path() {
        let place = Place::new();
        let line = r#"{"db_id": "../pets", "question": "Who?", "query": "SELECT 1"}"#;
        place.file("pets.sqlite", SCRIPT);
        let file = place.file("inner/q.jsonl", line);
        let failure = run(&["spider", &file, "--out", &place.path("out")]);
        assert!(failure.expect_err("a path").message().contains("no name"));
    }
}
