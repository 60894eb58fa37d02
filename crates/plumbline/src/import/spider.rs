//! Questions to databases: Spider's layout and its relatives.

use serde_json::{Value, json};

use crate::import::{ImportError, Record};
use crate::{Gold, Task, TaskId};

/// The prompt of imported SQL environments, as a template for [`EnvironmentParts::prompt`].
///
/// [`EnvironmentParts::prompt`]: crate::EnvironmentParts::prompt
pub const SQL_PROMPT: &str = include_str!("sql_prompt.md");

/// A question to a database.
#[derive(Debug, Clone)]
pub struct SqlQuestion {
    /// The task; its inputs name the database.
    pub task: Task,
    /// The queries that answer it, the first of them preferred. Their results are not on
    /// record: a comparison executes them.
    pub gold: Gold,
    /// The database's name.
    pub database: String,
}

/// Reads a question with its gold SQL. Understood are:
///
/// * Spider: `db_id`, `question`, `query` (its `sql`, a parsed query, is left alone);
/// * BIRD: the same with `SQL` and `evidence`, `question_id` and `difficulty`;
/// * text2sql-data as single questions, and others: `sql`, a text;
/// * Defog: `gold_sqls`, a list of queries any of which will do, and `instructions`.
///
/// A hint (`evidence`, `instructions`) becomes part of the prompt. A question without an id
/// of its own is called after its database and `number`, which counts the records.
pub fn sql_question(record: &Record, number: u64) -> Result<SqlQuestion, ImportError> {
    let database = record.first_of(&["db_id", "database", "db_name"]).filled_text()?;
    let question = record.field("question").filled_text()?;
    let hint = record.first_of(&["evidence", "instructions"]);
    // Some files have an empty text where there is none.
    let hint = if hint.is_absent() { "" } else { hint.text()?.trim() };
    let prompt = if hint.is_empty() {
        question.to_owned()
    } else {
        format!("{question}\n\nHint: {hint}")
    };
    let golds = record.field("gold_sqls");
    let mut queries: Vec<&str> = if golds.is_absent() {
        vec![record.first_of(&["query", "SQL", "sql", "gold_sql"]).filled_text()?]
    } else {
        golds.texts()?
    };
    queries.retain(|query| !query.trim().is_empty());
    let Some((first, aliases)) = queries.split_first() else {
        return Err(golds.wrong("holds no query"));
    };
    let id = record.first_of(&["id", "question_id"]).name()?;
    let id = id.unwrap_or_else(|| format!("{database}-{number}"));
    let mut groups = json!({ "database": database });
    for (group, fields) in [
        ("difficulty", ["difficulty", "hardness"]),
        ("feature", ["category", "query_split"]),
    ] {
        if let Some(name) = record.first_of(&fields).name()? {
            groups[group] = Value::String(name);
        }
    }
    let task =
        Task { id: TaskId(id.clone()), prompt, inputs: json!({ "database": database }) };
    let gold = Gold(json!({
        "id": id,
        "answer": first,
        "aliases": aliases,
        "comparator": { "type": "table", "ordered": orders(first) },
        "solution": [{ "tool": "describe", "args": {} },
            { "tool": "sql", "args": { "query": first } }],
        "groups": groups,
    }));
    Ok(SqlQuestion { task, gold, database: database.to_owned() })
}

/// Whether the order of a query's rows is part of its answer: where its outermost SELECT says
/// how to order them.
fn orders(sql: &str) -> bool {
    crate::query::Query::parse(sql).is_some_and(|query| query.tree().order_by.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Records;

    fn read(line: &str) -> Result<SqlQuestion, String> {
        // A record is one line; the tests write it on several.
        let line = line.replace('\n', " ");
        let mut bytes = line.as_bytes();
        let record = Records::new("q.jsonl", &mut bytes).next().expect("a record");
        let record = record.expect("an object");
        sql_question(&record, 7).map_err(|error| error.to_string())
    }

    #[test]
    fn every_layout_gives_the_same_task() {
        let spider = r#"{"db_id": "pets", "question": "How many?", "sql": {"from": 1},
            "query": "SELECT count(*) FROM pet"}"#;
        let spider = read(spider).expect("Spider");
        assert_eq!(spider.task.id.0, "pets-7");
        assert_eq!(spider.task.inputs, json!({ "database": "pets" }));
        assert_eq!(spider.gold.answers(), ["SELECT count(*) FROM pet"]);
        assert_eq!(spider.gold.0["comparator"]["ordered"], false);
        let bird = r#"{"question_id": 3, "db_id": "pets", "question": "How many?",
            "evidence": "dogs are pets", "SQL": "SELECT n FROM pet ORDER BY n",
            "difficulty": "simple"}"#;
        let bird = read(bird).expect("BIRD");
        assert_eq!((bird.task.id.0.as_str(), bird.database.as_str()), ("3", "pets"));
        assert_eq!(bird.task.prompt, "How many?\n\nHint: dogs are pets");
        assert_eq!(bird.gold.0["comparator"]["ordered"], true);
        assert_eq!(bird.gold.0["groups"]["difficulty"], "simple");
        let defog = r#"{"db_id": "pets", "question": "How many?", "instructions": "",
            "gold_sqls": ["SELECT 1", "SELECT 2"], "category": "group_by"}"#;
        assert_eq!(read(defog).expect("Defog").gold.answers(), ["SELECT 1", "SELECT 2"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (line, words) in [
            (r#"{"question": "?", "query": "SELECT 1"}"#, "\"db_id\""),
            (r#"{"db_id": "d", "query": "SELECT 1"}"#, "\"question\""),
            (r#"{"db_id": "d", "question": "?"}"#, "\"query\""),
            (r#"{"db_id": "d", "question": "?", "sql": {}}"#, "\"sql\""),
            (r#"{"db_id": "d", "question": "?", "gold_sqls": []}"#, "no query"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(words) && error.contains("q.jsonl"), "{error}");
        }
    }
}
