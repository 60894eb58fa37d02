//! `repeat@1`: the step makes an earlier call again.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::Value;

use crate::verifiers::{Finding, Path, calls, judge_each};
use crate::{
    Evidence, Fault, NodeId, Observation, Seen, Sight, ToolCall, Tree, Verdict, Verifier,
    VerifierError, VerifierId, Zero, text,
};

/// From this similarity on two calls of one tool are the same question put again. One word
/// more or less among ten stays a repeat; one word changed among ten does not.
const SIMILARITY_MIN: f64 = 0.9;

/// Calls a step bad if each of its calls is, but for word order and stop words, one made
/// earlier on the path, and nothing new came of it; neutral if something new did. Other
/// steps get no label. The value is the similarity to the nearest earlier call, 0 to 1: the
/// Jaccard index of the words of the arguments, counted as often as they stand.
///
/// Something new is a document not yet listed, or, from tools that list none, an observation
/// that differs from the earlier one. A call that failed outside may be made again.
#[derive(Debug)]
pub struct Repeat {
    id: VerifierId,
}

impl Default for Repeat {
    fn default() -> Self {
        Self { id: VerifierId("repeat@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for Repeat {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        Ok(judge_each(self, tree, nodes, seen.task, find))
    }
}

/// A call that was made, with what it came to.
struct Made<'t> {
    node: NodeId,
    call: &'t ToolCall,
    observation: &'t Observation,
    words: BTreeMap<String, u32>,
}

/// What repeating a call came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repetition {
    None,
    WithNews,
    WithoutNews,
}

fn find(path: &Path<'_>) -> Option<Finding> {
    let earlier = path.earlier.iter().copied();
    let mut made: Vec<Made<'_>> = Vec::new();
    let mut listed: BTreeSet<&str> = BTreeSet::new();
    let mut judged: Vec<(f64, Option<NodeId>, Repetition)> = Vec::new();
    for (node, step) in earlier.chain([(path.node, path.step)]) {
        for (call, observation) in calls(step) {
            let now = Made { node, call, observation, words: words(&call.args) };
            if node == path.node {
                judged.push(compare(&now, &made, &listed));
            }
            listed.extend(crate::document_ids(observation));
            if observation.as_fault() != Some(Fault::External) {
                made.push(now);
            }
        }
    }
    let (similarity, nearest, _) =
        judged.iter().copied().max_by(|one, two| one.0.total_cmp(&two.0))?;
    let all = |allowed: &[Repetition]| judged.iter().all(|(_, _, r)| allowed.contains(r));
    let Some(nearest) =
        nearest.filter(|_| all(&[Repetition::WithNews, Repetition::WithoutNews]))
    else {
        let reason = "no call of this step repeats an earlier one throughout".to_owned();
        return Some(Finding::unlabelled(similarity, reason));
    };
    let finding = if all(&[Repetition::WithoutNews]) {
        let reason = format!("step {nearest} made this call, and nothing new came of it");
        Finding::bad(similarity, reason)
    } else {
        let reason =
            format!("step {nearest} made this call, yet something new came of it");
        Finding::neutral(Zero::Neutral, similarity, reason)
    };
    let mut evidence: Vec<Evidence> = judged
        .iter()
        .filter_map(|(_, node, _)| node.map(|node| Evidence::Step { node }))
        .collect();
    evidence.dedup();
    evidence.extend(path.executions());
    Some(finding.resting_on(evidence))
}

