//! Views: named ways to read one label off a step's verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::dependency::{Edge, Place, confirms, dependencies};
use crate::{Evidence, NodeId, StepLabel, Tree, Verdict, VerifierId, Zero};

/// A named way to read one label off a step's verdicts. A view executes nothing and asks no
/// model, so it can be changed after the fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Each step by itself: bad if any verdict is bad, else good if any is good.
    StrictLocal,
    /// As `strict-local`, and a step that rests on a bad one is bad too, until it is put
    /// right; but where a verdict weighs the others it decides. See
    /// [`labels`](View::labels).
    Propagated,
    /// As `strict-local`, over verdicts that something executed stands behind; but no step is
    /// good that any other verdict calls bad, for what was executed may be another's doing: to
    /// tell that an answer is right a tool may have to execute the gold.
    ExecutionOnly,
    /// As `strict-local`, over labels that at least so many verifiers agree on.
    Consensus(u32),
    /// As `strict-local`, over verdicts that saw neither gold nor later steps; where one of
    /// them weighs the others it decides.
    Online,
}

/// What a view makes of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<'v> {
    /// The label.
    pub label: StepLabel,
    /// Why it is zero, where it is.
    pub zero: Option<Zero>,
    /// The verdicts that decided it.
    pub deciding: Vec<&'v Verdict>,
    /// The bad step it rests on, where that is what makes it bad.
    pub rests_on: Option<NodeId>,
}

impl Labelled<'_> {
    /// How sure the surest of the deciding verdicts is; `None` if all are matters of fact.
    pub fn confidence(&self) -> Option<f64> {
        let confidences = self.deciding.iter().filter_map(|verdict| verdict.confidence);
        confidences.max_by(f64::total_cmp)
    }
}

impl View {
    /// Every view, in the order they are listed to users.
    pub const ALL: [View; 5] = [
        View::StrictLocal,
        View::Propagated,
        View::ExecutionOnly,
        View::Consensus(2),
        View::Online,
    ];

    /// The label of each step of a tree that has one: steps that no admitted verdict labels
    /// are left out.
    ///
    /// A verdict with a confidence weighs the whole step, what others find in it and what it
    /// rests on; in the views `propagated` and `online` it decides. Of several such verdicts
    /// those that saw gold do, and of these the surest.
    ///
    /// In the view `propagated` a step is bad, whatever its own verdicts, if it reads (see
    /// [`dependencies`]) what a bad step claimed or brought up, and no step before it that is
    /// not bad shows the same. It is put right, and keeps its own label, if it is good and its
    /// own tools show what it had read there, if it is a call that is good by gold, which an
    /// error carried along would not be (an answer can be right and rest on nothing), or if a
    /// verdict with a confidence decided it.
    pub fn labels<'v>(
        self,
        question: &str,
        tree: &Tree,
        verdicts: &'v [Verdict],
    ) -> BTreeMap<NodeId, Labelled<'v>> {
        let mut of: BTreeMap<NodeId, Vec<&'v Verdict>> = BTreeMap::new();
        for verdict in verdicts.iter().filter(|verdict| self.admits(verdict)) {
            of.entry(verdict.node).or_default().push(verdict);
        }
        let is_contested = |node: NodeId, label: StepLabel| {
            self == View::ExecutionOnly
                && label == StepLabel::Good
                && verdicts.iter().any(|verdict| {
                    verdict.node == node && verdict.label == Some(StepLabel::Bad)
                })
        };
        let local = |(node, verdicts): (&NodeId, &Vec<&'v Verdict>)| {
            let labelled = self.local(verdicts)?;
            (!is_contested(*node, labelled.label)).then_some((*node, labelled))
        };
        let mut labels = of.iter().filter_map(local).collect();
        if self == View::Propagated {
            propagate(question, tree, &mut labels);
        }
        labels
    }

    fn local<'v>(self, verdicts: &[&'v Verdict]) -> Option<Labelled<'v>> {
        if let (View::Propagated | View::Online, Some(weighed)) =
            (self, weighed(verdicts))
        {
            return Some(weighed);
        }
        let enough = match self {
            View::Consensus(count) => count.max(1),
            _ => 1,
        };
        let deciding = |label: StepLabel| -> Vec<&'v Verdict> {
            let with = verdicts.iter().filter(|verdict| verdict.label == Some(label));
            with.copied().collect()
        };
        let agreed = |verdicts: &Vec<&Verdict>| {
            let names: BTreeSet<&str> =
                verdicts.iter().map(|verdict| verdict.verifier.name()).collect();
            names.len() >= enough as usize
        };
        [StepLabel::Bad, StepLabel::Good, StepLabel::Neutral].into_iter().find_map(
            |label| {
                let deciding = Some(deciding(label)).filter(agreed)?;
                let zero = zero(&deciding).filter(|_| label == StepLabel::Neutral);
                Some(Labelled { label, zero, deciding, rests_on: None })
            },
        )
    }

    /// Whether the view lets a verdict count.
    pub fn admits(self, verdict: &Verdict) -> bool {
        match self {
            View::StrictLocal | View::Propagated | View::Consensus(_) => true,
            View::ExecutionOnly => {
                verdict.evidence.iter().any(|e| matches!(e, Evidence::Execution { .. }))
            }
            View::Online => verdict.saw.is_online(),
        }
    }

    /// Refuses verdicts that saw more than the view promises: for whoever was told to use
    /// exactly these, and would otherwise hand out less than was asked for, or more than was
    /// promised.
    pub fn require(self, verdicts: &[Verdict]) -> Result<(), LeakError> {
        let promised = self == View::Online;
        match verdicts.iter().find(|verdict| promised && !verdict.saw.is_online()) {
            None => Ok(()),
            Some(leak) => {
                let (verifier, saw) = (leak.verifier.clone(), leak.saw.to_string());
                Err(LeakError { view: self.to_string(), verifier, saw })
            }
        }
    }
}

