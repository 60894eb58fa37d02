//! The policy: prompts in, proposals out, and the engine's thread behind a channel.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use plumbline::{Digest, Policy, PolicyError, PolicyId, Prompt, Proposal, Tokens, Usage};
use tokio::sync::{mpsc, oneshot};

use crate::cache::Cache;
use crate::context::{Context, Extent, LoadError};
use crate::engine::{Counters, Engine, REQUESTS_MAX, Request, Sample};
use crate::grammar::Grammars;
use crate::model::{check_magic, digest_of};
use crate::prompt;
use crate::sampler::Scratch;
use crate::seen::Seen;
use crate::settings::LlamaSettings;
use crate::vocabulary::{Part, Vocabulary};

/// Tokens of one batch: enough that reading prompts is bound by arithmetic.
const BATCH_TOKENS_MAX: u32 = 512;

/// Sequences that are held for each one in use. The others are idle: prefixes of prompts
/// that may come.
const SEQUENCES_PER_USE: u32 = 4;

/// A llama.cpp model in this process.
///
/// Callers on any thread share it. Dropping it ends what is being sampled and waits for the
/// engine's thread, which takes one batch at most.
pub struct Llama {
    id: PolicyId,
    constrain: bool,
    context_tokens: u32,
    vocabulary: Arc<Vocabulary>,
    counters: Arc<Counters>,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no such policy.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// There is no such file.
    #[error("no model at {}; `make setup` fetches the default model", path.display())]
    MissingModel {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("model {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("model {}: not a GGUF file", path.display())]
    NoGguf {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not the one that was published.
    #[error("model {}: its SHA-256 is {found}, not {expected}; delete it and run `make setup`", path.display())]
    WrongHash {
        /// Which file.
        path: PathBuf,
        /// The digest that it should have.
        expected: String,
        /// The digest that it has.
        found: Digest,
    },
    /// llama.cpp cannot read the file: it is damaged, cut short, or of an architecture that
    /// this build does not know.
    #[error("model {}: llama.cpp cannot read it: damaged, or of an unknown architecture", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
    },
    /// The weights were read, but there is no memory for the context.
    #[error("model {}: no context of {cache_tokens} tokens: too little memory?", path.display())]
    NoContext {
        /// Which file.
        path: PathBuf,
        /// What was asked for.
        cache_tokens: u32,
    },
    /// The model's vocabulary cannot be constrained.
    #[error("model {}: {message}", path.display())]
    Vocabulary {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A setting is out of its range.
    #[error("llama settings: {0}")]
    Settings(&'static str),
    /// Requantising failed.
    #[error("cannot requantise {} to {}: is the disk full, the folder writable?", from.display(), to.display())]
    Quantise {
        /// The model that was read.
        from: PathBuf,
        /// The file that was to be written.
        to: PathBuf,
    },
    /// The engine's thread cannot be started.
    #[error("cannot start the engine's thread: {0}")]
    Thread(std::io::Error),
}

impl Llama {
    /// Loads a model and starts its engine. Takes the time to read the file: a second for
    /// the default model. What llama.cpp logs goes to `tracing`.
    pub fn load(settings: LlamaSettings) -> Result<Self, LlamaError> {
        if let Some(rule) = settings.misfit() {
            return Err(LlamaError::Settings(rule));
        }
        let path = settings.model.clone();
        check_magic(&path)?;
        let digest = digest_of(&path)?;
        let corrupt = || LlamaError::Corrupt { path: path.clone() };
        let vocabulary = Arc::new(Vocabulary::load(&path).ok_or_else(corrupt)?);
        let sequences = SEQUENCES_PER_USE * settings.sequences_max;
        let extent = Extent {
            cells: settings.cache_tokens,
            sequences,
            batch_tokens_max: BATCH_TOKENS_MAX,
            gpu_layers: settings.gpu_layers,
            threads: settings.threads,
        };
        let context = Context::load(&path, extent).map_err(|error| match error {
            LoadError::Model => corrupt(),
            LoadError::Context => LlamaError::NoContext {
                path: path.clone(),
                cache_tokens: settings.cache_tokens,
            },
        })?;
        let grammars =
            Grammars::new(&vocabulary.token_environment()).map_err(|error| {
                LlamaError::Vocabulary { path: path.clone(), message: error.to_string() }
            })?;
        let context_tokens = match context.context_trained() {
            0 => settings.context_tokens,
            trained => settings.context_tokens.min(trained),
        };
        let counters = Arc::<Counters>::default();
        let engine = Engine {
            context,
            cache: Cache::new(sequences, settings.cache_tokens).reusing(settings.reuse),
            vocabulary: Arc::clone(&vocabulary),
            grammars,
            sampling: settings.sampling,
            counters: Arc::clone(&counters),
            sequences_max: settings.sequences_max as usize,
            seen: Seen::default(),
            scratch: Scratch::default(),
        };
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let thread = std::thread::Builder::new()
            .name("llama".into())
            .spawn(move || engine.run(receiver))
            .map_err(LlamaError::Thread)?;
        Ok(Self {
            id: id_of(&settings, digest, context_tokens),
            constrain: settings.constrain,
            context_tokens,
            vocabulary,
            counters,
            requests: Some(requests),
            thread: Some(thread),
        })
    }
}

impl Llama {
    async fn ask(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<Vec<Sample>, String>>,
    ) -> Result<Vec<Sample>, PolicyError> {
        let gone = || PolicyError::Model("the engine has stopped".into());
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(request).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(PolicyError::Model)
    }
}

/// Names what a proposal depends on; not what only makes it faster.
fn id_of(settings: &LlamaSettings, model: Digest, context_tokens: u32) -> PolicyId {
    let stem = settings.model.file_stem().unwrap_or_default().to_string_lossy();
    let depends = (model, settings.sampling, settings.constrain, context_tokens);
    PolicyId(format!("llama:{stem}+{}", Digest::of_json(&depends).short()))
}

#[async_trait]
impl Policy for Llama {
    fn id(&self) -> &PolicyId {
        &self.id
    }

    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError> {
        if seeds.is_empty() {
            return Ok(vec![]);
        }
        if prompt.tokens_max == 0 {
            return Err(PolicyError::Model("no token may be sampled".into()));
        }
        // On the caller's thread: a step adds a few hundred tokens, about a millisecond.
        let written = prompt::write(&self.vocabulary, prompt, self.context_tokens)?;
        let (reply, answer) = oneshot::channel();
        let request = Request {
            prompt: written.tokens.clone(),
            seeds: seeds.to_vec(),
            tokens_max: written.reply_tokens_max,
            given: None,
            stops: prompt.protocol.stops(),
            grammar: self.constrain.then(|| prompt.grammar()),
            reply,
        };
        let samples = self.ask(request, answer).await?;
        let proposals = samples.into_iter().zip(seeds).map(|(sample, &seed)| {
            let action = prompt.protocol.parse(&sample.text).action;
            let tokens = Tokens {
                kept: written.kept,
                prompt: written.tokens[written.kept as usize..].to_vec(),
                sampled: sample.tokens,
                logprobs: sample.logprobs,
            };
            let elided = written.elided.clone();
            Proposal { text: sample.text, action, seed, tokens: Some(tokens), elided }
        });
        Ok(proposals.collect())
    }

    fn scores(&self) -> bool {
        true
    }

    async fn score(
        &self,
        prompt: &Prompt<'_>,
        texts: &[&str],
    ) -> Result<Vec<Vec<f32>>, PolicyError> {
        let written = prompt::write(&self.vocabulary, prompt, self.context_tokens)?;
        let mut given: Vec<Vec<u32>> = vec![vec![]; texts.len()];
        for (text, tokens) in texts.iter().zip(&mut given) {
            self.vocabulary.tokenise(&[Part::Said(text)], tokens);
        }
        let longest = given.iter().map(Vec::len).max().unwrap_or(0);
        let is_empty = given.iter().any(Vec::is_empty);
        if given.is_empty() || is_empty {
            let each = if is_empty { "an empty text has no tokens" } else { "no text" };
            return Err(PolicyError::Model(each.into()));
        }
        if written.tokens.len() + longest > self.context_tokens as usize {
            let tokens = written.tokens.len();
            let tokens_max = (self.context_tokens as usize).saturating_sub(longest);
            return Err(PolicyError::Context { tokens, tokens_max });
        }
        let (reply, answer) = oneshot::channel();
        let request = Request {
            prompt: written.tokens,
            seeds: vec![0; given.len()],
            tokens_max: u32::try_from(longest).expect("it fits the context"),
            given: Some(given),
            stops: &[],
            grammar: None,
            reply,
        };
        let samples = self.ask(request, answer).await?;
        Ok(samples.into_iter().map(|sample| sample.logprobs).collect())
    }

    fn usage(&self) -> Usage {
        self.counters.usage()
    }
}

impl fmt::Debug for Llama {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Llama").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        // Without a sender the engine's thread comes to its end.
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread of {} panicked", self.id);
        }
    }
}
