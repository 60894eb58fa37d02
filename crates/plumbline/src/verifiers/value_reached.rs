//! `value-reached@3`: a step's output holds the gold answer.

use std::sync::Arc;

use async_trait::async_trait;

use crate::comparators::{
    Comparator, Comparison, is_telling, named_values, numbers, parse_number, rounds_to,
};
use crate::verifiers::python::{Probed, Prober, are_known, files, outputs};
use crate::verifiers::{Finding, Path, judge_each};
use crate::{
    Environment, Evidence, Gold, NodeId, Seen, Sight, Step, StepLabel, Task, Tree,
    Verdict, Verifier, VerifierError, VerifierId, Zero,
};

/// An output with more numbers than this shows a table, in which any number may stand.
const NUMBERS_MAX: usize = 40;

/// Looks for the gold answer in what a step prints or echoes; it is for gold of named values,
/// `@name[value]`, and of numbers.
///
/// Good if all values are printed under their names and right, or if some are printed and
/// none of these is wrong, or if the output is short and holds every gold number under no
/// name, rounded as the gold is (whole numbers up to 30 do not count: they stand everywhere
/// by chance). Neutral if an earlier step showed as much: showing it again brings nothing; and
/// if it rests on numbers that stand in the code and were nowhere before. Bad if a value of
/// the gold's is printed under its name, and wrong; or if the task has files and none of them
/// was opened up to there, which is seen as the cells run again: then it was known beforehand.
/// The value is the share of the gold's values that the step shows. Silent on all other steps.
pub struct ValueReached {
    id: VerifierId,
    prober: Prober,
}

impl ValueReached {
    /// Runs steps again in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("value-reached@3".to_owned());
        Self { id, prober: Prober::new(environment) }
    }

    /// What becomes of a good verdict on a step, seen how it came to the value.
    async fn earned(
        &self,
        verdict: Verdict,
        tree: &Tree,
        task: &Task,
    ) -> Result<Verdict, VerifierError> {
        let node = verdict.node;
        if verdict.label != Some(StepLabel::Good) || files(task).is_empty() {
            return Ok(verdict);
        }
        let Some(opened) = self.prober.opened(&self.id, task, tree, node).await? else {
            return Ok(verdict);
        };
        let (label, zero, how, evidence) = if opened.files.is_empty() {
            let how = "before any file of the task was opened";
            (StepLabel::Bad, None, how, opened.evidence)
        } else {
            let probed = self.prober.probe(&self.id, task, tree, node).await?;
            let Some(Probed { evidence, report }) = probed else { return Ok(verdict) };
            let earlier: Vec<&Step> =
                tree.path(node).into_iter().map(|(_, node)| &node.step).collect();
            let (_, earlier) = earlier.split_last().expect("a path ends in its node");
            if report.grounded > 0 || are_known(&report.literals, earlier, task) {
                return Ok(verdict);
            }
            let how = "which rests on numbers in the code";
            (StepLabel::Neutral, Some(Zero::Unknown), how, vec![evidence])
        };
        let reason = format!("{}, {how}", verdict.reason);
        let evidence = verdict.evidence.into_iter().chain(evidence).collect();
        Ok(Verdict { label: Some(label), zero, reason, evidence, ..verdict })
    }
}

#[async_trait]
impl Verifier for ValueReached {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::GOLD
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let Some(gold) = seen.gold else { return Ok(vec![]) };
        let comparator =
            Comparator::of(gold).map_err(|error| seen.lacks(&self.id, error))?;
        let find = |path: &Path<'_>| {
            let mut finding = find(&comparator, gold, path.step)?;
            let has_shown = |step: &Step| {
                let earlier = find(&comparator, gold, step);
                earlier
                    .is_some_and(|e| e.label == finding.label && e.value == finding.value)
            };
            let is_good = finding.label == Some(StepLabel::Good);
            if is_good && path.earlier.iter().any(|(_, step)| has_shown(step)) {
                let reason = format!("{}, as a step before it did", finding.reason);
                finding = Finding::neutral(Zero::Neutral, finding.value, reason);
            }
            let mut evidence = path.executions();
            for (index, observation) in (0u32..).zip(&path.step.observations) {
                let range = 0..observation.text().len();
                evidence.push(Evidence::span(path.node, path.step, Some(index), range));
            }
            Some(finding.resting_on(evidence))
        };
        let mut verdicts = Vec::new();
        for verdict in judge_each(self, tree, nodes, seen.task, find) {
            verdicts.push(self.earned(verdict, tree, seen.task).await?);
        }
        Ok(verdicts)
    }
}

fn find(comparator: &Comparator, gold: &Gold, step: &Step) -> Option<Finding> {
    let output = outputs(step).collect::<Vec<&str>>().join("\n");
    if output.is_empty() {
        return None;
    }
    let answer = *gold.answers().first()?;
    let wanted: Vec<(String, &str)> = match comparator {
        Comparator::Dabench(_) => named_values(answer).into_iter().collect(),
        Comparator::Number(_) => vec![(String::new(), answer)],
        _ => return None,
    };
    let given = named_values(&output);
    let ours: Vec<String> = wanted
        .iter()
        .filter_map(|(name, _)| Some(format!("@{name}[{}]", given.get(name)?)))
        .collect();
    if !ours.is_empty() {
        let named = |(name, value): &(String, &str)| {
            given.contains_key(name).then(|| format!("@{name}[{value}]"))
        };
        let part: Vec<String> = wanted.iter().filter_map(named).collect();
        let part = Gold(serde_json::json!({ "answer": part.join(" ") }));
        let Comparison { strict, value, reason, .. } =
            comparator.compare(&ours.join(" "), &part, &[]);
        let share = value * ours.len() as f64 / wanted.len() as f64;
        return Some(match strict {
            true => Finding::good(share, format!("it prints {}", ours.join(" "))),
            false => Finding::bad(share, reason),
        });
    }
    let shown = numbers(&output);
    let telling: Vec<&str> = wanted
        .iter()
        .map(|(_, value)| *value)
        .filter(|value| parse_number(value).is_some_and(is_telling))
        .collect();
    let is_shown = |value: &&&str| shown.iter().any(|number| rounds_to(*number, value));
    let reached = telling.iter().filter(is_shown).count();
    if telling.is_empty() || shown.len() > NUMBERS_MAX || reached < telling.len() {
        return None;
    }
    let share = reached as f64 / wanted.len() as f64;
    Some(Finding::good(share, format!("its output holds {}", telling.join(", "))))
}
