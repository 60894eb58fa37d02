//! How fast the verifiers of retrieval that need no model label steps, on one core.
//!
//! A good agent's trajectories over the shipped questions are labelled by all of them, with
//! gold and without. Beside it the same steps are read from the lines they are recorded in:
//! whoever labels a run has to do that much.
//!
//! Asserted: labelling takes at most 120 times what reading takes, which is 2,700 steps a second
//! where 325,000 can be read.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plumbline::fusion::{Fusion, FusionVerifier};
use plumbline::verifiers::{
    AnswerCorrect, AnswerSupport, Repeat, RetrievalGain, RetrievalGainGold, WellFormed,
};
use plumbline::{
    Action, Digest, Ending, Gold, Node, Observation, Proposal, Step, Task, ToolCall,
    Tree, Verifier, View, label,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const LABELLING_OVER_READING_MAX: f64 = 120.0;
/// Documents that a search shows.
const SHOWN: usize = 3;
/// Each measurement is repeated until it has taken so long.
const ENOUGH: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Document {
    id: String,
    title: String,
    text: String,
}

fn lines<T: DeserializeOwned>(path: &str) -> Vec<T> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(path)).expect(path);
    text.lines().map(|line| serde_json::from_str(line).expect(path)).collect()
}

fn step(action: Action, observations: Vec<Observation>) -> Step {
    let text = format!("Let me see.\n{}", json!(action));
    let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
    Step { proposal, observations, scratch: Digest::of(b"[]") }
}

/// One search for the question, one for each supporting document, and the answer.
fn trajectory(task: &Task, gold: &Gold, documents: &[Document]) -> Tree {
    let place = |id: &str| documents.iter().position(|document| document.id == id);
    let supporting: Vec<usize> =
        gold.supporting().into_iter().filter_map(place).collect();
    let mut steps = Vec::new();
    let first = (task.prompt.clone(), task.prompt.len() % documents.len());
    let more = supporting.iter().map(|at| (documents[*at].title.clone(), *at));
    for (query, at) in std::iter::once(first).chain(more) {
        let shown: Vec<&Document> =
            (0..SHOWN).map(|next| &documents[(at + next) % documents.len()]).collect();
        let text: Vec<String> = (1..)
            .zip(&shown)
            .map(|(rank, of)| format!("[{rank}] {}: {}", of.title, of.text))
            .collect();
        let listed: Vec<Value> =
            shown.iter().map(|of| json!({ "id": of.id, "title": of.title })).collect();
        let data = json!({ "documents": listed });
        let observation = Observation::Output { text: text.join("\n"), data };
        let (id, tool) = ("call_0".to_owned(), "search".to_owned());
        let call = ToolCall { id, tool, args: json!({ "query": query }) };
        steps.push(step(Action::Calls { calls: vec![call] }, vec![observation]));
    }
    let text = gold.answers().first().copied().unwrap_or_default().to_owned();
    steps.push(step(Action::Answer { text }, vec![]));
    let mut tree = Tree::new(task.id.clone());
    let mut parent = None;
    for step in steps {
        let node = Arc::new(Node { parent, step });
        parent = Some(tree.push(node).expect("the parent is the node before"));
    }
    tree.end(parent, Ending::Answered).expect("the leaf is in the tree");
    tree
}

/// Seconds that one round takes, the mean over as many as take long enough.
fn time(mut round: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut rounds = 0u32;
    while began.elapsed() < ENOUGH {
        round();
        rounds += 1;
    }
    began.elapsed().as_secs_f64() / f64::from(rounds)
}

fn main() {
    let documents: Vec<Document> = lines("corpora/multihop-qa/documents.jsonl");
    let tasks: Vec<Task> = lines("environments/multihop-qa/tasks.jsonl");
    let golds: Vec<Gold> = lines("environments/multihop-qa/gold.jsonl");
    let id = |gold: &Gold| gold.0["id"].as_str().expect("an id").to_owned();
    let golds: BTreeMap<String, Gold> = golds.into_iter().map(|g| (id(&g), g)).collect();
    let runs: Vec<(&Task, &Gold, Tree)> = tasks
        .iter()
        .map(|task| {
            let gold = &golds[&task.id.0];
            (task, gold, trajectory(task, gold, &documents))
        })
        .collect();
    let recorded: Vec<String> = runs
        .iter()
        .flat_map(|(.., tree)| tree.nodes().map(|(_, node)| json!(node.step).to_string()))
        .collect();
    let steps = recorded.len() as f64;
    let verifiers: [Box<dyn Verifier>; 8] = [
        Box::new(WellFormed::default()),
        Box::new(Repeat::default()),
        Box::new(RetrievalGain::default()),
        Box::new(RetrievalGainGold::default()),
        Box::new(AnswerSupport::default()),
        Box::new(AnswerCorrect::default()),
        Box::new(FusionVerifier::new(Fusion::online())),
        Box::new(FusionVerifier::new(Fusion::with_gold())),
    ];
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a thread");
    let round = async || {
        for (task, gold, tree) in &runs {
            let mut verdicts = Vec::new();
            for verifier in &verifiers {
                let judged = label(verifier.as_ref(), task, Some(gold), tree).await;
                verdicts.extend(judged.expect("nothing fails"));
            }
            let labels = View::Propagated.labels(&task.prompt, tree, &verdicts);
            assert!(!labels.is_empty(), "{}: some step has a label", task.id);
        }
    };
    let labelling = time(|| runtime.block_on(round()));
    let reading = time(|| {
        for line in &recorded {
            serde_json::from_str::<Step>(line).expect("a step");
        }
    });
    let ratio = labelling / reading;
    println!("trajectories, steps   {:>8} {steps:>8}", runs.len());
    println!("labelled a second     {:>8.0} steps", steps / labelling);
    println!("read a second         {:>8.0} steps", steps / reading);
    println!("labelling / reading   {ratio:>8.1} (at most {LABELLING_OVER_READING_MAX})");
    assert!(ratio <= LABELLING_OVER_READING_MAX, "labelling costs too much");
}
