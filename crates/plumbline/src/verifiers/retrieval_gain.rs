//! `retrieval-gain@1` and `retrieval-gain-gold@1`: what the step's calls brought to light.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::verifiers::{Finding, Path, judge_each};
use crate::{
    Fault, Gold, NodeId, Seen, Sight, Tree, Verdict, Verifier, VerifierError, VerifierId,
    Zero, text,
};

/// A new passage bears on the question if it shares this many of its terms, or all of them
/// where the question has fewer. One shared term is what any search brings.
const SHARED_TERMS_MIN: usize = 2;

/// Calls a step good if it shows the agent a document, not shown before, that bears on the
/// question: one that shares terms with it, or whose title the question or an earlier
/// observation names (a lead that was followed). Without such a document a step that asked
/// for documents is neutral. The value is how many such documents there are.
#[derive(Debug)]
pub struct RetrievalGain {
    id: VerifierId,
}

impl Default for RetrievalGain {
    fn default() -> Self {
        Self { id: VerifierId("retrieval-gain@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for RetrievalGain {
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
        let question = seen.task.prompt.as_str();
        let find = |path: &Path<'_>| {
            let bears = |passage: &text::Passage<'_>| bears_on(question, path, passage);
            find(path, "document that bears on the question", bears)
        };
        Ok(judge_each(self, tree, nodes, seen.task, find))
    }
}

/// As [`RetrievalGain`], with the gold's supporting documents as the ones that count.
#[derive(Debug)]
pub struct RetrievalGainGold {
    id: VerifierId,
}

impl Default for RetrievalGainGold {
    fn default() -> Self {
        Self { id: VerifierId("retrieval-gain-gold@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for RetrievalGainGold {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::GOLD
    }

    /// Fails if the task's gold lists no supporting documents.
    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let supporting: BTreeSet<&str> =
            seen.gold.map(Gold::supporting).unwrap_or_default().into_iter().collect();
        if supporting.is_empty() {
            let message = "its gold lists no supporting documents: add \"supporting\"";
            return Err(seen.lacks(&self.id, message));
        }
        let find = |path: &Path<'_>| {
            let supports = |passage: &text::Passage<'_>| supporting.contains(passage.id);
            find(path, "supporting document", supports)
        };
        Ok(judge_each(self, tree, nodes, seen.task, find))
    }
}

/// Counts the new passages that `counts` admits, each of which is one `noun`.
fn find(
    path: &Path<'_>,
    noun: &str,
    counts: impl Fn(&text::Passage<'_>) -> bool,
) -> Option<Finding> {
    let observations = &path.step.observations;
    if !observations.iter().any(text::lists_documents) {
        let outside = |fault| fault == Some(Fault::External);
        let failed = observations.iter().find(|o| outside(o.as_fault()))?;
        let reason = format!("the search failed outside: {}", failed.text());
        return Some(Finding::neutral(Zero::External, 0, reason));
    }
    let new = path.new_passages();
    let gained: Vec<&text::Passage<'_>> =
        new.iter().filter(|passage| counts(passage)).collect();
    let finding = match gained.as_slice() {
        [] => {
            let reason = match new.len() {
                0 => "the step shows no document that was not shown before".to_owned(),
                new => format!("none of the {new} new documents is a {noun}"),
            };
            Finding::neutral(Zero::Neutral, 0, reason)
        }
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let name = if first.title.is_empty() { first.id } else { first.title };
            Finding::good(gained.len(), format!("a new {noun}: {name:?}{more}"))
        }
    };
    Some(finding.resting_on(path.executions()))
}

fn bears_on(question: &str, path: &Path<'_>, passage: &text::Passage<'_>) -> bool {
    let asked: BTreeSet<String> = text::terms(question).into_iter().collect();
    let told: BTreeSet<String> =
        [passage.title, passage.text].into_iter().flat_map(text::terms).collect();
    let needed = SHARED_TERMS_MIN.min(asked.len()).max(1);
    if asked.intersection(&told).count() >= needed {
        return true;
    }
    // Word for word and with its capitals: a title of one word is a word like any other.
    let title: Vec<&str> = text::words(passage.title).map(|(_, word)| word).collect();
    let names = |text: &str| {
        let words: Vec<&str> = text::words(text).map(|(_, word)| word).collect();
        !title.is_empty() && words.windows(title.len()).any(|run| run == title)
    };
    let shown = path.earlier.iter().flat_map(|(_, step)| &step.observations);
    names(question) || shown.map(|observation| observation.text()).any(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifiers::trajectory::{check, refusal};

    #[test]
    fn new_documents_that_bear_on_the_question_are_good() {
        check(
            &RetrievalGain::default(),
            "
            ? Where was the designer of the Bell Tower born?
            call search Bell Tower                 | good 2
              [d1] Bell Tower: Ann Lee built it.
              [d2] Old Tower: It has a bell.
              [d3] Towers: They are tall.
            call search tower                      | neutral/neutral 0
              [d2] Old Tower: It has a bell.
            call search Ann Lee                    | good 1
              [d4] Ann Lee: A native of Oslo.
            call search banana                     | neutral/neutral 0
              [d5] Banana: A fruit.
            call search zzz                        | neutral/neutral 0
              (no documents)
            call search Oslo                       | neutral/external 0
              fault external: the disk is gone
            call search 7                          |
              fault bad-args: query is no text
            call open d3                           | good 1
              [d3] Towers: They are tall. A bell in a tower is heard far away.
            call count Oslo                        |
              = 4 letters
            answer Oslo                            |
            ",
        );
    }

    #[test]
    fn with_gold_only_supporting_documents_count() {
        check(
            &RetrievalGainGold::default(),
            r#"
            ? Where was the designer of the Bell Tower born?
            ! {"answer": "Oslo", "supporting": ["d1", "d4"]}
            call search Bell Tower                 | good 1
              [d1] Bell Tower: Ann Lee built it.
              [d2] Old Tower: It has a bell.
            call search tower && search Ann Lee    | good 1
              [d2] Old Tower: It has a bell.
              [d3] Towers: They are tall.
              --
              [d4] Ann Lee: A native of Oslo.
            call search Ann Lee                    | neutral/neutral 0
              [d4] Ann Lee: A native of Oslo.
            "#,
        );
        let refused = refusal(
            &RetrievalGainGold::default(),
            r#"
            ! {"answer": "Oslo"}
            answer Oslo                            |
            "#,
        );
        assert!(refused.contains("supporting"), "{refused}");
    }
}
