use plumbline::{Fault, Limits, Observation, Scratch, Tool};
use plumbline_sql::{Describe, Engine, NOW};
use serde_json::json;

use crate::{World, open};

#[test]
fn tables_keep_their_types() {
    let world = World::new();
    let query = "SELECT name, people, 1.0 AS one, x'00ff' AS raw, 9e999 AS much, \
                 9223372036854775807 AS large, CAST(x'ff41' AS TEXT) AS odd \
                 FROM city ORDER BY name DESC LIMIT 1";
    let observation = world.run(query, &mut world.start());
    let row = json!(["Sorn", null, 1.0, {"blob": "00ff"}, {"real": "inf"},
        9223372036854775807i64, {"text": "ff41"}]);
    assert_eq!(observation.data()["rows"], json!([row]));
    assert_eq!(observation.data()["row_count"], 1);
    assert!(observation.text().starts_with("name | people | one | raw"));
    let many = world.run("SELECT i FROM number WHERE i <= 30", &mut world.start());
    assert_eq!(many.data()["truncated"], true);
    assert_eq!(many.data()["rows"].as_array().map(Vec::len), Some(30));
    assert!(many.text().ends_with("(30 rows; the first 20 are shown)"));
}

#[test]
fn the_clock_stands_still_in_greenwich() {
    let world = World::new();
    let is = |expression: &str, expected: &str| {
        let observation =
            world.run(&format!("SELECT {expression} AS x"), &mut world.start());
        assert_eq!(observation.text(), format!("x\n{expected}\n(1 row)"), "{expression}");
    };
    for now in [
        "CURRENT_TIMESTAMP",
        "datetime()",
        "datetime('now')",
        "datetime('NOW', 'localtime')",
        "datetime('now', 'utc')",
        "datetime('n' || 'ow')",
        "strftime('%Y-%m-%d %H:%M:%S')",
        "strftime('%Y-%m-%d %H:%M:%S', 'now')",
        "datetime(unixepoch(), 'unixepoch')",
        "datetime(julianday('now'))",
        "CURRENT_DATE || ' ' || CURRENT_TIME",
    ] {
        is(now, NOW);
    }
    is("date('now', '-1 month', 'start of month')", "2025-12-01");
    is("datetime('2024-02-29 10:00', '+1 year')", "2025-03-01 10:00:00");
    is("strftime('%Y', '1999-05-05')", "1999");
    is("timediff('now', '2025-01-01')", "+0001-00-00 00:00:00.000");
    is("date('nonsense')", "NULL");
}

#[test]
fn errors_say_where_and_what_was_meant() {
    let world = World::new();
    let check = |query: &str, words: &[&str]| {
        let observation = world.run(query, &mut world.start());
        assert_eq!(observation.as_fault(), Some(Fault::Trap), "{observation:?}");
        for word in words {
            let text = observation.text();
            assert!(text.contains(word), "{text:?} lacks {word:?}");
        }
    };
    check("SELECT peple FROM city", &["line 1, character 8", "\"people\", of city"]);
    check("SELECT name\nFROM citty", &["did you mean \"city\"?"]);
    check("SELECT km FROM city", &["line 1, character 8", "is in river"]);
    check("SELECT c.km FROM city AS c", &["is in river"]);
    check("SELECT nothing_like_it FROM city", &["city", "mouths", "number", "river"]);
    check("SELEC name FROM city", &["line 1, character 1", "SELECT"]);
    check("SELECT name FORM city", &["near"]);
    check("SELECT year(name) FROM city", &["strftime"]);
    check("SELECT i FROM number a, number b", &["a", "ambiguous", "number"]);
    check("SELECT people FROM city GROUP BY", &["incomplete input"]);
}

#[test]
fn a_limit_reproduces_to_the_step() {
    let mut world = World::new();
    let query = "SELECT count(*) FROM number a, number b WHERE a.i < b.i";
    let mut least = None;
    for thousands in 1..20_000 {
        world.limits = Limits { sql_steps_max: thousands * 100_000, ..Limits::default() };
        let observation = world.run(query, &mut world.start());
        let again = world.run(query, &mut world.start());
        assert_eq!(observation, again);
        if observation.as_fault().is_none() {
            least = Some(thousands);
            break;
        }
    }
    let least = least.expect("it ends") * 100_000;
    for (steps, fault) in [(least, None), (least - 100_000, Some(Fault::Limit))] {
        world.limits = Limits { sql_steps_max: steps, ..Limits::default() };
        for _ in 0..3 {
            assert_eq!(world.run(query, &mut world.start()).as_fault(), fault);
        }
    }
}

#[test]
fn a_database_is_described() {
    let world = World::new();
    let all = world.describe(json!({}));
    assert_eq!(
        all.text(),
        "database rivers: 4 tables\n\
         city(name TEXT key, people INTEGER) 3 rows\n\
         view mouths(title TEXT, people INTEGER) 1 row\n\
         number(i INTEGER) 1000 rows\n\
         river(id INTEGER key, title TEXT not null, km REAL, mouth TEXT -> city.name) 2 rows"
    );
    assert_eq!(all.data()["tables"][3]["columns"][3]["references"], "city.name");
    let river = world.describe(json!({ "table": "RIVER" }));
    assert!(river.text().contains("1 | Sorn | 91.5 | Orrin"), "{}", river.text());
    let people = world.describe(json!({ "table": "city", "column": "people" }));
    assert_eq!(
        people.text(),
        "city.people INTEGER: 3 rows, 1 NULL, 2 distinct, from 800 to 1200\n800 (1)\n1200 (1)"
    );
    let few = world.describe(json!({ "table": "number", "column": "i", "distinct": 2 }));
    assert_eq!(few.data()["values"], json!([[1, 1], [2, 1]]));
    assert!(few.text().ends_with("…"));
}

#[test]
fn what_cannot_be_described_is_explained() {
    let world = World::new();
    let check = |args, words: &str| {
        let observation = world.describe(args);
        assert_eq!(observation.as_fault(), Some(Fault::BadArgs));
        assert!(observation.text().contains(words), "{}", observation.text());
    };
    check(json!({ "table": "citty" }), "\"city\"");
    check(json!({ "table": "city", "column": "peopl" }), "\"people\"");
    check(json!({ "column": "km" }), "it is in river");
    check(json!({ "table": "\"; DROP TABLE city; --" }), "there are: city");
}

#[test]
fn the_task_says_which_database_and_nothing_else_is_reached() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["one", "two words"] {
        let script = format!("CREATE TABLE \"{name}\"(x);");
        std::fs::write(dir.path().join(format!("{name}.sql")), script).expect("a file");
    }
    let engine = std::sync::Arc::new(Engine::read_only(open(dir.path())));
    let describe = Describe::new(engine);
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let ask = |inputs| {
        let mut scratch = Scratch::of_inputs(&inputs);
        runtime.block_on(describe.call(&json!({}), &mut scratch, &Limits::default()))
    };
    let two = ask(json!({ "database": "two words" })).expect("it is there");
    assert!(
        matches!(&two, Observation::Output { text, .. } if text.contains("two words(x)"))
    );
    for inputs in [json!(null), json!({ "database": "../one" }), json!({ "database": 7 })]
    {
        let error = ask(inputs).expect_err("it names no database").to_string();
        assert!(error.contains("one, two words"), "{error}");
    }
}
