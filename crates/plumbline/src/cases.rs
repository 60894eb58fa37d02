//! Verifier tests as data: trajectories with the expected verdicts in the margin.
//!
//! ```text
//! ? the question; may be left out
//! ! the gold as JSON; may be left out
//! @ what the task gives the tools, as JSON; may be left out
//! call search red fox && open d1             | good 1
//!   [d1] Fox: a document, after its id and title
//!   --
//!   fault external: one observation for each call, -- between them
//! call count foxes                           | - 0.5
//!   = an output without documents
//!   = that goes on
//! call sql {"query": "SELECT 1"}             |
//!   = 1 row
//!   data {"rows": [[1]]}
//! say I know it by heart. <answer>…          |
//! malformed why it cannot be read            | bad false
//! answer in the den                          |
//! ```
//!
//! In the margin, after the last `|`, stand the label, `-` for none, and the value;
//! `neutral/external` tells why a label is zero; an empty margin expects silence. A value is
//! compared to three decimals; a value left out is not compared. What a call says after the
//! tool is its `query`, unless it is a JSON object: then it is all the arguments. `say` puts
//! words before the message of the next step.
//!
//! A Markdown file holds any number of cases, each a fence marked `trajectory`, named by the
//! heading above it.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::protocol::Protocol;
use crate::{
    Action, Digest, Fault, Gold, Node, NodeId, Observation, Proposal, Scratch, Step,
    Task, TaskId, ToolCall, Tree, Verdict, Verifier, VerifierError, label,
};

/// A trajectory, and what a verifier is expected to say of each step.
#[derive(Debug, Clone)]
pub struct Case {
    /// The heading above it.
    pub title: String,
    /// The line its trajectory begins on.
    pub line: usize,
    /// The task.
    pub task: Task,
    /// What is known of the answer.
    pub gold: Option<Gold>,
    /// A path of steps; nothing executed them.
    pub tree: Tree,
    margins: Vec<String>,
}

/// Why a text is no case.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub struct CaseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Where a verifier says something else than the margin.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// The step.
    pub node: NodeId,
    /// The margin.
    pub expected: String,
    /// The verdict, as a margin has it.
    pub found: String,
    /// The verdict's reason.
    pub reason: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { node, expected, found, reason } = self;
        write!(f, "step {node}: expected {expected:?}, found {found:?} ({reason})")
    }
}

/// The cases of a Markdown text. Other text, and fences of other kinds, are prose.
pub fn read_markdown(text: &str) -> Result<Vec<Case>, CaseError> {
    let mut cases = Vec::new();
    let mut title = String::new();
    let mut open: Option<(usize, Vec<(usize, &str)>)> = None;
    let mut prose = false;
    for (number, line) in (1..).zip(text.lines()) {
        let fence = line.trim_start().strip_prefix("```").map(str::trim);
        match (&mut open, fence) {
            (Some(_), Some("")) => {
                let (line, lines) = open.take().expect("it was just there");
                cases.push(read(&title, line, &lines)?);
            }
            (Some((_, lines)), _) => lines.push((number, line)),
            (None, Some("trajectory")) if !prose => open = Some((number + 1, vec![])),
            (None, Some(_)) => prose = !prose,
            (None, None) if line.starts_with('#') && !prose => {
                title = line.trim_start_matches('#').trim().to_owned();
            }
            (None, None) => {}
        }
    }
    match open {
        None => Ok(cases),
        Some((line, _)) => {
            Err(CaseError { line, message: "the fence never ends".into() })
        }
    }
}

/// One case by itself, without a heading.
pub fn read_trajectory(text: &str) -> Result<Case, CaseError> {
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).collect();
    read("", 1, &lines)
}

impl Case {
    /// What stands in the margin of each step.
    pub fn margins(&self) -> &[String] {
        &self.margins
    }

