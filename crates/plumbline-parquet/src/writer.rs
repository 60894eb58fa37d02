//! From JSON rows to row groups.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use plumbline::export::{Column, Kind};

/// Rows that become one record batch.
const BATCH_ROWS: usize = 256;
/// Bytes of a row group; one is closed once its columns hold so much.
const GROUP_BYTES: usize = 32 * 1024 * 1024;

/// Why a table cannot be written. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A row does not fit its columns.
    #[error("{}: a row does not fit the table's columns: {source}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// In which way.
        source: ArrowError,
    },
    /// The file cannot be encoded or written.
    #[error("{}: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: ParquetError,
    },
}

/// A Parquet file in the making.
pub struct TableWriter {
    path: PathBuf,
    decoder: Decoder,
    pending: usize,
    writer: ArrowWriter<File>,
}

impl TableWriter {
    /// Begins a file that must not exist.
    pub fn create(path: &Path, columns: &[Column]) -> Result<Self, TableError> {
        let file = File::create_new(path)
            .map_err(|source| TableError::Io { path: path.to_owned(), source })?;
        let schema: SchemaRef = Arc::new(Schema::new(fields(columns)));
        let decoder = ReaderBuilder::new(Arc::clone(&schema))
            .with_batch_size(BATCH_ROWS)
            .with_strict_mode(true)
            .build_decoder()
            .map_err(|source| TableError::Row { path: path.to_owned(), source })?;
        let properties =
            WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(file, schema, Some(properties))
            .map_err(|source| TableError::Encode { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), decoder, pending: 0, writer })
    }

    /// Adds a row: an object of JSON, with a field for each column and none beside them.
    pub fn push(&mut self, row: &str) -> Result<(), TableError> {
        let mut bytes = row.as_bytes();
        while !bytes.is_empty() {
            let taken = self.decoder.decode(bytes).map_err(|source| self.row(source))?;
            bytes = &bytes[taken..];
            if taken == 0 {
                // The batch is full before the row is in it.
                self.flush()?;
            }
        }
        self.pending += 1;
        if self.pending == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Writes what is left and the file's end.
    pub fn finish(mut self) -> Result<(), TableError> {
        self.flush()?;
        let Self { path, writer, .. } = self;
        let encode = |source| TableError::Encode { path: path.clone(), source };
        let file = writer.into_inner().map_err(encode)?;
        file.sync_all().map_err(|source| TableError::Io { path, source })
    }

    fn flush(&mut self) -> Result<(), TableError> {
        self.pending = 0;
        let batch = self.decoder.flush().map_err(|source| self.row(source))?;
        let encode = |source| TableError::Encode { path: self.path.clone(), source };
        if let Some(batch) = batch {
            self.writer.write(&batch).map_err(encode)?;
        }
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(encode)?;
        }
        Ok(())
    }

    fn row(&self, source: ArrowError) -> TableError {
        TableError::Row { path: self.path.clone(), source }
    }
}

fn fields(columns: &[Column]) -> Fields {
    let field = |column: &Column| Field::new(column.name, data_type(&column.kind), true);
    columns.iter().map(field).collect()
}

