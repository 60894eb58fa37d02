//! The ledger of disagreements: which steps verifiers fight about, and which of them fight.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{NodeId, StepLabel, TaskId, Verdict, VerifierId};

const CLASSES: [StepLabel; 3] = [StepLabel::Good, StepLabel::Neutral, StepLabel::Bad];

/// What the verdicts of a run say against each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ledger {
    /// Steps that at least two verifiers label.
    pub steps: u64,
    /// Those that one calls good and another bad, the most fought about first.
    pub disputes: Vec<Dispute>,
    /// Every two verifiers that label a step both, those most often opposed first.
    pub pairs: Vec<PairAgreement>,
}

/// One step that some verifiers call good and others bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dispute {
    /// The tree.
    pub task: TaskId,
    /// The step.
    pub node: NodeId,
    /// Who calls it good.
    pub good: Vec<VerifierId>,
    /// Who calls it bad.
    pub bad: Vec<VerifierId>,
}

impl Dispute {
    /// How many pairs of verifiers contradict each other here.
    pub fn pairs(&self) -> usize {
        self.good.len() * self.bad.len()
    }
}

/// How two verifiers agree, over the steps that both label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairAgreement {
    /// The one.
    pub one: VerifierId,
    /// The other.
    pub two: VerifierId,
    /// Steps that both label.
    pub steps: u64,
    /// Steps that both give the same label.
    pub same: u64,
    /// Steps that one calls good and the other bad.
    pub opposed: u64,
    /// Agreement beyond chance over the three labels (J. Cohen, "A coefficient of agreement
    /// for nominal scales", 1960): 1 is perfect, 0 what their label counts alone would give.
    /// `None` where both give every step one and the same label: then there is no chance to
    /// beat.
    pub kappa: Option<f64>,
}

/// Labels of two verifiers, counted: rows are the one's, columns the other's.
type Table = [[u64; 3]; 3];

impl Ledger {
    /// Reads the ledger off all verdicts of a run, by task. Verdicts without a label count
    /// for nothing.
    pub fn of(verdicts: &BTreeMap<TaskId, Vec<Verdict>>) -> Self {
        let mut disputes = Vec::new();
        let mut tables: BTreeMap<(&VerifierId, &VerifierId), Table> = BTreeMap::new();
        let mut steps = 0;
        for (task, verdicts) in verdicts {
            for (node, labels) in labels_of(verdicts) {
                steps += u64::from(labels.len() > 1);
                let who = |wanted| -> Vec<VerifierId> {
                    let who = labels.iter().filter(|(_, label)| **label == wanted);
                    who.map(|(id, _)| (*id).clone()).collect()
                };
                let (good, bad) = (who(StepLabel::Good), who(StepLabel::Bad));
                if !good.is_empty() && !bad.is_empty() {
                    disputes.push(Dispute { task: task.clone(), node, good, bad });
                }
                let labels: Vec<_> = labels.into_iter().collect();
                for (index, (one, label)) in labels.iter().enumerate() {
                    for (two, other) in &labels[index + 1..] {
                        let table = tables.entry((one, two)).or_default();
                        table[class(*label)][class(*other)] += 1;
                    }
                }
            }
        }
        // Stable: of equals the first task and step come first.
        disputes.sort_by_key(|dispute| std::cmp::Reverse(dispute.pairs()));
        let mut pairs: Vec<PairAgreement> = tables
            .into_iter()
            .map(|((one, two), table)| agreement(one, two, &table))
            .collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.opposed));
        Self { steps, disputes, pairs }
    }
}

/// The labels of each step, by verifier.
fn labels_of(verdicts: &[Verdict]) -> BTreeMap<NodeId, BTreeMap<&VerifierId, StepLabel>> {
    let mut labels: BTreeMap<NodeId, BTreeMap<&VerifierId, StepLabel>> = BTreeMap::new();
    for verdict in verdicts {
        let Some(label) = verdict.label else { continue };
        labels.entry(verdict.node).or_default().insert(&verdict.verifier, label);
    }
    labels
}

fn class(label: StepLabel) -> usize {
    CLASSES.iter().position(|class| *class == label).expect("there are three labels")
}

