//! JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it: a space after each comma
//! and colon. Most published logs are written so, and go back out byte for byte.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// A value as Python writes it.
pub(crate) fn python_json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Spaced);
    value.serialize(&mut serializer).expect("our nouns serialise: string keys only");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
    ) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spaces_stand_where_python_puts_them() {
        let value = json!({"a": [1, 2.5, "é\n"], "b": {}, "c": [], "d": null});
        let expected = r#"{"a": [1, 2.5, "é\n"], "b": {}, "c": [], "d": null}"#;
        assert_eq!(python_json(&value), expected);
    }
}
