//! An index of a corpus that can be searched, and read document by document.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plumbline::Digest;
use tantivy::schema::{
    FAST, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
    Value,
};
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};
use tantivy::{DocAddress, ReloadPolicy, Searcher, TantivyDocument};

use crate::cache::{self, Layout};
use crate::frozen::FrozenDirectory;
use crate::query::Query;
use crate::rank::{self, Fields, Ranked};
use crate::words;
use crate::{Corpus, CorpusError, Document};

/// The name of [`words::analyzer`] in an index's schema.
const ANALYZER: &str = "words";
/// Characters of a title that it can be looked up by; titles that agree in all of them are
/// told apart by comparing the whole.
const TITLE_KEY_CHARS_MAX: usize = 200;
/// Documents of one title that are looked at.
const SAME_TITLE_MAX: usize = 100;
/// Documents that are put into one segment: merging ten times as many would take minutes.
const MERGED_DOCUMENTS_MAX: u64 = 2_000_000;
/// Blocks of stored text that each segment keeps decompressed, of 4 KiB each.
const STORE_CACHE_BLOCKS: usize = 64;

/// An index of a [`Corpus`], read-only and shared by all who search it.
///
/// What a search finds depends on the corpus and the query alone: neither the number of
/// indexing threads nor their timing shows.
pub struct Index {
    searcher: Searcher,
    fields: Fields,
    analyzer: TextAnalyzer,
    digest: Digest,
}

/// How far an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Another process is building in the same cache folder.
    Waiting,
    /// Documents are being read and indexed.
    Indexing {
        /// Documents so far.
        documents: u64,
        /// Bytes of the corpus so far.
        bytes: u64,
        /// Bytes of the corpus.
        bytes_total: u64,
    },
    /// All are read; the last of them are written and merged.
    Finishing,
}

/// Why there is no index, or why it cannot be searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The corpus is at fault.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The cache folder cannot be written.
    #[error("write the index cache {}: {message}; free space there, make it writable, or choose another cache folder", folder.display())]
    Cache {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Another process has been building in the cache folder for an hour.
    #[error("lock {}: another process has been building there for an hour; end it or choose another cache folder", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// The engine failed on an index that was whole when it was opened.
    #[error("read the index: {0}; start again: an index that was damaged is rebuilt")]
    Engine(#[from] tantivy::TantivyError),
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The document.
    pub document: Document,
    /// How well it matches: BM25, at least 0 and without an upper bound. Scores compare
    /// within one search only.
    pub score: f64,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The documents: higher scores first, equal scores in the order of their ids.
    pub hits: Vec<Hit>,
    /// How the query was read.
    pub reading: Reading,
}

/// How a query was read, where the model should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whether there was no word in it.
    pub is_empty: bool,
    /// Whether it was longer than what is read.
    pub is_cut: bool,
    /// Whether no document had all its phrases and field words, so that they counted like
    /// any other word.
    pub is_relaxed: bool,
}

impl Index {
    /// Opens the index of a corpus from a cache folder, or builds it there.
    ///
    /// An index lies in a folder of its own, named by the digest of the corpus and the format
    /// version. It is built beside its place and moved there when it is whole, by one
    /// process at a time; what a killed build left behind is removed by the next. An index
    /// that does not match its checksums is built again.
    ///
    /// This blocks while the corpus is read; `progress` is called now and then.
    pub fn open_or_build(
        corpus: &Corpus,
        cache_folder: &Path,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<Self>, IndexError> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let layout = Layout { threads, merged_documents_max: MERGED_DOCUMENTS_MAX };
        cache::open_or_build(corpus, cache_folder, layout, progress).map(Arc::new)
    }

    /// Opens the index in a folder whose files have been checked.
    pub(crate) fn open(folder: &Path, digest: Digest) -> tantivy::Result<Self> {
        let directory = FrozenDirectory::open(folder)
            .map_err(|error| tantivy::TantivyError::InternalError(error.to_string()))?;
        let mut engine = tantivy::Index::open(directory)?;
        engine.set_tokenizers(tokenizers());
        let schema = engine.schema();
        let fields = Fields {
            id: schema.get_field("id")?,
            title: schema.get_field("title")?,
            title_key: schema.get_field("title_key")?,
            text: schema.get_field("text")?,
        };
        let reader = engine
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(STORE_CACHE_BLOCKS)
            .try_into()?;
        let analyzer = words::analyzer();
        Ok(Self { searcher: reader.searcher(), fields, analyzer, digest })
    }

