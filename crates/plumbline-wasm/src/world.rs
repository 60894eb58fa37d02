//! Everything a guest sees of a world outside it: files, a clock, chance. No host shows.

use sha2::{Digest as _, Sha256};

use crate::files::Files;

/// What the guest's calendar shows at the start: 2026-01-01 00:00 UTC, in seconds.
const START_S: u64 = 1_767_225_600;
/// How far the clock moves each time it is read, so that a loop that waits ends.
const READING_NS: u64 = 1_000;

/// Files, clock and chance: a value, cloned with the state it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) files: Files,
    /// Since the guest was started. Nothing but being read and sleeping moves it.
    elapsed_ns: u64,
    /// Blocks of random bytes that were drawn.
    draws: u64,
}

impl World {
    /// The world at a time since the guest's start, with draws of chance behind it.
    pub(crate) fn new(files: Files, elapsed_ns: u64, draws: u64) -> Self {
        Self { files, elapsed_ns, draws }
    }

    /// What files are stamped with that were there before the guest.
    pub(crate) fn start_ns() -> u64 {
        START_S * 1_000_000_000
    }

    /// Time since the guest's start, without moving it.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns
    }

    /// Time since the epoch, without moving it: what files are stamped with.
    pub(crate) fn now_ns(&self) -> u64 {
        self.elapsed_ns.saturating_add(START_S * 1_000_000_000)
    }

    /// Reads the clock, which moves it.
    pub(crate) fn tick(&mut self) {
        self.sleep_until(self.elapsed_ns.saturating_add(READING_NS));
    }

    /// Waits without waiting. Time does not run backwards.
    pub(crate) fn sleep_until(&mut self, elapsed_ns: u64) {
        self.elapsed_ns = self.elapsed_ns.max(elapsed_ns);
    }

    /// Time since the guest's start that a time since the epoch is.
    pub(crate) fn since_start(epoch_ns: u64) -> u64 {
        epoch_ns.saturating_sub(START_S * 1_000_000_000)
    }

    /// Fills a buffer with random bytes: the same ones in every episode.
    pub(crate) fn draw(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(32) {
            let mut hasher = Sha256::new();
            hasher.update(b"plumbline-wasm");
            hasher.update(self.draws.to_le_bytes());
            piece.copy_from_slice(&hasher.finalize()[..piece.len()]);
            self.draws += 1;
        }
    }
}
