//! A verifier of one's own: it judges the steps of a tree. This one calls a step bad that
//! asks a tool what it was told already.
//!
//! Run this with `cargo run --release --example custom_verifier`. For `plumb label` to know a
//! verifier, it needs a name in `crates/plumb/catalog.rs`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;

use async_trait::async_trait;
use plumbline::protocol::Protocol;
use plumbline::{
    Cost, Digest, Evidence, Node, NodeId, Observation, Proposal, Seen, Sight, Step,
    StepLabel, Task, TaskId, Tree, Verdict, Verifier, VerifierError, VerifierId, label,
};
use serde_json::{Value, json};

struct AskedBefore(VerifierId);

#[async_trait]
impl Verifier for AskedBefore {
    /// Name and version. Whoever changes what it says raises the version: verdicts lie in a
    /// file of that name, and two of them can be compared only if these agree.
    fn id(&self) -> &VerifierId {
        &self.0
    }

    /// What it must be shown. Here: the path up to the step, which is what an agent could have
    /// known. Ask for no more than is needed: a verdict that saw the gold cannot be had while
    /// an agent runs, and every label that is made of it says so.
    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    /// At most one verdict a node. No verdict is an abstention, which costs nothing: a
    /// verifier that says "neutral" of all it does not understand drowns those that do.
    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        _: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        Ok(nodes.iter().filter_map(|&node| self.verdict(tree, node)).collect())
    }
}

impl AskedBefore {
    fn verdict(&self, tree: &Tree, node: NodeId) -> Option<Verdict> {
        let path = tree.path(node);
        let ((_, judged), before) = path.split_last()?;
        let call = judged.step.proposal.action.calls().first()?;
        let asked = before.iter().find(|(_, earlier)| {
            let calls = earlier.step.proposal.action.calls();
            calls
                .iter()
                .any(|other| (&other.tool, &other.args) == (&call.tool, &call.args))
        });
        let (earlier, _) = asked?;
        let result = Digest::of_json(judged.step.observations.first()?);
        Some(Verdict {
            node,
            verifier: self.0.clone(),
            value: json!(false),
            label: Some(StepLabel::Bad),
            zero: None,
            confidence: None,
            reason: format!("step {earlier} asked {} the same", call.tool),
            // What the verdict rests on. `plumb audit` makes the call again, on a fork of the
            // state, and looks the earlier step up: who claims something is held to it.
            evidence: vec![
                Evidence::Execution { call: call.clone(), result },
                Evidence::Step { node: *earlier },
            ],
            saw: self.sight(),
            cost: Cost::default(),
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut tree = Tree::new(TaskId("sunrise".into()));
    let mut parent = None;
    for day in ["Monday", "Tuesday", "Monday"] {
        let call = json!({ "name": "almanac", "arguments": { "day": day } });
        let text = format!("<tool_call>\n{call}\n</tool_call>");
        let action = Protocol::Hermes.parse(&text).action;
        let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
        let observation = Observation::Output { text: "6:41".into(), data: Value::Null };
        let (observations, scratch) = (vec![observation], Digest::of(b""));
        let step = Step { proposal, observations, scratch };
        parent = Some(tree.push(Arc::new(Node { parent, step }))?);
    }
    let task: Task =
        serde_json::from_value(json!({ "id": "sunrise", "prompt": "When?" }))?;
    let verifier = AskedBefore(VerifierId("asked-before@1".into()));
    // `label` shows a verifier what its sight names and no more, whatever it asks for.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let verdicts = runtime.block_on(label(&verifier, &task, None, &tree))?;
    for verdict in &verdicts {
        println!("step {}: {:?}: {}", verdict.node, verdict.label, verdict.reason);
    }
    assert_eq!(verdicts.len(), 1, "only the third step asked before");
    Ok(())
}
