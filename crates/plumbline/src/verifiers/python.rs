//! What the verifiers of Python share.
//!
//! A step is judged by running it once more, on a fork of the state before it, inside a
//! probe that looks at what the cells say and at what became of the frames they touch. The
//! probe is itself a call of the tool `python`, and the evidence of what it finds. What the
//! code leaves of the interpreter is not to be trusted, and neither is a report from there:
//! one that cannot be read is no finding.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::comparators::numbers;
use crate::{
    Action, Digest, Environment, Evidence, NodeId, Observation, Step, Task, ToolCall,
    Tree, VerifierError, VerifierId, fork,
};

/// What the tool is called in every environment.
pub(super) const TOOL: &str = "python";
/// The function that the probe defines, in the language it is run in.
const PROBE: &str = include_str!("python_probe.py");
/// Begins the line with the probe's report.
const MARK: &str = "plumb-probe ";

/// Runs steps again, inside the probe.
pub(super) struct Prober {
    environment: Arc<Environment>,
}

/// A probe that was made.
pub(super) struct Probed {
    pub(super) evidence: Evidence,
    pub(super) report: Report,
}

/// What the probe says of the cells of a step; lists are of things to be shown to people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// The type of an exception that a cell ended in.
    pub(super) exception: Option<String>,
    /// All the cells do is read files and look at what is there.
    pub(super) looks: bool,
    /// An output names a value in the form of an answer, `@name[..]`.
    pub(super) claims: bool,
    /// Outputs: printed, or the value of a last expression.
    pub(super) outputs: u32,
    /// Those that rest on what some file holds.
    pub(super) grounded: u32,
    /// Numbers that stand in outputs which rest on no file.
    pub(super) literals: Vec<String>,
    /// Answers, `@name[value]`, of which the value stands in the code.
    pub(super) written: Vec<String>,
    /// Names of the files in the task's folder that were opened as the cells ran.
    pub(super) opened: Vec<String>,
    /// Files that were read and then used for nothing but a glance.
    pub(super) unused: Vec<String>,
    /// Names of modules and builtins that were given another meaning.
    pub(super) shadowed: Vec<String>,
    /// Statements whose result is thrown away.
    pub(super) discarded: Vec<String>,
    /// Assignments to a copy.
    pub(super) chained: Vec<String>,
    /// Columns that a constant replaced.
    pub(super) overwritten: Vec<String>,
    /// Frames that were made and have no rows.
    pub(super) empty: Vec<String>,
    /// Columns that lost values when they were converted.
    pub(super) lost: Vec<String>,
    /// Joins with more rows than either side.
    pub(super) exploded: Vec<String>,
    /// Results that are not a number.
    pub(super) nan: Vec<String>,
}

impl Prober {
    pub(super) fn new(environment: Arc<Environment>) -> Self {
        Self { environment }
    }

    /// Probes a step that runs cells, or answers: then nothing is run, and the report is on
    /// the cells that led to the answer. `None` where there is nothing to probe, and where
    /// the report cannot be read.
    pub(super) async fn probe(
        &self,
        verifier: &VerifierId,
        task: &Task,
        tree: &Tree,
        node: NodeId,
    ) -> Result<Option<Probed>, VerifierError> {
        let path = tree.path(node);
        let Some(((_, judged), earlier)) = path.split_last() else { return Ok(None) };
        let cells: Vec<&str> = cells(&judged.step).collect();
        let answers = matches!(judged.step.proposal.action, Action::Answer { .. });
        let has_tool = self.environment.tool(TOOL).is_some();
        if (cells.is_empty() && !answers) || !has_tool {
            return Ok(None);
        }
        let earlier: Vec<&str> =
            earlier.iter().flat_map(|(_, node)| self::cells(&node.step)).collect();
        let code = format!("{PROBE}\n_plumb_probe({}, {})", json!(earlier), json!(cells));
        let args = json!({ "code": code });
        let call = ToolCall { id: "call_0".into(), tool: TOOL.into(), args };
        let failed = |error: crate::ActError| VerifierError::Failed {
            verifier: verifier.clone(),
            message: error.to_string(),
        };
        let checks = Some(self.environment.checks());
        let state = fork(&self.environment, task, tree, judged.parent, checks).await;
        let observation = state.map_err(failed)?.call(&call).await.map_err(failed)?;
        let stdout = observation.data().get("stdout").and_then(Value::as_str);
        let mut lines = stdout.unwrap_or_default().lines().rev();
        let report = lines.find_map(|line| line.strip_prefix(MARK));
        let report = report.and_then(|report| serde_json::from_str(report).ok());
        Ok(report.map(|report| {
            let result = Digest::of_json(&observation);
            Probed { evidence: Evidence::Execution { call, result }, report }
        }))
    }
}

/// What the steps of a path opened as they ran.
pub(super) struct Opened {
    pub(super) files: BTreeSet<String>,
    /// The probes that saw it.
    pub(super) evidence: Vec<Evidence>,
}

impl Prober {
    /// The task's files that were opened up to a step, which is probed with all before it.
    /// `None` where that is not known of one of them.
    pub(super) async fn opened(
        &self,
        verifier: &VerifierId,
        task: &Task,
        tree: &Tree,
        node: NodeId,
    ) -> Result<Option<Opened>, VerifierError> {
        let mut opened = Opened { files: BTreeSet::new(), evidence: vec![] };
        for (id, node) in tree.path(node) {
            if cells(&node.step).next().is_none() {
                continue;
            }
            let Some(probed) = self.probe(verifier, task, tree, id).await? else {
                return Ok(None);
            };
            opened.files.extend(probed.report.opened);
            opened.evidence.push(probed.evidence);
        }
        Ok(Some(opened))
    }
}

/// The files of a task.
pub(super) fn files(task: &Task) -> Vec<&str> {
    let files = task.inputs.get("files").and_then(Value::as_array);
    files.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether all numbers in some texts stand in the task, or in what earlier steps showed.
pub(super) fn are_known(texts: &[String], earlier: &[&Step], task: &Task) -> bool {
    let shown = earlier.iter().flat_map(|step| outputs(step));
    let known: Vec<f64> = shown.chain([task.prompt.as_str()]).flat_map(numbers).collect();
    texts.iter().flat_map(|text| numbers(text)).all(|number| known.contains(&number))
}

/// The cells that a step runs, in order.
pub(super) fn cells(step: &Step) -> impl Iterator<Item = &str> {
    let calls = step.proposal.action.calls().iter().filter(|call| call.tool == TOOL);
    calls.filter_map(|call| call.args.get("code").and_then(Value::as_str))
}

/// What the cells of a step print and echo.
pub(super) fn outputs(step: &Step) -> impl Iterator<Item = &str> {
    let calls = step.proposal.action.calls().iter().zip(&step.observations);
    let ours = calls.filter(|(call, _)| call.tool == TOOL);
    ours.flat_map(|(_, observation)| printed(observation))
}

fn printed(observation: &Observation) -> impl Iterator<Item = &str> {
    let part = |name| observation.data().get(name).and_then(Value::as_str);
    [part("stdout"), part("echo")].into_iter().flatten()
}
