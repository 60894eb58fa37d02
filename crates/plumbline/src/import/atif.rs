//! ATIF, the Agent Trajectory Interchange Format: system, user and agent steps, tool calls
//! with their results, token ids where the agent could tell.
//!
//! An agent step is a step; what its calls came to is its observation. What
//! [`export`](crate::export) put into `extra` comes back as it was. Labels that came along are
//! not by people.

use serde_json::{Map, Value, json};

use super::chat;
use super::record::{Field, Record};
use super::{ImportError, Trajectory, said};
use crate::{
    Action, Budget, Comparator, Digest, Ending, Fault, Gold, NodeId, Observation,
    Proposal, Step, StepLabel, Task, TaskId, Tokens, ToolCall, Verdict, Zero,
};

pub(super) fn read(record: &Record) -> Result<Trajectory, ImportError> {
    let schema = record.field("schema_version");
    if !schema.text()?.starts_with("ATIF-v1.") {
        return Err(schema.wrong("is no version of ATIF 1"));
    }
    let extra = record.field("extra");
    let sample = extra.get("sample");
    let sample = if sample.is_absent() { 0 } else { sample.index()? };
    let tools = record.field("agent").get("tool_definitions");
    let listed = record.field("steps").list()?;
    let last = listed.len().saturating_sub(1);
    if !tools.is_absent() {
        tools.list()?;
    }
    let mut reading = Reading::new(tools.value(), sample as u64, last);
    for (index, step) in listed.iter().enumerate() {
        reading.step(index, step)?;
    }
    if reading.question.trim().is_empty() {
        return Err(record.field("steps").wrong("hold no message of a user"));
    }
    let id = task_id(record, &reading.question)?;
    let gold = gold(&extra.get("gold"), &id)?;
    let answered = reading.steps.last().map(|step| &step.proposal.action);
    // A record of ours says of an unfinished trajectory that it has no ending.
    let said = extra.value().get("ending");
    let ending = match serde_json::from_value(said.cloned().unwrap_or_default()) {
        Ok(ending) => Some(ending),
        Err(_) if said.is_some_and(Value::is_null) => None,
        Err(_) if matches!(answered, Some(Action::Answer { .. })) => {
            Some(Ending::Answered)
        }
        Err(_) => Some(Ending::Exhausted { budget: Budget::Steps }),
    };
    let mut frame = record.value().clone();
    frame["steps"] = Value::Null;
    let key = record.first_of(&["trajectory_id", "session_id"]).value().clone();
    let Reading { question, system, steps, nodes, messages, verdicts, .. } = reading;
    Ok(Trajectory {
        task: Task { id, prompt: question, inputs: extra.get("inputs").value().clone() },
        gold,
        nodes: if nodes.len() == steps.len() { nodes } else { vec![] },
        steps,
        ending,
        human: vec![],
        verdicts,
        key,
        messages: messages.into_iter().collect(),
        rest: json!({ "record": frame, "system": system }),
    })
}

/// What is known of the right answer, as far as verifiers can use it.
fn gold(field: &Field<'_>, task: &TaskId) -> Result<Option<Gold>, ImportError> {
    if field.is_absent() {
        return Ok(None);
    }
    let mut gold = field.value().clone();
    let Some(known) = gold.as_object_mut() else {
        return Err(field.not("an object"));
    };
    let id = field.get("id");
    if !id.is_absent() && id.text()? != task.0 {
        return Err(id.wrong(format!("is {:?}, in a record of task {task}", id.text()?)));
    }
    known.insert("id".to_owned(), json!(task));
    field.get("answer").filled_text()?;
    for name in ["aliases", "supporting"] {
        let texts = field.get(name);
        if known.contains_key(name) {
            texts.list()?.iter().try_for_each(|text| text.filled_text().map(|_| ()))?;
        }
    }
    let gold = Gold(gold);
    let comparator = field.get("comparator");
    Comparator::of(&gold).map_err(|error| comparator.wrong(error.problem()))?;
    let solution = field.get("solution");
    gold.solution().map_err(|_| solution.wrong("is no list of {\"tool\", \"args\"}"))?;
    Ok(Some(gold))
}

/// The task's name: what we called it, the session's, or the digest of the question.
fn task_id(record: &Record, question: &str) -> Result<TaskId, ImportError> {
    let own = record.field("extra").get("task");
    let field = if own.is_absent() { record.field("session_id") } else { own };
    let id = field
        .name()?
        .unwrap_or_else(|| format!("atif-{}", Digest::of(question.as_bytes()).short()));
    if id.contains(|c: char| c == ':' || c.is_control()) {
        let problem = format!("is {id:?}, which holds ':' or a control character");
        return Err(field.error(problem, "name it otherwise"));
    }
    Ok(TaskId(id))
}

