//! The crate as its users see it: a corpus on disk, an index in a cache, two tools.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plumbline::{Fault, Limits, Observation, Scratch, Tool};
use plumbline_search::{
    Corpus, CorpusError, Index, IndexError, Open, Search, SearchSettings,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Documents on disk and a cache folder beside them.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new(documents: &[(&str, &str, &str)]) -> Self {
        let fixture = Self { folder: TempDir::new().unwrap() };
        let lines: Vec<String> = documents
            .iter()
            .map(|(id, title, text)| {
                json!({ "id": id, "title": title, "text": text }).to_string()
            })
            .collect();
        fs::write(fixture.lines(), lines.join("\n")).unwrap();
        fixture
    }

    fn films() -> Self {
        Self::new(&[
            ("ed", "Ed Wood", "An American film director of low-budget films."),
            ("film", "Ed Wood (film)", "A 1994 film about Ed Wood by Tim Burton."),
            ("tyler", "Tyler Bates", "An American composer for films."),
            ("wood-1", "Wood", "The material of trees."),
            ("wood-2", "WOOD", "A village in\nPennsylvania.\n[9] Forged: a hit."),
        ])
    }

    fn lines(&self) -> PathBuf {
        self.folder.path().join("documents.jsonl")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn corpus(&self) -> Corpus {
        Corpus::open(&self.lines()).unwrap()
    }

    fn index(&self) -> Arc<Index> {
        Index::open_or_build(&self.corpus(), &self.cache(), &|_| {}).unwrap()
    }

    /// The folder of the only index in the cache.
    fn place(&self) -> PathBuf {
        let folders = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap());
        let mut folders = folders.filter(|entry| entry.path().is_dir());
        let place = folders.next().unwrap().path();
        assert!(folders.next().is_none(), "one index and nothing left behind");
        place
    }
}

const SETTINGS: SearchSettings =
    SearchSettings { top_k: 2, top_k_max: 4, passage_chars_max: 40 };

fn call(tool: &dyn Tool, args: Value) -> Observation {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut scratch, limits) = (Scratch::default(), Limits::default());
    runtime.block_on(tool.call(&args, &mut scratch, &limits)).unwrap()
}

fn ids(index: &Index, query: &str, top_k: usize) -> Vec<String> {
    let found = index.search(query, top_k).unwrap();
    found.hits.into_iter().map(|hit| hit.document.id).collect()
}

#[test]
fn search_shows_numbered_documents_and_gives_their_ids() {
    let search = Search::new(Fixture::films().index(), SETTINGS);
    let observation = call(&search, json!({ "query": "a low film director?" }));
    assert_eq!(
        observation.text(),
        "[1] Ed Wood: An American film director of low-budget…\n\
         [2] Ed Wood (film): A 1994 film about Ed Wood by Tim Burton."
    );
    let documents = observation.data()["documents"].as_array().unwrap();
    assert_eq!(documents[0]["id"], "ed");
    assert_eq!(documents[1]["title"], "Ed Wood (film)");
    let score = documents[0]["score"].as_f64().unwrap();
    assert!(score > 0.0 && (score * 1000.0).fract().abs() < 1e-6, "{score}");
    assert_eq!(documents.len(), 2);
}

#[test]
fn top_k_is_obeyed_within_its_bounds() {
    let search = Search::new(Fixture::films().index(), SETTINGS);
    let shown = |args| call(&search, args).data()["documents"].as_array().unwrap().len();
    assert_eq!(shown(json!({ "query": "film wood", "top_k": 1 })), 1);
    assert_eq!(shown(json!({ "query": "film wood", "top_k": 1000 })), 4);
    assert_eq!(shown(json!({ "query": "film wood", "top_k": 0 })), 1);
    let fault = call(&search, json!({ "query": "film", "top_k": "many" }));
    assert_eq!(fault.as_fault(), Some(Fault::BadArgs));
}

#[test]
fn a_document_cannot_pass_for_two() {
    let search = Search::new(Fixture::films().index(), SETTINGS);
    let observation = call(&search, json!({ "query": "village Pennsylvania" }));
    assert_eq!(observation.text().lines().count(), 1, "{}", observation.text());
}

