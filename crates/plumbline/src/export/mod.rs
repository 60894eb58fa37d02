//! Exporters: recorded steps become rows of a published format. One file a format; pure.
//!
//! A [`Format`] is given a [`Group`], which is all that was recorded for one task, and gives
//! [`Rows`]: what stands in its files, and what it refused, by reason. It knows no file.
//! [`Format::labels_of`] reads the labels back out of a row.
//!
//! How steps become rewards and advantages stands in [`advantage`]; how labels of three values
//! become a number or a yes or no, in [`Zeros`].

pub mod advantage;
pub mod agent_process_bench;
pub mod openai_chat;

mod atif;
mod atropos;
mod comparison;
mod group;
mod openrlhf;
mod pairs;
mod prm;
mod rollout;
mod settings;
mod skyrl;
mod stepwise;
mod table;
mod tables;
mod trl;
mod verdict_chat;
mod verifiers;
mod verl;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

use crate::Step;
use crate::import::chat;

pub use atif::SCHEMA as ATIF_SCHEMA;
pub use group::{Group, Sample, StepRow, Told, declaration};
pub use openrlhf::SEPARATOR;
pub use settings::{Advantages, Forged, NameError, Rewards, Settings, Worth, Zeros};
pub use table::{Column, Kind};

/// A path as chat messages: the instructions, the question, then each step's message and what
/// its calls came to. Gives with them the index of each step's message.
pub fn messages(system: &str, question: &str, steps: &[&Step]) -> (Vec<Value>, Vec<u32>) {
    let mut messages = vec![
        json!({ "role": "system", "content": system }),
        json!({ "role": "user", "content": question }),
    ];
    let mut indices = Vec::with_capacity(steps.len());
    for step in steps {
        indices.push(u32::try_from(messages.len()).expect("a path is short"));
        messages.extend(chat::write_step(step));
    }
    (messages, indices)
}

/// A published layout that trajectories can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// AgentProcessBench: chat messages, and labels keyed by the message's index.
    AgentProcessBench,
    /// Chat messages with tool calls.
    OpenaiChat,
    /// ATIF, the Agent Trajectory Interchange Format.
    Atif,
    /// SkyRL's generator output, a group a line.
    SkyRl,
    /// verl's multi-turn rows.
    Verl,
    /// Traces of the library verifiers.
    Verifiers,
    /// Atropos' scored groups.
    Atropos,
    /// TRL's stepwise supervision.
    Trl,
    /// A separator token after each step, as OpenRLHF and Math-Shepherd have it.
    OpenRlhf,
    /// Token ids with a label at the last token of each step.
    Prm,
    /// Siblings of one state, the better one and the worse.
    Pairs,
    /// A judge's conversation: the step, and a rationale with its label.
    VerdictChat,
    /// Every step, verdict and trajectory, as three tables.
    Parquet,
}

/// A file of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it is called, without an ending.
    pub name: &'static str,
    /// Its columns; `None` for lines of JSON.
    pub columns: Option<Vec<Column>>,
}

/// What one task's group came to in a format.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    /// The rows of each of the format's files, each an object of JSON on one line.
    pub tables: Vec<Vec<String>>,
    /// What is not there, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Trajectories there were.
    pub trajectories: u64,
}

impl Rows {
    fn push(&mut self, row: &impl Serialize) {
        self.push_to(0, row);
    }

    fn push_to(&mut self, table: usize, row: &impl Serialize) {
        let row = serde_json::to_string(row).expect("a row serialises");
        self.tables[table].push(row);
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refuse_many(refusal, 1);
    }

    fn refuse_many(&mut self, refusal: Refusal, count: usize) {
        if count > 0 {
            *self.refused.entry(refusal).or_default() += count as u64;
        }
    }
}