/// A trajectory as far as it has been read.
struct Reading<'a> {
    tools: &'a Value,
    sample: u64,
    last: usize,
    question: String,
    system: String,
    steps: Vec<Step>,
    /// What each of them was in the tree it came from, as far as the record says.
    nodes: Vec<NodeId>,
    messages: Vec<(u32, NodeId)>,
    verdicts: Vec<Verdict>,
    /// What the model had seen and sampled.
    seen: Vec<u32>,
}

impl<'a> Reading<'a> {
    fn new(tools: &'a Value, sample: u64, last: usize) -> Self {
        Self {
            tools,
            sample,
            last,
            question: String::new(),
            system: String::new(),
            steps: vec![],
            nodes: vec![],
            messages: vec![],
            verdicts: vec![],
            seen: vec![],
        }
    }

    fn step(&mut self, index: usize, step: &Field<'_>) -> Result<(), ImportError> {
        let source = step.get("source");
        let message = chat::content(&step.get("message"))?;
        match source.text()? {
            "system" if self.steps.is_empty() => {
                if !self.system.is_empty() {
                    self.system += "\n\n";
                }
                self.system += &message;
            }
            "user" if self.steps.is_empty() => {
                if !self.question.is_empty() {
                    self.question += "\n\n";
                }
                self.question += &message;
            }
            "system" | "user" => self.reply(message),
            "agent" => self.agent(index, step, &message)?,
            _ => return Err(source.wrong("is none of system, user and agent")),
        }
        Ok(())
    }

    /// What somebody says while the agent is at work: what a message without calls came to.
    fn reply(&mut self, message: String) {
        let Some(step) = self.steps.last_mut() else { return };
        if let (Action::Malformed { .. }, [Observation::Fault { message: told, .. }]) =
            (&step.proposal.action, step.observations.as_mut_slice())
        {
            *told = message;
        }
    }

    fn agent(
        &mut self,
        index: usize,
        step: &Field<'_>,
        message: &str,
    ) -> Result<(), ImportError> {
        let extra = step.get("extra");
        let calls = calls(&step.get("tool_calls"))?;
        let (text, action) =
            match serde_json::from_value(extra.get("action").value().clone()) {
                Ok(action) => {
                    let text = extra.get("text");
                    (
                        if text.is_absent() { message } else { text.text()? }.to_owned(),
                        action,
                    )
                }
                Err(_) => chat::message(message.to_owned(), calls, index == self.last),
            };
        // What we wrote says itself what a program reads of it; of what others wrote it is
        // read off the text.
        let is_ours = !extra.get("node").is_absent();
        let observation = step.get("observation");
        let mut observations = self.observations(&observation, &action, is_ours)?;
        if let (Action::Malformed { reason }, true) = (&action, observations.is_empty()) {
            observations.push(Observation::fault(Fault::Malformed, reason.clone()));
        }
        let tokens = self.tokens(&step.get("metrics"), is_ours)?;
        let own = |name: &str| extra.get(name).value().clone();
        let node = NodeId(u32::try_from(self.steps.len()).expect("a record is small"));
        if !extra.get("label").is_absent() {
            self.verdicts.push(verdict(node, &extra)?);
        }
        let number = u32::try_from(index).expect("a record is small");
        self.messages.push((number, node));
        let proposal = Proposal {
            text,
            action,
            seed: extra.get("seed").value().as_u64().unwrap_or(self.sample),
            tokens,
            elided: serde_json::from_value(own("elided")).unwrap_or_default(),
        };
        let scratch = serde_json::from_value(own("scratch"));
        let scratch = scratch.unwrap_or_else(|_| chat::no_state());
        self.nodes.extend(serde_json::from_value::<NodeId>(own("node")));
        self.steps.push(Step { proposal, observations, scratch });
        Ok(())
    }

    /// One observation a call: the one that names it, else the first that names none. One that
    /// is left over is refused: nobody would miss it.
    fn observations(
        &self,
        field: &Field<'_>,
        action: &Action,
        is_ours: bool,
    ) -> Result<Vec<Observation>, ImportError> {
        let results = field.get("results");
        let results = if results.is_absent() { vec![] } else { results.list()? };
        let calls = action.calls();
        if calls.is_empty() {
            let each = |result: &Field<'_>| self.observation(result, action, 0, is_ours);
            return results.iter().map(each).collect();
        }
        let mut observations: Vec<Option<Observation>> = vec![None; calls.len()];
        for result in &results {
            let id = result.get("source_call_id").value().as_str();
            let free = |index: &usize| observations[*index].is_none();
            let all = || 0..calls.len();
            let named =
                all().find(|index| Some(calls[*index].id.as_str()) == id && free(index));
            let slot = named.or_else(|| all().find(free).filter(|_| id.is_none()));
            let slot = slot.ok_or_else(|| {
                result.get("source_call_id").wrong(match id {
                    Some(id) => format!("is {id:?}, and no call waits for its result"),
                    None => "names no call, and none waits for a result".to_owned(),
                })
            })?;
            observations[slot] = Some(self.observation(result, action, slot, is_ours)?);
        }
        let missing = || {
            Observation::fault(Fault::External, "the record holds no reply to this call")
        };
        Ok(observations.into_iter().map(|seen| seen.unwrap_or_else(missing)).collect())
    }

