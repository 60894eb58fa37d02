use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plumbline::comparators::Table;
use plumbline::{Limits, Scratch, Tool};
use plumbline_sql::{Engine, Sql, SqlSettings};
use serde_json::{Value, json};

use crate::open;

/// The folder with real data, where there is one; says so where there is none.
fn published(set: &str) -> Option<PathBuf> {
    let given = std::env::var_os("PLUMBLINE_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folders = given.into_iter().chain([beside]);
    let found =
        folders.map(|dir| dir.join("text2sql").join(set)).find(|dir| dir.is_dir());
    if found.is_none() {
        println!("{set}: skipped, there is no data: set PLUMBLINE_DATA");
    }
    found
}

/// Executes every gold query and holds its result against the recorded one. Returns how many
/// were equal, and the others by what they came to.
fn check(set: &str) -> Option<(usize, BTreeMap<String, Vec<String>>)> {
    let dir = published(set)?;
    let cache = tempfile::tempdir().expect("a temporary folder");
    let copy = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(&dir).expect("the data").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "sqlite") {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name()))
                .expect("a copy");
        }
    }
    drop(cache);
    let engine = std::sync::Arc::new(Engine::read_only(open(copy.path())));
    let sql = Sql::new(engine, SqlSettings { rows_shown: 20 });
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let text =
        std::fs::read_to_string(dir.join("questions.jsonl")).expect("the questions");
    let limits =
        Limits { rows_max: 100_000, output_bytes_max: 64 << 20, ..Limits::default() };
    let (mut equal, mut others) = (0, BTreeMap::<String, Vec<String>>::new());
    for line in text.lines() {
        let question: Value = serde_json::from_str(line).expect("a line of JSON");
        let query = question["sql"].as_str().or(question["gold_sqls"][0].as_str());
        let query = query.expect("a gold query");
        // Some questions spell a database otherwise than its file.
        let database = question["db_id"].as_str().expect("a name").to_lowercase();
        let mut scratch = Scratch::of_inputs(&json!({ "database": database }));
        let args = json!({ "query": query });
        let observed = runtime.block_on(sql.call(&args, &mut scratch, &limits));
        let observed = observed.expect("the tool answers");
        let mut note = |kind: String| {
            others
                .entry(kind)
                .or_default()
                .push(format!("{}: {query}", question["db_id"]));
        };
        if let Some(fault) = observed.as_fault() {
            note(format!("{fault:?}: {}", observed.text().lines().next().unwrap_or("")));
            continue;
        }
        let rows = |value: &Value| -> Vec<Vec<Value>> {
            let rows = value.as_array().into_iter().flatten();
            rows.map(|row| row.as_array().cloned().unwrap_or_default()).collect()
        };
        let (found, recorded) =
            (rows(&observed.data()["rows"]), rows(&question["result"]));
        // What was recorded of a long result is its beginning.
        let total = question["n_rows"].as_u64().map_or(recorded.len(), |n| n as usize);
        let is_cut = recorded.len() < total || (total == 50 && found.len() > total);
        let found: Vec<_> = match is_cut {
            true if found.len() >= total => {
                found.into_iter().take(recorded.len()).collect()
            }
            _ => found,
        };
        let comparison = Table::default().compare_rows(&found, &recorded);
        match (comparison.strict, comparison.relaxed) {
            (true, _) => equal += 1,
            (false, true) => note(format!("relaxed: {}", comparison.reason)),
            (false, false) => note("differs".to_owned()),
        }
    }
    for (kind, queries) in &others {
        println!("{set}: {} {kind}", queries.len());
        for query in queries.iter().take(8) {
            println!("    {query:.300}");
        }
    }
    println!("{set}: {equal} equal");
    Some((equal, others))
}

#[test]
fn geography_gives_the_recorded_results() {
    let Some((equal, others)) = check("geography") else { return };
    assert_eq!((equal, others.len()), (872, 0), "{others:#?}");
}

#[test]
fn defog_gives_the_recorded_results() {
    let Some((equal, others)) = check("defog") else { return };
    assert_eq!((equal, others.len()), (197, 0), "{others:#?}");
}

#[test]
fn spider_gives_the_recorded_results() {
    let Some((equal, others)) = check("spider_train") else { return };
    assert_eq!((equal, others.len()), (3525, 0), "{others:#?}");
}
