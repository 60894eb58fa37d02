//! Checks what verdicts rest on: makes calls again, looks spans and steps up.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;

use crate::replay::{States, text_of};
use crate::verdict::span_of;
use crate::{
    ActError, Digest, Divergence, Environment, Episode, Evidence, Field, NodeId, Task,
    ToolCall, Tree, Verdict, VerifierId,
};

/// Where calls are made again.
#[derive(Clone, Copy)]
pub enum Ground<'e> {
    /// In the environment, each on a fork of the state before the step it is about.
    World(&'e Environment),
    /// Nowhere: the tools are not here, and what they answered is looked up on the recorded
    /// path. A call that the path does not have is made in the environment as it is, where
    /// what needs no tool comes out the same.
    Tape(&'e Environment),
}

/// What one verifier's evidence came to, a piece each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Verdicts looked at.
    pub verdicts: u64,
    /// Verdicts all of whose evidence that can be checked came to the same.
    pub verdicts_confirmed: u64,
    /// Verdicts of which some evidence came out otherwise.
    pub verdicts_flipped: u64,
    /// Verdicts with nothing that can be checked again: without evidence, or resting on
    /// samples of a model or on calls that failed outside.
    pub verdicts_unchecked: u64,
    /// Verdicts without evidence: opinions, which nothing confirms.
    pub opinions: u64,
    /// Calls that came to the same again.
    pub executions: u64,
    /// Parts of texts that are still there.
    pub spans: u64,
    /// Steps that are there.
    pub steps: u64,
    /// Pieces that cannot be executed again: samples of a model.
    pub rollouts: u64,
    /// Calls that could not be made again: a tool failed, or took too long.
    pub failed: u64,
    /// Pieces that came out otherwise.
    pub diverged: u64,
}

impl Audit {
    /// Pieces that were confirmed.
    pub fn confirmed(&self) -> u64 {
        self.executions + self.spans + self.steps
    }

    /// Pieces that can be confirmed or not.
    pub fn checked(&self) -> u64 {
        self.confirmed() + self.diverged
    }
}

impl AddAssign<&Audit> for Audit {
    fn add_assign(&mut self, other: &Audit) {
        self.verdicts += other.verdicts;
        self.verdicts_confirmed += other.verdicts_confirmed;
        self.verdicts_flipped += other.verdicts_flipped;
        self.verdicts_unchecked += other.verdicts_unchecked;
        self.opinions += other.opinions;
        self.executions += other.executions;
        self.spans += other.spans;
        self.steps += other.steps;
        self.rollouts += other.rollouts;
        self.failed += other.failed;
        self.diverged += other.diverged;
    }
}

/// Audits the verdicts on one tree, by verifier; with the first divergence, if any.
pub async fn audit(
    ground: Ground<'_>,
    task: &Task,
    tree: &Tree,
    verdicts: &[Verdict],
) -> Result<(BTreeMap<VerifierId, Audit>, Option<Divergence>), ActError> {
    let mut found = Findings { tree, audits: BTreeMap::new(), first: None };
    match ground {
        Ground::World(environment) => {
            let mut states = States::new(environment, task, tree);
            for (id, node) in tree.nodes() {
                let mut episode = states.before(id);
                for verdict in verdicts.iter().filter(|verdict| verdict.node == id) {
                    found.verdict(verdict, &episode, None).await;
                }
                // Nothing is asked below a leaf, so that its own calls need not be made.
                if tree.children(Some(id)).next().is_some() {
                    episode.follow(&node.step).await?;
                    states.after(id, episode);
                }
            }
        }
        Ground::Tape(environment) => {
            let episode = Episode::new(environment, &task.inputs, None);
            for verdict in verdicts {
                found.verdict(verdict, &episode, Some(tree)).await;
            }
        }
    }
    Ok((found.audits, found.first))
}

struct Findings<'t> {
    tree: &'t Tree,
    audits: BTreeMap<VerifierId, Audit>,
    first: Option<Divergence>,
}

