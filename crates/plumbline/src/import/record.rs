//! Records out of a file: JSON lines or one JSON array, a record held at a time.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use serde_json::Value;

use super::ImportError;
use crate::repeated_key::repeated_key;

/// Bytes of one record, which are held at a time.
pub const RECORD_BYTES_MAX: usize = 15 << 20;

/// What to do about a field that is not as it should be.
const REMEDY: &str =
    "correct the record or leave it out, and check that the file has the format named";

static ABSENT: Value = Value::Null;

/// Where a record begins: `FILE:LINE`, lines counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: Arc<str>,
    line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A JSON object and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    place: Place,
    value: Value,
    text: String,
}

impl Record {
    /// Where it begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Refuses a record of which it cannot be said what it holds: a key stands twice in it.
    pub(super) fn unambiguous(&self) -> Result<(), ImportError> {
        let Some(path) = repeated_key(&self.text) else { return Ok(()) };
        let field = Field { place: &self.place, path, value: &ABSENT };
        Err(field.error("stands twice", "leave one of the two out"))
    }

    /// The record as it stands in the file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn field(&self, name: &str) -> Field<'_> {
        let value = self.value.get(name).unwrap_or(&ABSENT);
        Field { place: &self.place, path: name.to_owned(), value }
    }

    /// The first of these fields that is there; the first of all if none is.
    pub(super) fn first_of(&self, names: &[&str]) -> Field<'_> {
        let mut fields = names.iter().map(|name| self.field(name));
        let there = fields.clone().find(|field| !field.is_absent());
        there.or_else(|| fields.next()).expect("at least one name is given")
    }
}

/// A place within a record; a field that is absent is there as `null`.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    place: &'a Place,
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    pub(super) fn get(&self, name: &str) -> Field<'a> {
        let path = format!("{}.{name}", self.path);
        Field { place: self.place, path, value: self.value.get(name).unwrap_or(&ABSENT) }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    pub(super) fn list(&self) -> Result<Vec<Field<'a>>, ImportError> {
        let values = self.value.as_array().ok_or_else(|| self.not("a list"))?;
        let item = |(index, value)| {
            let path = format!("{}.{index}", self.path);
            Field { place: self.place, path, value }
        };
        Ok(values.iter().enumerate().map(item).collect())
    }

    /// The items of a list that has exactly two.
    pub(super) fn pair(&self) -> Result<(Field<'a>, Field<'a>), ImportError> {
        let [first, second] = <[Field<'a>; 2]>::try_from(self.list()?)
            .map_err(|items| self.wrong(format!("has {} items, not 2", items.len())))?;
        Ok((first, second))
    }

    pub(super) fn text(&self) -> Result<&'a str, ImportError> {
        self.value.as_str().ok_or_else(|| self.not("a text"))
    }

    /// The text without white space around it; an empty one is an error.
    pub(super) fn filled_text(&self) -> Result<&'a str, ImportError> {
        match self.text()?.trim() {
            "" => Err(self.wrong("is empty")),
            text => Ok(text),
        }
    }

    pub(super) fn optional_text(&self) -> Result<Option<&'a str>, ImportError> {
        if self.is_absent() { Ok(None) } else { self.filled_text().map(Some) }
    }

    /// A name written as a text or as a number, if it is there.
    pub(super) fn name(&self) -> Result<Option<String>, ImportError> {
        match self.value {
            Value::Number(number) => Ok(Some(number.to_string())),
            _ => Ok(self.optional_text()?.map(str::to_owned)),
        }
    }

    /// The texts of a list, which may be absent.
    pub(super) fn texts(&self) -> Result<Vec<&'a str>, ImportError> {
        if self.is_absent() {
            return Ok(vec![]);
        }
        self.list()?.iter().map(Field::text).collect()
    }

    pub(super) fn flag(&self) -> Result<bool, ImportError> {
        self.value.as_bool().ok_or_else(|| self.not("true or false"))
    }

    pub(super) fn index(&self) -> Result<usize, ImportError> {
        let number = self.value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| self.not("a whole number from 0"))
    }

    pub(super) fn wrong(&self, problem: impl Into<String>) -> ImportError {
        self.error(problem, REMEDY)
    }

    pub(super) fn error(&self, problem: impl Into<String>, remedy: &str) -> ImportError {
        ImportError::Field {
            place: self.place.clone(),
            field: self.path.clone(),
            problem: problem.into(),
            remedy: remedy.to_owned(),
        }
    }

    pub(super) fn not(&self, due: &str) -> ImportError {
        match self.value {
            Value::Null => self.wrong("is missing"),
            other => self.wrong(format!("is {}, not {due}", kind(other))),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The records of a file, as a stream: one JSON object a line, or one JSON array of objects.
/// An object may go over several lines if its first one is its opening brace alone.
/// A byte order mark, CRLF and blank lines are passed over. After an error there are no more.
pub struct Records<'a> {
    file: Arc<str>,
    reader: &'a mut dyn BufRead,
    line: u64,
    layout: Layout,
}

/// How far the file has been read, and how the rest is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Unknown,
    Lines,
    /// Inside the array, before its first element.
    ArrayBegun,
    /// Inside the array, after an element.
    Array,
    Done,
}

