//! Answers that are programs, by the tests that they pass.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::comparators::Comparison;
use crate::{Gold, Observation, ToolCall};

/// The function that runs program and tests, in the language they are written in.
const TESTS: &str = include_str!("program_tests.py");

/// Compares Python programs by running them with the gold's `tests`, a list of texts: each
/// is run after the program, in its names. The gold's `setup`, a text, is run before it.
///
/// Strict and relaxed: every test passes. The value is the share that do. A program in a
/// fence of Markdown is taken out of it, and what stands around the fence is not looked at. A
/// program that fails by itself passes no test, and so does one that reaches a limit.
///
/// The tests share an interpreter with the program. One that is written to deceive them can:
/// this tells right programs from wrong ones, not honest ones from dishonest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {}

impl Program {
    /// The one call that runs a program with its tests.
    pub fn calls(answer: &str, gold: &Gold) -> Vec<ToolCall> {
        let setup = gold.0.get("setup").and_then(Value::as_str).unwrap_or("");
        let (program, tests) = (json!(code(answer)), json!(tests(gold)));
        let code = format!("{TESTS}\n_plumb_tests({}, {program}, {tests})", json!(setup));
        let args = json!({ "code": code });
        vec![ToolCall { id: "call_0".into(), tool: "python".into(), args }]
    }

    /// Reads off what the call came to.
    pub fn compare(gold: &Gold, observed: &[Observation]) -> Comparison {
        let failed = |reason: &str| Comparison {
            strict: false,
            relaxed: false,
            value: 0.0,
            reason: reason.to_owned(),
        };
        if tests(gold).is_empty() {
            return failed("the gold has no tests");
        }
        let Some(observation) = observed.first() else {
            return failed("the program was not run");
        };
        let part = |name| observation.data().get(name).and_then(Value::as_str);
        let counted = part("echo").and_then(|echo| serde_json::from_str(echo).ok());
        let Some([passed, total]): Option<[u32; 2]> = counted else {
            let said = observation.text().lines().next_back().unwrap_or("nothing");
            return failed(&format!("the program came to no result: {said}"));
        };
        let all = passed == total && total > 0;
        let first = part("stdout").and_then(|stdout| stdout.lines().next());
        let reason = match first {
            Some(first) if !all => format!("{passed} of {total} tests pass; {first}"),
            _ => format!("{passed} of {total} tests pass"),
        };
        let value = f64::from(passed) / f64::from(total.max(1));
        Comparison { strict: all, relaxed: all, value, reason }
    }
}

fn tests(gold: &Gold) -> Vec<&str> {
    let tests = gold.0.get("tests").and_then(Value::as_array);
    tests.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The program of an answer: what its first fence holds, or all of it.
fn code(answer: &str) -> &str {
    let Some((_, after)) = answer.split_once("```") else { return answer };
    let (language, rest) = after.split_once('\n').unwrap_or(("", after));
    let body = if language.trim().contains(' ') { after } else { rest };
    body.split_once("```").map_or(body, |(body, _)| body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_taken_out_of_its_fence() {
        assert_eq!(code("x = 1\n"), "x = 1\n");
        assert_eq!(code("Here:\n```python\nx = 1\n```\nDone."), "x = 1\n");
        assert_eq!(code("```\nx = 1"), "x = 1");
    }

    #[test]
    fn the_count_of_tests_is_read_and_nothing_else_counts() {
        let gold = Gold(json!({ "tests": ["assert f(1) == 2", "assert f(2) == 3"] }));
        let ran = |stdout: &str, echo: Value| {
            let data = json!({ "stdout": stdout, "echo": echo });
            vec![Observation::Output { text: stdout.to_owned(), data }]
        };
        for (observed, strict, value, word) in [
            (ran("", json!("[2, 2]")), true, 1.0, "2 of 2"),
            (ran("test 2: AssertionError", json!("[1, 2]")), false, 0.5, "test 2"),
            (ran("[2, 2]", Value::Null), false, 0.0, "no result"),
            (vec![], false, 0.0, "not run"),
        ] {
            let found = Program::compare(&gold, &observed);
            assert_eq!((found.strict, found.value), (strict, value), "{found:?}");
            assert!(found.reason.contains(word), "{found:?}");
        }
        assert!(!Program::compare(&Gold(json!({})), &ran("", json!("[0, 0]"))).strict);
        let call = &Program::calls("print('\"\"\"')", &gold)[0];
        let code = call.args["code"].as_str().expect("a text");
        assert!(code.ends_with(r#"["assert f(1) == 2","assert f(2) == 3"])"#), "{code}");
    }
}
