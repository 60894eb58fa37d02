use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::World;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    query: String,
    ends: String,
    #[serde(default)]
    says: String,
    #[serde(default)]
    writable: bool,
}

#[test]
fn each_ends_as_it_must_and_the_next_step_works() {
    let cases: Cases = toml::from_str(include_str!("escapes.toml")).expect("the cases");
    let (reading, writing) = (World::new(), World::writable());
    let mut wrong = Vec::new();
    for case in &cases.case {
        let world = if case.writable { &writing } else { &reading };
        let query = expanded(&case.query);
        let mut scratch = world.start();
        let started = Instant::now();
        let observation = world.run(&query, &mut scratch);
        let took = started.elapsed();
        let ends = match observation.as_fault() {
            None => "output".to_owned(),
            Some(fault) => serde_json::to_value(fault)
                .expect("a fault has a name")
                .as_str()
                .expect("its name is a text")
                .to_owned(),
        };
        let text = observation.text();
        if ends != case.ends
            || !text.contains(&case.says)
            || took > Duration::from_secs(20)
        {
            wrong.push(format!("{}: {ends} after {took:?}: {text:.300}", case.name));
        }
        let again = world.run(&query, &mut world.start());
        if again != observation {
            wrong.push(format!("{}: the second time {:.300}", case.name, again.text()));
        }
        let next = world.run("SELECT count(*) FROM number", &mut scratch);
        if next.text() != "count(*)\n1000\n(1 row)" {
            wrong.push(format!("{}: and then {next:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(!std::path::Path::new("/tmp/plumb-escape.db").exists());
    assert!(cases.case.len() >= 60);
}

/// `{n:TEXT}` written out.
fn expanded(query: &str) -> String {
    let mut out = String::new();
    let mut rest = query;
    while let Some(start) = rest.find('{') {
        let digits = rest[start + 1..].chars().take_while(char::is_ascii_digit).count();
        let after = start + 1 + digits;
        let end = rest[after..].find('}').map(|end| after + end);
        match (rest[start + 1..after].parse::<usize>(), end) {
            (Ok(times), Some(end)) if rest[after..].starts_with(':') => {
                out.push_str(&rest[..start]);
                out.push_str(&rest[after + 1..end].repeat(times));
                rest = &rest[end + 1..];
            }
            _ => {
                out.push_str(&rest[..=start]);
                rest = &rest[start + 1..];
            }
        }
    }
    out + rest
}
