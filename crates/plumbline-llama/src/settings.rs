//! What a policy of this kind is told.

use std::path::PathBuf;

use plumbline::Sampling;
use serde::{Deserialize, Serialize};

/// Which model, how it samples, and what it may take of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlamaSettings {
    /// The model: a GGUF file.
    pub model: PathBuf,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Whether messages must be well-formed in the environment's protocol.
    pub constrain: bool,
    /// The most tokens of one conversation, its newest message included. Where the model was
    /// trained on fewer, those count.
    pub context_tokens: u32,
    /// Tokens that the attention cache holds for all conversations together, 256 at least.
    pub cache_tokens: u32,
    /// Messages that are sampled at once, 1 to 64.
    pub sequences_max: u32,
    /// Whether a prompt may begin with what the cache still holds of earlier ones. Without it
    /// every prompt is evaluated from its first token, so that nothing that came before can
    /// show in a message's numbers.
    pub reuse: bool,
    /// Threads that compute, 1 at least.
    pub threads: u32,
    /// Layers computed on a GPU; more than there are means all.
    pub gpu_layers: u32,
}

impl LlamaSettings {
    /// The settings that `llama:PATH` stands for.
    pub fn new(model: PathBuf) -> Self {
        Self {
            model,
            sampling: Sampling { temperature: 0.7, top_p: 0.95, min_p: 0.0 },
            constrain: true,
            context_tokens: 4096,
            cache_tokens: 16 * 1024,
            sequences_max: 16,
            reuse: true,
            threads: threads_default(),
            gpu_layers: gpu_layers_default(),
        }
    }

    /// What is wrong with these settings, if anything is.
    pub(crate) fn misfit(&self) -> Option<&'static str> {
        let Sampling { temperature, top_p, min_p } = self.sampling;
        let is_temperature = temperature == 0.0 || (1e-3..=100.0).contains(&temperature);
        let rules = [
            (is_temperature, "temperature is 0, or from 0.001 to 100"),
            (top_p > 0.0 && top_p <= 1.0, "top_p is above 0 and at most 1"),
            ((0.0..=1.0).contains(&min_p), "min_p is from 0 to 1"),
            (self.context_tokens >= 256, "context_tokens is at least 256"),
            (
                (self.context_tokens..=1 << 24).contains(&self.cache_tokens),
                "cache_tokens is at least context_tokens, and at most 16 million",
            ),
            ((1..=64).contains(&self.sequences_max), "sequences_max is from 1 to 64"),
            ((1..=512).contains(&self.threads), "threads is from 1 to 512"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }
}

/// All cores but one: the tools need one too, and llama.cpp's threads spin while they wait
/// for each other, so one that is kept off its core stops them all.
fn threads_default() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(512).saturating_sub(1).clamp(1, 64)
}

/// All layers when built for a GPU.
fn gpu_layers_default() -> u32 {
    if cfg!(any(feature = "cuda", feature = "vulkan", feature = "metal")) {
        u32::MAX
    } else {
        0
    }
}