    fn observation(
        &self,
        result: &Field<'_>,
        action: &Action,
        call: usize,
        is_ours: bool,
    ) -> Result<Observation, ImportError> {
        let text = chat::content(&result.get("content"))?;
        let extra = result.get("extra");
        if let Ok(fault) = serde_json::from_value(extra.get("fault").value().clone()) {
            return Ok(Observation::Fault { fault, message: text });
        }
        let data = extra.get("data");
        match data.is_absent() && !is_ours {
            true => Ok(chat::observe(&text, action, call, self.tools)),
            false => Ok(Observation::Output { text, data: data.value().clone() }),
        }
    }

    /// The step's tokens, where its prompt's and its own are given. How much of the path the
    /// prompt keeps is what the two share; of our own records, what they say.
    fn tokens(
        &mut self,
        metrics: &Field<'_>,
        is_ours: bool,
    ) -> Result<Option<Tokens>, ImportError> {
        let (prompt, sampled) =
            (metrics.get("prompt_token_ids"), metrics.get("completion_token_ids"));
        if prompt.is_absent() || sampled.is_absent() {
            return Ok(None);
        }
        let (prompt, sampled) = (ids(&prompt)?, ids(&sampled)?);
        let shared = self.seen.iter().zip(&prompt).take_while(|(one, two)| one == two);
        let mut kept = shared.count();
        let said = metrics.get("cached_tokens").value().as_u64();
        if let (Some(said), true) = (said.and_then(|s| usize::try_from(s).ok()), is_ours)
        {
            kept = kept.min(said);
        }
        let logprobs = metrics.get("logprobs");
        let logprobs: Vec<f32> = match logprobs.is_absent() {
            true => vec![],
            false => logprobs.list()?.iter().map(logprob).collect::<Result<_, _>>()?,
        };
        if !logprobs.is_empty() && logprobs.len() != sampled.len() {
            let problem = format!("has {} items for {}", logprobs.len(), sampled.len());
            return Err(metrics.get("logprobs").wrong(problem));
        }
        let tokens = Tokens {
            kept: u32::try_from(kept).expect("a record is small"),
            prompt: prompt[kept..].to_vec(),
            sampled,
            logprobs,
        };
        assert!(tokens.extend(&mut self.seen), "no more is kept than there was");
        Ok(Some(tokens))
    }
}

fn logprob(field: &Field<'_>) -> Result<f32, ImportError> {
    let number = field.value().as_f64().ok_or_else(|| field.not("a number"))? as f32;
    match number.is_finite() && number <= 0.0 {
        true => Ok(number),
        false => {
            Err(field.wrong("is no logarithm of a probability: at most 0, and finite"))
        }
    }
}

fn ids(field: &Field<'_>) -> Result<Vec<u32>, ImportError> {
    let ids = serde_json::from_value(field.value().clone());
    ids.map_err(|_| field.wrong("is no list of token ids"))
}

/// What the source says of a step.
fn verdict(node: NodeId, extra: &Field<'_>) -> Result<Verdict, ImportError> {
    let field = extra.get("label");
    let label = field.value().as_i64().and_then(StepLabel::from_number);
    let label = label.ok_or_else(|| field.wrong("is none of -1, 0 and 1"))?;
    let zero: Option<Zero> =
        serde_json::from_value(extra.get("zero").value().clone()).unwrap_or_default();
    let by = extra.get("label_by");
    let reason = extra.get("label_reason").value().as_str().unwrap_or_default();
    Ok(said::verdict(node, (label, zero), by.value(), reason))
}

fn calls(field: &Field<'_>) -> Result<Vec<ToolCall>, ImportError> {
    if field.is_absent() {
        return Ok(vec![]);
    }
    let call = |call: &Field<'_>| {
        let raw = call.get("extra").get("arguments");
        let args = if raw.is_absent() { call.get("arguments") } else { raw };
        let empty = || Value::Object(Map::new());
        Ok(ToolCall {
            id: call.get("tool_call_id").text()?.to_owned(),
            tool: call.get("function_name").text()?.to_owned(),
            args: if args.is_absent() { empty() } else { args.value().clone() },
        })
    };
    field.list()?.iter().map(call).collect()
}

