//! What stands beside an export: what its labels are, what they rest on, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use plumbline::export::{Group, Refusal, Rewards, Rows, Settings, Worth};
use plumbline::store::Index;
use plumbline::{Digest, Interval, Sight, StepLabel, Verdict, View, Zero};
use serde_json::{Value, json};

use super::ExportArgs;
use crate::failure::{Failure, Kind, Result};
use crate::fork::counterfactual;
use crate::label::Stale;
use crate::score::{Fitted, agreement};

/// Version of the header's own layout.
const VERSION: u32 = 1;

/// What has been counted on the way.
#[derive(Debug, Default)]
pub(super) struct Tally {
    tasks: u64,
    trajectories: u64,
    rows: Vec<u64>,
    refused: BTreeMap<Refusal, u64>,
    steps: Steps,
    /// Who gave the verdicts that the view admits.
    verifiers: BTreeSet<String>,
    /// What those verdicts saw, all together.
    saw: Sight,
    /// Who gave verdicts when something else was known of how many tasks.
    pub(super) stale: Stale,
    /// Who gave verdicts that the view does not admit.
    pub(super) left_out: BTreeSet<String>,
}

/// Steps by label.
#[derive(Debug, Default, serde::Serialize)]
struct Steps {
    good: u64,
    bad: u64,
    neutral: u64,
    external: u64,
    unknown: u64,
    unlabelled: u64,
}

impl Tally {
    pub(super) fn add(&mut self, group: &Group<'_>, rows: &Rows) {
        self.task(group.verdicts);
        self.trajectories += rows.trajectories;
        self.rows.resize(rows.tables.len(), 0);
        for (count, rows) in self.rows.iter_mut().zip(&rows.tables) {
            *count += rows.len() as u64;
        }
        for (refusal, count) in &rows.refused {
            *self.refused.entry(*refusal).or_default() += count;
        }
        for (node, _) in group.tree.nodes() {
            let label = group.label(node);
            self.step(label.map(|labelled| (labelled.label, labelled.zero)));
        }
    }

    /// A step with its label.
    pub(super) fn step(&mut self, label: Option<(StepLabel, Option<Zero>)>) {
        let steps = &mut self.steps;
        *match label {
            None => &mut steps.unlabelled,
            Some((StepLabel::Good, _)) => &mut steps.good,
            Some((StepLabel::Bad, _)) => &mut steps.bad,
            Some((_, Some(Zero::External))) => &mut steps.external,
            Some((_, Some(Zero::Unknown))) => &mut steps.unknown,
            Some((StepLabel::Neutral, _)) => &mut steps.neutral,
        } += 1;
    }

    /// A task, and the verdicts that are used of it.
    pub(super) fn task(&mut self, verdicts: &[Verdict]) {
        self.tasks += 1;
        for verdict in verdicts {
            if !self.verifiers.contains(&verdict.verifier.0) {
                self.verifiers.insert(verdict.verifier.0.clone());
            }
            self.saw.gold |= verdict.saw.gold;
            self.saw.later |= verdict.saw.later;
            self.saw.outcome |= verdict.saw.outcome;
        }
    }

    /// A trajectory that went back as it came.
    pub(super) fn line(&mut self) {
        self.trajectories += 1;
        self.rows.resize(1, 0);
        self.rows[0] += 1;
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows.iter().sum()
    }

    /// `: 4 refused: no-tokens (token ids come from …)`.
    pub(super) fn refusals_in_words(&self) -> String {
        let each = self.refused.iter().map(|(refusal, count)| {
            format!("\n  {count:>6} {}: {}", refusal.name(), refusal.remedy())
        });
        let each: String = each.collect();
        if each.is_empty() { String::new() } else { format!("; refused:{each}") }
    }

    pub(super) fn print(&self, written: &[PathBuf], json: bool) {
        let refused: BTreeMap<&str, u64> = self
            .refused
            .iter()
            .map(|(refusal, count)| (refusal.name(), *count))
            .collect();
        let file = written.first().map(|path| path.display().to_string());
        if json {
            println!(
                "{}",
                json!({
                    "file": file,
                    "files": written,
                    "trajectories": self.trajectories,
                    "rows": self.rows(),
                    "refused": refused,
                })
            );
            return;
        }
        for (path, rows) in written.iter().zip(&self.rows) {
            println!(
                "{rows} rows of {} trajectories written to {}",
                self.trajectories,
                path.display()
            );
        }
        if !self.refused.is_empty() {
            println!(
                "refused:{}",
                self.refusals_in_words().trim_start_matches("; refused:")
            );
        }
    }
}

