use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::recovery::wait_for_bytes;
use crate::world::{World, search};

const QUESTION: &str = "Who built the Tide Mill?";
const METHODS: [&str; 10] = [
    "math-shepherd",
    "omegaprm",
    "mm-prm",
    "genprm",
    "groundedprm",
    "treeps-rag",
    "prorag",
    "slate",
    "alphamath",
    "hnc",
];

/// One task, and a script of four ways to go about it, between which the seed chooses at every
/// step; one begins astray and is put right.
fn crossroads() -> World {
    let world = World::new();
    world.write_lines("tasks.jsonl", &[json!({ "id": "q4", "prompt": QUESTION })]);
    let (astray, right) = (search("bell foundry"), search("Tide Mill"));
    let (good, bad) = ("<answer>Hanne Voss</answer>", "<answer>Nobody</answer>");
    let line = |replies: &[&str]| json!({ "question": QUESTION, "replies": replies });
    world.write_lines(
        "ways.jsonl",
        &[
            line(&[&right, good]),
            line(&[&right, bad]),
            line(&[&astray, bad]),
            line(&[&astray, &right, good]),
        ],
    );
    world
}

fn explore(world: &World, out: &str, methods: &[&str]) -> Value {
    let mut args =
        vec!["explore", "world", "--tasks", "tasks.jsonl", "--json", "-o", out];
    args.extend(["-m", "scripted:ways.jsonl"]);
    methods.iter().for_each(|method| args.extend(["--method", method]));
    serde_json::from_str(&world.ok(&args)).expect("JSON")
}

fn ledger(report: &Value, index: usize, what: &str, which: &str) -> u64 {
    let number = &report["methods"][index]["ledger"][what][which];
    number.as_u64().expect("a number")
}

#[test]
fn every_method_judges_one_tree_and_takes_up_what_the_others_sampled() {
    let world = crossroads();
    let report = explore(&world, "runs/x", &METHODS);
    for (index, name) in METHODS.iter().enumerate() {
        let method = &report["methods"][index];
        assert_eq!(method["method"], *name);
        let labels =
            ["good", "neutral", "bad"].map(|l| method[l].as_u64().expect("count"));
        assert!(labels.iter().sum::<u64>() > 0, "{name}: {method}");
    }
    let (fresh, reused) = (
        ledger(&report, 1, "rollouts", "fresh"),
        ledger(&report, 1, "rollouts", "reused"),
    );
    assert!(
        fresh < reused,
        "the second method takes up the first one's: {fresh} {reused}"
    );
    // The same command samples nothing and says the same.
    let steps = world.read("runs/x/steps.jsonl");
    let again = explore(&world, "runs/x", &METHODS);
    assert_eq!(again["methods"][3]["kept"], 1);
    assert_eq!(world.read("runs/x/steps.jsonl"), steps);
    // And it is a run like any other.
    assert!(world.ok(&["replay", "runs/x", "--execute"]).contains("no divergence"));
    world.ok(&["label", "runs/x"]);
    world.ok(&["audit", "runs/x"]);
    for (format, method) in [
        ("trl", "math-shepherd"),
        ("pairs", "prorag"),
        ("pairs", "slate"),
        ("agentprocessbench", "groundedprm"),
    ] {
        let out = format!("out/{format}-{method}");
        let view = ["--verifier", method, "--view", "strict-local"];
        let args = [&view[..], &["--format", format, "--out", &out]].concat();
        world.ok(&[&["export", "runs/x"][..], &args].concat());
    }
    // What a method says in numbers goes out as numbers.
    for (format, method, field) in
        [("openrlhf", "math-shepherd", "label"), ("pairs", "hnc", "margin")]
    {
        let out = format!("out/{format}-{method}-numbers");
        let args = ["--verifier", method, "--numbers", "--format", format, "-o", &out];
        world.ok(&[&["export", "runs/x"][..], &args].concat());
        let rows = world.read(&format!("{out}/{format}.jsonl"));
        let row: Value =
            serde_json::from_str(rows.lines().next().expect("a row")).expect("JSON");
        let said = row[field].get(0).unwrap_or(&row[field]);
        assert!(said.as_f64().is_some_and(|it| it > 0.0), "{format}: {row}");
        let header = world.read(&format!("{out}/{format}.header.json"));
        assert!(header.contains("own numbers"), "{header}");
    }
    for (args, word) in [
        (&["--numbers", "--format", "openrlhf"][..], "--verifier"),
        (&["--numbers", "--format", "trl", "--verifier", "genprm"], "no numbers"),
    ] {
        let args = [&["export", "runs/x", "-o", "out/none"][..], args].concat();
        world.fails(&args, 2, &[word]);
    }
}

