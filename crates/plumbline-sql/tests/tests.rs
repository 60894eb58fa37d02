//! The tools as an episode calls them.

/// What statements may try and must not achieve, as data.
mod escapes;
/// Published gold SQL and its recorded results.
mod published;
/// Answers, errors and their explanations.
mod reading;
/// Private copies: fork, replay, forget.
mod writing;

use std::path::Path;
use std::sync::Arc;

use plumbline::{Limits, Observation, Scratch, Tool};
use plumbline_sql::{Databases, Describe, Engine, Sql, SqlSettings};
use serde_json::{Value, json};

/// Rivers and cities, and a thousand numbers.
const SCRIPT: &str = "
    CREATE TABLE city(name TEXT PRIMARY KEY, people INTEGER);
    INSERT INTO city VALUES ('Felling', 1200), ('Orrin', 800), ('Sorn', NULL);
    CREATE TABLE river(id INTEGER PRIMARY KEY, title TEXT NOT NULL, km REAL,
                       mouth TEXT REFERENCES city(name));
    INSERT INTO river VALUES (1, 'Sorn', 91.5, 'Orrin'), (2, 'Orr', 40, NULL);
    CREATE TABLE number(i INTEGER);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO number SELECT i FROM n;
    CREATE VIEW mouths AS SELECT title, people FROM river JOIN city ON mouth = name;
";

/// A folder with one database, and both tools over it.
struct World {
    _dir: tempfile::TempDir,
    engine: Arc<Engine>,
    sql: Sql,
    describe: Describe,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        Self::make(Engine::read_only)
    }

    fn writable() -> Self {
        Self::make(Engine::writable)
    }

    fn make(engine: impl Fn(Databases) -> Engine) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("rivers.sql"), SCRIPT).expect("a file");
        let engine = Arc::new(engine(open(dir.path())));
        let sql = Sql::new(Arc::clone(&engine), SqlSettings { rows_shown: 20 });
        let describe = Describe::new(Arc::clone(&engine));
        let limits = Limits { sql_steps_max: 2_000_000, ..Limits::default() };
        Self { _dir: dir, engine, sql, describe, limits }
    }

    fn start(&self) -> Scratch {
        Scratch::of_inputs(&json!({ "database": "rivers" }))
    }

    /// Runs a statement; an error of ours fails the test.
    fn run(&self, query: &str, scratch: &mut Scratch) -> Observation {
        self.call(&self.sql, &json!({ "query": query }), scratch)
    }

    fn describe(&self, args: Value) -> Observation {
        self.call(&self.describe, &args, &mut self.start())
    }

    fn call(&self, tool: &dyn Tool, args: &Value, scratch: &mut Scratch) -> Observation {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime without drivers");
        runtime
            .block_on(tool.call(args, scratch, &self.limits))
            .expect("the tool answers")
    }
}

fn open(dir: &Path) -> Databases {
    Databases::open(dir, &dir.join("cache")).expect("the databases open")
}
