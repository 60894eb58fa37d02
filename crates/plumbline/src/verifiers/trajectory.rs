//! Unit tests of verifiers in the words of [`cases`](crate::cases): trajectories with the
//! expected verdicts in the margin.

use crate::cases::{Case, read_trajectory};
use crate::{Tree, Verdict, Verifier, VerifierError};

/// Has a verifier judge a trajectory, and compares every verdict with the margin.
#[track_caller]
pub(super) fn check(verifier: &dyn Verifier, trajectory: &str) {
    let case = read(trajectory);
    let verdicts = run(verifier, &case).expect("the verifier can judge");
    let mismatches: Vec<String> =
        case.mismatches(&verdicts).iter().map(ToString::to_string).collect();
    assert!(mismatches.is_empty(), "{trajectory}\n{}", mismatches.join("\n"));
}

/// The tree of a trajectory and all verdicts on it.
pub(crate) fn judge(verifier: &dyn Verifier, trajectory: &str) -> (Tree, Vec<Verdict>) {
    let case = read(trajectory);
    let verdicts = run(verifier, &case).expect("the verifier can judge");
    (case.tree, verdicts)
}

/// Why a verifier refuses a trajectory.
pub(crate) fn refusal(verifier: &dyn Verifier, trajectory: &str) -> String {
    run(verifier, &read(trajectory)).expect_err("it refuses").to_string()
}

pub(crate) fn read(trajectory: &str) -> Case {
    read_trajectory(trajectory).unwrap_or_else(|error| panic!("{error}\n{trajectory}"))
}

fn run(verifier: &dyn Verifier, case: &Case) -> Result<Vec<Verdict>, VerifierError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime with a clock").block_on(case.judge(verifier))
}
