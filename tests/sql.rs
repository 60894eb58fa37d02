use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use plumbline::mutants::{Columns, Effect, sql_mutants};
use plumbline::protocol::Protocol;
use plumbline::verifiers::{SqlEquivalent, SqlPrefix, SqlResult, SqlSilent};
use plumbline::{
    Action, Ending, Environment, EnvironmentParts, Episode, Gold, Limits, Node, Proposal,
    StepLabel, Task, Tree, Verifier, label,
};
use plumbline_sql::{Databases, Describe, Engine, Sql, SqlSettings};
use serde_json::{Value, json};

use crate::world::{World, composes, shared_data};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_scripted_run_is_labelled_and_replays() {
    let world = World::new();
    let run = world.path("run");
    let run = run.to_str().expect("UTF-8");
    let policy = "scripted:tests/cases/text-to-sql.jsonl";
    let summary =
        world.ok_at_root(&["run", "text-to-sql", "-m", policy, "-n", "8", "-o", run]);
    assert!(summary.contains("8 answered"), "{summary}");
    world.ok_at_root(&["label", run]);
    world.ok_at_root(&["replay", run, "--execute"]);
    world.ok_at_root(&["audit", run]);
    let labels = |verifier: &str| -> Vec<(u64, String)> {
        let folder = world.path("run/verdicts");
        let files = std::fs::read_dir(folder).expect("the verdicts").flatten();
        let files = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let of_verifier = |file: &String| file.starts_with(&format!("{verifier}@"));
        let file = files.into_iter().find(of_verifier).expect("the verifier judged");
        let text = world.read(&format!("run/verdicts/{file}"));
        let mut found = Vec::new();
        for line in text.lines().skip(1) {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let verdicts = row["verdicts"].as_array().cloned().unwrap_or_default();
            for verdict in verdicts {
                let label = verdict["label"].as_str().unwrap_or("-").to_owned();
                found.push((verdict["node"].as_u64().unwrap_or(0), label));
            }
        }
        found
    };
    let count = |verifier: &str, label: &str| {
        labels(verifier).iter().filter(|(_, found)| found == label).count()
    };
    assert_eq!(count("sql-result", "good"), 15, "{:?}", labels("sql-result"));
    assert_eq!(count("sql-result", "bad"), 1);
    assert_eq!(count("sql-silent", "bad"), 1, "a cartesian product");
    assert_eq!(count("sql-prefix", "bad"), 1, "a recursion without end");
    assert_eq!(count("answer-correct", "good"), 7);
}

#[test]
fn the_tools_answer_from_the_command_line() {
    let world = World::new();
    let shown = world.ok_at_root(&[
        "tool",
        "call",
        "sql",
        r#"{"query":"SELECT count(*) FROM book"}"#,
    ]);
    assert!(shown.contains("(1 row)") && shown.contains("\"row_count\":1"), "{shown}");
    let shown = world.ok_at_root(&["tool", "call", "describe", "{}"]);
    assert!(
        shown.contains("loan(id INTEGER key, copy_id INTEGER not null -> copy.id"),
        "{shown}"
    );
}

#[test]
fn the_databases_and_tasks_are_what_their_program_composes() {
    composes("compose_sql");
    let gold =
        std::fs::read_to_string(root().join("environments/text-to-sql/gold.jsonl"));
    assert!(gold.expect("the gold").lines().count() >= 60);
}

