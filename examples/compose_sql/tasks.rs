//! Fills in the questions and has the tool answer them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use plumbline::{Digest, Limits, Observation, Scratch, Tool};
use plumbline_sql::{Databases, Engine, Sql, SqlSettings};
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows of the longest result: what a person could check.
const ROWS_MAX: usize = 40;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Templates {
    task: Vec<Template>,
}

/// A question and its SQL, with names to fill in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    id: String,
    database: String,
    feature: String,
    difficulty: String,
    #[serde(default)]
    ordered: bool,
    ask: String,
    sql: String,
    /// The query whose rows fill the names in.
    values: Option<String>,
    /// How many of its rows are taken.
    take: Option<usize>,
}

/// A question with its answer.
pub(crate) struct Task {
    id: String,
    database: String,
    feature: String,
    difficulty: String,
    ordered: bool,
    prompt: String,
    sql: String,
    columns: Value,
    rows: Value,
}

impl Task {
    /// Its line in `tasks.jsonl`.
    pub(crate) fn line(&self) -> Value {
        json!({ "id": self.id, "prompt": self.prompt, "inputs": { "database": self.database } })
    }

    /// Its line in `gold.jsonl`.
    pub(crate) fn gold(&self) -> Value {
        json!({
            "id": self.id,
            "answer": self.sql,
            "comparator": { "type": "table", "ordered": self.ordered },
            "result": { "columns": self.columns, "rows": self.rows },
            "solution": [
                { "tool": "describe", "args": {} },
                { "tool": "sql", "args": { "query": self.sql } },
            ],
            "groups": { "database": self.database, "difficulty": self.difficulty,
                "feature": self.feature },
        })
    }
}

/// Every task, in the order of the templates.
pub(crate) fn compose(templates: &Path, databases: &Path) -> anyhow::Result<Vec<Task>> {
    let at = || templates.display().to_string();
    let text = std::fs::read_to_string(templates).with_context(at)?;
    let Templates { task: templates } = toml::from_str(&text).with_context(at)?;
    let databases = Databases::open(databases, &databases.join("cache"))?;
    let engine = Arc::new(Engine::read_only(databases));
    let asker = Asker {
        sql: Sql::new(engine, SqlSettings { rows_shown: 50 }),
        runtime: tokio::runtime::Builder::new_current_thread().build()?,
    };
    let mut tasks = Vec::new();
    let mut prompts = BTreeSet::new();
    for template in &templates {
        for task in
            asker.fill(template).with_context(|| format!("task {}", template.id))?
        {
            ensure!(prompts.insert(task.prompt.clone()), "asked twice: {}", task.prompt);
            tasks.push(task);
        }
    }
    Ok(tasks)
}

struct Asker {
    sql: Sql,
    runtime: tokio::runtime::Runtime,
}

impl Asker {
    fn ask(&self, database: &str, query: &str) -> anyhow::Result<Value> {
        let mut scratch = Scratch::of_inputs(&json!({ "database": database }));
        let (args, limits) = (json!({ "query": query }), Limits::default());
        match self.runtime.block_on(self.sql.call(&args, &mut scratch, &limits))? {
            Observation::Output { data, .. } => Ok(data),
            Observation::Fault { message, .. } => bail!("{query}: {message}"),
        }
    }

    fn fill(&self, template: &Template) -> anyhow::Result<Vec<Task>> {
        let Some(values) = &template.values else {
            return Ok(vec![self.task(
                template,
                template.id.clone(),
                &BTreeMap::new(),
            )?]);
        };
        let table = self.ask(&template.database, values)?;
        let columns: Vec<&str> = table["columns"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut rows: Vec<BTreeMap<&str, String>> = Vec::new();
        for row in table["rows"].as_array().into_iter().flatten() {
            let texts = row.as_array().into_iter().flatten().map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            rows.push(columns.iter().copied().zip(texts).collect());
        }
        // Which of them: those whose digests come first, so that no order of theirs decides.
        rows.sort_by_key(|row| Digest::of_json(&(&template.id, row)));
        let wanted = template.take.unwrap_or(1);
        let mut tasks: Vec<Task> = Vec::new();
        for row in rows {
            let id = format!("{}-{}", template.id, tasks.len() + 1);
            // A question whose answer is nothing tells a right query from few wrong ones.
            if let Ok(task) = self.task(template, id, &row) {
                tasks.push(task);
            }
            if tasks.len() == wanted {
                return Ok(tasks);
            }
        }
        bail!("{} of {wanted} questions have an answer", tasks.len())
    }

    fn task(
        &self,
        template: &Template,
        id: String,
        values: &BTreeMap<&str, String>,
    ) -> anyhow::Result<Task> {
        let (mut prompt, mut sql) = (template.ask.clone(), template.sql.clone());
        for (name, value) in values {
            prompt = prompt.replace(&format!("{{{name}}}"), value);
            sql = sql.replace(&format!("{{{name}}}"), &value.replace('\'', "''"));
        }
        ensure!(
            !prompt.contains('{') && !sql.contains('{'),
            "a name is not filled in: {sql}"
        );
        let table = self.ask(&template.database, &sql)?;
        let rows = table["rows"].as_array().context("a table has rows")?;
        let empty = rows.iter().flat_map(|row| row.as_array().into_iter().flatten());
        let empty = empty.clone().all(|value| value.is_null() || value == 0);
        ensure!(!empty, "{sql}: the answer is nothing");
        ensure!(rows.len() <= ROWS_MAX, "{sql}: {} rows", rows.len());
        Ok(Task {
            id,
            database: template.database.clone(),
            feature: template.feature.clone(),
            difficulty: template.difficulty.clone(),
            ordered: template.ordered,
            prompt,
            sql,
            columns: table["columns"].clone(),
            rows: table["rows"].clone(),
        })
    }
}

/// Prints how many tasks there are of each group.
pub(crate) fn report(tasks: &[Task]) {
    println!("{} tasks", tasks.len());
    type Of = fn(&Task) -> &str;
    let groups: [(&str, Of); 3] = [
        ("database", |task| &task.database),
        ("difficulty", |task| &task.difficulty),
        ("feature", |task| &task.feature),
    ];
    for (group, of) in groups {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for task in tasks {
            *counts.entry(of(task)).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        println!("{group}: {}", counts.join(", "));
    }
}
