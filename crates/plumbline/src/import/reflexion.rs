//! Reflexion's ReAct logs: a question, and steps of thought, action and observation.
//!
//! A question tried again carries a plan from its last failure; all trials are samples of one
//! task, named by the digest of the question. What the log says of the answer (`Answer is
//! CORRECT`) is outcome and stays out of the steps.

use serde_json::{Value, json};

use super::chat::no_state;
use super::record::{Field, Record};
use super::{ImportError, Trajectory};
use crate::protocol::Protocol;
use crate::{
    Action, Budget, Digest, Ending, Fault, Gold, NodeId, Observation, Proposal, Step,
    Task, TaskId,
};

/// What the prompt of a later trial adds to the question.
const AGAIN: &str = "You have attempted to answer following question before";

pub(super) fn read(record: &Record) -> Result<Trajectory, ImportError> {
    let asked = record.field("question").filled_text()?;
    let question = asked.split(AGAIN).next().unwrap_or(asked).trim();
    let id = format!("reflexion-{}", Digest::of(question.as_bytes()).short());
    let trial = record.field("trial").index()?;
    let listed = record.field("steps").list()?;
    let steps: Vec<Step> =
        listed.iter().map(|field| step(field, trial as u64)).collect::<Result<_, _>>()?;
    let answers = |step: &Step| matches!(step.proposal.action, Action::Answer { .. });
    let ending = match steps.last().is_some_and(answers) {
        true => Ending::Answered,
        false => Ending::Exhausted { budget: Budget::Steps },
    };
    let answer = record.field("correct_answer").optional_text()?;
    let gold =
        answer.map(|answer| Gold(json!({ "id": id, "answer": answer, "aliases": [] })));
    let count = u32::try_from(steps.len()).expect("a record is small");
    let mut frame = record.value().clone();
    frame["steps"] = Value::Null;
    Ok(Trajectory {
        task: Task { id: TaskId(id), prompt: question.to_owned(), inputs: Value::Null },
        gold,
        steps,
        nodes: vec![],
        ending: Some(ending),
        human: vec![],
        verdicts: vec![],
        key: json!({ "trial": trial, "status": record.field("status").optional_text()? }),
        messages: (0..count).map(|index| (index, NodeId(index))).collect(),
        rest: json!({ "record": frame }),
    })
}

fn step(field: &Field<'_>, seed: u64) -> Result<Step, ImportError> {
    let thought = field.get("thought").optional_text()?.unwrap_or("");
    let action = match field.get("action") {
        // A step of neither is none; nor is a list, which has no fields.
        action if thought.is_empty() => action.filled_text()?,
        action => action.optional_text()?.unwrap_or(""),
    };
    let text = format!("Thought: {thought}\nAction: {action}");
    let action = Protocol::React.parse(&text).action;
    let shown = field.get("observation").optional_text()?.unwrap_or("");
    let observations = match &action {
        Action::Answer { .. } => vec![],
        Action::Malformed { .. } => vec![Observation::fault(Fault::Malformed, shown)],
        Action::Calls { calls } => {
            let call = calls.first().expect("a message with calls has one");
            let query = call.args.get("query").and_then(Value::as_str).unwrap_or("");
            vec![observe(&call.tool, query, shown)]
        }
    };
    let proposal = Proposal { text, action, seed, tokens: None, elided: vec![] };
    Ok(Step { proposal, observations, scratch: no_state() })
}

/// A search shows the article of that title, or says that there is none.
fn observe(tool: &str, query: &str, shown: &str) -> Observation {
    if tool != "search" && tool != "lookup" {
        return Observation::fault(Fault::UnknownTool, shown);
    }
    let data = match tool {
        "search" if shown.starts_with("Could not find") => json!({ "documents": [] }),
        "search" => {
            json!({ "documents": [{ "id": query, "title": query, "text": shown }] })
        }
        _ => Value::Null,
    };
    Observation::Output { text: shown.to_owned(), data }
}

#[cfg(test)]
mod tests {
    use super::super::TrajectoryFormat::Reflexion as FORMAT;
    use super::super::trajectory::tests::{read, refusal};
    use super::*;

    const RECORD: &str = r#"{"trial": 2, "status": "INCORRECT",
        "question": "Who built it? You have attempted to answer following question before and failed.",
        "correct_answer": "Ada", "steps": [
        {"n": 1, "thought": "Look.", "action": "Search[Elm]", "observation": "A tower."},
        {"n": 2, "thought": "Again.", "action": "Search[Oak]", "observation": "Could not find [Oak]."},
        {"n": 3, "thought": "So.", "action": "Finish[Eve]", "observation": "Answer is INCORRECT"}]}"#;

    #[test]
    fn trials_share_a_task_and_the_outcome_is_in_no_step() {
        let first = RECORD.replace(
            " You have attempted to answer following question before and failed.",
            "",
        );
        let first =
            read(FORMAT, &format!("[{}]", first.replace("\"trial\": 2", "\"trial\": 1")));
        let second = read(FORMAT, &format!("[{RECORD}]"));
        assert_eq!(first[0].task, second[0].task);
        assert_eq!(second[0].task.prompt, "Who built it?");
        let steps = &second[0].steps;
        assert_eq!(steps[0].observations[0].data()["documents"][0]["title"], "Elm");
        assert_eq!(steps[1].observations[0].data()["documents"], json!([]));
        assert_eq!(steps[2].proposal.action, Action::Answer { text: "Eve".into() });
        assert!(!serde_json::to_string(steps).expect("JSON").contains("INCORRECT"));
        assert_eq!(second[0].ending, Some(Ending::Answered));
    }

    #[test]
    fn a_bad_record_names_the_field() {
        let error =
            refusal(FORMAT, &format!("[{}]", RECORD.replacen("\"Look.\"", "3", 1)));
        assert!(error.contains("\"steps.0.thought\" is a number, not a text"), "{error}");
        let end = RECORD.find("{\"n\": 2").expect("it is there");
        for empty in ["[]", "{}"] {
            let record = format!("[{}{empty}]}}]", &RECORD[..end]);
            let error = refusal(FORMAT, &record);
            assert!(error.contains("\"steps.1.action\" is missing"), "{error}");
        }
    }
}
