//! Tree methods: one file each. What they share is the [`Explorer`]: a task's tree, the means
//! to grow it from any of its states, and the account of what that cost.
//!
//! A method commits to steps by judging them; what it grows beyond those, rollouts, stays in
//! the tree without a word about it. All methods may work on one tree, one after the other:
//! what an earlier one sampled from a state serves those that come after it.
//!
//! Constants and formulas are those of the papers named, as far as they are known; where a
//! method departs from its paper, or from the code published with it, its file says so.

mod explorer;

/// What methods share that add up the checks of a trajectory.
mod aggregate;
/// What methods share that grow a tree level by level.
mod breadth;
/// What methods share that choose one of several trajectories.
mod choice;
/// What methods share that search a tree.
mod search_tree;
/// What methods share that compare texts.
mod tf_idf;

mod alphamath;
mod beam;
mod best_of_n;
mod cascade;
mod consensus;
mod drm;
mod genprm;
mod greedy;
mod groundedprm;
mod hnc;
mod istar;
mod math_shepherd;
mod mm_prm;
mod omegaprm;
mod p2s;
mod ppr;
mod prl;
mod prlcoder;
mod prorag;
mod reward_sql;
mod sim_rag;
mod slate;
mod spare;
mod steporlm;
mod stepsearch;
mod subsearch;
mod treeps_rag;
mod vpr;
mod weighted_vote;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{
    CostLedger, Digest, Gold, Ground, Policy, Sight, Task, Tree, Verdict, VerifierId,
};

pub use aggregate::Aggregate;
pub use explorer::{ExploreError, Explorer, Judged, Others, Place, Rollout};

/// Every method, in the order they are listed to users.
pub const METHODS: &[Method] = &[
    math_shepherd::METHOD,
    omegaprm::METHOD,
    mm_prm::METHOD,
    genprm::METHOD,
    groundedprm::METHOD,
    treeps_rag::METHOD,
    prorag::METHOD,
    slate::METHOD,
    alphamath::METHOD,
    hnc::METHOD,
    vpr::METHOD,
    p2s::METHOD,
    istar::METHOD,
    prl::METHOD,
    sim_rag::METHOD,
    stepsearch::METHOD,
    subsearch::METHOD,
    drm::METHOD,
    spare::METHOD,
    consensus::METHOD,
    ppr::METHOD,
    steporlm::METHOD,
    prlcoder::METHOD,
    reward_sql::METHOD,
    cascade::METHOD,
    best_of_n::METHOD,
    weighted_vote::METHOD,
    beam::METHOD,
    greedy::METHOD,
];

/// A way to judge steps by growing trees.
#[derive(Debug)]
pub struct Method {
    /// What users call it.
    pub name: &'static str,
    /// Raised when it judges otherwise than before.
    pub version: u32,
    /// Where it is from.
    pub paper: &'static str,
    /// What it does, in half a sentence.
    pub summary: &'static str,
    /// Its constants as published; those it does not have are `None`.
    pub constants: Constants,
    /// Whether it judges whole trajectories, sampled or recorded, and not trees of its own.
    pub trajectories: bool,
    /// Whether it asks other verifiers about single steps.
    pub checks: bool,
    /// Whose likelihoods of given texts it asks for.
    pub likelihoods: Option<Likelihoods>,
    /// What of its values models are trained on, where that is a number.
    pub number: Option<Number>,
    /// What its verdicts rest on.
    pub saw: Sight,
    run: for<'e> fn(&'e mut Explorer<'_>) -> BoxFuture<'e, Result<(), ExploreError>>,
}

/// Whose likelihoods of given texts a method asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likelihoods {
    /// The policy's.
    OfOne,
    /// Those of the policy and of a second one, which it holds against each other.
    OfTwo,
}

/// A number among what a method says of a step, by the name of its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// How likely a right end is, 0 to 1.
    Chance(&'static str),
    /// What the step is worth on a scale of the method's own.
    Reward(&'static str),
}

/// The number that a verdict gives a step: its value where that is one, or else the number that
/// models are trained on among what a method says.
pub fn number(verdict: &Verdict) -> Option<f64> {
    let field = || match Method::find(verdict.verifier.name())?.number? {
        Number::Chance(field) | Number::Reward(field) => Some(field),
    };
    let value = &verdict.value;
    value.as_f64().or_else(|| value.get(field()?)?.as_f64())
}

/// Everything that a Monte-Carlo estimate rests on: the gold, what comes later, how it ended.
const HINDSIGHT: Sight = Sight { gold: true, later: true, outcome: true };

/// The constants of a method. What each one means stands in the method's file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constants {
    /// Rollouts for an estimate.
    pub rollouts: Option<u32>,
    /// Children of a step.
    pub width: Option<u32>,
    /// Steps of a path.
    pub depth: Option<u32>,
    /// Simulations, searches.
    pub searches: Option<u32>,
    /// Where a judgement turns from bad to good.
    pub threshold: Option<f64>,
    /// How much is explored rather than exploited.
    pub exploration: Option<f64>,
    /// Whether to do as the published code does where that departs from its paper.
    pub as_published: Option<bool>,
    /// Paths that a beam keeps.
    pub kept: Option<u32>,
    /// How the scores of a trajectory's steps become one.
    pub aggregate: Option<Aggregate>,
}

