//! `answer-support@1`: the answer stands in something the agent was shown.

use std::collections::BTreeSet;
use std::ops::Range;

use async_trait::async_trait;

use crate::verifiers::{Finding, Path, judge_each};
use crate::{
    Action, Evidence, NodeId, Observation, Seen, Sight, Tree, Verdict, Verifier,
    VerifierError, VerifierId, Zero, text,
};

/// Calls an answer good if, normalised, it stands word for word in an observation that the
/// agent was shown, and bad if it does not, or is empty. It cannot tell where the answer is
/// a yes or no, or where one observation has all of its words in other places: neutral.
/// Steps that do not answer get no verdict.
///
/// The value is the share of the answer's words, 0 to 1, that the best observation has.
#[derive(Debug)]
pub struct AnswerSupport {
    id: VerifierId,
}

impl Default for AnswerSupport {
    fn default() -> Self {
        Self { id: VerifierId("answer-support@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for AnswerSupport {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        Ok(judge_each(self, tree, nodes, seen.task, find))
    }
}

fn find(path: &Path<'_>) -> Option<Finding> {
    let Action::Answer { text } = &path.step.proposal.action else { return None };
    let words = text::normalised_words(text);
    let answer: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
    let message = vec![Evidence::message(path.node, path.step)];
    match answer.as_slice() {
        [] => {
            let reason = "the answer says nothing".to_owned();
            return Some(Finding::bad(0.0, reason).resting_on(message));
        }
        ["yes" | "no"] => {
            let reason = "a yes or no stands nowhere to be looked up".to_owned();
            let finding = Finding::neutral(Zero::Unknown, 0.0, reason);
            return Some(finding.resting_on(message));
        }
        _ => {}
    }
    let mut coverage_max: f64 = 0.0;
    for (index, (node, step)) in path.earlier.iter().enumerate() {
        for (call, observation) in step.observations.iter().enumerate() {
            let Observation::Output { text: whole, .. } = observation else { continue };
            let mut words = Vec::new();
            for shown in text::readings(observation) {
                let read = text::normalised_words(shown);
                if let Some(range) = run(shown, &read, &answer) {
                    let reason = format!("step {node} shows {:?}", &shown[range.clone()]);
                    let observation = u32::try_from(call).ok();
                    let range = text::locate(whole, shown, range);
                    let mut evidence =
                        vec![Evidence::span(*node, step, observation, range)];
                    evidence.extend(path.execution(index, call));
                    return Some(Finding::good(1.0, reason).resting_on(evidence));
                }
                words.extend(read);
            }
            coverage_max = coverage_max.max(coverage(&words, &answer));
        }
    }
    let finding = if coverage_max >= 1.0 {
        let reason = "an observation has all words of the answer, in other places";
        Finding::neutral(Zero::Unknown, coverage_max, reason.to_owned())
    } else {
        let reason = "the answer stands in nothing that the agent was shown";
        Finding::bad(coverage_max, reason.to_owned())
    };
    Some(finding.resting_on(message))
}

/// The bytes of the first run of `words` that reads like the answer.
fn run(
    shown: &str,
    words: &[(String, Range<usize>)],
    answer: &[&str],
) -> Option<Range<usize>> {
    let same = |run: &&[(String, Range<usize>)]| {
        run.iter().zip(answer).all(|((word, _), expected)| word == expected)
    };
    words.windows(answer.len()).filter(same).find_map(|run| {
        let range = run.first()?.1.start..run.last()?.1.end;
        // The rank before a passage, `[2]`, is the search's word and no evidence.
        let is_rank =
            shown[..range.start].ends_with('[') && shown[range.end..].starts_with("] ");
        (!is_rank).then_some(range)
    })
}

/// The share of the answer's distinct words that are among `words`.
fn coverage(words: &[(String, Range<usize>)], answer: &[&str]) -> f64 {
    let shown: BTreeSet<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
    let wanted: BTreeSet<&str> = answer.iter().copied().collect();
    wanted.intersection(&shown).count() as f64 / wanted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifiers::trajectory::{check, judge};

    #[test]
    fn an_answer_must_stand_in_what_was_shown() {
        for (answer, expect) in [
            ("Ann Lee", "good 1"),
            ("the ann-lee.", "bad 0"),
            ("Lee, Ann", "neutral/unknown 1"),
            ("Ann Lie", "bad 0.5"),
            ("Oslo", "bad 0"),
            ("disk", "bad 0"),
            ("yes", "neutral/unknown 0"),
            ("", "bad 0"),
            ("a", "bad 0"),
        ] {
            let trajectory = format!(
                "
                call search tower && search tower  |
                  [d1] Bell Tower: The Ann Lee (tower) was built by a smith.
                  --
                  fault external: the disk is gone
                malformed no call                  |
                answer {answer} | {expect}
                "
            );
            check(&AnswerSupport::default(), &trajectory);
        }
    }

    #[test]
    fn the_evidence_points_at_the_very_bytes() {
        let trajectory = "
            call search tower                      |
              = İn Ürümqi the U.S. “Bell–Tower” (a tower) stands.
            answer us “bell–tower” tower           | good 1
            ";
        let (tree, verdicts) = judge(&AnswerSupport::default(), trajectory);
        let verdict = verdicts.first().expect("one verdict");
        let [Evidence::Span { node, observation, range, .. }, Evidence::Execution { .. }] =
            verdict.evidence.as_slice()
        else {
            panic!("{:?}", verdict.evidence);
        };
        let shown = tree.get(*node).expect("the node is there").step.observations
            [observation.expect("an observation") as usize]
            .text();
        assert_eq!(&shown[range.clone()], "U.S. “Bell–Tower” (a tower");
    }
}
