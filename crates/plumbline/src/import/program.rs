//! Programs to be written: HumanEval's and MBPP's layouts.

use serde_json::{Value, json};

use crate::import::{ImportError, Record};
use crate::{Gold, Task, TaskId};

/// The prompt of imported environments of programs, as a template for
/// [`EnvironmentParts::prompt`].
///
/// [`EnvironmentParts::prompt`]: crate::EnvironmentParts::prompt
pub const PROGRAM_PROMPT: &str = include_str!("program_prompt.md");

/// Reads a program to be written, with one that is right and the tests. Understood are:
///
/// * HumanEval: `task_id`, `prompt` (signature and description), `canonical_solution` (what
///   comes after them), `test`, `entry_point`;
/// * MBPP: `task_id`, `text` or `prompt`, `code`, `test_list`, and for setup
///   `test_setup_code` or `test_imports`. The first of its tests is part of the question, as
///   it alone says what the function is called.
pub fn program_task(record: &Record) -> Result<(Task, Gold), ImportError> {
    let number = record.field("task_id");
    let id = number.name()?.ok_or_else(|| number.wrong("is missing"))?;
    let is_human_eval = !record.field("entry_point").is_absent();
    let read = if is_human_eval { human_eval(record)? } else { mbpp(record)? };
    let Read { prompt, program, setup, tests, set } = read;
    let id = if is_human_eval { id } else { format!("mbpp-{id}") };
    let gold = Gold(json!({
        "id": id,
        "answer": program.trim(),
        "setup": setup,
        "tests": tests,
        "comparator": { "type": "program" },
        "groups": { "set": set },
    }));
    Ok((Task { id: TaskId(id), prompt, inputs: Value::Null }, gold))
}

struct Read {
    prompt: String,
    program: String,
    setup: String,
    tests: Vec<String>,
    set: &'static str,
}

fn human_eval(record: &Record) -> Result<Read, ImportError> {
    let start = record.field("prompt").text()?;
    let end = record.field("canonical_solution").text()?;
    let entry_point = record.field("entry_point").filled_text()?;
    let test = record.field("test").text()?;
    let prompt = format!("Complete this function:\n\n{}", start.trim());
    let tests = vec![format!("{test}\ncheck({entry_point})")];
    let (program, setup) = (format!("{start}{end}"), String::new());
    Ok(Read { prompt, program, setup, tests, set: "humaneval" })
}

fn mbpp(record: &Record) -> Result<Read, ImportError> {
    let text = record.first_of(&["text", "prompt"]).filled_text()?;
    let program = record.field("code").text()?.replace("\r\n", "\n");
    let list = record.field("test_list");
    let tests: Vec<String> = list.texts()?.into_iter().map(str::to_owned).collect();
    let Some(first) = tests.first() else { return Err(list.wrong("holds no test")) };
    let setup = record.field("test_setup_code");
    let imports = record.field("test_imports").texts()?.join("\n");
    let setup = if setup.is_absent() { imports } else { setup.text()?.to_owned() };
    let prompt = format!("{text}\n\nIt is tested like this:\n\n{}", first.trim());
    Ok(Read { prompt, program, setup, tests, set: "mbpp" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Records;

    fn read(line: &str) -> Result<(Task, Gold), String> {
        // A record is one line; the tests write it on several.
        let line = line.replace('\n', " ");
        let mut bytes = line.as_bytes();
        let record = Records::new("q.jsonl", &mut bytes).next().expect("a record");
        program_task(&record.expect("an object")).map_err(|error| error.to_string())
    }

    #[test]
    fn both_layouts_give_programs_with_tests() {
        let (task, gold) = read(
            r#"{"task_id": "HumanEval/0", "prompt": "def f(x):\n    \"\"\"Adds 1.\"\"\"\n",
                "entry_point": "f", "canonical_solution": "    return x + 1\n",
                "test": "def check(c):\n    assert c(1) == 2\n"}"#,
        )
        .expect("HumanEval");
        assert_eq!(task.id.0, "HumanEval/0");
        // An answer has no white space around it: not every protocol could say it.
        assert!(gold.answers()[0].ends_with("\"\"\"\n    return x + 1"));
        assert!(gold.0["tests"][0].as_str().expect("a text").ends_with("check(f)"));
        let (task, gold) = read(
            r#"{"task_id": 7, "text": "Add one.", "code": "def f(x):\r\n  return x + 1",
                "test_setup_code": "", "test_list": ["assert f(1) == 2", "assert f(2) == 3"]}"#,
        )
        .expect("MBPP");
        assert_eq!(task.id.0, "mbpp-7");
        assert!(
            task.prompt.contains("assert f(1) == 2") && !task.prompt.contains("f(2)")
        );
        assert_eq!(gold.0["tests"].as_array().map(Vec::len), Some(2));
        for (line, word) in [
            (r#"{"text": "Add."}"#, "task_id"),
            (r#"{"task_id": 1, "text": "Add.", "code": "", "test_list": []}"#, "no test"),
            (
                r#"{"task_id": "1", "prompt": "x", "entry_point": "f"}"#,
                "canonical_solution",
            ),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(word), "{error}");
        }
    }
}
