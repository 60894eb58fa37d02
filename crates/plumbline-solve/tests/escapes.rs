use std::time::{Duration, Instant};

use plumbline::{Episode, Limits, Observation, ToolCall};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{block_on, world};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    args: String,
    ends: String,
    #[serde(default)]
    says: String,
}

#[test]
fn each_ends_as_it_must_and_the_next_step_works() {
    let cases: Cases = toml::from_str(include_str!("escapes.toml")).expect("the cases");
    let limits = Limits { nodes_max: 1_000, ..Limits::default() };
    let world = world(limits);
    let mut episode = Episode::new(&world, &Value::Null, None);
    let mut call = |args: Value| -> Observation {
        let call = ToolCall { id: "call_0".into(), tool: "solve".into(), args };
        block_on(episode.call(&call)).expect("no clock strikes")
    };
    let mut wrong = Vec::new();
    for case in &cases.case {
        let args: Value = serde_json::from_str(&case.args).expect(&case.name);
        let args = expanded(&args);
        let started = Instant::now();
        let observed = call(args.clone());
        let took = started.elapsed();
        let ends = match observed.as_fault() {
            None => "output".to_owned(),
            Some(fault) => {
                let name = serde_json::to_value(fault).expect("a fault has a name");
                name.as_str().expect("its name is a text").to_owned()
            }
        };
        let text = observed.text();
        let slow = took > Duration::from_secs(60);
        if ends != case.ends || !text.contains(&case.says) || slow {
            wrong.push(format!("{}: {ends} after {took:?}: {text:.300}", case.name));
        }
        if call(args) != observed {
            wrong.push(format!("{}: another answer the second time", case.name));
        }
        let next = call(json!({"lp": "max x\nst\n x <= 7\nend"}));
        if next.data()["objective"] != json!(7) {
            wrong.push(format!("{}: and then {next:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.case.len() >= 20);
}

/// Writes repetitions out, in every text of the arguments.
fn expanded(args: &Value) -> Value {
    match args {
        Value::String(text) => {
            json!(repeated(&text.replace("MARKET_SPLIT", &market_split())))
        }
        Value::Object(map) => {
            map.iter().map(|(key, v)| (key.clone(), expanded(v))).collect()
        }
        other => other.clone(),
    }
}

fn repeated(text: &str) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (count, after) = rest[start + 1..].split_once(':').expect("{n:TEXT}");
        let (body, after) = after.split_once('}').expect("{n:TEXT}");
        whole.push_str(&rest[..start]);
        for number in 1..=count.parse::<u64>().expect("a count") {
            match body.contains('#') {
                true => whole.push_str(&body.replace('#', &number.to_string())),
                false => whole.push_str(body),
            }
        }
        rest = after;
    }
    whole + rest
}

/// Four equations over thirty binary columns that branch and bound cannot cut down
/// (Cornuéjols and Dawande, 1998), each with its deviations.
fn market_split() -> String {
    let mut state = 7u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % 100
    };
    let mut text = String::new();
    for (above, below) in [("s", "d"), ("t", "e"), ("u", "f"), ("v", "g")] {
        let coefficients: Vec<u64> = (0..30).map(|_| draw()).collect();
        let half: u64 = coefficients.iter().sum::<u64>() / 2;
        let terms: Vec<String> =
            (1..).zip(&coefficients).map(|(j, c)| format!("{c} x{j}")).collect();
        text += &format!("{} + {above} - {below} = {half}\n", terms.join(" + "));
    }
    text
}
