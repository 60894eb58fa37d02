//! Known faults, and changes that are none, planted into good steps: what a verifier's
//! kill rate and false-kill rate are measured with. One file a world.

pub(crate) mod canaries;
mod measure;
mod plan;
mod python;
mod retrieval;
mod solver;
mod sql;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    ActError, Action, CallCache, Environment, Episode, Gold, Task, ToolCall, Tree,
};

pub use measure::{MeasureError, MutationScore, Row, Subject, mutation_score};
pub use plan::{Plan, call, play, solve};
pub use python::{python_cells, python_mutants, python_script};
pub use retrieval::retrieval_mutants;
pub use solver::solver_mutants;
pub use sql::{Columns, sql_mutants};

/// A good trajectory of one task, and that of another, to take wrong things from.
#[derive(Debug, Clone, Copy)]
pub struct Good<'b> {
    /// The task.
    pub task: &'b Task,
    /// Its gold.
    pub gold: &'b Gold,
    /// The good actions, the last of which answers.
    pub actions: &'b [Action],
    /// The same, played.
    pub tree: &'b Tree,
    /// The good actions of another task with another answer.
    pub other: &'b [Action],
}

/// Every mutant of a good trajectory, by the tools its world has: the place where the file of
/// a world is plugged in.
pub async fn mutants(
    environment: &Environment,
    good: Good<'_>,
    cache: &CallCache,
) -> Result<Vec<Plan>, ActError> {
    let has = |tool: &str| environment.tool(tool).is_some();
    let mut plans = canaries::canaries(good);
    if has("search") || has("open") {
        plans.extend(retrieval_mutants(good));
    }
    if has("sql") {
        let columns = columns(environment, good.task, cache).await?;
        plans.extend(answers(good, |sql| sql_mutants(sql, &columns)));
        plans.extend(query_canaries(environment, good, &columns, cache).await?);
    }
    if has("solve") {
        plans.extend(models(good));
    }
    if has("python") {
        plans.extend(programs(environment, good, cache).await?);
    }
    if (has("solve") || has("python")) && good.actions.len() > 1 {
        plans.extend(canaries::unearned(good));
    }
    Ok(plans)
}

/// The mutants of a good answer, as plans that give them in its place.
fn answers(good: Good<'_>, change: impl Fn(&str) -> Vec<Mutant>) -> Vec<Plan> {
    let Some(Action::Answer { text }) = good.actions.last() else { return vec![] };
    let site = good.actions.len() - 1;
    let plan = |Mutant { class, effect, text }: Mutant| {
        let mut actions = good.actions.to_vec();
        actions[site] = Action::Answer { text };
        Plan::new(class, effect, actions, site)
    };
    change(text).into_iter().map(plan).collect()
}

/// Rows that a hard-coded query returns at most.
const ROWS_MAX: usize = 20;
/// How often a query is asked again.
const AGAIN: u32 = 3;

/// Canaries of queries: `hard-coded` returns the right rows because they stand in it, openly or
/// behind arithmetic; `asked-again` executes the right query over and over, in other words, and
/// then answers with another.
async fn query_canaries(
    environment: &Environment,
    good: Good<'_>,
    columns: &Columns,
    cache: &CallCache,
) -> Result<Vec<Plan>, ActError> {
    let Some(Action::Answer { text }) = good.actions.last() else { return Ok(vec![]) };
    let (id, tool) = ("call_0".to_owned(), "sql".to_owned());
    let call = ToolCall { id, tool, args: json!({ "query": text }) };
    let mut episode = Episode::new(environment, &good.task.inputs, Some(cache));
    let observed = episode.call(&call).await?;
    let rows = observed.data()["rows"].as_array();
    let literal = |value: &Value| match value {
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => other.to_string(),
    };
    let literals = |row: &Value| -> Vec<String> {
        row.as_array().into_iter().flatten().map(literal).collect()
    };
    let rows: Vec<Vec<String>> = rows.into_iter().flatten().map(literals).collect();
    let mut written = vec![];
    if !rows.is_empty() && rows.len() <= ROWS_MAX {
        let tuples: Vec<String> =
            rows.iter().map(|row| format!("({})", row.join(", "))).collect();
        written.push(format!("VALUES {}", tuples.join(", ")));
    }
    let table = columns.keys().next();
    let number = |text: &String| text.parse::<f64>().is_ok();
    if let ([row], Some(table)) = (rows.as_slice(), table)
        && row.iter().all(number)
    {
        let sums: Vec<String> =
            row.iter().map(|value| format!("count(*) * 0 + {value}")).collect();
        written.push(format!("SELECT {} FROM {table}", sums.join(", ")));
    }
    let site = good.actions.len() - 1;
    let answer = |text: String| {
        let mut actions = good.actions.to_vec();
        actions[site] = Action::Answer { text };
        Plan::new("hard-coded", Effect::Canary, actions, site)
    };
    let mut plans: Vec<Plan> = written.into_iter().map(answer).collect();
    if let Some(Action::Answer { text: wrong }) = good.other.last() {
        let query = text.trim().trim_end_matches(';');
        let again =
            (1..=AGAIN).map(|i| format!("SELECT * FROM ({query}) WHERE {i} = {i}"));
        let queries = [text.clone()].into_iter().chain(again);
        let mut actions: Vec<Action> =
            queries.map(|query| self::call("sql", json!({ "query": query }))).collect();
        actions.push(Action::Answer { text: wrong.clone() });
        plans.push(Plan::new("asked-again", Effect::Canary, actions, 1));
    }
    Ok(plans)
}

