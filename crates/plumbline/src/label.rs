//! Step labels, and views: named ways to read one label off several verdicts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Evidence, NodeId, Verdict};

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

/// A named way to read one label off a step's verdicts. A view executes nothing and asks no
/// model, so it can be changed after the fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Each step by itself: bad if any verdict is bad, else good if any is good.
    StrictLocal,
    /// As `strict-local`, over verdicts that something executed stands behind.
    ExecutionOnly,
    /// As `strict-local`, over verdicts that saw neither gold nor later steps.
    Online,
}

impl View {
    /// Every view, in the order they are listed to users.
    pub const ALL: [View; 3] = [View::StrictLocal, View::ExecutionOnly, View::Online];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            View::StrictLocal => "strict-local",
            View::ExecutionOnly => "execution-only",
            View::Online => "online",
        }
    }

    /// The label of a node, with the verdicts that decided it; `None` if no verdict that
    /// this view admits has a label.
    pub fn label(
        self,
        node: NodeId,
        verdicts: &[Verdict],
    ) -> Option<(StepLabel, Vec<&Verdict>)> {
        let admitted: Vec<&Verdict> = verdicts
            .iter()
            .filter(|verdict| verdict.node == node && self.admits(verdict))
            .collect();
        let labels = || admitted.iter().filter_map(|verdict| verdict.label);
        let label = labels()
            .find(|label| *label == StepLabel::Bad)
            .or_else(|| labels().find(|label| *label == StepLabel::Good))
            .or_else(|| labels().next())?;
        let deciding =
            admitted.into_iter().filter(|verdict| verdict.label == Some(label));
        Some((label, deciding.collect()))
    }

    fn admits(self, verdict: &Verdict) -> bool {
        match self {
            View::StrictLocal => true,
            View::ExecutionOnly => {
                verdict.evidence.iter().any(|e| matches!(e, Evidence::Execution { .. }))
            }
            View::Online => verdict.saw.is_online(),
        }
    }
}

/// A name that is no view.
#[derive(Debug, thiserror::Error)]
#[error("no view is called {0:?}; there are: strict-local, execution-only, online")]
pub struct ViewError(String);

impl FromStr for View {
    type Err = ViewError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|view| view.name() == name);
        known.ok_or_else(|| ViewError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cost, Sight, VerifierId};

    fn verdict(label: Option<StepLabel>, saw: Sight) -> Verdict {
        Verdict {
            node: NodeId(0),
            verifier: VerifierId("test@1".into()),
            value: serde_json::Value::Null,
            label,
            zero: None,
            confidence: None,
            reason: String::new(),
            evidence: vec![],
            saw,
            cost: Cost::default(),
        }
    }

    #[test]
    fn bad_outweighs_good_outweighs_neutral() {
        use StepLabel::{Bad, Good, Neutral};
        let check = |labels: &[Option<StepLabel>], expect: Option<StepLabel>| {
            let verdicts: Vec<Verdict> =
                labels.iter().map(|label| verdict(*label, Sight::ONLINE)).collect();
            let label = View::StrictLocal.label(NodeId(0), &verdicts);
            assert_eq!(label.map(|(label, _)| label), expect, "{labels:?}");
        };
        check(&[], None);
        check(&[None], None);
        check(&[Some(Neutral)], Some(Neutral));
        check(&[Some(Neutral), Some(Good)], Some(Good));
        check(&[Some(Good), Some(Bad), None], Some(Bad));
    }

    #[test]
    fn the_online_view_ignores_what_saw_gold() {
        let verdicts = [
            verdict(Some(StepLabel::Bad), Sight::GOLD),
            verdict(Some(StepLabel::Good), Sight::ONLINE),
        ];
        let (label, deciding) =
            View::Online.label(NodeId(0), &verdicts).expect("one verdict is online");
        assert_eq!((label, deciding.len()), (StepLabel::Good, 1));
        assert!(View::ExecutionOnly.label(NodeId(0), &verdicts).is_none());
    }
}
