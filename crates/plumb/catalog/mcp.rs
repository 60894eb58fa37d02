//! MCP servers: reached by what the manifest says of them.

use std::path::Path;
use std::sync::Arc;

use plumbline::{Environment, Episode, Fault, Limits, Observation, Tool, ToolCall};
use plumbline_mcp::{Address, McpError, Pipes, Server, ServerSettings};

use serde_json::Value;
use tokio::sync::mpsc;

use super::process;
use crate::failure::{Failure, Kind, Result};
use crate::manifest::ToolManifest;

/// Every tool of an MCP server.
pub(super) async fn tools(
    tool: &ToolManifest,
    dir: &Path,
    limits: &Limits,
) -> Result<Vec<Arc<dyn Tool>>> {
    let ToolManifest::Mcp { command, url, effect, effects, only, prefix, .. } = tool
    else {
        unreachable!("{tool:?} is no server")
    };
    let address = match url {
        Some(url) if command.is_empty() => Address::Url(url.clone()),
        None if !command.is_empty() => {
            let program = process::program(tool, dir, limits).await?;
            let (name, digest) = (program.shown(), program.digest());
            let start = move || {
                let (reader, writer, running) = program.start()?.into_parts();
                let stderr = Box::new(move || running.stderr());
                Ok(Pipes { reader: Box::new(reader), writer: Box::new(writer), stderr })
            };
            Address::Program { name, digest, start: Box::new(start) }
        }
        _ => {
            let message = "a tool of type mcp has either a command or a url";
            return Err(Failure::say(Kind::Input, message));
        }
    };
    let settings = ServerSettings {
        address,
        effect: *effect,
        effects: effects.clone(),
        only: only.clone(),
        prefix: prefix.clone(),
    };
    let opened = Server::open(settings, limits).await;
    opened.map_err(|error| {
        let kind = match &error {
            McpError::Unreachable { .. } => Kind::External,
            _ => Kind::Input,
        };
        Failure::new(kind, error)
    })
}

/// Calls of a client that may wait for those before them.
const CALLS_WAITING_MAX: usize = 64;

/// Offers an environment's tools to a client. Its calls are one episode, made one by one.
pub(crate) async fn serve(environment: &Environment, inputs: &Value) -> Result<()> {
    let (sender, mut calls) = mpsc::channel::<plumbline_mcp::Call>(CALLS_WAITING_MAX);
    let mut episode = Episode::new(environment, inputs, None);
    let answer = async {
        while let Some(plumbline_mcp::Call { tool, args, answer }) = calls.recv().await {
            let call = ToolCall { id: "call_0".into(), tool, args };
            let observation = episode.call(&call).await.unwrap_or_else(|error| {
                Observation::fault(Fault::External, error.to_string())
            });
            // The client may have gone meanwhile.
            let _ = answer.send(observation);
        }
    };
    let (served, ()) =
        tokio::join!(plumbline_mcp::serve(environment.specs(), sender), answer);
    served.map_err(|message| Failure::say(Kind::External, format!("MCP: {message}")))
}
