//! What a call's arguments look like, in instructions, messages and grammars.

use serde_json::{Deserializer, Map, Value, json};

use crate::python_json::python_json;
use crate::{Action, ToolCall, ToolSpec};

/// Calls read from one message; a message with more is malformed. It bounds what a parser
/// allocates: [`Limits::step_calls_max`](crate::Limits::step_calls_max) is what users set.
const CALLS_MAX: usize = 64;

/// Characters of a string that its schema does not bound, in a constrained message. Such a
/// string is taken for a phrase on one line: a small model that may go on will go on.
const PHRASE_CHARS_MAX: u64 = 200;

/// Items of an array that its schema does not bound, in a constrained message.
const ITEMS_MAX: u64 = 8;

/// Magnitude of an integer that its schema does not bound, in a constrained message.
const INTEGER_MAX: i64 = 1_000_000_000;

/// The calls of a message, numbered: the action of a protocol whose calls have no ids.
pub(super) fn numbered(calls: Vec<(String, Value)>) -> Action {
    let calls = calls
        .into_iter()
        .enumerate()
        .map(|(index, (tool, args))| ToolCall { id: call_id(index), tool, args })
        .collect();
    Action::Calls { calls }
}

/// The id of a call to which the model gave none.
pub(super) fn call_id(index: usize) -> String {
    format!("call_{index}")
}

/// Refuses a call past the bound.
pub(super) fn check_room(calls: usize) -> Result<(), String> {
    if calls < CALLS_MAX {
        return Ok(());
    }
    Err(format!("the message calls tools more than {CALLS_MAX} times; make fewer calls"))
}

/// Reads the JSON value that begins at byte `at`; what follows it does not matter. Returns
/// it with the byte after it. Nesting is bounded by the JSON reader.
pub(super) fn read_json(text: &str, at: usize) -> Result<(Value, usize), String> {
    let mut values = Deserializer::from_str(&text[at..]).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, at + values.byte_offset())),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("nothing is there".to_owned()),
    }
}

/// A value as every protocol writes it: keys sorted, so that equal arguments are equal text
/// and fit a grammar that has one order; spaces as models were trained on.
pub(super) fn to_json(value: &Value) -> String {
    python_json(&sorted(value))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            value.clone()
        }
    }
}

/// The properties of a tool's schema, sorted by name, each with its schema and whether it
/// must be given.
fn properties(spec: &ToolSpec) -> Vec<(&str, &Value, bool)> {
    let required: Vec<&str> = spec
        .parameters
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let declared = spec.parameters.get("properties").and_then(Value::as_object);
    let mut properties: Vec<_> = declared
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.as_str(), schema, required.contains(&name.as_str())))
        .collect();
    properties.sort_unstable_by_key(|(name, _, _)| *name);
    properties
}

/// A tool's name and arguments in one short line: `search(query: string, top_k?: integer)`.
pub(super) fn signature(spec: &ToolSpec) -> String {
    let arguments: Vec<String> = properties(spec)
        .into_iter()
        .map(|(name, schema, required)| {
            let mark = if required { "" } else { "?" };
            let of = schema.get("type").and_then(Value::as_str).unwrap_or("any");
            format!("{name}{mark}: {of}")
        })
        .collect();
    format!("{}({})", spec.name, arguments.join(", "))
}

/// The first line of a tool's description.
pub(super) fn summary(spec: &ToolSpec) -> &str {
    spec.description.trim().lines().next().unwrap_or_default()
}

/// Arguments that show the form of a call, with a placeholder for each required one.
pub(super) fn example(spec: &ToolSpec) -> Value {
    properties(spec)
        .into_iter()
        .filter(|(_, _, required)| *required)
        .map(|(name, schema, _)| (name.to_owned(), placeholder(schema)))
        .collect::<Map<_, _>>()
        .into()
}

fn placeholder(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("..."),
    }
}

/// The name of a tool's only argument in the protocols that write a call as a tool name and
/// a text. They are read without knowing the tools, so the name follows from the tool's:
/// `query` for `search`, `title` for `open`, `input` for any other.
pub(super) fn sole_name(tool: &str) -> &'static str {
    match tool {
        "search" => "query",
        "open" => "title",
        _ => "input",
    }
}

/// The arguments of a call written as a tool name and a text.
pub(super) fn sole(tool: &str, text: &str) -> Value {
    json!({ sole_name(tool): text })
}

/// The text of a call that a tool name and a text can write.
pub(super) fn sole_text(call: &ToolCall) -> Option<&str> {
    let args = call.args.as_object().filter(|args| args.len() == 1)?;
    args.get(sole_name(&call.tool))?.as_str()
}

/// Whether a tool name and a text can call this tool, and how many characters the text may
/// take: the schema must know the conventional name as a string and require no other.
pub(super) fn sole_chars_max(spec: &ToolSpec) -> Option<u64> {
    let sole = sole_name(&spec.name);
    let properties = properties(spec);
    let (_, schema, _) = properties.iter().find(|(name, ..)| *name == sole)?;
    let fits = schema.get("type").and_then(Value::as_str) == Some("string")
        && properties.iter().all(|(name, _, required)| *name == sole || !required);
    let declared = schema.get("maxLength").and_then(Value::as_u64);
    fits.then(|| declared.unwrap_or(PHRASE_CHARS_MAX).max(1))
}

