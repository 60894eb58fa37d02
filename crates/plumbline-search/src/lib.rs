//! Tools over a corpus of documents: BM25 search, and reading a whole document.
//!
//! A [`Corpus`] is documents on disk. An [`Index`] of it is built once, cached by the
//! corpus's digest, and shared by the tools [`Search`] and [`Open`]. A query may be any text
//! a model can write: there are no syntax errors, and the work a query causes is bounded.
//! What a query finds is a function of the corpus alone; see `rank.rs` for how.
//!
//! ```
//! use plumbline_search::{Corpus, Index};
//!
//! let folder = tempfile::tempdir()?;
//! let lines = folder.path().join("documents.jsonl");
//! std::fs::write(
//!     &lines,
//!     r#"{"id": "d1", "title": "Ed Wood", "text": "An American film director."}
//!        {"id": "d2", "title": "Tyler Bates", "text": "An American composer."}"#,
//! )?;
//! let corpus = Corpus::open(&lines)?;
//! let index = Index::open_or_build(&corpus, &folder.path().join("cache"), &|_| {})?;
//! let found = index.search("american film directors", 1)?;
//! assert_eq!(found.hits[0].document.id, "d1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod corpus;
mod index;
mod query;
mod search;

mod cache;
mod frozen;
mod open;
mod rank;
mod words;

pub use corpus::{Corpus, CorpusError, Document, Documents};
pub use index::{Found, Hit, Index, IndexError, Progress, Reading};
pub use open::Open;
pub use query::{QUERY_BYTES_MAX, QUERY_WORDS_MAX};
pub use search::{Search, SearchSettings};