/// The label by the verdict that weighs the step best, if one does.
fn weighed<'v>(verdicts: &[&'v Verdict]) -> Option<Labelled<'v>> {
    let weighing = verdicts.iter().filter(|verdict| verdict.label.is_some());
    let rank =
        |verdict: &&&Verdict| verdict.confidence.map(|sure| (verdict.saw.gold, sure));
    let best =
        weighing.filter(|verdict| rank(verdict).is_some()).max_by(|one, two| {
            let (one, two) =
                (rank(one).unwrap_or_default(), rank(two).unwrap_or_default());
            one.0.cmp(&two.0).then(one.1.total_cmp(&two.1))
        })?;
    let (label, deciding) = (best.label?, vec![*best]);
    let zero = zero(&deciding).filter(|_| label == StepLabel::Neutral);
    Some(Labelled { label, zero, deciding, rests_on: None })
}

/// The kind of a zero that several verdicts agree on: a failure outside explains a step, a
/// finding outweighs not knowing.
fn zero(verdicts: &[&Verdict]) -> Option<Zero> {
    let kinds = || verdicts.iter().map(|verdict| verdict.zero.unwrap_or(Zero::Unknown));
    let first = [Zero::External, Zero::Neutral, Zero::Unknown].into_iter();
    first.clone().find(|kind| kinds().any(|other| other == *kind))
}

