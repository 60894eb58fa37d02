//! PRLCoder: one statement changed, and everything executed again.
//!
//! "Process-Supervised Reinforcement Learning for Code Generation". Lines of reference
//! solutions are good; a line that a teacher has changed is bad if the tests fail with it. Here
//! the statements are the programs, queries and models of trajectories that came to a right
//! answer, and [`mutants`](crate::mutants) changes one of them at a time. The later messages are
//! kept and executed again; nothing is sampled. A mutant that fails is bad. One that still
//! passes is not shown to be wrong, which does not make it right (it may be equivalent, or
//! nothing tests it): it stays unknown, where the paper counts it as good.
//!
//! An answer that is kept word for word would be right whatever stands before it. Where the
//! changed statement is not the answer itself, the answer is therefore what the last kept call
//! shows: what a program prints, a model's optimum, else the text. That this is how the
//! trajectory came by its answer is tried first, without a change; where it is not, nothing is
//! changed before the answer. A changed message has no thought, which would speak of another
//! statement. `width` mutants a step, 8, of as many classes as there are: ours. What has no mutant is not
//! judged.

use std::collections::BTreeMap;

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Rollout};
use crate::mutants::{
    Columns, Mutant, python_cells, python_mutants, python_script, solver_mutants,
    sql_mutants, table_columns,
};
use crate::scale::Reading;
use crate::{Action, Evidence, NodeId, Observation, Step, StepLabel, ToolCall, Zero};

pub(super) const METHOD: Method = Method {
    name: "prlcoder",
    version: 1,
    paper: "Process-Supervised Reinforcement Learning for Code Generation",
    summary: "statements of right trajectories, and changed ones that fail",
    constants: Constants { width: Some(8), ..Constants::NONE },
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let columns = table_columns(explorer.environment(), explorer.task()).await?;
    for rollout in explorer.samples().await? {
        if !rollout.success {
            continue;
        }
        let steps = explorer.path(rollout.leaf);
        let mut follows = None;
        for (index, step) in steps.iter().enumerate() {
            let Some(statement) = Statement::of(step_of(explorer, *step)) else {
                continue;
            };
            let mutants = statement.mutants(&columns);
            if mutants.is_empty() {
                continue;
            }
            if follows.is_none() && *step != rollout.leaf {
                follows = Some(answer_follows(explorer, &steps).await?);
            }
            let is_tested = *step == rollout.leaf || follows == Some(true);
            let width = if is_tested { settings.width() as usize } else { 0 };
            let (mut made, mut failed) = (0, 0);
            for (class, action) in spread(mutants, width) {
                let message = explorer.environment().protocol().render(&action);
                let Some(message) = message else { continue };
                if let Some((mutant, end)) =
                    change(explorer, &steps, index, &message).await?
                {
                    made += 1;
                    failed += u32::from(!end.success);
                    explorer.judge(mutant, judged(class, end.success));
                }
            }
            explorer.judge(*step, original(is_tested, made, failed));
        }
    }
    Ok(())
}

fn step_of<'e>(explorer: &'e Explorer<'_>, node: NodeId) -> &'e Step {
    &explorer.tree().get(node).expect("it is on a path").step
}

/// Whether the answer is what the last step before it shows.
async fn answer_follows(
    explorer: &mut Explorer<'_>,
    steps: &[NodeId],
) -> Result<bool, ExploreError> {
    let [.., before, _] = steps else { return Ok(false) };
    let end = answer_from(explorer, *before).await?;
    Ok(end.is_some_and(|end| end.success))
}

/// Answers with what a step shows.
async fn answer_from(
    explorer: &mut Explorer<'_>,
    step: NodeId,
) -> Result<Option<Rollout>, ExploreError> {
    let observation = step_of(explorer, step).observations.last();
    let text = observation.map(shown).unwrap_or_default();
    let message = explorer.environment().protocol().render(&Action::Answer { text });
    let Some(message) = message else { return Ok(None) };
    match explorer.graft(Some(step), &message).await? {
        Some(answer) if explorer.is_end(answer) => explorer.finish(answer).await,
        _ => Ok(None),
    }
}

/// What a program prints, the optimum of a model, or else the whole text.
fn shown(observation: &Observation) -> String {
    let data = observation.data();
    match (data.get("stdout"), data.get("objective")) {
        (Some(Value::String(printed)), _) => printed.trim().to_owned(),
        (_, Some(Value::Number(optimum))) => optimum.to_string(),
        _ => observation.text().trim().to_owned(),
    }
}

/// Puts a message in the place of a step and has the later ones follow. `None` if something
/// outside stopped it.
async fn change(
    explorer: &mut Explorer<'_>,
    steps: &[NodeId],
    index: usize,
    message: &str,
) -> Result<Option<(NodeId, Rollout)>, ExploreError> {
    let before = index.checked_sub(1).map(|before| steps[before]);
    let Some(mutant) = explorer.graft(before, message).await? else { return Ok(None) };
    let mut at = mutant;
    let last = steps.len() - 1;
    for kept in steps.get(index + 1..last).unwrap_or_default() {
        if explorer.is_end(at) {
            break;
        }
        let message = step_of(explorer, *kept).proposal.text.clone();
        let Some(next) = explorer.graft(Some(at), &message).await? else {
            return Ok(None);
        };
        at = next;
    }
    let end = match explorer.is_end(at) {
        true => explorer.finish(at).await?,
        false => answer_from(explorer, at).await?,
    };
    Ok(end.map(|end| (mutant, end)))
}

