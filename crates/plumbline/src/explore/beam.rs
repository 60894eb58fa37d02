//! Beam: several trajectories kept while they grow, the rest given up.
//!
//! Step-level beam search as in "AlphaMath Almost Zero: process Supervision without process":
//! of every path that is kept, B2 next steps are sampled, and of all paths that come of it the
//! best B1 are kept, until all of those have ended; the best of them is chosen. B1 is `kept`, 3,
//! and B2 is `width`, 5. There a value head scores where a path has come to; here the checks
//! score its steps, aggregated. A path that has ended stays in the beam as it is, and can be
//! driven out. How long paths get the environment's limits say.

use futures::FutureExt;
use serde_json::json;

use super::choice::{Scored, mark, scores};
use super::{Aggregate, Constants, ExploreError, Explorer, HINDSIGHT, Method, Place};

pub(super) const METHOD: Method = Method {
    name: "beam",
    version: 1,
    paper: "AlphaMath Almost Zero: process Supervision without process",
    summary: "step-level beam search by what the checks say",
    constants: Constants {
        width: Some(5),
        kept: Some(3),
        aggregate: Some(Aggregate::Min),
        ..Constants::NONE
    },
    trajectories: false,
    checks: true,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    search(explorer, settings.kept(), settings.aggregate()).await
}

/// A path, with the scores of its steps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Path {
    at: Place,
    scores: Vec<f64>,
}

/// Searches, and marks what it comes to.
pub(super) async fn search(
    explorer: &mut Explorer<'_>,
    kept: usize,
    aggregate: Aggregate,
) -> Result<(), ExploreError> {
    let mut beam = vec![Path::default()];
    let mut sampled = 0;
    while beam.iter().any(|path| path.at.is_none_or(|step| !explorer.is_end(step))) {
        let mut grown = Vec::new();
        for path in beam {
            if path.at.is_some_and(|step| explorer.is_end(step)) {
                grown.push(path);
                continue;
            }
            for step in explorer.candidates(path.at, explorer.settings().width()).await? {
                let score = scores(explorer, &[step]).await?;
                let scores = [path.scores.as_slice(), &score].concat();
                grown.push(Path { at: Some(step), scores });
                sampled += 1;
            }
        }
        beam = select(grown, kept, aggregate);
    }
    let Some(Path { at: Some(step), scores }) = beam.into_iter().next() else {
        return Ok(());
    };
    if let (Some(rollout), Some(score)) =
        (explorer.finish(step).await?, aggregate.of(&scores))
    {
        mark(explorer, Scored { rollout, score }, json!({ "sampled": sampled })).await?;
    }
    Ok(())
}

/// The best paths, the best first; of equals those grown first.
fn select(mut grown: Vec<Path>, kept: usize, aggregate: Aggregate) -> Vec<Path> {
    let score = |path: &Path| aggregate.of(&path.scores).unwrap_or(0.0);
    grown.sort_by(|one, two| score(two).total_cmp(&score(one)));
    grown.truncate(kept);
    grown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    #[test]
    fn two_of_three_paths_are_kept() {
        let path =
            |at, scores: &[f64]| Path { at: Some(NodeId(at)), scores: scores.to_vec() };
        let grown =
            vec![path(1, &[1.0, 0.0]), path(2, &[0.5, 0.5]), path(3, &[0.5, 1.0])];
        let kept = |aggregate| -> Vec<u32> {
            let kept = select(grown.clone(), 2, aggregate);
            kept.iter().filter_map(|path| path.at).map(|step| step.0).collect()
        };
        assert_eq!(kept(Aggregate::Min), [2, 3]);
        assert_eq!(kept(Aggregate::Mean), [3, 1]);
        assert_eq!(kept(Aggregate::Product), [3, 2]);
        assert_eq!(kept(Aggregate::Last), [3, 2]);
        // What the greedy search does.
        assert_eq!(select(grown.clone(), 1, Aggregate::Last), grown[2..]);
    }
}
