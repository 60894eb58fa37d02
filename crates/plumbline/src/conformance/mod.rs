//! Whether tools and verifiers keep what they promise: each is tried out, and a breach tells
//! what shows it.

mod tool;
mod verifier;

mod arguments;

pub use tool::{Attempt, Breach, Conformance, Promise, conformance};
pub use verifier::{
    Exhibit, VerifierBreach, VerifierConformance, VerifierPromise, exhibits,
    verifier_conformance,
};
