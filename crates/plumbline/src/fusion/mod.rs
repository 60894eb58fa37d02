//! Fusion: from the [`features`] of a trajectory's steps to the
//! probabilities that people would call each step bad, neutral or good.
//!
//! The model is small enough to read. A step's log-odds are a sum of terms, one for each thing
//! that holds of it: that it is of its [`Kind`], the value of a feature, and how the step
//! before it was labelled. That last one makes it a chain (a maximum-entropy Markov model,
//! McCallum et al., 2000): an error weighs on what follows, and a first repetition is another
//! thing than a third. The label of the step before is not known when a trajectory is judged,
//! so its probabilities are carried along: what is given is exactly
//! `P(label of step t | steps 1..t)`, and no later step has a say in it.
//!
//! The weights are those that people's labels make most likely, under a ridge penalty; the
//! probabilities are then raised to a power, which cross-validation chooses, so that they are
//! as sure as they are right. A neutral label is rare and easily missed, so it is chosen where
//! its probability times [`Fusion::neutral_cost`] is the largest. Where no label has at least
//! [`Fusion::confidence_min`] the model abstains.
//!
//! A [`Fusion`] is a JSON artefact: weights, the digest of what it was fitted on, and how it
//! did on questions it was not fitted on. [`fit()`] makes one; [`Fusion::online`] and
//! [`Fusion::with_gold`] are two that were fitted on the shared half of the retrieval part of
//! AgentProcessBench; [`FusionVerifier`] labels steps with one.

mod fit;
mod softmax;
mod verifier;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::features::{self, Kind, StepFeatures};
use crate::{Agreement, Digest, Sight, StepLabel};

pub use fit::{Example, FitError, examples, fit, training_digest};
pub use verifier::FusionVerifier;

/// The labels in the order of every triple here: bad, neutral, good.
pub const LABELS: [StepLabel; 3] = [StepLabel::Bad, StepLabel::Neutral, StepLabel::Good];

/// What an artefact begins with.
const FORMAT: &str = "plumbline-fusion@1";

/// A fitted model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fusion {
    format: String,
    /// What its features must be shown.
    pub sight: Sight,
    /// What its log-odds are sums of.
    pub terms: Vec<Term>,
    /// The power that probabilities are raised to before they are made to sum to 1 again.
    pub sharpness: f64,
    /// What missing a neutral step costs against missing another.
    pub neutral_cost: f64,
    /// Below this largest probability no label is given.
    pub confidence_min: f64,
    /// What it was fitted on.
    pub training: Training,
    /// How models fitted alike did on questions they were not fitted on; `None` in an artefact
    /// that nobody has cross-validated.
    pub cross_validation: Option<CrossValidation>,
}

/// One thing that the log-odds depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// The steps it is about; for all others its value is 0.
    pub kind: Kind,
    /// Where its value comes from.
    pub reads: Reads,
    /// Its mean over the steps of its kind in training: explanations are told against it.
    pub mean: f64,
    /// What a value of 1 adds to the log-odds of bad, neutral and good.
    pub weights: [f64; 3],
}

/// Where a term's value comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reads {
    /// It is 1.
    Always,
    /// It is that of a feature.
    Feature {
        /// The feature's name.
        name: String,
    },
    /// It is 1 after a step of this label.
    After {
        /// The label.
        label: StepLabel,
    },
}

/// What a model was fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The digest of every example's features and labels, in order.
    pub digest: Digest,
    /// Questions.
    pub questions: u64,
    /// Trajectories.
    pub trajectories: u64,
    /// Labelled steps, by label: bad, neutral, good.
    pub steps: [u64; 3],
    /// The weight of the ridge penalty on every term but those that are always 1.
    pub penalty: f64,
}

/// How models that were fitted alike did on questions they were not fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossValidation {
    /// Parts that the questions are divided into.
    pub folds: u64,
    /// How often they are divided anew; every trajectory is counted once each time.
    pub repeats: u64,
    /// Agreement with people. A step that must not be called good counts as one without a
    /// label. The intervals resample questions, so that repeating does not narrow them.
    pub agreement: Agreement,
    /// Step accuracy if every step is called good.
    pub always_good: f64,
    /// First-error accuracy if no step is called bad.
    pub never_bad: f64,
    /// The mean negative natural logarithm of the probability of people's labels.
    pub log_loss: f64,
}

