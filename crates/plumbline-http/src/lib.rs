//! Models behind HTTP.
//!
//! [`Endpoint`] is a [`Policy`](plumbline::Policy) that asks any OpenAI-compatible chat
//! endpoint: a hosted one, vLLM, SGLang, llama.cpp's server. It is patient with a server
//! that is busy, bounded in everything it waits for and reads, and silent about its
//! [`ApiKey`].
//!
//! [`download`] brings a GGUF file from the Hugging Face hub into a cache, for whoever runs
//! models in this process.
//!
//! ```
//! use plumbline::{Policy, Sampling};
//! use plumbline_http::{ApiKey, Endpoint, EndpointSettings};
//!
//! let sampling = Sampling { temperature: 0.7, top_p: 1.0, min_p: 0.0 };
//! let settings =
//!     EndpointSettings::parse("qwen3-8b@http://127.0.0.1:8000/v1", sampling)?;
//! let key = ApiKey::from_env(&settings.key_env)?;
//! let endpoint = Endpoint::new(settings, key)?;
//! assert!(endpoint.id().to_string().starts_with("openai:qwen3-8b@127.0.0.1:8000+"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod endpoint;
mod settings;

mod hub;
mod part;

mod address;
mod key;

mod client;
mod complaint;
mod transport;
mod wire;

pub use address::{BaseUrl, UrlError};
pub use endpoint::{Endpoint, EndpointError};
pub use hub::{Hub, HubError, ModelName, Progress, download};
pub use key::{ApiKey, KeyError};
pub use settings::{EndpointSettings, SeedMode, SettingsError};
