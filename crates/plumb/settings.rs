//! The settings of a run: from the manifest, then a configuration file, then flags.

use std::path::PathBuf;

use plumbline::{Limits, Sampling, Shape};
use serde::{Deserialize, Serialize};

use crate::args::RunArgs;
use crate::failure::{Failure, Kind, Result};
use crate::manifest::{Manifest, read_toml};

/// Every setting of a run, resolved. Stored with the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    pub(crate) policy: String,
    pub(crate) tasks: Option<PathBuf>,
    pub(crate) limit: Option<u64>,
    pub(crate) samples: u32,
    /// Children by depth, where trees are grown; the first ones are the samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tree: Option<Vec<u32>>,
    pub(crate) seed: u64,
    pub(crate) concurrency: u32,
    pub(crate) sampling: Sampling,
    pub(crate) constrain: bool,
    pub(crate) retry_on_error: u32,
    pub(crate) fail_on_error: Option<f64>,
    pub(crate) limits: Limits,
}

/// What a policy is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicyChoice<'a> {
    /// `llama:…`, `openai:…`, `scripted:FILE` or `baseline`.
    pub(crate) name: &'a str,
    pub(crate) sampling: Sampling,
    /// Whether a local model is held to the protocol's grammar.
    pub(crate) constrain: bool,
    /// Prompts that may wait for it at once.
    pub(crate) concurrency: u32,
    /// Messages asked for at once from one prompt.
    pub(crate) samples: u32,
    /// Whether a local model may take up what it holds of earlier prompts.
    pub(crate) reuse: bool,
}

/// A `--config` file: what flags can say, under the same names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    policy: Option<String>,
    tasks: Option<PathBuf>,
    limit: Option<u64>,
    samples: Option<u32>,
    seed: Option<u64>,
    concurrency: Option<u32>,
    steps_max: Option<u32>,
    tokens_max: Option<u32>,
    calls_max: Option<u32>,
    time_max: Option<u64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    unconstrained: Option<bool>,
    retry_on_error: Option<u32>,
    fail_on_error: Option<f64>,
}

impl Settings {
    /// Resolves the settings of a run and refuses values that mean nothing.
    pub(crate) fn resolve(args: &RunArgs, manifest: &Manifest) -> Result<Self> {
        let file: ConfigFile = match &args.config {
            Some(path) => read_toml(path)?,
            None => ConfigFile::default(),
        };
        let mut limits = manifest.limits.clone();
        let pick = |flag: Option<u32>, file: Option<u32>, default| {
            flag.or(file).unwrap_or(default)
        };
        limits.steps_max = pick(args.steps_max, file.steps_max, limits.steps_max);
        limits.tokens_max = pick(args.tokens_max, file.tokens_max, limits.tokens_max);
        limits.calls_max = pick(args.calls_max, file.calls_max, limits.calls_max);
        if let Some(time_s) = args.time_max.or(file.time_max) {
            limits.episode_ms_max = time_s.saturating_mul(1000);
        }
        let policy = args.policy.clone().or(file.policy).ok_or_else(|| {
            usage("--policy is needed: llama:default, openai:MODEL@URL, scripted:FILE, baseline")
        })?;
        let settings = Self {
            policy,
            tasks: args.tasks.clone().or(file.tasks),
            limit: args.limit.or(file.limit),
            samples: match args.tree.as_deref() {
                Some(widths) => widths.first().copied().unwrap_or(0),
                None => pick(args.samples, file.samples, 1),
            },
            tree: args.tree.clone(),
            seed: args.seed.or(file.seed).unwrap_or(0),
            concurrency: pick(args.concurrency, file.concurrency, 8),
            sampling: Sampling {
                temperature: args.temperature.or(file.temperature).unwrap_or(0.7),
                top_p: args.top_p.or(file.top_p).unwrap_or(0.95),
                min_p: args.min_p.or(file.min_p).unwrap_or(0.05),
            },
            constrain: !(args.unconstrained || file.unconstrained.unwrap_or(false)),
            retry_on_error: pick(args.retry_on_error, file.retry_on_error, 0),
            fail_on_error: args.fail_on_error.or(file.fail_on_error),
            limits,
        };
        settings.check()?;
        Ok(settings)
    }

