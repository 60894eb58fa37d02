//! The nouns, seams and verbs of Plumbline.
#![doc = ""]

mod action;
mod digest;
mod label;
mod limits;
mod scratch;
mod step;
mod task;
mod text;
mod tree;
mod verdict;

mod environment;
mod policy;
mod tool;
mod verifier;

mod call_cache;
mod episode;
mod grow;
pub mod policies;
mod replay;

mod outcome;
mod summary;

pub mod import;
pub mod protocol;
pub mod store;
pub mod verifiers;

pub use action::{Action, ToolCall};
pub use call_cache::CallCache;
pub use digest::{Digest, DigestError};
pub use environment::{Environment, EnvironmentError, EnvironmentParts};
pub use episode::{ActError, Episode};
pub use grow::{Event, Ground, GrowError, Shape, Sink, SinkError, grow};
pub use label::{StepLabel, View, ViewError, Zero};
pub use limits::{Limits, cut};
pub use outcome::{
    Outcome, Score, document_ids, exact_match, normalise_answer, outcome, outcomes,
    supporting_recall, token_f1,
};
pub use policy::{Policy, PolicyError, PolicyId, Prompt, Sampling, Turn, Usage};
pub use replay::{Divergence, Field, replay, replay_evidence};
pub use scratch::Scratch;
pub use step::{Fault, Observation, Proposal, Step, Tokens};
pub use summary::{Endings, Estimate, Estimates, Summary, Tally};
pub use task::{Gold, Task, TaskId};
pub use tool::{Tool, ToolError, ToolSpec};
pub use tree::{Boundary, Budget, Ending, Node, NodeId, Tree, TreeError};
pub use verdict::{Cost, Evidence, Sight, Verdict, VerifierId};
pub use verifier::{Seen, Verifier, VerifierError, label};
