//! Where indexes are kept between runs, and how they get there whole.
//!
//! ```text
//! <cache>/build.lock        held by whoever builds; the system frees it when they die
//! <cache>/<digest>/         a finished index, and index.json with a digest for each file
//! <cache>/<digest>.building a build in progress, or what is left of one
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plumbline::Digest;
use serde::{Deserialize, Serialize};
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::{IndexSettings, IndexWriter, TantivyDocument, TantivyError};

use crate::corpus::hash_file;
use crate::index::{Index, IndexError, Progress, schema, title_key, tokenizers};
use crate::rank::Fields;
use crate::{Corpus, Document};

/// Raised whenever the same corpus would be indexed differently, or a query would rank
/// differently.
const FORMAT_VERSION: u32 = 1;
/// The file that says what belongs to a finished index.
const MANIFEST: &str = "index.json";
const LOCK: &str = "build.lock";
/// The ending of folders that nobody needs unless somebody holds the lock.
const BUILDING: &str = "building";

/// Bytes of memory for the postings of each indexing thread before they go to disk.
const THREAD_BYTES_MAX: usize = 48 << 20;
const THREADS_MAX: usize = 8;
/// Bytes of documents that may wait in the engine's queue, which counts documents only.
const QUEUED_BYTES_MAX: u64 = 64 << 20;
/// Bytes of documents that are compressed together: reading one reads them all.
const STORE_BLOCK_BYTES: usize = 4 << 10;
/// Documents between two reports of progress.
const PROGRESS_DOCUMENTS: u64 = 1000;

const LOCK_POLL: Duration = Duration::from_millis(50);
const LOCK_POLLS_MAX: u32 = 20 * 3600;

/// What a finished index is made of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format_version: u32,
    corpus: Digest,
    documents: u64,
    files: BTreeMap<String, Digest>,
}

/// How a build goes about it. None of this shows in what is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Indexing threads; at least one and at most eight are used.
    pub(crate) threads: usize,
    /// Up to this many documents, the parts that the threads wrote are made one: that costs
    /// a sixth of the build and saves a quarter of each query, more in a small corpus.
    pub(crate) merged_documents_max: u64,
}

