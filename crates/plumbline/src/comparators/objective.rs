//! Answers to optimisation problems: the optimal value, and the point if one is reported.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::comparators::{Comparison, Number, parse_number};
use crate::program::{Program, Size, read};
use crate::{Gold, Observation, ToolCall};

/// What a reported point may violate, absolute or relative to a limit's size.
const FEASIBLE: f64 = 1e-4;

/// Compares an answer with the optimum of the gold's model.
///
/// The gold's field `model` holds the arguments of a `solve` call; the call is made, and what
/// it comes to is the optimum. It must agree with the gold's `answer`, which is held against
/// where there is no model. The objective is compared as [`Number`] compares, with these
/// tolerances. An answer may report a point too, as `name = number` for every variable of the
/// gold's model, with the objective as `objective = number` or as the only other number:
/// then it is strictly right only if that point is feasible in the gold's model and the
/// objective has the reported value there. The reason says on which side of the optimum, the
/// bound of every feasible point, a wrong objective lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objective {
    /// The largest difference that counts as none.
    pub absolute: f64,
    /// The same as a share of the optimum.
    pub relative: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Self { absolute: 1e-4, relative: 1e-4 }
    }
}

impl Objective {
    /// The solve of the gold's model.
    pub(super) fn calls(gold: &Gold) -> Vec<ToolCall> {
        let model = gold.0.get("model").filter(|model| model.is_object());
        let call = |model: &Value| ToolCall {
            id: "gold".to_owned(),
            tool: "solve".to_owned(),
            args: model.clone(),
        };
        model.map(call).into_iter().collect()
    }

    /// Holds an answer against the gold; `observed` is what the gold's model came to.
    pub(super) fn compare(
        &self,
        answer: &str,
        gold: &Gold,
        observed: &[Observation],
    ) -> Comparison {
        let number = Number { absolute: self.absolute, relative: self.relative };
        let wrong = |reason: String| Comparison {
            strict: false,
            relaxed: false,
            value: 0.0,
            reason,
        };
        let recorded = gold.answers().into_iter().find_map(parse_number);
        let solved = observed.first().map(|o| o.data().get("objective"));
        let optimum = match (solved, recorded) {
            (None, Some(recorded)) => recorded,
            (None, None) => return wrong("the gold answer is no number".to_owned()),
            (Some(solved), recorded) => {
                let Some(solved) = solved.and_then(Value::as_f64) else {
                    return wrong("the gold's model has no optimum".to_owned());
                };
                let agrees = |recorded: f64| {
                    number.compare(&recorded.to_string(), &[&solved.to_string()]).strict
                };
                if recorded.is_some_and(|recorded| !agrees(recorded)) {
                    return wrong(format!(
                        "the gold's model comes to {solved}, not to its answer"
                    ));
                }
                solved
            }
        };
        let program = gold.0.get("model").map(|model| read(model, &Size::default()));
        let program = program.and_then(Result::ok);
        let (objective, point) = reported(answer, program.as_ref());
        let mut compared = number.compare(&objective, &[&optimum.to_string()]);
        if let Some(found) = parse_number(&objective).filter(|_| !compared.relaxed) {
            let sense = program.as_ref().map(|program| program.sense);
            let side = match sense.map(|sense| sense.prefers(found, optimum)) {
                Some(true) => ", which no feasible point reaches",
                Some(false) => ", which is worse than the optimum",
                None => "",
            };
            compared.reason = format!("the optimum is {optimum}, not {found}{side}");
        }
        let (Some(program), Some(point)) = (program, point) else { return compared };
        let there = program.objective(&point);
        if let Some(violation) = program.violation(&point, FEASIBLE) {
            compared.reason = format!("the reported point is infeasible: {violation}");
            compared.strict = false;
        } else if !number.compare(&there.to_string(), &[&optimum.to_string()]).relaxed {
            compared.reason = format!("the objective is {there} at the reported point");
            compared.strict = false;
        }
        if !compared.strict {
            compared.value = compared.value.min(0.99);
        }
        compared
    }
}

