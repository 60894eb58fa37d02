//! `plumb verifier`: looks at an environment's verifiers from outside a run.

use std::sync::Arc;

use serde_json::json;

use crate::args::VerifierCommand;
use crate::catalog;
use crate::failure::Result;
use crate::manifest::EnvironmentFolder;

pub(crate) async fn verifier(command: &VerifierCommand, json: bool) -> Result<()> {
    match command {
        VerifierCommand::New(args) => crate::new::verifier(args, json),
        VerifierCommand::List { environment } => list(environment, json).await,
        VerifierCommand::Check(args) => crate::verifier_check::check(args, json).await,
    }
}

async fn list(environment: &str, json: bool) -> Result<()> {
    let folder = EnvironmentFolder::open(environment)?;
    let limits = &folder.manifest.limits;
    let world = Arc::new(catalog::environment(&folder, limits, json).await?);
    for verifier in catalog::verifiers(&folder, &[], &world).await? {
        let (id, sight) = (verifier.id(), verifier.sight());
        match json {
            true => println!("{}", json!({ "verifier": id, "sees": sight })),
            false => println!("{id:<36} sees {sight}"),
        }
    }
    Ok(())
}
