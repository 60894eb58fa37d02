//! External tools of a recorded run, which no replay calls: opened when one is called after all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use plumbline::{
    Effect, Environment, Limits, Observation, Scratch, Tool, ToolError, ToolSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{mcp, process};
use crate::failure::Result;
use crate::manifest::ToolManifest;

/// What the record says of an external tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RecordedTool {
    /// Its place among the environment's tools.
    at: usize,
    spec: ToolSpec,
}

/// What is to be recorded of an environment, so that its external tools need not be opened
/// again.
pub(crate) fn external_tools(environment: &Environment) -> Vec<RecordedTool> {
    let specs = environment.specs().iter().cloned().enumerate();
    specs
        .filter(|(_, spec)| environment.is_external(&spec.name))
        .map(|(at, spec)| RecordedTool { at, spec })
        .collect()
}

/// Puts recorded tools at their places, but those that are there.
pub(super) fn insert(
    tools: &mut Vec<Arc<dyn Tool>>,
    recorded: &[RecordedTool],
    manifests: Vec<ToolManifest>,
    dir: &Path,
    limits: &Limits,
) {
    let (dir, limits) = (dir.to_owned(), limits.clone());
    let opened = Arc::new(Opened { manifests, dir, limits, tools: OnceCell::new() });
    for RecordedTool { at, spec } in recorded {
        if tools.iter().all(|tool| tool.spec().name != spec.name) {
            let tool = External { spec: spec.clone(), opened: Arc::clone(&opened) };
            tools.insert((*at).min(tools.len()), Arc::new(tool));
        }
    }
}

struct External {
    spec: ToolSpec,
    opened: Arc<Opened>,
}

/// What the tools are opened from, and once one was called, all of them.
struct Opened {
    manifests: Vec<ToolManifest>,
    dir: PathBuf,
    limits: Limits,
    tools: OnceCell<Vec<Arc<dyn Tool>>>,
}

impl Opened {
    async fn open(&self) -> Result<Vec<Arc<dyn Tool>>> {
        let mut tools = Vec::new();
        for tool in &self.manifests {
            match tool {
                ToolManifest::Mcp { .. } => {
                    tools.extend(mcp::tools(tool, &self.dir, &self.limits).await?);
                }
                _ => tools.push(process::tool(tool, &self.dir, &self.limits).await?),
            }
        }
        Ok(tools)
    }
}

#[async_trait]
impl Tool for External {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::External
    }

    fn forget(&self) {
        self.opened.tools.get().into_iter().flatten().for_each(|tool| tool.forget());
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> std::result::Result<Observation, ToolError> {
        let failed =
            |message| ToolError::Engine { tool: self.spec.name.clone(), message };
        let opened = self.opened.tools.get_or_try_init(|| self.opened.open()).await;
        let tools = opened.map_err(|failure| failed(failure.message()))?;
        let Some(tool) = tools.iter().find(|tool| *tool.spec() == self.spec) else {
            let message = "it is not what it was when the run was made";
            return Err(failed(message.to_owned()));
        };
        tool.call(args, scratch, limits).await
    }
}
