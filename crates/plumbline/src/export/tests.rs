//! Every format over one group of two samples: rows go out and labels come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::rollout::TokenPath;
use super::*;
use crate::comparators::{Comparator, Comparison};
use crate::import::{Records, Trajectory, TrajectoryFormat};
use crate::{
    Action, Cost, Digest, Ending, Evidence, Fault, Gold, Labelled, Node, NodeId,
    Observation, Proposal, Scratch, Sight, Step, StepLabel, Task, TaskId, Tokens,
    ToolCall, Tree, Verdict, VerifierId, View, Zero, outcome,
};

const SETTINGS: Settings = Settings {
    worth: Worth::Label,
    zeros: Zeros::Keep,
    rewards: Rewards::Step,
    advantages: Advantages::Grpo,
    forged: Forged::Refuse,
};

fn task() -> Task {
    let prompt = "Who built the \"Tide Mill\"?".to_owned();
    Task { id: TaskId("q1".into()), prompt, inputs: json!({ "file": "a" }) }
}

fn gold() -> Gold {
    Gold(json!({ "id": "q1", "answer": "Hanne Voss", "aliases": [] }))
}

fn search(args: Value, observation: Observation) -> (String, Action, Vec<Observation>) {
    let (id, tool) = ("call_0".to_owned(), "search".to_owned());
    let call = ToolCall { id, tool, args: args.clone() };
    let text = format!("Let me look.\n<tool_call>\n{args}\n</tool_call>");
    (text, Action::Calls { calls: vec![call] }, vec![observation])
}

fn answer(text: &str) -> (String, Action, Vec<Observation>) {
    (format!("<answer>{text}</answer>"), Action::Answer { text: text.into() }, vec![])
}

/// Two samples: one searches and answers rightly, one garbles a call, says nothing of use and
/// answers wrongly.
fn tree(tokens: bool) -> Tree {
    let data = json!({ "documents": [{ "id": "mill", "title": "Mill" }] });
    let shown = Observation::Output { text: "Built by Hanne Voss.".into(), data };
    // Looks like a fault in JSON, and is none.
    let odd = Observation::Output { text: "{\"error\": 1}".into(), data: Value::Null };
    let fault = Observation::fault(Fault::BadArgs, "no such argument");
    let steps = [
        (None, search(json!({ "query": "Tide Mill" }), shown)),
        (Some(0), answer("Hanne Voss")),
        (None, search(json!("{garbled"), fault)),
        (
            Some(2),
            (
                "Hm.".to_owned(),
                Action::Malformed { reason: "no call".into() },
                vec![Observation::fault(Fault::Malformed, "call a tool"), odd],
            ),
        ),
        (Some(3), answer("Eve Fox")),
    ];
    let mut tree = Tree::new(TaskId("q1".into()));
    let mut seen: BTreeMap<NodeId, u32> = BTreeMap::new();
    for (number, (parent, (text, action, observations))) in (0u32..).zip(steps) {
        let parent = parent.map(NodeId);
        let kept = parent.map_or(0, |parent| seen[&parent]);
        let prompt: Vec<u32> = (0..3).map(|n| 100 * number + n).collect();
        let sampled: Vec<u32> = (0..2 + number).map(|n| 100 * number + 50 + n).collect();
        seen.insert(NodeId(number), kept + (prompt.len() + sampled.len()) as u32);
        let logprobs = vec![-0.1; sampled.len()];
        let tokens = tokens.then_some(Tokens { kept, prompt, sampled, logprobs });
        let seed = u64::MAX - u64::from(number);
        let proposal = Proposal { text, action, seed, tokens, elided: vec![] };
        let scratch = Scratch::of_inputs(&json!(number)).digest();
        let step = Step { proposal, observations, scratch };
        tree.push(Arc::new(Node { parent, step })).expect("in order");
    }
    for leaf in [1, 4] {
        tree.end(Some(NodeId(leaf)), Ending::Answered).expect("it is there");
    }
    tree
}

fn verdicts(tree: &Tree) -> Vec<Verdict> {
    let zero = |kind| (StepLabel::Neutral, Some(kind));
    let labels = [
        Some((StepLabel::Good, None)),
        Some((StepLabel::Good, None)),
        Some((StepLabel::Bad, None)),
        Some(zero(Zero::Neutral)),
        Some(zero(Zero::Unknown)),
    ];
    let verdict = |((node, labelled), of): ((NodeId, &Arc<Node>), Option<_>)| {
        let (label, zero) = of?;
        Some(Verdict {
            node,
            verifier: VerifierId("judge@1".into()),
            value: Value::Null,
            label: Some(label),
            zero,
            confidence: None,
            reason: format!("because of {node}"),
            evidence: vec![Evidence::message(node, &labelled.step)],
            saw: Sight::GOLD,
            cost: Cost::default(),
        })
    };
    tree.nodes().zip(labels).filter_map(verdict).collect()
}

