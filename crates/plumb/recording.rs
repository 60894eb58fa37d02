//! Opens a recorded run, says what it has lost, and takes back what was said of lost steps.

use std::collections::BTreeMap;
use std::path::Path;

use plumbline::store::{
    JudgedTree, Recording, VerdictWriter, losses, read_verdicts, verifiers,
};
use plumbline::{Digest, Gold, Task, TaskId, Tree};

use crate::failure::{Kind, Result};
use crate::label::tasks;
use crate::manifest::EnvironmentFolder;

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

/// What a run was asked, and what is right: empty where that is not at hand.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) gold: BTreeMap<TaskId, Gold>,
}

/// Reads that, to look at a run: which can be done where its environment is not there, and where
/// it has changed or is damaged, which is told. Not so the one that an imported run carries.
pub(crate) fn asked(run: &Path, recording: &Recording) -> Result<Asked> {
    let carried = run.join("environment/environment.toml").is_file();
    let folder = EnvironmentFolder::of_run(run, &recording.header);
    if !carried && folder.as_ref().is_err_and(|failure| failure.kind() == Kind::Usage) {
        return Ok(Asked::default());
    }
    let read = folder.and_then(|folder| {
        Ok(Asked { tasks: tasks(&folder, recording)?, gold: folder.gold()? })
    });
    match read {
        Err(failure) if !carried => {
            let message = failure.message();
            eprintln!("warning: {message}: questions and gold are left out");
            Ok(Asked::default())
        }
        read => read,
    }
}

/// Takes back verdicts on tasks of which steps are lost, where other steps are going to get their
/// ids. A file of verdicts that cannot be read is refused by those who read it.
pub(crate) fn take_back(out: &Path, trees: &BTreeMap<TaskId, Tree>) -> Result<()> {
    for verifier in verifiers(out)? {
        let Ok(judged) = read_verdicts(out, &verifier) else { continue };
        let is_lost = |(task, judged): &(&TaskId, &JudgedTree)| {
            judged.nodes as usize > trees.get(*task).map_or(0, Tree::len)
        };
        let lost: Vec<&TaskId> =
            judged.iter().filter(is_lost).map(|(id, _)| id).collect();
        if lost.is_empty() {
            continue;
        }
        eprintln!(
            "warning: {}: steps of {} tasks are lost that {verifier} had judged: what it said \
             of these tasks is taken back",
            out.display(),
            lost.len()
        );
        let mut writer = VerdictWriter::open(out, &verifier)?;
        // Nobody was ever shown nothing: whoever asks next judges anew.
        let nothing = Digest::of_json(&());
        for task in lost {
            writer.append(task, 0, nothing, &[], None)?;
        }
        writer.finish()?;
    }
    Ok(())
}
