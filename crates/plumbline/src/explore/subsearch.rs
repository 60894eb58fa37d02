//! SubSearch: queries by how well their documents answer them, and how well they divide the
//! question.
//!
//! "SubSearch: Intermediate Rewards for Unsupervised Guided Reasoning in Complex Retrieval".
//! A message asks one or several queries (in one text, divided by `##`). *Answerability* is the
//! mean over them of the mean similarity with their top three documents. *Decomposition* of one
//! query is `max(0, 1 - |sim(query, question) - 0.85| / 0.15)`; of several, half the similarity
//! of their centroid with the question and half the mean over them of their similarity with the
//! question times what they are unlike their siblings. The reward fills the gap that a wrong
//! answer leaves: `EM + beta (0.5 answerability + 0.5 decomposition) (1 - EM)`.
//!
//! Similarity is the cosine of TF-IDF vectors, fitted on the documents that the trajectories
//! show, where the paper has sentence embeddings: words that are all different count as
//! nothing in common, so that numbers are smaller than there. Of the documents of a call the
//! three nearest to a query are its top three, for several queries of one call are not told
//! apart in what comes back. Rewards like these can be had by copying the question: the
//! canaries show by how much. Beta is a schedule over training, see `beta`; labels are
//! given at its peak, and the value holds both terms for any other.

use futures::FutureExt;
use serde_json::json;

use super::tf_idf::{TfIdf, Vector, documents_shown};
use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::features::queries;
use crate::scale::Reading;
use crate::{Step, text};

