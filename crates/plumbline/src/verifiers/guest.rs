//! A verifier of other people's: the JSON that passes between us and it, whatever carries it.
//! What a guest gets wrong is told here, before `label` holds verdicts to their contract.

use std::collections::BTreeSet;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::verifiers::Path;
use crate::{
    Action, Cost, Digest, Ending, Evidence, Gold, NodeId, Observation, Scratch, Seen,
    Sight, Step, StepLabel, Task, Tree, Verdict, VerifierError, VerifierId, Zero,
};

const NAME_CHARS_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
const REASON_BYTES_MAX: usize = 4 << 10;
/// Pieces of evidence that one verdict may rest on.
const EVIDENCE_MAX: usize = 64;

/// What a guest says first: what it is, and what it must be shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    name: String,
    version: u32,
    description: String,
    /// What it must be shown beyond the path up to the step.
    #[serde(default)]
    sees: Vec<Beyond>,
    /// Whether each question has an id, which the answer says again.
    #[serde(default)]
    ids: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Beyond {
    Gold,
    Later,
    Outcome,
}

/// A verifier of other people's, as it introduced itself.
///
/// It is asked in JSON and answers in JSON: `question` and `verdicts` are all there is to
/// that, and the rest is whoever carries them.
#[derive(Debug, Clone)]
pub struct Guest {
    id: VerifierId,
    sight: Sight,
}

/// What a guest is asked.
#[derive(Serialize)]
struct Question<'q> {
    task: &'q Task,
    #[serde(skip_serializing_if = "Option::is_none")]
    gold: Option<&'q Gold>,
    steps: Vec<Shown<'q>>,
    /// The steps it is to judge.
    judge: &'q [NodeId],
}

/// A step as a guest is shown it.
#[derive(Serialize)]
struct Shown<'q> {
    node: NodeId,
    parent: Option<NodeId>,
    text: &'q str,
    action: &'q Action,
    observations: &'q [Observation],
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<&'q Ending>,
}

/// What a guest answers: verdicts, or why it has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    /// Whoever asked has compared it.
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    verdicts: Option<Vec<Said>>,
    error: Option<String>,
}

/// What a guest says of a step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    node: NodeId,
    #[serde(default)]
    value: Value,
    label: Option<StepLabel>,
    zero: Option<Zero>,
    confidence: Option<f64>,
    reason: String,
    #[serde(default)]
    evidence: Vec<Cited>,
}

/// What a guest says its verdict rests on. It points; what is recorded is what stands there.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Cited {
    /// A step.
    Step { node: NodeId },
    /// Words of a step's message, or of one of its observations.
    Quote { node: NodeId, observation: Option<u32>, text: String },
    /// A call that a step made.
    Call {
        node: NodeId,
        #[serde(default)]
        call: u32,
    },
}

impl Introduction {
    /// Reads what a guest says first. The error says what would be right.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| {
            format!(
                "what it says first must be {{\"name\": .., \"version\": 1, \
                 \"description\": .., \"sees\": [..]}}, where it may see gold, later and \
                 outcome: {error}"
            )
        })
    }

    /// Whether whoever carries lines to it is to number the questions, and to compare the
    /// `id` of an answer.
    pub fn ids(&self) -> bool {
        self.ids
    }
}

impl Guest {
    /// A guest by its introduction, a name in place of the one it says, and a digest of all
    /// that decides what it answers.
    pub fn new(
        introduction: &Introduction,
        name: Option<&str>,
        pinned: Digest,
    ) -> Result<Self, String> {
        let Introduction { name: own, version, description, sees, .. } = introduction;
        let name = name.unwrap_or(own);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(is_plain) {
            let name = crate::cut(name.to_owned(), NAME_CHARS_MAX);
            return Err(format!(
                "its name {name:?} must be 1 to {NAME_CHARS_MAX} letters, digits, '-' and '_'"
            ));
        }
        let bytes = description.len();
        if description.trim().is_empty() || bytes > DESCRIPTION_BYTES_MAX {
            return Err(format!(
                "its description has {bytes} bytes; it must have 1 to \
                 {DESCRIPTION_BYTES_MAX}"
            ));
        }
        let sees = |what| sees.contains(&what);
        let sight = Sight {
            gold: sees(Beyond::Gold),
            later: sees(Beyond::Later),
            outcome: sees(Beyond::Outcome),
        };
        let id = VerifierId(format!("{name}@{version}+{}", pinned.short()));
        Ok(Self { id, sight })
    }

    /// Its name, its version, and a digest of what it is made of.
    pub fn id(&self) -> &VerifierId {
        &self.id
    }

    /// What it must be shown.
    pub fn sight(&self) -> Sight {
        self.sight
    }

    /// What it is asked, on one line.
    pub fn question(&self, tree: &Tree, nodes: &[NodeId], seen: Seen<'_>) -> String {
        let shown = tree.nodes().map(|(id, node)| Shown {
            node: id,
            parent: node.parent,
            text: &node.step.proposal.text,
            action: &node.step.proposal.action,
            observations: &node.step.observations,
            ending: tree.ending(id),
        });
        let question = Question {
            task: seen.task,
            gold: seen.gold.filter(|_| self.sight.gold),
            steps: shown.collect(),
            judge: nodes,
        };
        serde_json::to_string(&question).expect("values serialise")
    }

