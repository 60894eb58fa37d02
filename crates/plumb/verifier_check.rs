//! `plumb verifier check`: whether the verifiers of an environment keep what verifiers promise.

use std::slice;
use std::sync::Arc;

use plumbline::mutants::{Effect, MutationScore, Subject, mutation_score};
use plumbline::{
    Gold, Task, Verifier, VerifierBreach, VerifierConformance, View, exhibits,
    verifier_conformance,
};
use serde_json::json;

use crate::args::VerifierCheckArgs;
use crate::catalog;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::terminal::printable;

pub(crate) async fn check(args: &VerifierCheckArgs, json: bool) -> Result<()> {
    let folder = EnvironmentFolder::open(&args.environment)?;
    let limits = &folder.manifest.limits;
    let world = Arc::new(catalog::environment(&folder, limits, json).await?);
    let verifiers = catalog::verifiers(&folder, &args.verifiers, &world).await?;
    let mut gold = folder.gold()?;
    let tasks = folder.tasks(None)?.into_iter().take(args.limit as usize);
    let tasks: Vec<(Task, Option<Gold>)> = tasks
        .map(|task| {
            let gold = gold.remove(&task.id);
            (task, gold)
        })
        .collect();
    let shown = exhibits(&world, &tasks).await.blame(Kind::External)?;
    let progress = Progress::new("verifiers tried", verifiers.len() as u64, json);
    let mut failed = Vec::new();
    for (done, verifier) in (1..).zip(&verifiers) {
        let found = verifier_conformance(&world, verifier.as_ref(), &shown).await;
        let found = found.blame(Kind::External)?;
        // Whoever cannot be relied on is not worth the measure.
        let score = match found.breaches.as_slice() {
            [] => Some(score(&world, slice::from_ref(verifier), &tasks).await?),
            _ => None,
        };
        progress.set(done, |_| verifier.id().to_string());
        match json {
            true => print_json(verifier.as_ref(), &found, score.as_ref()),
            false => print(verifier.as_ref(), &found, score.as_ref()),
        }
        if !found.breaches.is_empty() {
            failed.push(verifier.id().name());
        }
    }
    progress.finish();
    match failed.as_slice() {
        [] => Ok(()),
        failed => {
            let message = format!(
                "{} of {} verifiers break a promise: {}",
                failed.len(),
                verifiers.len(),
                failed.join(", ")
            );
            Err(Failure::say(Kind::Finding, message))
        }
    }
}

/// What verifiers make of planted faults.
async fn score(
    world: &plumbline::Environment,
    verifiers: &[Box<dyn Verifier>],
    tasks: &[(Task, Option<Gold>)],
) -> Result<MutationScore> {
    let view = View::StrictLocal;
    let subject = Subject { environment: world, verifiers, view };
    let pairs = tasks.iter().filter_map(|(task, gold)| Some((task, gold.as_ref()?)));
    let pairs: Vec<(&Task, &Gold)> = pairs.collect();
    mutation_score(&subject, &pairs, |_| ()).await.blame(Kind::External)
}

fn print(
    verifier: &dyn Verifier,
    found: &VerifierConformance,
    score: Option<&MutationScore>,
) {
    let VerifierConformance { asked, verdicts, slowest, kept, breaches } = found;
    println!(
        "{}  sees {}; {asked} steps, {verdicts} verdicts, the slowest in {} ms",
        verifier.id(),
        verifier.sight(),
        slowest.as_millis()
    );
    let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
    println!("  kept      {}", kept.join(", "));
    if let Some(score) = score {
        let (fault, no_op) = (score.total(Effect::Fault), score.total(Effect::NoOp));
        println!(
            "  alone     calls {} of {} planted faults bad, and {} of {} changes that are none",
            fault.hits, fault.planted, no_op.hits, no_op.planted
        );
    }
    for VerifierBreach { promise, message, trajectory } in breaches {
        println!("  BROKEN    {promise}: {}", printable(message));
        for line in trajectory {
            println!("            {}", printable(line));
        }
    }
}

fn print_json(
    verifier: &dyn Verifier,
    found: &VerifierConformance,
    score: Option<&MutationScore>,
) {
    let breaches = found.breaches.iter().map(|breach| {
        json!({ "promise": breach.promise.to_string(), "message": breach.message,
            "trajectory": breach.trajectory })
    });
    let kept: Vec<String> = found.kept.iter().map(ToString::to_string).collect();
    let slowest = u64::try_from(found.slowest.as_millis()).unwrap_or(u64::MAX);
    let score = score.map(|score| {
        json!({ "faults": score.total(Effect::Fault), "no_ops": score.total(Effect::NoOp) })
    });
    println!(
        "{}",
        json!({ "verifier": verifier.id(), "sees": verifier.sight(), "asked": found.asked,
            "verdicts": found.verdicts, "slowest_ms": slowest, "kept": kept,
            "breaches": breaches.collect::<Vec<_>>(), "mutants": score })
    );
}
