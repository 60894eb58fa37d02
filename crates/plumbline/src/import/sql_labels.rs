//! Queries with a person's verdict, as SQLExam and NL2SQL-BUGs have them: a question, a query
//! that somebody proposed, and whether it answers the question.
//!
//! Each becomes a trajectory of one step that answers with the query, and its verdict a label
//! of that step. The databases are not part of these sets: what can be measured on the run is
//! what needs none, and that is a judge.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::chat::no_state;
use super::record::Record;
use super::{ImportError, Trajectory};
use crate::protocol::Protocol;
use crate::{
    Action, Ending, Gold, HumanLabel, NodeId, Proposal, Step, StepLabel, Task, TaskId,
};

pub(super) fn read(record: &Record) -> Result<Trajectory, ImportError> {
    let named = record.first_of(&["question_id", "id"]);
    let id = named.name()?.ok_or_else(|| named.wrong("is missing"))?;
    if id.contains(|c: char| c == ':' || c.is_control()) {
        let problem = format!("is {id:?}, which holds ':' or a control character");
        return Err(named.error(problem, "name it otherwise"));
    }
    let id = format!("sql-{id}");
    let question = record.field("question").filled_text()?;
    let hint = record.field("evidence");
    let hint = if hint.is_absent() { "" } else { hint.text()?.trim() };
    let prompt = match hint {
        "" => question.to_owned(),
        hint => format!("{question}\n{hint}"),
    };
    let query = record.first_of(&["predicted_sql", "sql"]).filled_text()?.to_owned();
    let label = match record.field("label").flag()? {
        true => StepLabel::Good,
        false => StepLabel::Bad,
    };
    let gold = record.field("gold_sql").optional_text()?;
    let gold = gold.map(|sql| Gold(json!({ "id": id, "answer": sql, "aliases": [] })));
    let action = Action::Answer { text: query };
    let text = Protocol::Hermes.render(&action).unwrap_or_default();
    let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
    Ok(Trajectory {
        task: Task { id: TaskId(id), prompt, inputs: Value::Null },
        gold,
        steps: vec![Step { proposal, observations: vec![], scratch: no_state() }],
        nodes: vec![],
        ending: Some(Ending::Answered),
        human: vec![HumanLabel::Step { node: NodeId(0), label }],
        verdicts: vec![],
        key: json!({ "database": record.field("db_id").optional_text()? }),
        messages: BTreeMap::from([(0, NodeId(0))]),
        rest: json!({ "record": record.value() }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::TrajectoryFormat::SqlLabels as FORMAT;
    use super::super::trajectory::tests::{read, refusal};
    use super::*;

    const RECORD: &str = r#"{"question_id": 4, "db_id": "schools", "question": "How many?",
        "predicted_sql": "SELECT 1", "gold_sql": "SELECT count(*) FROM a", "label": false,
        "evidence": "a row a school"}"#;

    #[test]
    fn a_verdict_becomes_the_label_of_a_step_that_answers() {
        let found = read(FORMAT, &format!("[{RECORD}]")).remove(0);
        assert_eq!(found.task.prompt, "How many?\na row a school");
        let (node, label) = (NodeId(0), StepLabel::Bad);
        assert_eq!(found.human, [HumanLabel::Step { node, label }]);
        let answer = Action::Answer { text: "SELECT 1".to_owned() };
        assert_eq!(found.steps[0].proposal.action, answer);
        assert_eq!(found.gold.expect("gold").answers(), ["SELECT count(*) FROM a"]);
    }

    #[test]
    fn what_is_no_verdict_is_refused() {
        let bad = RECORD.replace("false", "\"no\"");
        let error = refusal(FORMAT, &format!("[{bad}]"));
        assert!(error.contains("\"label\" is a text, not true or false"), "{error}");
    }
}