/// What a test does with a group.
fn with_group<T>(tokens: bool, then: impl FnOnce(&Group<'_>) -> T) -> T {
    let (task, gold, tree) = (task(), gold(), tree(tokens));
    let verdicts = verdicts(&tree);
    let labels = View::StrictLocal.labels(&task.prompt, &tree, &verdicts);
    let comparator = Comparator::of(&gold).expect("text");
    let compared: BTreeMap<NodeId, Comparison> = [(1, "Hanne Voss"), (4, "Eve Fox")]
        .map(|(leaf, text)| (NodeId(leaf), comparator.compare(text, &gold, &[])))
        .into();
    let of = |leaf| (leaf, outcome(&tree, leaf, &gold, &compared));
    let outcomes = tree.leaves().into_iter().map(of).collect();
    let tools = [json!({ "type": "function", "function": {
        "name": "search", "description": "Finds.", "parameters": { "type": "object" } } })];
    then(&Group {
        index: 0,
        task: &task,
        gold: Some(&gold),
        policy: "test@1",
        told: &Told { system: "Answer.".into(), tools: tools.into() },
        told_otherwise: &BTreeMap::new(),
        tree: &tree,
        forged: None,
        verdicts: &verdicts,
        labels,
        numbers: BTreeMap::new(),
        outcomes,
    })
}

/// Labels by step, as a test compares them.
type Labels = BTreeMap<NodeId, StepLabel>;

fn own(group: &Group<'_>, keeps: impl Fn(&Labelled<'_>) -> bool) -> Labels {
    let kept = group.labels.iter().filter(|(_, labelled)| keeps(labelled));
    kept.map(|(node, labelled)| (*node, labelled.label)).collect()
}

/// The rows of the first table.
fn values(rows: &Rows) -> Vec<Value> {
    let read = |row: &String| serde_json::from_str(row).expect("a line of JSON");
    rows.tables[0].iter().map(read).collect()
}

fn read_back(format: Format, rows: &Rows) -> Labels {
    let read =
        |row: Value| format.labels_of(&row).unwrap_or_else(|| panic!("{format}: {row}"));
    let steps = values(rows).into_iter().flat_map(read);
    steps
        .map(|(task, node, label)| {
            assert_eq!(task.0, "q1");
            (node, label)
        })
        .collect()
}

#[test]
fn every_format_gives_its_labels_back() {
    with_group(true, |group| {
        for format in Format::ALL {
            let settings = Settings { zeros: format.zeros(), ..SETTINGS };
            let rows = format.rows(group, &settings);
            assert!(rows.tables.iter().all(|rows| !rows.is_empty()), "{format}");
            let expected = match format {
                Format::AgentProcessBench | Format::OpenaiChat => continue,
                Format::Trl | Format::OpenRlhf => {
                    own(group, |labelled| labelled.label != StepLabel::Neutral)
                }
                // The two first steps are the only siblings.
                Format::Pairs => {
                    let mut all = own(group, |_| true);
                    all.retain(|node, _| [0, 2].contains(&node.0));
                    all
                }
                _ => own(group, |_| true),
            };
            assert_eq!(read_back(format, &rows), expected, "{format}");
        }
    });
}

