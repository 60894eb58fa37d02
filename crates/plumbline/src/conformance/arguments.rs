//! Arguments made from a JSON Schema: such as fit it, and such as do not.
//!
//! Values are guessed from the words of the schema and then held to the schema itself, so
//! that a word nobody here knows costs guesses and is never a wrong claim.

use jsonschema::Validator;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// Guesses for each value that is wanted.
const GUESSES: usize = 40;
const DEPTH_MAX: u32 = 6;
const ITEMS_MAX: u64 = 4;
const CHARS_MAX: u64 = 64;
const WORDS: [&str; 14] = [
    "a",
    "apple",
    "x y",
    "",
    "Zoë",
    "1",
    "2024-02-29",
    "../../etc/passwd",
    "'; --",
    r#"say "yes""#,
    r"C:\new",
    "two\nlines",
    "\u{1f980}",
    "\u{0}",
];

/// Distinct arguments that fit a schema, at most so many.
pub(super) fn inside(schema: &Value, count_max: usize) -> Vec<Value> {
    guess(schema, count_max, true, |_, value| value)
}

/// Distinct arguments that do not fit it, at most so many.
pub(super) fn outside(schema: &Value, count_max: usize) -> Vec<Value> {
    guess(schema, count_max, false, spoil)
}

fn guess(
    schema: &Value,
    count_max: usize,
    is_wanted: bool,
    change: impl Fn(&mut ChaCha8Rng, Value) -> Value,
) -> Vec<Value> {
    let Ok(validator) = jsonschema::validator_for(schema) else { return vec![] };
    let mut chance = ChaCha8Rng::seed_from_u64(0);
    let mut found: Vec<Value> = Vec::new();
    for _ in 0..count_max * GUESSES {
        let guesser = Guesser { root: schema };
        let value = guesser.value(schema, &mut chance, 0);
        let value = change(&mut chance, value);
        if fits(&validator, &value) == is_wanted && !found.contains(&value) {
            found.push(value);
        }
        if found.len() == count_max {
            break;
        }
    }
    found
}

fn fits(validator: &Validator, value: &Value) -> bool {
    validator.is_valid(value)
}

/// Makes one thing about arguments different: a property gone, of another type, too many.
fn spoil(chance: &mut ChaCha8Rng, mut value: Value) -> Value {
    let others = [json!(null), json!(-1.5), json!([[]]), json!({ "a": 1 }), json!("")];
    let other = others.choose(chance).expect("not empty").clone();
    let Some(object) = value.as_object_mut() else { return other };
    let names: Vec<String> = object.keys().cloned().collect();
    match (chance.random_range(0..4), names.choose(chance)) {
        (0, Some(name)) => {
            object.shift_remove(name);
        }
        (1, Some(name)) => {
            object.insert(name.clone(), other);
        }
        (2, _) => {
            object.insert("no_such_property".to_owned(), other);
        }
        _ => return other,
    }
    value
}

/// Guesses values from a schema; references lead to its root.
struct Guesser<'s> {
    root: &'s Value,
}

