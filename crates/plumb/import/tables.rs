//! Questions about tables become an environment with the tool `python` over those tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use plumbline::import::{TABLE_PROMPT, table_answer, table_question};

use super::environment::{EnvironmentToml, THOUGHT_CHARS_MAX, ToolToml};
use super::files::{JsonLines, each_record};
use super::{ImportArgs, ImportReport};
use crate::failure::{Failure, Kind, Result, at};

const VERIFIERS: [&str; 7] = [
    "well-formed",
    "repeat",
    "python-exception",
    "python-silent",
    "python-grounded",
    "value-reached",
    "answer-correct",
];

/// Writes the environment; the tables that the questions name are copied into it.
pub(super) fn write(
    args: &ImportArgs,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    let answers = answers(args, json)?;
    let tables = dir.join("tables");
    fs::create_dir(&tables).map_err(at(&tables))?;
    let mut tasks = JsonLines::create(dir.join("tasks.jsonl"))?;
    let mut gold = JsonLines::create(dir.join("gold.jsonl"))?;
    let mut report = ImportReport::default();
    let mut copied = BTreeSet::new();
    for file in &args.files {
        each_record(file, json, |record| {
            let question = table_question(record)?;
            let place = record.place();
            let refuse = |message: String| {
                Failure::say(Kind::Input, format!("{place}: {message}"))
            };
            let answer = answers.get(&question.task.id.0).ok_or_else(|| {
                refuse(format!(
                    "no label has the id {:?}; name the file of labels with --labels",
                    question.task.id.0
                ))
            })?;
            if copied.insert(question.file.clone()) {
                let source = find(args, file, &question.file).map_err(refuse)?;
                let target = tables.join(&question.file);
                fs::copy(&source, &target).map_err(at(&source))?;
            }
            report.questions += 1;
            tasks.push(&question.task)?;
            gold.push(&question.gold(answer))
        })?;
    }
    tasks.finish()?;
    gold.finish()?;
    report.tables = copied.len() as u64;
    let environment = EnvironmentToml {
        name,
        description: format!(
            "{} questions about {} tables, imported.",
            report.questions, report.tables
        ),
        protocol: args.protocol,
        thought_chars_max: THOUGHT_CHARS_MAX,
        verifiers: &VERIFIERS,
        limits: None,
        tools: vec![ToolToml::Python { files: Some("tables"), preload: None }],
    };
    environment.write(dir, TABLE_PROMPT)?;
    Ok(report)
}

/// The answers that the labels have, by question: of the files given, else of `labels.jsonl`
/// beside the questions.
fn answers(args: &ImportArgs, json: bool) -> Result<BTreeMap<String, String>> {
    let beside = args.files.iter().map(|file| file.with_file_name("labels.jsonl"));
    let files: Vec<PathBuf> =
        if args.labels.is_empty() { beside.collect() } else { args.labels.clone() };
    let mut answers = BTreeMap::new();
    for file in &files {
        each_record(file, json, |record| {
            let (id, answer) = table_answer(record)?;
            if answers.insert(id.clone(), answer).is_some() {
                let place = record.place();
                let message = format!("{place}: {id:?} has a label already; keep one");
                return Err(Failure::say(Kind::Input, message));
            }
            Ok(())
        })?;
    }
    Ok(answers)
}

/// The file of a table: in the folder given, else beside the questions or in `tables` there.
fn find(
    args: &ImportArgs,
    file: &Path,
    name: &str,
) -> std::result::Result<PathBuf, String> {
    let beside = file.parent().unwrap_or(Path::new("."));
    let folders = match &args.tables {
        Some(folder) => vec![folder.clone()],
        None => vec![beside.join("tables"), beside.to_owned()],
    };
    let found =
        folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let folders: Vec<String> =
            folders.iter().map(|folder| folder.display().to_string()).collect();
        let folders = folders.join(", ");
        format!("there is no table {name:?} in {folders}; name its folder with --tables")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Place, names_ours, run};
    use crate::manifest::EnvironmentFolder;

    const QUESTION: &str = r#"{"id": 0, "question": "How many?", "constraints": "",
        "format": "@rows[n]", "file_name": "pets.csv", "level": "easy"}"#;

    #[test]
    fn questions_labels_and_tables_become_an_environment() {
        let place = Place::new();
        let file = place.file("questions.jsonl", &QUESTION.replace('\n', " "));
        let out = place.path("out");
        let line = ["dabench", file.as_str(), "--out", &out];
        let failure = run(&line).expect_err("no labels");
        assert!(failure.message().contains("labels.jsonl"), "{}", failure.message());
        let other =
            place.file("other.jsonl", r#"{"id": 1, "common_answers": [["a", "1"]]}"#);
        let failure = run(&[&line[..], &["--labels", &other]].concat());
        let failure = failure.expect_err("not this question's");
        assert!(failure.message().contains("--labels"), "{}", failure.message());
        let label = r#"{"id": 0, "common_answers": [["rows", "2"]]}"#;
        let labels = place.file("labels.jsonl", label);
        let line = [&line[..], &["--labels", &labels]].concat();
        let failure = run(&line).expect_err("no table");
        assert!(failure.message().contains("--tables"), "{}", failure.message());
        place.file("tables/pets.csv", "name\nRex\nMia\n");
        let report = run(&line).expect("an environment");
        assert_eq!((report.questions, report.tables), (1, 1));
        let folder = EnvironmentFolder::open(&out).expect("it is read");
        assert_eq!(folder.tasks(None).expect("tasks").len(), 1);
        assert_eq!(folder.gold().expect("gold").len(), 1);
        assert!(names_ours(&folder));
    }
}
