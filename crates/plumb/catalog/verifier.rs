//! Every verifier by name: ours, and those of other people's that an environment brings along.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use plumbline::fusion::{Fusion, FusionVerifier};
use plumbline::verifiers::{
    AnswerCorrect, AnswerSolved, AnswerSupport, Judge, JudgeSettings, Merge,
    ModelVerifier, PuzzleOracle, PythonException, PythonGrounded, PythonSilent, Repeat,
    RetrievalGain, RetrievalGainGold, SqlEquivalent, SqlPrefix, SqlResult, SqlSilent,
    ValueReached, WellFormed,
};
use plumbline::{Environment, Sampling, Verifier};

use super::{component, process};
use crate::args::JudgeArgs;
use crate::failure::{Failure, Kind, Result};
use crate::manifest::{self, EnvironmentFolder, GuestManifest, VerifierManifest};
use crate::settings::{PolicyChoice, nearest};

/// The verifiers, by the name users type.
pub(crate) const VERIFIERS: [&str; 25] = [
    "well-formed",
    "repeat",
    "retrieval-gain",
    "retrieval-gain-gold",
    "answer-support",
    "answer-correct",
    "sql-prefix",
    "sql-silent",
    "sql-result",
    "sql-equivalent",
    "python-exception",
    "python-silent",
    "python-grounded",
    "value-reached",
    "model-solvable",
    "model-sanity",
    "model-optimum",
    "optimum-cut-off",
    "constraint-missing",
    "constraint-idle",
    "objective-matches",
    "answer-solved",
    "puzzle-oracle",
    "fusion-online",
    "fusion-gold",
];

