//! `answer-correct@2`: the answer is the gold answer.

use std::sync::Arc;

use async_trait::async_trait;

use crate::comparators::Comparator;
use crate::verifiers::{Finding, verdict};
use crate::{
    Action, Comparison, Cost, Digest, Environment, Evidence, Gold, NodeId, Seen, Sight,
    Task, Tree, Verdict, Verifier, VerifierError, VerifierId, Zero, fork,
};

/// Holds an answer against the gold with the gold's own comparator: good if they are equal
/// under its strict semantics, neutral if only under its relaxed ones, bad otherwise. The
/// value is the comparator's, 0 to 1. Steps that do not answer get no verdict.
///
/// An answer that means nothing until it is executed is executed on a fork of the state in
/// which it was given, and the execution is the verdict's evidence.
pub struct AnswerCorrect {
    id: VerifierId,
    environment: Option<Arc<Environment>>,
}

impl AnswerCorrect {
    /// For gold whose comparators execute nothing.
    pub fn new() -> Self {
        Self { id: VerifierId("answer-correct@2".to_owned()), environment: None }
    }

    /// For any gold: what takes execution is executed in this world.
    pub fn executing(environment: Arc<Environment>) -> Self {
        Self { environment: Some(environment), ..Self::new() }
    }

    /// The comparison of an answer, with what was executed for it.
    async fn compare(
        &self,
        comparator: &Comparator,
        answer: &str,
        gold: &Gold,
        (task, tree, node): (&Task, &Tree, NodeId),
    ) -> Result<(Comparison, Vec<Evidence>), VerifierError> {
        let calls = comparator.calls(answer, gold);
        if calls.is_empty() {
            return Ok((comparator.compare(answer, gold, &[]), vec![]));
        }
        let failed =
            |message| VerifierError::Failed { verifier: self.id.clone(), message };
        let environment = self.environment.as_deref().ok_or_else(|| {
            failed("its comparator executes, and there is no environment".to_owned())
        })?;
        let checks = Some(environment.checks());
        let state = fork(environment, task, tree, Some(node), checks).await;
        let state = state.map_err(|error| failed(error.to_string()))?;
        let (mut observed, mut evidence) = (vec![], vec![]);
        for call in calls {
            let observation = state.clone().call(&call).await;
            let observation = observation.map_err(|error| failed(error.to_string()))?;
            let result = Digest::of_json(&observation);
            evidence.push(Evidence::Execution { call, result });
            observed.push(observation);
        }
        Ok((comparator.compare(answer, gold, &observed), evidence))
    }
}

impl Default for AnswerCorrect {
    fn default() -> Self {
        Self::new()
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
        let gold = seen.gold.filter(|gold| !gold.answers().is_empty());
        let gold = gold.ok_or_else(|| {
            seen.lacks(&self.id, "it has no gold answer: add \"answer\"")
        })?;
        let comparator =
            Comparator::of(gold).map_err(|error| seen.lacks(&self.id, error))?;
        let mut verdicts = Vec::new();
        for &node in nodes {
            let Some(step) = tree.get(node).map(|node| &node.step) else { continue };
            let Action::Answer { text } = &step.proposal.action else { continue };
            let place = (seen.task, tree, node);
            let (comparison, executed) =
                self.compare(&comparator, text, gold, place).await?;
            let Comparison { strict, relaxed, value, reason } = comparison;
            let finding = match (strict, relaxed) {
                (true, _) => Finding::good(value, reason),
                (false, true) => Finding::neutral(Zero::Unknown, value, reason),
                (false, false) => Finding::bad(value, reason),
            };
            let calls = u32::try_from(executed.len()).unwrap_or(u32::MAX);
            let mut evidence = vec![Evidence::message(node, step)];
            evidence.extend(executed);
            let cost = Cost { calls, tokens: 0 };
            let finding = finding.resting_on(evidence);
            verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
        }
        Ok(verdicts)
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
    fn the_gold_chooses_how_answers_are_compared() {
        let trajectory = r#"
            ! {"answer": "1250", "comparator": {"type": "number"}}
            answer $1,250.00 | good 1
        "#;
        check(&AnswerCorrect::default(), trajectory);
    }

    #[test]
    fn gold_that_cannot_be_used_is_refused_by_name() {
        let refused = refusal(&AnswerCorrect::default(), "answer Oslo |");
        assert!(refused.contains("task t: it has no gold answer"), "{refused}");
        let trajectory = "! {\"answer\": \"1\", \"comparator\": 7}\nanswer 1 |";
        let refused = refusal(&AnswerCorrect::default(), trajectory);
        assert!(refused.contains("task t: field \"comparator\""), "{refused}");
    }
}
