//! The lines that pass between us and a program.

use plumbline::{Effect, Fault, Limits, Observation, Scratch, ToolSpec};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of a description that a model is told.
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
const NAME_CHARS_MAX: usize = 64;

/// What a program says first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hello {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) parameters: Value,
    /// Whether each question has an id, which the answer says again.
    #[serde(default)]
    pub(crate) ids: bool,
}

/// What a program is asked.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    args: &'a Value,
    /// What it returned the last time; absent where it keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a Value>,
    /// What the task gives the tools.
    #[serde(skip_serializing_if = "Value::is_null")]
    inputs: &'a Value,
}

/// What a program answers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reply {
    /// Whoever asked has compared it.
    #[serde(rename = "id")]
    _id: IgnoredAny,
    text: Option<String>,
    data: Value,
    /// Present, and perhaps `null`, where the program says what it is to be given next.
    #[serde(deserialize_with = "present")]
    state: Option<Value>,
    fault: Option<Fault>,
    message: Option<String>,
}

/// What an answer comes to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) observation: Observation,
    pub(crate) state: Option<Value>,
}

impl Hello {
    /// Reads a program's first line. The error says what would be right.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let hello: Self = serde_json::from_slice(line).map_err(|error| {
            format!(
                "its first line must be {{\"name\": .., \"description\": .., \
                 \"parameters\": ..}}: {error}"
            )
        })?;
        hello.check()?;
        Ok(hello)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name = &self.name;
        if name.is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || !name.chars().all(is_plain)
        {
            return Err(format!(
                "its name {:?} must be 1 to {NAME_CHARS_MAX} letters, digits, - and _",
                plumbline::cut(name.clone(), NAME_CHARS_MAX)
            ));
        }
        let bytes = self.description.len();
        if self.description.trim().is_empty() || bytes > DESCRIPTION_BYTES_MAX {
            return Err(format!(
                "its description has {bytes} bytes; it must have 1 to \
                 {DESCRIPTION_BYTES_MAX}"
            ));
        }
        if self.parameters.get("type") != Some(&Value::from("object")) {
            return Err("its parameters must be a JSON Schema of type object".to_owned());
        }
        Ok(())
    }

    pub(crate) fn into_spec(self, pinned: plumbline::Digest) -> ToolSpec {
        let Self { name, description, parameters, .. } = self;
        ToolSpec { name, description, parameters, pinned }
    }
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        args: &'a Value,
        scratch: &'a Scratch,
        key: &str,
        effect: Effect,
    ) -> Self {
        let state = scratch.get(key).unwrap_or(&Value::Null);
        let state = (effect == Effect::Stateful).then_some(state);
        Self { args, state, inputs: scratch.inputs() }
    }

    pub(crate) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("values serialise");
        line.push(b'\n');
        line
    }
}

/// Bytes that one answer may have.
pub(crate) fn line_bytes_max(effect: Effect, limits: &Limits) -> usize {
    let state = if effect == Effect::Stateful { limits.files_bytes_max } else { 0 };
    limits.output_bytes_max.saturating_add(state)
}

/// Reads an answer. The error says in which way it is none.
pub(crate) fn read(
    line: &[u8],
    effect: Effect,
    limits: &Limits,
) -> Result<Answer, String> {
    let reply: Reply = serde_json::from_slice(line).map_err(|error| {
        let begin = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        format!("its answer is none: {error}; it begins {begin:?}")
    })?;
    let Reply { text, data, state, fault, message, .. } = reply;
    let observation = match (text, fault, message) {
        (Some(text), None, None) => {
            let bytes = text.len() + size(&data);
            if bytes > limits.output_bytes_max {
                return Ok(Answer::limit("answer", bytes, limits.output_bytes_max));
            }
            Observation::Output { text, data }
        }
        (None, Some(fault), Some(message)) if data.is_null() && state.is_none() => {
            return match fault {
                Fault::BadArgs | Fault::Refused | Fault::Limit | Fault::Trap => {
                    let observation = Observation::fault(fault, message);
                    Ok(Answer { observation, state: None })
                }
                Fault::External if effect == Effect::External => {
                    let observation = Observation::fault(fault, message);
                    Ok(Answer { observation, state: None })
                }
                _ => Err(format!(
                    "fault {fault:?} is not one of a tool that is {effect:?}: bad_args, \
                     refused, limit, trap"
                )),
            };
        }
        _ => {
            return Err("its answer must have `text`, with `data` and `state` if it \
                        likes, or else `fault` and `message`"
                .to_owned());
        }
    };
    if let Some(state) = state.as_ref().filter(|_| effect != Effect::Stateful) {
        let state = plumbline::cut(state.to_string(), 80);
        return Err(format!("it returned the state {state}, but is declared {effect:?}"));
    }
    let bytes = state.as_ref().map_or(0, size);
    if bytes > limits.files_bytes_max {
        return Ok(Answer::limit("state", bytes, limits.files_bytes_max));
    }
    Ok(Answer { observation, state })
}