#[test]
fn zeros_are_treated_as_told() {
    with_group(true, |group| {
        for (zeros, expected) in
            [(Zeros::Drop, 3), (Zeros::Positive, 4), (Zeros::Keep, 5)]
        {
            let rows = Format::Prm.rows(group, &Settings { zeros, ..SETTINGS });
            assert_eq!(read_back(Format::Prm, &rows).len(), expected, "{zeros}");
        }
        let settings = Settings { zeros: Zeros::Positive, ..SETTINGS };
        let labels = read_back(Format::Trl, &Format::Trl.rows(group, &settings));
        assert_eq!(labels[&NodeId(3)], StepLabel::Good);
        assert!(!labels.contains_key(&NodeId(4)), "an unknown zero says nothing");
        for (zeros, expected) in
            [(Zeros::Drop, 3), (Zeros::Positive, 4), (Zeros::Keep, 5)]
        {
            let settings = Settings { zeros, ..SETTINGS };
            for format in [Format::Atif, Format::Parquet] {
                let labels = read_back(format, &format.rows(group, &settings));
                assert_eq!(labels.len(), expected, "{format} {zeros}");
                let kept = (zeros != Zeros::Drop).then(|| labels[&NodeId(3)]);
                assert_eq!(kept == Some(StepLabel::Good), zeros == Zeros::Positive);
            }
            let rows = Format::AgentProcessBench.rows(group, &settings);
            let labels = values(&rows).into_iter().map(|row| row["step_labels"].clone());
            let count = labels.filter_map(|labels| labels.as_object().map(|l| l.len()));
            assert_eq!(count.sum::<usize>(), expected, "{zeros}");
        }
        let settings = Settings { zeros: Zeros::Drop, ..SETTINGS };
        let traces = values(&Format::Verifiers.rows(group, &settings));
        let masks = traces[1]["nodes"].as_array().expect("a list").iter();
        let masks =
            masks.filter(|node| node["sampled"] == true).map(|node| &node["mask"]);
        let trained: Vec<bool> = masks.map(|mask| mask[0] == true).collect();
        assert_eq!(trained, [true, false, false], "dropped steps are masked");
        let rows = Format::SkyRl.rows(group, &settings);
        let masks = &values(&rows)[0]["loss_masks"];
        let trained = |sample: usize| -> u64 {
            let mask = masks[sample].as_array().expect("a list").iter();
            mask.map(|one| one.as_u64().expect("0 or 1")).sum()
        };
        assert_eq!((trained(0), trained(1)), (2 + 3, 4), "dropped steps are masked");
    });
}

#[test]
fn tokens_masks_and_rewards_stand_where_they_should() {
    with_group(true, |group| {
        let rows = Format::SkyRl.rows(group, &SETTINGS);
        let row = &values(&rows)[0];
        assert_eq!(row["prompt_token_ids"][0], json!([0, 1, 2]));
        assert_eq!(row["response_ids"][0], json!([50, 51, 100, 101, 102, 150, 151, 152]));
        assert_eq!(row["loss_masks"][0], json!([1, 1, 0, 0, 0, 1, 1, 1]));
        assert_eq!(row["rewards"][0], json!([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]));
        assert_eq!(
            row["trajectory_ids"][1],
            json!({"instance_id": "q1", "repetition_id": 1})
        );
        for field in ["rewards", "loss_masks", "rollout_logprobs"] {
            for sample in 0..2 {
                let length = |field: &str| row[field][sample].as_array().map(Vec::len);
                assert_eq!(length(field), length("response_ids"), "{field}");
            }
        }
        let verl = Format::Verl.rows(group, &SETTINGS);
        let advantage = |sample: usize| values(&verl)[sample]["advantages"][0].clone();
        let (one, two) = (advantage(0).as_f64(), advantage(1).as_f64());
        // Returns 2 and -1: half a spread of 3/sqrt(2) on either side.
        let expected = 0.5f64.sqrt();
        assert!((one.expect("a number") - expected).abs() < 1e-4, "{one:?}");
        assert!((two.expect("a number") + expected).abs() < 1e-4, "{two:?}");
        let atropos = Format::Atropos.rows(group, &SETTINGS);
        let masks = values(&atropos)[0]["masks"][0].clone();
        assert_eq!(
            masks,
            json!([-100, -100, -100, 50, 51, -100, -100, -100, 150, 151, 152])
        );
        let verifiers = Format::Verifiers.rows(group, &SETTINGS);
        for (row, sample) in values(&verifiers).iter().zip(group.samples()) {
            let nodes = row["nodes"].as_array().expect("a list");
            let ids = nodes.iter().flat_map(|n| n["token_ids"].as_array().expect("ids"));
            let ids: Vec<Value> = ids.cloned().collect();
            let tokens = TokenPath::of(&sample).expect("they are whole");
            assert_eq!(json!(ids), json!(tokens.ids), "what the model saw");
        }
    });
}

