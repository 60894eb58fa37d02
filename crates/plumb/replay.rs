//! `plumb replay`: executes a run's tool calls again and names the first difference.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::args::ReplayArgs;
use crate::divergence::{describe, to_json};
use crate::failure::{Blame, Failure, Kind, Result};
use crate::fork::{executed, without_forged};
use crate::import::trajectories;
use crate::label::{recorded_environment, tasks, unknown_task, verdicts};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::recording;
use crate::regenerate::regenerate;

#[derive(Debug, Default, Serialize)]
struct Report {
    trees: u64,
    steps: u64,
    evidence: u64,
    divergences: u64,
    /// The first divergence, in words and by its parts.
    #[serde(skip)]
    described: Option<String>,
    first: Option<Value>,
}

pub(crate) async fn replay(args: &ReplayArgs, json: bool) -> Result<()> {
    if args.regenerate {
        return regenerate(args, json).await;
    }
    let recording = recording::open(&args.run)?;
    let header = &recording.header;
    if let Some(format) = trajectories::source(header) {
        let message = format!(
            "{}: imported from {format}, whose tools are not here to be asked again; \
             plumb audit checks what its verdicts rest on against the record",
            args.run.display()
        );
        return Err(Failure::say(Kind::Missing, message));
    }
    let folder = EnvironmentFolder::of_run(&args.run, header)?;
    let tasks = tasks(&folder, &recording)?;
    let environment = recorded_environment(&folder, &recording, json).await?;
    let verdicts = if args.execute { verdicts(&args.run)? } else { BTreeMap::new() };
    let progress = Progress::new("trees replayed", recording.trees.len() as u64, json);
    let mut report = Report::default();
    for (id, tree) in &recording.trees {
        let task = tasks.get(id).ok_or_else(|| unknown_task(id))?;
        report.trees += 1;
        report.steps += tree.len() as u64;
        let made = executed(header, tree.clone());
        let mut found =
            plumbline::replay(&environment, task, &made).await.blame(Kind::External)?;
        if let (None, Some(verdicts)) = (&found, verdicts.get(id)) {
            let verdicts = without_forged(header, tree, verdicts);
            let evidence =
                plumbline::replay_evidence(&environment, task, tree, &verdicts);
            let (divergence, calls) = evidence.await.blame(Kind::External)?;
            report.evidence += calls;
            found = divergence;
        }
        if let Some(divergence) = found {
            report.divergences += 1;
            report.described.get_or_insert_with(|| describe(&divergence, tree));
            report.first.get_or_insert_with(|| to_json(&divergence, tree));
        }
        progress.set(report.trees, |_| String::new());
    }
    progress.finish();
    conclude(&report, json)
}

fn conclude(report: &Report, json: bool) -> Result<()> {
    let Report { trees, steps, evidence, divergences, described, .. } = report;
    if json {
        println!("{}", serde_json::to_string(report).blame(Kind::External)?);
    }
    let Some(first) = described else {
        if !json {
            println!(
                "{trees} trees, {steps} steps, {evidence} pieces of evidence: no divergence"
            );
        }
        return Ok(());
    };
    let message = format!("{divergences} of {trees} trees diverge. The first:\n{first}");
    Err(Failure::say(Kind::Finding, message).reported())
}
