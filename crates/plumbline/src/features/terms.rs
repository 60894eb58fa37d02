//! Sets of words, as numbers: comparing them is most of what features cost.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::text;

/// The distinct words of a text without stop words, lower case and singular, as 64-bit FNV-1a
/// hashes in order. Two words that share a hash count as one, which changes a share by one
/// word where it happens, and nothing else.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Terms(Vec<u64>);

/// Words of one text that are read: beyond this a text is no query, answer or passage.
const WORDS_MAX: usize = 4096;

impl Terms {
    pub(super) fn of(text: &str) -> Self {
        Self::of_texts([text])
    }

    pub(super) fn of_texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut terms = Vec::new();
        for text in texts {
            if text.is_ascii() {
                ascii(text, &mut terms)
            } else {
                unicode(text, &mut terms)
            }
        }
        terms.sort_unstable();
        terms.dedup();
        Self(terms)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, term: u64) -> bool {
        self.0.binary_search(&term).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// How many terms two sets share.
    pub(super) fn shared(&self, other: &Terms) -> usize {
        let (few, many) =
            if self.len() < other.len() { (self, other) } else { (other, self) };
        few.iter().filter(|term| many.has(*term)).count()
    }

    /// The Jaccard index, 0 to 1; 0 of nothing.
    pub(super) fn similarity(&self, other: &Terms) -> f64 {
        let shared = self.shared(other);
        super::share(shared, self.len() + other.len() - shared)
    }

    /// The terms of this set that are not in the other.
    pub(super) fn without(&self, other: &Terms) -> Terms {
        Terms(self.iter().filter(|term| !other.has(*term)).collect())
    }

    /// How many of the terms a larger, growing set has.
    pub(super) fn among(&self, many: &HashSet<u64>) -> usize {
        self.iter().filter(|term| many.contains(term)).count()
    }
}

/// Adds the terms of a text of any script.
fn unicode(text: &str, terms: &mut Vec<u64>) {
    for (_, word) in text::words(text).take(WORDS_MAX) {
        let lower = word.to_lowercase();
        if !text::is_stop_word(&lower) {
            terms.push(text::singular(lower).bytes().fold(FNV_START, fnv));
        }
    }
}

/// The same for ASCII, a byte at a time: most of what is read is, and it is most of the cost.
fn ascii(text: &str, terms: &mut Vec<u64>) {
    let mut words = 0;
    let mut rest = text.as_bytes();
    while let Some(start) = rest.iter().position(u8::is_ascii_alphanumeric) {
        let (mut hash, mut without_last, mut length, mut last) =
            (FNV_START, FNV_START, 0, [0; 2]);
        for byte in rest[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric()) {
            let byte = byte.to_ascii_lowercase();
            without_last = hash;
            hash = fnv(hash, byte);
            last = [last[1], byte];
            length += 1;
        }
        rest = &rest[start + length..];
        words += 1;
        if words > WORDS_MAX {
            return;
        }
        if length <= STOP_WORD_BYTES_MAX && STOP_WORDS.binary_search(&hash).is_ok() {
            continue;
        }
        // As `text::singular` does it.
        let plural = length > 3 && last[1] == b's' && last[0] != b's';
        terms.push(if plural { without_last } else { hash });
    }
}

/// The length of the longest stop word.
const STOP_WORD_BYTES_MAX: usize = 7;

static STOP_WORDS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut hashes: Vec<u64> =
        text::STOP_WORDS.iter().map(|word| word.bytes().fold(FNV_START, fnv)).collect();
    hashes.sort_unstable();
    hashes
});

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_of_reading_ascii_agree(text in "([a-zA-Z0-9]{0,9}|the|its|'s|[ -~]){0,12}") {
            let (mut one, mut two) = (vec![], vec![]);
            ascii(&text, &mut one);
            unicode(&text, &mut two);
            prop_assert_eq!(one, two);
        }
    }

    #[test]
    fn no_stop_word_is_longer_than_looked_for() {
        let longest = text::STOP_WORDS.iter().map(|word| word.len()).max();
        assert_eq!(longest, Some(STOP_WORD_BYTES_MAX));
    }

    #[test]
    fn terms_are_words_without_order_number_and_stop_words() {
        let same = |one: &str, two: &str| assert_eq!(Terms::of(one), Terms::of(two));
        same("The Red foxes of É", "é FOXE, red foxes");
        assert_eq!(Terms::of("of the").len(), 0);
        assert_eq!(
            Terms::of("fox den moor").similarity(&Terms::of("a den, a fox")),
            2.0 / 3.0
        );
        assert_eq!(Terms::of("").similarity(&Terms::of("")), 0.0);
        assert_eq!(Terms::of("fox den").without(&Terms::of("den")), Terms::of("fox"));
        let many: HashSet<u64> = Terms::of("den moor").iter().collect();
        assert_eq!(Terms::of("fox den").among(&many), 1);
    }
}
