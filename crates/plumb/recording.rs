//! Opens a recorded run, and says what it has lost.

use std::path::Path;

use plumbline::store::{Recording, losses};

use crate::failure::Result;

/// Reads a run whole. What it once held and holds no more is told on standard error, and so
/// is how it can be made again; what cannot be is an error.
pub(crate) fn open(run: &Path) -> Result<Recording> {
    let recording = Recording::open(run)?;
    warn_of_losses(run)?;
    Ok(recording)
}

/// The same for a run that is about to be gone on with.
pub(crate) fn warn_of_losses(run: &Path) -> Result<()> {
    for loss in losses(run)? {
        eprintln!("warning: {loss}");
    }
    Ok(())
}
