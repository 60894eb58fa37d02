//! Comparators: how an answer is held against the gold, one file each, all of them pure.
//!
//! Gold names its comparator in the field `comparator`, `{"type": "number", ...}`; without
//! one, answers are compared as texts. Each gives two judgements, a strict and a relaxed one,
//! and says in its documentation what it takes for equal.
//!
//! Some answers mean nothing until they are executed: a query, for instance. Their comparator
//! names the [calls](Comparator::calls) that do so, whoever compares makes them on a fork of
//! the state in which the answer was given, and the comparator reads what they came to.

mod dabench;
mod number;
mod objective;
mod program;
mod table;
mod text;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Gold, Observation, ToolCall};

pub use dabench::Dabench;
pub(crate) use dabench::values as named_values;
pub use number::{Number, parse_number};
pub(crate) use number::{is_telling, numbers, rounds_to};
pub use objective::Objective;
pub use program::Program;
pub use table::Table;
pub(crate) use table::query_of;
pub use text::{Text, exact_match, normalise_answer, token_f1};

/// How an answer is held against the gold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Comparator {
    /// As words.
    Text(Text),
    /// As a number, with tolerances.
    Number(Number),
    /// As named values, `@name[value]`.
    Dabench(Dabench),
    /// As queries, by the tables that they return.
    Table(Table),
    /// As programs, by the tests that they pass.
    Program(Program),
    /// As the optimum of a model, which is solved.
    Objective(Objective),
}

/// What holding an answer against the gold came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Equal under the comparator's strict semantics.
    pub strict: bool,
    /// Equal under its relaxed semantics; true wherever `strict` is.
    pub relaxed: bool,
    /// How near the answer is, 0 to 1; 1 wherever `strict` is true.
    pub value: f64,
    /// One sentence for people, without the name of the answerer.
    pub reason: String,
}

/// The comparator that a gold names cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("field \"comparator\": {0}")]
pub struct ComparatorError(String);

impl ComparatorError {
    /// What is wrong with the field, for whoever names it in full.
    pub(crate) fn problem(&self) -> String {
        format!("names no comparator: {}", self.0)
    }
}

impl Comparator {
    /// The comparator that a gold names; [`Text`] if it names none.
    pub fn of(gold: &Gold) -> Result<Self, ComparatorError> {
        match gold.0.get("comparator") {
            None | Some(Value::Null) => Ok(Comparator::Text(Text {})),
            Some(named) => serde_json::from_value(named.clone())
                .map_err(|error| ComparatorError(error.to_string())),
        }
    }

    /// The calls whose observations [`compare`](Self::compare) has to be given, in order.
    pub fn calls(&self, answer: &str, gold: &Gold) -> Vec<ToolCall> {
        match self {
            Comparator::Text(_) | Comparator::Number(_) | Comparator::Dabench(_) => {
                vec![]
            }
            Comparator::Table(table) => table.calls(answer, gold),
            Comparator::Objective(_) => Objective::calls(gold),
            Comparator::Program(_) => Program::calls(answer, gold),
        }
    }

    /// Whether comparing takes executing.
    pub fn executes(&self) -> bool {
        match self {
            Comparator::Text(_) | Comparator::Number(_) | Comparator::Dabench(_) => false,
            Comparator::Table(_) => true,
            Comparator::Objective(_) => true,
            Comparator::Program(_) => true,
        }
    }

    /// Holds an answer against the gold. `observed` is what the [calls](Self::calls) for the
    /// same answer and gold came to.
    pub fn compare(
        &self,
        answer: &str,
        gold: &Gold,
        observed: &[Observation],
    ) -> Comparison {
        match self {
            Comparator::Text(text) => text.compare(answer, &gold.answers()),
            Comparator::Number(number) => number.compare(answer, &gold.answers()),
            Comparator::Dabench(dabench) => dabench.compare(answer, &gold.answers()),
            Comparator::Table(table) => table.compare(gold, observed),
            Comparator::Objective(objective) => objective.compare(answer, gold, observed),
            Comparator::Program(_) => Program::compare(gold, observed),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn gold_names_its_comparator_and_a_misspelt_one_is_refused() {
        let of = |gold| Comparator::of(&Gold(gold));
        let text = of(json!({ "answer": "Oslo" })).expect("text is the default");
        assert_eq!(text, Comparator::Text(Text {}));
        let number = json!({ "comparator": { "type": "number", "relative": 0.01 } });
        let number = of(number).expect("a comparator with one setting of two");
        assert!(number.compare("100.5", &Gold(json!({ "answer": "100" })), &[]).strict);
        for wrong in [
            json!({ "type": "numbr" }),
            json!({ "type": "number", "relativ": 1 }),
            json!(3),
        ] {
            let refused = of(json!({ "comparator": wrong })).expect_err("no comparator");
            assert!(refused.to_string().contains("comparator"), "{refused}");
        }
    }
}
