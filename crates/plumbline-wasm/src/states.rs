//! Interpreters at rest, by the state they are in: a cache, from which anything may be
//! dropped at any time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plumbline::Digest;

use crate::guest::Frozen;

/// A place for an interpreter. Whoever is still freezing it holds the lock.
type Place = Arc<Mutex<Option<Arc<Frozen>>>>;

/// The most recently used interpreters.
#[derive(Debug)]
pub(crate) struct States {
    kept: Mutex<Kept>,
    count_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    places: BTreeMap<Digest, Used>,
    clock: u64,
}

#[derive(Debug)]
struct Used {
    place: Place,
    at: u64,
    bytes: usize,
}

impl States {
    /// Keeps up to so many interpreters that hold up to so many bytes of their own.
    pub(crate) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { kept: Mutex::default(), count_max, bytes_max }
    }

    /// The interpreter in a state, if it is kept. Waits for it if it is being frozen.
    pub(crate) fn get(&self, key: Digest) -> Option<Arc<Frozen>> {
        let place = {
            let mut kept = lock(&self.kept);
            kept.clock += 1;
            let at = kept.clock;
            let used = kept.places.get_mut(&key)?;
            used.at = at;
            Arc::clone(&used.place)
        };
        let frozen = lock(&place).clone();
        if frozen.is_none() {
            // Whoever froze it failed: it will be made again from its cells.
            lock(&self.kept).places.remove(&key);
        }
        frozen
    }

    /// Keeps the interpreter that `freeze` puts to rest. `meanwhile` runs when whoever asks
    /// for it from now on waits for it.
    pub(crate) fn put(
        &self,
        key: Digest,
        meanwhile: impl FnOnce(),
        freeze: impl FnOnce() -> Option<Frozen>,
    ) -> Option<Arc<Frozen>> {
        let place = Place::default();
        let mut filling = lock(&place);
        {
            let mut kept = lock(&self.kept);
            kept.clock += 1;
            let used = Used { place: Arc::clone(&place), at: kept.clock, bytes: 0 };
            kept.places.insert(key, used);
        }
        meanwhile();
        let frozen = freeze().map(Arc::new);
        filling.clone_from(&frozen);
        drop(filling);
        let mut kept = lock(&self.kept);
        if let (Some(used), Some(frozen)) = (kept.places.get_mut(&key), &frozen) {
            used.bytes = frozen.image.held_bytes();
        }
        self.bound(&mut kept);
        frozen
    }

    /// Drops everything.
    pub(crate) fn clear(&self) {
        lock(&self.kept).places.clear();
    }

    /// Drops what was used longest ago until the rest is within bounds.
    fn bound(&self, kept: &mut Kept) {
        let mut bytes: usize = kept.places.values().map(|used| used.bytes).sum();
        while kept.places.len() > self.count_max || bytes > self.bytes_max {
            let oldest = kept.places.iter().min_by_key(|(_, used)| used.at);
            let Some(key) = oldest.map(|(key, _)| *key) else { return };
            let dropped = kept.places.remove(&key).expect("it was just found");
            bytes -= dropped.bytes;
        }
    }
}

/// A panic while a lock is held leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
