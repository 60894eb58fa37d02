//! `plumb score mutants`: plants known faults, and changes that are none, into good
//! trajectories, and counts what an environment's verifiers make of them.

use std::path::PathBuf;
use std::sync::Arc;

use plumbline::mutants::{
    Effect, MeasureError, MutationScore, Row, Subject, mutation_score,
};
use plumbline::{Gold, Task, View};
use serde_json::{Value, json};

use crate::catalog;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::label::view;
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
pub(crate) struct MutantsArgs {
    /// An environment's name or path.
    #[arg(long, value_name = "ENV")]
    environment: String,
    /// Tasks to plant into, instead of the environment's own.
    #[arg(long, value_name = "FILE")]
    tasks: Option<PathBuf>,
    /// Plant into the first N tasks only.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    /// A verifier; repeat for several. Default: those the environment names.
    #[arg(long = "verifier", value_name = "V")]
    verifiers: Vec<String>,
    /// How verdicts become one label a step.
    #[arg(long, default_value = "strict-local", value_name = "NAME")]
    view: String,
}

pub(crate) async fn mutants(args: &MutantsArgs, json: bool) -> Result<()> {
    let view: View = view(&args.view)?;
    let folder = EnvironmentFolder::open(&args.environment)?;
    let tasks = folder.tasks(args.tasks.as_deref())?;
    let gold = folder.gold()?;
    let limits = &folder.manifest.limits;
    let environment = Arc::new(catalog::environment(&folder, limits, json).await?);
    let verifiers = catalog::verifiers(&folder, &args.verifiers, &environment).await?;
    let pairs = tasks.iter().filter_map(|task| Some((task, gold.get(&task.id)?)));
    let pairs: Vec<(&Task, &Gold)> =
        pairs.take(args.limit.unwrap_or(usize::MAX)).collect();
    let progress = Progress::new("tasks planted", pairs.len() as u64, json);
    let subject = Subject { environment: &environment, verifiers: &verifiers, view };
    let found = mutation_score(&subject, &pairs, |done| {
        progress.set(done as u64, |_| String::new())
    });
    let score = found.await.map_err(|error| match error {
        MeasureError::Verifier(error) => error.into(),
        MeasureError::Grade(_) => Failure::new(Kind::Input, error),
        _ => Failure::new(Kind::External, error),
    })?;
    progress.finish();
    if score.tasks == 0 {
        let message = format!(
            "{}: no task has a good trajectory to plant into: {} have one that the verifiers \
             call bad, the others have no gold answer",
            args.environment, score.left_out
        );
        return Err(Failure::say(Kind::Input, message));
    }
    if json {
        println!("{}", serde_json::to_string(&to_json(&score)).blame(Kind::External)?);
    } else {
        print(&score);
    }
    Ok(())
}

fn to_json(score: &MutationScore) -> Value {
    let rows: Vec<Value> = score
        .rows
        .iter()
        .map(|((effect, class), row)| json!({ "effect": effect, "class": class, "row": row }))
        .collect();
    json!({ "tasks": score.tasks, "left_out": score.left_out, "rows": rows })
}

fn print(score: &MutationScore) {
    let MutationScore { rows, tasks, left_out } = score;
    println!("{tasks} tasks; {left_out} left out, whose good trajectory is called bad");
    for (effect, title, hit) in [
        (Effect::Fault, "fault", "killed"),
        (Effect::NoOp, "no-op", "false kills"),
        (Effect::Canary, "canary", "rewarded"),
    ] {
        let of = rows.iter().filter(|((of, _), _)| *of == effect);
        let of: Vec<(&str, Row)> = of.map(|((_, class), row)| (*class, *row)).collect();
        if of.is_empty() {
            continue;
        }
        println!(
            "\n{title:<26} {:>8} {hit:>11} {:>7} {:>11}",
            "planted", "rate", "equivalent"
        );
        for (class, row) in of.into_iter().chain([("all", score.total(effect))]) {
            let rate =
                row.rate().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.3}"));
            println!(
                "{class:<26} {:>8} {:>11} {rate:>7} {:>11}",
                row.planted, row.hits, row.equivalent
            );
        }
    }
}
