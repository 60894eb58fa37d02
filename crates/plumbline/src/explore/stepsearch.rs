//! StepSearch: what a search brings nearer to the gold documents, less what it brings again.
//!
//! "StepSearch: Igniting LLMs Search Ability via Step-Wise Proximal Policy Optimization". For
//! each gold document the nearest that any earlier search came is kept, from 0; a search gains
//! the mean over the gold documents of how much nearer it comes, and loses the share of its
//! documents that earlier ones brought already. Its reward is gain less redundancy, a real
//! number that names no label. What ends a trajectory has other rewards there, which rest on
//! gold sub-questions, and none here.
//!
//! The published code fits TF-IDF anew for every document that is compared, so that no two of
//! its gains are on one scale. Here it is fitted once a task: on the documents that the judged
//! trajectories show, for the library knows no corpus, and not on what else is in the tree,
//! for then what other methods have grown would change the rewards. A gold document is known
//! by its id too, the only way where no trajectory shows its text.

use std::collections::BTreeSet;

use futures::FutureExt;
use serde_json::json;

use super::tf_idf::{TfIdf, Vector, documents_shown};
use super::{Constants, ExploreError, Explorer, Judged, Method, Number};
use crate::scale::Reading;
use crate::{NodeId, Sight, text};

pub(super) const METHOD: Method = Method {
    name: "stepsearch",
    version: 1,
    paper: "StepSearch: Igniting LLMs Search Ability via Step-Wise Proximal Policy Optimization",
    summary: "each search by what it gains on the gold documents, less what it repeats",
    constants: Constants::NONE,
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: Some(Number::Reward("reward")),
    saw: Sight::GOLD,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let trajectories = explorer.trajectories().await?;
    let shown = documents_shown(explorer.tree(), trajectories.iter().flatten());
    let tf_idf = TfIdf::fit(shown.values().map(String::as_str));
    let gold = explorer.gold().supporting();
    if gold.is_empty() {
        return Ok(());
    }
    let gold: Vec<(&str, Option<Vector>)> = gold
        .into_iter()
        .map(|id| (id, shown.get(id).map(|text| tf_idf.vector(text))))
        .collect();
    for trajectory in trajectories {
        let mut search =
            Searched { best: vec![0.0; gold.len()], listed: BTreeSet::new() };
        for step in trajectory {
            let documents = documents(explorer, step, &tf_idf, &gold);
            if let Some((gain, redundancy)) = search.reward(&documents) {
                explorer.judge(step, judged(gain, redundancy));
            }
        }
    }
    Ok(())
}

/// A document, and how near it is to each gold document.
type Document = (String, Vec<f64>);

/// The documents that a step brings, each once.
fn documents(
    explorer: &Explorer<'_>,
    step: NodeId,
    tf_idf: &TfIdf,
    gold: &[(&str, Option<Vector>)],
) -> Vec<Document> {
    let node = explorer.tree().get(step).expect("it is on a path");
    let mut documents: Vec<Document> = Vec::new();
    for passage in node.step.observations.iter().flat_map(text::passages) {
        let vector = tf_idf.vector(&format!("{}\n{}", passage.title, passage.text));
        let near = |(id, text): &(&str, Option<Vector>)| match text {
            _ if *id == passage.id => 1.0,
            Some(text) => text.cosine(&vector),
            None => 0.0,
        };
        if documents.iter().all(|(id, _)| id != passage.id) {
            documents.push((passage.id.to_owned(), gold.iter().map(near).collect()));
        }
    }
    documents
}

/// What a trajectory has found so far.
struct Searched {
    /// How near it has come to each gold document.
    best: Vec<f64>,
    listed: BTreeSet<String>,
}

impl Searched {
    /// Gain and redundancy of a step; `None` if it brings no document.
    fn reward(&mut self, documents: &[Document]) -> Option<(f64, f64)> {
        if documents.is_empty() {
            return None;
        }
        let mut gain = 0.0;
        for (index, best) in self.best.iter_mut().enumerate() {
            let near = documents.iter().map(|(_, near)| near[index]).fold(0.0, f64::max);
            gain += (near - *best).max(0.0);
            *best = near.max(*best);
        }
        let again = documents.iter().filter(|(id, _)| self.listed.contains(id)).count();
        self.listed.extend(documents.iter().map(|(id, _)| id.clone()));
        let redundancy = again as f64 / documents.len() as f64;
        Some((gain / self.best.len() as f64, redundancy))
    }
}

fn judged(gain: f64, redundancy: f64) -> Judged {
    let reward = gain - redundancy;
    Judged {
        value: json!({ "reward": reward, "gain": gain, "redundancy": redundancy }),
        reading: Reading::ABSTENTION,
        reason: format!(
            "it comes {gain:.2} nearer to the gold documents, and {:.0}% of its documents \
             were there before",
            100.0 * redundancy
        ),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_searches_for_two_documents() {
        let document = |id: &str, near: [f64; 2]| (id.to_owned(), near.to_vec());
        let mut search = Searched { best: vec![0.0; 2], listed: BTreeSet::new() };
        // Nearest 0.5 and 0.25: (0.5 + 0.25) / 2.
        let first = [document("a", [0.5, 0.0]), document("b", [0.25, 0.25])];
        assert_eq!(search.reward(&first), Some((0.375, 0.0)));
        // The first is found, the second no nearer: (0.5 + 0) / 2; one of two is old.
        let second = [document("gold", [1.0, 0.0]), document("b", [0.25, 0.25])];
        assert_eq!(search.reward(&second), Some((0.25, 0.5)));
        assert_eq!(search.reward(&second), Some((0.0, 1.0)), "asked again");
        assert_eq!(search.reward(&[]), None);
        assert_eq!(judged(0.25, 0.5).value["reward"], -0.25);
    }
}