fn propagate(question: &str, tree: &Tree, labels: &mut BTreeMap<NodeId, Labelled<'_>>) {
    let reads = dependencies(question, tree);
    for (id, node) in tree.nodes() {
        let is_bad = |on: NodeId| {
            labels.get(&on).is_some_and(|labelled| labelled.label == StepLabel::Bad)
        };
        let own = labels.get(&id);
        let good = own.filter(|labelled| labelled.label == StepLabel::Good);
        let by_gold = !node.step.proposal.action.calls().is_empty()
            && good.is_some_and(|labelled| labelled.deciding.iter().any(|v| v.saw.gold));
        let weighed = own.is_some_and(|labelled| labelled.confidence().is_some());
        let put_right = |edge: &&Edge| {
            weighed
                || by_gold
                || match edge.place {
                    Place::Message => good.is_some() && confirms(&node.step, &edge.what),
                    Place::Observation => !edge.also.iter().all(|other| is_bad(*other)),
                }
        };
        let edges = reads.get(&id).into_iter().flatten();
        let rests_on = edges
            .filter(|edge| is_bad(edge.on))
            .find(|edge| !put_right(edge))
            .map(|edge| edge.on);
        if let (Some(_), false) = (rests_on, is_bad(id)) {
            let (label, deciding) = (StepLabel::Bad, vec![]);
            labels.insert(id, Labelled { label, zero: None, deciding, rests_on });
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::StrictLocal => f.write_str("strict-local"),
            View::Propagated => f.write_str("propagated"),
            View::ExecutionOnly => f.write_str("execution-only"),
            View::Consensus(count) => write!(f, "consensus>={count}"),
            View::Online => f.write_str("online"),
        }
    }
}

/// A name that is no view.
#[derive(Debug, thiserror::Error)]
#[error(
    "no view is called {0:?}; there are: strict-local, propagated, execution-only, \
     consensus>=K, online"
)]
pub struct ViewError(String);

impl FromStr for View {
    type Err = ViewError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if let Some(count) = name.strip_prefix("consensus>=") {
            let count = count.parse().ok().filter(|count| *count > 0);
            return count.map(View::Consensus).ok_or_else(|| ViewError(name.to_owned()));
        }
        let known = Self::ALL.into_iter().find(|view| view.to_string() == name);
        known.ok_or_else(|| ViewError(name.to_owned()))
    }
}

