use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use plumbline::mutants::{Effect, solver_mutants};
use plumbline::program::{Size, compare, read};
use plumbline::verifiers::ModelVerifier;
use plumbline::{
    Action, Environment, Episode, Gold, Limits, Node, NodeId, Proposal, StepLabel, Task,
    TaskId, ToolCall, Tree, Verdict, label, replay_evidence,
};
use serde_json::{Value, json};

use crate::{block_on, world};

type Make = fn(Arc<Environment>) -> ModelVerifier;

const VERIFIERS: [(&str, Make); 7] = [
    ("model-solvable", ModelVerifier::solvable),
    ("model-sanity", ModelVerifier::sanity),
    ("model-optimum", ModelVerifier::optimum),
    ("optimum-cut-off", ModelVerifier::cut_off),
    ("constraint-missing", ModelVerifier::missing),
    ("constraint-idle", ModelVerifier::idle),
    ("objective-matches", ModelVerifier::objective),
];

/// A trajectory that solves these models, one a step.
async fn solved(environment: &Environment, task: &Task, models: &[Value]) -> Tree {
    let mut tree = Tree::new(task.id.clone());
    let mut episode = Episode::new(environment, &task.inputs, None);
    let mut parent = None;
    for args in models {
        let call =
            ToolCall { id: "call_0".into(), tool: "solve".into(), args: args.clone() };
        let action = Action::Calls { calls: vec![call] };
        let text = environment.protocol().render(&action).expect("a call can be said");
        let action = environment.protocol().parse(&text).action;
        let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
        let step = episode.act(proposal).await.expect("the solver answers");
        parent = Some(tree.push(Arc::new(Node { parent, step })).expect("a new step"));
    }
    tree
}

struct Case {
    name: String,
    prompt: String,
    models: Vec<String>,
    expected: Vec<(String, String, Option<Value>)>,
}

/// Reads the cases of a Markdown file.
fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        if let Some(open) = &mut block {
            if line == "```" {
                let case = cases.last_mut().expect("a block stands in a case");
                case.models.extend(block.take());
            } else {
                open.push_str(line);
                open.push('\n');
            }
        } else if line == "```lp" {
            block = Some(String::new());
        } else if let Some(name) = line.strip_prefix("## ") {
            let name = name.to_owned();
            let (prompt, models, expected) = (String::new(), vec![], vec![]);
            cases.push(Case { name, prompt, models, expected });
        } else if let Some(case) = cases.last_mut() {
            match line.strip_prefix("* ") {
                Some(said) => {
                    let mut words = said.splitn(3, ' ');
                    let mut word = || words.next().map(str::to_owned);
                    let (verifier, label) = (word(), word());
                    let value = word().map(|v| serde_json::from_str(&v).expect("JSON"));
                    let verifier = verifier.expect("a verifier");
                    case.expected.push((verifier, label.expect("a label"), value));
                }
                None => case.prompt += line,
            }
        }
    }
    cases
}