fn data_type(kind: &Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Truth => DataType::Boolean,
        Kind::Whole => DataType::Int64,
        Kind::Seed => DataType::UInt64,
        Kind::Real => DataType::Float64,
        Kind::List(of) => {
            // The name that the format's specification gives to what a list holds.
            DataType::List(Arc::new(Field::new("element", data_type(of), true)))
        }
        Kind::Record(columns) => DataType::Struct(fields(columns)),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Int64Array, ListArray, StringArray};
    use arrow_json::WriterBuilder;
    use arrow_json::writer::LineDelimited;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use plumbline::export::Format;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn rows_come_back_over_several_batches() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("t.parquet");
        let inner = vec![Column::new("role", Kind::Text)];
        let columns = [
            Column::new("task", Kind::Text),
            Column::new("ids", Kind::list(Kind::Whole)),
            Column::new("prompt", Kind::list(Kind::Record(inner))),
            Column::new("seed", Kind::Seed),
            Column::new("label", Kind::Whole),
        ];
        let mut writer = TableWriter::create(&path, &columns).expect("a new file");
        let rows = BATCH_ROWS * 2 + 7;
        for row in 0..rows {
            let row = json!({
                "task": format!("q{row}"), "ids": [row, row + 1], "seed": u64::MAX,
                "prompt": [{"role": "user"}], "label": null,
            });
            writer.push(&row.to_string()).expect("it fits");
        }
        writer.finish().expect("written");
        let file = File::open(&path).expect("it is there");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a table");
        let mut seen = 0;
        for batch in reader.build().expect("a reader") {
            let batch = batch.expect("a batch");
            let tasks = batch.column(0).as_any().downcast_ref::<StringArray>();
            let lists = batch.column(1).as_any().downcast_ref::<ListArray>();
            for row in 0..batch.num_rows() {
                assert_eq!(tasks.expect("texts").value(row), format!("q{seen}"));
                let ids = lists.expect("lists").value(row);
                let ids = ids.as_any().downcast_ref::<Int64Array>().expect("numbers");
                assert_eq!(ids.value(1), seen as i64 + 1);
                assert!(batch.column(4).is_null(row));
                seen += 1;
            }
        }
        assert_eq!(seen, rows);
    }

    #[test]
    fn a_row_that_does_not_fit_names_the_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("t.parquet");
        let columns = [Column::new("ids", Kind::list(Kind::Whole))];
        let mut writer = TableWriter::create(&path, &columns).expect("a new file");
        for row in [json!({"ids": ["x"]}), json!({"other": 1})] {
            let refused = writer.push(&row.to_string()).and_then(|()| writer.flush());
            let error = refused.expect_err("it does not fit").to_string();
            assert!(error.contains("t.parquet"), "{error}");
            writer = {
                let _ = std::fs::remove_file(&path);
                TableWriter::create(&path, &columns).expect("a new file")
            };
        }
    }

    /// The rows of a file as JSON, nulls included.
    fn read(path: &Path) -> Vec<Value> {
        let file = File::open(path).expect("it is there");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a table");
        let mut bytes = Vec::new();
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(&mut bytes);
        for batch in reader.build().expect("a reader") {
            writer.write(&batch.expect("a batch")).expect("JSON");
        }
        writer.finish().expect("JSON");
        drop(writer);
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn labels_come_back_from_columns() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let step = |node: u32, label: Option<i32>| json!({"node": node, "label": label, "zero": null, "end": 3});
        let verl = json!({
            "data_source": "plumbline", "prompt": [{"role": "user", "content": "Who?"}],
            "ability": "agent", "reward_model": {"style": "rule", "ground_truth": "x"},
            "extra_info": {"index": 0, "split": "train", "task": "q1", "sample": 0, "leaf": 2,
                           "steps": [step(0, Some(1)), step(1, None), step(2, Some(-1))]},
            "uid": "q1", "prompt_ids": [1, 2], "response_ids": [3, 4],
            "response_mask": [1, 0], "response_logprobs": null, "reward_score": 0.5,
            "num_turns": 1, "step_rewards": [0.5], "token_level_rewards": [0.0, 0.5],
            "advantages": [0.25, 0.0],
        });
        let steps = json!({"task": "q1", "node": 4, "seed": u64::MAX, "label": 0});
        for (format, row, count) in [(Format::Verl, verl, 2), (Format::Parquet, steps, 1)]
        {
            let table = format.tables().remove(0);
            let path = dir.path().join(table.name);
            let columns = table.columns.expect("it has columns");
            let mut writer = TableWriter::create(&path, &columns).expect("a new file");
            writer.push(&row.to_string()).expect("it fits");
            writer.finish().expect("written");
            let back = read(&path);
            assert_eq!(back.len(), 1);
            let labels = format.labels_of(&back[0]).expect("a row of the format");
            assert_eq!(labels.len(), count, "{format}");
            assert_eq!(format.labels_of(&row), Some(labels), "{format}");
        }
    }
}
