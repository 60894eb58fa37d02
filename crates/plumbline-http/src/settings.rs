//! What an endpoint is asked for, and how patiently.

use plumbline::{Digest, PolicyId, Sampling};

use crate::{BaseUrl, UrlError};

/// Everything an [`Endpoint`](crate::Endpoint) needs to know besides the key.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// The model's name as the server knows it.
    pub model: String,
    /// The address under which `chat/completions` lies; most end in `/v1`.
    pub base_url: BaseUrl,
    /// How tokens are chosen. `min_p` is sent only where it is not 0, and `top_p` only where
    /// it is not 1: both are unknown to some servers.
    pub sampling: Sampling,
    /// How several samples of one prompt are asked for.
    pub seeds: SeedMode,
    /// Whether to ask for token ids and log-probabilities. A server that gives no ids is
    /// not asked again: without ids there is nothing to hang log-probabilities on.
    pub record_tokens: bool,
    /// The environment variables that may hold the key, the first that is set winning.
    pub key_env: Vec<String>,
    /// Wall clock of one attempt, from connecting to the last byte of the reply.
    pub request_ms_max: u64,
    /// Attempts after the first, where an attempt failed in a way that may pass.
    pub retries_max: u32,
    /// The wait before the first retry; it doubles with each.
    pub backoff_ms_base: u64,
    /// The longest wait before a retry, also where the server asks for a longer one.
    pub backoff_ms_max: u64,
    /// Requests under way at once; further ones queue.
    pub concurrency_max: u32,
    /// Bytes of a reply that are read; a longer one is an error.
    pub reply_bytes_max: usize,
}

/// How several samples of one prompt are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedMode {
    /// One request a sample, each with its own seed, so that a sample can be drawn again.
    OneRequestPerSeed,
    /// One request with `n` samples and the first seed: the server reads the prompt once,
    /// but no sample but the first can be said to have a seed of its own. Samples that a
    /// server leaves out are asked for again.
    SharedN,
}

/// Why `MODEL@URL` cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// There is no `@` before a URL.
    #[error(
        "an endpoint is named MODEL@URL, as in gpt-x@http://127.0.0.1:8000/v1; no @ was found"
    )]
    NoUrl,
    /// Nothing stands before the `@`.
    #[error("an endpoint is named MODEL@URL: no model stands before the @")]
    NoModel,
    /// What stands after the `@` is no address.
    #[error("endpoint for model {model:?}: {error}")]
    Url {
        /// The model; the URL itself may hold a password.
        model: String,
        /// What is wrong with the URL.
        error: UrlError,
    },
}

impl EndpointSettings {
    /// Reads `MODEL@URL`; a model's name may itself contain `@`, so that the URL begins at
    /// the last `@` before a scheme.
    ///
    /// The rest is set to what suits a server that many episodes share: one request a seed,
    /// 5 minutes a request, 5 retries after 0.5 s to 30 s, 64 requests at once, 32 MiB a
    /// reply, the key in `PLUMB_API_KEY` or `OPENAI_API_KEY`.
    pub fn parse(text: &str, sampling: Sampling) -> Result<Self, SettingsError> {
        let lower = text.to_ascii_lowercase();
        let at = ["@http://", "@https://"]
            .iter()
            .filter_map(|start| lower.rfind(start))
            .max()
            .or_else(|| text.find('@'))
            .ok_or(SettingsError::NoUrl)?;
        let (model, url) = (&text[..at], &text[at + 1..]);
        if model.is_empty() {
            return Err(SettingsError::NoModel);
        }
        let model = model.to_owned();
        let base_url = BaseUrl::parse(url)
            .map_err(|error| SettingsError::Url { model: model.clone(), error })?;
        Ok(Self {
            model,
            base_url,
            sampling,
            seeds: SeedMode::OneRequestPerSeed,
            record_tokens: true,
            key_env: vec!["PLUMB_API_KEY".into(), "OPENAI_API_KEY".into()],
            request_ms_max: 300_000,
            retries_max: 5,
            backoff_ms_base: 500,
            backoff_ms_max: 30_000,
            concurrency_max: 64,
            reply_bytes_max: 32 * 1024 * 1024,
        })
    }

    /// The policy's name: `openai:MODEL@HOST+digest`, the digest being that of what decides
    /// which messages come back. Patience and key do not.
    pub(crate) fn id(&self) -> PolicyId {
        let Self { model, base_url, sampling, seeds, .. } = self;
        let mode = match seeds {
            SeedMode::OneRequestPerSeed => "one-request-per-seed",
            SeedMode::SharedN => "shared-n",
        };
        let digest = Digest::of_json(&(model, base_url.to_string(), sampling, mode));
        PolicyId(format!("openai:{model}@{}+{}", base_url.host(), digest.short()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, min_p: 0.0 };

    fn parse(text: &str) -> Result<EndpointSettings, SettingsError> {
        EndpointSettings::parse(text, GREEDY)
    }

    #[test]
    fn a_model_may_hold_an_at_sign_and_a_url_a_password() {
        let settings =
            parse("org/m@v2@http://me:p@ss@127.0.0.1:8000/v1").expect("well formed");
        assert_eq!(settings.model, "org/m@v2");
        assert_eq!(settings.base_url.to_string(), "http://127.0.0.1:8000/v1");
        let id = settings.id().0;
        assert!(id.starts_with("openai:org/m@v2@127.0.0.1:8000+"), "{id}");
        assert!(!format!("{settings:?}{id}").contains("p@ss"));
    }

    #[test]
    fn the_name_changes_with_what_is_sampled_and_not_with_patience() {
        let settings = parse("m@http://h/v1").expect("well formed");
        let patient = EndpointSettings { retries_max: 9, ..settings.clone() };
        assert_eq!(settings.id(), patient.id());
        let secret = parse("m@http://u:pw@h/v1").expect("well formed");
        assert_eq!(settings.id(), secret.id());
        let sampling = Sampling { temperature: 0.7, ..GREEDY };
        assert_ne!(settings.id(), EndpointSettings { sampling, ..settings.clone() }.id());
        let shared = EndpointSettings { seeds: SeedMode::SharedN, ..settings.clone() };
        assert_ne!(settings.id(), shared.id());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        assert_eq!(parse("gpt-x").expect_err("no @"), SettingsError::NoUrl);
        assert_eq!(parse("@http://h/v1").expect_err("no model"), SettingsError::NoModel);
        let error = parse("m@ftp://me:secret@h/v1").expect_err("a scheme we lack");
        assert_eq!(
            error.to_string(),
            "endpoint for model \"m\": the URL must begin with http:// or https://"
        );
        assert!(parse("m@localhost:8000/v1").is_err());
    }
}
