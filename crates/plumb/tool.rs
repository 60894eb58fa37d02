//! `plumb tool`: looks at an environment's tools from outside an episode.

use plumbline::{Effect, Environment, Episode, ToolCall};
use serde_json::Value;

use crate::args::ToolCommand;
use crate::catalog;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::{self, EnvironmentFolder, ToolManifest};
use crate::terminal::printable;

pub(crate) async fn tool(command: &ToolCommand, json: bool) -> Result<()> {
    match command {
        ToolCommand::Check(args) => crate::tool_check::check(args, json).await,
        ToolCommand::New(args) => crate::new::tool(args, json),
        ToolCommand::List { environment } => list(environment, json).await,
        ToolCommand::Call { tool, args, environment, task, earlier, state } => {
            let folder = match environment {
                Some(name) => EnvironmentFolder::open(name)?,
                None => having(tool)?,
            };
            let inputs = inputs(&folder, task.as_deref())?;
            let environment = open(&folder, json).await?;
            let mut other = Episode::new(&environment, &inputs, None);
            make(&mut other, tool, &earlier.elsewhere).await?;
            let mut episode = Episode::new(&environment, &inputs, None);
            make(&mut episode, tool, &earlier.before).await?;
            make(&mut episode.clone(), tool, &earlier.aside).await?;
            let answered = call(&mut episode, tool, args, json).await;
            if *state {
                eprintln!("state {}", episode.scratch().digest());
            }
            answered
        }
    }
}

async fn open(folder: &EnvironmentFolder, json: bool) -> Result<Environment> {
    catalog::environment(folder, &folder.manifest.limits, json).await
}

async fn list(name: &str, json: bool) -> Result<()> {
    let environment = open(&EnvironmentFolder::open(name)?, json).await?;
    for spec in environment.specs() {
        if json {
            println!("{}", serde_json::to_string(spec).blame(Kind::External)?);
        } else {
            println!("{}  {}", spec.name, printable(&spec.description));
            println!("  arguments {}", printable(&spec.parameters.to_string()));
            println!("  data      {}", spec.pinned.short());
            let tool = environment.tool(&spec.name).expect("it is one of its tools");
            println!("  effect    {}", word(tool.effect()));
        }
    }
    Ok(())
}

/// An effect, as a manifest has it.
pub(crate) fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Pure => "pure",
        Effect::Stateful => "stateful",
        Effect::External => "external",
    }
}

/// The first environment under `environments/` that has a tool.
fn having(tool: &str) -> Result<EnvironmentFolder> {
    let folders = manifest::list()?;
    let names = || folders.iter().flat_map(|folder| &folder.manifest.tools);
    let known: Vec<&str> = names().filter_map(ToolManifest::name).collect();
    if !known.contains(&tool) {
        let near = crate::settings::nearest(tool, known.into_iter());
        let hint =
            near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        let message = format!(
            "no environment under environments/ has a tool called {tool:?}{hint} \
             name another with --environment"
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    let has = |folder: &EnvironmentFolder| {
        folder.manifest.tools.iter().any(|other| other.name() == Some(tool))
    };
    Ok(folders.into_iter().find(has).expect("one of them has it"))
}

/// What a task gives the tools: the one named, or the environment's first.
pub(crate) fn inputs(folder: &EnvironmentFolder, task: Option<&str>) -> Result<Value> {
    let mut tasks = folder.tasks(None)?.into_iter();
    let Some(id) = task else {
        return Ok(tasks.next().map_or(Value::Null, |task| task.inputs));
    };
    let found = tasks.find(|task| task.id.0 == id);
    found.map(|task| task.inputs).ok_or_else(|| {
        let name = &folder.manifest.name;
        Failure::say(Kind::Usage, format!("{name} has no task {id:?}"))
    })
}

/// Makes calls whose answers nobody asked for.
async fn make(episode: &mut Episode<'_>, tool: &str, calls: &[String]) -> Result<()> {
    for args in calls {
        episode.call(&parse(tool, args)?).await.blame(Kind::External)?;
    }
    Ok(())
}

fn parse(tool: &str, args: &str) -> Result<ToolCall> {
    let args = serde_json::from_str(args).map_err(|error| {
        Failure::say(Kind::Usage, format!("the arguments are not JSON: {error}"))
    })?;
    Ok(ToolCall { id: "call_0".into(), tool: tool.to_owned(), args })
}

async fn call(
    episode: &mut Episode<'_>,
    tool: &str,
    args: &str,
    json: bool,
) -> Result<()> {
    let observation = episode.call(&parse(tool, args)?).await.blame(Kind::External)?;
    if json {
        println!("{}", serde_json::to_string(&observation).blame(Kind::External)?);
    } else {
        println!("{}", printable(observation.text()));
        if !observation.data().is_null() {
            println!("{}", printable(&observation.data().to_string()));
        }
    }
    match observation.as_fault() {
        None => Ok(()),
        Some(fault) => Err(Failure::say(
            Kind::Finding,
            format!("the call came to a fault: {fault:?}"),
        )),
    }
}