pub(super) fn header(
    args: &ExportArgs,
    index: &Index,
    settings: &Settings,
    view: Option<View>,
    tally: &Tally,
) -> Result<Value> {
    let run = index.header();
    let format = args.format;
    let rewards = format.has_rewards().then_some(settings);
    let compared = format.has_advantages().then_some(settings);
    let outcome = rewards.is_some_and(|settings| settings.rewards != Rewards::Step)
        || compared.is_some_and(|settings| settings.advantages.reads_outcomes());
    let tables = format.tables();
    let rows: BTreeMap<&str, u64> =
        tables.iter().map(|table| table.name).zip(tally.rows.iter().copied()).collect();
    let refused: BTreeMap<&str, u64> =
        tally.refused.iter().map(|(refusal, count)| (refusal.name(), *count)).collect();
    let (step_error, note) = step_error(args, view, tally)?;
    Ok(json!({
        "version": VERSION,
        "format": format.name(),
        "plumb": env!("CARGO_PKG_VERSION"),
        "run": {
            "digest": Digest::of_json(run),
            "environment": run.environment,
            "environment_digest": run.environment_digest,
            "policy": run.policy,
            "seed": run.seed,
        },
        "counterfactual": counterfactual(run),
        "explored": run.settings["explore"] == true,
        "view": view.map(|view| view.to_string()),
        "verifiers": tally.verifiers,
        "left_out": tally.left_out,
        "scale": match settings.worth {
            Worth::Label => format.scale().to_owned(),
            Worth::Number => format!("{}; in the place of each label its number", format.scale()),
        },
        "says": match settings.worth {
            Worth::Label => "labels",
            Worth::Number => "the verifier's own numbers, in the place of labels",
        },
        "zeros": view.map(|_| {
            json!({ "treatment": settings.zeros.name(), "meaning": settings.zeros.sentence() })
        }),
        "rewards": rewards.map(|settings| settings.rewards.name()),
        "advantages": compared.map(|settings| settings.advantages.name()),
        "leaks": {
            "gold": tally.saw.gold || outcome,
            "later": tally.saw.later,
            "outcome": tally.saw.outcome || outcome,
        },
        "rows_hold": { "gold": format.holds_gold(), "outcome": format.holds_outcomes() },
        "counts": {
            "tasks": tally.tasks,
            "trajectories": tally.trajectories,
            "rows": rows,
            "refused": refused,
            "steps": view.map(|_| &tally.steps),
        },
        "step_error": step_error,
        "step_error_note": note,
    }))
}

/// How often the view is wrong about a step, by a run that people have labelled; and what
/// the figure is, or why there is none.
fn step_error(
    args: &ExportArgs,
    view: Option<View>,
    tally: &Tally,
) -> Result<(Value, String)> {
    let none = |why: &str| Ok((Value::Null, why.to_owned()));
    let Some(view) = view else {
        return none("these labels are not read off verdicts");
    };
    let Some(run) = &args.error_from else {
        return none(
            "not estimated: --error-from RUN takes a run with labels by people, judged by \
             these verifiers",
        );
    };
    if tally.verifiers.is_empty() {
        return none("no verdict was used");
    }
    let verifiers: Vec<String> = tally.verifiers.iter().cloned().collect();
    let found = agreement(run, &verifiers, view)?;
    let (found, fitted) = found.ok_or_else(|| {
        let message = format!("{}: nobody has labelled its steps", run.display());
        Failure::say(Kind::Input, message)
    })?;
    let (found, fitted) = match fitted {
        Fitted::Nowhere => (found, ""),
        Fitted::Partly => (
            found,
            "; a model among the verifiers was fitted on these very labels, which flatters it: \
             the figure is in sample",
        ),
        Fitted::Wholly(unseen) => (
            *unseen,
            "; the labels are those of a model that was fitted on these very labels by people, \
             so this is how models fitted alike did on questions they had not seen",
        ),
    };
    let wrong = |right: Interval| json!({ "value": 1.0 - right.value, "low": 1.0 - right.high, "high": 1.0 - right.low });
    let all = wrong(found.step_accuracy);
    let error = json!({
        "value": all["value"],
        "low": all["low"],
        "high": all["high"],
        "where_labelled": found.covered_accuracy.map(wrong),
        "steps": found.steps,
        "trajectories": found.trajectories,
        "questions": found.questions,
        "unlabelled": found.abstention.value,
        "run": run,
    });
    let note = "share of steps labelled by people on which the same view of the same verifiers \
                says otherwise, with a 95 % interval that resamples questions; a step without \
                a label counts as a 0, and not at all in where_labelled";
    Ok((error, format!("{note}{fitted}")))
}
