//! The manifest of an environment that is made.

use std::path::Path;

use plumbline::protocol::Protocol;
use serde::Serialize;

use super::files::{write_file, write_toml};
use crate::failure::Result;

/// Characters of reasoning that a constrained message may begin with.
pub(super) const THOUGHT_CHARS_MAX: u32 = 200;

/// What `environment.toml` says.
#[derive(Serialize)]
pub(super) struct EnvironmentToml<'a> {
    pub(super) name: &'a str,
    pub(super) description: String,
    pub(super) protocol: Protocol,
    pub(super) thought_chars_max: u32,
    pub(super) verifiers: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<LimitsToml>,
    pub(super) tools: Vec<ToolToml>,
}

/// Limits that differ from the defaults.
#[derive(Serialize)]
pub(super) struct LimitsToml {
    pub(super) tokens_max: u32,
    pub(super) step_tokens_max: u32,
}

/// A tool, and where its data lie below the environment's folder.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToolToml {
    Search {
        corpus: &'static str,
        top_k: u32,
    },
    Open {
        corpus: &'static str,
    },
    Sql {
        databases: &'static str,
    },
    Describe {
        databases: &'static str,
    },
    Python {
        #[serde(skip_serializing_if = "Option::is_none")]
        files: Option<&'static str>,
        /// Modules imported before the first cell, where not the usual ones are.
        #[serde(skip_serializing_if = "Option::is_none")]
        preload: Option<[&'static str; 0]>,
    },
    Solve,
}

impl EnvironmentToml<'_> {
    /// Writes the manifest and the prompt beside it.
    pub(super) fn write(&self, dir: &Path, prompt: &str) -> Result<()> {
        write_toml(&dir.join("environment.toml"), self)?;
        write_file(&dir.join("prompt.md"), prompt)
    }
}
