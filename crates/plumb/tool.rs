//! `plumb tool`: looks at an environment's tools from outside an episode.

use plumbline::{Episode, ToolCall};

use crate::args::ToolCommand;
use crate::catalog;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::EnvironmentFolder;

pub(crate) async fn tool(command: &ToolCommand, json: bool) -> Result<()> {
    match command {
        ToolCommand::List { environment } => list(environment, json).await,
        ToolCommand::Call { environment, tool, args } => {
            call(environment, tool, args, json).await
        }
    }
}

async fn list(name: &str, json: bool) -> Result<()> {
    let folder = EnvironmentFolder::open(name)?;
    let environment =
        catalog::environment(&folder, &folder.manifest.limits, json).await?;
    for spec in environment.specs() {
        if json {
            println!("{}", serde_json::to_string(spec).blame(Kind::External)?);
        } else {
            println!("{}  {}", spec.name, spec.description);
            println!("  arguments {}", spec.parameters);
            println!("  data      {}", spec.pinned.short());
        }
    }
    Ok(())
}

async fn call(name: &str, tool: &str, args: &str, json: bool) -> Result<()> {
    let args = serde_json::from_str(args).map_err(|error| {
        Failure::say(Kind::Usage, format!("the arguments are not JSON: {error}"))
    })?;
    let folder = EnvironmentFolder::open(name)?;
    let environment =
        catalog::environment(&folder, &folder.manifest.limits, json).await?;
    let call = ToolCall { id: "call_0".into(), tool: tool.to_owned(), args };
    let observation =
        Episode::new(&environment, None).call(&call).await.blame(Kind::External)?;
    if json {
        println!("{}", serde_json::to_string(&observation).blame(Kind::External)?);
    } else {
        println!("{}", observation.text());
    }
    match observation.as_fault() {
        None => Ok(()),
        Some(fault) => Err(Failure::say(
            Kind::Finding,
            format!("the call came to a fault: {fault:?}"),
        )),
    }
}