/// The mutants of each model that a good trajectory has solved.
fn models(good: Good<'_>) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (site, action) in good.actions.iter().enumerate() {
        let Some(made) = action.calls().first().filter(|made| made.tool == "solve")
        else {
            continue;
        };
        let node = good.tree.nodes().nth(site).map(|(_, node)| node);
        let solved = node.and_then(|node| node.step.observations.first());
        let optimum = solved.and_then(|solved| solved.data()["objective"].as_f64());
        let told = optimum.map(|optimum| solver::told(&made.args, optimum));
        for Mutant { class, effect, text } in
            solver_mutants(&made.args).into_iter().chain(told.into_iter().flatten())
        {
            let mut actions = good.actions.to_vec();
            actions[site] = call("solve", json!({ "lp": text }));
            plans.push(Plan::new(class, effect, actions, site));
        }
    }
    plans
}

/// The mutants of the cells of a good trajectory all of whose calls are Python. Whoever runs
/// changed cells answers what the last of them shows.
async fn programs(
    environment: &Environment,
    good: Good<'_>,
    cache: &CallCache,
) -> Result<Vec<Plan>, ActError> {
    let Some((Action::Answer { text: answer }, calls)) = good.actions.split_last() else {
        return Ok(vec![]);
    };
    let code = |action: &'_ Action| match action.calls() {
        [made] if made.tool == "python" => made.args["code"].as_str().map(str::to_owned),
        _ => None,
    };
    let Some(cells) = calls.iter().map(code).collect::<Option<Vec<String>>>() else {
        return Ok(vec![]);
    };
    let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
    let script = python_script(&cells);
    let columns = headers(environment, good.task, cache).await?;
    let mut plans = Vec::new();
    for Mutant { class, effect, text } in python_mutants(&script, &columns, answer) {
        let changed = python_cells(&text);
        let same = cells.iter().zip(&changed).take_while(|(old, new)| old == new);
        let site = same.count();
        let run = |code: &&str| call("python", json!({ "code": code }));
        let mut actions: Vec<Action> = changed.iter().map(run).collect();
        if site >= actions.len() {
            continue;
        }
        let bare = Plan::new(class, effect, actions.clone(), site);
        let tree = play(environment, good.task, &bare, cache).await?;
        let last =
            tree.nodes().last().and_then(|(_, node)| node.step.observations.first());
        let shown = last.and_then(|last| last.data()["stdout"].as_str()).unwrap_or("");
        // Nobody answers with nothing at all.
        let text = if shown.trim().is_empty() { "nothing" } else { shown.trim() };
        actions.push(Action::Answer { text: text.to_owned() });
        plans.push(Plan::new(class, effect, actions, site));
    }
    Ok(plans)
}

/// The columns of the task's tables, wherever its world keeps them; none where it keeps none.
pub(crate) async fn table_columns(
    environment: &Environment,
    task: &Task,
) -> Result<Columns, ActError> {
    let cache = environment.checks();
    if environment.tool("python").is_some() {
        headers(environment, task, cache).await
    } else if environment.tool("describe").is_some() {
        columns(environment, task, cache).await
    } else {
        Ok(Columns::new())
    }
}

/// Prints the columns of each table among a task's files.
const HEADERS: &str = "\
import csv, glob, json, os
print(json.dumps({os.path.basename(path)[:-4]: next(csv.reader(open(path)), [])
                  for path in sorted(glob.glob('/data/*.csv'))}))";

/// The columns of the task's tables, as the interpreter sees them.
async fn headers(
    environment: &Environment,
    task: &Task,
    cache: &CallCache,
) -> Result<Columns, ActError> {
    let (id, tool) = ("call_0".to_owned(), "python".to_owned());
    let call = ToolCall { id, tool, args: json!({ "code": HEADERS }) };
    let mut episode = Episode::new(environment, &task.inputs, Some(cache));
    let printed = episode.call(&call).await?;
    let printed = printed.data()["stdout"].as_str().unwrap_or("").to_owned();
    Ok(serde_json::from_str(&printed).unwrap_or_default())
}

/// The columns of the task's database, as the tool `describe` tells them.
async fn columns(
    environment: &Environment,
    task: &Task,
    cache: &CallCache,
) -> Result<Columns, ActError> {
    let (id, tool) = ("call_0".to_owned(), "describe".to_owned());
    let call = ToolCall { id, tool, args: json!({}) };
    let mut episode = Episode::new(environment, &task.inputs, Some(cache));
    let described = episode.call(&call).await?;
    let name = |value: &Value| value["name"].as_str().unwrap_or("").to_lowercase();
    let tables = described.data()["tables"].as_array();
    let table = |table: &Value| {
        let names = table["columns"].as_array().into_iter().flatten().map(name);
        (name(table), names.collect())
    };
    Ok(tables.into_iter().flatten().map(table).collect())
}

/// A changed copy of a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// What was changed: `dropped-filter`, `alias-renamed`.
    pub class: &'static str,
    /// What the change does.
    pub effect: Effect,
    /// The answer, or the script that leads to it, changed.
    pub text: String,
}

/// What a change does to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It makes it wrong, unless the data cannot tell: a fault that leaves the result alone is
    /// not shown to be one.
    Fault,
    /// Nothing.
    NoOp,
    /// It makes the trajectory degenerate, in a way that must never be rewarded.
    Canary,
}
