//! `python-silent@1`: a cell that runs to its end and does not do what it looks like.

use std::sync::Arc;

use async_trait::async_trait;

use crate::verifiers::python::{Prober, Report};
use crate::verifiers::{Finding, verdict};
use crate::{
    Cost, Environment, NodeId, Seen, Sight, Tree, Verdict, Verifier, VerifierError,
    VerifierId, Zero,
};

/// Looks for errors that raise no exception. Bad, with a list of what was found as the value:
///
/// * `nan-result`: the result is not a number, or the answer is given as one;
/// * `empty-frame`: a frame without rows was made, and a result given all the same;
/// * `lost-values`: a conversion (`to_numeric`, `to_datetime`, `map`, `extract`, `apply`)
///   left more than 10 % of a column missing than any column had missing before;
/// * `row-explosion`: a join has more rows than either side;
/// * `no-op`: an assignment to a copy (chained, or `inplace` on a column), or a statement
///   whose result is thrown away (`frame.dropna()`);
/// * `shadowed`: a builtin or a module was given another meaning, or a column of the data
///   was replaced by a constant.
///
/// A cell that only reads and looks (`head`, `describe`, `value_counts`, ...) is
/// exploration, and neutral whatever it sees. Cells that end in an exception get no verdict
/// here, nor do cells in which nothing is found.
///
/// The step is run again on a fork of the state before it; that is the evidence.
pub struct PythonSilent {
    id: VerifierId,
    prober: Prober,
}

impl PythonSilent {
    /// Runs steps again in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("python-silent@1".to_owned());
        Self { id, prober: Prober::new(environment) }
    }
}

#[async_trait]
impl Verifier for PythonSilent {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let mut verdicts = Vec::new();
        for &node in nodes {
            let calls = tree.get(node).map(|node| node.step.proposal.action.calls());
            if calls.is_none_or(<[_]>::is_empty) {
                continue;
            }
            let probed = self.prober.probe(&self.id, seen.task, tree, node).await?;
            let Some(probed) = probed else { continue };
            let Some(finding) = find(&probed.report) else { continue };
            let finding = finding.resting_on(vec![probed.evidence]);
            let cost = Cost { calls: 1, tokens: 0 };
            verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
        }
        Ok(verdicts)
    }
}

fn find(report: &Report) -> Option<Finding> {
    if report.exception.is_some() {
        return None;
    }
    if report.looks {
        let reason = "it reads and looks, and computes nothing".to_owned();
        return Some(Finding::neutral(Zero::Neutral, vec!["exploration"], reason));
    }
    let faults: [(&[String], &str, &str); 8] = [
        (&report.nan, "nan-result", "the result is not a number"),
        (&report.lost, "lost-values", "values were lost when they were converted"),
        (&report.exploded, "row-explosion", "a join has more rows than either side"),
        (&report.chained, "no-op", "it is assigned to a copy, and changes nothing"),
        (&report.discarded, "no-op", "the result is thrown away"),
        (&report.overwritten, "shadowed", "a constant replaced the data"),
        (&report.shadowed, "shadowed", "a name of Python's own got another meaning"),
        (&report.empty, "empty-frame", "no rows are left"),
    ];
    let found = faults.into_iter().filter(|(found, ..)| !found.is_empty());
    let found: Vec<(&[String], &str, &str)> = found.collect();
    let (_, first, _) = found.first()?;
    let kinds: Vec<&str> = found.iter().map(|(_, kind, _)| *kind).collect();
    let told =
        found.iter().map(|(shown, _, what)| format!("{what}: {}", shown.join("; ")));
    let reason = told.collect::<Vec<String>>().join(". ");
    if *first == "empty-frame" && !report.claims {
        // It may be what was to be found out.
        return Some(Finding::neutral(Zero::Unknown, kinds, reason));
    }
    Some(Finding::bad(kinds, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepLabel;

    #[test]
    fn the_first_fault_is_told_and_looking_is_none() {
        let read =
            |json: serde_json::Value| serde_json::from_value(json).expect("a report");
        for (report, expected) in [
            (
                serde_json::json!({ "nan": ["nan"], "looks": true }),
                Some(StepLabel::Neutral),
            ),
            (serde_json::json!({ "nan": ["@a[nan]"] }), Some(StepLabel::Bad)),
            (serde_json::json!({ "nan": ["nan"], "exception": "KeyError" }), None),
            (serde_json::json!({ "empty": ["x"] }), Some(StepLabel::Neutral)),
            (serde_json::json!({ "empty": ["x"], "claims": true }), Some(StepLabel::Bad)),
            (serde_json::json!({ "discarded": ["x.dropna()"] }), Some(StepLabel::Bad)),
            (serde_json::json!({}), None),
        ] {
            let found = find(&read(report.clone()));
            assert_eq!(found.and_then(|finding| finding.label), expected, "{report}");
        }
    }
}
