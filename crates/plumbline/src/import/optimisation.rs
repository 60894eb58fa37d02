//! Optimisation word problems with the optimal value: NL4OPT, NLP4LP and MAMO; and the formal
//! programs that NL4OPT declares.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::record::Record;
use super::{FormatError, ImportError};
use crate::program::{Column, INFINITE, Program, Row, Sense};
use crate::{Gold, Task, TaskId};

/// A published layout of optimisation problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemFormat {
    /// `en_question` and `en_answer`, as published with ORLM (Huang et al., 2024).
    Nl4Opt,
    /// `description` and `solution.objective`.
    Nlp4Lp,
    /// `en_question` and `en_answer`.
    Mamo,
}

impl ProblemFormat {
    /// Every format, in the order they are listed to users.
    pub const ALL: [ProblemFormat; 3] =
        [ProblemFormat::Nl4Opt, ProblemFormat::Nlp4Lp, ProblemFormat::Mamo];

    /// The name on the command line, which also begins the ids of problems.
    pub fn name(self) -> &'static str {
        match self {
            ProblemFormat::Nl4Opt => "nl4opt",
            ProblemFormat::Nlp4Lp => "nlp4lp",
            ProblemFormat::Mamo => "mamo",
        }
    }

    /// Reads the problem that is the `number`th of its file; `None` for one without a
    /// recorded optimum, which nothing could be held against.
    pub fn read(
        self,
        record: &Record,
        number: u64,
    ) -> Result<Option<(Task, Gold)>, ImportError> {
        let (prompt, answer) = match self {
            ProblemFormat::Nl4Opt | ProblemFormat::Mamo => {
                let answer = record.field("en_answer");
                (record.field("en_question").filled_text()?, answer.value().clone())
            }
            ProblemFormat::Nlp4Lp => {
                let objective = record.field("solution").get("objective");
                (record.field("description").filled_text()?, objective.value().clone())
            }
        };
        let answer = match &answer {
            Value::String(text) => text.trim().parse::<f64>().ok(),
            other => other.as_f64(),
        };
        // An optimum of 1e35 is how an unbounded program was written down.
        let Some(answer) = answer.filter(|answer| answer.abs() < INFINITE) else {
            return Ok(None);
        };
        let id = match record.field("id").value() {
            Value::String(id) if !id.trim().is_empty() => {
                format!("{self}-{}", id.trim().replace(':', "-"))
            }
            _ => format!("{self}-{number:03}"),
        };
        let gold = json!({
            "id": id,
            "answer": answer.to_string(),
            "comparator": { "type": "objective" },
        });
        let prompt = prompt.to_owned();
        let task = Task { id: TaskId(id), prompt, inputs: Value::Null };
        Ok(Some((task, Gold(gold))))
    }
}

impl fmt::Display for ProblemFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ProblemFormat {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| FormatError(name.to_owned()))
    }
}

/// The linear program that an NL4OPT gold declaration states (Ramamonjison et al., 2022): an
/// object with `vars`, `obj_declaration` and `const_declarations`. Its columns are continuous
/// and not negative, for a declaration does not say which of them are whole numbers.
///
/// Fails with a sentence naming what cannot be read.
pub fn declared(declaration: &Value) -> Result<Program, String> {
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut names = texts(&declaration["vars"]);
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() {
        return Err("vars: there are none".to_owned());
    }
    let column = |mention: &str| find(mention, &names, declaration);
    let objective = &declaration["obj_declaration"];
    let direction = objective["direction"].as_str().unwrap_or_default().to_lowercase();
    let minimises = ["min", "reduce", "decrease", "low", "least", "small"];
    let sense = match minimises.iter().any(|word| direction.starts_with(word)) {
        true => Sense::Minimize,
        false => Sense::Maximize,
    };
    let mut costs = vec![0.0; names.len()];
    for (mention, number) in terms(&objective["terms"])? {
        costs[column(&mention)?] += number;
    }
    for mention in texts(&objective["vars"]) {
        costs[column(&mention)?] += 1.0;
    }
    let columns = names.iter().zip(&costs).map(|(name, cost)| Column {
        name: name.clone(),
        cost: *cost,
        lower: 0.0,
        upper: f64::INFINITY,
        integer: false,
    });
    let constraints = declaration["const_declarations"].as_array();
    let constraints = constraints.ok_or("const_declarations: must be a list")?;
    let mut rows = Vec::new();
    for (number, constraint) in (1..).zip(constraints) {
        let row = row(constraint, names.len(), &column);
        let row = row.map_err(|message| format!("const_declarations: {message}"))?;
        rows.push(Row { name: format!("c{number}"), ..row });
    }
    Ok(Program { sense, offset: 0.0, columns: columns.collect(), rows })
}

