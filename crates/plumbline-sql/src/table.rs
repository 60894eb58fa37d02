//! Result tables: what programs read, and what the model is shown.

use std::fmt::Write as _;

use rusqlite::types::ValueRef;
use serde_json::{Value, json};

/// Characters of one value that are shown to the model; the cut is marked.
const VALUE_CHARS_SHOWN: usize = 120;

/// The rows of a query, types kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Table {
    /// The table for programs: `{"columns", "rows", "row_count", "truncated"}`.
    /// `truncated` tells that the model was shown fewer rows.
    pub(crate) fn data(&self, rows_shown: usize) -> Value {
        json!({
            "columns": self.columns,
            "rows": self.rows,
            "row_count": self.rows.len(),
            "truncated": self.rows.len() > rows_shown,
        })
    }

    /// The table for the model: a line of names, a line a row, and how many rows there are.
    pub(crate) fn text(&self, rows_shown: usize) -> String {
        let mut text = self.columns.join(" | ");
        for row in self.rows.iter().take(rows_shown) {
            text.push('\n');
            let cells: Vec<String> = row.iter().map(cell).collect();
            text.push_str(&cells.join(" | "));
        }
        let count = self.rows.len();
        let noun = if count == 1 { "row" } else { "rows" };
        // Writing to a text cannot fail.
        let _ = if count > rows_shown {
            write!(text, "\n({count} {noun}; the first {rows_shown} are shown)")
        } else {
            write!(text, "\n({count} {noun})")
        };
        text
    }
}

/// A value as JSON. What JSON cannot say is an object: `{"blob": HEX}`, `{"text": HEX}` for
/// text that is not UTF-8, `{"real": "inf"}`.
pub(crate) fn json_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) if number.is_finite() => number.into(),
        ValueRef::Real(number) => json!({ "real": number.to_string() }),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({ "text": hex(bytes) }),
        },
        ValueRef::Blob(bytes) => json!({ "blob": hex(bytes) }),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A value as the model reads it: on one line, and not longer than needed.
pub(crate) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return "NULL".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => match fields.iter().next() {
            Some((kind, Value::String(hex))) if kind == "blob" => format!("x'{hex}'"),
            Some((kind, Value::String(hex))) if kind == "text" => {
                format!("(not UTF-8) x'{hex}'")
            }
            Some((_, Value::String(real))) => real.clone(),
            _ => value.to_string(),
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    };
    let mut line = String::with_capacity(text.len().min(4 * VALUE_CHARS_SHOWN));
    for (index, character) in text.chars().enumerate() {
        if index == VALUE_CHARS_SHOWN {
            line.push('…');
            break;
        }
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if character.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(character));
            }
            _ => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_and_stays_on_its_line() {
        let values = [
            (ValueRef::Null, json!(null), "NULL"),
            (ValueRef::Integer(i64::MIN), json!(i64::MIN), "-9223372036854775808"),
            (ValueRef::Real(43.0), json!(43.0), "43.0"),
            (ValueRef::Real(f64::NEG_INFINITY), json!({"real": "-inf"}), "-inf"),
            (ValueRef::Text(b"a\nb\0"), json!("a\nb\0"), "a\\nb\\u0000"),
            (ValueRef::Text(b"\xff"), json!({"text": "ff"}), "(not UTF-8) x'ff'"),
            (ValueRef::Blob(b"\x00\x1f"), json!({"blob": "001f"}), "x'001f'"),
        ];
        for (value, json, shown) in values {
            assert_eq!((json_of(value), cell(&json).as_str()), (json, shown));
        }
        assert_eq!(cell(&json!("é".repeat(200))).chars().count(), VALUE_CHARS_SHOWN + 1);
    }

    #[test]
    fn a_table_says_what_it_does_not_show() {
        let rows = vec![vec![json!(1), json!("x")], vec![json!(2), json!(null)]];
        let table = Table { columns: vec!["a".into(), "b".into()], rows };
        assert_eq!(table.text(5), "a | b\n1 | x\n2 | NULL\n(2 rows)");
        assert_eq!(table.text(1), "a | b\n1 | x\n(2 rows; the first 1 are shown)");
        assert_eq!(table.data(1)["truncated"], true);
        assert_eq!(table.data(2)["truncated"], false);
    }
}
