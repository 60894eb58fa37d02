use serde_json::{Value, json};

use crate::world::{World, call, search};

/// A world with every tool there is, in one environment.
fn world_of_all_tools() -> World {
    let world = World::new();
    world.write(
        "databases/shop.sql",
        "CREATE TABLE sale(day TEXT, item TEXT, price REAL, sold INTEGER);\n\
         INSERT INTO sale VALUES ('mon', 'rope', 3.5, 4), ('tue', 'sail', 40, 1), \
         ('tue', 'rope', 3.5, 6);\n",
    );
    world.write("files/stock.csv", "item,metres\nrope,120\nsail,9\nrope,30\n");
    let manifest = world.read("world/environment.toml");
    let more = "\n[[tools]]\ntype = \"sql\"\ndatabases = \"../databases\"\n\
                [[tools]]\ntype = \"describe\"\ndatabases = \"../databases\"\n\
                [[tools]]\ntype = \"solve\"\n\
                [[tools]]\ntype = \"python\"\nfiles = \"../files\"\ncalls = [\"solve\"]\n";
    let manifest = manifest.replace("steps_max = 5", "steps_max = 9");
    world.write("world/environment.toml", &format!("{manifest}{more}"));
    let inputs = json!({ "database": "shop", "files": ["stock.csv"] });
    let tasks: Vec<Value> = ["q1", "q2"]
        .map(|id| json!({ "id": id, "prompt": format!("{id}?"), "inputs": inputs }))
        .into();
    world.write_lines("world/tasks.jsonl", &tasks);
    let gold = ["q1", "q2"].map(|id| json!({ "id": id, "answer": "150" }));
    world.write_lines("world/gold.jsonl", &gold);
    world
}

/// Messages that use every tool, and rest on what earlier cells left behind. The last one
/// but the answer differs from variant to variant.
fn messages(variant: &str) -> Vec<String> {
    let program = "max: obj: 3 x + 2 y\nst\nc1: x + y <= 4\nc2: x <= 3\nend";
    let program = program.replace("max: obj:", "Maximize\n obj:");
    let python = |code: &str| call("python", &json!({ "code": code }));
    let query = "SELECT item, sum(sold) FROM sale GROUP BY item ORDER BY item";
    vec![
        search("Tide Mill"),
        call("describe", &json!({})),
        call("sql", &json!({ "query": query })),
        call("solve", &json!({ "lp": program })),
        python("import pandas as pd\nstock = pd.read_csv('/data/stock.csv')\nlen(stock)"),
        python(&format!(
            "from host import tools\nbest = tools.solve(lp={program:?})['objective']\n\
             open('note.txt', 'w').write(str(best))"
        )),
        python(&format!(
            "import random\nnote = open('note.txt').read()\n\
             (note, {variant:?}, int(stock.metres.sum()), random.random(), hash('x'))"
        )),
        "<answer>159</answer>".to_owned(),
    ]
}

#[test]
fn all_tools_in_one_run_fork_replay_and_resume_to_the_same_bytes() {
    let world = world_of_all_tools();
    if !world.lend_python("all tools in one run") {
        return;
    }
    let lines = ["one", "two", "three"].map(|name| json!({ "replies": messages(name) }));
    world.write_lines("script.jsonl", &lines);
    let run = |out: &str, concurrency: &str| {
        let policy = "scripted:script.jsonl";
        world.ok(&[
            "run",
            "world",
            "-m",
            policy,
            "-r",
            "4",
            "-c",
            concurrency,
            "-o",
            out,
        ]);
    };
    run("runs/a", "1");
    let whole = world.read("runs/a/steps.jsonl");
    let nodes: Vec<Value> =
        world.steps("runs/a").into_iter().filter(|line| line["type"] == "node").collect();
    assert_eq!(nodes.len(), 2 * 4 * 8, "two tasks, four samples, eight steps");
    let faults = nodes.iter().flat_map(|node| node["observations"].as_array()).flatten();
    let faults: Vec<&Value> = faults.filter(|o| o["type"] == "fault").collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert!(whole.contains("('11', ") && whole.contains("159"), "{whole}");

    // Cut anywhere, even within a line, the same command goes on to the same bytes.
    for share in [3, 5, 8] {
        let out = format!("runs/cut-{share}");
        for file in ["run.json", "steps.jsonl"] {
            let text = world.read(&format!("runs/a/{file}"));
            let kept =
                if file == "run.json" { text.len() } else { text.len() * share / 9 };
            world
                .write(&format!("{out}/{file}"), &text[..text.floor_char_boundary(kept)]);
        }
        run(&out, "1");
        assert_eq!(world.read(&format!("{out}/steps.jsonl")), whole, "cut at {share}/9");
    }

    run("runs/many", "8");
    let sorted = |run: &str| {
        let keep = |line: &Value| line["type"] == "node";
        let mut lines: Vec<String> = world
            .steps(run)
            .into_iter()
            .filter(keep)
            .map(|line| json!([line["task"], line["proposal"], line["observations"]]))
            .map(|line| line.to_string())
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted("runs/many"), sorted("runs/a"), "whatever runs beside it");
    for out in ["runs/a", "runs/many"] {
        world.ok(&["label", out]);
        world.ok(&["replay", out, "--execute"]);
    }
}