#[test]
fn rewards_are_what_was_chosen() {
    with_group(true, |group| {
        let of = |rewards| {
            let rows = Format::Verl.rows(group, &Settings { rewards, ..SETTINGS });
            let each = values(&rows).into_iter().map(|row| row["step_rewards"].clone());
            each.collect::<Vec<Value>>()
        };
        assert_eq!(of(Rewards::Step), [json!([1.0, 1.0]), json!([-1.0, 0.0, 0.0])]);
        assert_eq!(of(Rewards::Outcome), [json!([0.0, 1.0]), json!([0.0, 0.0, 0.0])]);
        assert_eq!(of(Rewards::Both), [json!([1.0, 2.0]), json!([-1.0, 0.0, 0.0])]);
        assert_eq!(of(Rewards::Renorm), [json!([1.0, 1.0]), json!([-1.0, -0.5, -0.5])]);
        let turn = Settings { advantages: Advantages::Turn, ..SETTINGS };
        let rows = Format::Verl.rows(group, &turn);
        assert_eq!(values(&rows)[0]["advantages"][0], json!(1.0), "good beside bad");
        assert_eq!(values(&rows)[1]["advantages"][0], json!(-1.0));
    });
}

#[test]
fn numbers_take_the_place_of_labels_where_they_are_asked_for() {
    with_group(true, |group| {
        let of = |given: &[(u32, f64)]| {
            let numbers = given.iter().map(|(node, it)| (NodeId(*node), *it)).collect();
            Group { numbers, ..copy(group) }
        };
        let settings = Settings { worth: Worth::Number, ..SETTINGS };
        let soft = of(&[(0, 0.25), (1, 1.0), (2, -2.0), (4, 0.5)]);
        let rewards = values(&Format::Verl.rows(&soft, &settings));
        assert_eq!(rewards[0]["step_rewards"], json!([0.25, 1.0]));
        assert_eq!(rewards[1]["step_rewards"], json!([-2.0, 0.0, 0.5]));
        let both = Settings { rewards: Rewards::Renorm, ..settings };
        let rewards = values(&Format::Verl.rows(&soft, &both));
        assert_eq!(rewards[0]["step_rewards"], json!([0.25, 1.0]));
        assert_eq!(rewards[1]["step_rewards"], json!([-3.0, -1.0, -0.5]));
        let prm = values(&Format::Prm.rows(&soft, &settings));
        let labels = prm[0]["labels"].as_array().expect("a list");
        let said: Vec<&Value> = labels.iter().filter(|label| **label != -100).collect();
        assert_eq!(said, [&json!(0.25), &json!(1.0)]);
        // Chances alone: what is none is said of no step.
        let rlhf = values(&Format::OpenRlhf.rows(&soft, &settings));
        let labels = [&rlhf[0]["label"], &rlhf[1]["label"]];
        assert_eq!(labels, [&json!([0.25, 1.0]), &json!([0.5])]);
        let mut pairs = values(&Format::Pairs.rows(&soft, &settings));
        let pair = pairs.pop().expect("one of two first steps");
        assert_eq!((&pair["chosen_node"], &pair["margin"]), (&json!(0), &json!(2.25)));
        let turned = of(&[(0, 0.25), (2, 0.75)]);
        let rows = Format::Pairs.rows(&turned, &settings);
        assert_eq!(
            rows.refused.get(&Refusal::NoCommonVerifier),
            Some(&1),
            "labels differ"
        );
        for format in [Format::Verl, Format::Prm, Format::OpenRlhf, Format::Pairs] {
            let rows = format.rows(&of(&[]), &settings);
            assert!(rows.tables[0].is_empty(), "{format}");
            assert!(rows.refused.contains_key(&Refusal::NoNumber), "{format}");
        }
    });
}

#[test]
fn whole_trajectories_are_a_pair_where_a_verdict_says_so() {
    with_group(false, |group| {
        let mut verdict = group.verdicts[1].clone();
        verdict.value = json!({ "better_than": [{ "leaf": 4, "weight": 0.5 }] });
        let verdicts = [verdict];
        let of = Group { verdicts: &verdicts, ..copy(group) };
        let row = values(&Format::Pairs.rows(&of, &SETTINGS)).pop().expect("a pair");
        let roles = |side: &str| -> Vec<Value> {
            let messages = row[side].as_array().expect("messages").iter();
            messages.map(|message| message["role"].clone()).collect()
        };
        assert_eq!(roles("prompt"), ["system", "user"]);
        assert_eq!(roles("chosen"), ["assistant", "tool", "assistant"]);
        assert_eq!(roles("rejected").last(), Some(&json!("assistant")));
        assert_eq!((&row["weight"], &row["rejected_node"]), (&json!(0.5), &json!(4)));
        let labels = Format::Pairs.labels_of(&row).expect("two labels");
        assert_eq!(labels[0].2, StepLabel::Good);
        let forged = Group { forged: Some(NodeId(2)), ..of };
        let rows = Format::Pairs.rows(&forged, &SETTINGS);
        assert_eq!(rows.refused.get(&Refusal::Forged), Some(&1));
    });
}

