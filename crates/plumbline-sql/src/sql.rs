//! The tool `sql`: one statement on the task's database.

use std::sync::Arc;

use async_trait::async_trait;
use plumbline::{Digest, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::{Engine, Waiting};
use crate::guard::NOW;
use crate::statement::Done;

/// What the model calls the tool.
const NAME: &str = "sql";

/// How much a query shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlSettings {
    /// Rows shown to the model; programs read all of them. At least 1.
    pub rows_shown: u32,
}

/// Runs one SQL statement. The data of a table is `{"columns", "rows", "row_count",
/// "truncated"}`, where `truncated` tells that the text shows fewer rows; that of a change is
/// `{"changed"}`, the number of rows.
///
/// A second statement in one call is refused and neither is executed: a call is a step of
/// its own, judged on its own.
pub struct Sql {
    engine: Arc<Engine>,
    settings: SqlSettings,
    spec: ToolSpec,
}

impl Sql {
    /// The tool over these databases.
    pub fn new(engine: Arc<Engine>, settings: SqlSettings) -> Self {
        let settings = SqlSettings { rows_shown: settings.rows_shown.max(1) };
        let does = if engine.is_writable() {
            "Run one SQLite statement on your own copy of the database."
        } else {
            "Run one SQLite query on the database, which can only be read."
        };
        let date = &NOW[..10];
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description: format!("{does} Today is {date}."),
            parameters: json!({
                "type": "object",
                "properties": {
                    "query": {
                        "type": "string",
                        "minLength": 1,
                        "description": "One statement in SQLite's SQL.",
                    },
                },
                "required": ["query"],
                "additionalProperties": false,
            }),
            pinned: Digest::of_json(&(NAME, engine.pinned(), settings)),
        };
        Self { engine, settings, spec }
    }
}

#[async_trait]
impl Tool for Sql {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let failed = |message| ToolError::Engine { tool: NAME.to_owned(), message };
        let Some(query) = args.get("query").and_then(Value::as_str) else {
            return Ok(Observation::fault(Fault::BadArgs, "sql needs a query"));
        };
        let target = self.engine.target(scratch).map_err(failed)?;
        let (engine, query, limits) =
            (Arc::clone(&self.engine), query.to_owned(), limits.clone());
        let waiting = Waiting::default();
        let cancelled = Arc::clone(&waiting.0);
        let run = move || engine.execute(&target, &query, &limits, &cancelled);
        let done = tokio::task::spawn_blocking(run).await;
        let (done, written) = match done.map_err(|error| failed(error.to_string()))? {
            Ok(done) => done,
            Err(refused) => return refused.observation().map_err(failed),
        };
        if let Some(written) = written {
            written.store(scratch);
        }
        Ok(match done {
            Done::Table(table) => {
                let shown = self.settings.rows_shown as usize;
                Observation::Output { text: table.text(shown), data: table.data(shown) }
            }
            Done::Changed(rows) => {
                let noun = if rows == 1 { "row" } else { "rows" };
                let text = format!("done: {rows} {noun} changed");
                Observation::Output { text, data: json!({ "changed": rows }) }
            }
        })
    }
}