#[test]
fn one_byte_of_a_table_is_reported_at_the_first_cell_that_shows_it() {
    let world = world_of_all_tools();
    if !world.lend_python("a changed table") {
        return;
    }
    world.write_lines("script.jsonl", &[json!({ "replies": messages("one") })]);
    world.ok(&["run", "world", "-m", "scripted:script.jsonl", "-n", "1", "-o", "runs/a"]);
    world.ok(&["replay", "runs/a"]);
    world.edit("files/stock.csv", "rope,120", "rope,121");
    // Step 4 reads it and shows how many rows there are; step 6 shows their sum.
    let words = ["(task q1, step 6): observation 0 differs", "159", "160"];
    world.fails(&["replay", "runs/a"], 1, &words);
}

/// Each shipped world: its name, what answers there, samples of each task, further arguments.
const WORLDS: [(&str, &str, &str, &[&str]); 4] = [
    ("multihop-qa", "baseline", "4", &[]),
    ("text-to-sql", "scripted:tests/cases/text-to-sql.jsonl", "25", &["-n", "8"]),
    ("data-analysis", "scripted:tests/cases/data-analysis.jsonl", "5", &["-n", "8"]),
    (
        "or-modelling",
        "scripted:tests/cases/or-modelling.jsonl",
        "25",
        &["--tasks", "tests/cases/or-modelling-tasks.jsonl"],
    ),
];

#[test]
fn a_thousand_episodes_of_four_worlds_and_their_forks_replay_without_a_difference() {
    let world = World::new();
    let has_python = world.lend_python("episodes of data-analysis");
    let (mut episodes, mut forked) = (0, 0);
    let ends = |run: &str| {
        let lines = world.steps(run).into_iter();
        lines.filter(|line| line["type"] == "ending").count()
    };
    for (name, policy, samples, more) in WORLDS {
        if name == "data-analysis" && !has_python {
            continue;
        }
        let (run, fork) = (format!("runs/{name}"), format!("runs/{name}-fork"));
        let path = |run: &str| world.path(run).to_str().expect("UTF-8").to_owned();
        let args = ["run", name, "-m", policy, "-r", samples, "-c", "8", "-o"];
        world.ok_at_root(&[&args[..], &[&path(&run)], more].concat());
        episodes += ends(&run);
        let task = world.steps(&run)[0]["task"].as_str().expect("a task").to_owned();
        let args = ["fork", &path(&run), &format!("{task}:0"), "--drop", "-r", "4"];
        world.ok_at_root(&[&args[..], &["-m", policy, "-o", &path(&fork)]].concat());
        forked += ends(&fork);
        for run in [&run, &fork] {
            let replayed = world.ok_at_root(&["replay", &path(run)]);
            assert!(replayed.contains("no divergence"), "{run}: {replayed}");
        }
    }
    assert!(episodes >= 1000, "{episodes} episodes");
    assert!(forked >= 6 * 4, "{forked} of forks: two arms, four samples each");
}