impl Findings<'_> {
    async fn verdict(
        &mut self,
        verdict: &Verdict,
        before: &Episode<'_>,
        tape: Option<&Tree>,
    ) {
        let mut audit = Audit { verdicts: 1, ..Audit::default() };
        audit.opinions = u64::from(verdict.evidence.is_empty());
        for (index, evidence) in verdict.evidence.iter().enumerate() {
            let checked = match evidence {
                Evidence::Rollouts { .. } => {
                    audit.rollouts += 1;
                    continue;
                }
                Evidence::Execution { call, result } => {
                    let node = verdict.node;
                    // What went into a world nobody can put back is not asked again.
                    let is_external = before.environment().is_external(&call.tool);
                    let tape = tape.or_else(|| is_external.then_some(self.tree));
                    match execution(call, *result, node, before, tape).await {
                        Ok(checked) => {
                            audit.executions += 1;
                            checked
                        }
                        // It says nothing about the verdict.
                        Err(error) => {
                            tracing::warn!(%node, verifier = %verdict.verifier, %error);
                            audit.failed += 1;
                            continue;
                        }
                    }
                }
                Evidence::Span { .. } => {
                    audit.spans += 1;
                    span(self.tree, verdict, evidence)
                }
                Evidence::Step { node } => {
                    audit.steps += 1;
                    step(self.tree, verdict, *node)
                }
            };
            let Err((recorded, found)) = checked else { continue };
            match evidence {
                Evidence::Execution { .. } => audit.executions -= 1,
                Evidence::Span { .. } => audit.spans -= 1,
                Evidence::Step { .. } | Evidence::Rollouts { .. } => audit.steps -= 1,
            }
            audit.diverged += 1;
            let field = Field::Evidence(verdict.verifier.to_string(), index);
            let (task, node) = (self.tree.task().clone(), verdict.node);
            let divergence = Divergence { task, node, field, recorded, found };
            self.first.get_or_insert(divergence);
        }
        *match (audit.diverged, audit.confirmed()) {
            (1.., _) => &mut audit.verdicts_flipped,
            (0, 1..) => &mut audit.verdicts_confirmed,
            (0, 0) => &mut audit.verdicts_unchecked,
        } += 1;
        *self.audits.entry(verdict.verifier.clone()).or_default() += &audit;
    }
}

/// What was recorded and what was found instead.
type Mismatch = (String, String);

async fn execution(
    call: &ToolCall,
    result: Digest,
    node: NodeId,
    before: &Episode<'_>,
    tape: Option<&Tree>,
) -> Result<Result<(), Mismatch>, ActError> {
    if tape.is_some_and(|tree| is_on_tape(tree, node, call, result)) {
        return Ok(Ok(()));
    }
    let recorded = format!("an observation of digest {result}");
    if before.environment().is_external(&call.tool) {
        let found = format!("the path to step {node} has no such call of {}", call.tool);
        return Ok(Err((recorded, found)));
    }
    let found = before.clone().call(call).await?;
    if Digest::of_json(&found) == result {
        return Ok(Ok(()));
    }
    let found = match tape {
        Some(_) => format!("the path to step {node} has no such call of {}", call.tool),
        None => text_of(&found),
    };
    Ok(Err((recorded, found)))
}

/// Whether a step on the path made this call and got this.
fn is_on_tape(tree: &Tree, node: NodeId, call: &ToolCall, result: Digest) -> bool {
    if tree.get(node).is_none() {
        return false;
    }
    tree.path(node).into_iter().any(|(_, node)| {
        let made = node.step.proposal.action.calls();
        let mut pairs = made.iter().zip(&node.step.observations);
        pairs.any(|(made, observation)| {
            (&made.tool, &made.args) == (&call.tool, &call.args)
                && Digest::of_json(observation) == result
        })
    })
}

/// Whether a verdict could have seen a step: it is on the path, or the verifier was shown
/// later steps.
fn was_seen(tree: &Tree, verdict: &Verdict, node: NodeId) -> bool {
    tree.get(node).is_some()
        && tree.get(verdict.node).is_some()
        && (verdict.saw.later
            || tree.path(verdict.node).iter().any(|(id, _)| *id == node))
}

fn step(tree: &Tree, verdict: &Verdict, node: NodeId) -> Result<(), Mismatch> {
    match was_seen(tree, verdict, node) {
        true => Ok(()),
        false => {
            let found = format!("no such step on the path to step {}", verdict.node);
            Err((format!("step {node}"), found))
        }
    }
}