fn agreement(one: &VerifierId, two: &VerifierId, table: &Table) -> PairAgreement {
    let steps: u64 = table.iter().flatten().sum();
    let same = (0..3).map(|class| table[class][class]).sum();
    let row = |class: usize| table[class].iter().sum::<u64>();
    let column = |class: usize| table.iter().map(|row| row[class]).sum::<u64>();
    // In counts, so that a perfect agreement is told without rounding.
    let by_chance: u64 = (0..3).map(|class| row(class) * column(class)).sum();
    let all = steps * steps;
    let kappa = (by_chance < all)
        .then(|| ((same * steps) as f64 - by_chance as f64) / (all - by_chance) as f64);
    let opposed = table[class(StepLabel::Good)][class(StepLabel::Bad)]
        + table[class(StepLabel::Bad)][class(StepLabel::Good)];
    PairAgreement { one: one.clone(), two: two.clone(), steps, same, opposed, kappa }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cost, Sight};
    use StepLabel::{Bad, Good, Neutral};

    fn verdict(node: u32, verifier: &str, label: Option<StepLabel>) -> Verdict {
        Verdict {
            node: NodeId(node),
            verifier: VerifierId(verifier.into()),
            value: serde_json::Value::Null,
            label,
            zero: None,
            confidence: None,
            reason: String::new(),
            evidence: vec![],
            saw: Sight::ONLINE,
            cost: Cost::default(),
        }
    }

    fn ledger(rows: &[(u32, &str, Option<StepLabel>)]) -> Ledger {
        let verdicts = rows.iter().map(|(node, who, label)| verdict(*node, who, *label));
        Ledger::of(&BTreeMap::from([(TaskId("t".into()), verdicts.collect())]))
    }

    #[test]
    fn the_most_fought_about_step_comes_first() {
        let ledger = ledger(&[
            (0, "a@1", Some(Good)),
            (0, "b@1", Some(Good)),
            (1, "a@1", Some(Good)),
            (1, "b@1", Some(Bad)),
            (2, "a@1", Some(Good)),
            (2, "b@1", Some(Bad)),
            (2, "c@1", Some(Bad)),
            (3, "a@1", Some(Good)),
            (3, "b@1", Some(Neutral)),
            (4, "a@1", Some(Good)),
            (4, "b@1", None),
        ]);
        assert_eq!(ledger.steps, 4, "step 4 has one label");
        let order: Vec<(u32, usize)> =
            ledger.disputes.iter().map(|d| (d.node.0, d.pairs())).collect();
        assert_eq!(order, [(2, 2), (1, 1)], "good against neutral is no dispute");
        let first = &ledger.pairs[0];
        assert_eq!((first.one.name(), first.two.name()), ("a", "b"));
        assert_eq!((first.steps, first.same, first.opposed), (4, 1, 2));
    }

    #[test]
    fn kappa_is_as_worked_by_hand() {
        // Ten steps: 4 both good, 3 both bad, 2 good by one and bad by the other, 1 bad and
        // neutral. Observed 7/10; by chance (6·4 + 4·5 + 0·1)/100 = 44/100;
        // (0.70 − 0.44) / (1 − 0.44) = 26/56.
        let of = |count, one, two| std::iter::repeat_n((one, two), count);
        let pairs = of(4, Good, Good)
            .chain(of(3, Bad, Bad))
            .chain(of(2, Good, Bad))
            .chain(of(1, Bad, Neutral));
        let rows: Vec<(u32, &str, Option<StepLabel>)> = (0..)
            .zip(pairs)
            .flat_map(|(node, (one, two))| {
                [(node, "one@1", Some(one)), (node, "two@1", Some(two))]
            })
            .collect();
        let pair = ledger(&rows).pairs.remove(0);
        assert_eq!((pair.steps, pair.same, pair.opposed), (10, 7, 2));
        let kappa = pair.kappa.expect("labels vary");
        assert!((kappa - 26.0 / 56.0).abs() < 1e-12, "{kappa}");
        let constant = ledger(&[(0, "one@1", Some(Good)), (0, "two@1", Some(Good))]);
        assert_eq!(constant.pairs[0].kappa, None);
    }
}
