//! AgentProcessBench: five samples a question, and a human label on each assistant message.
//!
//! `query_index` names the task and `sample_index` the branch. `step_labels` maps the index
//! of an assistant message to −1, 0 or 1; `final_label` is on the whole. `labelled_by` is ours:
//! the labels are not by people.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::chat::{self, Chat};
use super::record::{Field, Place, Record};
use super::{ImportError, Origin, Trajectory, said};
use crate::export::agent_process_bench::{self, LABELLED_BY};
use crate::{
    Budget, Ending, Gold, HumanLabel, NodeId, Step, StepLabel, Task, TaskId, Verdict,
};

pub(super) fn read(record: &Record) -> Result<Trajectory, ImportError> {
    let query = record.field("query_index").index()?;
    let sample = record.field("sample_index").index()?;
    let id = format!("q{query:03}");
    let tools = record.field("tools");
    let chat = chat::read(&record.field("messages"), &tools, sample as u64)?;
    let human = human(record, &chat)?;
    let by = record.field(LABELLED_BY);
    let (human, verdicts) = match by.is_absent() {
        true => (human, vec![]),
        false => (vec![], human.iter().filter_map(|it| said_by(it, &by)).collect()),
    };
    let rest = rest(record, &chat);
    let prompt = record.field("question").filled_text()?.to_owned();
    let Chat { steps, messages, answered, .. } = chat;
    let ending = match answered {
        true => Ending::Answered,
        false => Ending::Exhausted { budget: Budget::Steps },
    };
    let gold = gold(&record.field("ground_truth"), &id, &record.field("data_source"))?;
    Ok(Trajectory {
        task: Task { id: TaskId(id), prompt, inputs: Value::Null },
        gold,
        steps,
        nodes: vec![],
        ending: Some(ending),
        human,
        verdicts,
        key: json!({ "query_index": query, "sample_index": sample }),
        messages,
        rest,
    })
}

/// The right answers: `{"target": [text, …]}` or a text.
fn gold(
    field: &Field<'_>,
    id: &str,
    source: &Field<'_>,
) -> Result<Option<Gold>, ImportError> {
    let target = if field.is_object() { field.get("target") } else { field.clone() };
    let answers = match target.value() {
        Value::Null => vec![],
        Value::String(_) => vec![target.filled_text()?],
        _ => target.texts()?,
    };
    let Some((answer, aliases)) = answers.split_first() else { return Ok(None) };
    let groups = match source.optional_text()? {
        Some(source) => json!({ "source": source }),
        None => json!({}),
    };
    Ok(Some(Gold(json!({
        "id": id, "answer": answer, "aliases": aliases, "groups": groups,
    }))))
}

fn human(record: &Record, chat: &Chat) -> Result<Vec<HumanLabel>, ImportError> {
    let mut human = Vec::new();
    let labels = record.field("step_labels");
    if !labels.is_absent() {
        for (node, field) in by_step(&labels, |index| chat.messages.get(&index).copied())?
        {
            human.push(HumanLabel::Step { node, label: label(&field)? });
        }
    }
    let last = record.field("final_label");
    if let (Some(steps), false) = (chat.steps.len().checked_sub(1), last.is_absent()) {
        let node = NodeId(u32::try_from(steps).expect("a record is small"));
        human.push(HumanLabel::Final { node, label: label(&last)? });
    }
    Ok(human)
}

/// A label of a step that is not by people.
fn said_by(label: &HumanLabel, by: &Field<'_>) -> Option<Verdict> {
    match label {
        HumanLabel::Step { node, label } => {
            Some(said::verdict(*node, (*label, None), by.value(), ""))
        }
        HumanLabel::Final { .. } | HumanLabel::Mistake { .. } => None,
    }
}

/// The labels of an object of labels by message index, each with the step it is on.
fn by_step<'r>(
    labels: &Field<'r>,
    step_of: impl Fn(u32) -> Option<NodeId>,
) -> Result<Vec<(NodeId, Field<'r>)>, ImportError> {
    let named = labels.value().as_object();
    let named =
        named.ok_or_else(|| labels.not("an object of labels by message index"))?;
    let find = |name: &String| {
        let field = labels.get(name);
        // "02" and "+2" would be further labels of message 2.
        let index = name.parse().ok().filter(|index: &u32| index.to_string() == *name);
        let node = index.and_then(&step_of);
        let node = node.ok_or_else(|| field.wrong("is no assistant message's index"))?;
        Ok((node, field))
    };
    named.keys().map(find).collect()
}

