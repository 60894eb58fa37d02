//! Reward-SQL: the CTEs of a query as steps, each executed and gone on from.
//!
//! "Reward-SQL: Boosting Text-to-SQL via Stepwise Reasoning and Process-Supervised Rewards". A
//! query is a chain of CTEs and a final SELECT, and each CTE can be executed with those before
//! it. Here a trajectory that answers with such a query is told anew: in the place of its answer
//! come the CTEs, one a step, each showing the rows it comes to, and then the same answer. A CTE
//! is good if any of `rollouts` completions from behind it comes to the gold's rows, bad if none
//! does, and bad if it cannot be executed: then neither can those after it, which are not judged.
//! The answer is judged by its rows.
//!
//! The paper's labels are binary too; how many completions one rests on is not published, and 8
//! is Math-Shepherd's number. Its rows are equal as sets, ours as the gold's comparator says,
//! which counts duplicates. To choose one query of n by such steps is `best-of-n` with
//! the check `sql-prefix`, by the minimum as in the paper's final file. A chain that comes to the
//! end of the task's budget is judged as far as it went.

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::comparators::query_of;
use crate::query::{Part, Query};
use crate::scale::{Reading, Rollouts, from_binary};
use crate::{Action, Evidence, Fault, NodeId, Observation, ToolCall};

pub(super) const METHOD: Method = Method {
    name: "reward-sql",
    version: 1,
    paper: "Reward-SQL: Boosting Text-to-SQL via Stepwise Reasoning and Process-Supervised Rewards",
    summary: "each CTE of a query as a step, judged by completions after it",
    constants: Constants { rollouts: Some(8), ..Constants::NONE },
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: Some(Number::Chance("chance")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    for trajectory in explorer.trajectories().await? {
        let leaf = *trajectory.last().expect("it has a step");
        let proposal = &explorer.tree().get(leaf).expect("it is a leaf").step.proposal;
        let Action::Answer { text } = &proposal.action else { continue };
        let Some(query) = Query::parse(query_of(text)) else { continue };
        let message = proposal.text.clone();
        tell(explorer, leaf, &query.ctes(), &message).await?;
    }
    Ok(())
}

/// Puts the CTEs of an answer in its place, then the answer again, and judges them.
async fn tell(
    explorer: &mut Explorer<'_>,
    answer: NodeId,
    ctes: &[Part],
    message: &str,
) -> Result<(), ExploreError> {
    let mut at = explorer.tree().get(answer).expect("it is a leaf").parent;
    for cte in ctes {
        let call = ToolCall {
            id: "call_0".to_owned(),
            tool: "sql".to_owned(),
            args: json!({ "query": cte.rows }),
        };
        let calls = vec![call];
        let rendered = explorer.environment().protocol().render(&Action::Calls { calls });
        let Some(rendered) = rendered else { return Ok(()) };
        let Some(step) = explorer.graft(at, &rendered).await? else { return Ok(()) };
        let node = explorer.tree().get(step).expect("it was just made");
        let shown = node.step.observations.last().cloned();
        let Some(shown) = shown.filter(|_| !explorer.is_end(step)) else {
            return Ok(());
        };
        match shown.as_fault() {
            None => {
                let k = explorer.settings().rollouts();
                let chance = explorer.chance(Some(step), k).await?;
                explorer.judge(step, completed(cte, &shown, chance));
            }
            Some(fault) => {
                explorer.judge(step, broken(cte, fault, step));
                return Ok(());
            }
        }
        at = Some(step);
    }
    let again = match ctes {
        [] => Some(answer),
        _ => explorer.graft(at, message).await?,
    };
    let Some(again) = again.filter(|again| explorer.is_end(*again)) else {
        return Ok(());
    };
    if let Some(end) = explorer.finish(again).await? {
        explorer.judge(again, answered(end.success, ctes.len()));
    }
    Ok(())
}

fn completed(cte: &Part, shown: &Observation, chance: Rollouts) -> Judged {
    let Rollouts { sampled, succeeded } = chance;
    let any = (sampled > 0).then_some(succeeded > 0);
    let rows = shown.data().get("rows").and_then(Value::as_array).map(Vec::len);
    Judged {
        value: json!({
            "cte": cte.name,
            "rows": rows,
            "chance": any.map(|_| chance.share()),
        }),
        reading: from_binary(any),
        reason: format!(
            "after {} {succeeded} of {sampled} completions are right",
            cte.name
        ),
        evidence: vec![Evidence::Rollouts { sampled, succeeded }],
    }
}

fn broken(cte: &Part, fault: Fault, node: NodeId) -> Judged {
    let reading = match fault {
        Fault::External => Reading::zero(crate::Zero::External),
        _ => from_binary(Some(false)),
    };
    Judged {
        value: json!({ "cte": cte.name, "rows": null, "chance": null }),
        reading,
        reason: format!("{} cannot be executed", cte.name),
        evidence: vec![Evidence::Step { node }],
    }
}

fn answered(success: bool, ctes: usize) -> Judged {
    let outcome = if success { "right" } else { "wrong" };
    Judged {
        value: json!({ "right": success, "ctes": ctes }),
        reading: from_binary(Some(success)),
        reason: format!("the query, of {ctes} CTEs, is {outcome}"),
        evidence: vec![Evidence::Rollouts { sampled: 1, succeeded: success.into() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepLabel::{Bad, Good};

    #[test]
    fn a_cte_is_good_if_any_completion_after_it_is_right() {
        let sql = "WITH old AS (SELECT 1), few AS (SELECT 2 FROM old) SELECT * FROM few";
        let ctes = Query::parse(sql).expect("a query").ctes();
        assert_eq!(
            ctes[1].rows,
            "WITH old AS (SELECT 1), few AS (SELECT 2 FROM old) SELECT * FROM few"
        );
        let data = json!({ "rows": [[2]] });
        let shown = Observation::Output { text: "2".into(), data };
        let of = |sampled, succeeded| {
            let chance = Rollouts { sampled, succeeded };
            completed(&ctes[1], &shown, chance).reading.label
        };
        assert_eq!((of(8, 1), of(8, 0), of(0, 0)), (Some(Good), Some(Bad), None));
        assert_eq!(broken(&ctes[0], Fault::Trap, NodeId(3)).reading.label, Some(Bad));
        assert_eq!(broken(&ctes[0], Fault::External, NodeId(3)).reading.zero, {
            Some(crate::Zero::External)
        });
        assert_eq!(answered(true, 2).value, json!({ "right": true, "ctes": 2 }));
    }
}
