//! Trajectories as tokens: what the model saw, what it sampled, and what each step earned.
//!
//! A rollout is there only if every step's tokens are known and each prompt is an exact
//! extension of what came before, so that the ids are exactly what the model saw. Tokens of
//! prompts and observations are never trained on.

use std::ops::Range;

use super::comparison::compare;
use super::{
    Advantages, Group, Refusal, Rewards, Rows, Sample, Settings, Worth, advantage,
};
use crate::{Outcome, StepLabel};

/// The tokens of a path.
#[derive(Debug, PartialEq)]
pub(super) struct TokenPath {
    /// Every token the model saw or sampled, in order.
    pub(super) ids: Vec<u32>,
    /// Where each step's prompt begins: the end of the step before.
    pub(super) begins: Vec<usize>,
    /// Where each step was sampled; never empty.
    pub(super) sampled: Vec<Range<usize>>,
    /// The log-probability of each sampled token, in order; empty where none is known.
    pub(super) logprobs: Vec<f32>,
}

impl TokenPath {
    pub(super) fn of(sample: &Sample<'_>) -> Result<Self, Refusal> {
        let (mut ids, mut begins) = (Vec::new(), Vec::new());
        let (mut sampled, mut logprobs) = (Vec::new(), Vec::new());
        let mut seen = Vec::new();
        let mut complete = true;
        for (_, node) in &sample.path {
            let tokens = node.step.proposal.tokens.as_ref().ok_or(Refusal::NoTokens)?;
            if tokens.kept as usize != ids.len() {
                return Err(Refusal::NotAnExtension);
            }
            if tokens.sampled.is_empty() {
                return Err(Refusal::NothingSampled);
            }
            begins.push(ids.len());
            ids.extend_from_slice(&tokens.prompt);
            let begin = ids.len();
            ids.extend_from_slice(&tokens.sampled);
            sampled.push(begin..ids.len());
            match tokens.logprobs.len() {
                0 => complete = false,
                count if count == tokens.sampled.len() => {
                    logprobs.extend_from_slice(&tokens.logprobs);
                }
                _ => return Err(Refusal::LogprobsAmiss),
            }
            // The record's own rule gives the same, or one of the two is wrong.
            if !tokens.extend(&mut seen) || seen.len() != ids.len() {
                return Err(Refusal::NotAnExtension);
            }
        }
        if seen != ids || ids.is_empty() {
            return Err(Refusal::NotAnExtension);
        }
        if !complete {
            logprobs.clear();
        }
        Ok(Self { ids, begins, sampled, logprobs })
    }

    /// Tokens before the first one sampled.
    pub(super) fn prompt(&self) -> usize {
        self.sampled[0].start
    }

    /// Tokens from the first one sampled on.
    pub(super) fn response(&self) -> usize {
        self.ids.len() - self.prompt()
    }

    /// The place of each step's last sampled token within the response.
    pub(super) fn ends(&self) -> Vec<usize> {
        self.sampled.iter().map(|span| span.end - 1 - self.prompt()).collect()
    }
}

/// A trajectory as a trainer takes it.
pub(super) struct Rollout<'r> {
    pub(super) sample: Sample<'r>,
    pub(super) tokens: TokenPath,
    /// What each step earned.
    pub(super) rewards: Vec<f64>,
    /// What is said of each step as a number, 0 where nothing is.
    pub(super) scores: Vec<f64>,
    /// What the trajectory came to, 0 to 1, where it was graded.
    pub(super) outcome: Option<f64>,
    /// Whether each step is part of the loss.
    pub(super) trained: Vec<bool>,
    /// The advantage of each step.
    pub(super) advantages: Vec<f64>,
    /// `stop` where it answered, else `length`.
    pub(super) stop: &'static str,
}

