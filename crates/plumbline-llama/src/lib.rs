//! The `llama:` policy of Plumbline: a llama.cpp model in this process.
//!
//! [`Llama`] owns one engine thread. All episodes that wait for a message are sampled
//! together, prompts are read while other messages grow, and what was read once is reused:
//! the system prompt between episodes, each step by the next. Messages can be held to the
//! protocol's grammar, and every proposal carries the tokens it was sampled as.
//!
//! ```no_run
//! use std::path::Path;
//! use plumbline::Policy;
//! use plumbline_llama::{Llama, LlamaSettings, resolve};
//!
//! # fn main() -> Result<(), plumbline_llama::LlamaError> {
//! let model = resolve("default", Path::new("/var/cache/plumbline"))?;
//! let mut settings = LlamaSettings::new(model);
//! settings.sampling.temperature = 0.0;
//! let llama = Llama::load(settings)?;
//! println!("{}", llama.id());
//! # Ok(())
//! # }
//! ```
//!
//! README.md beside this crate has the measurements that its defaults come from.

mod llama;
mod model;
mod quantise;
mod settings;

mod cache;
mod context;
mod engine;
mod seen;

mod grammar;
mod prompt;
mod sampler;
mod stops;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use llama::{Llama, LlamaError};
pub use model::{DEFAULT_MODEL, DEFAULT_MODEL_SHA256, DEFAULT_QUANTISATION, resolve};
pub use quantise::{Quantisation, quantise};
pub use settings::LlamaSettings;