fn row(
    constraint: &Value,
    count: usize,
    column: &dyn Fn(&str) -> Result<usize, String>,
) -> Result<Row, String> {
    let text = |field: &str| {
        let text = constraint[field].as_str();
        text.ok_or_else(|| format!("{field} is missing"))
    };
    let number_in = |field: &str| number(text(field)?);
    let mut coefficients = vec![0.0; count];
    let limit = match text("type")? {
        "linear" => {
            for (mention, number) in terms(&constraint["terms"])? {
                coefficients[column(&mention)?] += number;
            }
            number_in("limit")?
        }
        "lowerbound" | "upperbound" => {
            coefficients[column(text("var")?)?] = 1.0;
            number_in("limit")?
        }
        "sum" => {
            coefficients.fill(1.0);
            number_in("limit")?
        }
        "xy" => {
            coefficients[column(text("x_var")?)?] += 1.0;
            coefficients[column(text("y_var")?)?] -= 1.0;
            0.0
        }
        "xby" => {
            coefficients[column(text("x_var")?)?] += 1.0;
            coefficients[column(text("y_var")?)?] -= number_in("param")?;
            0.0
        }
        "ratio" => {
            // A share beyond the whole is a percentage whose sign was left out.
            let share = number_in("limit")?;
            let share = if share > 1.0 { share / 100.0 } else { share };
            coefficients.fill(-share);
            coefficients[column(text("var")?)?] += 1.0;
            0.0
        }
        other => return Err(format!("the type {other:?} is not known")),
    };
    let (lower, upper) = match text("operator")? {
        "LESS_OR_EQUAL" => (f64::NEG_INFINITY, limit),
        "GREATER_OR_EQUAL" => (limit, f64::INFINITY),
        "EQUAL" => (limit, limit),
        other => return Err(format!("the operator {other:?} is not known")),
    };
    let terms = (0..).zip(coefficients).filter(|(_, value)| *value != 0.0);
    Ok(Row { name: String::new(), lower, upper, terms: terms.collect() })
}

/// The column that a mention stands for: the variable of that name, letter case and plural
/// aside; else the one that the declaration maps it to; else the only one whose name holds
/// it or is held by it.
fn find(mention: &str, names: &[String], declaration: &Value) -> Result<usize, String> {
    let plain = |name: &str| {
        let name = name.trim().trim_end_matches('.').to_lowercase();
        name.strip_suffix('s').map_or(name.clone(), str::to_owned)
    };
    if let Some(at) = names.iter().position(|name| plain(name) == plain(mention)) {
        return Ok(at);
    }
    let mapped = declaration["var_mention_to_first_var"][mention].as_str();
    if let Some(at) = mapped.and_then(|first| names.iter().position(|n| n == first)) {
        return Ok(at);
    }
    let mention = plain(mention);
    let mut alike = (0..names.len()).filter(|at| {
        let name = plain(&names[*at]);
        name.contains(&mention) || mention.contains(&name)
    });
    match (alike.next(), alike.next()) {
        (Some(at), None) => Ok(at),
        _ => Err(format!("{mention:?} is none of the variables")),
    }
}

fn terms(value: &Value) -> Result<Vec<(String, f64)>, String> {
    let terms = value.as_object().into_iter().flatten();
    terms
        .map(|(mention, text)| {
            let text =
                text.as_str().ok_or_else(|| format!("terms: {text} is no text"))?;
            Ok((mention.clone(), number(text)?))
        })
        .collect()
}

