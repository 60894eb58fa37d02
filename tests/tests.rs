//! The command as its users run it. One binary; a module a concern.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

/// A small environment of its own for each test, and `plumb` run in it.
mod world;

/// Replays that diverge, a policy that runs again, two runs side by side, verifiers at odds.
mod comparisons;
/// Damage to a run's folder.
mod damage;
/// Episodes from question to labelled trajectory: run, label, show, replay.
mod episodes;
/// Counterfactuals: a step replaced, left out, or shown otherwise.
mod forks;
/// What a model gets wrong, and how the loop answers it.
mod mistakes;
/// Every tool in one run, and every world one after the other.
mod mixed;
/// Kill, resume, interrupt.
mod recovery;
/// Bad input and missing parts: the message and the exit code.
mod refusals;
/// Runs that earlier programs recorded.
mod versions;

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
