//! The policy.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::try_join_all;
use plumbline::protocol::Message;
use plumbline::{Policy, PolicyError, PolicyId, Prompt, Proposal, Usage};
use serde_json::Value;

use crate::complaint::{Complaint, Overflow};
use crate::transport::{Failure, Reason, Transport};
use crate::wire::{self, Ask, Fields, Sample};
use crate::{ApiKey, EndpointSettings, SeedMode};

/// An OpenAI-compatible chat endpoint, as a [`Policy`].
///
/// With the protocol [`Openai`](plumbline::protocol::Protocol::Openai) it sends tools and
/// structured messages; with any other it sends text and stop strings.
pub struct Endpoint {
    id: PolicyId,
    settings: EndpointSettings,
    transport: Transport,
    refused: Refused,
    usage: Mutex<Usage>,
}

/// Why an endpoint cannot be made ready.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare requests to {url}: {message}")]
pub struct EndpointError {
    /// The server's address, without its secrets.
    pub url: String,
    /// What is wrong: most likely no certificates are installed.
    pub message: String,
}

/// Fields that this server has refused: they are not sent again.
#[derive(Debug, Default)]
struct Refused {
    seed: AtomicBool,
    n: AtomicBool,
    tokens: AtomicBool,
    max_tokens: AtomicBool,
}

/// Why a request came to nothing.
enum Miss {
    /// The prompt does not fit: a shorter one may.
    Overflow(Overflow),
    /// Anything else.
    Policy(PolicyError),
}

impl Endpoint {
    /// Makes an endpoint ready. Nothing is sent yet.
    pub fn new(
        settings: EndpointSettings,
        key: Option<ApiKey>,
    ) -> Result<Self, EndpointError> {
        let base_url = &settings.base_url;
        if key.is_some() && base_url.is_plain() && !base_url.is_loopback() {
            tracing::warn!(url = %base_url, "the key travels unencrypted: the URL is http");
        }
        let transport = Transport::new(&settings, "chat/completions", key);
        let transport = transport.map_err(|error| EndpointError {
            url: base_url.to_string(),
            message: crate::client::describe(error),
        })?;
        let refused = Refused {
            tokens: AtomicBool::new(!settings.record_tokens),
            ..Refused::default()
        };
        let usage = Mutex::new(Usage::default());
        Ok(Self { id: settings.id(), settings, transport, refused, usage })
    }

    /// As many samples as there are seeds, in their order.
    async fn sample(
        &self,
        prompt: &Prompt<'_>,
        messages: &[Message],
        seeds: &[u64],
        path: &[u32],
    ) -> Result<Vec<Sample>, Miss> {
        let mut samples = Vec::with_capacity(seeds.len());
        // Every round brings at least one sample, or is an error.
        while samples.len() < seeds.len() {
            let missing = &seeds[samples.len()..];
            let shared =
                self.settings.seeds == SeedMode::SharedN && self.refused.fields().n;
            let round = if shared && missing.len() > 1 {
                self.request(prompt, messages, missing, path).await?
            } else {
                let requests = missing
                    .chunks(1)
                    .map(|seed| self.request(prompt, messages, seed, path));
                try_join_all(requests).await?.into_iter().flatten().collect()
            };
            samples.extend(round);
        }
        Ok(samples)
    }

    /// One request for one sample a seed. At least one comes back and at most as many as
    /// were asked for.
    async fn request(
        &self,
        prompt: &Prompt<'_>,
        messages: &[Message],
        seeds: &[u64],
        path: &[u32],
    ) -> Result<Vec<Sample>, Miss> {
        let EndpointSettings { model, sampling, .. } = &self.settings;
        let reply = loop {
            let fields = self.refused.fields();
            let samples = if fields.n { seeds.len() } else { 1 };
            let ask = Ask { seed: seeds[0], samples, fields };
            let body = wire::body(model, sampling, prompt, messages, ask);
            let failure = match self.transport.post(&body, seeds[0]).await {
                Ok(reply) => break reply,
                Err(failure) => failure,
            };
            if let Reason::Refused { status, complaint, .. } = &failure.reason
                && status.is_client_error()
            {
                if let Some(overflow) = complaint.overflow() {
                    tracing::debug!(
                        said = complaint.excerpt(),
                        "the prompt does not fit"
                    );
                    return Err(Miss::Overflow(overflow));
                }
                // Each round drops a field that was sent, so the rounds are few.
                if matches!(status.as_u16(), 400 | 422)
                    && self.refused.drop_named(&body, complaint)
                {
                    continue;
                }
            }
            return Err(Miss::Policy(self.failed(&failure)));
        };
        let mut samples = wire::samples(&reply, prompt.protocol, path)
            .map_err(|words| Miss::Policy(self.wrong(words)))?;
        samples.truncate(seeds.len());
        if samples.iter().all(|sample| sample.tokens.is_none()) {
            self.refused.no_tokens();
        }
        self.count(wire::usage(&reply));
        Ok(samples)
    }

