//! Tests of verifiers are trajectories with the expected verdicts in the margin:
//!
//! ```text
//! ? the question; may be left out
//! ! the gold as JSON; may be left out
//! call search red fox && open d1             | good 1
//!   [d1] Fox: a document, after its id and title
//!   --
//!   fault external: one observation for each call, -- between them
//! call count foxes                           | - 0.5
//!   = an output without documents
//! malformed why it cannot be read            | bad false
//! answer in the den                          |
//! ```
//!
//! In the margin stand the label, `-` for none, and the value; `neutral/external` tells why a
//! label is zero; an empty margin expects silence. A value is compared to three decimals.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    Action, Fault, Gold, Node, Observation, Proposal, Scratch, Step, Task, TaskId,
    ToolCall, Tree, Verdict, Verifier, VerifierError, label,
};

/// Has a verifier judge a trajectory, and compares every verdict with the margin.
pub(super) fn check(verifier: &dyn Verifier, trajectory: &str) {
    let (_, verdicts) = judge(verifier, trajectory);
    let expected = read(trajectory).margins;
    for (index, expected) in (0u32..).zip(&expected) {
        let verdict = verdicts.iter().find(|verdict| verdict.node.0 == index);
        let found = verdict.map(|v| margin(v, expected)).unwrap_or_default();
        assert_eq!(&found, expected, "step {index} of {trajectory}\n{verdict:#?}");
    }
    for verdict in &verdicts {
        assert!(!verdict.reason.is_empty(), "{verdict:?}");
        assert!(
            verdict.label.is_none() || !verdict.evidence.is_empty() || {
                verdict.zero.is_some()
            }
        );
    }
}

/// The tree of a trajectory and all verdicts on it.
pub(crate) fn judge(verifier: &dyn Verifier, trajectory: &str) -> (Tree, Vec<Verdict>) {
    let read = read(trajectory);
    let verdicts = run(verifier, &read).expect("the verifier can judge");
    (read.tree, verdicts)
}

/// Why a verifier refuses a trajectory.
pub(crate) fn refusal(verifier: &dyn Verifier, trajectory: &str) -> String {
    run(verifier, &read(trajectory)).expect_err("it refuses").to_string()
}

fn run(verifier: &dyn Verifier, read: &Read) -> Result<Vec<Verdict>, VerifierError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let judged = label(verifier, &read.task, read.gold.as_ref(), &read.tree);
    runtime.expect("a runtime with a clock").block_on(judged)
}

/// A trajectory, read.
pub(crate) struct Read {
    pub(crate) task: Task,
    pub(crate) gold: Option<Gold>,
    pub(crate) tree: Tree,
    /// What stands in the margin of each step.
    pub(crate) margins: Vec<String>,
}

pub(crate) fn read(trajectory: &str) -> Read {
    let mut question = String::new();
    let mut gold = None;
    let mut messages: Vec<(Action, Vec<Observation>)> = Vec::new();
    let mut margins = Vec::new();
    let lines: Vec<&str> =
        trajectory.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut rest = lines.as_slice();
    while let Some((line, after)) = rest.split_first() {
        rest = after;
        if let Some(text) = line.strip_prefix("? ") {
            question = text.to_owned();
        } else if let Some(json) = line.strip_prefix("! ") {
            gold = Some(Gold(serde_json::from_str(json).expect("the gold is JSON")));
        } else {
            let (message, margin) = line.rsplit_once('|').expect("a step has a margin");
            let is_step = |line: &&str| {
                ["call ", "malformed ", "answer "]
                    .iter()
                    .any(|word| line.starts_with(word))
            };
            let end = rest.iter().position(is_step).unwrap_or(rest.len());
            let (shown, after) = rest.split_at(end);
            rest = after;
            messages.push(step(message.trim(), shown));
            margins.push(margin.trim().to_owned());
        }
    }
    let task = Task { id: TaskId("t".into()), prompt: question, inputs: Value::Null };
    let mut tree = Tree::new(task.id.clone());
    let mut parent = None;
    for (action, observations) in messages {
        let text = "the message".to_owned();
        let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
        let scratch = Scratch::default().digest();
        let step = Step { proposal, observations, scratch };
        let node = Arc::new(Node { parent, step });
        parent = Some(tree.push(node).expect("the parent is the node before"));
    }
    Read { task, gold, tree, margins }
}

fn step(message: &str, shown: &[&str]) -> (Action, Vec<Observation>) {
    let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
    match word {
        "answer" => (Action::Answer { text: rest.trim().to_owned() }, vec![]),
        "malformed" => {
            let observation = Observation::fault(Fault::Malformed, rest);
            (Action::Malformed { reason: rest.to_owned() }, vec![observation])
        }
        "call" => {
            let call = |(index, call): (usize, &str)| {
                let (tool, query) = call.trim().split_once(' ').expect("TOOL QUERY");
                let (id, args) = (format!("call_{index}"), json!({ "query": query }));
                ToolCall { id, tool: tool.to_owned(), args }
            };
            let calls = rest.split("&&").enumerate().map(call).collect();
            let observations = shown.split(|line| *line == "--").map(observation);
            (Action::Calls { calls }, observations.collect())
        }
        _ => panic!("a step is a call, malformed or an answer: {message}"),
    }
}

fn observation(lines: &[&str]) -> Observation {
    if let [line] = lines {
        if let Some(text) = line.strip_prefix("= ") {
            return Observation::Output { text: text.to_owned(), data: Value::Null };
        }
        if let Some(fault) = line.strip_prefix("fault ") {
            let (fault, message) = fault.split_once(": ").expect("NAME: MESSAGE");
            let fault = match fault {
                "external" => Fault::External,
                "unknown-tool" => Fault::UnknownTool,
                "bad-args" => Fault::BadArgs,
                _ => panic!("no fault of the tests is called {fault}"),
            };
            return Observation::fault(fault, message);
        }
    }
    let mut documents = Vec::new();
    let mut texts = Vec::new();
    for line in lines.iter().filter(|line| **line != "(no documents)") {
        let (id, rest) = line.split_once("] ").expect("[ID] TITLE: TEXT");
        let (title, _) = rest.split_once(": ").expect("[ID] TITLE: TEXT");
        documents.push(json!({"id": id.trim_start_matches('['), "title": title}));
        texts.push(format!("[{}] {rest}", documents.len()));
    }
    Observation::Output {
        text: texts.join("\n\n"),
        data: json!({ "documents": documents }),
    }
}

/// A verdict as the margin has it; why a label is zero is told where the margin tells it.
fn margin(verdict: &Verdict, expected: &str) -> String {
    let mut label = verdict.label.map_or("-", |label| label.as_str()).to_owned();
    if let Some(zero) = verdict.zero.filter(|_| expected.contains('/')) {
        label.push_str(&format!("/{zero:?}").to_lowercase());
    }
    let value = match verdict.value.as_f64() {
        Some(number) => format!("{}", (number * 1000.0).floor() / 1000.0),
        None => verdict.value.to_string(),
    };
    format!("{label} {value}")
}
