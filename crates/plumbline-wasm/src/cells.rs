//! What an episode's scratch keeps of its interpreter: the cells that were run and what they
//! left in files. Everything else follows from the cells.

use std::collections::BTreeMap;

use plumbline::{Digest, Limits, Scratch};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::Written;

/// The scratch's key.
const KEY: &str = "python";

/// The cells that were run, and the files they wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cells {
    cells: Vec<String>,
    files: BTreeMap<String, Kept>,
}

/// A written file, by its contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) bytes: usize,
    pub(crate) sha256: Digest,
}

impl Cells {
    /// The cells of an episode; none at its start.
    pub(crate) fn of(scratch: &Scratch) -> Result<Self, String> {
        let Some(value) = scratch.get(KEY) else { return Ok(Self::default()) };
        Self::deserialize(value)
            .map_err(|error| format!("the scratch holds no cells under {KEY:?}: {error}"))
    }

    /// The cells, in the order they were run.
    pub(crate) fn codes(&self) -> &[String] {
        &self.cells
    }

    /// The cells after one more, and what there are in files then. Returns the files that
    /// the cell touched.
    pub(crate) fn append(
        &mut self,
        code: &str,
        written: &[Written],
    ) -> BTreeMap<String, Kept> {
        self.cells.push(code.to_owned());
        let mut touched = BTreeMap::new();
        let mut files = BTreeMap::new();
        for file in written {
            // A file that was not touched need not be read again.
            let kept = match self.files.get(&file.path) {
                Some(kept) if !file.is_touched => kept.clone(),
                _ => Kept { bytes: file.content.len(), sha256: file.digest() },
            };
            if file.is_touched {
                touched.insert(file.path.clone(), kept.clone());
            }
            files.insert(file.path.clone(), kept);
        }
        self.files = files;
        touched
    }

    /// Puts the cells into an episode's scratch.
    pub(crate) fn store(self, scratch: &mut Scratch) {
        let value = serde_json::to_value(self).expect("texts, numbers and digests");
        scratch.set(KEY, value);
    }
}

/// What names the state before the first cell: everything that the state depends on besides
/// cells and what is pinned.
pub(crate) fn start_key(inputs: &Value, limits: &Limits) -> Digest {
    Digest::of_json(&(
        inputs,
        limits.fuel_max,
        limits.memory_bytes_max,
        limits.output_bytes_max,
        limits.files_bytes_max,
    ))
}

/// What names the state after one more cell.
pub(crate) fn next_key(key: Digest, code: &str) -> Digest {
    Digest::of_parts(&[key.to_string().as_bytes(), code.as_bytes()])
}