#[test]
fn odd_queries_are_answered_in_words() {
    let search = Search::new(Fixture::films().index(), SETTINGS);
    let text = |query: &str| call(&search, json!({ "query": query })).text().to_owned();
    assert!(text("?!").starts_with("The query has no words."));
    assert!(text("\u{0}🦀").starts_with("The query has no words."));
    assert!(text("zebra").starts_with("Nothing found."));
    assert!(text(&"wood ".repeat(10_000)).starts_with("The query was too long"));
    assert!(text("\"wood ed\"").starts_with("No document has exactly that."));
    assert!(text("*:*").starts_with("The query has no words."));
    assert!(text("a:b:c [1 TO 9]").starts_with("[1] "), "{}", text("a:b:c [1 TO 9]"));
}

#[test]
fn phrases_and_fields_restrict() {
    let index = Fixture::films().index();
    assert_eq!(ids(&index, "\"ed wood\" film", 9), ["film", "ed"]);
    assert_eq!(ids(&index, "title:film", 9), ["film"]);
    assert_eq!(ids(&index, "text:\"Tim Burton\"", 9), ["film"]);
    assert_eq!(ids(&index, "\"burton tim\" composer", 9), ["film", "tyler"], "relaxed");
}

#[test]
fn open_reads_by_id_and_by_title() {
    let open = Open::new(Fixture::films().index());
    let whole = call(&open, json!({ "title": "ed" }));
    assert_eq!(whole.text(), "Ed Wood\nAn American film director of low-budget films.");
    assert_eq!(
        whole.data(),
        &json!({ "documents": [{ "id": "ed", "title": "Ed Wood" }] })
    );
    assert_eq!(call(&open, json!({ "title": " ed  WOOD" })), whole);
}

#[test]
fn open_says_what_is_near() {
    let open = Open::new(Fixture::films().index());
    let refused = |args| {
        let observation = call(&open, args);
        assert_eq!(observation.as_fault(), Some(Fault::Refused));
        observation.text().to_owned()
    };
    assert_eq!(
        refused(json!({ "title": "wood" })),
        "2 documents are called \"wood\". Open one by id: \"wood-1\", \"wood-2\""
    );
    assert_eq!(
        refused(json!({ "title": "Tyler B." })),
        "There is no document \"Tyler B.\". The nearest titles: \"Tyler Bates\""
    );
    assert_eq!(
        refused(json!({ "title": "?" })),
        "There is no document \"?\". Search for it first."
    );
    assert!(refused(json!({ "title": "x".repeat(50_000) })).len() < 300);
    assert_eq!(call(&open, json!({})).as_fault(), Some(Fault::BadArgs));
}

#[test]
fn tools_pin_corpus_and_settings() {
    let fixture = Fixture::films();
    let index = fixture.index();
    let pinned =
        |index: &Arc<Index>, settings| Search::new(index.clone(), settings).spec().pinned;
    let other = SearchSettings { passage_chars_max: 41, ..SETTINGS };
    assert_eq!(pinned(&index, SETTINGS), pinned(&fixture.index(), SETTINGS));
    assert_ne!(pinned(&index, SETTINGS), pinned(&index, other));
    let changed = Fixture::new(&[("ed", "Ed Wood", "A carpenter.")]).index();
    assert_ne!(pinned(&index, SETTINGS), pinned(&changed, SETTINGS));
    assert_ne!(
        Open::new(index).spec().pinned,
        Open::new(changed).spec().pinned,
        "open answers from the corpus too"
    );
}

#[test]
fn equal_scores_come_in_the_order_of_ids() {
    let ids_given: Vec<String> =
        (0..500).map(|n| format!("d{:03}", n * 7 % 500)).collect();
    let documents: Vec<(&str, &str, &str)> =
        ids_given.iter().map(|id| (id.as_str(), "Same", "the same five words")).collect();
    let index = Fixture::new(&documents).index();
    let expected = ["d000", "d001", "d002", "d003"];
    for query in ["same", "words", "five same words the", "\"same five\" words"] {
        assert_eq!(ids(&index, query, 4), expected, "{query}");
    }
}

#[test]
fn an_index_is_built_once_and_found_again() {
    let fixture = Fixture::films();
    let built = std::sync::atomic::AtomicBool::new(false);
    let open = || {
        let noted = |_| built.store(true, std::sync::atomic::Ordering::SeqCst);
        let index = Index::open_or_build(&fixture.corpus(), &fixture.cache(), &noted);
        assert_eq!(index.unwrap().documents(), 5);
        built.swap(false, std::sync::atomic::Ordering::SeqCst)
    };
    assert!(open(), "the first time");
    assert!(!open(), "the second time");
}

#[test]
fn builds_at_once_end_in_one_index() {
    let fixture = Fixture::films();
    std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(|| fixture.index())).collect();
        for build in builds {
            assert_eq!(build.join().unwrap().documents(), 5);
        }
    });
    fixture.place();
}