/// What the benchmark names a trajectory by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleKey {
    /// `data_source`; empty where there is none.
    pub source: String,
    /// `query_index`.
    pub query: usize,
    /// `sample_index`.
    pub sample: usize,
}

impl SampleKey {
    /// That of a trajectory of an imported run; `None` if it is not from the benchmark.
    pub fn of(origin: &Origin) -> Option<Self> {
        let index = |name: &str| usize::try_from(origin.key.get(name)?.as_u64()?).ok();
        let source = origin.rest.get("record")?.get("data_source");
        let source = source.and_then(Value::as_str).unwrap_or("").trim().to_owned();
        Some(Self {
            source,
            query: index("query_index")?,
            sample: index("sample_index")?,
        })
    }
}

/// What a record says of the steps of a trajectory that has been imported: a record of the
/// benchmark, or what a judge made of one, without messages.
#[derive(Debug)]
pub struct Ratings<'r> {
    /// Which trajectory it says it of.
    pub key: SampleKey,
    record: &'r Record,
}

impl<'r> Ratings<'r> {
    /// Reads whose steps are rated.
    pub fn read(record: &'r Record) -> Result<Self, ImportError> {
        record.unambiguous()?;
        let source = record.field("data_source").optional_text()?;
        let key = SampleKey {
            source: source.unwrap_or("").to_owned(),
            query: record.field("query_index").index()?,
            sample: record.field("sample_index").index()?,
        };
        Ok(Self { key, record })
    }

    /// The labels by people. `origin` is the trajectory in the run, `question` what it is
    /// about there.
    pub fn by_people(
        &self,
        origin: &Origin,
        question: &str,
    ) -> Result<Vec<(NodeId, StepLabel)>, ImportError> {
        let label = |(node, field)| Ok((node, label(&field)?));
        self.by_step(origin, question)?.into_iter().map(label).collect()
    }

    /// The labels by a judge, which abstains with `null`.
    pub fn by_judge(
        &self,
        origin: &Origin,
        question: &str,
    ) -> Result<Vec<(NodeId, Option<StepLabel>)>, ImportError> {
        let label = |(node, field): (NodeId, Field<'_>)| match field.is_absent() {
            true => Ok((node, None)),
            false => Ok((node, Some(label(&field)?))),
        };
        self.by_step(origin, question)?.into_iter().map(label).collect()
    }

    /// Refuses a record of a trajectory that another record rates already.
    pub fn repeats(&self, first: &Place) -> ImportError {
        let problem = format!("and query_index stand at {first} already");
        self.record.field("sample_index").error(problem, "leave one of the two out")
    }

    fn by_step(
        &self,
        origin: &Origin,
        question: &str,
    ) -> Result<Vec<(NodeId, Field<'r>)>, ImportError> {
        let asked = self.record.field("question");
        if asked.optional_text()?.is_some_and(|asked| asked != question) {
            let remedy =
                "score the run that was imported from this file, or leave it out";
            return Err(asked.error("is not the run's question of that index", remedy));
        }
        let messages: BTreeMap<u32, NodeId> = origin.messages.iter().copied().collect();
        let labels = self.record.field("step_labels");
        by_step(&labels, |index| messages.get(&index).copied())
    }
}

fn label(field: &Field<'_>) -> Result<StepLabel, ImportError> {
    let label = field.value().as_i64().and_then(StepLabel::from_number);
    label.ok_or_else(|| field.wrong("is none of -1, 0 and 1"))
}

