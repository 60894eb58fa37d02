//! What the user chooses where a format leaves a choice.

use std::fmt;
use std::str::FromStr;

use crate::scale::{ZeroPolicy, to_binary};
use crate::{Labelled, StepLabel, Zero};

/// What a format is told beside the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What becomes of zeros.
    pub zeros: Zeros,
    /// What is said of a step.
    pub worth: Worth,
    /// What a step earns.
    pub rewards: Rewards,
    /// What that is compared with.
    pub advantages: Advantages,
    /// What becomes of trajectories with a forged observation, where the format cannot say
    /// that it is.
    pub forged: Forged,
}

/// What is said of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Its label.
    Label,
    /// The number that its verdict gives it, which may be any: see
    /// [`number`](crate::explore::number).
    Number,
}

/// What becomes of a trajectory with an observation that no tool gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forged {
    /// It is left out: whoever learns from it learns from what did not happen.
    Refuse,
    /// It stays.
    Keep,
}

/// What becomes of a label that is neither good nor bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    /// It is left out: no label, and in training no part of the loss.
    Drop,
    /// It stays 0.
    Keep,
    /// A step of no consequence counts as good. One that failed for an external reason, or
    /// of which the verifier cannot tell, is left out all the same: it says nothing.
    Positive,
}

impl Zeros {
    /// Every way, in the order they are listed to users.
    pub const ALL: [Zeros; 3] = [Zeros::Drop, Zeros::Keep, Zeros::Positive];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Zeros::Drop => "drop",
            Zeros::Keep => "keep",
            Zeros::Positive => "positive",
        }
    }

    /// What became of zeros, for the header.
    pub fn sentence(self) -> &'static str {
        match self {
            Zeros::Drop => "a zero of any kind is left out",
            Zeros::Keep => "a zero stays 0, whatever its kind",
            Zeros::Positive => {
                "a neutral zero counts as good; an external or unknown one is left out"
            }
        }
    }

    /// What becomes of a label; `None` where it is left out.
    pub fn treat(self, label: StepLabel, zero: Option<Zero>) -> Option<StepLabel> {
        match (label, zero, self) {
            (StepLabel::Good | StepLabel::Bad, ..) | (_, _, Zeros::Keep) => Some(label),
            (StepLabel::Neutral, _, Zeros::Drop) => None,
            (StepLabel::Neutral, Some(Zero::External | Zero::Unknown), _) => None,
            (StepLabel::Neutral, _, Zeros::Positive) => Some(StepLabel::Good),
        }
    }

    /// A label as a number, where it is not left out.
    pub fn number(self, labelled: &Labelled<'_>) -> Option<i8> {
        self.treat(labelled.label, labelled.zero).map(StepLabel::to_number)
    }

    /// A label as a yes or no, where it is not left out. A zero that is kept is neither, and
    /// so is left out.
    pub fn truth(self, labelled: &Labelled<'_>) -> Option<bool> {
        let policy = match self {
            Zeros::Drop | Zeros::Keep => ZeroPolicy::Drop,
            Zeros::Positive => ZeroPolicy::KeepAsPositive,
        };
        to_binary(labelled.label, labelled.zero, policy)
    }
}

/// What a step earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewards {
    /// Its label's number; a step without a label 0.
    Step,
    /// Nothing, and the last step the outcome, 0 to 1.
    Outcome,
    /// Its label's number, and the last step the outcome as well.
    Both,
    /// Process plus outcome minus 1: see [`renorm`](super::advantage::renorm). A label is 1,
    /// ½ or 0 there, and the outcome 1 or 0.
    Renorm,
}

impl Rewards {
    /// Every kind, in the order they are listed to users.
    pub const ALL: [Rewards; 4] =
        [Rewards::Step, Rewards::Outcome, Rewards::Both, Rewards::Renorm];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Rewards::Step => "step",
            Rewards::Outcome => "outcome",
            Rewards::Both => "both",
            Rewards::Renorm => "ppr",
        }
    }
}

/// What a reward is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advantages {
    /// Trajectories of one task, by their summed rewards: [`grpo`](super::advantage::grpo).
    Grpo,
    /// The same, leaving each one out: [`rloo`](super::advantage::rloo).
    Rloo,
    /// Steps taken from one state: [`turn`](super::advantage::turn).
    Turn,
    /// The same over their spread: [`sibling`](super::advantage::sibling).
    Sibling,
    /// What trajectories through the same state came to: [`gae`](super::advantage::gae), with
    /// a gamma of 1 and a lambda of 0.95.
    Gae,
    /// The outcomes below a step, below the state it was taken from and of all trajectories:
    /// [`tree`](super::advantage::tree).
    Tree,
    /// Outcomes with outcomes and steps with steps: [`dual`](super::advantage::dual), with a
    /// beta of 0.3.
    Dual,
}

impl Advantages {
    /// Every kind, in the order they are listed to users.
    pub const ALL: [Advantages; 7] = [
        Advantages::Grpo,
        Advantages::Rloo,
        Advantages::Turn,
        Advantages::Sibling,
        Advantages::Gae,
        Advantages::Tree,
        Advantages::Dual,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Advantages::Grpo => "grpo",
            Advantages::Rloo => "rloo",
            Advantages::Turn => "turn",
            Advantages::Sibling => "sibling",
            Advantages::Gae => "gae",
            Advantages::Tree => "tree",
            Advantages::Dual => "dual",
        }
    }

    /// Whether it looks at outcomes, whatever the rewards are.
    pub fn reads_outcomes(self) -> bool {
        matches!(self, Advantages::Tree | Advantages::Dual)
    }
}

/// A name that is none of those there are.
#[derive(Debug, thiserror::Error)]
#[error("{name:?} is none of {known}")]
pub struct NameError {
    name: String,
    known: String,
}

fn find<T: Copy>(
    name: &str,
    all: &[T],
    of: impl Fn(T) -> &'static str,
) -> Result<T, NameError> {
    let found = all.iter().copied().find(|one| of(*one) == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = all.iter().copied().map(of).collect();
        NameError { name: name.to_owned(), known: known.join(", ") }
    })
}

impl FromStr for Zeros {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        find(name, &Self::ALL, Self::name)
    }
}

impl FromStr for Rewards {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        find(name, &Self::ALL, Self::name)
    }
}

impl FromStr for Advantages {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        find(name, &Self::ALL, Self::name)
    }
}

impl fmt::Display for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