#[test]
fn published_questions_become_an_environment_that_passes_its_check() {
    let Some(data) = shared_data("geography") else { return };
    let world = World::new();
    let file = data.join("text2sql/geography/questions.jsonl");
    let text = std::fs::read_to_string(file).expect("the questions");
    let few: Vec<&str> = text.lines().step_by(29).collect();
    world.write("geography/questions.jsonl", &few.join("\n"));
    let database = data.join("text2sql/geography/geography.sqlite");
    std::fs::copy(database, world.path("geography/geography.sqlite")).expect("a copy");
    world.ok(&["import", "spider", "geography/questions.jsonl", "--out", "E"]);
    // A question that nothing in the database answers is suspicious, and says so.
    let checked = world.plumb(&["env", "check", "E"]);
    assert!(
        checked.stdout.contains(&format!("wrong answers wrong   {}", few.len())),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
}

#[tokio::test]
async fn published_gold_is_seldom_called_bad() {
    let Some(data) = shared_data("spider_train") else { return };
    let folder = data.join("text2sql/spider_train");
    let environment = environment_over(&folder);
    let verifiers: [Box<dyn Verifier>; 2] = [
        Box::new(SqlSilent::new(Arc::clone(&environment))),
        Box::new(SqlPrefix::new(Arc::clone(&environment))),
    ];
    let text = std::fs::read_to_string(folder.join("questions.jsonl"));
    let text = text.expect("the questions");
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut queries = 0;
    for line in text.lines().step_by(5) {
        let question: Value = serde_json::from_str(line).expect("a line of JSON");
        let sql = question["sql"].as_str().expect("a query");
        // Some questions spell a database otherwise than its file.
        let database = question["db_id"].as_str().expect("a name").to_lowercase();
        let task = Task {
            id: plumbline::TaskId("t".into()),
            prompt: "?".into(),
            inputs: json!({ "database": database }),
        };
        let tree = answered(&environment, &task, sql).await;
        queries += 1;
        for verifier in &verifiers {
            let verdicts = label(verifier.as_ref(), &task, None, &tree).await;
            for verdict in verdicts.expect("the verifiers judge") {
                if verdict.label == Some(StepLabel::Bad) {
                    let name = verdict.reason.split(':').next().unwrap_or("").to_owned();
                    println!("{}: {sql}", verdict.reason);
                    *counts.entry(name).or_default() += 1;
                }
            }
        }
    }
    println!("{queries} gold queries: {counts:?}");
    let bad: u32 = counts.values().sum();
    assert!(bad * 10 < queries, "more than one in ten: {counts:?}");
}

/// The shipped environment, put together without the command.
fn environment() -> Arc<Environment> {
    environment_over(&root().join("corpora/text-to-sql/databases"))
}

fn environment_over(databases: &Path) -> Arc<Environment> {
    let cache = std::env::temp_dir().join(format!("plumb-sql-{}", std::process::id()));
    let databases = Databases::open(databases, &cache);
    let engine = Arc::new(Engine::read_only(databases.expect("the databases")));
    let sql = Sql::new(Arc::clone(&engine), SqlSettings { rows_shown: 20 });
    Arc::new(
        Environment::new(EnvironmentParts {
            name: "text-to-sql".into(),
            prompt: "{{tools}}".into(),
            protocol: Protocol::Hermes,
            thought_chars_max: 0,
            limits: Limits { sql_steps_max: 5_000_000, ..Limits::default() },
            tools: vec![Arc::new(sql), Arc::new(Describe::new(engine))],
        })
        .expect("the parts fit"),
    )
}

fn lines<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let text =
        std::fs::read_to_string(root().join("environments/text-to-sql").join(name));
    let text = text.expect(name);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The tree of an agent that answers at once.
async fn answered(environment: &Environment, task: &Task, sql: &str) -> Tree {
    let action = Action::Answer { text: sql.to_owned() };
    let mut tree = tree_of(environment, task, action).await;
    let leaf = tree.leaves().first().copied();
    tree.end(leaf, Ending::Answered).expect("it has not ended yet");
    tree
}

async fn tree_of(environment: &Environment, task: &Task, action: Action) -> Tree {
    let text = environment.protocol().render(&action).expect("Hermes can say it");
    let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
    let mut episode = Episode::new(environment, &task.inputs, None);
    let step = episode.act(proposal).await.expect("the tools answer");
    let mut tree = Tree::new(task.id.clone());
    tree.push(Arc::new(Node { parent: None, step })).expect("the first node");
    tree
}

#[tokio::test]
async fn planted_faults_are_found_and_no_ops_left_alone() {
    let environment = environment();
    let golds: BTreeMap<String, Value> = lines::<Value>("gold.jsonl")
        .into_iter()
        .map(|gold| (gold["id"].as_str().expect("an id").to_owned(), gold))
        .collect();
    let verifiers: [Box<dyn Verifier>; 4] = [
        Box::new(SqlResult::new(Arc::clone(&environment))),
        Box::new(SqlEquivalent::new(Arc::clone(&environment))),
        Box::new(SqlPrefix::new(Arc::clone(&environment))),
        Box::new(SqlSilent::new(Arc::clone(&environment))),
    ];
    // Killed, planted, and of those that are not killed how many return the gold's table.
    let mut table: BTreeMap<(Effect, &str), (u32, u32, u32)> = BTreeMap::new();
    let mut survivors = Vec::new();
    for task in lines::<Task>("tasks.jsonl") {
        let gold = Gold(golds[&task.id.0].clone());
        let sql = gold.answers()[0].to_owned();
        let columns = columns(&environment, &task).await;
        for mutant in sql_mutants(&sql, &columns) {
            let tree = answered(&environment, &task, &mutant.text).await;
            let (mut killed, mut is_right) = (false, false);
            for verifier in &verifiers {
                let verdicts = label(verifier.as_ref(), &task, Some(&gold), &tree).await;
                for verdict in verdicts.expect("the verifiers judge") {
                    killed |= verdict.label == Some(StepLabel::Bad);
                    is_right |= verdict.verifier.name() == "sql-result"
                        && verdict.label == Some(StepLabel::Good);
                    if mutant.effect == Effect::NoOp
                        && verdict.label == Some(StepLabel::Bad)
                    {
                        survivors.push(format!("{} {}", mutant.class, verdict.reason));
                    }
                }
            }
            let row = table.entry((mutant.effect, mutant.class)).or_default();
            row.0 += u32::from(killed);
            row.1 += 1;
            row.2 += u32::from(!killed && is_right);
            if (mutant.effect == Effect::Fault) != killed {
                survivors.push(format!("{} {}: {}", mutant.class, task.id, mutant.text));
            }
        }
    }
    for ((effect, class), (killed, planted, same)) in &table {
        println!(
            "{effect:?} {class:<24} {killed:>4} of {planted:>4}, {same} return the gold"
        );
    }
    let total = |effect: Effect| {
        let rows = table.iter().filter(|((of, _), _)| *of == effect);
        rows.fold((0, 0, 0), |sum, (_, row)| {
            (sum.0 + row.0, sum.1 + row.1, sum.2 + row.2)
        })
    };
    let (killed, planted, same) = total(Effect::Fault);
    let (false_kills, no_ops, _) = total(Effect::NoOp);
    println!(
        "{killed} of {planted} faults ({same} return the gold), {false_kills} of {no_ops}"
    );
    for survivor in &survivors {
        println!("{survivor}");
    }
    let rate = |part: u32, whole: u32| f64::from(part) / f64::from(whole);
    // A fault that leaves the result alone is not shown to be one.
    assert!(rate(killed, planted - same) >= 0.9, "{survivors:#?}");
    assert!(rate(killed, planted) >= 0.8);
    assert!(rate(false_kills, no_ops) < 0.05, "{survivors:#?}");
    assert!(planted >= 300 && no_ops >= 200);
}

/// A query with its verdict in the margin.
struct Case {
    database: String,
    is_answer: bool,
    sql: String,
    gold: Option<Gold>,
    expected: String,
}

/// The cases of a verifier's folder.
fn cases(verifier: &str) -> Vec<Case> {
    let folder = root().join("tests/cases").join(verifier);
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the cases") {
        let text = std::fs::read_to_string(entry.expect("a case").path()).expect("UTF-8");
        for fence in text.split("```sql\n").skip(1) {
            let (block, _) = fence.split_once("```").expect("a fence ends");
            let (head, sql) = block.split_once('\n').expect("a case has a query");
            let (place, expected) = head.split_once(" | ").expect("a case has a margin");
            let mut place = place.trim_start_matches("-- ").split(' ');
            let database = place.next().expect("a database").to_owned();
            let is_answer = place.next() == Some("answer");
            let (gold, sql) = match sql.strip_prefix("-- gold: ") {
                Some(rest) => {
                    let (gold, sql) = rest.split_once('\n').expect("a case has a query");
                    let comparator = json!({ "type": "table", "ordered": false });
                    let gold = json!({ "answer": gold, "comparator": comparator });
                    (Some(Gold(gold)), sql)
                }
                None => (None, sql),
            };
            let (sql, expected) = (sql.trim().to_owned(), expected.to_owned());
            cases.push(Case { database, is_answer, sql, gold, expected });
        }
    }
    cases
}