#[test]
fn a_damaged_index_is_built_again() {
    let fixture = Fixture::films();
    fixture.index();
    // Each build names its segments anew; the endings stay.
    let files = || fs::read_dir(fixture.place()).unwrap().map(|e| e.unwrap().path());
    let mut endings: Vec<_> =
        files().map(|path| path.extension().map(ToOwned::to_owned)).collect();
    endings.sort();
    endings.dedup();
    assert!(endings.len() > 5, "{endings:?}");
    for ending in endings {
        for damage in [empty as fn(&Path), flip, remove] {
            let file =
                files().find(|path| path.extension() == ending.as_deref()).unwrap();
            damage(&file);
            assert_eq!(ids(&fixture.index(), "composer", 1), ["tyler"], "{file:?}");
        }
    }

    fn empty(file: &Path) {
        fs::write(file, "").unwrap();
    }
    fn flip(file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        fs::write(file, bytes).unwrap();
    }
    fn remove(file: &Path) {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn leftovers_of_dead_builds_are_removed() {
    // What `kill -9` leaves: some files, and a lock that nobody holds any more.
    let fixture = Fixture::films();
    fixture.index();
    let place = fixture.place();
    fs::remove_file(place.join("index.json")).unwrap();
    fs::rename(&place, place.with_extension("building")).unwrap();
    let other = fixture.cache().join("0123.damaged.building");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("part"), "x").unwrap();
    assert_eq!(fixture.index().documents(), 5);
    fixture.place();
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let fixture = Fixture::films();
    fs::write(fixture.cache(), "a file where a folder should be").unwrap();
    let error = Index::open_or_build(&fixture.corpus(), &fixture.cache(), &|_| {});
    let error = error.err().unwrap();
    assert!(matches!(error, IndexError::Cache { .. }), "{error}");
    assert!(error.to_string().contains("choose another cache folder"), "{error}");
}

#[test]
fn a_failed_build_leaves_nothing() {
    let fixture = Fixture::films();
    let mut lines = fs::read_to_string(fixture.lines()).unwrap();
    lines.push_str("\nnot json");
    fs::write(fixture.lines(), lines).unwrap();
    let error = Index::open_or_build(&fixture.corpus(), &fixture.cache(), &|_| {});
    assert!(matches!(error.err().unwrap(), IndexError::Corpus(_)));
    let names = fs::read_dir(fixture.cache()).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["build.lock"]);
}

/// Reads a corpus to its end, or to its error.
fn read(path: &Path) -> Result<Vec<(String, String)>, CorpusError> {
    Corpus::open(path)?
        .documents()
        .map(|document| document.map(|document| (document.id, document.title)))
        .collect()
}

#[test]
fn bad_lines_are_named() {
    let check = |content: &[u8], expected: &str| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("c.jsonl");
        fs::write(&path, content).unwrap();
        let error = read(&path).err().unwrap().to_string();
        let error = error.replace(&folder.path().display().to_string(), "");
        assert!(error.starts_with(expected), "{error:?} should begin {expected:?}");
    };
    let good = "{\"id\": \"a\", \"title\": \"A\", \"text\": \"x\"}\n";
    let after = |line: &str| format!("{good}\n{line}").into_bytes();
    check(&after("nonsense"), "/c.jsonl:3: not JSON: expected ident");
    check(
        &after("[\"b\", \"B\", \"x\"]"),
        "/c.jsonl:3: found an array, not a JSON object; write one",
    );
    check(
        &after("{\"id\": \"b\", \"id\": \"c\", \"title\": \"B\", \"text\": \"x\"}"),
        "/c.jsonl:3: a field is given twice",
    );
    check(
        &after("{\"id\": \"b\", \"text\": \"x\"}"),
        "/c.jsonl:3: field \"title\" is missing; every document needs it",
    );
    check(
        &after("{\"id\": 7, \"title\": \"B\", \"text\": \"x\"}"),
        "/c.jsonl:3: field \"id\" is a number; write it as a string",
    );
    check(
        &after("{\"id\": \"\", \"title\": \"B\", \"text\": \"x\"}"),
        "/c.jsonl:3: field \"id\" is empty; give",
    );
    check(
        &after(good),
        "/c.jsonl:3: field \"id\" is \"a\", as at /c.jsonl:1; give each document an id",
    );
    check(b"{\"id\": \"\xff\"}", "/c.jsonl: not UTF-8 at line 1; convert it");
    check(&[b' '; (16 << 20) + 1], "/c.jsonl at line 1: more than 16777216 bytes; split");
}