/// The record without its messages, and a mark for each of them; where that would not give
/// the record's bytes again, the record itself.
fn rest(record: &Record, chat: &Chat) -> Value {
    let mut frame = record.value().clone();
    frame["messages"] = Value::Null;
    let rest = json!({ "record": frame, "marks": chat.marks });
    let steps: Vec<&Step> = chat.steps.iter().collect();
    match agent_process_bench::line(&rest, &steps, None) {
        Some(line) if line == record.text().trim_end() => rest,
        _ => {
            json!({ "record": frame, "marks": chat.marks, "line": record.text().trim_end() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::TrajectoryFormat::AgentProcessBench as FORMAT;
    use super::super::record::Records;
    use super::super::trajectory::tests::{read, refusal};
    use super::*;
    use crate::{Action, Fault, Observation};

    const RECORD: &str = concat!(
        r#"{"query_index": 2, "sample_index": 4, "question": "Who? ", "#,
        r#""data_source": "s", "ground_truth": {"target": ["Ada", "A. L."]}, "messages": ["#,
        r#"{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, "#,
        r#"{"role": "assistant", "content": "Look.", "tool_calls": ["#,
        r#"{"id": "a", "type": "function", "function": {"name": "search", "arguments": "{\"query_list\": [\"x\", \"y\"]}"}}, "#,
        r#"{"id": "b", "function": {"arguments": "{\"query_list\": [\"x\"]", "name": "search"}, "type": "function"}]}, "#,
        r#"{"role": "tool", "name": "search", "content": "{\"error\": \"missing\"}", "tool_call_id": "b"}, "#,
        r#"{"role": "tool", "name": "search", "content": "{\"result\": [[{\"document\": {\"id\": 7, \"contents\": \""#,
        r#"\\\"Elm\\\"\\nIt is tall.\"}, \"score\": 0.5}], []]}", "tool_call_id": "a"}, "#,
        r#"{"role": "assistant", "content": "Hm."}, "#,
        r#"{"role": "user", "content": "No effective tool call detected. Call one."}, "#,
        r#"{"role": "assistant", "content": "So: <answer> Ada </answer>"}], "#,
        r#""tools": [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}], "#,
        r#""step_labels": {"2": 1, "5": -1, "7": 0}, "final_label": 1}"#
    );

    #[test]
    fn messages_calls_and_replies_become_steps() {
        let found = read(FORMAT, RECORD).remove(0);
        assert_eq!(
            (found.task.id.0.as_str(), found.task.prompt.as_str()),
            ("q002", "Who?")
        );
        let gold = found.gold.expect("it has gold");
        assert_eq!(gold.answers(), ["Ada", "A. L."]);
        let [search, hm, answer] = found.steps.as_slice() else { panic!("three steps") };
        assert_eq!(search.proposal.action.calls().len(), 2);
        assert_eq!(
            search.proposal.action.calls()[1].args,
            json!("{\"query_list\": [\"x\"]")
        );
        assert!(search.proposal.text.starts_with("Look.\n<tool_call>"));
        let documents = search.observations[0].data()["documents"].clone();
        assert_eq!(
            documents,
            json!([{"id": "7", "title": "Elm", "text": "It is tall.", "score": 0.5, "query": 0}])
        );
        assert_eq!(search.observations[1].as_fault(), Some(Fault::BadArgs));
        assert!(matches!(hm.proposal.action, Action::Malformed { .. }));
        assert_eq!(hm.observations[0].as_fault(), Some(Fault::Malformed));
        assert_eq!(answer.proposal.action, Action::Answer { text: "Ada".into() });
        assert_eq!(answer.proposal.seed, 4);
        let step = |node, label| HumanLabel::Step { node: NodeId(node), label };
        assert_eq!(
            found.human,
            [
                step(0, StepLabel::Good),
                step(1, StepLabel::Bad),
                step(2, StepLabel::Neutral),
                HumanLabel::Final { node: NodeId(2), label: StepLabel::Good },
            ]
        );
        let text = serde_json::to_string(&found.steps).expect("they serialise");
        assert!(!text.contains("A. L."), "gold is in no step: {text}");
    }

    #[test]
    fn the_record_comes_back_byte_for_byte() {
        let tight = RECORD.replace("\": ", "\":").replace(", \"", ",\"");
        for record in [RECORD, tight.as_str()] {
            let found = read(FORMAT, record).remove(0);
            let steps: Vec<&Step> = found.steps.iter().collect();
            let line = agent_process_bench::line(&found.rest, &steps, None);
            assert_eq!(line.as_deref(), Some(record));
        }
        let kept = read(FORMAT, RECORD).remove(0).rest.to_string();
        assert!(!kept.contains("It is tall."), "observations are kept once: {kept}");
    }

    #[test]
    fn hostile_records_are_refused_where_they_stand() {
        for (from, to, expected) in [
            ("\"2\": 1", "\"2\": 7", "\"step_labels.2\" is none of -1, 0 and 1"),
            ("\"2\": 1", "\"3\": 1", "\"step_labels.3\" is no assistant message's index"),
            ("\"2\": 1", "\"2\": 1, \"02\": -1", "\"step_labels.02\" is no assistant"),
            ("\"2\": 1", "\"2\": 1, \"+2\": -1", "\"step_labels.+2\" is no assistant"),
            ("\"2\": 1", "\"2\": 1, \"2\": -1", "\"step_labels.2\" stands twice"),
            (
                "\"final_label\"",
                "\"final_label\": 0, \"final_label\"",
                "\"final_label\" stands",
            ),
            ("\"role\": \"system\"", "\"role\": 3", "\"messages.0.role\" is a number"),
            ("\"query_index\": 2", "\"query_index\": -2", "\"query_index\" is a number"),
            ("\"Who? \"", "\" \"", "\"question\" is empty"),
            ("[\"Ada\", \"A. L.\"]", "[3]", "\"ground_truth.target.0\" is a number"),
        ] {
            let error = refusal(FORMAT, &RECORD.replacen(from, to, 1));
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(
                error.starts_with("sample.jsonl:1: ") && error.contains("; "),
                "{error}"
            );
        }
    }

    #[test]
    fn ratings_are_of_the_run_s_own_steps() {
        let found = read(FORMAT, RECORD).remove(0);
        let origin = Origin {
            task: found.task.id,
            leaf: None,
            key: found.key,
            messages: found.messages.into_iter().collect(),
            rest: found.rest,
        };
        let judged = |line: &str| -> Result<Vec<_>, ImportError> {
            let mut bytes = line.as_bytes();
            let record = Records::new("judge.jsonl", &mut bytes).next().expect("one")?;
            let ratings = Ratings::read(&record)?;
            assert_eq!(Some(&ratings.key), SampleKey::of(&origin).as_ref());
            ratings.by_judge(&origin, "Who?")
        };
        let line = |labels: &str| {
            format!(
                "{{\"data_source\": \"s\", \"query_index\": 2, \"sample_index\": 4, {labels}}}"
            )
        };
        let labels = judged(&line(r#""step_labels": {"2": 1, "5": null}"#));
        let expected = [(NodeId(0), Some(StepLabel::Good)), (NodeId(1), None)];
        assert_eq!(labels.expect("they are read"), expected);
        for (labels, expected) in [
            (r#""step_labels": {"3": 1}"#, "\"step_labels.3\" is no assistant message's"),
            (r#""step_labels": {"999": 1}"#, "\"step_labels.999\" is no assistant"),
            (r#""step_labels": {"2": 7}"#, "\"step_labels.2\" is none of -1, 0 and 1"),
            (r#""step_labels": {"2": "good"}"#, "\"step_labels.2\" is none of"),
            (r#""step_labels": {"2": 1, "2": 0}"#, "\"step_labels.2\" stands twice"),
            (r#""step_labels": [1]"#, "\"step_labels\" is a list, not an object"),
            (r#""comment": """#, "\"step_labels\" is missing"),
            (
                r#""question": "Where?", "step_labels": {}"#,
                "\"question\" is not the run's",
            ),
        ] {
            let error = judged(&line(labels)).expect_err(labels).to_string();
            assert!(error.starts_with("judge.jsonl:1: field "), "{error}");
            assert!(error.contains(expected) && error.contains("; "), "{error}");
        }
    }

    #[test]
    fn calls_without_a_reply_are_told_apart() {
        let cut = RECORD.replace("\"tool_call_id\": \"a\"", "\"tool_call_id\": \"b\"");
        let found = read(FORMAT, &cut).remove(0);
        let texts: Vec<&str> =
            found.steps[0].observations.iter().map(Observation::text).collect();
        assert!(texts[0].contains("It is tall."), "the free call gets it: {texts:?}");
        let start = RECORD.find("{\"role\": \"tool\"").expect("it is there");
        let end =
            RECORD.find("{\"role\": \"assistant\", \"content\": \"Hm.\"").expect("there");
        let mut none = RECORD.to_owned();
        none.replace_range(start..end, "");
        let none = none.replace("\"5\": -1, \"7\": 0", "\"3\": -1");
        let found = read(FORMAT, &none).remove(0);
        assert_eq!(found.steps[0].observations[1].as_fault(), Some(Fault::External));
    }
}
