//! `well-formed@2`: the message is an action that could be carried out.

use async_trait::async_trait;

use crate::verifiers::{Finding, Path, judge_each};
use crate::{
    Action, Evidence, Fault, NodeId, Observation, Seen, Sight, Step, Tree, Verdict,
    Verifier, VerifierError, VerifierId,
};

/// Calls a step bad if its message could not be read, or a call in it names no tool or does
/// not fit the tool's schema, or if it answers twice, or answers and calls a tool as well:
/// whoever says two things may be right by either. The value is whether all is well; a well-formed message gets
/// no label, for that alone is no merit.
#[derive(Debug)]
pub struct WellFormed {
    id: VerifierId,
}

impl Default for WellFormed {
    fn default() -> Self {
        Self { id: VerifierId("well-formed@2".to_owned()) }
    }
}

#[async_trait]
impl Verifier for WellFormed {
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

fn find(path: &Path<'_>) -> Option<Finding> {
    let Path { node, step, .. } = path;
    // The whole message: what cannot be read has no smaller part to point at.
    let message = Evidence::message(*node, step);
    if let Action::Malformed { reason } = &step.proposal.action {
        let reason = format!("the message could not be read: {reason}");
        return Some(Finding::bad(false, reason).resting_on(vec![message]));
    }
    if let Some(reason) = hedged(step) {
        return Some(Finding::bad(false, reason).resting_on(vec![message]));
    }
    let unfit = |observation: &&Observation| {
        use Fault::{BadArgs, Malformed, UnknownTool};
        matches!(observation.as_fault(), Some(Malformed | UnknownTool | BadArgs))
    };
    let Some(observation) = step.observations.iter().find(unfit) else {
        return Some(Finding::unlabelled(true, "the message is well-formed".to_owned()));
    };
    let reason = format!("the message could not be carried out: {}", observation.text());
    let mut evidence = vec![message];
    evidence.extend(path.executions());
    Some(Finding::bad(false, reason).resting_on(evidence))
}

/// What an answering message says besides its answer, in the tags of the protocols that have
/// any.
fn hedged(step: &Step) -> Option<String> {
    let Action::Answer { .. } = &step.proposal.action else { return None };
    let text = step.proposal.text.as_str();
    let answers: Vec<&str> = text
        .split("<answer>")
        .skip(1)
        .map(|after| after.split("</answer>").next().unwrap_or("").trim())
        .collect();
    let (first, others) = answers.split_first()?;
    if others.iter().any(|other| other != first) {
        return Some(format!("the message gives {} answers", answers.len()));
    }
    let calls = ["<tool_call>", "<search>"].into_iter().find(|tag| text.contains(tag));
    calls.map(|tag| format!("the message answers, and holds {tag} as well"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifiers::trajectory::check;

    #[test]
    fn what_cannot_be_read_or_carried_out_is_bad() {
        check(
            &WellFormed::default(),
            "
            malformed no call in it                | bad false
            call search a bell                     | - true
              [d1] Bell: It rings.
            call serach a bell                     | bad false
              fault unknown-tool: there is no serach
            call search a bell && search a tower   | bad false
              [d1] Bell: It rings.
              --
              fault bad-args: query is missing
            call search a bell                     | - true
              fault external: the disk is gone
            answer Oslo                            | - true
            ",
        );
        for (words, expect) in [
            ("<answer>Oslo</answer> or rather <answer>Bergen</answer>", "bad false"),
            ("<answer>Oslo</answer> <tool_call>{}</tool_call>", "bad false"),
            ("I think so.", "- true"),
        ] {
            let trajectory = format!("\nsay {words}\nanswer Oslo | {expect}\n");
            check(&WellFormed::default(), &trajectory);
        }
    }
}