fn span(tree: &Tree, verdict: &Verdict, evidence: &Evidence) -> Result<(), Mismatch> {
    let Evidence::Span { node, observation, range, text } = evidence else {
        return Ok(());
    };
    step(tree, verdict, *node)?;
    let shown = tree.get(*node).and_then(|node| span_of(&node.step, *observation, range));
    let place = match observation {
        None => format!("the message of step {node}"),
        Some(index) => format!("observation {index} of step {node}"),
    };
    let recorded = format!("bytes {range:?} of {place}");
    match shown {
        None => Err((recorded, format!("{place} has no such bytes"))),
        Some(shown) if text.is_some_and(|text| text != Digest::of(shown.as_bytes())) => {
            let digest = text.map(|text| text.to_string()).unwrap_or_default();
            Err((format!("{recorded}, of digest {digest}"), format!("{shown:?}")))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::Protocol;
    use crate::verifiers::{AnswerSupport, Repeat, RetrievalGain, WellFormed};
    use crate::{
        Action, EnvironmentParts, Limits, Node, Observation, Proposal, Scratch, Step,
        TaskId, Tool, ToolError, ToolSpec, Verifier, label,
    };

    /// A library of one book; `text` is what stands in it.
    struct Shelf(ToolSpec, String);

    #[async_trait::async_trait]
    impl Tool for Shelf {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }

        async fn call(
            &self,
            _args: &Value,
            _scratch: &mut Scratch,
            _limits: &Limits,
        ) -> Result<Observation, ToolError> {
            let data = json!({"documents": [{"id": "d1", "title": "Bell Tower"}]});
            Ok(Observation::Output { text: format!("[1] Bell Tower: {}", self.1), data })
        }
    }

    fn environment(text: Option<&str>) -> Environment {
        let tool = |text: &str| -> Arc<dyn Tool> {
            let spec = ToolSpec {
                name: "search".into(),
                description: "Looks.".into(),
                parameters: json!({"type": "object"}),
                pinned: Digest::of(text.as_bytes()),
            };
            Arc::new(Shelf(spec, text.to_owned()))
        };
        let parts = EnvironmentParts {
            name: "shelf".into(),
            prompt: "Answer.".into(),
            protocol: Protocol::Hermes,
            thought_chars_max: 0,
            limits: Limits::default(),
            tools: text.into_iter().map(tool).collect(),
        };
        Environment::new(parts).expect("the parts fit")
    }

    fn task() -> Task {
        let prompt = "Who built the Bell Tower?".into();
        Task { id: TaskId("t".into()), prompt, inputs: Value::Null }
    }

    /// Search twice, answer.
    async fn played(environment: &Environment) -> Tree {
        let task = task();
        let mut tree = Tree::new(task.id.clone());
        let mut episode = Episode::new(environment, &task.inputs, None);
        let search = "<tool_call>\n{\"name\": \"search\", \"arguments\": {\"query\": \"bell\"}}\n</tool_call>";
        let mut parent = None;
        for text in [search, search, "<answer>Ann Lee</answer>"] {
            let action = environment.protocol().parse(text).action;
            let (text, elided) = (text.to_owned(), vec![]);
            let proposal = Proposal { text, action, seed: 0, tokens: None, elided };
            let step = episode.act(proposal).await.expect("the tool works");
            let node = Arc::new(Node { parent, step });
            parent = Some(tree.push(node).expect("in order"));
        }
        tree
    }

    async fn judged(tree: &Tree) -> Vec<Verdict> {
        let verifiers: [Box<dyn Verifier>; 4] = [
            Box::new(WellFormed::default()),
            Box::new(Repeat::default()),
            Box::new(RetrievalGain::default()),
            Box::new(AnswerSupport::default()),
        ];
        let mut verdicts = Vec::new();
        for verifier in &verifiers {
            let found = label(verifier.as_ref(), &task(), None, tree).await;
            verdicts.extend(found.expect("they can judge"));
        }
        verdicts
    }

    fn total(audits: &BTreeMap<VerifierId, Audit>) -> Audit {
        audits.values().fold(Audit::default(), |mut sum, audit| {
            sum += audit;
            sum
        })
    }

    #[tokio::test]
    async fn what_was_executed_is_confirmed_and_other_data_is_not() {
        let world = environment(Some("Ann Lee built it."));
        let tree = played(&world).await;
        let verdicts = judged(&tree).await;
        let found = audit(Ground::World(&world), &task(), &tree, &verdicts).await;
        let (audits, first) = found.expect("the tool works");
        let sum = total(&audits);
        assert_eq!((first, sum.diverged), (None, 0));
        assert_eq!((sum.verdicts_flipped, sum.failed), (0, 0));
        assert_eq!(sum.verdicts, sum.verdicts_confirmed + sum.verdicts_unchecked);
        assert!(sum.executions >= 3 && sum.spans >= 1 && sum.steps >= 1, "{sum:?}");
        let other = environment(Some("Ann Lee built it in 1901."));
        let found = audit(Ground::World(&other), &task(), &tree, &verdicts).await;
        let (audits, first) = found.expect("the tool works");
        let first = first.expect("the book is another").to_string();
        assert!(first.contains("in 1901") && first.contains("evidence"), "{first}");
        assert_eq!(total(&audits).diverged, sum.executions, "spans lie in the record");
    }

    #[tokio::test]
    async fn without_tools_the_record_is_the_tape() {
        let tree = played(&environment(Some("Ann Lee built it."))).await;
        let verdicts = judged(&tree).await;
        let none = environment(None);
        let found = audit(Ground::Tape(&none), &task(), &tree, &verdicts).await;
        let (audits, first) = found.expect("nothing is called");
        assert_eq!((first, total(&audits).diverged), (None, 0));
        let mut forged = verdicts;
        for verdict in &mut forged {
            for evidence in &mut verdict.evidence {
                if let Evidence::Execution { call, .. } = evidence {
                    call.args = json!({"query": "never asked"});
                }
            }
        }
        let found = audit(Ground::Tape(&none), &task(), &tree, &forged).await;
        let (_, first) = found.expect("nothing is called");
        assert!(first.expect("forged").found.contains("no such call of search"));
    }

    #[tokio::test]
    async fn spans_and_steps_must_be_there_and_seen() {
        let world = environment(Some("Ann Lee built it."));
        let tree = played(&world).await;
        let steps: Vec<Step> = tree.nodes().map(|(_, node)| node.step.clone()).collect();
        let base = judged(&tree).await.remove(0);
        let mut moved = Evidence::message(NodeId(0), &steps[0]);
        if let Evidence::Span { range, .. } = &mut moved {
            *range = 1..range.end;
        }
        let long = Evidence::Span {
            node: NodeId(0),
            observation: Some(0),
            range: 0..9999,
            text: None,
        };
        let whole = Evidence::message(NodeId(0), &steps[0]);
        assert!(matches!(steps[2].proposal.action, Action::Answer { .. }));
        for (node, evidence, holds) in [
            (0, whole, true),
            (0, moved, false),
            (0, long, false),
            (2, Evidence::Step { node: NodeId(1) }, true),
            (0, Evidence::Step { node: NodeId(1) }, false),
            (0, Evidence::Step { node: NodeId(9) }, false),
            (0, Evidence::Rollouts { sampled: 4, succeeded: 2 }, true),
        ] {
            let shown = format!("{evidence:?}");
            let (node, evidence) = (NodeId(node), vec![evidence]);
            let verdict = Verdict { node, evidence, ..base.clone() };
            let found = audit(Ground::World(&world), &task(), &tree, &[verdict]).await;
            let (audits, first) = found.expect("the tool works");
            assert_eq!(first.is_none(), holds, "{shown}");
            let sum = total(&audits);
            assert_eq!(sum.diverged, u64::from(!holds));
            let unchecked = shown.starts_with("Rollouts");
            let counts =
                (sum.verdicts_confirmed, sum.verdicts_flipped, sum.verdicts_unchecked);
            let expected = (holds && !unchecked, !holds, unchecked);
            let expected = (expected.0.into(), expected.1.into(), expected.2.into());
            assert_eq!(counts, expected, "{shown}");
        }
    }
}