/// Why a row is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A step's tokens are not known.
    NoTokens,
    /// A prompt is no exact extension of what came before it.
    NotAnExtension,
    /// A step has no sampled token for its reward to stand on.
    NothingSampled,
    /// There are not as many log-probabilities as sampled tokens.
    LogprobsAmiss,
    /// No step has a label that the format can say.
    NoLabel,
    /// No step has a number that the format can say.
    NoNumber,
    /// The trajectory has no outcome, and its reward or advantage needs one.
    NoOutcome,
    /// The advantage needs a value of every state, and a state has too few trajectories going
    /// on from it to say what it is worth.
    NoValue,
    /// No other trajectory of the task is there to be compared with.
    Alone,
    /// Another row says the same of the same steps: trajectories that part after the last one of
    /// which anything is said.
    Repeated,
    /// The trajectory has not ended, or something outside stopped it.
    Unfinished,
    /// The separator stands in the text itself.
    SeparatorInText,
    /// A state has only one step taken from it.
    NoSibling,
    /// Two siblings have the same label.
    EqualSiblings,
    /// No one verifier says the same of two siblings as the view.
    NoCommonVerifier,
    /// A state has more pairs than are written of one.
    EnoughPairs,
    /// Nobody gave a reason for the label.
    NoReason,
    /// Two siblings say the same.
    SameMessage,
    /// Two siblings were told something else before the question.
    ToldOtherwise,
    /// An observation on the way is forged.
    Forged,
}

impl Refusal {
    /// The name in headers and reports.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::NoTokens => "no-tokens",
            Refusal::NotAnExtension => "not-an-extension",
            Refusal::NothingSampled => "nothing-sampled",
            Refusal::LogprobsAmiss => "logprobs-amiss",
            Refusal::NoLabel => "no-label",
            Refusal::NoNumber => "no-number",
            Refusal::NoOutcome => "no-outcome",
            Refusal::NoValue => "no-value",
            Refusal::Alone => "alone",
            Refusal::Repeated => "repeated",
            Refusal::Unfinished => "unfinished",
            Refusal::SeparatorInText => "separator-in-text",
            Refusal::NoSibling => "no-sibling",
            Refusal::EqualSiblings => "equal-siblings",
            Refusal::NoCommonVerifier => "no-common-verifier",
            Refusal::EnoughPairs => "enough-pairs",
            Refusal::NoReason => "no-reason",
            Refusal::SameMessage => "same-message",
            Refusal::ToldOtherwise => "told-otherwise",
            Refusal::Forged => "forged",
        }
    }

    /// Why a row is not there that would say what is said of steps.
    fn nothing_said(settings: &Settings) -> Self {
        match settings.worth {
            Worth::Label => Refusal::NoLabel,
            Worth::Number => Refusal::NoNumber,
        }
    }

    /// What would bring the rows about.
    pub fn remedy(self) -> &'static str {
        match self {
            Refusal::NoTokens => {
                "token ids come from a local model: plumb run ENV --policy llama:default"
            }
            Refusal::NotAnExtension => {
                "the context was shortened on the way: run with fewer steps or a larger context"
            }
            Refusal::NothingSampled | Refusal::LogprobsAmiss => {
                "the record is not whole: run the task again"
            }
            Refusal::NoLabel | Refusal::NoReason => {
                "plumb label RUN, or choose another --view, or --zeros positive"
            }
            Refusal::NoNumber => {
                "the verifier gives labels alone, or numbers outside of 0 to 1 where chances are \
                 asked for: leave --numbers out"
            }
            Refusal::NoOutcome => {
                "give the task gold, or choose --rewards step and --advantages grpo"
            }
            Refusal::NoValue => {
                "a state is worth what two or more trajectories through it come to: plumb \
                 explore grows trees that branch at each step (--method list says which), or \
                 choose another --advantages"
            }
            Refusal::Alone => "run with --samples 2 or more",
            Refusal::Repeated => "one row is enough",
            Refusal::Unfinished => "plumb run with the same --out goes on with the run",
            Refusal::SeparatorInText => "choose another format: trl has the same labels",
            Refusal::NoSibling => "run with --samples 2 or more",
            Refusal::EqualSiblings => {
                "run with more --samples, or label with more verifiers"
            }
            Refusal::NoCommonVerifier => "name one with --verifier",
            Refusal::EnoughPairs => "a state has enough of them",
            Refusal::SameMessage => {
                "run with more --samples, or at a higher --temperature"
            }
            Refusal::ToldOtherwise => {
                "import trajectories with different instructions as runs of their own"
            }
            Refusal::Forged => {
                "no tool gave an observation on the way: --forged writes the row all the same"
            }
        }
    }
}

