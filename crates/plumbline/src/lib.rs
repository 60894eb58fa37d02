//! Episodes of language-model agents: run, judged and recorded, one step at a time.
//!
//! [`grow`] is where to begin: it asks a [`Policy`] for messages, has an [`Episode`] carry
//! each one out in an [`Environment`] of [`Tool`]s, and hands every step to a sink. What it
//! grows is a [`Tree`]: one a task, one [`Node`] a step, a trajectory a path. Afterwards
//! [`label()`] has a [`Verifier`] judge the steps, [`replay()`] executes them again, and a
//! [`View`] reads one label off several verdicts. [`store`] keeps all of it on disk.
//!
//! The three traits are the seams, and the only ones. This crate knows no model server,
//! search engine, database or sandbox.
//!
//! ```
//! use std::sync::Arc;
//!
//! use plumbline::protocol::Protocol;
//! use plumbline::{
//!     Digest, Environment, EnvironmentParts, Episode, Limits, Observation, Proposal, Scratch,
//!     Tool, ToolError, ToolSpec,
//! };
//! use serde_json::{Value, json};
//!
//! struct Clock(ToolSpec);
//!
//! #[async_trait::async_trait]
//! impl Tool for Clock {
//!     fn spec(&self) -> &ToolSpec {
//!         &self.0
//!     }
//!
//!     async fn call(
//!         &self,
//!         _args: &Value,
//!         _scratch: &mut Scratch,
//!         _limits: &Limits,
//!     ) -> Result<Observation, ToolError> {
//!         Ok(Observation::Output { text: "ten past nine".into(), data: Value::Null })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Clock(ToolSpec {
//!     name: "clock".into(),
//!     description: "Tells the time.".into(),
//!     parameters: json!({ "type": "object", "additionalProperties": false }),
//!     pinned: Digest::of(b"always ten past nine"),
//! });
//! let environment = Environment::new(EnvironmentParts {
//!     name: "station".into(),
//!     prompt: "Answer the traveller.\n\n{{tools}}".into(),
//!     protocol: Protocol::Hermes,
//!     thought_chars_max: 0,
//!     limits: Limits::default(),
//!     tools: vec![Arc::new(clock)],
//! })?;
//! let text = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>";
//! let action = environment.protocol().parse(text).action;
//! let mut episode = Episode::new(&environment, &Value::Null, None);
//! let step = episode
//!     .act(Proposal { text: text.into(), action, seed: 0, tokens: None, elided: vec![] })
//!     .await?;
//! assert_eq!(step.observations[0].text(), "ten past nine");
//! assert_eq!(episode.ending(&step), None, "nobody has answered yet");
//! # Ok(())
//! # }
//! ```

mod action;
mod bundle;
mod cost_ledger;
mod dependency;
mod digest;
mod human;
mod label;
mod limits;
mod python_json;
mod repeated_key;
mod scratch;
mod step;
mod task;
mod text;
mod tree;
mod verdict;
mod view;

mod environment;
mod policy;
mod tool;
mod verifier;

mod call_cache;
mod episode;
mod grade;
mod grow;
mod meter;
mod proportion;

mod conformance;
mod counterfactual;
pub mod policies;
mod regenerate;
mod replay;

mod agreement;
mod audit;
pub mod cases;
pub mod comparators;
mod compare;
mod disagreement;
mod outcome;
mod query;
mod question;
mod summary;

pub mod scale;

pub mod explore;
pub mod export;
pub mod features;
pub mod fusion;
pub mod import;
pub mod mutants;
pub mod program;
pub mod protocol;
pub mod puzzles;
pub mod store;
pub mod verifiers;

pub use action::{Action, ToolCall};
pub use agreement::{
    Agreement, Bin, ClassAgreement, Interval, MistakeAgreement, Prediction, Rated,
};
pub use audit::{Audit, Ground as AuditGround, audit};
pub use bundle::{Bundle, BundleError, Bundled};
pub use call_cache::CallCache;
pub use comparators::{Comparator, Comparison, exact_match, normalise_answer, token_f1};
pub use compare::{Pair, Parting, SideBySide, side_by_side};
pub use conformance::{
    Attempt, Breach, Conformance, Exhibit, Promise, VerifierBreach, VerifierConformance,
    VerifierPromise, conformance, exhibits, verifier_conformance,
};
pub use cost_ledger::{CostLedger, Split};
pub use counterfactual::{Change, CounterfactualError, Prefix, Rest, Worth, prefix};
pub use dependency::{Edge, Link, Place, confirms, dependencies};
pub use digest::{Digest, DigestError};
pub use disagreement::{Dispute, Ledger, PairAgreement};
pub use environment::{Environment, EnvironmentError, EnvironmentParts};
pub use episode::{ActError, Episode};
pub use grade::{GradeError, grade};
pub use grow::{Event, Ground, GrowError, Shape, Sink, SinkError, Start, branch, grow};
pub use human::HumanLabel;
pub use label::{StepLabel, Zero};
pub use limits::{Limits, cut};
pub use meter::Meter;
pub use outcome::{
    Compared, Outcome, Score, document_ids, outcome, outcomes, supporting_recall,
};
pub use policy::{Policy, PolicyError, PolicyId, Prompt, Sampling, Turn, Usage};
pub use proportion::Proportion;
pub use regenerate::{Regeneration, Reworded, regenerate};
pub use replay::{Divergence, Field, fork, replay, replay_evidence};
pub use scratch::Scratch;
pub use step::{Fault, Observation, Proposal, Step, Tokens};
pub use summary::{Endings, Estimate, Estimates, Summary, Tally};
pub use task::{Gold, Task, TaskId};
pub use tool::{Effect, Tool, ToolError, ToolSpec, turn};
pub use tree::{Boundary, Budget, Ending, Node, NodeId, Tree, TreeError};
pub use verdict::{Cost, Evidence, Sight, Verdict, VerifierId};
pub use verifier::{Effort, Seen, Verifier, VerifierError, label};
pub use view::{Labelled, LeakError, View, ViewError};
