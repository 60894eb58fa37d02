//! `plumb audit`: checks what every verdict of a run rests on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plumbline::{Audit, AuditGround, Divergence, Tree, VerifierId};
use serde_json::json;

use crate::divergence::{describe, to_json};
use crate::failure::{Blame, Failure, Kind, Result};
use crate::fork::without_forged;
use crate::import::trajectories;
use crate::label::{
    Stale, by_task, is_current, judged, recorded_environment, stale, stale_in_words,
    tasks, unknown_task,
};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::recording;

#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// The run's folder.
    run: PathBuf,
}

pub(crate) async fn audit(args: &AuditArgs, json: bool) -> Result<()> {
    let recording = recording::open(&args.run)?;
    let folder = EnvironmentFolder::of_run(&args.run, &recording.header)?;
    let tasks = tasks(&folder, &recording)?;
    let environment = recorded_environment(&folder, &recording, json).await?;
    let imported = trajectories::source(&recording.header);
    let ground = match imported {
        Some(_) => AuditGround::Tape(&environment),
        None => AuditGround::World(&environment),
    };
    let gold = folder.gold()?;
    let mut judged = judged(&args.run, &tasks)?;
    let stale = stale(&judged, &tasks, &gold);
    for (verifier, judged) in &mut judged {
        judged.retain(|id, of| {
            let task = tasks.get(id);
            task.is_none_or(|task| is_current(verifier, of, task, gold.get(id)))
        });
    }
    let verdicts = by_task(judged);
    let progress = Progress::new("trees audited", recording.trees.len() as u64, json);
    let mut audits: BTreeMap<VerifierId, Audit> = BTreeMap::new();
    let mut first: Option<(Divergence, &Tree)> = None;
    for (done, (id, tree)) in (1..).zip(&recording.trees) {
        let Some(verdicts) = verdicts.get(id) else { continue };
        let task = tasks.get(id).ok_or_else(|| unknown_task(id))?;
        let verdicts = without_forged(&recording.header, tree, verdicts);
        let found = plumbline::audit(ground, task, tree, &verdicts).await;
        let (found, divergence) = found.blame(Kind::External)?;
        for (verifier, audit) in found {
            *audits.entry(verifier).or_default() += &audit;
        }
        first = first.or(divergence.map(|divergence| (divergence, tree)));
        progress.set(done, |_| id.to_string());
    }
    progress.finish();
    let mut all = Audit::default();
    audits.values().for_each(|audit| all += audit);
    print(&audits, &all, &stale, first.as_ref(), json);
    if let (Some(format), false) = (imported, json) {
        println!("imported from {format}: calls were looked up in the record, not made");
    }
    match first {
        None if stale.is_empty() => Ok(()),
        None => {
            let message = stale_in_words(&args.run, &stale);
            Err(Failure::say(Kind::Finding, message).reported())
        }
        Some((first, tree)) => {
            let message = format!(
                "{} of {} pieces of evidence diverge. The first:\n{}",
                all.diverged,
                all.checked(),
                describe(&first, tree)
            );
            Err(Failure::say(Kind::Finding, message).reported())
        }
    }
}

fn print(
    audits: &BTreeMap<VerifierId, Audit>,
    all: &Audit,
    stale: &Stale,
    first: Option<&(Divergence, &Tree)>,
    json: bool,
) {
    if json {
        let verifiers: BTreeMap<String, &Audit> =
            audits.iter().map(|(id, audit)| (id.to_string(), audit)).collect();
        let first = first.map(|(divergence, tree)| to_json(divergence, tree));
        println!(
            "{}",
            json!({ "verifiers": verifiers, "all": all, "stale": stale, "first": first })
        );
        return;
    }
    println!(
        "{:<24} {:>8} {:>9} {:>7} {:>12}   evidence: calls, spans, steps; not checked",
        "", "verdicts", "confirmed", "flipped", "cannot rerun"
    );
    let names = audits.iter().map(|(id, audit)| (id.to_string(), audit));
    for (name, audit) in names.chain([("all".to_owned(), all)]) {
        println!(
            "{name:<24} {:>8} {:>9} {:>7} {:>12}   {} of {} confirmed: {}, {}, {}; {}",
            audit.verdicts,
            audit.verdicts_confirmed,
            audit.verdicts_flipped,
            audit.verdicts_unchecked,
            audit.confirmed(),
            audit.checked(),
            audit.executions,
            audit.spans,
            audit.steps,
            audit.rollouts + audit.failed,
        );
    }
    if all.opinions > 0 {
        println!(
            "{} verdicts have no evidence: opinions, which nothing confirms",
            all.opinions
        );
    }
    if all.failed > 0 {
        println!(
            "{} calls failed outside and say nothing; PLUMB_LOG=warn tells why",
            all.failed
        );
    }
    if all.rollouts > 0 {
        println!("rollouts are samples of a model and cannot be executed again");
    }
}