#[test]
fn a_number_is_the_value_or_what_its_method_trains_on() {
    with_group(false, |group| {
        let mut verdict = group.verdicts[0].clone();
        verdict.value = json!(0.5);
        assert_eq!(crate::explore::number(&verdict), Some(0.5));
        verdict.value = json!({ "soft": 0.75, "hard": true });
        assert_eq!(crate::explore::number(&verdict), None, "of no method");
        verdict.verifier = VerifierId("math-shepherd@1+0123".into());
        assert_eq!(crate::explore::number(&verdict), Some(0.75));
        verdict.value = json!({ "soft": null });
        assert_eq!(crate::explore::number(&verdict), None);
    });
}

/// Each trajectory's advantages, a number a step.
fn advantages(group: &Group<'_>, advantages: Advantages) -> Vec<Vec<f64>> {
    let rows = Format::Verl.rows(group, &Settings { advantages, ..SETTINGS });
    let of_step = |row: &Value, step: &Value| {
        let end = usize::try_from(step["end"].as_u64()?).ok()?;
        row["advantages"][end].as_f64()
    };
    let of_row = |row: &Value| {
        let steps = row["extra_info"]["steps"].as_array().expect("a list");
        steps.iter().map(|step| of_step(row, step).expect("a number")).collect()
    };
    values(&rows).iter().map(of_row).collect()
}

#[track_caller]
fn near(found: &[Vec<f64>], expected: &[&[f64]]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (one, two) in found.iter().flatten().zip(expected.iter().copied().flatten()) {
        assert!((one - two).abs() < 1e-4, "{found:?} is not {expected:?}");
    }
}

#[test]
fn outcomes_are_held_against_each_other_by_step() {
    with_group(true, |group| {
        // One right, one wrong: worth a half before the first step, and decided by it.
        let tree = advantages(group, Advantages::Tree);
        near(&tree, &[&[1.0, 0.5], &[-1.0, -0.5, -0.5]]);
        // ±0.5 over 0.7072, and 0.3 times 1, 1, -1, 0, 0 against 0.2 over 0.8367.
        let dual = advantages(group, Advantages::Dual);
        near(&dual, &[&[0.9939, 0.9939], &[-1.1373, -0.7787, -0.7787]]);
        let refused = |group: &Group<'_>, advantages: Advantages| {
            Format::Verl.rows(group, &Settings { advantages, ..SETTINGS }).refused
        };
        let ungraded = Group { outcomes: BTreeMap::new(), ..copy(group) };
        let mut one = copy(group);
        one.outcomes.pop_last();
        for how in [Advantages::Tree, Advantages::Dual] {
            assert_eq!(refused(&ungraded, how), [(Refusal::NoOutcome, 2)].into());
            let reasons = [(Refusal::NoOutcome, 1), (Refusal::Alone, 1)];
            assert_eq!(refused(&one, how), reasons.into());
        }
        // Only the question has more than one trajectory going on from it.
        assert_eq!(refused(group, Advantages::Gae), [(Refusal::NoValue, 2)].into());
    });
}

#[test]
fn a_state_is_worth_what_trajectories_through_it_earn() {
    // Two first steps, and two answers to each.
    let mut tree = Tree::new(TaskId("q1".into()));
    for (number, parent) in (0u32..).zip([None, None, Some(0), Some(0), Some(1), Some(1)])
    {
        let (text, action, observations) = answer("Hanne Voss");
        let kept = if parent.is_some() { 2 } else { 0 };
        let tokens = Tokens {
            kept,
            prompt: vec![1],
            sampled: vec![2 + number],
            logprobs: vec![-0.1],
        };
        let (seed, tokens) = (u64::from(number), Some(tokens));
        let proposal = Proposal { text, action, seed, tokens, elided: vec![] };
        let step = Step { proposal, observations, scratch: Digest::of(b"") };
        let parent = parent.map(NodeId);
        tree.push(Arc::new(Node { parent, step })).expect("in order");
    }
    for leaf in tree.leaves() {
        tree.end(Some(leaf), Ending::Answered).expect("it is there");
    }
    with_group(true, |group| {
        let (good, bad) = (StepLabel::Good, StepLabel::Bad);
        let mut labels = group.labels.clone();
        let any = labels.pop_first().expect("it has labels").1;
        let labels = (0..).zip([good, bad, good, bad, bad, bad]);
        let labels = labels
            .map(|(node, label)| (NodeId(node), Labelled { label, ..any.clone() }))
            .collect();
        let group = Group { tree: &tree, labels, ..copy(group) };
        // Earned from the question on: 2, 0, -2, -2; from the first steps on: 1, -1; -1, -1.
        let expected: [&[f64]; 4] =
            [&[1.5 + 0.95, 1.0], &[1.5 - 0.95, -1.0], &[-1.5, 0.0], &[-1.5, 0.0]];
        near(&advantages(&group, Advantages::Gae), &expected);
    });
}