/// What the importer would make of a written step's message and calls alone. The exporter
/// asks, and says in `extra` what this gets wrong.
pub(crate) fn text_and_action(content: &str, calls: &[ToolCall]) -> (String, Action) {
    chat::message(content.to_owned(), calls.to_vec(), false)
}

#[cfg(test)]
mod tests {
    use super::super::TrajectoryFormat::Atif as FORMAT;
    use super::super::trajectory::tests::{read, refusal};
    use super::*;

    fn record(gold: &Value) -> String {
        json!({
            "schema_version": "ATIF-v1.4",
            "session_id": "s1",
            "agent": {"name": "a", "version": "1"},
            "steps": [
                {"step_id": 1, "source": "user", "message": "Who built it?"},
                {"step_id": 2, "source": "agent", "message": "<answer>Ada</answer>"},
            ],
            "extra": {"task": "t", "gold": gold},
        })
        .to_string()
    }

    #[test]
    fn what_a_record_says_of_its_ending_stands() {
        let ending = |change: fn(&mut Value)| {
            let mut record: Value =
                serde_json::from_str(&record(&Value::Null)).expect("JSON");
            change(&mut record);
            read(FORMAT, &record.to_string()).remove(0).ending
        };
        assert_eq!(ending(|_| {}), Some(Ending::Answered));
        assert_eq!(ending(|record| record["extra"]["ending"] = Value::Null), None);
    }

    #[test]
    fn what_would_be_dropped_or_misread_is_refused() {
        let step = |results: Value, logprobs: Value| {
            let mut record: Value =
                serde_json::from_str(&record(&Value::Null)).expect("JSON");
            let call =
                |id| json!({"tool_call_id": id, "function_name": "f", "arguments": {}});
            record["steps"][1] = json!({
                "step_id": 2, "source": "agent", "message": "",
                "tool_calls": [call("a"), call("b")],
                "observation": {"results": results},
                "metrics": {"prompt_token_ids": [1], "completion_token_ids": [2, 3],
                    "logprobs": logprobs},
            });
            record.to_string()
        };
        let result = |id: Option<&str>| json!({"source_call_id": id, "content": "x"});
        let (a, b, none) = (result(Some("a")), result(Some("b")), result(None));
        let good = json!([-0.5, 0.0]);
        assert_eq!(read(FORMAT, &step(json!([none, b]), good.clone())).len(), 1);
        for (results, logprobs, expected) in [
            (json!([result(Some("z"))]), &good, "results.0.source_call_id\" is \"z\""),
            (json!([a, a]), &good, "results.1.source_call_id\" is \"a\", and no call"),
            (json!([a, b, none]), &good, "results.2.source_call_id\" names no call"),
            (json!([]), &json!([-0.5, -1e39]), "logprobs.1\" is no logarithm"),
            (json!([]), &json!([0.5, 0.0]), "logprobs.0\" is no logarithm"),
            (json!([]), &json!([0.0, "x"]), "logprobs.1\" is a text, not a number"),
        ] {
            let error = refusal(FORMAT, &step(results, logprobs.clone()));
            assert!(error.contains(expected) && error.contains("; "), "{error}");
        }
    }

    #[test]
    fn gold_that_no_verifier_could_use_is_refused() {
        let good = json!({"answer": "Ada", "aliases": ["A. L."], "comparator": null});
        let found = read(FORMAT, &record(&good)).remove(0);
        let gold = found.gold.expect("it has some");
        assert_eq!((&gold.0["id"], gold.answers()), (&json!("t"), vec!["Ada", "A. L."]));
        for (field, value, expected) in [
            ("answer", json!(7), "answer\" is a number, not a text"),
            ("answer", json!(""), "answer\" is empty"),
            ("answer", json!(null), "answer\" is missing"),
            ("answer", json!([]), "answer\" is a list"),
            ("aliases", json!({}), "aliases\" is an object, not a list"),
            ("aliases", json!([""]), "aliases.0\" is empty"),
            ("supporting", json!(7), "supporting\" is a number"),
            ("comparator", json!(7), "comparator\" names no comparator"),
            ("comparator", json!({"type": "x"}), "comparator\" names no comparator"),
            ("solution", json!([7]), "solution\" is no list of {\"tool\""),
            ("id", json!("other"), "id\" is \"other\", in a record of task t"),
        ] {
            let mut gold = good.clone();
            gold[field] = value;
            let error = refusal(FORMAT, &record(&gold));
            let expected = format!("sample.jsonl:1: field \"extra.gold.{expected}");
            assert!(error.contains(&expected) && error.contains("; "), "{error}");
        }
    }
}