impl Answer {
    fn limit(what: &str, bytes: usize, bytes_max: usize) -> Self {
        let message = format!("the tool's {what} has {bytes} bytes; at most {bytes_max}");
        Self { observation: Observation::excess(message), state: None }
    }
}

fn size(value: &Value) -> usize {
    if value.is_null() { 0 } else { value.to_string().len() }
}

fn present<'de, D: serde::Deserializer<'de>>(
    source: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(source).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_output_or_a_fault_and_nothing_else() {
        let limits =
            Limits { output_bytes_max: 20, files_bytes_max: 8, ..Limits::default() };
        let said = |line: &str, effect| match read(line.as_bytes(), effect, &limits) {
            Ok(Answer { observation, state }) => {
                let state = state.map_or("-".to_owned(), |state| state.to_string());
                let fault = observation.as_fault();
                format!("{fault:?} {} {state}", observation.text())
            }
            Err(message) => message,
        };
        use Effect::{External, Pure, Stateful};
        for (line, effect, expected) in [
            (r#"{"text": "3", "data": 3}"#, Pure, "None 3 -"),
            (r#"{"text": "3", "state": null}"#, Stateful, "None 3 null"),
            (r#"{"text": "3", "state": 1}"#, Pure, "is declared Pure"),
            (r#"{"text": "3", "state": "123456789"}"#, Stateful, "Limit"),
            (r#"{"text": "123456789012345678901"}"#, Pure, "21 bytes; at most 20"),
            (r#"{"fault": "refused", "message": "no"}"#, Pure, "Refused) no"),
            (r#"{"fault": "external", "message": "no"}"#, Pure, "not one of a tool"),
            (r#"{"fault": "external", "message": "no"}"#, External, "External) no"),
            (r#"{"fault": "malformed", "message": "no"}"#, Pure, "not one of a tool"),
            (
                r#"{"text": "3", "fault": "trap", "message": ""}"#,
                Pure,
                "must have `text`",
            ),
            ("{}", Pure, "must have `text`"),
            ("debugging", Pure, "begins \"debugging\""),
            (r#"{"text": "3", "txet": 1}"#, Pure, "unknown field `txet`"),
        ] {
            let said = said(line, effect);
            assert!(said.contains(expected), "{line}: {said}");
        }
    }

    #[test]
    fn a_hello_says_a_name_a_description_and_a_schema() {
        let hello = |name: &str, description: &str, parameters: &str| {
            let line = format!(
                r#"{{"name": "{name}", "description": "{description}", "parameters": {parameters}}}"#
            );
            Hello::parse(line.as_bytes()).map(|_| ())
        };
        let object = r#"{"type": "object"}"#;
        assert_eq!(hello("add-2", "Adds.", object), Ok(()));
        for (name, description, parameters, word) in [
            ("", "Adds.", object, "name"),
            ("a b", "Adds.", object, "name"),
            ("add", " ", object, "description"),
            ("add", "Adds.", r#"{"type": "string"}"#, "type object"),
            ("add", "Adds.", "1", "type object"),
        ] {
            let error = hello(name, description, parameters).expect_err(word);
            assert!(error.contains(word), "{error}");
        }
        assert!(Hello::parse(b"hello").expect_err("no JSON").contains("first line"));
    }
}