    fn count(&self, more: Usage) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.prompt_evaluated += more.prompt_evaluated;
        usage.prompt_reused += more.prompt_reused;
        usage.sampled += more.sampled;
    }

    /// The error for a request that failed for good, with what can be done about it.
    fn failed(&self, failure: &Failure) -> PolicyError {
        let Failure { reason, attempts } = failure;
        let EndpointSettings { base_url, model, key_env, .. } = &self.settings;
        let keys = key_env.join(" or ");
        let remedy = match reason {
            Reason::Refused { status, .. } => match status.as_u16() {
                300..=399 => "name the address it redirects to".to_owned(),
                401 | 403 => format!("set {keys} to a key that this server accepts"),
                404 => format!(
                    "check that it serves {model:?} and that the URL ends as its \
                     documentation says, most often in /v1"
                ),
                429 => "ask for less at once: lower the concurrency".to_owned(),
                500..=599 => "see the server's log".to_owned(),
                _ => "see the server's documentation for what it wants".to_owned(),
            },
            Reason::Broken(_) => {
                "check that the server is running and can be reached".to_owned()
            }
            Reason::Late { .. } => {
                "allow a request more time, or ask for less at once".to_owned()
            }
            Reason::Long { .. } | Reason::Garbage(_) => {
                "check that this is a chat endpoint".to_owned()
            }
        };
        let tries = if *attempts == 1 { "attempt" } else { "attempts" };
        PolicyError::Endpoint(format!(
            "{base_url} failed after {attempts} {tries}: {reason}; {remedy}"
        ))
    }

    /// The error for a reply that is JSON and no chat completion.
    fn wrong(&self, words: &str) -> PolicyError {
        let base_url = &self.settings.base_url;
        PolicyError::Endpoint(format!(
            "{base_url}: {words}; check that this is a chat endpoint"
        ))
    }
}

#[async_trait]
impl Policy for Endpoint {
    fn id(&self) -> &PolicyId {
        &self.id
    }

    /// Proposes a message for each seed. Where the context is full, the oldest observations
    /// are elided, one step after the other and the latest never, until the prompt fits;
    /// steps that were elided for the message before stay so, which keeps the prefix.
    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError> {
        let path = recorded(prompt);
        let mut elided =
            prompt.turns.last().map_or(vec![], |turn| turn.proposal.elided.clone());
        loop {
            let messages = prompt.messages_eliding(&elided);
            let overflow = match self.sample(prompt, &messages, seeds, &path).await {
                Ok(samples) => {
                    let proposal = |(sample, seed): (Sample, &u64)| Proposal {
                        action: prompt.protocol.parse(&sample.text).action,
                        text: sample.text,
                        seed: *seed,
                        tokens: sample.tokens,
                        elided: elided.clone(),
                    };
                    return Ok(samples.into_iter().zip(seeds).map(proposal).collect());
                }
                Err(Miss::Overflow(overflow)) => overflow,
                Err(Miss::Policy(error)) => return Err(error),
            };
            let Some(oldest) = oldest_shown(prompt, &elided) else {
                let Overflow { tokens, tokens_max } = overflow;
                return Err(PolicyError::Context { tokens, tokens_max });
            };
            elided.push(oldest);
            elided.sort_unstable();
        }
    }

    fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Refused {
    fn fields(&self) -> Fields {
        let sent = |refused: &AtomicBool| !refused.load(Ordering::Relaxed);
        Fields {
            seed: sent(&self.seed),
            n: sent(&self.n),
            tokens: sent(&self.tokens),
            max_tokens: sent(&self.max_tokens),
        }
    }

    /// Stops sending the fields that a complaint names, of those that the refused request
    /// carried. Returns whether there was one.
    fn drop_named(&self, body: &Value, complaint: &Complaint) -> bool {
        let fields = [
            ("seed", &self.seed, "samples cannot be drawn again"),
            ("n", &self.n, "each sample takes a request of its own"),
            ("logprobs", &self.tokens, "no tokens are recorded"),
            ("return_token_ids", &self.tokens, "no tokens are recorded"),
            ("max_tokens", &self.max_tokens, "max_completion_tokens is sent instead"),
        ];
        let mut dropped = false;
        for (name, refused, consequence) in fields {
            if body.get(name).is_none() || !complaint.names(name) {
                continue;
            }
            dropped = true;
            if !refused.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    field = name,
                    "the endpoint refuses a field: {consequence}"
                );
            }
        }
        dropped
    }

    /// Stops asking for tokens: a reply came without.
    fn no_tokens(&self) {
        if !self.tokens.swap(true, Ordering::Relaxed) {
            tracing::debug!("the endpoint gives no token ids: none are recorded");
        }
    }
}

/// The tokens of the path so far, as far as they were recorded.
fn recorded(prompt: &Prompt<'_>) -> Vec<u32> {
    let mut path = Vec::new();
    for tokens in prompt.turns.iter().filter_map(|turn| turn.proposal.tokens.as_ref()) {
        tokens.extend(&mut path);
    }
    path
}

/// The first step whose observations are still shown and may be elided.
fn oldest_shown(prompt: &Prompt<'_>, elided: &[u32]) -> Option<u32> {
    let (_, earlier) = prompt.turns.split_last()?;
    let shown = (0u32..).zip(earlier);
    let mut shown = shown.filter(|(_, turn)| !turn.observations.is_empty());
    shown.find(|(index, _)| !elided.contains(index)).map(|(index, _)| index)
}
