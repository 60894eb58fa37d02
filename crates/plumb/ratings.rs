//! Labels that others gave a run's steps: people, in the run itself or in a file, and the
//! judges that were published with AgentProcessBench.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plumbline::import::{Origin, Place, Ratings, SampleKey};
use plumbline::store::{Human, Recording, read_human, read_origins};
use plumbline::{HumanLabel, NodeId, Prediction, Task, TaskId};
use serde_json::Value;

use crate::failure::{Failure, Kind, Result};
use crate::import::each_record;
use crate::recording::warn_of_losses;

/// What a labeller says, by step.
pub(crate) type Predictions = BTreeMap<(TaskId, NodeId), Prediction>;

/// A run whose steps others have labelled.
pub(crate) struct Rated<'r> {
    pub(crate) run: &'r Path,
    pub(crate) recording: &'r Recording,
    pub(crate) tasks: &'r BTreeMap<TaskId, Task>,
}

impl Rated<'_> {
    /// Labels by people: the run's own, or those of a file.
    pub(crate) fn human(&self, gold: Option<&Path>) -> Result<Human> {
        let Some(file) = gold else {
            return Ok(read_human(&self.run.join("human.jsonl"))?);
        };
        let human = match is_ours(file)? {
            true => self.ours(file)?,
            false => self.benchmark(file)?,
        };
        let tasks = self.recording.trees.keys();
        let missing = tasks.filter(|task| !human.contains_key(*task)).count();
        if missing > 0 && !human.is_empty() {
            eprintln!(
                "warning: {}: no label of {missing} of the run's {} tasks",
                file.display(),
                self.recording.trees.len()
            );
        }
        Ok(human)
    }

    /// Labels of a `human.jsonl`, as far as they are of this run.
    fn ours(&self, file: &Path) -> Result<Human> {
        // A file that lies in a run is known as a whole there.
        if let Some(run) = file.parent().filter(|dir| dir.join("contents.jsonl").exists())
        {
            warn_of_losses(run)?;
        }
        let mut human = read_human(file)?;
        human.retain(|task, _| self.recording.trees.contains_key(task));
        for (task, labels) in &human {
            let tree = &self.recording.trees[task];
            for label in labels {
                let (HumanLabel::Step { node, .. }
                | HumanLabel::Final { node, .. }
                | HumanLabel::Mistake { node, .. }) = label;
                if tree.get(*node).is_none() {
                    let message = format!(
                        "{}: field \"node\": task {task} has no step {node} in this run; \
                         score the run that these labels are of",
                        file.display()
                    );
                    return Err(Failure::say(Kind::Input, message));
                }
            }
        }
        Ok(human)
    }

    /// Labels of lines of AgentProcessBench.
    fn benchmark(&self, file: &Path) -> Result<Human> {
        let origins = read_origins(self.run)?;
        let samples = by_key(&origins);
        let mut human = Human::new();
        let mut rated = BTreeMap::new();
        self.each_rating(file, &samples, &mut rated, |ratings, origin, question| {
            let labels = ratings.by_people(origin, question)?.into_iter();
            let labels = labels.map(|(node, label)| HumanLabel::Step { node, label });
            human.entry(origin.task.clone()).or_default().extend(labels);
            Ok(())
        })?;
        Ok(human)
    }

    /// What each judge under a folder says of the run's steps, `DIR/<judge>/*.jsonl`. A step or
    /// trajectory that a judge left out is an abstention.
    pub(crate) fn judges(&self, dir: &Path) -> Result<Vec<(String, Predictions)>> {
        let origins = read_origins(self.run)?;
        let samples = by_key(&origins);
        let mut judges = Vec::new();
        for judge in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
            let mut predictions = Predictions::new();
            let mut rated = BTreeMap::new();
            let is_jsonl =
                |path: &PathBuf| path.extension().is_some_and(|e| e == "jsonl");
            for file in entries(&judge)?.into_iter().filter(is_jsonl) {
                self.each_rating(
                    &file,
                    &samples,
                    &mut rated,
                    |ratings, origin, asked| {
                        for (node, label) in ratings.by_judge(origin, asked)? {
                            let prediction = Prediction { label, confidence: None };
                            predictions.insert((origin.task.clone(), node), prediction);
                        }
                        Ok(())
                    },
                )?;
            }
            let name = judge.file_name().unwrap_or_default().to_string_lossy();
            judges.push((name.into_owned(), predictions));
        }
        Ok(judges)
    }

    /// Visits the records of a file that rate a trajectory of this run, with that trajectory
    /// and its question. `rated` are those that have been rated, and where.
    fn each_rating(
        &self,
        file: &Path,
        samples: &BTreeMap<SampleKey, &Origin>,
        rated: &mut BTreeMap<SampleKey, Place>,
        mut visit: impl FnMut(&Ratings<'_>, &Origin, &str) -> Result<()>,
    ) -> Result<()> {
        // What is not of this run: another benchmark's, or more of the same one.
        let (mut strangers, mut first) = (0, None);
        let quiet = true;
        each_record(file, quiet, |record| {
            let ratings = Ratings::read(record)?;
            if let Some(place) = rated.insert(ratings.key.clone(), record.place().clone())
            {
                return Err(ratings.repeats(&place).into());
            }
            let Some(origin) = samples.get(&ratings.key) else {
                if samples.keys().any(|key| key.source == ratings.key.source) {
                    strangers += 1;
                    first.get_or_insert_with(|| record.place().clone());
                }
                return Ok(());
            };
            let question = self.tasks.get(&origin.task).map_or("", |task| &task.prompt);
            visit(&ratings, origin, question)
        })?;
        if let Some(first) = first {
            eprintln!(
                "warning: {first}: the run has no trajectory of this query_index and \
                 sample_index; left out, as are {} more of the file",
                strangers - 1
            );
        }
        Ok(())
    }
}

/// Whether a file is a `human.jsonl`, if perhaps without its first line.
fn is_ours(file: &Path) -> Result<bool> {
    let text = crate::manifest::read(file)?;
    let first = text.lines().next().unwrap_or_default();
    let first: Option<Value> = serde_json::from_str(first).ok();
    let what = first.as_ref().and_then(|line| line.get("type")?.as_str());
    Ok(matches!(what, Some("format" | "human")))
}

fn by_key(origins: &[Origin]) -> BTreeMap<SampleKey, &Origin> {
    origins.iter().filter_map(|origin| Some((SampleKey::of(origin)?, origin))).collect()
}

/// What lies in a folder, in order.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Kind::Input
            }
            _ => Kind::External,
        };
        Failure::say(kind, format!("{}: {error}", dir.display()))
    };
    let entries = fs::read_dir(dir).map_err(fail)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry.map_err(fail)?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}
