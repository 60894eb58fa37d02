//! The repository's rules, as far as a program can check them. Each says what to do instead.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Names that say nothing and so collect everything.
const BANNED_FILES: [&str; 9] =
    ["utils", "util", "common", "helpers", "helper", "misc", "core", "base", "prelude"];
/// Suffixes of types that do everything.
const BANNED_SUFFIXES: [&str; 4] = ["Manager", "Handler", "Service", "Helper"];
/// Lines of a file that are not tests.
const CODE_LINES_MAX: usize = 800;
/// The widest line rustfmt leaves, with room for a string that cannot be broken.
const LINE_CHARS_MAX: usize = 160;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder with this extension, in order.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("a folder of the repository");
        for entry in entries.map(|entry| entry.expect("a readable entry").path()) {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or("");
            if entry.is_dir()
                && !name.starts_with('.')
                && name != "target"
                && name != "runs"
            {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == extension) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    files(&root, "rs")
        .into_iter()
        .map(|path| {
            let name =
                path.strip_prefix(&root).expect("it is below").display().to_string();
            (name, fs::read_to_string(&path).expect("sources are UTF-8"))
        })
        .collect()
}

/// A source without its unit tests, which come last in a file.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

#[track_caller]
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn what_tests_fetch_is_pinned() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("it is there");
    let makefile = makefile.replace("\\\n", " ");
    let lists = makefile.lines().filter_map(|line| line.split_once("_GUESTS := "));
    let mut problems = Vec::new();
    for (installer, packages) in lists {
        let version = if installer == "NPM" { "@" } else { "==" };
        for package in packages.split_whitespace() {
            // A scope begins with an @ as well.
            let is_pinned = package.rfind(version).is_some_and(|at| at > 0);
            if !is_pinned {
                problems.push(format!("Makefile: {package}: which version?"));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn the_top_level_is_fixed() {
    const EXPECTED: [&str; 10] = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "Makefile",
        "README.md",
        "corpora",
        "crates",
        "environments",
        "examples",
        "tests",
    ];
    let entries = fs::read_dir(root()).expect("the repository");
    let problems: Vec<String> = entries
        .map(|entry| {
            entry.expect("a readable entry").file_name().to_string_lossy().into_owned()
        })
        .filter(|name| !name.starts_with('.') && name != "target" && name != "runs")
        .filter(|name| !EXPECTED.contains(&name.as_str()))
        .map(|name| {
            format!("{name}: the top level is fixed; put it into one of its folders")
        })
        .collect();
    assert_none(&problems);
}

#[test]
fn no_file_or_type_has_a_name_that_says_nothing() {
    let mut problems = Vec::new();
    for (name, text) in sources() {
        let stem =
            Path::new(&name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        if BANNED_FILES.contains(&stem) {
            problems.push(format!("{name}: name it after the noun that is missing"));
        }
        for line in without_tests(&text).lines() {
            let words: Vec<&str> =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let declared =
                words.windows(2).find(|w| ["struct", "enum", "trait"].contains(&w[0]));
            let Some(declared) =
                declared.filter(|_| !line.trim_start().starts_with("//"))
            else {
                continue;
            };
            if BANNED_SUFFIXES.iter().any(|suffix| declared[1].ends_with(suffix)) {
                problems.push(format!("{name}: {}: say what it is", declared[1]));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn files_are_short_and_lines_are_narrow() {
    let mut problems = Vec::new();
    for (name, text) in sources() {
        let lines = without_tests(&text).lines().count();
        if lines > CODE_LINES_MAX {
            problems
                .push(format!("{name}: {lines} lines of code; at most {CODE_LINES_MAX}"));
        }
        for (index, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX {
                problems
                    .push(format!("{name}:{}: longer than {LINE_CHARS_MAX}", index + 1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn features_are_named_in_the_catalog_alone() {
    // The llama crate asks once whether a GPU feature was built in.
    const ALLOWED: [&str; 2] = ["crates/plumb/catalog.rs", "crates/plumbline-llama/src/"];
    let problems: Vec<String> = sources()
        .into_iter()
        .filter(|(name, _)| !ALLOWED.iter().any(|allowed| name.starts_with(allowed)))
        .filter(|(name, _)| name != "tests/tidy.rs")
        .filter(|(_, text)| text.contains("cfg(feature") || text.contains("cfg!(feature"))
        .map(|(name, _)| {
            format!("{name}: cfg(feature) belongs into crates/plumb/catalog.rs")
        })
        .collect();
    assert_none(&problems);
}

#[test]
fn arrows_between_crates_point_one_way() {
    let mut problems = Vec::new();
    for manifest in files(&root().join("crates"), "toml") {
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let name = manifest.parent().and_then(Path::file_name).expect("a crate's folder");
        let known: Vec<&str> = text
            .split("[dev-dependencies]")
            .next()
            .unwrap_or("")
            .lines()
            .filter(|line| line.starts_with("plumb"))
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .collect();
        let allowed: &[&str] = if name == "plumbline" { &[] } else { &["plumbline"] };
        for known in known.iter().filter(|known| !allowed.contains(known)) {
            problems.push(format!("{}: must not know {known}", manifest.display()));
        }
    }
    assert_none(&problems);
}

#[test]
fn arrows_inside_the_library_point_one_way() {
    // What a room must not mention, by the beginning of its path.
    let nouns = [
        "action", "digest", "label", "limits", "scratch", "step", "task", "tree",
        "verdict",
    ];
    let rooms = ["verifiers", "explore", "store", "export", "import", "policies"];
    let mut forbidden: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for noun in nouns {
        let seams = ["Policy", "Verifier", "Environment", "Episode"];
        let words = seams.iter().map(|seam| format!("dyn {seam}"));
        let words = words.chain(rooms.iter().map(|room| format!("crate::{room}")));
        forbidden.insert(format!("crates/plumbline/src/{noun}.rs"), words.collect());
    }
    for verb in ["episode", "grow", "replay", "tool", "policy", "verifier", "environment"]
    {
        let words = rooms.iter().map(|room| format!("crate::{room}"));
        forbidden.insert(format!("crates/plumbline/src/{verb}.rs"), words.collect());
    }
    for adapter in
        ["http", "llama", "mcp", "parquet", "process", "search", "solve", "sql", "wasm"]
    {
        let words = ["plumbline::store", "plumbline::Episode", "plumbline::grow"];
        let words = words.iter().map(|word| (*word).to_owned());
        forbidden.insert(format!("crates/plumbline-{adapter}/src/"), words.collect());
    }
    let mut problems = Vec::new();
    for (name, text) in sources() {
        let rules = forbidden.iter().filter(|(room, _)| name.starts_with(room.as_str()));
        for word in rules.flat_map(|(_, words)| words) {
            if without_tests(&text).contains(word.as_str()) {
                problems.push(format!("{name}: must not know {word}"));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_is_left_unfinished_and_nothing_is_ignored() {
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("FIX", "ME"),
    ];
    let mut problems = Vec::new();
    for (name, text) in sources() {
        for mark in marks.iter().filter(|mark| text.contains(**mark)) {
            problems.push(format!("{name}: {mark}"));
        }
    }
    assert_none(&problems);
}

#[test]
fn every_crate_is_described() {
    let page = fs::read_to_string(root().join("crates/README.md"))
        .expect("the architecture page");
    let crates = fs::read_dir(root().join("crates")).expect("the crates");
    let problems: Vec<String> = crates
        .map(|entry| entry.expect("a readable entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !page.contains(&format!("`{name}`")))
        .map(|name| format!("crates/README.md: says nothing about `{name}`"))
        .collect();
    assert_none(&problems);
}

#[test]
fn no_data_and_no_model_lies_in_the_repository() {
    let mut problems = Vec::new();
    for extension in ["gguf", "whl", "wasm", "sqlite", "db", "parquet"] {
        for file in files(&root(), extension) {
            problems.push(format!("{}: belongs into the cache", file.display()));
        }
    }
    assert_none(&problems);
}