    /// All verdicts of a verifier on the case.
    pub async fn judge(
        &self,
        verifier: &dyn Verifier,
    ) -> Result<Vec<Verdict>, VerifierError> {
        label(verifier, &self.task, self.gold.as_ref(), &self.tree).await
    }

    /// Where verdicts are not what the margins say, or rest on nothing: every verdict has a
    /// reason, and every label has evidence or is a zero that says why.
    pub fn mismatches(&self, verdicts: &[Verdict]) -> Vec<Mismatch> {
        let mut found = Vec::new();
        for ((node, _), expected) in self.tree.nodes().zip(&self.margins) {
            let verdict = verdicts.iter().find(|verdict| verdict.node == node);
            let margin = verdict.map(|v| margin(v, expected)).unwrap_or_default();
            let groundless = verdict.is_some_and(|verdict| {
                verdict.reason.is_empty()
                    || verdict.label.is_some()
                        && verdict.evidence.is_empty()
                        && verdict.zero.is_none()
            });
            if &margin != expected || groundless {
                let reason = match groundless {
                    true => "it has no reason, or rests on nothing".to_owned(),
                    false => verdict.map(|v| v.reason.clone()).unwrap_or_default(),
                };
                let expected = expected.clone();
                found.push(Mismatch { node, expected, found: margin, reason });
            }
        }
        found
    }
}