#[test]
fn verifiers_say_of_each_case_what_its_margin_says() {
    let world = world(Limits::default());
    let verifiers: BTreeMap<&str, ModelVerifier> =
        VERIFIERS.iter().map(|(name, make)| (*name, make(Arc::clone(&world)))).collect();
    let mut wrong = Vec::new();
    let cases = cases(include_str!("models.md"));
    for case in &cases {
        let (gold, models) = case.models.split_first().expect("the gold's model");
        let gold = Gold(json!({ "answer": "0", "model": { "lp": gold } }));
        let (id, inputs) = (TaskId(case.name.clone()), Value::Null);
        let task = Task { id, prompt: case.prompt.clone(), inputs };
        let models: Vec<Value> = models.iter().map(|lp| json!({ "lp": lp })).collect();
        let tree = block_on(solved(&world, &task, &models));
        let last = NodeId(u32::try_from(models.len()).expect("few") - 1);
        for (name, expected, value) in &case.expected {
            let verifier = &verifiers[name.as_str()];
            let verdicts = block_on(label(verifier, &task, Some(&gold), &tree));
            let verdicts = verdicts.expect("the verifier can judge");
            let verdict = verdicts.iter().find(|verdict| verdict.node == last);
            let found = verdict.and_then(|verdict| verdict.label);
            let found = found.map_or("-", StepLabel::as_str);
            let differs = value.as_ref().is_some_and(|value| {
                verdict.map(|verdict| &verdict.value) != Some(value)
            });
            if found != expected || differs {
                wrong.push(format!("{}: {name}: {found} {verdict:#?}", case.name));
            }
            audit(&world, &task, &tree, &verdicts);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 20);
}

/// Everything a verdict rests on comes out again.
#[track_caller]
fn audit(world: &Environment, task: &Task, tree: &Tree, verdicts: &[Verdict]) {
    let (divergence, calls) =
        block_on(replay_evidence(world, task, tree, verdicts)).expect("it can be made");
    assert_eq!(divergence, None);
    let labelled = verdicts.iter().any(|verdict| verdict.label.is_some());
    assert!(calls > 0 || !labelled, "a label rests on what was executed: {verdicts:?}");
}

/// What became of the mutants of one class.
#[derive(Default)]
struct Tally {
    killed: u32,
    of: u32,
}

#[test]
fn planted_faults_are_found_and_what_changes_nothing_is_not() {
    let gold = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../environments/or-modelling/gold.jsonl");
    let gold = std::fs::read_to_string(gold).expect("the shipped gold");
    let world = world(Limits { nodes_max: 20_000, ..Limits::default() });
    let verifiers: Vec<ModelVerifier> =
        VERIFIERS.iter().map(|(_, make)| make(Arc::clone(&world))).collect();
    let mut tallies: BTreeMap<(Effect, &str), Tally> = BTreeMap::new();
    let mut survivors = Vec::new();
    for line in gold.lines() {
        let gold = Gold(serde_json::from_str(line).expect("JSON"));
        let id = TaskId(gold.0["id"].as_str().expect("an id").to_owned());
        let task = Task { id, prompt: String::new(), inputs: Value::Null };
        for mutant in solver_mutants(&gold.0["model"]) {
            let args = json!({ "lp": mutant.text });
            if mutant.effect == Effect::Fault && says_the_same(&world, &gold, &args) {
                continue;
            }
            // Once as it is and once under other names.
            let renamed =
                solver_mutants(&args).into_iter().find(|m| m.class == "renamed");
            let renamed = renamed.map(|renamed| json!({ "lp": renamed.text }));
            for args in std::iter::once(args).chain(renamed) {
                let tree = block_on(solved(&world, &task, std::slice::from_ref(&args)));
                let mut is_bad = false;
                for verifier in &verifiers {
                    let verdicts = block_on(label(verifier, &task, Some(&gold), &tree));
                    let verdicts = verdicts.expect("the verifier can judge");
                    is_bad |= verdicts.iter().any(|v| v.label == Some(StepLabel::Bad));
                }
                let tally = tallies.entry((mutant.effect, mutant.class)).or_default();
                tally.of += 1;
                tally.killed += u32::from(is_bad);
                if is_bad != (mutant.effect == Effect::Fault) {
                    survivors.push(format!("{} {}\n{args}", task.id, mutant.class));
                }
            }
        }
    }
    let mut rates = BTreeMap::new();
    for ((effect, class), Tally { killed, of }) in &tallies {
        println!("{effect:?} {class:<22} {killed:>4} of {of:>4} called bad");
        let (all_killed, all) = rates.entry(*effect).or_insert((0, 0));
        *all_killed += killed;
        *all += of;
    }
    let rate =
        |effect| rates.get(&effect).map_or(0.0, |(k, n)| f64::from(*k) / f64::from(*n));
    println!("kill rate {:.3}", rate(Effect::Fault));
    println!("false kills {:.3}", rate(Effect::NoOp));
    for survivor in survivors.iter().take(12) {
        println!("{survivor}");
    }
    assert!(rate(Effect::Fault) >= 0.9);
    assert!(rate(Effect::NoOp) < 0.05);
    assert!(tallies.len() >= 12, "every class occurs");
}

/// Whether a fault is none: the model has the gold's objective, and the same feasible points.
/// Decided apart from the verifiers, by names and by solving for each limit of either side.
fn says_the_same(world: &Environment, gold: &Gold, args: &Value) -> bool {
    let size = Size::default();
    let gold = read(&gold.0["model"], &size).expect("the gold's model");
    let ours = read(args, &size).expect("a mutant is a model");
    let costs = ours.columns.iter().zip(&gold.columns);
    let same_objective = ours.sense == gold.sense
        && costs.clone().all(|(ours, gold)| ours.cost == gold.cost);
    let same_kinds = costs.clone().all(|(ours, gold)| ours.integer == gold.integer);
    // A relaxation that comes to the same optimum answers the question as well.
    let objective = |program: &plumbline::program::Program| {
        let args = json!({ "lp": plumbline::program::lp::write(program) });
        let call = ToolCall { id: String::new(), tool: "solve".into(), args };
        let solved = block_on(Episode::new(world, &Value::Null, None).call(&call));
        solved.expect("the solver answers").data()["objective"].as_f64()
    };
    if !same_objective {
        return false;
    }
    if !same_kinds {
        return objective(&ours) == objective(&gold);
    }
    let implied = |limits: &[compare::Limit], within: &plumbline::program::Program| {
        limits.iter().all(|limit| {
            let reached = objective(&limit.probe(within));
            reached.is_some_and(|reached| reached <= limit.limit + 1e-6)
        })
    };
    let (gold_limits, our_limits) = (compare::limits(&gold), compare::limits(&ours));
    objective(&ours).is_some()
        && implied(&gold_limits, &ours)
        && implied(&our_limits, &gold)
}