#[tokio::test]
async fn the_cases_are_judged_as_their_margins_say() {
    let environment = environment();
    let verifiers: [Box<dyn Verifier>; 3] = [
        Box::new(SqlSilent::new(Arc::clone(&environment))),
        Box::new(SqlPrefix::new(Arc::clone(&environment))),
        Box::new(SqlEquivalent::new(Arc::clone(&environment))),
    ];
    let mut wrong = Vec::new();
    let mut count = 0;
    for verifier in &verifiers {
        for case in cases(verifier.id().name()) {
            let Case { database, is_answer, sql, gold, expected } = case;
            count += 1;
            let task = Task {
                id: plumbline::TaskId("t".into()),
                prompt: "?".into(),
                inputs: json!({ "database": database }),
            };
            let tree = if is_answer {
                answered(&environment, &task, &sql).await
            } else {
                called(&environment, &task, &sql).await
            };
            let verdicts = label(verifier.as_ref(), &task, gold.as_ref(), &tree).await;
            let verdicts = verdicts.expect("the verifiers judge");
            let mut found = "-".to_owned();
            let mut reason = "";
            if let Some(verdict) = verdicts.first() {
                found = verdict.label.map_or("-", |label| label.as_str()).to_owned();
                let names = match &verdict.value {
                    Value::Array(names) => names.as_slice(),
                    name => std::slice::from_ref(name),
                };
                for name in names.iter().filter_map(Value::as_str) {
                    found.push_str(&format!(" {name}"));
                }
                reason = &verdict.reason;
            }
            if found != expected {
                wrong.push(format!("{sql}\n    {found}, expected {expected}: {reason}"));
            }
            let task_again = task.clone();
            let replayed =
                plumbline::replay_evidence(&environment, &task_again, &tree, &verdicts)
                    .await;
            let (divergence, calls) = replayed.expect("the evidence is executed");
            assert!(divergence.is_none(), "{sql}: {divergence:?}");
            let is_labelled = verdicts.iter().any(|verdict| verdict.label.is_some());
            assert!(calls > 0 || !is_labelled, "{sql}: nothing proves it");
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count >= 50, "{count}");
}

/// The tree of an agent that tries a query.
async fn called(environment: &Environment, task: &Task, sql: &str) -> Tree {
    let call = plumbline::ToolCall {
        id: "call_0".into(),
        tool: "sql".into(),
        args: json!({ "query": sql }),
    };
    tree_of(environment, task, Action::Calls { calls: vec![call] }).await
}

async fn columns(environment: &Environment, task: &Task) -> Columns {
    let call = plumbline::ToolCall {
        id: "call_0".into(),
        tool: "describe".into(),
        args: json!({}),
    };
    let mut episode = Episode::new(environment, &task.inputs, None);
    let observation = episode.call(&call).await.expect("it is described");
    let texts = |value: &Value| value.as_str().unwrap_or("").to_lowercase();
    let mut columns = Columns::new();
    for table in observation.data()["tables"].as_array().into_iter().flatten() {
        let names = table["columns"].as_array().into_iter().flatten();
        let names = names.map(|column| texts(&column["name"]));
        columns.insert(texts(&table["name"]), names.collect());
    }
    columns
}