impl<'a> Records<'a> {
    /// The records of a reader; `file` is the name that messages give.
    pub fn new(file: &str, reader: &'a mut dyn BufRead) -> Self {
        Self { file: file.into(), reader, line: 1, layout: Layout::Unknown }
    }

    fn read(&mut self) -> Result<Option<Record>, ImportError> {
        if self.layout == Layout::Unknown {
            self.layout = self.begin()?;
        }
        let (place, bytes) = match self.layout {
            Layout::Unknown | Layout::Done => return Ok(None),
            Layout::Lines => match self.next_line()? {
                Some(found) => found,
                None => return Ok(None),
            },
            Layout::ArrayBegun | Layout::Array => match self.next_element()? {
                Some(found) => found,
                None => return self.end().map(|()| None),
            },
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
            let line = place.line + (error.line() as u64).saturating_sub(1);
            let place = Place { line, ..place.clone() };
            let message = without_line(&error);
            match message.contains("recursion limit") {
                true => ImportError::TooDeep { place },
                false => ImportError::Json { place, message },
            }
        })?;
        if !value.is_object() {
            let message = format!("found {} where a record is due", kind(&value));
            return Err(ImportError::Json { place, message });
        }
        let text = String::from_utf8(bytes).expect("JSON that was read is UTF-8");
        Ok(Some(Record { place, value, text }))
    }

    /// Finds out how the file is laid out.
    fn begin(&mut self) -> Result<Layout, ImportError> {
        // The mark is looked for byte by byte: a reader may hand out one at a time.
        for expected in [0xEF, 0xBB, 0xBF] {
            if self.peek()? != Some(expected) {
                break;
            }
            self.reader.consume(1);
        }
        match self.peek_past_space()? {
            None => Err(ImportError::Empty { file: self.file.to_string() }),
            Some(b'[') => {
                self.reader.consume(1);
                Ok(Layout::ArrayBegun)
            }
            Some(_) => Ok(Layout::Lines),
        }
    }

    /// Checks that nothing follows the array, and that it was not empty.
    fn end(&mut self) -> Result<(), ImportError> {
        if self.layout == Layout::ArrayBegun {
            return Err(ImportError::Empty { file: self.file.to_string() });
        }
        self.layout = Layout::Done;
        match self.peek_past_space()? {
            None => Ok(()),
            Some(_) => Err(self.json("there is more after the end of the array")),
        }
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> Result<Option<(Place, Vec<u8>)>, ImportError> {
        if self.peek_past_space()?.is_none() {
            return Ok(None);
        }
        let place = self.place();
        let mut bytes = Vec::new();
        let read = Read::take(&mut *self.reader, RECORD_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut bytes);
        read.map_err(|source| self.failed(source))?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(ImportError::TooLong { place });
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
            self.line += 1;
        }
        // A brace alone begins a record that was written over several lines.
        if bytes.trim_ascii() == b"{" {
            let mut scan = Scan::default();
            bytes.iter().for_each(|byte| {
                scan.closes(*byte);
            });
            bytes.push(b'\n');
            return self.until_closed(place, bytes, scan).map(Some);
        }
        Ok(Some((place, bytes)))
    }

    /// The bytes of the array's next object; `None` at its end.
    fn next_element(&mut self) -> Result<Option<(Place, Vec<u8>)>, ImportError> {
        let mut next = self.peek_past_space()?;
        if next == Some(b']') {
            self.reader.consume(1);
            return Ok(None);
        }
        if self.layout == Layout::Array {
            if next != Some(b',') {
                return Err(self.json("a comma or the end of the array is due"));
            }
            self.reader.consume(1);
            next = self.peek_past_space()?;
        }
        self.layout = Layout::Array;
        if next != Some(b'{') {
            return Err(self.json("a record is due"));
        }
        self.object().map(Some)
    }

    /// The bytes from an opening brace to the one that closes it. Only strings and nesting
    /// are looked at; whether it is JSON is for the parser to say.
    fn object(&mut self) -> Result<(Place, Vec<u8>), ImportError> {
        let place = self.place();
        self.until_closed(place, Vec::new(), Scan::default())
    }

    /// The rest of an object of which `bytes` have been read.
    fn until_closed(
        &mut self,
        place: Place,
        mut bytes: Vec<u8>,
        mut scan: Scan,
    ) -> Result<(Place, Vec<u8>), ImportError> {
        loop {
            let buffer = self.reader.fill_buf();
            let buffer = buffer.map_err(|source| failed(&self.file, source))?;
            if buffer.is_empty() {
                return Err(self.json("the file ends inside a record"));
            }
            let end = buffer.iter().position(|byte| scan.closes(*byte));
            let taken = end.map_or(buffer.len(), |end| end + 1);
            bytes.extend_from_slice(&buffer[..taken]);
            self.line += line_ends(&buffer[..taken]);
            self.reader.consume(taken);
            if bytes.len() > RECORD_BYTES_MAX {
                return Err(ImportError::TooLong { place });
            }
            if end.is_some() {
                return Ok((place, bytes));
            }
        }
    }

    /// The next byte that is not white space, left where it is.
    fn peek_past_space(&mut self) -> Result<Option<u8>, ImportError> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.line += line_ends(&[byte]);
            self.reader.consume(1);
        }
        Ok(None)
    }

    fn peek(&mut self) -> Result<Option<u8>, ImportError> {
        let buffer = self.reader.fill_buf();
        Ok(buffer.map_err(|source| failed(&self.file, source))?.first().copied())
    }

    fn place(&self) -> Place {
        Place { file: Arc::clone(&self.file), line: self.line }
    }

    fn json(&self, message: &str) -> ImportError {
        ImportError::Json { place: self.place(), message: message.to_owned() }
    }

    fn failed(&self, source: io::Error) -> ImportError {
        failed(&self.file, source)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.layout = Layout::Done;
        }
        item
    }
}