    /// What the run's policy is made from.
    pub(crate) fn policy(&self) -> PolicyChoice<'_> {
        PolicyChoice {
            name: &self.policy,
            sampling: self.sampling,
            constrain: self.constrain,
            concurrency: self.concurrency,
            samples: self.tree.iter().flatten().copied().max().unwrap_or(self.samples),
            reuse: true,
        }
    }

    /// What is grown for each task.
    pub(crate) fn shape(&self) -> Shape {
        match &self.tree {
            Some(widths) => Shape::tree(widths),
            None => Shape::samples(self.samples),
        }
    }

    /// The most trajectories of a task.
    fn trajectories(&self) -> u32 {
        let widths = self.tree.as_deref().unwrap_or(std::slice::from_ref(&self.samples));
        widths.iter().fold(1, |all: u32, width| all.saturating_mul(*width))
    }

    fn check(&self) -> Result<()> {
        let Sampling { temperature, top_p, min_p } = self.sampling;
        let refusals = [
            (
                !(1..=4096).contains(&self.trajectories()) && self.tree.is_some(),
                "--tree must make 1 to 4096 trajectories",
            ),
            (!(1..=1024).contains(&self.samples), "--samples must be in 1..=1024"),
            (
                self.concurrency == 0 || self.concurrency > 4096,
                "--concurrency must be in 1..=4096",
            ),
            (self.limit == Some(0), "--limit must be at least 1"),
            (self.limits.steps_max == 0, "--steps-max must be at least 1"),
            (self.limits.tokens_max == 0, "--tokens-max must be at least 1"),
            (
                self.limits.step_tokens_max == 0 || self.limits.malformed_max == 0,
                "the manifest's step_tokens_max and malformed_max must be at least 1",
            ),
            (
                self.limits.message_bytes_max == 0
                    || self.limits.observation_bytes_max == 0,
                "the manifest's message_bytes_max and observation_bytes_max must be at least 1",
            ),
            (
                self.limits.call_ms_max == 0 || self.limits.episode_ms_max == 0,
                "call_ms_max, episode_ms_max and --time-max must be at least 1",
            ),
            (!(0.0..=100.0).contains(&temperature), "--temperature must be in 0..=100"),
            (!(top_p > 0.0 && top_p <= 1.0), "--top-p must be above 0 and at most 1"),
            (!(0.0..1.0).contains(&min_p), "--min-p must be at least 0 and below 1"),
            (
                self.fail_on_error.is_some_and(|f| f.is_nan() || f < 0.0),
                "--fail-on-error must be at least 0",
            ),
        ];
        match refusals.iter().find(|(refused, _)| *refused) {
            Some((_, message)) => Err(usage(message)),
            None => Ok(()),
        }
    }
}

fn usage(message: &str) -> Failure {
    Failure::say(Kind::Usage, message)
}

/// The known word nearest to one that was typed, if any is near.
pub(crate) fn nearest<'w>(
    word: &str,
    known: impl Iterator<Item = &'w str>,
) -> Option<&'w str> {
    known
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|one, two| one.0.total_cmp(&two.0))
        .map(|(_, known)| known)
}

/// Adds the nearest known key to serde's message about an unknown one.
pub(crate) fn with_nearest(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let suggestion = words.next().filter(|_| message.starts_with("unknown"));
    match suggestion.and_then(|word| nearest(word, words)) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error =
            toml::from_str::<ConfigFile>("temprature = 1.0").expect_err("a typing error");
        let message = with_nearest(error.message());
        assert!(message.ends_with("did you mean `temperature`?"), "{message}");
        let error = toml::from_str::<ConfigFile>("xyzzy = 1").expect_err("no such key");
        assert!(!with_nearest(error.message()).contains("did you mean"));
    }
}