#[test]
fn what_cannot_be_written_is_refused_by_reason() {
    with_group(false, |group| {
        let tokens = [
            Format::SkyRl,
            Format::Verl,
            Format::Verifiers,
            Format::Atropos,
            Format::Prm,
        ];
        for format in tokens {
            let rows = format.rows(group, &SETTINGS);
            assert!(rows.tables[0].is_empty(), "{format}");
            assert_eq!(
                rows.refused,
                BTreeMap::from([(Refusal::NoTokens, 2)]),
                "{format}"
            );
        }
        let unlabelled = Group { labels: BTreeMap::new(), ..copy(group) };
        for format in [Format::Trl, Format::OpenRlhf, Format::VerdictChat] {
            let rows =
                format.rows(&unlabelled, &Settings { zeros: Zeros::Drop, ..SETTINGS });
            assert!(rows.tables[0].is_empty(), "{format}");
            assert!(rows.refused.contains_key(&Refusal::NoLabel), "{format}");
        }
        let told = Told { system: "ки".into(), tools: vec![] };
        let separated = Group { told: &told, ..copy(group) };
        let rows = Format::OpenRlhf.rows(&separated, &SETTINGS);
        assert_eq!(rows.refused, BTreeMap::from([(Refusal::SeparatorInText, 2)]));
        let strangers: Vec<Verdict> = group
            .verdicts
            .iter()
            .map(|verdict| Verdict {
                verifier: VerifierId(format!("judge@{}", verdict.node)),
                ..verdict.clone()
            })
            .collect();
        let apart = Group { verdicts: &strangers, ..copy(group) };
        let rows = Format::Pairs.rows(&apart, &SETTINGS);
        assert_eq!(rows.refused.get(&Refusal::NoCommonVerifier), Some(&1));
    });
    with_group(true, |group| {
        let ungraded = Group { outcomes: BTreeMap::new(), ..copy(group) };
        let settings = Settings { rewards: Rewards::Both, ..SETTINGS };
        let rows = Format::Verl.rows(&ungraded, &settings);
        assert_eq!(rows.refused, BTreeMap::from([(Refusal::NoOutcome, 2)]));
    });
}

fn copy<'r>(group: &Group<'r>) -> Group<'r> {
    let (labels, outcomes) = (group.labels.clone(), group.outcomes.clone());
    Group { labels, numbers: group.numbers.clone(), outcomes, ..*group }
}

#[test]
fn a_pair_prefers_the_better_of_two_steps_from_one_state() {
    with_group(false, |group| {
        let rows = Format::Pairs.rows(group, &SETTINGS);
        let read = values(&rows);
        let [row] = read.as_slice() else { panic!("one pair: {rows:?}") };
        assert_eq!(row["prompt"].as_array().map(Vec::len), Some(2));
        assert_eq!((&row["chosen_node"], &row["rejected_node"]), (&json!(0), &json!(2)));
        assert_eq!(row["chosen"][0]["role"], "assistant");
        // Three states lead to one step each, and nothing can be said of them.
        assert_eq!(rows.refused, BTreeMap::from([(Refusal::NoSibling, 3)]));
    });
}

#[test]
fn a_step_without_a_label_is_read_before_the_next_one() {
    with_group(false, |group| {
        let settings = Settings { zeros: Zeros::Positive, ..SETTINGS };
        let rows = Format::Trl.rows(group, &settings);
        let read = values(&rows);
        let [_, second] = read.as_slice() else { panic!("two rows") };
        let last = second["completions"][1].as_str().expect("a text");
        assert!(last.starts_with("Observation: no such argument"), "{last}");
        assert!(last.ends_with("Hm."), "{last}");
        let rows = Format::OpenRlhf.rows(group, &settings);
        let read = values(&rows);
        let input = read[1]["input"].as_str().expect("a text");
        assert_eq!(input.matches(SEPARATOR).count(), 2);
        assert!(input.ends_with(SEPARATOR));
    });
}

