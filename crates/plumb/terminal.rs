//! Text of models, tools and datasets, as it may stand on a terminal.

use std::borrow::Cow;

/// The text with its control characters written out: whoever looks at a recorded answer is
/// not to have the screen cleared by it, nor the order of its letters turned round.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_control(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Line ends and tabs move nothing that is already there; bidirectional marks reorder it.
fn is_control(c: char) -> bool {
    let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() && !matches!(c, '\n' | '\t') || reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\tb\nç 日"), "a\tb\nç 日");
        assert_eq!(printable("\u{1b}[2J\r\u{202e}x"), "\\u{1b}[2J\\u{d}\\u{202e}x");
    }
}