/// A step that is one program, query or model.
#[derive(Debug)]
enum Statement<'s> {
    Program { call: &'s ToolCall, code: &'s str },
    Query { call: &'s ToolCall, sql: &'s str },
    Model { call: &'s ToolCall },
    Answer { text: &'s str },
}

impl<'s> Statement<'s> {
    fn of(step: &'s Step) -> Option<Self> {
        match &step.proposal.action {
            Action::Answer { text } => Some(Statement::Answer { text }),
            Action::Malformed { .. } => None,
            Action::Calls { calls } => {
                let [call] = calls.as_slice() else { return None };
                let text = |field: &str| call.args.get(field)?.as_str();
                match call.tool.as_str() {
                    "python" => Some(Statement::Program { call, code: text("code")? }),
                    "sql" => Some(Statement::Query { call, sql: text("query")? }),
                    "solve" => Some(Statement::Model { call }),
                    _ => None,
                }
            }
        }
    }

    /// What may stand in its place, each with the class of the change. None of an answer that
    /// is no query.
    fn mutants(&self, columns: &Columns) -> Vec<(&'static str, Action)> {
        let mutants = match self {
            Statement::Program { code, .. } => {
                let mutants = python_mutants(&python_script(&[code]), columns, "");
                // That one changes what is printed and no statement.
                mutants
                    .into_iter()
                    .filter(|mutant| mutant.class != "hard-coded")
                    .collect()
            }
            Statement::Query { sql, .. } => sql_mutants(sql, columns),
            Statement::Model { call } => solver_mutants(&call.args),
            Statement::Answer { text } => sql_mutants(text, columns),
        };
        let action = |text: String| match self {
            Statement::Program { call, .. } => {
                made(call, json!({ "code": python_cells(&text).join("\n") }))
            }
            Statement::Query { call, .. } => {
                let mut args = call.args.clone();
                args["query"] = text.into();
                made(call, args)
            }
            Statement::Model { call } => made(call, json!({ "lp": text })),
            Statement::Answer { .. } => Action::Answer { text },
        };
        let mutant = |Mutant { class, text, .. }: Mutant| (class, action(text));
        mutants.into_iter().map(mutant).collect()
    }
}

fn made(call: &ToolCall, args: Value) -> Action {
    Action::Calls { calls: vec![ToolCall { args, ..call.clone() }] }
}

/// So many of them: the first of each class, then the second of each, and so on.
fn spread<T>(mutants: Vec<(&'static str, T)>, width: usize) -> Vec<(&'static str, T)> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, (&'static str, T))> = Vec::with_capacity(mutants.len());
    for (class, mutant) in mutants {
        let rank = seen.entry(class).or_default();
        ranked.push((*rank, (class, mutant)));
        *rank += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, mutant)| mutant).take(width).collect()
}

fn judged(class: &str, passes: bool) -> Judged {
    let (reading, what) = match passes {
        false => (Reading::of(StepLabel::Bad), "fails"),
        true => (Reading::zero(Zero::Unknown), "still passes"),
    };
    Judged {
        value: json!({ "mutant": class, "passes": passes }),
        reading,
        reason: format!("the trajectory with this change, {class}, {what}"),
        evidence: vec![Evidence::Rollouts { sampled: 1, succeeded: passes.into() }],
    }
}

fn original(is_tested: bool, made: u32, failed: u32) -> Judged {
    Judged {
        value: json!({ "mutants": made, "failed": failed, "tested": is_tested }),
        reading: Reading::of(StepLabel::Good),
        reason: match is_tested {
            true => format!(
                "it is part of a right trajectory; {failed} of {made} changes of it fail"
            ),
            false => {
                "it is part of a right trajectory, whose answer does not follow from \
                      what was executed"
                    .to_owned()
            }
        },
        evidence: vec![Evidence::Rollouts { sampled: 1, succeeded: 1 }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_passes_is_not_shown_to_be_wrong() {
        assert_eq!(judged("shifted-constant", false).reading.label, Some(StepLabel::Bad));
        let passes = judged("renamed", true).reading;
        let unknown = (Some(StepLabel::Neutral), Some(Zero::Unknown));
        assert_eq!((passes.label, passes.zero), unknown);
        let kept = original(true, 3, 2);
        assert_eq!(kept.reading.label, Some(StepLabel::Good));
        assert_eq!(kept.value, json!({ "mutants": 3, "failed": 2, "tested": true }));
    }

    #[test]
    fn the_first_of_each_class_comes_first() {
        let mutants = vec![("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6)];
        assert_eq!(spread(mutants, 4), [("a", 1), ("b", 4), ("c", 5), ("a", 2)]);
    }

    #[test]
    fn what_a_call_shows_is_an_answer() {
        let of = |text: &str, data| Observation::Output { text: text.into(), data };
        assert_eq!(shown(&of("ran", json!({ "stdout": "42\n" }))), "42");
        assert_eq!(shown(&of("solved", json!({ "objective": 13.5 }))), "13.5");
        assert_eq!(shown(&of(" a table ", Value::Null)), "a table");
    }

    #[test]
    fn a_query_is_changed_in_its_call() {
        let args = json!({ "query": "SELECT name FROM ships WHERE tons > 5", "rows": 2 });
        let call = ToolCall { id: "call_0".into(), tool: "sql".into(), args };
        let sql = call.args["query"].as_str().expect("a text");
        let mutants = Statement::Query { call: &call, sql }.mutants(&Columns::new());
        let dropped = mutants.iter().find(|(class, _)| *class == "dropped-filter");
        let made = &dropped.expect("it has a filter").1.calls()[0];
        assert_eq!(made.args, json!({ "query": "SELECT name FROM ships", "rows": 2 }));
    }
}
