//! `run.json` as bytes: the header, and the checksum it ends with.

use std::path::Path;

use super::checksum;
use super::format::RunHeader;
use super::reader::{ReadError, check_version};

const KEY: &str = ",\n  \"crc32\": \"";
const END: &str = "\n}\n";

/// A header as it is written.
pub(super) fn to_bytes(header: &RunHeader) -> Vec<u8> {
    let mut json = serde_json::to_string_pretty(header).expect("a header serialises");
    json.push('\n');
    let sum = checksum::extend(0, &[json.as_bytes()]);
    let body = json.strip_suffix(END).expect("a header is an object with members");
    format!("{body}{KEY}{sum:08x}\"{END}").into_bytes()
}

/// Reads a header back, and checks that it is what was written.
pub(super) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<RunHeader, ReadError> {
    let line = |line: usize, message: String| ReadError::Line {
        path: path.to_owned(),
        line: line as u64,
        message,
    };
    let header: RunHeader = serde_json::from_slice(bytes)
        .map_err(|error| line(error.line().max(1), error.to_string()))?;
    check_version(path, header.format)?;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| line(1, format!("the file is not UTF-8: {error}")))?;
    let said = text.rsplit_once(KEY);
    if said.is_none() && !checksum::is_due(header.format) {
        return Ok(header);
    }
    let is_whole = said.is_some_and(|(body, rest)| {
        let sum = checksum::extend(0, &[body.as_bytes(), END.as_bytes()]);
        rest == format!("{sum:08x}\"{END}")
    });
    if is_whole {
        return Ok(header);
    }
    let message = "the file does not have the checksum it was written with; restore it from a \
                   copy. If it was changed on purpose, take the member crc32 out and set \
                   format.minor to 2";
    Err(line(text.lines().count().max(1), message.to_owned()))
}
