//! Rows of an export as Parquet.
//!
//! [`TableWriter`] takes the columns of a table and then its rows, as JSON, and writes a row
//! group whenever enough of them have come: memory does not grow with the file.
//!
//! ```
//! use plumbline::export::{Column, Kind};
//! use plumbline_parquet::TableWriter;
//!
//! let columns = [Column::new("task", Kind::Text), Column::new("ids", Kind::list(Kind::Whole))];
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("rows.parquet");
//! let mut writer = TableWriter::create(&path, &columns)?;
//! writer.push(r#"{"task": "q1", "ids": [1, 2, 3]}"#)?;
//! writer.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod writer;

pub use writer::{TableError, TableWriter};
