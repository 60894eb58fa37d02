//! Policies without a model: a script to test against, and a baseline to compare with.

mod baseline;
mod scripted;

pub use baseline::Baseline;
pub use scripted::{ScriptError, Scripted};
