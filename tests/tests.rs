//! The command as its users run it. One binary; a module a concern.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

/// A small environment of its own for each test, and `plumb` run in it.
mod world;

/// Replays that diverge, a policy that runs again, two runs side by side, verifiers at odds.
mod comparisons;
/// Whether tools keep what tools promise.
mod conformance;
/// Damage to a run's folder.
mod damage;
/// Episodes from question to labelled trajectory: run, label, show, replay.
mod episodes;
/// Tree methods: run, resumed, compared.
mod explore;
/// Counterfactuals: a step replaced, left out, or shown otherwise.
mod forks;
/// Tools of MCP servers, and ours for MCP clients. Published servers are skipped where they
/// are not installed.
mod mcp;
/// What a model gets wrong, and how the loop answers it.
mod mistakes;
/// Every tool in one run, and every world one after the other.
mod mixed;
/// A component, a server and a program in one episode.
mod plugged;
/// Tools that are programs of other people's, and new environments that have one.
mod programs;
/// Kill, resume, interrupt.
mod recovery;
/// Bad input and missing parts: the message and the exit code.
mod refusals;
/// Runs that earlier programs recorded.
mod versions;

/// The pages on tools of one's own, word for word.
mod pages;
/// The commands that the README shows.
mod readme;
/// The shipped environments, and their own checks.
mod shipped;

/// Verifiers, by trajectories with the expected verdicts in the margin.
mod cases;
/// Every format that runs are exported in, and back again.
mod export;
/// Others' trajectories: imported, labelled, scored, audited, exported.
mod labels;
/// The world text-to-sql: a scripted run, its composer, imports, planted faults.
mod sql;

/// Optimisation models: shipped, imported, run by a script.
mod modelling;
/// The world data-analysis: a scripted run, its composer, imports; skipped where the
/// interpreter is not in the cache.
mod python;

/// A real model in this process; skipped where the model file is not in the cache.
mod model;

/// The repository's own rules.
mod tidy;