/// The similarity of a call to the nearest one made before it, which step that was, and
/// whether it is a repetition of it.
fn compare(
    now: &Made<'_>,
    made: &[Made<'_>],
    listed: &BTreeSet<&str>,
) -> (f64, Option<NodeId>, Repetition) {
    let same_tool = made.iter().filter(|before| before.call.tool == now.call.tool);
    let compared = same_tool.map(|before| (similarity(before, now), before));
    // The latest of equally near ones: `max_by` returns the last.
    let nearest = compared.max_by(|one, two| one.0.total_cmp(&two.0));
    let Some((similarity, before)) = nearest else {
        return (0.0, None, Repetition::None);
    };
    let repeats = similarity >= SIMILARITY_MIN
        && now.observation.as_fault() != Some(Fault::External);
    let repetition = if !repeats {
        Repetition::None
    } else if now.observation == before.observation {
        Repetition::WithoutNews
    } else if text::lists_documents(now.observation) {
        let new = crate::document_ids(now.observation).any(|id| !listed.contains(id));
        if new { Repetition::WithNews } else { Repetition::WithoutNews }
    } else {
        Repetition::WithNews
    };
    (similarity, Some(before.node), repetition)
}

fn similarity(one: &Made<'_>, two: &Made<'_>) -> f64 {
    if one.call.args == two.call.args {
        return 1.0;
    }
    let both = |count: fn(u32, u32) -> u32| -> u64 {
        let here = one
            .words
            .iter()
            .map(|(word, here)| count(*here, two.words.get(word).copied().unwrap_or(0)));
        here.map(u64::from).sum()
    };
    let total =
        |made: &Made<'_>| made.words.values().copied().map(u64::from).sum::<u64>();
    let shared = both(u32::min);
    let union = total(one) + total(two) - shared;
    if union == 0 { 0.0 } else { shared as f64 / union as f64 }
}

/// The words of all values in some arguments, with how often each stands there. Stop words
/// are left out, names of fields are not looked at.
fn words(args: &Value) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let mut open = vec![args];
    while let Some(value) = open.pop() {
        let leaf = match value {
            Value::Array(values) => {
                open.extend(values);
                continue;
            }
            Value::Object(fields) => {
                open.extend(fields.values());
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        };
        for term in text::terms(&leaf) {
            *counts.entry(term).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifiers::trajectory::check;

    #[test]
    fn repeats_are_bad_unless_they_bring_news() {
        check(
            &Repeat::default(),
            "
            call search who built the Bell Tower   | - 0
              [d1] Bell Tower: Ann Lee built it.
            call search Bell Tower: who built?     | bad 1
              [d1] Bell Tower: Ann Lee built it.
            call search Bell Tower built           | neutral 1
              [d2] Ann Lee: Born in Oslo.
            call search built Bell Tower           | bad 1
              [d2] Ann Lee: Born in Oslo.
              [d1] Bell Tower: Ann Lee built it.
            call search Ann Lee                    | - 0
              [d2] Ann Lee: Born in Oslo.
            call search Ann Lee && search Oslo     | - 1
              [d2] Ann Lee: Born in Oslo.
              --
              [d3] Oslo: A city.
            call open Ann Lee                      | - 0
              [d2] Ann Lee: Born in Oslo.
            answer Oslo                            |
            ",
        );
    }

    #[test]
    fn one_word_more_among_ten_is_a_repeat_and_two_are_not() {
        check(
            &Repeat::default(),
            "
            call search red fox cub den hill moor pond lake brook      | - 0
              [d1] Fox: It lives.
            call search red fox cub den hill moor pond lake brook wood | bad 0.9
              [d1] Fox: It lives.
            call search red fox cub den hill moor pond                 | - 0.777
              [d1] Fox: It lives.
            ",
        );
    }

    #[test]
    fn a_call_may_be_made_again_after_a_failure_outside() {
        check(
            &Repeat::default(),
            "
            call search Oslo                       | - 0
              fault external: the disk is gone
            call search Oslo                       | - 0
              (no documents)
            call search Oslo && search oslo        | bad 1
              (no documents)
              --
              (no documents)
            call count Oslo                        | - 0
              = 3 letters
            call count Oslo                        | neutral 1
              = 4 letters
            call count Oslo                        | bad 1
              = 4 letters
            ",
        );
    }
}