impl Guesser<'_> {
    fn value(&self, schema: &Value, chance: &mut ChaCha8Rng, depth: u32) -> Value {
        let Some(words) = schema.as_object().filter(|_| depth < DEPTH_MAX) else {
            return any(chance);
        };
        if let Some(value) = words.get("const") {
            return value.clone();
        }
        let offered = ["enum", "examples"].into_iter();
        let mut offered: Vec<&Value> =
            offered.filter_map(|word| words.get(word)?.as_array()).flatten().collect();
        offered.extend(words.get("default"));
        let is_closed = words.contains_key("enum");
        if let Some(value) = offered.choose(chance)
            && (is_closed || chance.random_bool(0.5))
        {
            return (*value).clone();
        }
        if let Some(target) = words.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|at| self.root.pointer(at));
            return target.map_or(Value::Null, |it| self.value(it, chance, depth + 1));
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            let branch = words.get(word).and_then(Value::as_array);
            if let Some(branch) = branch.and_then(|branches| branches.choose(chance)) {
                return self.value(branch, chance, depth + 1);
            }
        }
        let ty = match words.get("type") {
            Some(Value::String(ty)) => ty.as_str(),
            Some(Value::Array(types)) => {
                types.choose(chance).and_then(Value::as_str).unwrap_or("null")
            }
            _ if words.contains_key("properties") => "object",
            _ => return any(chance),
        };
        match ty {
            "object" => self.object(words, chance, depth),
            "array" => self.array(words, chance, depth),
            "string" => text(words, chance),
            "integer" => json!(integer(words, chance)),
            "number" => number(words, chance),
            "boolean" => json!(chance.random_bool(0.5)),
            _ => Value::Null,
        }
    }

    fn object(
        &self,
        words: &Map<String, Value>,
        chance: &mut ChaCha8Rng,
        depth: u32,
    ) -> Value {
        let required: Vec<&str> = words
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut object = Map::new();
        let properties = words.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            if required.contains(&name.as_str()) || chance.random_bool(0.4) {
                object.insert(name.clone(), self.value(schema, chance, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn array(
        &self,
        words: &Map<String, Value>,
        chance: &mut ChaCha8Rng,
        depth: u32,
    ) -> Value {
        let bound = |word: &str| words.get(word).and_then(Value::as_u64);
        let least = bound("minItems").unwrap_or(0).min(CHARS_MAX);
        let most = bound("maxItems")
            .unwrap_or(least + ITEMS_MAX)
            .clamp(least, least + ITEMS_MAX);
        let count = chance.random_range(least..=most);
        let items = words.get("items").unwrap_or(&Value::Null);
        (0..count).map(|_| self.value(items, chance, depth + 1)).collect()
    }
}

fn any(chance: &mut ChaCha8Rng) -> Value {
    let values = [json!("a"), json!(1), json!(true), json!([]), json!({})];
    values.choose(chance).expect("not empty").clone()
}

fn text(words: &Map<String, Value>, chance: &mut ChaCha8Rng) -> Value {
    let bound = |word: &str| words.get(word).and_then(Value::as_u64);
    let least = bound("minLength").unwrap_or(0).min(1 << 16);
    let most = bound("maxLength").unwrap_or(CHARS_MAX).max(least);
    if chance.random_bool(0.5) {
        let word = WORDS.choose(chance).expect("not empty");
        let chars: String = word.chars().cycle().take(word.chars().count()).collect();
        return json!(chars);
    }
    // Both ends of the range, now and then, and else something short.
    let count = match chance.random_range(0..4) {
        0 => least,
        1 => most.min(least + (1 << 12)),
        _ => chance.random_range(least..=most.min(least + CHARS_MAX)),
    };
    let letters: Vec<char> = ('a'..='z').chain('0'..='9').collect();
    let text: String =
        (0..count).filter_map(|_| letters.choose(chance).copied()).collect();
    json!(text)
}

fn integer(words: &Map<String, Value>, chance: &mut ChaCha8Rng) -> i64 {
    let bound = |word: &str| words.get(word).and_then(Value::as_i64);
    let over = || Some(bound("exclusiveMinimum")?.saturating_add(1));
    let under = || Some(bound("exclusiveMaximum")?.saturating_sub(1));
    let (least, most) = (bound("minimum").or_else(over), bound("maximum").or_else(under));
    let least =
        least.unwrap_or_else(|| most.map_or(-1000, |most| most.saturating_sub(1000)));
    let most = most.unwrap_or_else(|| least.saturating_add(1000)).max(least);
    match chance.random_range(0..5) {
        0 => least,
        1 => most,
        2 if (least..=most).contains(&0) => 0,
        _ => chance.random_range(least..=most),
    }
}

fn number(words: &Map<String, Value>, chance: &mut ChaCha8Rng) -> Value {
    let whole = integer(words, chance);
    match chance.random_bool(0.5) {
        true => json!(whole),
        false => json!(whole as f64 + f64::from(chance.random_range(0..4_u8)) / 4.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_fits_or_does_not_as_asked() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string", "minLength": 2, "maxLength": 5 },
                "count": { "type": "integer", "minimum": 1, "maximum": 3 },
                "unit": { "enum": ["m", "km"] },
                "where": { "$ref": "#/$defs/place" },
            },
            "required": ["name"],
            "additionalProperties": false,
            "$defs": { "place": { "type": "array", "items": { "type": "number" }, "maxItems": 2 } },
        });
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let (good, bad) = (inside(&schema, 12), outside(&schema, 8));
        assert_eq!((good.len(), bad.len()), (12, 8));
        assert!(good.iter().all(|value| validator.is_valid(value)), "{good:?}");
        assert!(good.iter().any(|value| value.get("where").is_some()), "{good:?}");
        assert!(bad.iter().all(|value| !validator.is_valid(value)), "{bad:?}");
        assert_eq!(inside(&schema, 12), good, "the same every time");
        assert!(outside(&json!({}), 4).is_empty(), "everything fits");
    }
}
