//! `plumb score fit`: fits a model of labels to a run's labels by people.

use std::path::PathBuf;

use plumbline::Sight;
use plumbline::fusion::{self, Fusion};
use serde_json::json;

use crate::failure::{Blame, Failure, Kind, Result, at};
use crate::label::tasks;
use crate::manifest::EnvironmentFolder;
use crate::ratings::Rated;
use crate::recording;
use crate::score::steps;

#[derive(Debug, clap::Args)]
pub(crate) struct FitArgs {
    /// The run's folder.
    run: PathBuf,
    /// Labels by people, where the run has none of its own.
    #[arg(long, value_name = "FILE")]
    gold: Option<PathBuf>,
    /// What the model may see: the path alone, or the path and the right answer.
    #[arg(long, default_value = "online", value_parser = ["online", "gold"])]
    sight: String,
    /// The artefact to write, which must not exist; `plumb label --verifier fusion:FILE` labels
    /// with it.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn fit(args: &FitArgs, as_json: bool) -> Result<()> {
    let sight = if args.sight == "gold" { Sight::GOLD } else { Sight::ONLINE };
    if args.out.exists() {
        let message =
            format!("{}: exists; remove it or name another --out", args.out.display());
        return Err(Failure::say(Kind::Usage, message));
    }
    let recording = recording::open(&args.run)?;
    let folder = EnvironmentFolder::of_run(&args.run, &recording.header)?;
    let tasks = tasks(&folder, &recording)?;
    let gold = folder.gold()?;
    let rated = Rated { run: &args.run, recording: &recording, tasks: &tasks };
    let human = rated.human(args.gold.as_deref())?;
    let mut examples = Vec::new();
    for (id, tree) in &recording.trees {
        let (Some(task), Some(labels)) = (tasks.get(id), human.get(id)) else { continue };
        let gold = gold.get(id).filter(|_| sight.gold);
        if sight.gold && gold.is_none_or(|gold| gold.answers().is_empty()) {
            let message = format!(
                "task {id} has no right answer; add it to gold.jsonl or fit --sight online"
            );
            return Err(Failure::say(Kind::Input, message));
        }
        examples.extend(fusion::examples(tree, task, gold, &steps(labels)));
    }
    let fusion = fusion::fit(&examples, sight).blame(Kind::Input)?;
    std::fs::write(&args.out, fusion.to_json()).map_err(at(&args.out))?;
    print(&fusion, args, as_json);
    Ok(())
}

fn print(fusion: &Fusion, args: &FitArgs, as_json: bool) {
    if as_json {
        println!("{}", json!({ "out": args.out, "fusion": fusion }));
        return;
    }
    let Some(tried) = &fusion.cross_validation else { return };
    let training = &fusion.training;
    println!(
        "fitted on {} questions, {} trajectories, {} labelled steps; tried {} times on each, \
         fitted without its question",
        training.questions,
        training.trajectories,
        training.steps.iter().sum::<u64>(),
        tried.repeats
    );
    let agreement = &tried.agreement;
    println!("in percent, with 95 % intervals clustered by question");
    println!(
        "step accuracy         {}   every step good {:.1}",
        agreement.step_accuracy,
        tried.always_good * 100.0
    );
    println!(
        "first-error accuracy  {}   no step bad {:.1}",
        agreement.first_error_accuracy,
        tried.never_bad * 100.0
    );
    for class in &agreement.classes {
        let show = |interval: Option<plumbline::Interval>| {
            interval.map_or_else(|| "-".to_owned(), |interval| interval.to_string())
        };
        let label = class.label;
        println!("recall of {label:<8}    {}", show(class.recall));
    }
    println!("log-loss              {:.3}", tried.log_loss);
    println!("wrote {}", args.out.display());
}
