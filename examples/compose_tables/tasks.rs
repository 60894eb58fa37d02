//! Prompts, gold and solutions, put together from the facts.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::facts::{Difficulty, TableFacts, TaskFacts};
use crate::pipeline::evaluate;
use crate::table::Table;

/// A task, and what is known of its answer.
pub(crate) struct Composed<'f> {
    pub(crate) task: Task<'f>,
    pub(crate) gold: Gold<'f>,
}

#[derive(Serialize)]
pub(crate) struct Task<'f> {
    id: &'f str,
    prompt: &'f str,
    inputs: Inputs,
}

#[derive(Serialize)]
struct Inputs {
    files: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct Gold<'f> {
    id: &'f str,
    answer: String,
    comparator: Value,
    solution: Vec<Value>,
    pub(crate) groups: Groups<'f>,
}

#[derive(Serialize)]
pub(crate) struct Groups<'f> {
    pub(crate) family: &'f str,
    difficulty: Difficulty,
    table: &'f str,
}

/// Every task, with its gold computed from the tables.
pub(crate) fn compose<'f>(
    facts: &'f BTreeMap<String, TableFacts>,
    tables: &BTreeMap<String, Table>,
) -> anyhow::Result<Vec<Composed<'f>>> {
    let mut composed = Vec::new();
    let mut ids = BTreeSet::new();
    for (table, facts) in facts {
        for task in &facts.tasks {
            ensure!(ids.insert(&task.id), "{table}.toml: task {} stands twice", task.id);
            let one = compose_one(table, task, tables);
            composed
                .push(one.with_context(|| format!("{table}.toml: task {}", task.id))?);
        }
    }
    Ok(composed)
}

fn compose_one<'f>(
    table: &'f str,
    facts: &'f TaskFacts,
    tables: &BTreeMap<String, Table>,
) -> anyhow::Result<Composed<'f>> {
    let names: Vec<&str> =
        [table].into_iter().chain(facts.files.iter().map(String::as_str)).collect();
    for name in &names {
        ensure!(tables.contains_key(*name), "there is no table {name}");
    }
    let left = evaluate(tables, &facts.gold)?;
    let mut answers = Vec::with_capacity(facts.answers.len());
    for ask in &facts.answers {
        let asked = format!("@{}[", ask.name);
        ensure!(facts.prompt.contains(&asked), "the prompt does not ask for {asked}..]");
        answers.push(format!("@{}[{}]", ask.name, ask.answer(&left)?));
    }
    let call = |code: &str| json!({ "tool": "python", "args": { "code": code } });
    let mut solution = vec![call(&look(&names))];
    solution.extend(facts.solution.iter().map(|code| call(code.trim())));
    Ok(Composed {
        task: Task {
            id: &facts.id,
            prompt: facts.prompt.trim(),
            inputs: Inputs { files: names.iter().map(|n| format!("{n}.csv")).collect() },
        },
        gold: Gold {
            id: &facts.id,
            answer: answers.join(" "),
            comparator: json!({ "type": "dabench" }),
            solution,
            groups: Groups { family: &facts.family, difficulty: facts.difficulty, table },
        },
    })
}

/// A first cell: reads each file into a frame of the file's name, and looks at the last.
fn look(names: &[&str]) -> String {
    let mut code = "import pandas as pd".to_owned();
    for name in names {
        code.push_str(&format!("\n{name} = pd.read_csv(\"/data/{name}.csv\")"));
    }
    for name in names {
        code.push_str(&format!(
            "\nprint({name}.shape)\nprint({name}.head(3).to_string())"
        ));
    }
    code
}
