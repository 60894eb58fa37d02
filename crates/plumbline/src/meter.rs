//! How long tools took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Adds up how long the calls of some episodes took, over all of their branches. Calls whose
/// answer a cache holds take none.
#[derive(Debug, Default)]
pub struct Meter(AtomicU64);

impl Meter {
    /// The time so far.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}