/// A number as the declarations write it: digits with commas, a currency sign, percent,
/// a fraction, a number word, and "times" after any of them.
fn number(text: &str) -> Result<f64, String> {
    const WORDS: [(&str, f64); 27] = [
        ("twice", 2.0),
        ("double", 2.0),
        ("triple", 3.0),
        ("thrice", 3.0),
        ("half", 0.5),
        ("third", 1.0 / 3.0),
        ("quarter", 0.25),
        ("fourth", 0.25),
        ("fifth", 0.2),
        ("one", 1.0),
        ("two", 2.0),
        ("three", 3.0),
        ("four", 4.0),
        ("five", 5.0),
        ("six", 6.0),
        ("seven", 7.0),
        ("eight", 8.0),
        ("nine", 9.0),
        ("ten", 10.0),
        ("twelve", 12.0),
        ("fifteen", 15.0),
        ("twenty", 20.0),
        ("thirty", 30.0),
        ("fifty", 50.0),
        ("hundred", 100.0),
        ("thousand", 1e3),
        ("million", 1e6),
    ];
    // "one hundred thousand": each larger word multiplies what stands before it.
    let spelt_out = |text: &str| {
        let mut words = text.split_whitespace();
        let first = words.next()?;
        let mut rest = std::iter::once(first).chain(words);
        rest.try_fold(1.0, |product: f64, word| {
            let known = WORDS.iter().find(|(known, _)| *known == word);
            known.map(|(_, number)| product * number)
        })
    };
    // "8000 minutes".
    let with_unit = |text: &str| {
        let (digits, unit) = text.split_once(' ')?;
        let is_unit = unit.chars().all(char::is_alphabetic);
        digits.parse::<f64>().ok().filter(|_| is_unit)
    };
    let lower = text.trim().to_lowercase().replace([',', '$'], "");
    let lower = lower.trim_end_matches("times").trim();
    let (lower, divisor) = match lower.strip_suffix("percent").or(lower.strip_suffix('%'))
    {
        Some(rest) => (rest.trim(), 100.0),
        None => (lower, 1.0),
    };
    let word = ["a ", "an ", "one ", "one-"]
        .iter()
        .find_map(|article| lower.strip_prefix(article))
        .unwrap_or(lower);
    let known = WORDS.iter().find(|(known, _)| *known == word || *known == lower);
    let quotient = || {
        let (above, below) = lower.split_once('/')?;
        Some(above.trim().parse::<f64>().ok()? / below.trim().parse::<f64>().ok()?)
    };
    let number = known
        .map(|(_, number)| *number)
        .or_else(|| lower.trim_end_matches('.').parse().ok())
        .or_else(quotient)
        .or_else(|| spelt_out(lower))
        .or_else(|| with_unit(lower))
        .filter(|number: &f64| number.is_finite());
    number.map(|number| number / divisor).ok_or_else(|| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::lp;

    #[test]
    fn numbers_are_read_as_declarations_write_them() {
        for (text, expect) in [
            ("400,000", 400000.0),
            ("$12.5", 12.5),
            ("70%", 0.7),
            ("35 percent", 0.35),
            ("1.5 times", 1.5),
            ("a third", 1.0 / 3.0),
            ("one-third", 1.0 / 3.0),
            ("three times", 3.0),
            ("twice", 2.0),
            ("1/2", 0.5),
            ("fifteen", 15.0),
            ("six", 6.0),
            ("one hundred thousand", 1e5),
            ("8000 minutes", 8000.0),
        ] {
            assert_eq!(number(text), Ok(expect), "{text:?}");
        }
        for text in ["", "many", "1/0", "1e999", "times"] {
            assert!(number(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_declaration_becomes_a_program() {
        let declaration = json!({
            "vars": ["sled dogs", "trucks"],
            "var_mention_to_first_var": { "lorry": "trucks" },
            "obj_declaration": { "type": "objective", "direction": "maximize",
                "terms": { "sled dog": "100", "lorry": "300" } },
            "const_declarations": [
                { "type": "linear", "limit": "1000", "operator": "LESS_OR_EQUAL",
                    "terms": { "sled dogs": "50", "Trucks": "100" } },
                { "type": "xby", "x_var": "sled", "param": "twice", "y_var": "truck",
                    "operator": "GREATER_OR_EQUAL" },
                { "type": "ratio", "var": "trucks", "limit": "60",
                    "operator": "LESS_OR_EQUAL" },
                { "type": "sum", "limit": "30", "operator": "LESS_OR_EQUAL" },
            ],
        });
        let program = declared(&declaration).expect("a program");
        let expect = "max 100 sled + 300 trucks\nst\n c1: 50 sled + 100 trucks <= 1000\n \
            c2: sled - 2 trucks >= 0\n c3: -0.6 sled + 0.4 trucks <= 0\n \
            c4: sled + trucks <= 30\nend";
        let expect = lp::read(expect, &Default::default()).expect("an LP file");
        assert_eq!(program.rows, expect.rows);
        let costs = |p: &Program| p.columns.iter().map(|c| c.cost).collect::<Vec<_>>();
        assert_eq!(costs(&program), costs(&expect));
        let mut wrong = declaration.clone();
        wrong["const_declarations"][0]["terms"] = json!({ "boat": "1" });
        assert!(declared(&wrong).expect_err("no boat").contains("\"boat\""));
        assert!(declared(&json!({})).is_err());
    }
}
