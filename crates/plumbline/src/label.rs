//! Step labels.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The label of a step. Words on disk, numbers at export.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StepLabel {
    /// Wrong or harmful.
    Bad = -1,
    /// No progress, not proven, or failed for an external reason: see [`Zero`].
    Neutral = 0,
    /// Right and useful.
    Good = 1,
}

impl StepLabel {
    /// −1, 0 or 1.
    pub fn to_number(self) -> i8 {
        self as i8
    }

    /// The label of a number; `None` for any other.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            -1 => Some(StepLabel::Bad),
            0 => Some(StepLabel::Neutral),
            1 => Some(StepLabel::Good),
            _ => None,
        }
    }

    /// The word on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            StepLabel::Bad => "bad",
            StepLabel::Neutral => "neutral",
            StepLabel::Good => "good",
        }
    }
}

impl fmt::Display for StepLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a label is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zero {
    /// Reasonable, and of no consequence.
    Neutral,
    /// Something outside failed.
    External,
    /// The verifier cannot tell.
    Unknown,
}

impl fmt::Display for Zero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Zero::Neutral => "neutral",
            Zero::External => "external",
            Zero::Unknown => "unknown",
        })
    }
}
