//! Every policy, tool and verifier there is: one `match` each. The only file with
//! `#[cfg(feature = …)]`: a name that is not compiled in still stands here, and answers with
//! the command that would build it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plumbline::policies::{Baseline, Scripted};
use plumbline::verifiers::{
    AnswerCorrect, AnswerSupport, Repeat, RetrievalGain, RetrievalGainGold, WellFormed,
};
use plumbline::{Environment, EnvironmentParts, Limits, Policy, Tool, Verifier};

use crate::doctor::Component;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::{CorpusManifest, EnvironmentFolder, ToolManifest, read_toml};
use crate::settings::{Settings, nearest};

/// The verifiers, by the name users type.
const VERIFIERS: [&str; 6] = [
    "well-formed",
    "repeat",
    "retrieval-gain",
    "retrieval-gain-gold",
    "answer-support",
    "answer-correct",
];

/// A verifier by name.
pub(crate) fn verifier(name: &str) -> Result<Box<dyn Verifier>> {
    Ok(match name {
        "well-formed" => Box::new(WellFormed::new()),
        "repeat" => Box::new(Repeat::new()),
        "retrieval-gain" => Box::new(RetrievalGain::new()),
        "retrieval-gain-gold" => Box::new(RetrievalGainGold::new()),
        "answer-support" => Box::new(AnswerSupport::new()),
        "answer-correct" => Box::new(AnswerCorrect::new()),
        _ => {
            let near = nearest(name, VERIFIERS.into_iter());
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let known = VERIFIERS.join(", ");
            let message = format!("no verifier is called {name:?}{hint} There are: {known}");
            return Err(Failure::say(Kind::Usage, message));
        }
    })
}

/// A policy by the name users type: `llama:…`, `openai:…`, `scripted:FILE`, `baseline`.
pub(crate) async fn policy(settings: &Settings, json: bool) -> Result<Arc<dyn Policy>> {
    let name = settings.policy.as_str();
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "baseline" if rest.is_empty() => Ok(Arc::new(Baseline::new())),
        "scripted" => {
            let kind = if Path::new(rest).exists() { Kind::Input } else { Kind::Usage };
            Ok(Arc::new(Scripted::from_file(Path::new(rest)).or(kind)?))
        }
        "llama" => llama(rest, settings, json).await,
        "openai" => openai(rest, settings),
        _ => {
            let known = ["llama", "openai", "scripted", "baseline"];
            let near = nearest(kind, known.into_iter());
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let message = format!(
                "no policy is called {name:?}{hint} There are: llama:MODEL, openai:MODEL@URL, \
                 scripted:FILE, baseline"
            );
            Err(Failure::say(Kind::Usage, message))
        }
    }
}

#[cfg(feature = "openai-placeholder")]
fn never() {}

#[cfg(not(feature = "http"))]
fn openai(_rest: &str, _settings: &Settings) -> Result<Arc<dyn Policy>> {
    Err(not_built("the policy openai", "http"))
}

#[cfg(not(feature = "llama"))]
async fn llama(_rest: &str, _settings: &Settings, _json: bool) -> Result<Arc<dyn Policy>> {
    Err(not_built("the policy llama", "llama"))
}

/// An environment with its tools, their data indexed.
pub(crate) async fn environment(
    folder: &EnvironmentFolder,
    limits: &Limits,
    json: bool,
) -> Result<Environment> {
    let manifest = &folder.manifest;
    let mut tools: Vec<Arc<dyn Tool>> = Vec::with_capacity(manifest.tools.len());
    for tool in &manifest.tools {
        tools.push(self::tool(tool, &folder.dir, json).await?);
    }
    Ok(Environment::new(EnvironmentParts {
        name: manifest.name.clone(),
        prompt: folder.prompt.clone(),
        protocol: manifest.protocol,
        thought_chars_max: manifest.thought_chars_max,
        limits: limits.clone(),
        tools,
    })?)
}
