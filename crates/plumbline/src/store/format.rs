//! What stands in the files: types shared by writer and reader.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CostLedger, Digest, Ending, Fault, NodeId, Observation, Proposal, TaskId, Verdict,
};

/// The version this program writes.
pub const FORMAT: Version = Version { major: 1, minor: 4 };

/// The version of a file's format. A reader accepts its own major version, and minor
/// versions up to its own: a newer minor may hold what it would drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Changes when an old reader would misread.
    pub major: u32,
    /// Changes when something was added.
    pub minor: u32,
}

impl Version {
    /// Whether this program can read a file of this version.
    pub fn is_readable(self) -> bool {
        let Version { major, minor } = FORMAT;
        self.major == major && (0..=minor).contains(&self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a run is: everything needed to resume it, to replay it, and to tell it from others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// The format of every file of the run.
    pub format: Version,
    /// The environment as the user named it: a name or a path.
    pub environment: String,
    /// Digest of the environment: prompt, protocol, limits, tools with their data.
    pub environment_digest: Digest,
    /// Each tool's pinned data, by name.
    pub tools: BTreeMap<String, Digest>,
    /// Digest of the tasks asked for, in order.
    pub tasks_digest: Digest,
    /// How many tasks were asked for.
    pub tasks: u64,
    /// The policy's id.
    pub policy: String,
    /// The run's seed.
    pub seed: u64,
    /// Episodes for each task.
    pub samples: u32,
    /// Every setting as it was resolved from manifest, configuration file and flags.
    pub settings: Value,
    /// When the run was begun: seconds since 1970, by the host's clock.
    pub begun_unix_s: u64,
    /// Where it was begun.
    pub host: Host,
}

impl RunHeader {
    /// Why another start of the same command would not be the same run; `None` if it is.
    pub fn conflict(&self, other: &RunHeader) -> Option<String> {
        let differs = |what: &str, one: &dyn fmt::Display, two: &dyn fmt::Display| {
            let (one, two) = (one.to_string(), two.to_string());
            (one != two).then(|| format!("{what} was {one} and is now {two}"))
        };
        let limit = |header: &RunHeader, name: &str| {
            header.settings["limits"].get(name).map_or_else(String::new, Value::to_string)
        };
        let limits = self.settings["limits"].as_object();
        let changed = limits
            .into_iter()
            .flatten()
            .find_map(|(name, _)| differs(name, &limit(self, name), &limit(other, name)));
        changed
            .or_else(|| {
                differs(
                    "the environment's digest",
                    &self.environment_digest,
                    &other.environment_digest,
                )
            })
            .or_else(|| {
                differs("the tasks' digest", &self.tasks_digest, &other.tasks_digest)
            })
            .or_else(|| differs("the policy", &self.policy, &other.policy))
            .or_else(|| differs("the seed", &self.seed, &other.seed))
            .or_else(|| differs("samples", &self.samples, &other.samples))
            .or_else(|| {
                let of = |header: &RunHeader| header.settings["counterfactual"].clone();
                differs("the counterfactual", &of(self), &of(other))
            })
            .or_else(|| {
                let kind = |header: &RunHeader| match header.settings["explore"].as_bool()
                {
                    Some(true) => "a run of plumb explore",
                    _ => "none of plumb explore",
                };
                differs("it", &kind(self), &kind(other))
            })
            .or_else(|| {
                let of = |header: &RunHeader| header.settings["from"].clone();
                differs("the digest of what it judges", &of(self), &of(other))
            })
            .or_else(|| {
                let of = |header: &RunHeader| header.settings["tree"].clone();
                differs("the tree", &of(self), &of(other))
            })
    }
}

/// The machine a run was begun on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system and processor architecture: `linux-x86_64`.
    pub platform: String,
    /// Cores.
    pub cores: u64,
    /// The version of this program.
    pub plumb: String,
}

/// One line of `steps.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StepsLine<'a> {
    Format {
        name: Cow<'a, str>,
        version: Version,
    },
    Node(NodeLine<'a>),
    Ending {
        task: Cow<'a, TaskId>,
        node: Option<NodeId>,
        /// Where there is no node: the seed of the first step that did not come about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
        ending: Cow<'a, Ending>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeLine<'a> {
    pub(super) task: Cow<'a, TaskId>,
    pub(super) node: NodeId,
    pub(super) parent: Option<NodeId>,
    pub(super) proposal: Cow<'a, Proposal>,
    pub(super) observations: Vec<StoredObservation<'a>>,
    pub(super) scratch: Digest,
}

/// An observation as it lies in a line: itself, or a reference to a blob.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StoredObservation<'a> {
    Output {
        text: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "is_null")]
        data: Cow<'a, Value>,
    },
    Fault {
        fault: Fault,
        message: Cow<'a, str>,
    },
    Blob {
        digest: Digest,
        bytes: u64,
    },
}

fn is_null(value: &Value) -> bool {
    value.is_null()
}

impl<'a> StoredObservation<'a> {
    pub(super) fn inline(observation: &'a Observation) -> Self {
        match observation {
            Observation::Output { text, data } => {
                Self::Output { text: Cow::Borrowed(text), data: Cow::Borrowed(data) }
            }
            Observation::Fault { fault, message } => {
                Self::Fault { fault: *fault, message: Cow::Borrowed(message) }
            }
        }
    }
}

/// One line of `verdicts/<verifier>.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum VerdictsLine<'a> {
    Format {
        name: Cow<'a, str>,
        version: Version,
    },
    /// All verdicts on one tree, on one line: a crash leaves all of them or none. The
    /// verifier has judged every node the tree had; silence on one is abstention.
    Judged {
        task: Cow<'a, TaskId>,
        nodes: u32,
        shown: Digest,
        verdicts: Cow<'a, [Verdict]>,
        /// What they cost, where a tree method gave them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ledger: Option<CostLedger>,
    },
}

pub(super) const STEPS: &str = "plumbline.steps";
pub(super) const VERDICTS: &str = "plumbline.verdicts";
