//! Keys that stand twice in one JSON object: parsers keep the last of them without a word, and
//! whoever reads the text may see the first.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The first key of a JSON text that its object has already, as a path: `step_labels.2`.
/// `None` if there is none, or if the text is no JSON, which is for the parser to say.
pub(crate) fn repeated_key(json: &str) -> Option<String> {
    let mut found = None;
    let search = Search { path: &Path::Root, found: &mut found };
    // It fails when it finds one, as it does on what is no JSON.
    let _ = search.deserialize(&mut serde_json::Deserializer::from_str(json));
    found
}

/// A place in the text, written out only where it is told.
enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, name): (_, &dyn fmt::Display) = match self {
            Path::Root => return Ok(()),
            Path::Key(parent, key) => (parent, key),
            Path::Item(parent, index) => (parent, index),
        };
        match parent {
            Path::Root => write!(f, "{name}"),
            parent => write!(f, "{parent}.{name}"),
        }
    }
}

struct Search<'p> {
    path: &'p Path<'p>,
    found: &'p mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            let path = &Path::Item(self.path, index);
            let item = Search { path, found: &mut *self.found };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            let path = &Path::Key(self.path, &key);
            if keys.contains(&key) {
                *self.found = Some(path.to_string());
                return Err(A::Error::custom("a key stands twice"));
            }
            members.next_value_seed(Search { path, found: &mut *self.found })?;
            keys.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_stands_twice_is_named() {
        for (json, expected) in [
            (r#"{"a": 1, "b": {"a": 2}, "c": [{"a": 3}, {"a": 4}]}"#, None),
            (r#"{"a": 1, "a": 1}"#, Some("a")),
            (r#"{"a": 1, "\u0061": 2}"#, Some("a")),
            (r#"{"l": {"2": -1, "4": 0.5, "2": 1}, "l": null}"#, Some("l.2")),
            (r#"{"m": [true, {"x": "", "x": -1}]}"#, Some("m.1.x")),
            (r#"{"text": "{\"a\": 1, \"a\": 2}"}"#, None),
            (r#"{"a": 1, "#, None),
        ] {
            assert_eq!(repeated_key(json).as_deref(), expected, "{json}");
        }
        assert_eq!(repeated_key(&"[".repeat(100_000)), None, "no overflow");
    }
}