/// See [`Index::open_or_build`].
pub(crate) fn open_or_build(
    corpus: &Corpus,
    cache: &Path,
    layout: Layout,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Index, IndexError> {
    let digest = Digest::of_json(&("plumbline-search", FORMAT_VERSION, corpus.digest()));
    let place = cache.join(digest.to_string());
    if let Some(index) = open(&place, digest) {
        return Ok(index);
    }
    let failed = |error: io::Error| cache_error(cache, error);
    fs::create_dir_all(cache).map_err(failed)?;
    let _lock = lock(cache, progress)?;
    // Whoever held the lock may have built just this.
    if let Some(index) = open(&place, digest) {
        return Ok(index);
    }
    remove_leftovers(cache).map_err(failed)?;

    let building = cache.join(format!("{digest}.{BUILDING}"));
    fs::create_dir(&building).map_err(failed)?;
    let built = build(corpus, &building, layout, progress)
        .and_then(|manifest| finish(&building, &manifest).map_err(failed))
        .and_then(|()| put_in_place(&building, &place, cache).map_err(failed));
    if let Err(error) = built {
        // The error counts, not whether its traces could be removed: the next build will.
        let _ = fs::remove_dir_all(&building);
        return Err(error);
    }
    let damaged = || io::Error::other("what was written reads back differently");
    open(&place, digest).ok_or_else(|| failed(damaged()))
}

/// Opens a finished index; `None` where there is none, or one that is damaged.
fn open(place: &Path, digest: Digest) -> Option<Index> {
    let bytes = fs::read(place.join(MANIFEST)).ok()?;
    let checked = check(place, &bytes).and_then(|documents| {
        let index = Index::open(place, digest).map_err(|error| error.to_string())?;
        let found = index.documents();
        let counts = || format!("{found} documents, not {documents}");
        if found == documents { Ok(index) } else { Err(counts()) }
    });
    match checked {
        Ok(index) => Some(index),
        Err(message) => {
            let place = place.display().to_string();
            tracing::warn!(place, message, "the index is damaged; building it again");
            None
        }
    }
}

/// Checks every file of an index, before anything maps it. Returns its count of documents.
fn check(place: &Path, manifest: &[u8]) -> Result<u64, String> {
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    for (name, expected) in &manifest.files {
        let (digest, _) =
            hash_file(&place.join(name)).map_err(|error| error.to_string())?;
        if digest != *expected {
            return Err(format!("{name} is not what was written"));
        }
    }
    Ok(manifest.documents)
}

/// Waits until nobody else builds in the cache.
fn lock(cache: &Path, progress: &(dyn Fn(Progress) + Sync)) -> Result<File, IndexError> {
    let path = cache.join(LOCK);
    let failed = |error| cache_error(cache, error);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    for _ in 0..LOCK_POLLS_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress(Progress::Waiting);
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(IndexError::Locked { path })
}

/// Removes what dead builds left. The caller holds the lock, so no build is alive.
fn remove_leftovers(cache: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == BUILDING) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// Indexes a corpus into an empty folder.
fn build(
    corpus: &Corpus,
    folder: &Path,
    layout: Layout,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Manifest, IndexError> {
    let cache = folder.parent().unwrap_or(folder);
    let failed = |error: TantivyError| cache_error(cache, io::Error::other(error));
    let (schema, fields) = schema();
    let settings = IndexSettings {
        docstore_blocksize: STORE_BLOCK_BYTES,
        ..IndexSettings::default()
    };
    let engine = tantivy::Index::builder()
        .schema(schema)
        .settings(settings)
        .tokenizers(tokenizers())
        .create_in_dir(folder)
        .map_err(failed)?;
    let options = IndexWriterOptions::builder()
        .num_worker_threads(layout.threads.clamp(1, THREADS_MAX))
        .memory_budget_per_thread(THREAD_BYTES_MAX)
        .build();
    let mut writer: IndexWriter = engine.writer_with_options(options).map_err(failed)?;
    let bytes_total = corpus.bytes();
    let mut documents = 0;
    let mut queued_bytes = 0;
    let mut stream = corpus.documents();
    while let Some(document) = stream.next() {
        let document = document?;
        queued_bytes += document.text.len() as u64;
        if let Err(error) = writer.add_document(indexed(&fields, document)) {
            // This says that a thread died; the commit says what it died of.
            return Err(failed(writer.commit().err().unwrap_or(error)));
        }
        if queued_bytes > QUEUED_BYTES_MAX {
            writer.commit().map_err(failed)?;
            queued_bytes = 0;
        }
        if documents % PROGRESS_DOCUMENTS == 0 {
            let bytes = stream.bytes();
            progress(Progress::Indexing { documents, bytes, bytes_total });
        }
        documents += 1;
    }
    progress(Progress::Finishing);
    writer.commit().map_err(failed)?;
    if documents <= layout.merged_documents_max {
        // Merges of the engine's own accord may be under way: a segment is merged once.
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let segments = engine.searchable_segment_ids().map_err(failed)?;
        if segments.len() > 1 {
            writer.merge(&segments).wait().map_err(failed)?;
        }
    }
    writer.wait_merging_threads().map_err(failed)?;
    let files = hash_files(folder)?;
    let corpus = corpus.digest();
    Ok(Manifest { format_version: FORMAT_VERSION, corpus, documents, files })
}

fn indexed(fields: &Fields, document: Document) -> TantivyDocument {
    let mut indexed = TantivyDocument::default();
    indexed.add_text(fields.id, &document.id);
    indexed.add_text(fields.title_key, title_key(&document.title));
    indexed.add_text(fields.title, &document.title);
    indexed.add_text(fields.text, &document.text);
    indexed
}

/// The digest of each file of an index.
fn hash_files(folder: &Path) -> Result<BTreeMap<String, Digest>, IndexError> {
    let failed = |error: io::Error| cache_error(folder, error);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (digest, _) = hash_file(&entry.path())?;
        files.insert(name, digest);
    }
    Ok(files)
}

/// Writes the manifest and sees to it that all of it is on the disk.
fn finish(folder: &Path, manifest: &Manifest) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(manifest)?;
    let path = folder.join(MANIFEST);
    fs::write(&path, json)?;
    File::open(&path)?.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Moves a finished index to its place, which at most a damaged one can hold: the caller
/// has the lock.
fn put_in_place(building: &Path, place: &Path, cache: &Path) -> io::Result<()> {
    if place.exists() {
        let aside = place.with_extension(format!("damaged.{BUILDING}"));
        fs::rename(place, &aside)?;
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(building, place)?;
    File::open(cache)?.sync_all()
}

fn cache_error(folder: &Path, error: io::Error) -> IndexError {
    IndexError::Cache { folder: PathBuf::from(folder), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// Documents that tie and nearly tie, drawn from few words.
    fn corpus(folder: &Path, documents: u32) -> Corpus {
        let words = ["ash", "birch", "cedar", "elm", "fir", "oak", "pine", "yew"];
        let mut state = 7_u32;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize % below
        };
        let mut lines = String::new();
        for document in 0..documents {
            let mut text = String::new();
            for _ in 0..4 + draw(4) {
                let _ = write!(text, "{} ", words[draw(words.len())]);
            }
            let title = words[draw(words.len())];
            let line = serde_json::json!({
                "id": format!("d{}", document * 7919 % documents),
                "title": title,
                "text": text,
            });
            let _ = writeln!(lines, "{line}");
        }
        let path = folder.join("documents.jsonl");
        fs::write(&path, lines).expect("a temporary folder can be written");
        Corpus::open(&path).expect("it was just written")
    }

    #[test]
    fn threads_and_segments_do_not_show() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let corpus = corpus(folder.path(), 3000);
        let built = |threads, merged_documents_max| {
            let cache = folder.path().join(format!("cache-{threads}"));
            let layout = Layout { threads, merged_documents_max };
            open_or_build(&corpus, &cache, layout, &|_| {}).expect("a sound corpus")
        };
        let (one, four) = (built(1, 0), built(4, 0));
        let merged = built(3, 3000);
        assert_ne!(one.segments(), four.segments(), "the layouts differ");
        assert_eq!(merged.segments(), 1);
        let words = "ash|birch|cedar|elm|fir|oak|pine|yew|title:|text:|\"| ";
        let queries = format!("({words}){{1,12}}");
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        runner
            .run(&(queries.as_str(), 1..30_usize), |(query, top_k)| {
                let found = one.search(&query, top_k).expect("no query fails");
                let again = four.search(&query, top_k).expect("no query fails");
                prop_assert_eq!(&found, &again);
                let merged = merged.search(&query, top_k).expect("no query fails");
                prop_assert_eq!(&found, &merged);
                for pair in found.hits.windows(2) {
                    let (a, b) = (&pair[0], &pair[1]);
                    let in_order = a.score > b.score
                        || (a.score == b.score && a.document.id < b.document.id);
                    prop_assert!(in_order, "{:?} before {:?}", a, b);
                }
                // What is best does not depend on how many are asked for.
                let more = one.search(&query, top_k + 10).expect("no query fails");
                prop_assert_eq!(&found.hits[..], &more.hits[..found.hits.len()]);
                Ok(())
            })
            .expect("every query ranks the same");
    }

    #[test]
    fn a_finished_index_can_be_read_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let corpus = corpus(folder.path(), 10);
        let cache = folder.path().join("cache");
        let layout = Layout { threads: 1, merged_documents_max: 10 };
        let built =
            open_or_build(&corpus, &cache, layout, &|_| {}).expect("a sound corpus");
        let place = cache.join(built.digest().to_string());
        let before = fs::read_dir(&place).expect("the index").count();
        drop(built);
        fs::remove_file(cache.join(LOCK)).expect("nobody holds it");
        open_or_build(&corpus, &cache, layout, &|_| {}).expect("the same index");
        assert!(!cache.join(LOCK).exists(), "opening takes no lock");
        assert_eq!(fs::read_dir(&place).expect("the index").count(), before);
    }
}