#[test]
fn a_killed_exploration_goes_on_and_comes_to_the_same() {
    let whole = crossroads();
    let report = explore(&whole, "runs/x", &["genprm", "omegaprm"]);
    let world = crossroads();
    let args =
        ["explore", "world", "--tasks", "tasks.jsonl", "-m", "scripted:ways.jsonl"];
    let more = ["--method", "genprm", "--method", "omegaprm", "-o", "runs/x"];
    let mut command = world.command(&[&args[..], &more].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("plumb starts");
    wait_for_bytes(&world, "runs/x", 20_000);
    child.kill().expect("kill -9");
    child.wait().expect("it is dead");
    let resumed = explore(&world, "runs/x", &["genprm", "omegaprm"]);
    for index in [0, 1] {
        let labels = |report: &Value| {
            ["good", "neutral", "bad"]
                .map(|label| report["methods"][index][label].clone())
        };
        assert_eq!(labels(&resumed), labels(&report));
    }
}

#[test]
fn a_budget_ends_a_method_and_keeps_what_it_found() {
    let world = crossroads();
    let args =
        ["explore", "world", "--tasks", "tasks.jsonl", "-m", "scripted:ways.jsonl"];
    let more = ["--method", "math-shepherd", "--task-calls-max", "4", "-o", "runs/x"];
    let told = world.ok(&[&args[..], &more].concat());
    assert!(told.contains("budget was used up on 1 of 1 tasks"), "{told}");
}

#[test]
fn what_a_method_does_not_have_is_refused() {
    let world = crossroads();
    let args = ["explore", "world", "-m", "scripted:ways.jsonl", "--method"];
    let run = |more: &[&str], parts: &[&str]| {
        world.fails(&[&args[..], more].concat(), 2, parts);
    };
    run(
        &["omegaprm", "--width", "3"],
        &["omegaprm", "no constant \"width\"", "rollouts"],
    );
    run(&["omega"], &["omega", "omegaprm"]);
    // Of several methods those take a constant that have it.
    let several = ["omegaprm", "--method", "slate", "--width", "2", "--searches", "2"];
    let tasks = ["--tasks", "tasks.jsonl"];
    world.ok(&[&args[..], &several, &tasks, &["-o", "runs/s"]].concat());
    for more in [["--verifier", "repeat"], ["--judge", "baseline"]] {
        let args = [&["omegaprm"][..], &more].concat();
        run(&args, &["none of these methods asks verifiers"]);
    }
    run(&["groundedprm", "--votes", "3"], &["--judge"]);
    run(&["omegaprm", "--tree", "3,3"], &["trees of their own shape"]);
    // Before anything is sampled for the first of them.
    let likelihoods = ["genprm", "--method", "p2s", "-o", "runs/p"];
    run(&likelihoods, &["the method p2s", "log-probabilities", "llama:MODEL"]);
    run(&["prl", "--reference", "baseline"], &["the method prl", "llama:MODEL"]);
    assert!(!world.path("runs/p").exists());
    std::fs::write(world.path("none.jsonl"), "").expect("written");
    let none = [&args[..], &["omegaprm", "--tasks", "none.jsonl"]].concat();
    world.fails(&none, 3, &["none.jsonl: it holds no task"]);
    for (flag, value) in [
        ("--threshold=nan", "above 0"),
        ("--threshold=-1", "above 0"),
        ("--exploration=inf", "above 0"),
        ("--task-calls-max=0", "0 is not in"),
    ] {
        run(&["genprm", flag], &[value]);
    }
    let elsewhere = ["-o", "runs/r", "--tasks", "tasks.jsonl"];
    world.ok(&[&["run", "world", "-m", "scripted:ways.jsonl"][..], &elsewhere].concat());
    run(&[&["omegaprm", "-r", "1"][..], &elsewhere].concat(), &["another run"]);
}

#[test]
fn methods_are_compared_by_labels_agreement_and_cost() {
    let world = crossroads();
    let args = ["explore", "compare", "world", "--tasks", "tasks.jsonl"];
    let more =
        ["--method", "math-shepherd", "--method", "genprm", "-o", "runs/x", "--json"];
    let policy = ["-m", "scripted:ways.jsonl"];
    let told = world.ok(&[&args[..], &more, &policy].concat());
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let row = &told["comparison"][0];
    assert_eq!(row["method"], "math-shepherd");
    assert!(row["rated"].as_u64().expect("a count") > 0, "{row}");
    assert!(row["majority"].as_f64().expect("a share") > 0.0, "{row}");
    let pair = &told["pairs"][0];
    assert!(pair["steps"].as_u64().expect("a count") > 0, "{pair}");
    let table = world.ok(&[&args[..], &more[..6], &policy].concat());
    assert!(table.contains("majority") && table.contains("kappa"), "{table}");
    assert!(!table.contains("people"), "{table}");
}

#[test]
fn methods_are_held_against_what_people_said_of_the_same_messages() {
    let world = crossroads();
    let (tasks, policy) = (["--tasks", "tasks.jsonl"], ["-m", "scripted:ways.jsonl"]);
    let run = ["run", "world", "--samples", "3", "--seed", "5", "-o", "runs/theirs"];
    world.ok(&[&run[..], &tasks, &policy].concat());
    let mut human =
        r#"{"type":"format","name":"plumbline.human","version":{"major":1,"minor":2}}"#
            .to_owned();
    let steps = world.steps("runs/theirs");
    let nodes: Vec<&Value> = steps.iter().filter(|it| it["type"] == "node").collect();
    // People call every answer bad, and have not looked at the rest.
    let is_answer = |node: &&&Value| {
        node["proposal"]["text"].as_str().is_some_and(|text| text.contains("<answer>"))
    };
    let answers: Vec<&&Value> = nodes.iter().filter(is_answer).collect();
    for answer in &answers {
        let label = json!({ "type": "step", "node": answer["node"], "label": "bad" });
        let line = json!({ "type": "human", "task": "q4", "label": label });
        human += &format!("\n{line}");
    }
    world.write("runs/theirs/human.jsonl", &(human + "\n"));
    let args =
        ["explore", "compare", "world", "--method", "math-shepherd", "-o", "runs/x"];
    let from = ["--from", "runs/theirs"];
    let compare = [&args[..], &tasks, &policy, &from].concat();
    let told = world.ok(&[&compare[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let (row, verified) = (&told["by_people"][0], &told["comparison"][0]);
    let said: BTreeSet<&str> =
        answers.iter().filter_map(|it| it["proposal"]["text"].as_str()).collect();
    assert!(row["rated"].as_u64() >= Some(said.len() as u64), "{row}");
    assert!(row["rated"].as_u64() < verified["rated"].as_u64(), "{row} {verified}");
    assert_eq!((&row["majority"], &row["recall"]["good"]), (&json!(1.0), &Value::Null));
    assert!(row["accuracy"]["value"].as_f64() < Some(1.0), "some are right: {row}");
    let table = world.ok(&compare);
    assert!(table.contains("against what people said"), "{table}");
}

#[test]
fn a_tree_is_grown_once_and_whole() {
    let world = crossroads();
    let args = ["run", "world", "--tasks", "tasks.jsonl", "-m", "scripted:ways.jsonl"];
    let tree = ["--tree", "3,2,2", "-o", "runs/t"];
    world.ok(&[&args[..], &tree].concat());
    let steps = world.steps("runs/t");
    let nodes = |depth: usize| {
        let parent = |line: &Value| line["parent"].as_u64();
        let depth_of = |line: &&Value| {
            let mut depth = 0;
            let mut above = parent(line);
            while let Some(id) = above {
                depth += 1;
                above = parent(steps.iter().find(|l| l["node"] == id).expect("a parent"));
            }
            depth
        };
        let nodes = steps.iter().filter(|line| line["type"] == "node");
        nodes.filter(|line| depth_of(line) == depth).count()
    };
    assert_eq!((nodes(0), nodes(1)), (3, 6));
    let again = world.ok(&[&args[..], &tree].concat());
    assert_eq!(world.steps("runs/t").len(), steps.len(), "{again}");
    world.fails(&[&args[..], &["--tree", "100,100", "-o", "t"]].concat(), 2, &["4096"]);
    world.fails(&[&args[..], &["-o", "runs/t"]].concat(), 2, &["another run"]);
}

#[test]
fn a_recorded_run_is_judged_by_going_on_from_its_states() {
    let world = crossroads();
    let run = ["run", "world", "--tasks", "tasks.jsonl", "-m", "scripted:ways.jsonl"];
    world.ok(&[&run[..], &["--samples", "3", "--seed", "5", "-o", "runs/theirs"]].concat());
    let theirs = world.read("runs/theirs/steps.jsonl");
    let explore = |method: &str, from: &str, out: &str| {
        let mut args = vec!["explore", "world", "--tasks", "tasks.jsonl", "--json"];
        args.extend(["-m", "scripted:ways.jsonl", "--method", method, "-o", out]);
        args.extend(["--from", from]);
        world.plumb(&args)
    };
    let done = explore("math-shepherd", "runs/theirs", "runs/x");
    assert_eq!(done.code, 0, "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let verdicts = report["methods"][0]["ledger"]["verdicts"].as_u64();
    let messages = |steps: &str| -> BTreeSet<String> {
        let lines = steps.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let nodes = lines.filter(|line: &Value| line["type"] == "node");
        nodes.map(|node| node["proposal"]["text"].to_string()).collect()
    };
    assert!(verdicts > Some(2), "{report}");
    assert!(messages(&world.read("runs/x/steps.jsonl")).is_superset(&messages(&theirs)));
    assert!(world.ok(&["replay", "runs/x", "--execute"]).contains("no divergence"));
    let tokens =
        |report: &Value| report["methods"][0]["ledger"]["rollouts"]["fresh"].clone();
    assert_ne!(tokens(&report), 0, "completions are sampled from its states");
    // The same folder takes the same trajectories again, and no others.
    let again = explore("genprm", "runs/theirs", "runs/x");
    assert_eq!(again.code, 0, "{}", again.stderr);
    world.ok(&[&run[..], &["--samples", "3", "--seed", "6", "-o", "runs/others"]].concat());
    for (method, from, out, code, word) in [
        ("genprm", "runs/others", "runs/x", 2, "digest of what it judges"),
        ("treeps-rag", "runs/theirs", "runs/y", 2, "trees of its own"),
        ("genprm", "runs/none", "runs/y", 2, "runs/none"),
    ] {
        let refused = explore(method, from, out);
        assert_eq!(refused.code, code, "{}", refused.stderr);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
}

#[test]
fn a_query_is_judged_cte_by_cte_on_its_database() {
    let world = World::new();
    let question = "How many books of the genre novel does the catalogue list?";
    let task = json!({ "id": "library-genre-count-1", "prompt": question,
        "inputs": { "database": "library" } });
    world.write_lines("tasks.jsonl", &[task]);
    // One filter finds the seven novels, one finds nothing, one names no column.
    let ways = ["genre = 'novel'", "genre = 'novels'", "kind = 'novel'"].map(|filter| {
        let answer = format!(
            "<answer>WITH novels AS (SELECT title FROM book WHERE {filter}), counted AS \
             (SELECT count(*) AS n FROM novels) SELECT n FROM counted</answer>"
        );
        json!({ "question": question, "replies": vec![answer; 4] })
    });
    world.write_lines("ways.jsonl", &ways);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/environments/text-to-sql");
    let args = ["explore", shipped, "--tasks", "tasks.jsonl", "--samples", "9"];
    let more = ["-m", "scripted:ways.jsonl", "--method", "reward-sql", "-o", "x"];
    world.ok(&[&args[..], &more].concat());
    let verdicts = world.read("x/verdicts/reward-sql@1.jsonl");
    let mut lines = verdicts.lines();
    let line =
        lines.find(|line| line.contains(r#""judged""#)).expect("the task's verdicts");
    let line: Value = serde_json::from_str(line).expect("JSON");
    let said: BTreeSet<String> = line["verdicts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            format!("{} {} {}", it["value"]["cte"], it["value"]["rows"], it["label"])
        })
        .collect();
    // Behind every CTE that runs, one of eight completions answers with the first query.
    let expected = [
        r#""CTE counted" 1 "good""#,
        r#""CTE novels" 0 "good""#,
        r#""CTE novels" 7 "good""#,
        r#""CTE novels" null "bad""#,
        r#"null null "bad""#,
        r#"null null "good""#,
    ];
    assert_eq!(said, BTreeSet::from(expected.map(str::to_owned)));
    assert!(world.ok(&["replay", "x", "--execute"]).contains("no divergence"));
}

#[test]
fn what_was_stopped_from_outside_is_not_taken_for_judged() {
    let world = crossroads();
    world.write_lines("other.jsonl", &[json!({ "question": "Who?", "replies": ["x"] })]);
    let args =
        ["explore", "world", "--tasks", "tasks.jsonl", "-m", "scripted:other.jsonl"];
    for method in ["genprm", "consensus"] {
        let args = [&args[..], &["--method", method, "-o", "runs/x"]].concat();
        let words = ["aborted", "--retry-on-error 1", "--fail-on-error"];
        world.fails(&args, 5, &words);
        // It is asked again, and again nothing comes of it.
        world.fails(&args, 5, &words);
        let told =
            world.ok(&[&args[..], &["--fail-on-error", "1000", "--json"]].concat());
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["methods"][0]["bad"], 0, "nobody knows: {told}");
        assert_eq!(told["methods"][0]["good"], 0, "nobody knows: {told}");
    }
}

#[test]
fn rollouts_that_do_not_come_about_are_missed_after_a_step_that_goes_on_too() {
    let world = crossroads();
    let (right, good) = (search("Tide Mill"), "<answer>Hanne Voss</answer>");
    let line = |replies: &[&str]| json!({ "question": QUESTION, "replies": replies });
    // Of some ways nobody knows how they go on.
    let ways = [line(&[&right, good]), line(&[&right, good]), line(&[&right])];
    world.write_lines("ways.jsonl", &ways);
    let mut codes = BTreeSet::new();
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let out = format!("runs/{seed}");
        let mut args = vec!["explore", "world", "--tasks", "tasks.jsonl", "-o", &out];
        args.extend(["-m", "scripted:ways.jsonl", "--seed", seed, "--samples", "1"]);
        args.extend(["--method", "math-shepherd", "--rollouts", "2"]);
        let done = world.plumb(&args);
        codes.insert(done.code);
        // Nothing is written of a task that is not taken for judged.
        let folder = std::fs::read_dir(world.path(&format!("{out}/verdicts")));
        let files = folder.expect("verdicts").map(|file| file.expect("an entry").path());
        let mut files = files.filter_map(|file| std::fs::read_to_string(file).ok());
        let unknown = files.any(|file| file.contains("0 of 0 completions"));
        assert!(done.code == 5 || !unknown, "{}", done.stderr);
    }
    assert_eq!(codes, BTreeSet::from([0, 5]));
}

#[test]
fn what_was_said_of_lost_steps_is_taken_back() {
    let world = crossroads();
    let told = |report: &Value| report["methods"][0]["good"].clone();
    let first = explore(&world, "runs/x", &["math-shepherd"]);
    let whole = world.read("runs/x/steps.jsonl");
    let few: Vec<&str> = whole.lines().take(6).collect();
    world.write("runs/x/steps.jsonl", &(few.join("\n") + "\n"));
    // Another method takes the ids of what is lost.
    let args =
        ["explore", "world", "--tasks", "tasks.jsonl", "-m", "scripted:ways.jsonl"];
    let done =
        world.plumb(&[&args[..], &["-o", "runs/x", "--method", "treeps-rag"]].concat());
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("taken back"), "{}", done.stderr);
    world.ok(&["audit", "runs/x"]);
    let again = explore(&world, "runs/x", &["math-shepherd"]);
    assert_eq!((told(&again), &again["methods"][0]["kept"]), (told(&first), &json!(0)));
    assert_eq!(explore(&world, "runs/x", &["math-shepherd"])["methods"][0]["kept"], 1);
}

#[test]
fn a_judge_is_asked_and_is_not_the_policy() {
    let world = crossroads();
    let said =
        json!({ "name": "verdict", "arguments": { "reason": "r", "label": "bad" } });
    let judge = json!({ "replies": [format!("<tool_call>\n{said}\n</tool_call>")] });
    world.write_lines("judge.jsonl", &[judge]);
    let args =
        ["explore", "world", "--tasks", "tasks.jsonl", "-m", "scripted:ways.jsonl"];
    let more = ["--judge", "scripted:judge.jsonl", "--method", "slate", "-o", "runs/x"];
    world.ok(&[&args[..], &more].concat());
    let header = world.read("runs/x/run.json");
    assert!(header.contains("scripted:ways+"), "{header}");
    let files = std::fs::read_dir(world.path("runs/x/verdicts")).expect("verdicts");
    let names = files.map(|file| file.expect("an entry").file_name());
    let names: Vec<String> = names.map(|it| it.to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.starts_with("slate@2+")), "{names:?}");
}
