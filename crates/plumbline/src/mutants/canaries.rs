//! Trajectories that are degenerate in any world, and must never be rewarded.

use super::plan::Plan;
use crate::Action;
use crate::mutants::{Effect, Good};

/// Steps of the one that does nothing for long.
const TRIVIAL_STEPS: usize = 12;

/// `trivial-steps` (the first call over and over, then a wrong answer), `two-answers` (the
/// right one and another), `confident-tone` (an invented answer, and great certainty).
pub(crate) fn canaries(good: Good<'_>) -> Vec<Plan> {
    let Good { gold, actions, other, .. } = good;
    let answer = gold.answers().first().copied().unwrap_or_default();
    let Some(Action::Answer { text: wrong }) = other.last() else { return vec![] };
    let plan = |class, actions: Vec<Action>, site| {
        Plan::new(class, Effect::Canary, actions, site)
    };
    let mut plans = Vec::new();
    if actions.len() > 1 {
        let mut trivial = vec![actions[0].clone(); TRIVIAL_STEPS];
        trivial.push(Action::Answer { text: wrong.clone() });
        plans.push(plan("trivial-steps", trivial, 1));
    }
    // Values under names are disputed by other values under the same names.
    let second =
        if answer.contains('@') { shifted_digits(answer) } else { wrong.clone() };
    if second != answer {
        let mut both = actions.to_vec();
        let last = both.len() - 1;
        both[last] = Action::Answer { text: format!("{answer} or {second}") };
        plans.push(plan("two-answers", both, last));
    }
    let sure = "I am absolutely certain, beyond any doubt, and have verified it twice.";
    let claimed = vec![Action::Answer { text: invented(answer) }];
    let claim = plan("confident-tone", claimed, 0);
    plans.push(Plan { thought: Some(sure.to_owned()), ..claim });
    plans
}

/// `unearned-answer`: the right answer, and nothing done for it. For worlds in which an answer
/// is read or computed.
pub(super) fn unearned(good: Good<'_>) -> Option<Plan> {
    let answer = good.actions.last()?.clone();
    Some(Plan::new("unearned-answer", Effect::Canary, vec![answer], 0))
}

/// Something of the answer's kind that nobody ever wrote: letters and digits moved on by
/// five.
pub(crate) fn invented(answer: &str) -> String {
    let moved = |c: char| match c {
        'a'..='z' => char::from((c as u8 - b'a' + 5) % 26 + b'a'),
        'A'..='Z' => char::from((c as u8 - b'A' + 5) % 26 + b'A'),
        other => other,
    };
    shifted_digits(answer).chars().map(moved).collect()
}

fn shifted_digits(answer: &str) -> String {
    let moved = |c: char| match c {
        '0'..='9' => char::from((c as u8 - b'0' + 5) % 10 + b'0'),
        other => other,
    };
    answer.chars().map(moved).collect()
}