fn read(title: &str, line: usize, lines: &[(usize, &str)]) -> Result<Case, CaseError> {
    let mut task =
        Task { id: TaskId("t".into()), prompt: String::new(), inputs: Value::Null };
    let mut gold = None;
    let mut said = String::new();
    let mut steps: Vec<(String, Action, Vec<Observation>)> = Vec::new();
    let mut margins = Vec::new();
    let lines: Vec<(usize, &str)> = lines
        .iter()
        .map(|(number, line)| (*number, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    let mut rest = lines.as_slice();
    while let Some(((number, line), after)) = rest.split_first() {
        rest = after;
        let bad = |message: String| CaseError { line: *number, message };
        let json = |text: &str| {
            serde_json::from_str::<Value>(text)
                .map_err(|error| bad(format!("no JSON: {error}")))
        };
        if let Some(text) = line.strip_prefix("? ") {
            task.prompt = text.to_owned();
        } else if let Some(text) = line.strip_prefix("! ") {
            gold = Some(Gold(json(text)?));
        } else if let Some(text) = line.strip_prefix("@ ") {
            task.inputs = json(text)?;
        } else if let Some(text) = line.strip_prefix("say ") {
            said = format!("{text}\n");
        } else {
            let (message, margin) = line.rsplit_once('|').ok_or_else(|| {
                bad("a step is `call TOOL QUERY | MARGIN`, `answer …` or `malformed …`".into())
            })?;
            let begins = |(_, line): &(usize, &str)| {
                ["call ", "malformed ", "answer ", "answer|", "say "]
                    .iter()
                    .any(|word| line.starts_with(word))
            };
            let end = rest.iter().position(begins).unwrap_or(rest.len());
            let (shown, after) = rest.split_at(end);
            rest = after;
            let (action, observations) = step(message.trim(), shown, *number)?;
            let text = Protocol::Hermes.render(&action).unwrap_or_default();
            steps.push((std::mem::take(&mut said) + &text, action, observations));
            margins.push(margin.trim().to_owned());
        }
    }
    if steps.is_empty() {
        return Err(CaseError { line, message: "the case has no step".into() });
    }
    let scratch = Scratch::of_inputs(&task.inputs).digest();
    let tree = tree(&task.id, steps, scratch);
    Ok(Case { title: title.to_owned(), line, task, gold, tree, margins })
}

fn tree(
    task: &TaskId,
    steps: Vec<(String, Action, Vec<Observation>)>,
    scratch: Digest,
) -> Tree {
    let mut tree = Tree::new(task.clone());
    let mut parent = None;
    for (text, action, observations) in steps {
        let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
        let step = Step { proposal, observations, scratch };
        let node = Arc::new(Node { parent, step });
        parent = Some(tree.push(node).expect("the parent is the node before"));
    }
    tree
}

fn step(
    message: &str,
    shown: &[(usize, &str)],
    line: usize,
) -> Result<(Action, Vec<Observation>), CaseError> {
    let bad = |message: String| CaseError { line, message };
    let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
    match word {
        "answer" => Ok((Action::Answer { text: rest.trim().to_owned() }, vec![])),
        "malformed" => {
            let observation = Observation::fault(Fault::Malformed, rest);
            Ok((Action::Malformed { reason: rest.to_owned() }, vec![observation]))
        }
        "call" => {
            let call = |(index, call): (usize, &str)| {
                let (tool, query) = call
                    .trim()
                    .split_once(' ')
                    .ok_or_else(|| bad("a call is TOOL QUERY".into()))?;
                let args = match query.trim().starts_with('{') {
                    true => serde_json::from_str(query)
                        .map_err(|error| bad(format!("the arguments: {error}")))?,
                    false => json!({ "query": query }),
                };
                Ok(ToolCall { id: format!("call_{index}"), tool: tool.to_owned(), args })
            };
            let calls: Vec<ToolCall> =
                rest.split("&&").enumerate().map(call).collect::<Result<_, _>>()?;
            let observations = shown
                .split(|(_, line)| *line == "--")
                .map(observation)
                .collect::<Result<Vec<_>, _>>()?;
            if calls.len() != observations.len() {
                let (calls, seen) = (calls.len(), observations.len());
                return Err(bad(format!("{calls} calls, and {seen} observations")));
            }
            Ok((Action::Calls { calls }, observations))
        }
        _ => Err(bad(format!("{word:?} is none of call, answer, malformed"))),
    }
}

fn observation(lines: &[(usize, &str)]) -> Result<Observation, CaseError> {
    let Some((first, line)) = lines.first() else {
        return Ok(Observation::Output { text: String::new(), data: Value::Null });
    };
    if let Some(fault) = line.strip_prefix("fault ") {
        let named = fault.split_once(": ").and_then(|(name, message)| {
            Some(Observation::fault(fault_of(name)?, message))
        });
        return named.ok_or_else(|| CaseError {
            line: *first,
            message: "a fault is `fault NAME: MESSAGE`, as in `fault bad-args: …`".into(),
        });
    }
    if line.starts_with('=') {
        return output(lines);
    }
    let mut documents = Vec::new();
    let mut texts = Vec::new();
    for (number, line) in lines.iter().filter(|(_, line)| *line != "(no documents)") {
        let document = || {
            let (id, rest) = line.strip_prefix('[')?.split_once("] ")?;
            let (title, _) = rest.split_once(": ")?;
            Some((id, title, rest))
        };
        let (id, title, rest) = document().ok_or_else(|| CaseError {
            line: *number,
            message: "an observation is `= TEXT`, `fault NAME: …` or `[ID] TITLE: TEXT`"
                .into(),
        })?;
        documents.push(json!({ "id": id, "title": title }));
        texts.push(format!("[{}] {rest}", documents.len()));
    }
    let (text, data) = (texts.join("\n\n"), json!({ "documents": documents }));
    Ok(Observation::Output { text, data })
}

fn output(lines: &[(usize, &str)]) -> Result<Observation, CaseError> {
    let mut texts = Vec::new();
    let mut data = Value::Null;
    for (number, line) in lines {
        let bad = |message: String| CaseError { line: *number, message };
        if let Some(json) = line.strip_prefix("data ") {
            data = serde_json::from_str(json)
                .map_err(|error| bad(format!("the data: {error}")))?;
        } else {
            let text = line.strip_prefix('=').ok_or_else(|| {
                bad("an output's lines begin with `=`, its data with `data`".into())
            })?;
            texts.push(text.strip_prefix(' ').unwrap_or(text));
        }
    }
    Ok(Observation::Output { text: texts.join("\n"), data })
}

fn fault_of(name: &str) -> Option<Fault> {
    Some(match name {
        "malformed" => Fault::Malformed,
        "unknown-tool" => Fault::UnknownTool,
        "bad-args" => Fault::BadArgs,
        "refused" => Fault::Refused,
        "limit" => Fault::Limit,
        "trap" => Fault::Trap,
        "external" => Fault::External,
        _ => return None,
    })
}

/// A verdict as the margin has it: why a label is zero, and the value, only where the margin
/// tells them.
fn margin(verdict: &Verdict, expected: &str) -> String {
    let mut label = verdict.label.map_or("-", |label| label.as_str()).to_owned();
    if let Some(zero) = verdict.zero.filter(|_| expected.contains('/')) {
        label.push_str(&format!("/{zero}"));
    }
    if !expected.is_empty() && !expected.contains(' ') {
        return label;
    }
    let value = match verdict.value.as_f64() {
        Some(number) => format!("{}", (number * 1000.0).floor() / 1000.0),
        None => verdict.value.to_string(),
    };
    format!("{label} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifiers::WellFormed;

    const FILE: &str = "# Well-formed\n\nProse.\n\n## One\n\n```text\n? prose\n```\n\n\
        ```trajectory\n@ {\"database\": \"d\"}\ncall sql {\"query\": \"SELECT 1\"} | - true\n\
        = 1 row\n= of one\ndata {\"rows\": [[1]]}\nsay Hm.\nanswer 1 |\n```\n\n## Two\n\n\
        ```trajectory\nmalformed no call | bad\n```\n";

    #[tokio::test]
    async fn a_file_holds_cases_under_their_headings() {
        let cases = read_markdown(FILE).expect("the file is well written");
        let titles: Vec<(&str, usize)> =
            cases.iter().map(|case| (case.title.as_str(), case.line)).collect();
        assert_eq!(titles, [("One", 12), ("Two", 24)]);
        assert_eq!(cases[0].task.inputs["database"], "d");
        let nodes: Vec<&Step> =
            cases[0].tree.nodes().map(|(_, node)| &node.step).collect();
        assert_eq!(nodes[0].observations[0].text(), "1 row\nof one");
        assert_eq!(nodes[0].observations[0].data()["rows"][0][0], 1);
        assert_eq!(nodes[0].proposal.action.calls()[0].args["query"], "SELECT 1");
        assert_eq!(nodes[1].proposal.text, "Hm.\n<answer>1</answer>");
        let verifier = WellFormed::default();
        let verdicts = cases[0].judge(&verifier).await.expect("it can judge");
        let mismatches = cases[0].mismatches(&verdicts);
        assert_eq!(mismatches.len(), 1, "the answer expects silence: {mismatches:?}");
        let verdicts = cases[1].judge(&verifier).await.expect("it can judge");
        assert_eq!(cases[1].mismatches(&verdicts), []);
    }

    #[test]
    fn what_is_no_case_is_refused_by_its_line() {
        for (text, line, expected) in [
            ("call search x", 1, "MARGIN"),
            ("dance | good", 1, "none of call"),
            ("call search a && search b | good\n[d] T: x", 1, "2 calls, and 1"),
            ("call search a |\n[d T: x", 2, "an observation is"),
            ("call search a |\nfault odd: x", 2, "a fault is"),
            ("! {", 1, "no JSON"),
            ("? only a question", 1, "has no step"),
        ] {
            let text = format!("```trajectory\n{text}\n```\n");
            let error = read_markdown(&text).expect_err("no case");
            assert_eq!(error.line, line + 1, "{error}");
            assert!(error.message.contains(expected), "{error}");
        }
        let error = read_markdown("```trajectory\nanswer x |").expect_err("open");
        assert_eq!(error.message, "the fence never ends");
    }
}