/// Follows strings and nesting through the bytes of an object.
#[derive(Debug, Default)]
struct Scan {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Takes one byte; whether it closes the object.
    fn closes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn failed(file: &str, source: io::Error) -> ImportError {
    ImportError::Read { file: file.to_owned(), source }
}

/// The parser's message with the column alone: its lines count from the record's own.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = text.strip_suffix(&place).unwrap_or(&text);
    format!("not JSON: {message} at column {}", error.column())
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<(u64, Value)>, String> {
        // A buffer of three bytes cuts every token somewhere.
        let mut reader = BufReader::with_capacity(3, text.as_bytes());
        let records = Records::new("f.json", &mut reader);
        let pair = |record: Record| (record.place.line, record.value);
        records.map(|r| r.map(pair).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn lines_and_arrays_read_alike() {
        let (one, two) = (json!({"a": "}]\\\"{"}), json!({"b": [1, {}]}));
        for (text, lines) in [
            (format!("{one}\n{two}\n"), [1, 2]),
            (format!("\u{feff}{one}\r\n\r\n  {two}"), [1, 3]),
            (format!("[{one},{two}]"), [1, 1]),
            (format!("\u{feff}\n [\r\n {one}\n ,\n {two}\n]\n\n"), [3, 5]),
        ] {
            let found = read(&text).expect("both layouts are read");
            let expected = vec![(lines[0], one.clone()), (lines[1], two.clone())];
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused_where_it_stands() {
        for (text, expected) in [
            ("", "f.json: no records"),
            (" \n\n", "f.json: no records"),
            ("[]", "f.json: no records"),
            ("{\"a\": 1}\nnonsense\n", "f.json:2: not JSON: expected ident"),
            ("{\"a\": 1\n", "f.json:1: not JSON: EOF"),
            ("{} {}", "f.json:1: not JSON: trailing characters"),
            ("7", "f.json:1: found a number"),
            ("[{}, 7]", "f.json:1: a record is due"),
            ("[{}\n{}]", "f.json:2: a comma or the end of the array is due"),
            ("[{},\n]", "f.json:2: a record is due"),
            ("[{}]\n\nmore", "f.json:3: there is more after the end"),
            ("[{\"a\":\n", "f.json:2: the file ends inside a record"),
            ("[\n{\"a\":\n 1,\n}]", "f.json:4: not JSON: trailing comma"),
            ("[{]", "f.json:1: not JSON: key must be a string"),
            ("{\"a\": \"\u{7}\"}", "f.json:1: not JSON: control character"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_and_endless_records_are_refused() {
        let mut bytes: &[u8] = b"{\"a\": \"\xff\"}";
        let error = Records::new("f", &mut bytes).next().expect("one record");
        assert!(error.expect_err("not UTF-8").to_string().contains("f:1: not JSON"));
        for prefix in ["{\"a\": \"", "[{\"a\": \""] {
            let endless = io::repeat(b'x').take(2 * RECORD_BYTES_MAX as u64);
            let mut reader = BufReader::new(prefix.as_bytes().chain(endless));
            let mut records = Records::new("f", &mut reader);
            let error = records.next().expect("an error").expect_err("too long");
            assert!(matches!(error, ImportError::TooLong { .. }), "{error}");
            assert!(records.next().is_none(), "after an error there are no more");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(9999), "]".repeat(9999));
        assert!(read(&deep).expect_err("too deep").contains("f.json:1: a value lies in"));
        assert!(read(&format!("[{deep}]")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\[|\\]|\\{|\\}|\"|,|:|\\\\|\n|a|é){0,24}") {
            if let Ok(records) = read(&text) {
                prop_assert!(records.iter().all(|(_, value)| value.is_object()));
            }
        }
    }
}
