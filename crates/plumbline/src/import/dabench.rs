//! Questions about tables: InfiAgent-DABench's layout.

use serde_json::json;

use crate::import::{ImportError, Record};
use crate::{Gold, Task, TaskId};

/// The prompt of imported environments over tables, as a template for
/// [`EnvironmentParts::prompt`].
///
/// [`EnvironmentParts::prompt`]: crate::EnvironmentParts::prompt
pub const TABLE_PROMPT: &str = include_str!("table_prompt.md");

/// A question about a table.
#[derive(Debug, Clone)]
pub struct TableQuestion {
    /// The task; its inputs name the table's file.
    pub task: Task,
    /// The table's file.
    pub file: String,
    groups: serde_json::Value,
}

/// Reads a question of DABench: `id`, `question`, `constraints`, `format`, `file_name`, and
/// for groups `level` and `concepts`, of which the first counts.
pub fn table_question(record: &Record) -> Result<TableQuestion, ImportError> {
    let id = id(record)?;
    let question = record.field("question").filled_text()?;
    let format = record.field("format").filled_text()?;
    let constraints = record.field("constraints");
    let constraints =
        if constraints.is_absent() { "" } else { constraints.text()?.trim() };
    let file = record.field("file_name").filled_text()?;
    if file.contains(['/', '\\', '\0']) || file.starts_with('.') {
        return Err(record.field("file_name").wrong("is no name of a file"));
    }
    let mut prompt = format!("{question}\n\nThe table is {file}.");
    if !constraints.is_empty() {
        prompt.push_str(&format!("\n\n{constraints}"));
    }
    prompt.push_str(&format!("\n\nAnswer in this form: {format}"));
    let mut groups = json!({ "table": file });
    if let Some(level) = record.field("level").name()? {
        groups["level"] = json!(level);
    }
    if let Some(concept) = record.field("concepts").texts()?.first() {
        groups["concept"] = json!(concept);
    }
    let inputs = json!({ "files": [file] });
    let task = Task { id: TaskId(id), prompt, inputs };
    Ok(TableQuestion { task, file: file.to_owned(), groups })
}

/// Reads a label of DABench: `id`, and `common_answers`, pairs of a name and its value.
/// Returns the question's id, and the answer as it is to be given: `@name[value] ...`.
pub fn table_answer(record: &Record) -> Result<(String, String), ImportError> {
    let answers = record.field("common_answers");
    let mut values = Vec::new();
    for pair in answers.list()? {
        let (name, value) = pair.pair()?;
        values.push(format!("@{}[{}]", name.filled_text()?, value.text()?.trim()));
    }
    if values.is_empty() {
        return Err(answers.wrong("is empty"));
    }
    Ok((id(record)?, values.join(" ")))
}

impl TableQuestion {
    /// The gold, of the answer that a label has for it.
    pub fn gold(&self, answer: &str) -> Gold {
        Gold(json!({
            "id": self.task.id,
            "answer": answer,
            "comparator": { "type": "dabench" },
            "groups": self.groups,
        }))
    }
}

fn id(record: &Record) -> Result<String, ImportError> {
    let id = record.first_of(&["id", "question_id"]);
    id.name()?.ok_or_else(|| id.wrong("is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Records;

    fn record(line: &str) -> Record {
        // A record is one line; the tests write it on several.
        let line = line.replace('\n', " ");
        let mut bytes = line.as_bytes();
        let record = Records::new("q.jsonl", &mut bytes).next().expect("a record");
        record.expect("an object")
    }

    #[test]
    fn a_question_and_its_label_make_a_task_and_gold() {
        let question = r#"{"id": 5, "question": "What is the mean?", "concepts": ["Mean"],
            "constraints": "Two decimals.", "format": "@mean[value]",
            "file_name": "a b.csv", "level": "easy"}"#;
        let question = table_question(&record(question)).expect("a question");
        assert_eq!(question.task.id.0, "5");
        assert_eq!(question.task.inputs, json!({ "files": ["a b.csv"] }));
        for part in ["What is the mean?", "a b.csv", "Two decimals.", "@mean[value]"] {
            assert!(question.task.prompt.contains(part), "{}", question.task.prompt);
        }
        let label = r#"{"id": 5, "common_answers": [["mean", "2.50"], ["sd", "1"]]}"#;
        let (id, answer) = table_answer(&record(label)).expect("a label");
        assert_eq!((id.as_str(), answer.as_str()), ("5", "@mean[2.50] @sd[1]"));
        assert_eq!(question.gold(&answer).answers(), ["@mean[2.50] @sd[1]"]);
        assert_eq!(question.gold(&answer).0["groups"]["concept"], "Mean");
    }

    #[test]
    fn what_is_missing_is_named() {
        let lacks =
            |line: &str| table_question(&record(line)).expect_err(line).to_string();
        let error =
            lacks(r#"{"question": "?", "format": "@a[1]", "file_name": "a.csv"}"#);
        assert!(error.contains("\"id\"") && error.contains("q.jsonl"), "{error}");
        let error = lacks(
            r#"{"id": 1, "question": "?", "format": "@a", "file_name": "../a.csv"}"#,
        );
        assert!(error.contains("file_name"), "{error}");
        let label = record(r#"{"id": 1, "common_answers": []}"#);
        let error = table_answer(&label).expect_err("no answer").to_string();
        assert!(error.contains("common_answers"), "{error}");
    }
}