#[test]
fn two_that_say_the_same_or_were_told_otherwise_are_no_pair() {
    with_group(false, |group| {
        let refused = |group: &Group<'_>| {
            let rows = Format::Pairs.rows(group, &SETTINGS);
            assert!(rows.tables[0].is_empty(), "{rows:?}");
            rows.refused
        };
        let told = Told { system: "Guess.".into(), tools: vec![] };
        let apart = BTreeMap::from([(NodeId(4), told)]);
        let apart = Group { told_otherwise: &apart, ..copy(group) };
        assert_eq!(refused(&apart).get(&Refusal::ToldOtherwise), Some(&1));
        let systems = values(&Format::Verifiers.rows(&apart, &SETTINGS));
        assert!(systems.is_empty(), "there are no tokens");
        let chats = values(&Format::OpenaiChat.rows(&apart, &SETTINGS));
        let system = |row: &Value| row["messages"][0]["content"].clone();
        assert_eq!(chats.iter().map(system).collect::<Vec<_>>(), ["Answer.", "Guess."]);
        let mut tree = Tree::new(TaskId("q1".into()));
        for (seed, (_, node)) in
            (0..).zip([group.tree.nodes().next().expect("a step"); 2])
        {
            let mut node = Node::clone(node);
            node.step.proposal.seed = seed;
            tree.push(Arc::new(node)).expect("in order");
        }
        let labels = [(0, NodeId(0)), (1, NodeId(2))];
        let labels = labels.map(|(at, of)| (NodeId(at), group.labels[&of].clone()));
        let same = Group { tree: &tree, labels: labels.into(), ..copy(group) };
        let verdicts = group.verdicts.iter().filter(|verdict| verdict.node.0 != 1);
        let verdicts: Vec<Verdict> = verdicts
            .map(|verdict| Verdict {
                node: NodeId(verdict.node.0 / 2),
                ..verdict.clone()
            })
            .collect();
        let same = Group { verdicts: &verdicts, ..same };
        assert_eq!(refused(&same).get(&Refusal::SameMessage), Some(&1));
    });
}

#[test]
fn what_did_not_happen_is_marked_or_refused() {
    with_group(true, |group| {
        let forged = Group { forged: Some(NodeId(2)), ..copy(group) };
        let binary = Settings { zeros: Zeros::Positive, ..SETTINGS };
        for format in Format::ALL {
            let marks = match format {
                Format::AgentProcessBench | Format::OpenaiChat => "\"forged_after\":2",
                Format::Atif | Format::Parquet => "\"forged\":true",
                _ => "",
            };
            let rows = format.rows(&forged, &binary);
            let refused = rows.refused.get(&Refusal::Forged).copied();
            if marks.is_empty() {
                // Where siblings are compared nothing leads up to them.
                let expected = if format == Format::Pairs { None } else { Some(1) };
                assert_eq!(refused, expected, "{format}");
            } else {
                let marked = rows.tables[0].iter().filter(|row| row.contains(marks));
                assert_eq!((refused, marked.count()), (None, 1), "{format}");
            }
            let keep = Settings { forged: Forged::Keep, ..binary };
            assert_eq!(format.rows(&forged, &keep).refused.get(&Refusal::Forged), None);
        }
    });
}

