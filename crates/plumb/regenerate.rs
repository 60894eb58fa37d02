//! `plumb replay --regenerate`: the run's policy is asked again for every recorded message.

use plumbline::store::RunHeader;
use plumbline::{Policy, Regeneration, Reworded, Sampling};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::args::ReplayArgs;
use crate::catalog;
use crate::divergence::diff;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::label::{recorded_environment, tasks, unknown_task};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::recording;
use crate::settings::PolicyChoice;

/// Trajectories whose first difference is shown; the rest are counted.
const SHOWN_MAX: usize = 10;

#[derive(Debug, Serialize)]
struct Report {
    policy: String,
    steps: u64,
    same: u64,
    different: u64,
    failed: u64,
    trajectories: u64,
    trajectories_different: u64,
    first: Vec<Value>,
}

pub(crate) async fn regenerate(args: &ReplayArgs, json: bool) -> Result<()> {
    let recording = recording::open(&args.run)?;
    let header = &recording.header;
    let folder = EnvironmentFolder::of_run(&args.run, header)?;
    let tasks = tasks(&folder, &recording)?;
    let environment = recorded_environment(&folder, &recording, json).await?;
    let policy =
        recorded_policy(header, args.policy.as_deref(), Slots::One, json).await?;
    let progress = Progress::new("trees", recording.trees.len() as u64, json);
    let mut all = Regeneration::default();
    let mut trajectories = 0;
    for (done, (id, tree)) in (1..).zip(&recording.trees) {
        let task = tasks.get(id).ok_or_else(|| unknown_task(id))?;
        let policy = policy.as_ref();
        let found = plumbline::regenerate(&environment, policy, task, tree, header.seed);
        let found = found.await.blame(Kind::External)?;
        all.same += found.same;
        all.different += found.different;
        all.failed += found.failed;
        all.first.extend(found.first);
        trajectories += tree.leaves().len() as u64;
        progress.set(done, |_| String::new());
    }
    progress.finish();
    let report = Report {
        policy: policy.id().to_string(),
        steps: all.same + all.different + all.failed,
        same: all.same,
        different: all.different,
        failed: all.failed,
        trajectories,
        trajectories_different: all.first.len() as u64,
        first: all.first.iter().map(to_json).collect(),
    };
    if json {
        println!("{}", serde_json::to_string(&report).blame(Kind::External)?);
    } else {
        print(&report, &all.first);
    }
    Ok(())
}

/// How much a policy may do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slots {
    /// One message at a time, each from the first token of its prompt: what another batch or
    /// a reused prefix changes in a model's numbers cannot show.
    One,
    /// So many, and prompts begin with what is held of earlier ones.
    Many(u32),
}

/// The policy a run was made with, opened again with the run's own settings, or another one.
/// Says so where it is not the same any more.
pub(crate) async fn recorded_policy(
    header: &RunHeader,
    other: Option<&str>,
    slots: Slots,
    json: bool,
) -> Result<Arc<dyn Policy>> {
    let settings = &header.settings;
    let recorded = settings.get("policy").and_then(Value::as_str);
    let name = other.or(recorded).ok_or_else(|| {
        let message = format!(
            "the run names no policy that can be opened ({}); choose one with --policy",
            header.policy
        );
        Failure::say(Kind::Usage, message)
    })?;
    let sampling = settings.get("sampling").cloned();
    let sampling = sampling.map(serde_json::from_value::<Sampling>).transpose();
    let sampling = sampling.blame(Kind::Input)?;
    let (concurrency, samples, reuse) = match slots {
        Slots::One => (1, 1, false),
        Slots::Many(count) => (count, count, true),
    };
    let choice = PolicyChoice {
        name,
        sampling: sampling.unwrap_or(Sampling {
            temperature: 0.7,
            top_p: 0.95,
            min_p: 0.05,
        }),
        constrain: settings.get("constrain").and_then(Value::as_bool).unwrap_or(true),
        concurrency,
        samples,
        reuse,
    };
    let policy = catalog::policy(choice, json).await?;
    if other.is_none() && policy.id().0 != header.policy {
        eprintln!(
            "warning: the policy {name} is {} now; the run was made by {}",
            policy.id(),
            header.policy
        );
    }
    Ok(policy)
}

fn to_json(reworded: &Reworded) -> Value {
    let Reworded { task, leaf, node, recorded, found } = reworded;
    json!({
        "task": task,
        "trajectory": format!("{task}:{leaf}"),
        "step": node,
        "recorded": recorded,
        "found": found.as_ref().ok(),
        "error": found.as_ref().err(),
    })
}

fn print(report: &Report, first: &[Reworded]) {
    let Report { policy, steps, same, different, failed, .. } = report;
    println!("policy        {policy}");
    println!(
        "steps         {steps}: {same} the same, {different} different, {failed} without a \
         message"
    );
    println!(
        "trajectories  {}: {} with a difference",
        report.trajectories, report.trajectories_different
    );
    for Reworded { task, leaf, node, recorded, found } in first.iter().take(SHOWN_MAX) {
        println!(
            "\ntrajectory {task}:{leaf} (task {task}, step {node}): the message differs"
        );
        match found {
            Ok(found) => println!("{}", diff(recorded, found, "recorded", "now")),
            Err(error) => println!("  none: {error}"),
        }
    }
    if first.len() > SHOWN_MAX {
        println!("\nand {} more trajectories; --json lists all", first.len() - SHOWN_MAX);
    }
}