/// The verifiers of these names; all that the environment lists where there are none. Those
/// that execute do so in the world they are given.
pub(crate) async fn verifiers(
    folder: &EnvironmentFolder,
    names: &[String],
    world: &Arc<Environment>,
) -> Result<Vec<Box<dyn Verifier>>> {
    let mut taken: BTreeSet<String> = VERIFIERS.map(str::to_owned).into();
    let (mut listed, mut guests) = (Vec::new(), Vec::new());
    for entry in &folder.manifest.verifiers {
        match entry {
            VerifierManifest::Named(name) if names.is_empty() => {
                listed.push(shipped(name, world)?);
            }
            VerifierManifest::Guest(it) if !names.iter().all(|name| is_shipped(name)) => {
                guests.push(guest(it, folder, world, &mut taken).await?);
            }
            VerifierManifest::Guest(it) if names.is_empty() => {
                listed.push(guest(it, folder, world, &mut taken).await?);
            }
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    for name in names.iter().filter(|name| seen.insert(*name)) {
        let place = guests.iter().position(|guest| guest.id().name() == name);
        listed.push(match place {
            Some(place) => guests.remove(place),
            None if is_shipped(name) => shipped(name, world)?,
            None => return Err(unknown(name, &guests)),
        });
    }
    Ok(listed)
}

fn is_shipped(name: &str) -> bool {
    VERIFIERS.contains(&name) || name.starts_with("fusion:")
}

fn unknown(name: &str, guests: &[Box<dyn Verifier>]) -> Failure {
    let known: Vec<&str> =
        guests.iter().map(|guest| guest.id().name()).chain(VERIFIERS).collect();
    let hint = nearest(name, known.iter().copied())
        .map_or_else(|| ".".to_owned(), |near| format!("; did you mean {near:?}?"));
    let known = known.join(", ");
    let message = format!("no verifier is called {name:?}{hint} There are: {known}");
    Failure::say(Kind::Usage, message)
}

/// A verifier that comes with an environment. Its verdicts lie in a file of its name.
async fn guest(
    guest: &GuestManifest,
    folder: &EnvironmentFolder,
    world: &Environment,
    taken: &mut BTreeSet<String>,
) -> Result<Box<dyn Verifier>> {
    let (dir, limits) = (&folder.dir, world.limits());
    let opened = match guest {
        GuestManifest::Process { .. } => process::verifier(guest, dir, limits).await?,
        GuestManifest::Wasm { .. } => component::verifier(guest, dir, limits).await?,
    };
    let name = opened.id().name().to_owned();
    if !taken.insert(name.clone()) {
        let message = format!(
            "{}: two verifiers are called {name:?}; give one another `name`",
            dir.join("environment.toml").display()
        );
        return Err(Failure::say(Kind::Input, message));
    }
    Ok(opened)
}

/// A verifier of ours by name, or `fusion:FILE` for a model of one's own. Those that execute do so in
/// the world they are given.
fn shipped(name: &str, world: &Arc<Environment>) -> Result<Box<dyn Verifier>> {
    let modelling = |make: fn(Arc<Environment>) -> ModelVerifier| -> Box<dyn Verifier> {
        Box::new(make(Arc::clone(world)))
    };
    if let Some(file) = name.strip_prefix("fusion:") {
        let fusion = Fusion::parse(&manifest::read(Path::new(file))?)
            .map_err(|error| Failure::say(Kind::Input, format!("{file}: {error}")))?;
        return Ok(Box::new(FusionVerifier::new(fusion)));
    }
    Ok(match name {
        "well-formed" => Box::new(WellFormed::default()),
        "repeat" => Box::new(Repeat::default()),
        "retrieval-gain" => Box::new(RetrievalGain::default()),
        "retrieval-gain-gold" => Box::new(RetrievalGainGold::default()),
        "answer-support" => Box::new(AnswerSupport::default()),
        "answer-correct" => Box::new(AnswerCorrect::executing(Arc::clone(world))),
        "answer-solved" => Box::new(AnswerSolved::default()),
        "puzzle-oracle" => Box::new(PuzzleOracle::default()),
        "fusion-online" => Box::new(FusionVerifier::new(Fusion::online())),
        "fusion-gold" => Box::new(FusionVerifier::new(Fusion::with_gold())),
        "sql-prefix" => Box::new(SqlPrefix::new(Arc::clone(world))),
        "sql-silent" => Box::new(SqlSilent::new(Arc::clone(world))),
        "sql-result" => Box::new(SqlResult::new(Arc::clone(world))),
        "sql-equivalent" => Box::new(SqlEquivalent::new(Arc::clone(world))),
        "python-exception" => Box::new(PythonException::default()),
        "python-silent" => Box::new(PythonSilent::new(Arc::clone(world))),
        "python-grounded" => Box::new(PythonGrounded::new(Arc::clone(world))),
        "value-reached" => Box::new(ValueReached::new(Arc::clone(world))),
        "model-solvable" => modelling(ModelVerifier::solvable),
        "model-sanity" => modelling(ModelVerifier::sanity),
        "model-optimum" => modelling(ModelVerifier::optimum),
        "optimum-cut-off" => modelling(ModelVerifier::cut_off),
        "constraint-missing" => modelling(ModelVerifier::missing),
        "constraint-idle" => modelling(ModelVerifier::idle),
        "objective-matches" => modelling(ModelVerifier::objective),
        _ => {
            return Err(unknown(name, &[]));
        }
    })
}

/// A language model as a verifier.
pub(crate) async fn judge(
    args: &JudgeArgs,
    policy: &str,
    world: &Arc<Environment>,
    json: bool,
) -> Result<Box<dyn Verifier>> {
    let shipped = Judge::RUBRICS.iter().find(|(name, _)| *name == args.rubric);
    let rubric = match shipped {
        Some((_, rubric)) => (*rubric).to_owned(),
        None => manifest::read(Path::new(&args.rubric))?,
    };
    if !rubric.contains("{{tools}}") {
        let message = format!(
            "rubric {}: it lacks {{{{tools}}}}, where the judge is told how to give its \
             verdict",
            args.rubric
        );
        return Err(Failure::say(Kind::Input, message));
    }
    let choice = PolicyChoice {
        name: policy,
        // Votes must be able to differ.
        sampling: Sampling { temperature: 0.7, top_p: 0.95, min_p: 0.05 },
        constrain: true,
        concurrency: crate::label::TREES_AT_ONCE as u32,
        samples: 1,
        reuse: true,
    };
    let policy = super::policy(choice, json).await?;
    let settings = JudgeSettings {
        rubric,
        votes: args.votes,
        rounds_max: args.rounds,
        retries: 2,
        merge: if args.critique { Merge::Critique } else { Merge::Majority },
        seed: 0,
    };
    Ok(Box::new(Judge::new(policy, Arc::clone(world), settings)))
}
