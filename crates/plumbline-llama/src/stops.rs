//! Finds the text that ends a message, even where it is split across tokens.

/// Looks for any of several texts in bytes that arrive piece by piece.
#[derive(Debug, Clone)]
pub(crate) struct Stops {
    texts: &'static [&'static str],
    longest: usize,
    scanned: usize,
}

impl Stops {
    /// Stops at any of these. An empty text never stops.
    pub(crate) fn new(texts: &'static [&'static str]) -> Self {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        Self { texts, longest, scanned: 0 }
    }

    /// Where the first stop ends, if `bytes` holds one. `bytes` must begin with what the
    /// last call was given.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let start = self.scanned.saturating_sub(self.longest.saturating_sub(1));
        self.scanned = bytes.len();
        self.texts
            .iter()
            .filter(|text| !text.is_empty())
            .filter_map(|text| {
                let mut windows = bytes[start..].windows(text.len());
                let at = windows.position(|window| window == text.as_bytes())?;
                Some(start + at + text.len())
            })
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds pieces, and returns where it stopped.
    fn check(texts: &'static [&'static str], pieces: &[&str], expect: Option<usize>) {
        let mut stops = Stops::new(texts);
        let mut bytes = Vec::new();
        let mut found = None;
        for piece in pieces {
            bytes.extend_from_slice(piece.as_bytes());
            found = stops.find(&bytes);
            if found.is_some() {
                break;
            }
        }
        assert_eq!(found, expect, "{texts:?} in {pieces:?}");
    }

    #[test]
    fn stops_are_found_wherever_they_are_split() {
        check(&["</answer>"], &["<answer>x</answer> and more"], Some(18));
        check(&["</answer>"], &["<answer>x<", "/", "answer", ">\n"], Some(18));
        check(&["</a>", "<b>"], &["..<", "b><", "/a>"], Some(5));
        check(&["ab", "b"], &["a", "b"], Some(2));
        check(&["aab"], &["a", "a", "a", "b"], Some(4));
        check(&["é!"], &["é", "!"], Some(3));
        check(&[], &["anything"], None);
        check(&["", "zz"], &["", "z", "y"], None);
    }
}
