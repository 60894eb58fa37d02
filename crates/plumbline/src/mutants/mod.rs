//! Known faults, and changes that are none, planted into good steps: what a verifier's
//! kill rate and false-kill rate are measured with. One file a world.

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
    let mut plans = Vec::new();
    if has("search") || has("open") {
        plans.extend(retrieval_mutants(good));
    }
    if has("sql") {
        let columns = columns(environment, good.task, cache).await?;
        plans.extend(answers(good, |sql| sql_mutants(sql, &columns)));
    }
    if has("solve") {
        plans.extend(models(good));
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

/// The mutants of each model that a good trajectory has solved.
fn models(good: Good<'_>) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (site, action) in good.actions.iter().enumerate() {
        let Some(made) = action.calls().first().filter(|made| made.tool == "solve")
        else {
            continue;
        };
        for Mutant { class, effect, text } in solver_mutants(&made.args) {
            let mut actions = good.actions.to_vec();
            actions[site] = call("solve", json!({ "lp": text }));
            plans.push(Plan::new(class, effect, actions, site));
        }
    }
    plans
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
