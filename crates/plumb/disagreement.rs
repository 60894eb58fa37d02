//! `plumb score disagreement`: which steps of a run its verifiers fight about.

use std::path::PathBuf;

use plumbline::{Dispute, Ledger, PairAgreement, VerifierId};

use crate::failure::{Blame, Kind, Result};
use crate::label::{labelled, verdicts};
use crate::recording;

#[derive(Debug, clap::Args)]
pub(crate) struct DisagreementArgs {
    /// The run's folder.
    run: PathBuf,
    /// Show only the first N steps and pairs; --json lists all.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

pub(crate) fn disagreement(args: &DisagreementArgs, json: bool) -> Result<()> {
    // Verdicts alone would do; but those of a damaged run are not to be reported on.
    recording::open(&args.run)?;
    labelled(&args.run)?;
    let verdicts = verdicts(&args.run)?;
    let ledger = Ledger::of(&verdicts);
    if json {
        println!("{}", serde_json::to_string(&ledger).blame(Kind::External)?);
        return Ok(());
    }
    let Ledger { steps, disputes, pairs } = &ledger;
    println!(
        "{steps} steps have labels of two verifiers or more; {} are good to one and bad to \
         another",
        disputes.len()
    );
    if !disputes.is_empty() {
        println!("\n{:<28} {:>5}  {:<40} bad", "step", "pairs", "good");
    }
    for dispute in disputes.iter().take(args.limit) {
        let Dispute { task, node, good, bad } = dispute;
        let step = format!("{task}:{node}");
        println!("{step:<28} {:>5}  {:<40} {}", dispute.pairs(), names(good), names(bad));
    }
    more(disputes.len(), args.limit);
    println!(
        "\n{:<28} {:<28} {:>6} {:>6} {:>7} {:>6}",
        "verifier", "verifier", "steps", "same", "opposed", "kappa"
    );
    for pair in pairs.iter().take(args.limit) {
        let PairAgreement { one, two, steps, same, opposed, kappa } = pair;
        let kappa = kappa.map_or("-".to_owned(), |kappa| format!("{kappa:.2}"));
        println!("{one:<28} {two:<28} {steps:>6} {same:>6} {opposed:>7} {kappa:>6}");
    }
    more(pairs.len(), args.limit);
    Ok(())
}

fn names(verifiers: &[VerifierId]) -> String {
    verifiers.iter().map(VerifierId::name).collect::<Vec<_>>().join(", ")
}

fn more(all: usize, shown: usize) {
    if all > shown {
        println!("and {} more", all - shown);
    }
}
