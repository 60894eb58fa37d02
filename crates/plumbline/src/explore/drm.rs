//! DRM: a trajectory's confidence, relevance and coherence.
//!
//! "From `<Answer>` to `<Think>`: Multidimensional Supervision of Reasoning Process for LLM
//! Optimization". *Confidence* is the mean log-probability of the reasoning's tokens plus the
//! summed one of the answer's. *Relevance* mixes how far the reasoning has to do with the
//! question, with the documents and with the answer. *Coherence* is another model's score. What
//! they come to is a weighted sum, without gold, and no label.
//!
//! Ours, for the paper's own are weights of a grid search and models that we do not have: the
//! reasoning is what the messages say beside calls and answers, but its tokens are those of all
//! messages before the last, and the answer's those of the last one, for the library cannot tell
//! which token is which text; relevance is the mean of three cosines of TF-IDF vectors;
//! coherence is the mean of what the checks say; weights are a third each, and the sum takes
//! the exponential of the confidence, a chance as the others are shares. A dimension that
//! cannot be told is null, and then there is no sum. The verdict stands on the trajectory's
//! last step; the checks may have seen gold.

use futures::FutureExt;
use serde_json::json;

use super::aggregate::process_mean;
use super::tf_idf::{TfIdf, Vector, documents_shown};
use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::protocol::PartKind;
use crate::scale::Reading;
use crate::{Action, NodeId};

pub(super) const METHOD: Method = Method {
    name: "drm",
    version: 1,
    paper: "From <Answer> to <Think>: Multidimensional Supervision of Reasoning Process for LLM Optimization",
    summary: "trajectories by confidence, relevance and coherence",
    constants: Constants::NONE,
    trajectories: true,
    checks: true,
    likelihoods: None,
    number: Some(Number::Reward("sum")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let trajectories = explorer.trajectories().await?;
    let shown = documents_shown(explorer.tree(), trajectories.iter().flatten());
    let tf_idf = TfIdf::fit(shown.values().map(String::as_str));
    for trajectory in trajectories {
        let Some(last) = trajectory.last().copied() else { continue };
        let dimensions = Dimensions {
            confidence: confidence(&logprobs(explorer, &trajectory)),
            relevance: relevance(explorer, &trajectory, &tf_idf),
            coherence: process_mean(explorer, &trajectory).await?,
        };
        explorer.judge(last, dimensions.judged());
    }
    Ok(())
}

/// The log-probabilities of each step's tokens; none of a step of which they are not recorded.
fn logprobs(explorer: &Explorer<'_>, trajectory: &[NodeId]) -> Vec<Vec<f64>> {
    let of = |step: &NodeId| {
        let node = explorer.tree().get(*step).expect("it is on a path");
        let tokens = node.step.proposal.tokens.as_ref();
        let logprobs = tokens.map_or(&[][..], |tokens| &tokens.logprobs);
        logprobs.iter().copied().map(f64::from).collect()
    };
    trajectory.iter().map(of).collect()
}

/// The mean over all messages before the last, plus the sum over the last; of a trajectory of
/// one message that sum alone. `None` if any has no log-probabilities.
fn confidence(logprobs: &[Vec<f64>]) -> Option<f64> {
    let (answer, reasoning) = logprobs.split_last()?;
    if logprobs.iter().any(Vec::is_empty) {
        return None;
    }
    let tokens = reasoning.iter().flatten().count().max(1);
    let mean = reasoning.iter().flatten().sum::<f64>() / tokens as f64;
    Some(mean + answer.iter().sum::<f64>())
}

/// The mean of the reasoning's similarities with the question, the documents and the answer,
/// those left out that are not there. `None` without reasoning.
fn relevance(
    explorer: &Explorer<'_>,
    trajectory: &[NodeId],
    tf_idf: &TfIdf,
) -> Option<f64> {
    let protocol = explorer.environment().protocol();
    let (mut reasoning, mut answer) = (String::new(), None);
    for step in trajectory {
        let node = explorer.tree().get(*step).expect("it is on a path");
        let message = &node.step.proposal.text;
        for part in protocol.parse(message).parts {
            if part.kind == PartKind::Thought {
                reasoning += &message[part.range];
                reasoning.push('\n');
            }
        }
        if let Action::Answer { text } = &node.step.proposal.action {
            answer = Some(text.as_str());
        }
    }
    let reasoning = tf_idf.vector(&reasoning);
    let documents = documents_shown(explorer.tree(), trajectory);
    let documents: Vec<&str> = documents.values().map(String::as_str).collect();
    let documents = (!documents.is_empty()).then(|| documents.join("\n"));
    let question = Some(explorer.task().prompt.as_str());
    let sides = [question, documents.as_deref(), answer].into_iter().flatten();
    let sides: Vec<f64> =
        sides.map(|side| tf_idf.vector(side).cosine(&reasoning)).collect();
    let some = reasoning != Vector::default();
    some.then(|| sides.iter().sum::<f64>() / sides.len() as f64)
}

#[derive(Debug, Clone, Copy)]
struct Dimensions {
    /// A log-probability.
    confidence: Option<f64>,
    /// 0 to 1, as the next.
    relevance: Option<f64>,
    coherence: Option<f64>,
}

impl Dimensions {
    fn sum(self) -> Option<f64> {
        Some((self.confidence?.exp() + self.relevance? + self.coherence?) / 3.0)
    }

    fn judged(self) -> Judged {
        let Self { confidence, relevance, coherence } = self;
        let sum = self.sum();
        Judged {
            value: json!({
                "sum": sum,
                "confidence": confidence,
                "relevance": relevance,
                "coherence": coherence,
            }),
            reading: Reading::ABSTENTION,
            reason: match sum {
                Some(sum) => format!("its three dimensions come to {sum:.2}"),
                None => "one of its three dimensions cannot be told".to_owned(),
            },
            evidence: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_a_mean_and_a_sum() {
        let search = vec![-0.5, -1.5];
        assert_eq!(confidence(&[search.clone(), vec![-0.25, -0.25]]), Some(-1.5));
        assert_eq!(confidence(&[vec![-0.25, -0.25]]), Some(-0.5));
        assert_eq!(confidence(&[search, vec![]]), None, "not recorded");
        assert_eq!(confidence(&[]), None);
    }

    #[test]
    fn three_dimensions_make_a_sum() {
        let (relevance, coherence) = (Some(0.25), Some(0.75));
        let all = Dimensions { confidence: Some(0.5f64.ln()), relevance, coherence };
        assert!((all.sum().expect("all are there") - 0.5).abs() < 1e-12);
        let some = Dimensions { confidence: None, ..all };
        assert_eq!(some.judged().value["sum"], json!(null));
    }
}