impl Constants {
    const NONE: Constants = Constants {
        rollouts: None,
        width: None,
        depth: None,
        searches: None,
        threshold: None,
        exploration: None,
        as_published: None,
        kept: None,
        aggregate: None,
    };
}

/// What a method is run with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Trajectories of each task that are judged, where the method judges whole ones.
    pub samples: u32,
    /// The method's constants: where it has one, one stands here.
    pub constants: Constants,
    /// Tokens that may be sampled for a task, those found in the tree included.
    pub tokens_max: Option<u64>,
    /// Tool calls that may be made for a task, those found in the tree included.
    pub calls_max: Option<u64>,
}

/// A constant was given that none of the methods has.
#[derive(Debug, thiserror::Error)]
#[error("no constant {constant:?} in {}", known.join("; "))]
pub struct ConstantError {
    constant: String,
    /// What each method has.
    known: Vec<String>,
}

impl Constants {
    /// Refuses constants that none of these methods has.
    pub fn check(&self, methods: &[&Method]) -> Result<(), ConstantError> {
        let has =
            |method: &&&Method, name: &str| !object(&method.constants)[name].is_null();
        let given = object(self).into_iter().filter(|(_, value)| !value.is_null());
        for (constant, _) in given {
            if !methods.iter().any(|method| has(&method, &constant)) {
                let of = |method: &&Method| {
                    let own = object(&method.constants).into_iter();
                    let own = own.filter(|(_, value)| !value.is_null());
                    let own: Vec<String> = own.map(|(name, _)| name).collect();
                    format!("{}, which has: {}", method.name, own.join(", "))
                };
                let known = methods.iter().map(of).collect();
                return Err(ConstantError { constant, known });
            }
        }
        Ok(())
    }
}

fn object(constants: &Constants) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(constants) {
        Ok(serde_json::Value::Object(object)) => object,
        _ => unreachable!("constants are an object"),
    }
}

impl Method {
    /// A method by name.
    pub fn find(name: &str) -> Option<&'static Method> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// Its constants, with those given in place of the published ones. Those that it does not
    /// have are passed over: they may be meant for another method.
    pub fn constants(&self, given: &Constants) -> Constants {
        let mut constants = object(&self.constants);
        for (name, value) in object(given) {
            let own = constants.get_mut(&name).filter(|own| !own.is_null());
            if let Some(own) = own.filter(|_| !value.is_null()) {
                *own = value;
            }
        }
        serde_json::from_value(constants.into()).expect("each kept its type")
    }

    /// The name its verdicts carry: with a digest where constants are not the published ones,
    /// or where it rests on other verifiers.
    pub fn id(&self, settings: &Settings, others: Others<'_>) -> VerifierId {
        let checks = if self.checks { others.checks } else { &[] };
        let checks: Vec<&VerifierId> = checks.iter().map(|check| check.id()).collect();
        let reference =
            others.reference.filter(|_| self.likelihoods == Some(Likelihoods::OfTwo));
        let reference = reference.map(Policy::id);
        let name = format!("{}@{}", self.name, self.version);
        if settings.constants == self.constants
            && checks.is_empty()
            && reference.is_none()
        {
            return VerifierId(name);
        }
        let digest = Digest::of_json(&(settings.constants, checks, reference));
        VerifierId(format!("{name}+{}", digest.short()))
    }

    /// Runs the method on a task's tree. Returns the tree as it has grown, what was said of
    /// its steps, and what that cost; its times are the caller's to measure.
    pub async fn explore<'g>(
        &self,
        ground: &'g Ground<'g>,
        (task, gold): (&'g Task, &'g Gold),
        tree: Tree,
        others: Others<'g>,
        settings: &'g Settings,
    ) -> Result<(Tree, Vec<Verdict>, CostLedger), ExploreError> {
        let id = self.id(settings, others);
        let mut explorer = Explorer::new(ground, (task, gold), tree, others, settings);
        let done = (self.run)(&mut explorer).await;
        let spent = matches!(done, Err(ExploreError::Spent));
        if !spent {
            done?;
        }
        let (tree, verdicts, ledger) = explorer.conclude(&id, self.saw);
        Ok((tree, verdicts, CostLedger { spent, ..ledger }))
    }
}

impl Settings {
    /// How many rollouts an estimate takes.
    ///
    /// # Panics
    ///
    /// As the others: if the method has no such constant.
    fn rollouts(&self) -> u32 {
        self.constants.rollouts.expect("the method has this constant")
    }

    fn threshold(&self) -> f64 {
        self.constants.threshold.expect("the method has this constant")
    }

    fn width(&self) -> u32 {
        self.constants.width.expect("the method has this constant")
    }

    fn depth(&self) -> usize {
        self.constants.depth.expect("the method has this constant") as usize
    }

    fn as_published(&self) -> bool {
        self.constants.as_published.expect("the method has this constant")
    }

    fn searches(&self) -> u32 {
        self.constants.searches.expect("the method has this constant")
    }

    fn kept(&self) -> usize {
        self.constants.kept.expect("the method has this constant") as usize
    }

    fn aggregate(&self) -> Aggregate {
        self.constants.aggregate.expect("the method has this constant")
    }

    fn exploration(&self) -> f64 {
        self.constants.exploration.expect("the method has this constant")
    }
}

#[cfg(test)]
mod tests;
