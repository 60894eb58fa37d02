//! A tool that solves linear and integer programs, with HiGHS.
//!
//! [`Solve`] is the tool. It reads a model (CPLEX LP, MPS, or a small JSON algebra; see
//! [`plumbline::program`]), solves it on one thread with one seed, and answers with status,
//! objective, values, duals and slacks, with bound and gap for integer programs, a conflict
//! where nothing is feasible, and a ray where nothing bounds the objective. [`answer`] does
//! the same outside an episode.
//!
//! ```
//! use plumbline::Limits;
//! use plumbline_solve::{SolveSettings, answer};
//! use serde_json::json;
//!
//! let lp = "max 3 x + 2 y\nsubject to\n c1: x + y <= 4\n c2: x + 3 y <= 6\nend";
//! let solved = answer(&json!({ "lp": lp }), &SolveSettings::default(), &Limits::default())?;
//! assert_eq!(solved.data()["objective"], json!(12));
//! assert_eq!(solved.data()["constraints"]["c1"]["dual"], json!(3));
//! # Ok::<(), plumbline::ToolError>(())
//! ```

mod conflict;
mod highs;
mod report;
mod solve;

pub use solve::{Solve, SolveSettings, answer};

#[cfg(test)]
mod tests;
