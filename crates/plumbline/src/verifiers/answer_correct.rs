//! `answer-correct@1`: the answer is the gold answer.

use async_trait::async_trait;

use crate::verifiers::{Finding, Path, judge_each};
use crate::{
    Action, Evidence, Gold, NodeId, Seen, Sight, Tree, Verdict, Verifier, VerifierError,
    VerifierId, Zero, exact_match, token_f1,
};

/// From this F1 on an answer worded otherwise than the gold is not called wrong. It is not
/// called right either: "not the United States" shares as many words as a fuller name.
const F1_MIN: f64 = 0.8;

/// Calls an answer good if it equals a gold answer after normalisation, neutral if it shares
/// most words with one (F1 of at least 0.8), and bad otherwise. The value is the F1, 0 to 1.
/// Steps that do not answer get no verdict.
#[derive(Debug)]
pub struct AnswerCorrect {
    id: VerifierId,
}

impl Default for AnswerCorrect {
    fn default() -> Self {
        Self { id: VerifierId("answer-correct@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for AnswerCorrect {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::GOLD
    }

    /// Fails if the task has no gold answer.
    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let golds = seen.gold.map(Gold::answers).unwrap_or_default();
        let Some(preferred) = golds.first() else {
            return Err(VerifierError::Task {
                verifier: self.id.clone(),
                task: seen.task.id.to_string(),
                message: "it has no gold answer: add \"answer\"".to_owned(),
            });
        };
        let find = |path: &Path<'_>| {
            let Action::Answer { text } = &path.step.proposal.action else { return None };
            let f1 = token_f1(text, &golds);
            let finding = if exact_match(text, &golds) {
                Finding::good(f1, "the answer is the gold answer".to_owned())
            } else if f1 >= F1_MIN {
                let reason = format!("the answer is nearly {preferred:?}");
                Finding::neutral(Zero::Unknown, f1, reason)
            } else {
                Finding::bad(f1, format!("the answer should be {preferred:?}"))
            };
            let range = 0..path.step.proposal.text.len();
            let answer = Evidence::Span { node: path.node, observation: None, range };
            Some(finding.resting_on(vec![answer]))
        };
        Ok(judge_each(self, tree, nodes, find))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifiers::trajectory::{check, refusal};

    #[test]
    fn an_answer_is_held_against_every_gold_answer() {
        for (answer, expect) in [
            ("The Oslo", "good 1"),
            ("Kristiania, in Norway", "good 1"),
            ("Kristiania Norway", "neutral/unknown 0.8"),
            ("Oslo Norway", "bad 0.666"),
            ("Bergen", "bad 0"),
            ("", "bad 0"),
        ] {
            let trajectory = format!(
                r#"
                ! {{"answer": "Oslo", "aliases": ["Kristiania in Norway"]}}
                call search Oslo     |
                  (no documents)
                answer {answer} | {expect}
                "#
            );
            check(&AnswerCorrect::default(), &trajectory);
        }
    }

    #[test]
    fn a_task_without_gold_is_refused_by_name() {
        let refused = refusal(&AnswerCorrect::default(), "answer Oslo |");
        assert!(refused.contains("task t: it has no gold answer"), "{refused}");
    }
}
