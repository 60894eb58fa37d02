//! Policies without a model: a script to test against, and a baseline to compare with.

mod scripted;

pub use scripted::{ScriptError, Scripted};