/// Why an artefact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FusionError {
    /// It is not the JSON of an artefact.
    #[error("the artefact is not one of {FORMAT}; make one with `plumb score fit`: {0}")]
    Json(#[from] serde_json::Error),
    /// It says it is of another format.
    #[error(
        "the artefact's format is {0:?}, this program reads {FORMAT}; \
         fit it again with `plumb score fit`"
    )]
    Format(String),
    /// It has no term, and so would say the same of every step.
    #[error("the artefact's field terms is empty; fit it again with `plumb score fit`")]
    NoTerms,
    /// It reads a feature that does not exist or that its sight does not show.
    #[error("the artefact reads the feature {name:?}, which {problem}; fit it again")]
    Feature {
        /// The feature.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A number in it is out of range.
    #[error("the artefact's field {field} is out of range: {value:e}; fit it again")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
}

/// What a model says about one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The probabilities of bad, neutral and good; they sum to 1.
    pub probabilities: [f64; 3],
    /// The label chosen, as an index into [`LABELS`]; `None` where none is likely enough.
    pub chosen: Option<usize>,
    /// How much each term adds to the log-odds of the likeliest label, against its mean; in
    /// the order of the model's terms.
    pub shares: Vec<f64>,
}

impl Fusion {
    /// The shipped model that sees the path up to a step and nothing else.
    pub fn online() -> Self {
        Self::parse(include_str!("online.json")).expect("a test parses it")
    }

    /// The shipped model that sees the path up to a step and the gold answer.
    pub fn with_gold() -> Self {
        Self::parse(include_str!("gold.json")).expect("a test parses it")
    }

    /// Reads an artefact, which may come from anywhere.
    pub fn parse(json: &str) -> Result<Self, FusionError> {
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        let fusion: Fusion = serde_json::from_str(json)?;
        if fusion.format != FORMAT {
            return Err(FusionError::Format(fusion.format));
        }
        if fusion.terms.is_empty() {
            return Err(FusionError::NoTerms);
        }
        for term in &fusion.terms {
            if let Reads::Feature { name } = &term.reads {
                let problem = match features::feature(name) {
                    None => "does not exist",
                    Some(feature) if feature.sight.gold && !fusion.sight.gold => {
                        "needs gold, while its sight is without"
                    }
                    Some(_) => continue,
                };
                return Err(FusionError::Feature { name: name.clone(), problem });
            }
        }
        let weights = fusion.terms.iter().flat_map(|term| term.weights);
        let weights = weights.map(|weight| ("terms.weights", weight, -1e3..=1e3));
        let ranges = [
            ("sharpness", fusion.sharpness, 1e-2..=1e2),
            ("neutral_cost", fusion.neutral_cost, 1e-2..=1e2),
            ("confidence_min", fusion.confidence_min, 0.0..=1.0),
        ];
        for (field, value, range) in weights.chain(ranges) {
            if !range.contains(&value) {
                return Err(FusionError::Range { field, value });
            }
        }
        Ok(fusion)
    }

    /// The same with every number to four decimals: beyond them they say nothing, and
    /// platforms may differ.
    fn rounded(&self) -> Self {
        let mut json = serde_json::to_value(self).expect("our types serialise");
        let mut open = vec![&mut json];
        while let Some(value) = open.pop() {
            match value {
                Value::Number(number) if number.is_f64() => {
                    *value = number.as_f64().map(round).into();
                }
                Value::Array(values) => open.extend(values),
                Value::Object(fields) => open.extend(fields.values_mut()),
                _ => {}
            }
        }
        serde_json::from_value(json).expect("rounding changes no type")
    }

