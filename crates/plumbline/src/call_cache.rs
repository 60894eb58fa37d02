//! A cache of tool results that changes nothing but time.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::Value;

use crate::{Digest, Observation, Scratch, ToolSpec};

/// Remembers what calls came to: many samples of one task ask the same first question.
///
/// The key is everything an answer may depend on. Bounded by two generations of entries:
/// when the young one is full it becomes the old one, and what was old is forgotten.
#[derive(Debug)]
pub struct CallCache {
    generations: Mutex<Generations>,
    generation_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, (Observation, Scratch)>,
    young_bytes: usize,
    old: HashMap<Digest, (Observation, Scratch)>,
}

impl CallCache {
    /// A cache of about `bytes_max` bytes of observations.
    pub fn new(bytes_max: usize) -> Self {
        Self { generations: Mutex::default(), generation_bytes_max: bytes_max / 2 }
    }

    /// The key of a call made in a state.
    pub fn key(spec: &ToolSpec, args: &Value, scratch: Digest) -> Digest {
        Digest::of_json(&(&spec.name, spec.pinned, args, scratch))
    }

    /// What the call came to and the state it left, if it is remembered.
    pub fn get(&self, key: Digest) -> Option<(Observation, Scratch)> {
        let generations = self.lock();
        generations.young.get(&key).or_else(|| generations.old.get(&key)).cloned()
    }

    /// Remembers what a call came to and the state it left.
    pub fn put(&self, key: Digest, observation: &Observation, scratch: &Scratch) {
        // A map entry, the data beside the text, and the scratch's handle: an estimate.
        let bytes = 256 + 2 * observation.text().len();
        let mut generations = self.lock();
        if generations.young_bytes + bytes > self.generation_bytes_max {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        generations.young_bytes += bytes;
        generations.young.insert(key, (observation.clone(), scratch.clone()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_the_oldest_and_stays_bounded() {
        let cache = CallCache::new(10 * 1024);
        let observation =
            Observation::Output { text: "x".repeat(100), data: Value::Null };
        let key = |i: u32| Digest::of(&i.to_le_bytes());
        for i in 0..1000 {
            cache.put(key(i), &observation, &Scratch::default());
        }
        assert!(cache.get(key(999)).is_some(), "the latest is there");
        assert!(cache.get(key(0)).is_none(), "the first is forgotten");
        let generations = cache.lock();
        assert!(generations.young.len() + generations.old.len() < 50);
    }
}