impl Format {
    /// Every format, in the order they are listed to users.
    pub const ALL: [Format; 13] = [
        Format::AgentProcessBench,
        Format::OpenaiChat,
        Format::Atif,
        Format::SkyRl,
        Format::Verl,
        Format::Verifiers,
        Format::Atropos,
        Format::Trl,
        Format::OpenRlhf,
        Format::Prm,
        Format::Pairs,
        Format::VerdictChat,
        Format::Parquet,
    ];

    /// The name on the command line, and of its file.
    pub fn name(self) -> &'static str {
        match self {
            Format::AgentProcessBench => "agentprocessbench",
            Format::OpenaiChat => "openai-chat",
            Format::Atif => "atif",
            Format::SkyRl => "skyrl",
            Format::Verl => "verl",
            Format::Verifiers => "verifiers",
            Format::Atropos => "atropos",
            Format::Trl => "trl",
            Format::OpenRlhf => "openrlhf",
            Format::Prm => "prm",
            Format::Pairs => "pairs",
            Format::VerdictChat => "verdict-chat",
            Format::Parquet => "parquet",
        }
    }

    /// Its files.
    pub fn tables(self) -> Vec<Table> {
        match self {
            Format::Verl => {
                vec![Table { name: self.name(), columns: Some(verl::columns()) }]
            }
            Format::Parquet => tables::tables(),
            _ => vec![Table { name: self.name(), columns: None }],
        }
    }

    /// Whether it wants to know what became of each trajectory.
    pub fn wants_outcomes(self) -> bool {
        matches!(
            self,
            Format::Atif
                | Format::SkyRl
                | Format::Verl
                | Format::Verifiers
                | Format::Atropos
                | Format::Parquet
        )
    }

    /// Whether its rows can say any number of a step.
    pub fn has_numbers(self) -> bool {
        let are_soft = matches!(self, Format::OpenRlhf | Format::Prm | Format::Pairs);
        self.has_rewards() || are_soft
    }

    /// Whether its rows have rewards.
    pub fn has_rewards(self) -> bool {
        self == Format::SkyRl || self.has_advantages()
    }

    /// Whether its rows have advantages. SkyRL's trainer computes its own.
    pub fn has_advantages(self) -> bool {
        matches!(self, Format::Verl | Format::Verifiers | Format::Atropos)
    }

    /// Whether its rows say in words what the model was told.
    pub fn tells(self) -> bool {
        !matches!(self, Format::SkyRl | Format::Prm | Format::VerdictChat)
    }

    /// Whether its rows hold the gold, whatever their labels saw.
    pub fn holds_gold(self) -> bool {
        matches!(
            self,
            Format::AgentProcessBench
                | Format::Atif
                | Format::Verl
                | Format::Verifiers
                | Format::Parquet
        )
    }

    /// Whether its rows hold what trajectories came to, whatever their labels saw.
    pub fn holds_outcomes(self) -> bool {
        matches!(self, Format::Atif | Format::Verifiers | Format::Parquet)
    }

    /// Whether its labels are a yes or no, so that a zero cannot stay one.
    pub fn is_binary(self) -> bool {
        matches!(self, Format::Trl | Format::OpenRlhf)
    }

    /// What becomes of a zero unless the user says: it stays where it can.
    pub fn zeros(self) -> Zeros {
        if self.is_binary() { Zeros::Drop } else { Zeros::Keep }
    }

    /// What its labels or rewards are, and where they stand.
    pub fn scale(self) -> &'static str {
        match self {
            Format::AgentProcessBench => {
                "step_labels: -1 bad, 0 neutral, 1 good, by the index of the assistant message"
            }
            Format::OpenaiChat => "no labels",
            Format::Atif => "steps[].extra.label: -1 bad, 0 neutral, 1 good",
            Format::SkyRl => {
                "rewards: one number a response token; a step's reward on its last sampled token"
            }
            Format::Verl => {
                "token_level_rewards and advantages: one number a response token; a step's reward \
                 on its last sampled token, its advantage on each"
            }
            Format::Verifiers => {
                "info.step_rewards: one number a sampled node; nodes[].advantages: one a sampled \
                 token"
            }
            Format::Atropos => {
                "scores: the sum of a trajectory's step rewards; advantages: one number a token"
            }
            Format::Trl => "labels: true good, false bad",
            Format::OpenRlhf => "label: + good, - bad, one for each separator in input",
            Format::Prm => {
                "labels: -1 bad, 0 neutral, 1 good at a step's last sampled token, -100 elsewhere"
            }
            Format::Pairs => "chosen is labelled above rejected: good, neutral, bad",
            Format::VerdictChat => {
                "the last message ends in <label>good|neutral|bad</label>"
            }
            Format::Parquet => "label: -1 bad, 0 neutral, 1 good",
        }
    }

    /// Writes a group.
    pub fn rows(self, group: &Group<'_>, settings: &Settings) -> Rows {
        let tables = vec![vec![]; self.tables().len()];
        let mut rows = Rows { tables, ..Rows::default() };
        rows.trajectories = group.tree.leaves().len() as u64;
        match self {
            Format::AgentProcessBench => {
                agent_process_bench::rows(group, settings, &mut rows)
            }
            Format::OpenaiChat => openai_chat::rows(group, &mut rows),
            Format::Atif => atif::rows(group, settings, &mut rows),
            Format::SkyRl => skyrl::rows(group, settings, &mut rows),
            Format::Verl => verl::rows(group, settings, &mut rows),
            Format::Verifiers => verifiers::rows(group, settings, &mut rows),
            Format::Atropos => atropos::rows(group, settings, &mut rows),
            Format::Trl => trl::rows(group, settings, &mut rows),
            Format::OpenRlhf => openrlhf::rows(group, settings, &mut rows),
            Format::Prm => prm::rows(group, settings, &mut rows),
            Format::Pairs => pairs::rows(group, settings, &mut rows),
            Format::VerdictChat => verdict_chat::rows(group, settings, &mut rows),
            Format::Parquet => tables::rows(group, settings, &mut rows),
        }
        rows
    }

    /// The labels that a row of the format's first file holds; `None` if it is no such row.
    /// A yes reads as good and a no as bad. For AgentProcessBench and the chats there is
    /// [`import`](crate::import).
    pub fn labels_of(self, row: &Value) -> Option<Vec<StepRow>> {
        match self {
            Format::AgentProcessBench | Format::OpenaiChat => None,
            Format::Atif => atif::labels_of(row),
            Format::SkyRl => skyrl::labels_of(row),
            Format::Verl => verl::labels_of(row),
            Format::Verifiers => verifiers::labels_of(row),
            Format::Atropos => atropos::labels_of(row),
            Format::Trl => trl::labels_of(row),
            Format::OpenRlhf => openrlhf::labels_of(row),
            Format::Prm => prm::labels_of(row),
            Format::Pairs => pairs::labels_of(row),
            Format::VerdictChat => verdict_chat::labels_of(row),
            Format::Parquet => tables::labels_of(row),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no format.
#[derive(Debug, thiserror::Error)]
#[error("no format is called {name:?}; there are: {known}")]
pub struct FormatError {
    name: String,
    known: String,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| FormatError {
            name: name.to_owned(),
            known: Self::ALL.map(Format::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests;