/// The grammar of a tool's arguments as [`to_json`] writes them: its schema, with a bound
/// wherever it has none.
pub(super) fn json_grammar(spec: &ToolSpec) -> String {
    let mut schema = match &spec.parameters {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    schema.entry("type").or_insert_with(|| json!("object"));
    let mut schema = Value::Object(schema);
    bound(&mut schema);
    // Lenient: keywords the grammar cannot express are left to the check of the arguments.
    schema["x-guidance"] = json!({
        "item_separator": ", ",
        "key_separator": ": ",
        "whitespace_flexible": false,
        "lenient": true,
    });
    format!("%json {}", to_json(&schema))
}

/// Bounds what a schema leaves open: lengths of strings and arrays, sizes of integers, and
/// properties nobody named.
fn bound(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let is = |map: &Map<String, Value>, name: &str| match map.get("type") {
        Some(Value::String(of)) => of == name,
        Some(Value::Array(of)) => of.iter().any(|of| of == name),
        _ => false,
    };
    let closed = ["enum", "const", "format"].iter().any(|key| map.contains_key(*key));
    if is(map, "string") && !closed {
        let least = map.get("minLength").and_then(Value::as_u64).unwrap_or(0);
        if !map.contains_key("maxLength") && !map.contains_key("pattern") {
            map.insert("pattern".to_owned(), json!(r"^[^\n]*$"));
        }
        map.entry("maxLength").or_insert_with(|| json!(PHRASE_CHARS_MAX.max(least)));
    }
    if is(map, "array") {
        let least = map.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        map.entry("maxItems").or_insert_with(|| json!(ITEMS_MAX.max(least)));
    }
    if is(map, "integer") && !closed {
        bound_integer(map);
    }
    if map.contains_key("properties") {
        map.entry("additionalProperties").or_insert_with(|| json!(false));
    }
    for key in ["properties", "$defs", "definitions", "patternProperties"] {
        if let Some(Value::Object(named)) = map.get_mut(key) {
            named.values_mut().for_each(bound);
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(Value::Array(several)) = map.get_mut(key) {
            several.iter_mut().for_each(bound);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(one) = map.get_mut(key) {
            bound(one);
        }
    }
}

fn bound_integer(map: &mut Map<String, Value>) {
    let given = |keys: [&str; 2]| keys.iter().find_map(|key| map.get(*key)).cloned();
    let least = given(["minimum", "exclusiveMinimum"]);
    let most = given(["maximum", "exclusiveMaximum"]);
    let past = |bound: &Option<Value>| bound.as_ref().and_then(Value::as_i64);
    if most.is_none() && past(&least).unwrap_or(0) < INTEGER_MAX {
        map.insert("maximum".to_owned(), json!(INTEGER_MAX));
    }
    if least.is_none() && past(&most).unwrap_or(0) > -INTEGER_MAX {
        map.insert("minimum".to_owned(), json!(-INTEGER_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tests::{demanding, search_and_open, tool};

    #[test]
    fn json_is_sorted_and_spaced() {
        let value = json!({ "b": [1, {}], "a": { "d": "é\n", "c": null } });
        assert_eq!(to_json(&value), r#"{"a": {"c": null, "d": "é\n"}, "b": [1, {}]}"#);
    }

    #[test]
    fn a_schema_is_told_in_one_line() {
        let [demanding, today, any] = &demanding()[..] else { panic!("three tools") };
        assert_eq!(
            signature(demanding),
            "match_text(count?: integer, mode?: any, tags?: array, text: string, \
             when?: string)"
        );
        assert_eq!(signature(today), "today()");
        assert_eq!(signature(any), "any()");
        assert_eq!(example(demanding), json!({ "text": "..." }));
        assert_eq!(summary(any), "What any does.");
    }

    #[test]
    fn whatever_a_schema_leaves_open_is_bounded() {
        let bounded = |mut schema: Value| {
            bound(&mut schema);
            schema
        };
        let phrase =
            json!({ "type": "string", "pattern": r"^[^\n]*$", "maxLength": 200 });
        assert_eq!(bounded(json!({ "type": "string" })), phrase);
        assert_eq!(
            bounded(json!({ "properties": { "a": { "type": "string" } } })),
            json!({ "properties": { "a": phrase.clone() }, "additionalProperties": false })
        );
        assert_eq!(
            bounded(
                json!({ "type": "array", "minItems": 9, "items": { "type": "string" } })
            ),
            json!({ "type": "array", "minItems": 9, "maxItems": 9, "items": phrase })
        );
        assert_eq!(
            bounded(json!({ "type": "integer", "minimum": 1 })),
            json!({ "type": "integer", "minimum": 1, "maximum": INTEGER_MAX })
        );
        for closed in [
            json!({ "type": "string", "maxLength": 4000 }),
            json!({ "type": "string", "enum": ["a"] }),
            json!({ "type": "integer", "exclusiveMinimum": 0, "maximum": 5 }),
            json!(true),
        ] {
            assert_eq!(bounded(closed.clone()), closed);
        }
    }

    #[test]
    fn one_text_can_call_tools_that_need_no_more() {
        let lengths: Vec<_> = search_and_open().iter().map(sole_chars_max).collect();
        assert_eq!(lengths, [Some(200), Some(200)]);
        let optional = json!({ "properties": {
            "id": { "type": "string" },
            "title": { "type": "string", "maxLength": 9 },
        } });
        assert_eq!(sole_chars_max(&tool("open", optional.clone())), Some(9));
        assert_eq!(sole_chars_max(&tool("search", optional)), None);
        assert!(demanding().iter().all(|tool| sole_chars_max(tool).is_none()));
    }
}
