//! Greedy: the best next step, again and again.
//!
//! Reward-guided greedy search as in "GroundedPRM: Tree-Guided and Fidelity-Aware Process Reward
//! Modeling for Step-Level Reasoning": of `width` next steps the best goes on. It is a beam of one path,
//! whose steps before are the same for all, so that the step's own score decides. There the
//! score is a trained model's; here it is what the checks say. 8 next steps are ours.

use futures::FutureExt;

use super::beam::search;
use super::{Aggregate, Constants, HINDSIGHT, Method};

pub(super) const METHOD: Method = Method {
    name: "greedy",
    version: 1,
    paper: "GroundedPRM: Tree-Guided and Fidelity-Aware Process Reward Modeling for Step-Level Reasoning",
    summary: "the next step that the checks like best, again and again",
    constants: Constants { width: Some(8), ..Constants::NONE },
    trajectories: false,
    checks: true,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| search(explorer, 1, Aggregate::Last).boxed(),
};
