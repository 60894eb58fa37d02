//! `plumb tool check`: whether the tools of an environment keep what tools promise.

use plumbline::{Attempt, Breach, Conformance, Effect, conformance};
use serde_json::{Value, json};

use crate::args::ToolCheckArgs;
use crate::catalog;
use crate::failure::{Failure, Kind, Result};
use crate::manifest::{EnvironmentFolder, ToolManifest};
use crate::progress::Progress;
use crate::terminal::printable;
use crate::tool::{inputs, word};

/// Arguments from solutions that are tried, a tool.
const KNOWN_MAX: usize = 8;

pub(crate) async fn check(args: &ToolCheckArgs, json: bool) -> Result<()> {
    let folder = EnvironmentFolder::open(&args.environment)?;
    let inputs = inputs(&folder, args.task.as_deref())?;
    let limits = &folder.manifest.limits;
    let environment = catalog::environment(&folder, limits, json).await?;
    let names: Vec<String> = match args.tools.as_slice() {
        [] => environment.specs().iter().map(|spec| spec.name.clone()).collect(),
        named => named.to_vec(),
    };
    let is_program = |tool: &ToolManifest| {
        matches!(tool, ToolManifest::Process { .. } | ToolManifest::Mcp { .. })
    };
    if !json && folder.manifest.tools.iter().any(is_program) {
        println!("programs  {}", catalog::process::kept_from().await.unwrap_or_default());
    }
    let mut failed = Vec::new();
    let progress = Progress::new("tools tried", names.len() as u64, json);
    for (done, name) in (0..).zip(&names) {
        progress.set(done, |_| name.clone());
        let Some(tool) = environment.tool(name) else {
            let known: Vec<&str> =
                environment.specs().iter().map(|spec| spec.name.as_str()).collect();
            let message =
                format!("there is no tool {name:?}; there are: {}", known.join(", "));
            return Err(Failure::say(Kind::Usage, message));
        };
        let mut known = given(&args.args)?;
        known.extend(from_solutions(&folder, args.task.as_deref(), name)?);
        let found = conformance(&environment, name, &inputs, &known).await;
        if !found.breaches.is_empty() {
            failed.push(name.as_str());
        }
        match json {
            true => print_json(name, tool.effect(), &found),
            false => print(name, tool.effect(), &found, &args.environment),
        }
    }
    progress.finish();
    match failed.as_slice() {
        [] => Ok(()),
        failed => {
            let message = format!(
                "{} of {} tools break a promise: {}",
                failed.len(),
                names.len(),
                failed.join(", ")
            );
            Err(Failure::say(Kind::Finding, message).reported())
        }
    }
}

fn given(texts: &[String]) -> Result<Vec<Value>> {
    let parse = |text: &String| {
        serde_json::from_str(text).map_err(|error| {
            Failure::say(Kind::Usage, format!("the arguments are not JSON: {error}"))
        })
    };
    texts.iter().map(parse).collect()
}

/// What the solutions of the task whose inputs are used ask the tool.
fn from_solutions(
    folder: &EnvironmentFolder,
    task: Option<&str>,
    tool: &str,
) -> Result<Vec<Value>> {
    let tasks = folder.tasks(None)?;
    // Where tasks give their tools nothing, every solution is as good.
    let has_inputs = tasks.iter().any(|task| !task.inputs.is_null());
    let first = tasks.first().map(|task| task.id.0.clone()).unwrap_or_default();
    let task = task.map_or(first, str::to_owned);
    let mut known = Vec::new();
    for (id, gold) in folder.gold()? {
        if has_inputs && id.0 != task {
            continue;
        }
        let solution = gold.solution().map_err(|message| {
            Failure::say(Kind::Input, format!("gold of task {id}: {message}"))
        })?;
        let calls = solution.into_iter().filter(|(name, _)| *name == tool);
        known.extend(calls.map(|(_, args)| args));
        if known.len() >= KNOWN_MAX {
            break;
        }
    }
    known.truncate(KNOWN_MAX);
    Ok(known)
}

fn print(name: &str, effect: Effect, found: &Conformance, environment: &str) {
    let Conformance { calls, answered, slowest, kept, untried, breaches } = found;
    let ms = slowest.as_millis();
    println!(
        "{name}  {}; {calls} calls, {answered} answered, the slowest in {ms} ms",
        word(effect)
    );
    let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
    if !kept.is_empty() {
        println!("  kept      {}", kept.join(", "));
    }
    for what in untried {
        println!("  not tried {}", printable(what));
    }
    if effect == Effect::External {
        println!("  not asked determinism and all that rests on it: it is external");
    }
    for Breach { promise, message, calls, reproduces } in breaches {
        println!("  BROKEN    {promise}: {}", printable(message));
        if !reproduces {
            println!(
                "            by what a running one went through before: from a fresh start"
            );
            println!("            these calls come to the same");
        }
        for attempt in calls {
            let shown = match reproduces {
                true => command(name, attempt, effect, environment),
                false => serde_json::to_string(attempt).expect("an attempt serialises"),
            };
            println!("            {shown}");
        }
    }
}

/// The command that makes an attempt again: a shell takes it as it stands.
fn command(name: &str, attempt: &Attempt, effect: Effect, environment: &str) -> String {
    let Attempt { elsewhere, before, aside, args, is_later } = attempt;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let wait = if *is_later { "sleep 2; " } else { "" };
    let mut command =
        format!("{wait}plumb tool call {name} {}", quoted(&args.to_string()));
    for (flag, calls) in [("elsewhere", elsewhere), ("before", before), ("aside", aside)]
    {
        for args in calls {
            command += &format!(" --{flag} {}", quoted(&args.to_string()));
        }
    }
    let state = if effect == Effect::Stateful { " --state" } else { "" };
    format!("{command}{state} --environment {}", quoted(environment))
}

fn print_json(name: &str, effect: Effect, found: &Conformance) {
    let breaches = found.breaches.iter().map(|breach| {
        json!({ "promise": breach.promise.to_string(), "message": breach.message,
            "calls": breach.calls, "reproduces": breach.reproduces })
    });
    let kept: Vec<String> = found.kept.iter().map(ToString::to_string).collect();
    let slowest = u64::try_from(found.slowest.as_millis()).unwrap_or(u64::MAX);
    println!(
        "{}",
        json!({ "tool": name, "effect": word(effect), "calls": found.calls,
            "answered": found.answered, "slowest_ms": slowest, "kept": kept,
            "untried": found.untried,
            "breaches": breaches.collect::<Vec<_>>() })
    );
}
