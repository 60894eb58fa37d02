//! Tools over SQLite databases: [`Sql`] runs one statement, [`Describe`] tells what there is.
//!
//! [`Databases`] are the databases of a folder; an [`Engine`] opens the one that a task names
//! in `inputs.database`, read-only or as a copy private to each branch. What a statement may
//! do is bounded on every side: see `guard.rs`. An answer is a function of the statement and
//! the content: there is no clock but a fixed one, [`NOW`], and no randomness.
//!
//! ```
//! use std::sync::Arc;
//!
//! use plumbline::{Limits, Scratch, Tool};
//! use plumbline_sql::{Databases, Engine, Sql, SqlSettings};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let script = "CREATE TABLE river(name TEXT, km REAL);
//!     INSERT INTO river VALUES ('Sorn', 91), ('Orr', 40);";
//! std::fs::write(folder.path().join("rivers.sql"), script)?;
//! let databases = Databases::open(folder.path(), &folder.path().join("cache"))?;
//! let engine = Arc::new(Engine::read_only(databases));
//! let sql = Sql::new(engine, SqlSettings { rows_shown: 20 });
//! let mut scratch = Scratch::of_inputs(&json!({ "database": "rivers" }));
//! let query = json!({ "query": "SELECT max(km) AS longest FROM river" });
//! let observation = sql.call(&query, &mut scratch, &Limits::default()).await?;
//! assert_eq!(observation.text(), "longest\n91.0\n(1 row)");
//! # Ok(())
//! # }
//! ```

mod databases;
mod describe;
mod sql;

mod engine;
mod explain;
mod guard;
mod statement;
mod table;

pub use databases::{Databases, DatabasesError};
pub use describe::Describe;
pub use engine::Engine;
pub use guard::{NOW, QUERY_BYTES_MAX};
pub use sql::{Sql, SqlSettings};