/// The objective that an answer reports, as text, and its point in the order of the program's
/// columns, if it names every one of them.
fn reported(answer: &str, program: Option<&Program>) -> (String, Option<Vec<f64>>) {
    let Some(program) = program.filter(|_| answer.contains(['=', ':'])) else {
        return (answer.to_owned(), None);
    };
    let mut values: BTreeMap<String, f64> = BTreeMap::new();
    let mut rest: Vec<&str> = Vec::new();
    for part in answer.split(['\n', ';']).flat_map(|line| line.split(", ")) {
        let named = part.split_once(['=', ':']).and_then(|(name, number)| {
            Some((plain(name), parse_number(number.trim().trim_end_matches(','))?))
        });
        match named {
            Some((name, number)) => {
                values.insert(name, number);
            }
            None => rest.push(part),
        }
    }
    let point: Option<Vec<f64>> = (program.columns.iter())
        .map(|column| values.get(&plain(&column.name)).copied())
        .collect();
    let objective = ["objective", "optimum", "value", "total"]
        .iter()
        .find_map(|name| values.get(*name))
        .map(f64::to_string);
    let objective = objective.unwrap_or_else(|| match &point {
        // A point alone reports the objective that it has.
        Some(point) if rest.iter().all(|part| part.trim().is_empty()) => {
            program.objective(point).to_string()
        }
        Some(_) => rest.join(" ").trim().to_owned(),
        None => answer.to_owned(),
    });
    (objective, point)
}

/// A name without case and signs, so that `ship[a, b]` is `shipab`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gold() -> Gold {
        Gold(json!({
            "answer": "12",
            "model": {"lp": "max 3 x + 2 y\nst\n x + y <= 4\n x <= 3\ngeneral\n x\nend"}
        }))
    }

    fn solved(objective: f64) -> Vec<Observation> {
        let data = json!({"status": "optimal", "objective": objective});
        vec![Observation::Output { text: String::new(), data }]
    }

    #[test]
    fn an_objective_is_right_wherever_its_point_is_feasible() {
        let gold = Gold(json!({"answer": "11", "model": gold().0["model"]}));
        for (answer, strict, relaxed) in [
            ("11", true, true),
            ("$11.0001", true, true),
            ("The optimum is 11", false, true),
            ("x = 3, y = 1", true, true),
            ("x = 3\ny = 1\nobjective = 11", true, true),
            ("x: 3; y: 1; total: 11", true, true),
            ("x = 3, y = 2, objective = 11", false, true),
            ("x = 2.5, y = 1.5, objective = 11", false, true),
            ("x = 0, y = 0, objective = 11", false, true),
            ("x = 3, y = 1, objective = 13", false, false),
            ("13", false, false),
            ("10", false, false),
            ("", false, false),
        ] {
            let found = Objective::default().compare(answer, &gold, &solved(11.0));
            assert_eq!(
                (found.strict, found.relaxed),
                (strict, relaxed),
                "{answer:?} {found:?}"
            );
            assert!(found.value <= 1.0 && (found.value == 1.0 || !strict), "{found:?}");
        }
        let better = Objective::default().compare("13", &gold, &solved(11.0)).reason;
        assert_eq!(better, "the optimum is 11, not 13, which no feasible point reaches");
    }

    #[test]
    fn gold_must_agree_with_what_its_model_comes_to() {
        let found = Objective::default().compare("12", &gold(), &solved(11.0));
        assert!(!found.strict && found.reason.contains("not to its answer"), "{found:?}");
        let fault = Observation::fault(crate::Fault::Limit, "too many nodes");
        let found = Objective::default().compare("12", &gold(), &[fault]);
        assert!(found.reason.contains("no optimum"), "{found:?}");
        let unmodelled = Gold(json!({"answer": "12"}));
        assert!(Objective::calls(&unmodelled).is_empty());
        assert!(Objective::default().compare("12", &unmodelled, &[]).strict);
    }
}
