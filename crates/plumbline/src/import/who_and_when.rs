//! Who&When: a conversation of several agents that failed, and the message that decided it.
//!
//! Every message of an agent is a step. What a terminal prints is the observation of the step
//! before it, which is then a call of that terminal; a message that no terminal answers is a
//! call of `say`, which nobody answers. `mistake_step` counts messages, so that a step is
//! found by its message; the record's `ground_truth` is gold, its mistake a human label.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::chat::no_state;
use super::record::{Field, Record};
use super::{ImportError, Trajectory};
use crate::{
    Action, Budget, Ending, Fault, Gold, HumanLabel, NodeId, Observation, Proposal, Step,
    Task, TaskId, ToolCall,
};

/// Speakers that are no agents: they print what code came to.
const TERMINALS: [&str; 2] = ["Computer_terminal", "ComputerTerminal"];
/// How a terminal begins when code failed.
const FAILED: &str = "exitcode: 1";

pub(super) fn read(record: &Record) -> Result<Trajectory, ImportError> {
    let id = record.first_of(&["question_ID", "id"]).name()?;
    let file = record.field("_file").name()?.unwrap_or_default();
    let part = record.field("_subset").name()?.unwrap_or_default();
    let question = record.field("question").filled_text()?.to_owned();
    let history = record.field("history").list()?;
    let (steps, messages) = steps(&history)?;
    let id = id.ok_or_else(|| record.field("question_ID").wrong("is missing"))?;
    if id.contains(|c: char| c == ':' || c.is_control()) {
        let problem = format!("is {id:?}, which holds ':' or a control character");
        return Err(record.field("question_ID").error(problem, "name it otherwise"));
    }
    // The two parts of the set put some questions differently.
    let id = match part.as_str() {
        "" => id,
        part => format!("{}-{id}", part.to_lowercase()),
    };
    let answer = record.field("ground_truth").name()?;
    let gold =
        answer.map(|answer| Gold(json!({ "id": id, "answer": answer, "aliases": [] })));
    let human = mistake(record, &messages, steps.len())?;
    let mut frame = record.value().clone();
    frame["history"] = Value::Null;
    Ok(Trajectory {
        task: Task { id: TaskId(id), prompt: question, inputs: Value::Null },
        gold,
        steps,
        nodes: vec![],
        ending: Some(Ending::Exhausted { budget: Budget::Steps }),
        human: human.into_iter().collect(),
        verdicts: vec![],
        key: json!({ "subset": part, "file": file }),
        messages,
        rest: json!({ "record": frame }),
    })
}

fn steps(
    history: &[Field<'_>],
) -> Result<(Vec<Step>, BTreeMap<u32, NodeId>), ImportError> {
    let mut steps: Vec<Step> = Vec::new();
    let mut messages = BTreeMap::new();
    for (index, message) in (0u32..).zip(history) {
        let content = message.get("content").text()?;
        let role = message.get("role").text()?;
        let speaker = message.get("name").optional_text()?.unwrap_or(role);
        if role == "human" && steps.is_empty() {
            continue;
        }
        match steps.last_mut() {
            Some(step) if TERMINALS.contains(&speaker) => printed(step, speaker, content),
            _ => steps.push(said(speaker, content)),
        }
        let last = u32::try_from(steps.len() - 1).expect("a record is small");
        messages.insert(index, NodeId(last));
    }
    Ok((steps, messages))
}

fn said(speaker: &str, content: &str) -> Step {
    let args = json!({ "as": speaker, "message": content });
    let call = ToolCall { id: "call_0".to_owned(), tool: "say".to_owned(), args };
    let action = Action::Calls { calls: vec![call] };
    let text = content.to_owned();
    let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
    let heard = Observation::Output { text: String::new(), data: Value::Null };
    Step { proposal, observations: vec![heard], scratch: no_state() }
}

/// The step was a call of the terminal; one that prints twice is told in one observation.
fn printed(step: &mut Step, terminal: &str, content: &str) {
    let Action::Calls { calls } = &mut step.proposal.action else { return };
    let (Some(call), Some(shown)) = (calls.first_mut(), step.observations.first_mut())
    else {
        return;
    };
    call.tool = terminal.to_lowercase();
    let text = match shown.text() {
        "" => content.to_owned(),
        before => format!("{before}\n{content}"),
    };
    *shown = match text.starts_with(FAILED) {
        true => Observation::fault(Fault::Trap, text),
        false => Observation::Output { text, data: Value::Null },
    };
}

fn mistake(
    record: &Record,
    messages: &BTreeMap<u32, NodeId>,
    steps: usize,
) -> Result<Option<HumanLabel>, ImportError> {
    let field = record.field("mistake_step");
    let Some(name) = field.name()? else { return Ok(None) };
    let node = name.trim().parse().ok().and_then(|index: u32| messages.get(&index));
    let node = *node.ok_or_else(|| field.wrong("is no message's index"))?;
    let leaf = NodeId(u32::try_from(steps - 1).expect("a record is small"));
    let reason = record.field("mistake_reason").optional_text()?.unwrap_or("").to_owned();
    Ok(Some(HumanLabel::Mistake { node, leaf, reason }))
}

#[cfg(test)]
mod tests {
    use super::super::TrajectoryFormat::WhoAndWhen as FORMAT;
    use super::super::trajectory::tests::{read, refusal};
    use super::*;

    const RECORD: &str = r#"{"question": "How many?", "question_ID": "x-1",
        "ground_truth": "8", "mistake_agent": "B", "mistake_step": "3",
        "mistake_reason": "it stops early", "history": [
        {"role": "human", "content": "How many?"},
        {"role": "assistant", "name": "A", "content": "run this"},
        {"role": "user", "name": "Computer_terminal", "content": "exitcode: 1\nno"},
        {"role": "user", "name": "B", "content": "so it is 4"},
        {"role": "user", "name": "B", "content": "TERMINATE"}]}"#;

    #[test]
    fn agents_speak_and_terminals_answer() {
        let found = read(FORMAT, &format!("[{RECORD}]")).remove(0);
        assert_eq!(found.steps.len(), 3);
        assert_eq!(found.steps[0].proposal.action.calls()[0].tool, "computer_terminal");
        assert_eq!(found.steps[0].observations[0].as_fault(), Some(Fault::Trap));
        assert_eq!(found.steps[1].proposal.action.calls()[0].args["as"], "B");
        let (node, leaf) = (NodeId(1), NodeId(2));
        let reason = "it stops early".to_owned();
        assert_eq!(found.human, [HumanLabel::Mistake { node, leaf, reason }]);
        assert!(!serde_json::to_string(&found.steps).expect("JSON").contains("early"));
    }

    #[test]
    fn a_mistake_outside_the_history_is_refused() {
        for step in ["\"9\"", "\"-1\"", "\"x\"", "\"0\""] {
            let bad = RECORD.replace("\"3\"", step);
            let error = refusal(FORMAT, &format!("[{bad}]"));
            assert!(error.contains("\"mistake_step\" is no message's index"), "{error}");
        }
    }
}
