//! What the protocols written in tags have in common.

use std::borrow::Cow;

/// Characters of an answer in a constrained message.
pub(super) const ANSWER_CHARS_MAX: u64 = 120;

/// Takes the force from closing tags inside a tool's text, so that a document can neither
/// end the block it is shown in nor pass for a message: `</answer>` becomes `<\/answer>`.
/// Nothing else is changed.
pub(super) fn disarm<'a>(text: &'a str, is_tag: impl Fn(&str) -> bool) -> Cow<'a, str> {
    let mut disarmed = String::new();
    let mut copied = 0;
    for (at, _) in text.match_indices("</") {
        let name = tag_name(&text[at + 2..]);
        if name.is_some_and(&is_tag) {
            disarmed.push_str(&text[copied..at]);
            disarmed.push_str("<\\/");
            copied = at + 2;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    disarmed.push_str(&text[copied..]);
    Cow::Owned(disarmed)
}

/// The name at the beginning of `rest` if a `>` follows it: lower-case letters, digits and
/// underscores, beginning with a letter, as tools are named; at most 64 of them.
pub(super) fn tag_name(rest: &str) -> Option<&str> {
    const NAME_BYTES_MAX: usize = 64;
    let is_name =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let bytes = rest.as_bytes();
    let length = bytes.iter().take(NAME_BYTES_MAX).take_while(|b| is_name(b)).count();
    let starts = bytes.first().is_some_and(u8::is_ascii_lowercase);
    (starts && bytes.get(length) == Some(&b'>')).then(|| &rest[..length])
}

/// A regular expression for `<NAME>body</NAME>`: one line of 1 to `chars_max` characters,
/// trimmed, that holds no closing tag. It is one terminal because llguidance's lexer looks
/// one byte ahead: it could not tell a `<` in the body from the one that closes it.
pub(super) fn element_regex(name: &str, chars_max: u64) -> String {
    let edge = r"([^<\s]|<[^<\/\s])";
    let middle = r"([^<\n]|<[^<\/\n])";
    let body = match chars_max {
        0 | 1 => edge.to_owned(),
        _ => format!("{edge}({middle}{{0,{}}}{edge})?", chars_max - 2),
    };
    format!(r"/<{name}>{body}<\/{name}>/")
}