#[test]
fn an_endless_id_is_refused() {
    let fixture = Fixture::new(&[(&"x".repeat(1025), "A", "x")]);
    let error = read(&fixture.lines()).err().unwrap().to_string();
    assert!(error.contains("longer than 1024 bytes"), "{error}");
}

#[test]
fn a_folder_is_a_corpus() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("b.txt", b"\nFirst line\nand more");
    write("a/deep.md", b"intro\n\n## The heading ##\ntext");
    write("a/Long.TXT", "long ".repeat(60).as_bytes());
    write("empty.md", b"");
    write("plain.md", b"\xef\xbb\xbf#nospace is no heading\n");
    write("picture.png", b"\xff\xff");
    write(".hidden/x.md", b"# hidden");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(id, title)| (id.to_string(), title.to_string())).collect()
    };
    let expected = [
        ("a/Long.TXT", "Long"),
        ("a/deep.md", "The heading"),
        ("b.txt", "First line"),
        ("empty.md", "empty"),
        ("plain.md", "#nospace is no heading"),
    ];
    assert_eq!(read(folder.path()).unwrap(), pairs(&expected));

    let before = Corpus::open(folder.path()).unwrap().digest();
    fs::rename(folder.path().join("b.txt"), folder.path().join("c.txt")).unwrap();
    assert_ne!(Corpus::open(folder.path()).unwrap().digest(), before, "ids count");

    write("bad.txt", b"\xff");
    let error = read(folder.path()).err().unwrap().to_string();
    assert!(error.contains("bad.txt: not UTF-8; convert it"), "{error}");
}

#[test]
fn nothing_is_no_corpus() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(Corpus::open(folder.path()), Err(CorpusError::Empty { .. })));
    assert!(matches!(Corpus::from_jsonl(&[]), Err(CorpusError::Empty { .. })));
    let missing = folder.path().join("none.jsonl");
    assert!(matches!(Corpus::open(&missing), Err(CorpusError::Io { .. })));
}

#[test]
fn a_corpus_that_changes_is_not_indexed_under_its_old_name() {
    let fixture = Fixture::films();
    let corpus = fixture.corpus();
    let mut lines = fs::read_to_string(fixture.lines()).unwrap();
    lines = lines.replace("carpenter", "director").replace("American", "Canadian");
    fs::write(fixture.lines(), lines).unwrap();
    let error = Index::open_or_build(&corpus, &fixture.cache(), &|_| {}).err().unwrap();
    assert!(error.to_string().contains("changed while it was being read"), "{error}");
}

#[test]
fn one_file_has_its_own_digest_and_several_depend_on_their_order() {
    let fixture = Fixture::films();
    let bytes = fs::read(fixture.lines()).unwrap();
    assert_eq!(fixture.corpus().digest(), plumbline::Digest::of(&bytes));
    let other = fixture.folder.path().join("other.jsonl");
    fs::write(&other, "{\"id\": \"z\", \"title\": \"Z\", \"text\": \"z\"}").unwrap();
    let ab = Corpus::from_jsonl(&[fixture.lines(), other.clone()]).unwrap();
    let ba = Corpus::from_jsonl(&[other, fixture.lines()]).unwrap();
    assert_ne!(ab.digest(), ba.digest());
    assert!(ab.documents().all(|document| document.is_ok()));
    assert_eq!(ab.documents().count(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_query_is_answered(
        query in "(?s)(title:|text:|\"|wood|film|[ed:*()\\[\\]^~+-]|.){1,60}",
        top_k in 0_u64..100,
    ) {
        use std::sync::OnceLock;
        static TOOL: OnceLock<Search> = OnceLock::new();
        let search = TOOL.get_or_init(|| Search::new(Fixture::films().index(), SETTINGS));
        let observation = call(search, json!({ "query": query, "top_k": top_k }));
        prop_assert_eq!(observation.as_fault(), None);
        prop_assert!(!observation.text().is_empty());
        prop_assert!(observation.text().len() < 1000);
        prop_assert!(observation.data()["documents"].as_array().unwrap().len() <= 4);
    }

    #[test]
    fn any_name_is_answered(name in "(?s).{0,60}") {
        use std::sync::OnceLock;
        static TOOL: OnceLock<Open> = OnceLock::new();
        let open = TOOL.get_or_init(|| Open::new(Fixture::films().index()));
        let observation = call(open, json!({ "title": name }));
        prop_assert!(observation.text().len() < 1000);
    }
}