fn import(format: TrajectoryFormat, rows: &Rows) -> Vec<Trajectory> {
    let text: String = rows.tables[0].iter().map(|row| format!("{row}\n")).collect();
    let mut bytes = text.as_bytes();
    let records = Records::new("rows.jsonl", &mut bytes);
    let read = records.map(|record| format.read(&record?));
    read.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn atif_brings_steps_tokens_labels_and_gold_back() {
    for tokens in [false, true] {
        with_group(tokens, |group| {
            let rows = Format::Atif.rows(group, &SETTINGS);
            let found = import(TrajectoryFormat::Atif, &rows);
            assert_eq!(found.len(), 2);
            let mut labels = BTreeMap::new();
            for (sample, found) in group.samples().iter().zip(&found) {
                assert_eq!(found.task, *group.task);
                assert_eq!(found.gold.as_ref(), group.gold);
                assert_eq!(found.ending, Some(Ending::Answered));
                let expected: Vec<Step> = sample.steps().into_iter().cloned().collect();
                assert_eq!(found.steps, expected);
                for verdict in &found.verdicts {
                    assert_eq!(verdict.saw, Sight::GOLD);
                    let (node, _) = sample.path[verdict.node.0 as usize];
                    labels.insert(node, (verdict.label, verdict.zero));
                }
            }
            let expected = group.labels.iter();
            let expected: BTreeMap<_, _> =
                expected.map(|(node, l)| (*node, (Some(l.label), l.zero))).collect();
            assert_eq!(labels, expected);
        });
    }
}

#[test]
fn agent_process_bench_brings_labels_back() {
    with_group(false, |group| {
        let rows = Format::AgentProcessBench.rows(group, &SETTINGS);
        let found = import(TrajectoryFormat::AgentProcessBench, &rows);
        let mut labels = Labels::new();
        for (sample, found) in group.samples().iter().zip(&found) {
            assert_eq!(found.human, [], "nobody has labelled these");
            for verdict in &found.verdicts {
                assert_eq!(verdict.saw, Sight::GOLD);
                let node = sample.path[verdict.node.0 as usize].0;
                labels.insert(node, verdict.label.expect("a label"));
            }
        }
        assert_eq!(labels, own(group, |_| true));
        let rows = Format::OpenaiChat.rows(group, &SETTINGS);
        let found = import(TrajectoryFormat::OpenaiChat, &rows);
        assert_eq!(found[0].steps.len(), 2);
    });
}

#[test]
fn names_are_read_back() {
    let names: BTreeSet<&str> = Format::ALL.map(Format::name).into();
    assert_eq!(names.len(), Format::ALL.len());
    for format in Format::ALL {
        assert_eq!(format.name().parse::<Format>().expect("its own name"), format);
    }
    let error = "dpo".parse::<Format>().expect_err("no format").to_string();
    assert!(error.contains("verdict-chat"), "{error}");
    for rewards in Rewards::ALL {
        assert_eq!(rewards.name().parse::<Rewards>().expect("its own"), rewards);
    }
    for advantages in Advantages::ALL {
        assert_eq!(advantages.name().parse::<Advantages>().expect("its own"), advantages);
    }
    let error = "skip".parse::<Zeros>().expect_err("no such").to_string();
    assert_eq!(error, "\"skip\" is none of drop, keep, positive");
}

/// A path of steps with these tokens.
fn path(tokens: &[Tokens]) -> Tree {
    let mut tree = Tree::new(TaskId("t".into()));
    for (index, tokens) in (0u32..).zip(tokens) {
        let (text, action, observations) = answer("x");
        let tokens = Some(tokens.clone());
        let proposal = Proposal { text, action, seed: 0, tokens, elided: vec![] };
        let step = Step { proposal, observations, scratch: Digest::of(b"") };
        let parent = index.checked_sub(1).map(NodeId);
        tree.push(Arc::new(Node { parent, step })).expect("in order");
    }
    tree
}

proptest! {
    #[test]
    fn ids_are_what_the_model_saw_or_the_row_is_refused(
        steps in proptest::collection::vec(
            (0u32..3, proptest::collection::vec(0u32..9, 0..4),
             proptest::collection::vec(0u32..9, 0..4)),
            1..5,
        )
    ) {
        let mut length = 0;
        let mut tokens = Vec::new();
        let mut exact = true;
        let mut full = true;
        let mut seen = Vec::new();
        for (cut, prompt, sampled) in steps {
            // Mostly an exact extension; now and then a shortened context.
            let cut = if cut == 2 { 1.min(length) } else { 0 };
            let kept = length - cut;
            exact &= cut == 0;
            full &= !sampled.is_empty();
            let of = Tokens { kept, prompt, logprobs: vec![0.0; sampled.len()], sampled };
            prop_assert!(of.extend(&mut seen));
            length = seen.len() as u32;
            tokens.push(of);
        }
        let tree = path(&tokens);
        let leaf = tree.leaves()[0];
        let sample = Sample { number: 0, leaf, path: tree.path(leaf), told: &Told::default() };
        match TokenPath::of(&sample) {
            Ok(found) => {
                prop_assert!(exact && full);
                prop_assert_eq!(found.ids, seen);
            }
            Err(refusal) => {
                prop_assert!(!exact || !full, "{:?}", refusal);
            }
        }
    }
}