    /// Reads what it answered. The error says in which way it is no answer.
    pub fn verdicts(
        &self,
        reply: &[u8],
        tree: &Tree,
        nodes: &[NodeId],
        task: &Task,
    ) -> Result<Vec<Verdict>, String> {
        let reply: Reply = serde_json::from_slice(reply).map_err(|error| {
            let begin = String::from_utf8_lossy(&reply[..reply.len().min(80)]);
            format!("its answer is none: {error}; it begins {begin:?}")
        })?;
        let said = match reply {
            Reply { verdicts: Some(said), error: None, .. } => said,
            Reply { verdicts: None, error: Some(message), .. } => {
                return Err(crate::cut(message, REASON_BYTES_MAX));
            }
            _ => {
                return Err("its answer must have `verdicts`, or else `error`".to_owned());
            }
        };
        let mut judged = BTreeSet::new();
        let verdict = |said: Said| {
            let node = said.node;
            if !nodes.contains(&node) {
                return Err(format!(
                    "it judges step {node}, which it was not asked about"
                ));
            }
            if !judged.insert(node) {
                return Err(format!("it gives two verdicts on step {node}"));
            }
            self.verdict(said, tree, task)
                .map_err(|message| format!("its verdict on step {node}: {message}"))
        };
        said.into_iter().map(verdict).collect()
    }

    fn verdict(&self, said: Said, tree: &Tree, task: &Task) -> Result<Verdict, String> {
        let Said { node, value, label, zero, confidence, reason, evidence } = said;
        let bytes = reason.len();
        if reason.trim().is_empty() || bytes > REASON_BYTES_MAX {
            return Err(format!(
                "its reason has {bytes} bytes; it must have 1 to {REASON_BYTES_MAX}"
            ));
        }
        if zero.is_some() && label != Some(StepLabel::Neutral) {
            return Err("`zero` says why a label is neutral, and its label is not".into());
        }
        if confidence.is_some_and(|it| !(0.0..=1.0).contains(&it)) {
            return Err("its confidence must be between 0 and 1".to_owned());
        }
        if evidence.len() > EVIDENCE_MAX {
            return Err(format!("it has more than {EVIDENCE_MAX} pieces of evidence"));
        }
        let cited = evidence.into_iter().map(|cited| found(&cited, node, tree, task));
        let evidence = cited.collect::<Result<_, _>>()?;
        let (verifier, saw, cost) = (self.id.clone(), self.sight, Cost::default());
        Ok(Verdict {
            node,
            verifier,
            value,
            label,
            zero,
            confidence,
            reason,
            evidence,
            saw,
            cost,
        })
    }

    /// A failure of the guest's over some steps of a task.
    pub fn failed(
        &self,
        task: &Task,
        nodes: &[NodeId],
        message: String,
    ) -> VerifierError {
        let of = match nodes {
            [node] => format!(", step {node}"),
            _ => String::new(),
        };
        let message = format!("over task {}{of}: {message}", task.id);
        VerifierError::Failed { verifier: self.id.clone(), message }
    }
}

/// What a guest points at, as evidence of its verdict on a step.
fn found(
    cited: &Cited,
    judged: NodeId,
    tree: &Tree,
    task: &Task,
) -> Result<Evidence, String> {
    let (Cited::Step { node } | Cited::Quote { node, .. } | Cited::Call { node, .. }) =
        *cited;
    let step = tree.get(node).map(|node| &node.step);
    let step = step.ok_or(format!("it cites step {node}, which it was not shown"))?;
    match cited {
        Cited::Step { .. } => Ok(Evidence::Step { node }),
        Cited::Quote { observation, text, .. } => {
            let shown = match observation {
                None => Some(step.proposal.text.as_str()),
                Some(index) => observed(step, *index),
            };
            let start = shown.filter(|_| !text.is_empty());
            let start = start.and_then(|shown| shown.find(text.as_str()));
            let start = start.ok_or_else(|| {
                let text = crate::cut(text.clone(), 80);
                format!("it quotes {text:?}, which is not there in step {node}")
            })?;
            Ok(Evidence::span(node, step, *observation, start..start + text.len()))
        }
        Cited::Call { call, .. } => {
            let shown = observed(step, *call)
                .filter(|_| step.proposal.action.calls().len() > *call as usize);
            let shown = shown.ok_or(format!("step {node} makes no call {call}"))?;
            // A call that need not come to the same again is cited by what it showed.
            let span = || Evidence::span(node, step, Some(*call), 0..shown.len());
            Ok(repeatable(tree, judged, node, *call, task).unwrap_or_else(span))
        }
    }
}

fn observed(step: &Step, index: u32) -> Option<&str> {
    step.observations.get(usize::try_from(index).ok()?).map(Observation::text)
}

/// A call on the path to the judged step, if it can be made again on a fork of the state
/// before it.
fn repeatable(
    tree: &Tree,
    judged: NodeId,
    node: NodeId,
    call: u32,
    task: &Task,
) -> Option<Evidence> {
    let path = tree.path(judged);
    let index = path.iter().position(|(id, _)| *id == node)?;
    let mut earlier: Vec<(NodeId, &Step)> =
        path.iter().map(|(id, node)| (*id, &node.step)).collect();
    let (node, step) = earlier.pop()?;
    let root = Scratch::of_inputs(&task.inputs).digest();
    Path { root, earlier, node, step }.execution(index, usize::try_from(call).ok()?)
}