    /// The artefact, for people to read as well.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("our types serialise");
        json.push('\n');
        json
    }

    /// Judges the steps of a path, in order from the first. Each judgement rests on the steps
    /// up to its own. `None` for steps that are no part of retrieval: see [`Kind`].
    pub fn judge(&self, path: &[StepFeatures]) -> Vec<Option<Judgement>> {
        let mut before = START;
        let judge = |step: &StepFeatures| {
            if matches!(step.kind, Kind::Outside | Kind::Other) {
                return None;
            }
            let now = self.next(&before, step);
            let judgement = self.judgement(&before, now, step);
            before = now;
            Some(judgement)
        };
        path.iter().map(judge).collect()
    }

    /// The distribution over the labels of a step, given that over those of the one before.
    fn next(&self, before: &[f64; 3], step: &StepFeatures) -> [f64; 3] {
        let mut now = [0.0; 3];
        for (label, weight) in LABELS.into_iter().zip(before) {
            let log_odds = softmax::sum(self.active(step, label));
            for (now, probability) in now.iter_mut().zip(softmax::softmax(log_odds)) {
                *now += weight * probability;
            }
        }
        now
    }

    /// The terms that are not 0 for a step after one of this label, with their values.
    fn active<'f>(
        &'f self,
        step: &'f StepFeatures,
        before: StepLabel,
    ) -> impl Iterator<Item = (f64, [f64; 3])> {
        let value = move |term: &Term| (term.value(step, Some(before)), term.weights);
        self.terms.iter().map(value).filter(|(value, _)| *value != 0.0)
    }

    /// The label to give, costs considered.
    fn likeliest(&self, probabilities: &[f64; 3]) -> usize {
        let mut worth = *probabilities;
        worth[1] *= self.neutral_cost;
        largest(&worth)
    }

    /// The same, unless no label is likely enough.
    fn choose(&self, probabilities: &[f64; 3]) -> Option<usize> {
        let sure = probabilities.iter().any(|p| *p >= self.confidence_min);
        sure.then(|| self.likeliest(probabilities))
    }

    fn judgement(
        &self,
        before: &[f64; 3],
        now: [f64; 3],
        step: &StepFeatures,
    ) -> Judgement {
        let probabilities = sharpen(now, self.sharpness);
        let likeliest = self.likeliest(&probabilities);
        let share = |term: &Term| {
            if term.kind != step.kind {
                return 0.0;
            }
            let values = LABELS.iter().map(|label| term.value(step, Some(*label)));
            let value: f64 = values.zip(before).map(|(value, p)| value * p).sum();
            let mean = term.weights.iter().sum::<f64>() / 3.0;
            (value - term.mean) * (term.weights[likeliest] - mean)
        };
        let shares = self.terms.iter().map(share).collect();
        Judgement { probabilities, chosen: self.choose(&probabilities), shares }
    }
}

impl Term {
    /// Its value for a step; `before` is the label of the step before it, if there is one.
    fn value(&self, step: &StepFeatures, before: Option<StepLabel>) -> f64 {
        if step.kind != self.kind {
            return 0.0;
        }
        match &self.reads {
            Reads::Always => 1.0,
            Reads::Feature { name } => {
                step.values.get(name.as_str()).copied().unwrap_or(0.0)
            }
            Reads::After { label } => f64::from(u8::from(before == Some(*label))),
        }
    }

    /// In words that finish "this step …".
    fn says(&self) -> String {
        match &self.reads {
            Reads::Always => format!("is of the kind {}", self.kind.as_str()),
            Reads::Feature { name } => features::feature(name)
                .map_or_else(|| name.clone(), |f| f.says.to_owned()),
            Reads::After { label } => format!("follows a {label} step"),
        }
    }
}

/// The distribution before the first step: as after a good one, which nothing weighs on.
const START: [f64; 3] = [0.0, 0.0, 1.0];

/// Probabilities raised to a power and made to sum to 1 again.
fn sharpen(probabilities: [f64; 3], sharpness: f64) -> [f64; 3] {
    let powers = probabilities.map(|probability| probability.powf(sharpness));
    let sum: f64 = powers.iter().sum();
    if sum > 0.0 { powers.map(|power| power / sum) } else { probabilities }
}

/// To four decimals, and zero without a sign.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4 + 0.0
}

/// The index of the largest; the first of equally large ones.
fn largest(values: &[f64; 3]) -> usize {
    (1..3).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

#[cfg(test)]
mod tests;
