//! What tells a damaged line from a whole one: each ends with a checksum of all lines up to it.
//!
//! ```text
//! {"type":"node", … ,"crc32":"3610a686"}
//! ```
//!
//! The last member is the CRC-32 (as in gzip) of every object of the file so far, this one
//! included, as they were before the member was put in. Being a running sum it also tells
//! that a line before is missing, stands twice or has changed places. It guards against
//! accidents, not against people.

use super::format::Version;

/// Files of this version, and newer ones, have checksums in every line.
const SINCE: Version = Version { major: 1, minor: 3 };

const KEY: &[u8] = b",\"crc32\":\"";
const DIGITS: usize = 8;
/// What the member adds to an object.
const MEMBER: usize = KEY.len() + DIGITS + 1;

/// What is said of a line whose checksum is another.
pub(super) const BROKEN: &str = "the line does not have the checksum it was written with: it \
    was damaged, or a line before it is missing or stands twice; restore the file from a copy";

/// Whether lines of this version must have a checksum.
pub(super) fn is_due(version: Version) -> bool {
    (version.major, version.minor) >= (SINCE.major, SINCE.minor)
}

/// Adds its checksum to an object that continues a file with this running sum; returns the
/// sum after it.
pub(super) fn seal(object: &mut Vec<u8>, running: u32) -> u32 {
    let sum = extend(running, &[object]);
    let brace = object.pop();
    assert_eq!(brace, Some(b'}'), "a line is an object");
    object.extend_from_slice(KEY);
    object.extend_from_slice(format!("{sum:08x}\"}}").as_bytes());
    sum
}

/// The sum that an object says it has, if it says one. Without its line end.
pub(super) fn said(object: &[u8]) -> Option<u32> {
    let member = object.len().checked_sub(MEMBER + 1)?;
    let digits = object[member..].strip_prefix(KEY)?.strip_suffix(b"\"}")?;
    let digits = std::str::from_utf8(digits).ok()?;
    // It is written in one way only.
    let sum = u32::from_str_radix(digits, 16).ok()?;
    (format!("{sum:08x}") == digits).then_some(sum)
}

/// Whether an object is what was written after a file with this running sum; the sum after
/// it if so. Without its line end.
pub(super) fn check(object: &[u8], running: u32) -> Option<u32> {
    let said = said(object)?;
    let body = &object[..object.len() - MEMBER - 1];
    (extend(running, &[body, b"}"]) == said).then_some(said)
}

/// A running sum carried on over more bytes.
pub(super) fn extend(running: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(running);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(objects: &[&str]) -> Vec<Vec<u8>> {
        let mut running = 0;
        let seal = |object: &&str| {
            let mut object = object.as_bytes().to_vec();
            running = super::seal(&mut object, running);
            object
        };
        objects.iter().map(seal).collect()
    }

    fn are_whole(lines: &[Vec<u8>]) -> bool {
        let mut running = 0;
        lines.iter().all(|line| {
            let sum = check(line, running);
            running = sum.unwrap_or_default();
            sum.is_some()
        })
    }

    #[test]
    fn the_sum_is_that_of_gzip() {
        let line = lines(&[r#"{"a":1}"#]).remove(0);
        // `printf '{"a":1}' | gzip | tail -c 8 | head -c 4`, little end first.
        let expected =
            format!(r#"{{"a":1,"crc32":"{:08x}"}}"#, crc32fast::hash(b"{\"a\":1}"));
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }

    #[test]
    fn any_single_byte_and_any_order_is_told() {
        let whole =
            lines(&[r#"{"a":1}"#, r#"{"b":"two"}"#, r#"{"b":"two"}"#, r#"{"c":3}"#]);
        assert!(are_whole(&whole));
        for at in 0..whole[1].len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[1][at] ^= 1 << bit;
                assert!(!are_whole(&damaged), "byte {at}, bit {bit}");
            }
        }
        let without = |at: usize| [&whole[..at], &whole[at + 1..]].concat();
        assert!(!are_whole(&without(1)) && !are_whole(&without(2)));
        assert!(
            are_whole(&without(3)),
            "the end of a file is told by its contents' list"
        );
        let twice = [&whole[..=3], &whole[3..]].concat();
        assert!(!are_whole(&twice));
    }
}
