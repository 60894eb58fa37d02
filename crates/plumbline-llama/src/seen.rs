//! Which beginnings of prompts have been read before: what an ideal cache would still hold.

use std::collections::HashSet;

/// Beginnings that one generation remembers. Two generations are kept, at nine bytes and
/// some slack each: at most about 40 MB.
const GENERATION_MAX: usize = 1 << 20;

/// Every beginning of every path recorded so far, as hashes. Past a million tokens the older
/// half is forgotten, unless it was seen again in the meantime.
#[derive(Debug)]
pub(crate) struct Seen {
    recent: HashSet<u64>,
    older: HashSet<u64>,
    generation_max: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self::with_generation(GENERATION_MAX)
    }
}

impl Seen {
    fn with_generation(generation_max: usize) -> Self {
        Self { recent: HashSet::new(), older: HashSet::new(), generation_max }
    }

    /// How many tokens at the beginning of a path are new. The path is then known.
    pub(crate) fn record(&mut self, path: &[u32]) -> usize {
        let mut known = 0;
        let mut is_known = true;
        let mut hash = FIRST;
        for &token in path {
            hash = step(hash, token);
            is_known =
                is_known && (self.recent.contains(&hash) || self.older.contains(&hash));
            known += usize::from(is_known);
            self.remember(hash);
        }
        path.len() - known
    }

    fn remember(&mut self, hash: u64) {
        if self.recent.len() >= self.generation_max && !self.recent.contains(&hash) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(hash);
    }
}

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of a beginning, from that of the one a token shorter: a 64-bit mix with full
/// avalanche. Nobody gains by a collision; a chance one miscounts a token.
fn step(hash: u64, token: u32) -> u64 {
    let mut mixed = hash ^ u64::from(token).wrapping_add(FIRST);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_extends_a_known_beginning_is_new() {
        let mut seen = Seen::default();
        assert_eq!(seen.record(&[1, 2, 3]), 3);
        assert_eq!(seen.record(&[1, 2, 3, 4]), 1);
        assert_eq!(seen.record(&[1, 2, 9, 3, 4]), 3);
        assert_eq!(seen.record(&[2, 3]), 2, "a beginning, not a part");
        assert_eq!(seen.record(&[1, 2, 9]), 0);
    }

    #[test]
    fn memory_is_bounded_and_recent_paths_survive() {
        let mut seen = Seen::with_generation(10);
        for round in 0..100 {
            seen.record(&[7, 8]);
            seen.record(&[round, round + 1, round + 2]);
            assert_eq!(seen.record(&[7, 8]), 0);
        }
        assert!(seen.recent.len() <= 10 && seen.older.len() <= 10);
    }
}
