//! Known faults, and changes that are none, planted into good steps: what a verifier's
//! kill rate and false-kill rate are measured with. One file a world.

mod python;
mod solver;
mod sql;

pub use python::{python_cells, python_mutants, python_script};
pub use solver::solver_mutants;
pub use sql::{Columns, sql_mutants};

/// A changed copy of a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// What was changed: `dropped-filter`, `alias-renamed`.
    pub class: &'static str,
    /// What the change does.
    pub effect: Effect,
    /// The answer, or the script that leads to it, changed.
    pub text: String,
}

/// What a change does to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It makes it wrong, unless the data cannot tell: a fault that leaves the result alone is
    /// not shown to be one.
    Fault,
    /// Nothing.
    NoOp,
}