impl Rollout<'_> {
    /// What the whole trajectory earned.
    pub(super) fn total(&self) -> f64 {
        self.rewards.iter().sum()
    }

    /// Values over the response: `step` on each sampled token, given the step and whether it
    /// is the step's last token; `other` between.
    pub(super) fn spread<T: Clone>(
        &self,
        other: T,
        step: impl Fn(usize, bool) -> T,
    ) -> Vec<T> {
        let prompt = self.tokens.prompt();
        let mut values = vec![other; self.tokens.response()];
        for (index, span) in self.tokens.sampled.iter().enumerate() {
            for at in span.clone() {
                values[at - prompt] = step(index, at + 1 == span.end);
            }
        }
        values
    }

    /// 1 on each token that is trained on, 0 on every other of the response.
    pub(super) fn mask(&self) -> Vec<u8> {
        self.spread(0, |step, _| u8::from(self.trained[step]))
    }

    /// Each step's reward on its last sampled token.
    pub(super) fn token_rewards(&self) -> Vec<f64> {
        self.spread(0.0, |step, last| if last { self.rewards[step] } else { 0.0 })
    }

    /// Each step's advantage on every token it sampled.
    pub(super) fn token_advantages(&self) -> Vec<f64> {
        self.spread(0.0, |step, _| self.advantages[step])
    }

    /// Log-probabilities over the response, 0 between; `None` where they are not known.
    pub(super) fn token_logprobs(&self) -> Option<Vec<f32>> {
        if self.tokens.logprobs.is_empty() {
            return None;
        }
        let prompt = self.tokens.prompt();
        let mut values = vec![0.0; self.tokens.response()];
        let mut known = self.tokens.logprobs.iter();
        for at in self.tokens.sampled.iter().cloned().flatten() {
            values[at - prompt] = *known.next().expect("one a sampled token");
        }
        Some(values)
    }

    pub(super) fn prompt_ids(&self) -> &[u32] {
        &self.tokens.ids[..self.tokens.prompt()]
    }

    pub(super) fn response_ids(&self) -> &[u32] {
        &self.tokens.ids[self.tokens.prompt()..]
    }
}

/// The trajectories of a group that can be trained on; the others are counted in `rows`.
pub(super) fn rollouts<'r>(
    group: &Group<'r>,
    settings: &Settings,
    rows: &mut Rows,
) -> Vec<Rollout<'r>> {
    let mut rollouts = Vec::new();
    for sample in group.lessons(settings, rows) {
        match rollout(group, sample, settings) {
            Ok(rollout) => rollouts.push(rollout),
            Err(refusal) => rows.refuse(refusal),
        }
    }
    compare(rollouts, settings.advantages, rows)
}

fn rollout<'r>(
    group: &Group<'r>,
    sample: Sample<'r>,
    settings: &Settings,
) -> Result<Rollout<'r>, Refusal> {
    let tokens = TokenPath::of(&sample)?;
    let ending = group.ended(&sample).ok_or(Refusal::Unfinished)?;
    let stop = match ending {
        crate::Ending::Answered => "stop",
        _ => "length",
    };
    let labels = || sample.path.iter().map(|(node, _)| group.label(*node));
    let nodes = sample.path.iter().map(|(node, _)| *node);
    let numbers: Vec<Option<f64>> =
        nodes.map(|node| group.worth(node, settings)).collect();
    // A step nobody labelled earns nothing and is trained on by its advantage all the same;
    // one whose zero is left out is not.
    let trained =
        labels().zip(&numbers).map(|(l, number)| l.is_none() || number.is_some());
    let trained: Vec<bool> = trained.collect();
    let score = group.outcomes.get(&sample.leaf).and_then(Outcome::score);
    let graded = || score.ok_or(Refusal::NoOutcome);
    let own = || numbers.iter().map(|number| number.unwrap_or(0.0)).collect::<Vec<f64>>();
    let rewards = match settings.rewards {
        Rewards::Step => own(),
        Rewards::Outcome => advantage::outcome(numbers.len(), graded()?.f1),
        Rewards::Both => {
            let outcome = advantage::outcome(numbers.len(), graded()?.f1);
            own().iter().zip(&outcome).map(|(own, outcome)| own + outcome).collect()
        }
        Rewards::Renorm => {
            let right = if graded()?.exact_match { 1.0 } else { 0.0 };
            let score = |own: f64| match settings.worth {
                Worth::Label => (own + 1.0) / 2.0,
                Worth::Number => own,
            };
            let scores: Vec<f64> = own().into_iter().map(score).collect();
            advantage::renorm(&scores, right)
        }
    };
    let by_steps =
        settings.rewards != Rewards::Outcome || settings.advantages == Advantages::Dual;
    if by_steps && numbers.iter().all(Option::is_none) {
        return Err(Refusal::nothing_said(settings));
    }
    let (scores, outcome) = (own(), score.map(|score| score.f1));
    let advantages = vec![0.0; rewards.len()];
    Ok(Rollout { sample, tokens, rewards, scores, outcome, trained, advantages, stop })
}

/// A reward of the kind [`Rewards::Step`] as the label it was.
pub(super) fn label_of(reward: f64) -> Option<StepLabel> {
    [StepLabel::Bad, StepLabel::Neutral, StepLabel::Good]
        .into_iter()
        .find(|label| f64::from(label.to_number()) == reward)
}