    /// The digest of everything a search depends on besides the query: the corpus and the
    /// way it is indexed.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.searcher.num_docs()
    }

    /// The best `top_k` documents for a query, which can be any text.
    ///
    /// Words count wherever they stand, in a title or a text. A `"phrase"` must occur, and so
    /// must a word or phrase behind `title:` or `text:`; where no document has all that must
    /// occur, nothing must, and the best matches of the words are found. At most
    /// [`QUERY_BYTES_MAX`](crate::QUERY_BYTES_MAX) bytes and
    /// [`QUERY_WORDS_MAX`](crate::QUERY_WORDS_MAX) distinct words are read.
    pub fn search(&self, query: &str, top_k: usize) -> Result<Found, IndexError> {
        let query = Query::parse(query, &mut self.analyzer.clone());
        let mut ranked = rank::best(&self.searcher, &self.fields, &query, top_k)?;
        let is_relaxed = ranked.is_empty() && !query.required.is_empty();
        if is_relaxed {
            ranked = rank::best(&self.searcher, &self.fields, &query.relaxed(), top_k)?;
        }
        let reading =
            Reading { is_empty: query.is_empty(), is_cut: query.cut, is_relaxed };
        Ok(Found { hits: self.hits(ranked)?, reading })
    }

    /// The best `top_k` documents by the words of their titles alone.
    pub fn search_titles(
        &self,
        title: &str,
        top_k: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        let query = Query::of_title(title, &mut self.analyzer.clone());
        self.hits(rank::best(&self.searcher, &self.fields, &query, top_k)?)
    }

    /// The document of this id.
    pub fn document(&self, id: &str) -> Result<Option<Document>, IndexError> {
        let found = rank::exact(&self.searcher, self.fields.id, id, 1)?;
        found.first().map(|ranked| self.read(ranked.address)).transpose()
    }

    /// The documents of this title, whatever the case of its letters, ordered by id; at most
    /// 100 of them.
    pub fn titled(&self, title: &str) -> Result<Vec<Document>, IndexError> {
        let (searcher, field) = (&self.searcher, self.fields.title_key);
        let found = rank::exact(searcher, field, &title_key(title), SAME_TITLE_MAX)?;
        let mut documents = Vec::with_capacity(found.len());
        for ranked in found {
            let document = self.read(ranked.address)?;
            if folded(&document.title) == folded(title) {
                documents.push(document);
            }
        }
        Ok(documents)
    }

    /// How many parts the index happens to have.
    #[cfg(test)]
    pub(crate) fn segments(&self) -> usize {
        self.searcher.segment_readers().len()
    }

    fn hits(&self, ranked: Vec<Ranked>) -> Result<Vec<Hit>, IndexError> {
        ranked
            .into_iter()
            .map(|Ranked { address, score, .. }| {
                Ok(Hit { document: self.read(address)?, score })
            })
            .collect()
    }

    fn read(&self, address: DocAddress) -> Result<Document, IndexError> {
        let stored: TantivyDocument = self.searcher.doc(address)?;
        let field = |field| {
            let value = stored.get_first(field).and_then(|value| value.as_str());
            value.unwrap_or_default().to_owned()
        };
        Ok(Document {
            id: field(self.fields.id),
            title: field(self.fields.title),
            text: field(self.fields.text),
        })
    }
}

/// The fields of an index.
pub(crate) fn schema() -> (Schema, Fields) {
    let words = TextFieldIndexing::default()
        .set_tokenizer(ANALYZER)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let words = TextOptions::default().set_indexing_options(words).set_stored();
    let mut schema = Schema::builder();
    let fields = Fields {
        id: schema.add_text_field("id", STRING | STORED | FAST),
        title: schema.add_text_field("title", words.clone()),
        title_key: schema.add_text_field("title_key", STRING),
        text: schema.add_text_field("text", words),
    };
    (schema.build(), fields)
}

pub(crate) fn tokenizers() -> TokenizerManager {
    let tokenizers = TokenizerManager::default();
    tokenizers.register(ANALYZER, words::analyzer());
    tokenizers
}

/// What a title is looked up by.
pub(crate) fn title_key(title: &str) -> String {
    folded(title).chars().take(TITLE_KEY_CHARS_MAX).collect()
}

/// A title without the differences in case and spacing that a model makes.
fn folded(title: &str) -> String {
    let words: Vec<&str> = title.split_whitespace().collect();
    words.join(" ").to_lowercase()
}