pub(super) const METHOD: Method = Method {
    name: "subsearch",
    version: 1,
    paper: "SubSearch: Intermediate Rewards for Unsupervised Guided Reasoning in Complex Retrieval",
    summary: "queries by how well they are answered and divide the question",
    constants: Constants::NONE,
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: Some(Number::Reward("reward")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

/// Between the queries of one text.
const DIVIDER: &str = "##";
/// Documents of a query that count.
const TOP: usize = 3;
/// How near to the question a single query is best, and how far from that it is nothing.
const NEAR: f64 = 0.85;
const WIDTH: f64 = 0.15;
/// Beta before its schedule: the larger of the two mixing constants in the published code.
const BETA: f64 = 0.8;
/// Which share of it the warm-up ends with, by which power it rises, and where it ends.
const PEAK: f64 = 0.75;
const POWER: f64 = 1.5;
const FLOOR: f64 = 0.02;

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let rollouts = explorer.samples().await?;
    let steps: Vec<_> = rollouts.iter().flat_map(|it| explorer.path(it.leaf)).collect();
    let shown = documents_shown(explorer.tree(), &steps);
    let tf_idf = TfIdf::fit(shown.values().map(String::as_str));
    let question = tf_idf.vector(&explorer.task().prompt);
    for rollout in rollouts {
        for step in explorer.path(rollout.leaf) {
            let node = explorer.tree().get(step).expect("it is on a path");
            if let Some(terms) = Terms::of(&node.step, &question, &tf_idf) {
                explorer.judge(step, judged(terms, rollout.success));
            }
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Terms {
    answerability: f64,
    decomposition: f64,
}

impl Terms {
    /// `None` of a step that asks for no documents.
    fn of(step: &Step, question: &Vector, tf_idf: &TfIdf) -> Option<Self> {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for (call, observation) in
            step.proposal.action.calls().iter().zip(&step.observations)
        {
            if !text::lists_documents(observation) {
                continue;
            }
            let vector = |passage: text::Passage<'_>| {
                tf_idf.vector(&format!("{}\n{}", passage.title, passage.text))
            };
            let documents: Vec<Vector> =
                text::passages(observation).into_iter().map(vector).collect();
            let queries = queries(&call.args);
            for query in queries.iter().flat_map(|query| query.split(DIVIDER)) {
                let query = tf_idf.vector(query);
                answered.push(answerability(&query, &documents));
                asked.push(query);
            }
        }
        let decomposition = decomposition(&asked, question)?;
        Some(Self { answerability: mean(answered), decomposition })
    }

    fn reward(self, right: bool, beta: f64) -> f64 {
        let Self { answerability, decomposition } = self;
        if right { 1.0 } else { beta * (0.5 * answerability + 0.5 * decomposition) }
    }
}

/// How well the nearest of its documents answer a query; 0 without any.
fn answerability(query: &Vector, documents: &[Vector]) -> f64 {
    let mut near: Vec<f64> = documents.iter().map(|it| it.cosine(query)).collect();
    near.sort_by(|one, two| two.total_cmp(one));
    near.truncate(TOP);
    mean(near)
}

/// How well queries divide a question; `None` if there are none.
fn decomposition(queries: &[Vector], question: &Vector) -> Option<f64> {
    match queries {
        [] => None,
        [query] => Some((1.0 - (query.cosine(question) - NEAR).abs() / WIDTH).max(0.0)),
        several => {
            let term = |(at, query): (usize, &Vector)| {
                let siblings =
                    several.iter().enumerate().filter(|(other, _)| *other != at);
                let alike = mean(siblings.map(|(_, sibling)| sibling.cosine(query)));
                query.cosine(question) * (1.0 - alike)
            };
            let apart = mean(several.iter().enumerate().map(term));
            let together = Vector::centroid(several).cosine(question);
            Some(0.5 * together + 0.5 * apart)
        }
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.into_iter().fold((0.0, 0.0), |(sum, count), it| (sum + it, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Beta at a step of training: it rises for the warm-up, then falls along a cosine. Where a
/// gate by a moving average of EM stops it is the trainer's to say.
fn beta(step: f64, warm_up: f64, steps: f64) -> f64 {
    let peak = PEAK * BETA;
    if step < warm_up {
        return peak * (step / warm_up).powf(POWER);
    }
    let share = ((step - warm_up) / (steps - warm_up)).min(1.0);
    FLOOR + (peak - FLOOR) * (1.0 + (std::f64::consts::PI * share).cos()) / 2.0
}

fn judged(terms: Terms, right: bool) -> Judged {
    let Terms { answerability, decomposition } = terms;
    let reward = terms.reward(right, beta(0.0, 0.0, 1.0));
    Judged {
        value: json!({
            "reward": reward,
            "answerability": answerability,
            "decomposition": decomposition,
            "right": right,
        }),
        reading: Reading::ABSTENTION,
        reason: format!(
            "its documents answer its queries to {answerability:.2}, and they divide the \
             question to {decomposition:.2}"
        ),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn queries_about_half_of_the_question_each() {
        // No document has any of the words, so that all weigh the same.
        let of = |text: &str| TfIdf::default().vector(text);
        let question = of("fox den moor heath");
        let (one, two) = (of("fox den"), of("moor heath"));
        // Each shares 2 words of 2 and 4: 2 / sqrt(2 * 4); together they are the question.
        let half = 0.5f64.sqrt();
        near(
            decomposition(&[one.clone(), two], &question).expect("two"),
            0.5 + 0.5 * half,
        );
        // Twice the same: the centroid is as near as each, and nothing sets them apart.
        let twice = decomposition(&[one.clone(), one.clone()], &question);
        near(twice.expect("two"), 0.5 * half);
        // Alone it is 0.1429 from 0.85, nearly too far: 1 - 0.1429 / 0.15.
        let alone = decomposition(std::slice::from_ref(&one), &question).expect("one");
        near(alone, 1.0 - (0.85 - half) / 0.15);
        let copied = decomposition(std::slice::from_ref(&question), &question);
        assert_eq!(copied, Some(0.0));
        // The nearest three of four: (1 + 0.7071 + 0) / 3.
        let documents = [of("bog"), one.clone(), question.clone(), of("bog")];
        near(answerability(&one, &documents), (1.0 + half) / 3.0);
        near(answerability(&one, &[]), 0.0);
    }

    #[test]
    fn only_the_gap_of_a_wrong_answer_is_filled() {
        let terms = Terms { answerability: 0.5, decomposition: 0.25 };
        near(terms.reward(true, 0.6), 1.0);
        near(terms.reward(false, 0.6), 0.6 * 0.375);
        near(judged(terms, false).value["reward"].as_f64().expect("a number"), 0.225);
    }

    #[test]
    fn beta_rises_and_falls() {
        near(beta(0.0, 100.0, 1000.0), 0.0);
        near(beta(25.0, 100.0, 1000.0), 0.6 * 0.125);
        near(beta(100.0, 100.0, 1000.0), 0.6);
        near(beta(550.0, 100.0, 1000.0), 0.31);
        near(beta(1000.0, 100.0, 1000.0), 0.02);
        near(beta(5000.0, 100.0, 1000.0), 0.02);
    }
}
