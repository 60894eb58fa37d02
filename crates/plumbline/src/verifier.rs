//! The seam to whatever judges steps, and `label`, the verb that holds it to its sight.

use std::fmt;

use async_trait::async_trait;

use crate::{Gold, NodeId, Sight, Task, Tree, Verdict, VerifierId};

/// What the harness shows a verifier besides the tree.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The task.
    pub task: &'a Task,
    /// The gold, if the verifier's sight includes it and the task has any.
    pub gold: Option<&'a Gold>,
}

impl Seen<'_> {
    /// That the task lacks something which a verifier needs.
    pub(crate) fn lacks(
        &self,
        verifier: &VerifierId,
        message: impl fmt::Display,
    ) -> VerifierError {
        VerifierError::Task {
            verifier: verifier.clone(),
            task: self.task.id.to_string(),
            message: message.to_string(),
        }
    }
}

/// What a verdict takes. Whoever may stop at an answer asks in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Reading what is recorded, or executing calls.
    Check,
    /// A model of people's labels, which is sure to a degree and costs next to nothing.
    Estimate,
    /// Tokens of a policy that is asked for its opinion.
    Opinion,
}

/// Something that judges steps.
///
/// Verifiers judge nodes, not trajectories: a shared node gets one verdict. One that
/// executes holds an `Arc<dyn Tool>` of its own and works on a fork of the state.
#[async_trait]
pub trait Verifier: Send + Sync {
    /// The verifier's name, version and settings.
    fn id(&self) -> &VerifierId;

    /// What it must be shown. Whatever it does not name here it is not given.
    fn sight(&self) -> Sight;

    /// What a verdict of it takes.
    fn effort(&self) -> Effort {
        Effort::Check
    }

    /// At most one verdict for each node asked about; silence is abstention.
    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError>;
}

/// Why a verifier could not judge: a failure of its own, not of the step.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// The verifier needs something the task does not have.
    #[error("verifier {verifier}: task {task}: {message}")]
    Task {
        /// Who.
        verifier: VerifierId,
        /// Which task.
        task: String,
        /// What is missing and how to add it.
        message: String,
    },
    /// Something the verifier asked failed.
    #[error("verifier {verifier}: {message}")]
    Failed {
        /// Who.
        verifier: VerifierId,
        /// What failed.
        message: String,
    },
}

/// Has a verifier judge every node of a tree, showing it what its sight names and no more.
///
/// # Panics
///
/// If the verifier breaks its contract: a verdict on a node it was not asked about, two on
/// one node, under another name or with another sight than its own.
pub async fn label(
    verifier: &dyn Verifier,
    task: &Task,
    gold: Option<&Gold>,
    tree: &Tree,
) -> Result<Vec<Verdict>, VerifierError> {
    let nodes: Vec<NodeId> = tree.nodes().map(|(id, _)| id).collect();
    label_nodes(verifier, task, gold, tree, &nodes).await
}

/// Has it judge some of them, as [`label`].
pub(crate) async fn label_nodes(
    verifier: &dyn Verifier,
    task: &Task,
    gold: Option<&Gold>,
    tree: &Tree,
    nodes: &[NodeId],
) -> Result<Vec<Verdict>, VerifierError> {
    let sight = verifier.sight();
    let seen = Seen { task, gold: gold.filter(|_| sight.gold) };
    let mut verdicts = Vec::with_capacity(nodes.len());
    if sight.later {
        let shown = if sight.outcome { tree.clone() } else { tree.without_endings() };
        verdicts = verifier.judge(&shown, nodes, seen).await?;
        check(verifier, nodes, &verdicts);
    } else {
        for node in nodes {
            verdicts.extend(label_step(verifier, task, gold, tree, *node).await?);
        }
    }
    verdicts.sort_by_key(|verdict| verdict.node);
    Ok(verdicts)
}

/// Has a verifier without sight of later steps judge one node of a tree.
pub(crate) async fn label_step(
    verifier: &dyn Verifier,
    task: &Task,
    gold: Option<&Gold>,
    tree: &Tree,
    node: NodeId,
) -> Result<Vec<Verdict>, VerifierError> {
    let sight = verifier.sight();
    let seen = Seen { task, gold: gold.filter(|_| sight.gold) };
    let shown = tree.up_to(node);
    let shown = if sight.outcome { shown.with_ending_of(tree, node) } else { shown };
    let verdict = verifier.judge(&shown, &[node], seen).await?;
    check(verifier, &[node], &verdict);
    Ok(verdict)
}

fn check(verifier: &dyn Verifier, asked: &[NodeId], verdicts: &[Verdict]) {
    let mut judged = std::collections::BTreeSet::new();
    for verdict in verdicts {
        assert!(asked.contains(&verdict.node), "{}: node not asked about", verifier.id());
        assert!(judged.insert(verdict.node), "{}: two verdicts on a node", verifier.id());
        assert_eq!(
            &verdict.verifier,
            verifier.id(),
            "a verdict carries its verifier's id"
        );
        assert_eq!(
            verdict.saw,
            verifier.sight(),
            "a verdict carries its verifier's sight"
        );
    }
}
