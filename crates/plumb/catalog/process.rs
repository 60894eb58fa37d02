//! Programs of other people's: started by what the manifest says of them.

use std::path::Path;
use std::sync::Arc;

use plumbline::{Limits, Tool, Verifier};
use plumbline_process::{
    Bounds, Confinement, ProcessError, ProcessTool, ProcessVerifier, Program,
    ProgramSettings,
};
use tokio::sync::OnceCell;

use crate::failure::{Failure, Kind, Result};
use crate::manifest::{GuestManifest, ToolManifest};

/// What this system keeps other people's programs from, tried once.
pub(super) async fn confinement() -> Confinement {
    static PROBED: OnceCell<Confinement> = OnceCell::const_new();
    *PROBED.get_or_init(Confinement::probe).await
}

/// The same in words, for `plumb doctor`.
pub(crate) async fn kept_from() -> std::result::Result<String, String> {
    Ok(confinement().await.to_string())
}

pub(super) async fn tool(
    tool: &ToolManifest,
    dir: &Path,
    limits: &Limits,
) -> Result<Arc<dyn Tool>> {
    let ToolManifest::Process { effect, name, .. } = tool else {
        unreachable!("{tool:?} is no program")
    };
    let program = program(tool, dir, limits).await?;
    let opened = ProcessTool::open(program, *effect, name.clone(), limits);
    Ok(Arc::new(opened.await.map_err(unopened)?))
}

/// A program as the manifest has it. What may reach the world outside, nobody can have say
/// the same again.
pub(super) async fn program(
    tool: &ToolManifest,
    dir: &Path,
    limits: &Limits,
) -> Result<Program> {
    let (ToolManifest::Process { command, files, variables, network, .. }
    | ToolManifest::Mcp { command, files, variables, network, .. }) = tool
    else {
        unreachable!("{tool:?} is no program")
    };
    if !tool.is_external() && (*network || !variables.is_empty()) {
        let message = format!(
            "command {command:?}: network and variables are for tools whose effect is \
             external; others must answer the same again"
        );
        return Err(Failure::say(Kind::Input, message));
    }
    let settings = ProgramSettings {
        command: command.clone(),
        dir: dir.to_owned(),
        files: files.clone(),
        variables: variables.clone(),
        bounds: bounds(*network, limits),
    };
    Program::read(settings, confinement().await).map_err(unopened)
}

/// A verifier must say the same again, and so has neither network nor variables.
pub(super) async fn verifier(
    guest: &GuestManifest,
    dir: &Path,
    limits: &Limits,
) -> Result<Box<dyn Verifier>> {
    let GuestManifest::Process { command, files, name } = guest else {
        unreachable!("{guest:?} is no program")
    };
    let settings = ProgramSettings {
        command: command.clone(),
        dir: dir.to_owned(),
        files: files.clone(),
        variables: vec![],
        bounds: bounds(false, limits),
    };
    let program = Program::read(settings, confinement().await).map_err(unopened)?;
    let opened = ProcessVerifier::open(program, name.as_deref(), limits);
    Ok(Box::new(opened.await.map_err(unopened)?))
}

fn bounds(network: bool, limits: &Limits) -> Bounds {
    let (memory_bytes_max, file_bytes_max) =
        (limits.memory_bytes_max, limits.files_bytes_max);
    Bounds { network, memory_bytes_max, file_bytes_max }
}

fn unopened(error: ProcessError) -> Failure {
    let kind = match &error {
        ProcessError::Missing { .. } => Kind::Missing,
        ProcessError::Host { .. } => Kind::External,
        _ => Kind::Input,
    };
    Failure::new(kind, error)
}
