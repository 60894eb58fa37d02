//! The solver's world from outside: what a hostile model may try, what the verifiers of
//! models say, and published programs.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

/// Hostile models, written down as data, each with the fault it must come to.
mod escapes;
/// The gold declarations of NL4OPT, solved and held against recorded optima.
mod nl4opt;
/// Verifiers of models on cases in Markdown, and on faults planted into shipped gold.
mod verifiers;

use std::sync::Arc;

use plumbline::program::Size;
use plumbline::protocol::Protocol;
use plumbline::{Environment, EnvironmentParts, Limits};
use plumbline_solve::{Solve, SolveSettings};

/// An environment with nothing but the solver.
fn world(limits: Limits) -> Arc<Environment> {
    let parts = EnvironmentParts {
        name: "models".to_owned(),
        prompt: "Solve.\n\n{{tools}}".to_owned(),
        protocol: Protocol::Hermes,
        thought_chars_max: 0,
        limits,
        tools: vec![Arc::new(Solve::new(SolveSettings { size: Size::default() }))],
    };
    Arc::new(Environment::new(parts).expect("the parts fit"))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}
