//! `plumb mcp`: an environment's tools, for any MCP client.

use crate::args::McpArgs;
use crate::catalog;
use crate::failure::Result;
use crate::manifest::EnvironmentFolder;
use crate::tool::inputs;

/// Serves until the client leaves. One client is one episode: what its calls leave behind is
/// there for its next.
pub(crate) async fn mcp(args: &McpArgs, json: bool) -> Result<()> {
    let folder = EnvironmentFolder::open(&args.environment)?;
    let inputs = inputs(&folder, args.task.as_deref())?;
    let limits = &folder.manifest.limits;
    let environment = catalog::environment(&folder, limits, json).await?;
    catalog::mcp::serve(&environment, &inputs).await
}