/// A verdict that saw more than a view promises.
#[derive(Debug, thiserror::Error)]
#[error(
    "the view {view} cannot use {verifier}, which saw {saw}; leave it out or choose another view"
)]
pub struct LeakError {
    view: String,
    /// Whose verdict it is.
    pub verifier: VerifierId,
    saw: String,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Action, Cost, Digest, Node, Observation, Proposal, Scratch, Sight, Step, TaskId,
        ToolCall,
    };
    use StepLabel::{Bad, Good, Neutral};

    fn verdict(node: u32, by: &str, label: Option<StepLabel>) -> Verdict {
        Verdict {
            node: NodeId(node),
            verifier: VerifierId(format!("{by}@1")),
            value: Value::Null,
            label,
            zero: None,
            confidence: None,
            reason: String::new(),
            evidence: vec![],
            saw: Sight::ONLINE,
            cost: Cost::default(),
        }
    }

    /// A path of searches, each a query and what it shows; the last step answers.
    fn tree(searches: &[(&str, &str)], answer: &str) -> Tree {
        let mut tree = Tree::new(TaskId("t".into()));
        let mut parent = None;
        let mut push = |action: Action, text: &str, observations: Vec<Observation>| {
            let (text, elided) = (text.to_owned(), vec![]);
            let proposal = Proposal { text, action, seed: 0, tokens: None, elided };
            let scratch = Scratch::default().digest();
            let step = Step { proposal, observations, scratch };
            parent = Some(tree.push(Arc::new(Node { parent, step })).expect("in order"));
        };
        for (query, shown) in searches {
            let (id, tool) = ("call_0".to_owned(), "search".to_owned());
            let call = ToolCall { id, tool, args: json!({ "query": query }) };
            let text = (*shown).to_owned();
            let shown = Observation::Output { text, data: Value::Null };
            push(Action::Calls { calls: vec![call] }, "", vec![shown]);
        }
        push(Action::Answer { text: answer.to_owned() }, answer, vec![]);
        tree
    }

    fn read(view: View, tree: &Tree, verdicts: &[Verdict]) -> String {
        let labels = view.labels("Who built it?", tree, verdicts);
        let label = |(node, _)| match labels.get(&node).map(|labelled| labelled.label) {
            Some(Good) => '+',
            Some(Neutral) => '0',
            Some(Bad) => '-',
            None => '.',
        };
        tree.nodes().map(label).collect()
    }

    #[test]
    fn bad_outweighs_good_outweighs_neutral() {
        let tree = tree(&[], "Oslo");
        let check = |labels: &[Option<StepLabel>], expect: &str| {
            let verdicts: Vec<Verdict> =
                labels.iter().map(|label| verdict(0, "a", *label)).collect();
            assert_eq!(read(View::StrictLocal, &tree, &verdicts), expect, "{labels:?}");
        };
        check(&[], ".");
        check(&[None], ".");
        check(&[Some(Neutral)], "0");
        check(&[Some(Neutral), Some(Good)], "+");
        check(&[Some(Good), Some(Bad), None], "-");
    }

    #[test]
    fn the_three_zeros_stay_apart() {
        let tree = tree(&[], "Oslo");
        for (zeros, expected) in [
            (vec![Zero::Unknown], Zero::Unknown),
            (vec![Zero::Unknown, Zero::Neutral], Zero::Neutral),
            (vec![Zero::Neutral, Zero::External], Zero::External),
        ] {
            let of = |zero: &Zero| Verdict {
                zero: Some(*zero),
                ..verdict(0, "a", Some(Neutral))
            };
            let verdicts: Vec<Verdict> = zeros.iter().map(of).collect();
            let labels = View::StrictLocal.labels("", &tree, &verdicts);
            assert_eq!(labels[&NodeId(0)].zero, Some(expected), "{zeros:?}");
        }
    }

    #[test]
    fn an_error_spreads_to_what_rests_on_it_and_no_further() {
        let tree = tree(
            &[("Eve Fox", "nothing"), ("towers", "Ann Lee built it."), ("Eve Fox", "no")],
            "Ann Lee",
        );
        let verdicts = [
            verdict(0, "a", Some(Bad)),
            verdict(1, "a", Some(Good)),
            verdict(3, "a", Some(Good)),
        ];
        assert_eq!(read(View::StrictLocal, &tree, &verdicts), "-+.+");
        assert_eq!(read(View::Propagated, &tree, &verdicts), "-+-+");
        let labels = View::Propagated.labels("Who built it?", &tree, &verdicts);
        assert_eq!(labels[&NodeId(2)].rests_on, Some(NodeId(0)));
        // An answer with nothing of its own rests on the step before it.
        let yes = self::tree(&[("Eve Fox", "nothing")], "yes");
        let verdicts = [verdict(0, "a", Some(Bad))];
        assert_eq!(read(View::Propagated, &yes, &verdicts), "--");
    }

    #[test]
    fn what_a_tool_confirms_or_a_weighed_verdict_calls_good_is_put_right() {
        let searches = [("Eve Fox", "nothing"), ("Eve Fox", "Eve Fox built it.")];
        let tree = tree(&searches, "Eve Fox");
        let verdicts = [
            verdict(0, "a", Some(Bad)),
            verdict(1, "a", Some(Good)),
            verdict(2, "a", Some(Good)),
        ];
        assert_eq!(read(View::Propagated, &tree, &verdicts), "-++");
        let unconfirmed = self::tree(&[searches[0], ("Eve Fox", "nothing")], "Eve Fox");
        assert_eq!(read(View::Propagated, &unconfirmed, &verdicts), "---");
        let sure =
            |verdict: &Verdict| Verdict { confidence: Some(0.9), ..verdict.clone() };
        let weighed: Vec<Verdict> = verdicts.iter().map(sure).collect();
        assert_eq!(read(View::Propagated, &unconfirmed, &weighed), "-++");
    }

    #[test]
    fn what_is_right_by_gold_or_shown_elsewhere_too_does_not_rest_on_an_error() {
        let searches = [("towers", "Ann Lee built it."), ("towers", "Ann Lee built it.")];
        let tree = tree(&searches, "Ann Lee");
        let repeated = [
            verdict(0, "a", Some(Good)),
            verdict(1, "a", Some(Bad)),
            verdict(2, "a", Some(Good)),
        ];
        assert_eq!(read(View::Propagated, &tree, &repeated), "+-+");
        let guesses = [("Eve Fox", "nothing"), ("Eve Fox towers", "nothing")];
        let guesses = self::tree(&guesses, "Eve Fox");
        let by_gold =
            |node| Verdict { saw: Sight::GOLD, ..verdict(node, "a", Some(Good)) };
        let verdicts = [verdict(0, "a", Some(Bad)), by_gold(1), by_gold(2)];
        assert_eq!(read(View::Propagated, &guesses, &verdicts), "-+-");
    }

    #[test]
    fn a_verdict_that_weighs_the_step_decides() {
        let tree = tree(&[], "Oslo");
        let sure = |by: &str, label, confidence, saw| Verdict {
            confidence: Some(confidence),
            saw,
            ..verdict(0, by, Some(label))
        };
        let verdicts = [
            verdict(0, "fact", Some(Bad)),
            sure("online", Good, 0.99, Sight::ONLINE),
            sure("unsure", Bad, 0.4, Sight::ONLINE),
            sure("gold", Neutral, 0.6, Sight::GOLD),
        ];
        assert_eq!(read(View::StrictLocal, &tree, &verdicts), "-");
        assert_eq!(read(View::Propagated, &tree, &verdicts), "0");
        assert_eq!(read(View::Online, &tree, &verdicts), "+");
    }

    #[test]
    fn what_was_executed_makes_no_step_good_that_another_verdict_condemns() {
        let tree = tree(&[], "Oslo");
        let call = ToolCall { id: "c".into(), tool: "solve".into(), args: Value::Null };
        let evidence = vec![Evidence::Execution { call, result: Digest::of(b"") }];
        let executed = Verdict { evidence, ..verdict(0, "gold", Some(Good)) };
        let view = View::ExecutionOnly;
        assert_eq!(read(view, &tree, std::slice::from_ref(&executed)), "+");
        let unearned = verdict(0, "unearned", Some(Bad));
        assert_eq!(read(view, &tree, &[executed, unearned]), ".");
    }

    #[test]
    fn views_admit_only_what_they_promise() {
        let tree = tree(&[], "Oslo");
        let gold = Verdict { saw: Sight::GOLD, ..verdict(0, "gold", Some(Bad)) };
        let mut executed = verdict(0, "run", Some(Neutral));
        let call = ToolCall { id: "c".into(), tool: "search".into(), args: json!({}) };
        executed.evidence = vec![Evidence::Execution { call, result: Digest::of(b"") }];
        let verdicts = [gold.clone(), verdict(0, "a", Some(Good)), executed];
        assert_eq!(read(View::Online, &tree, &verdicts), "+");
        assert_eq!(read(View::ExecutionOnly, &tree, &verdicts), "0");
        assert_eq!(read(View::Consensus(2), &tree, &verdicts), ".");
        let twice = [gold.clone(), gold.clone(), verdict(0, "a", Some(Bad))];
        assert_eq!(read(View::Consensus(2), &tree, &twice), "-");
        assert_eq!(read(View::Consensus(2), &tree, &twice[..2]), ".", "one voice, twice");
        let refused = View::Online.require(&verdicts).expect_err("one saw gold");
        assert!(refused.to_string().contains("gold@1, which saw gold"), "{refused}");
        assert!(View::StrictLocal.require(&verdicts).is_ok());
        assert!(View::Online.require(&verdicts[1..]).is_ok());
    }

    #[test]
    fn names_are_read_back() {
        for view in View::ALL.into_iter().chain([View::Consensus(7)]) {
            assert_eq!(view.to_string().parse::<View>().expect("its own name"), view);
        }
        for name in ["", "consensus>=0", "consensus>=x", "offline"] {
            let error = name.parse::<View>().expect_err("no view").to_string();
            assert!(error.contains("propagated"), "{error}");
        }
    }
}
