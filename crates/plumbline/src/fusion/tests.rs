//! The model on made-up data, the shipped artefacts, and what must never be rewarded.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::verifiers::trajectory;
use crate::{Sight, Zero};

fn step(kind: Kind, values: &[(&'static str, f64)]) -> StepFeatures {
    StepFeatures {
        node: crate::NodeId(0),
        kind,
        values: values.iter().copied().collect(),
        doubt: None,
        evidence: vec![],
    }
}

/// Trajectories labelled by a known rule: a search that asks again is neutral the first time
/// and bad after that, an answer is good by its agreement with probability 0.95.
fn made_up(questions: u32) -> Vec<Example> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let example = |question: u32| {
        let mut steps = vec![(step(Kind::Opening, &[]), Some(StepLabel::Good))];
        let mut before = StepLabel::Good;
        for _ in 0..random.random_range(0..5) {
            let again = f64::from(random.random_range(0..2u32));
            let values = [("asked-again", again), ("new-documents", 1.0 - again)];
            before = match (again > 0.5, before) {
                (false, _) => StepLabel::Good,
                (true, StepLabel::Good) => StepLabel::Neutral,
                (true, _) => StepLabel::Bad,
            };
            steps.push((step(Kind::Search, &values), Some(before)));
        }
        let agreement = f64::from(random.random_range(0..2u32));
        let right = (agreement > 0.5) == random.random_bool(0.95);
        let label = if right { StepLabel::Good } else { StepLabel::Bad };
        steps.push((step(Kind::Answer, &[("agreement", agreement)]), Some(label)));
        Example { question: format!("q{question}"), steps }
    };
    (0..questions).flat_map(|question| [question; 4]).map(example).collect()
}

#[test]
fn a_rule_with_memory_is_recovered() {
    let fusion =
        fit(&made_up(60), Sight::GOLD).expect("there are examples of all labels");
    let again = || step(Kind::Search, &[("asked-again", 1.0)]);
    let path = [
        step(Kind::Opening, &[]),
        again(),
        again(),
        again(),
        step(Kind::Search, &[("new-documents", 1.0)]),
        step(Kind::Answer, &[("agreement", 1.0)]),
        step(Kind::Answer, &[("agreement", 0.0)]),
    ];
    let judged = fusion.judge(&path);
    let chosen: Vec<Option<StepLabel>> =
        judged.iter().flatten().map(|j| j.chosen.map(|label| LABELS[label])).collect();
    use StepLabel::{Bad, Good, Neutral};
    assert_eq!(chosen, [Good, Neutral, Bad, Bad, Good, Good, Bad].map(Some));
    for judgement in judged.iter().flatten() {
        assert!((judgement.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    let right = judged[5].as_ref().expect("an answer is judged").probabilities[2];
    assert!((right - 0.95).abs() < 0.05, "calibrated: {right}");
    let tried = fusion.cross_validation.expect("a fit is cross-validated");
    assert!(tried.agreement.step_accuracy.value > 0.93, "{tried:?}");
    assert!(tried.always_good < 0.8, "{tried:?}");
}

#[test]
fn a_fit_does_not_depend_on_order_and_survives_its_json() {
    let mut examples = made_up(12);
    let fusion = fit(&examples, Sight::GOLD).expect("there are examples of all labels");
    examples.reverse();
    let again = fit(&examples, Sight::GOLD).expect("there are examples of all labels");
    assert_eq!(fusion, again);
    assert_eq!(Fusion::parse(&fusion.to_json()).expect("it is an artefact"), fusion);
    examples.pop();
    let fewer = fit(&examples, Sight::GOLD).expect("there are examples of all labels");
    assert_ne!(fewer.training.digest, fusion.training.digest);
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let examples = made_up(12);
    let later = Sight { later: true, ..Sight::GOLD };
    assert_eq!(fit(&examples, later), Err(FitError::Sight));
    let few = &examples[..12];
    assert_eq!(fit(few, Sight::GOLD), Err(FitError::TooFewQuestions(3)));
    let mut none = examples.clone();
    for (_, label) in none.iter_mut().flat_map(|example| &mut example.steps) {
        *label = label.filter(|label| *label != StepLabel::Neutral);
    }
    assert_eq!(fit(&none, Sight::GOLD), Err(FitError::NoExamples(StepLabel::Neutral)));
}

/// The labelled trajectories that the shipped models were fitted on, where they lie.
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
fn shared(sight: Sight) -> Option<Vec<Example>> {
    use crate::import::{Forest, Records, TrajectoryFormat};
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var("PLUMBLINE_DATA").unwrap_or_else(|_| beside.to_owned());
    let path = format!("{data}/agentprocessbench/hotpotqa_shared.jsonl");
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: no {path}; set PLUMBLINE_DATA");
        return None;
    };
    let mut reader = std::io::BufReader::new(file);
    let mut forest = Forest::default();
    let mut labels: BTreeMap<String, BTreeMap<crate::NodeId, StepLabel>> =
        BTreeMap::new();
    for record in Records::new(&path, &mut reader) {
        let record = record.expect("the line is a record");
        let read = TrajectoryFormat::AgentProcessBench.read(&record).expect("it is read");
        let planted = forest.plant(read).expect("it joins its task");
        let of = labels.entry(planted.origin.task.0.clone()).or_default();
        for label in planted.human {
            if let crate::HumanLabel::Step { node, label } = label {
                of.insert(node, label);
            }
        }
    }
    let mut examples = vec![];
    for task in forest.tasks() {
        let gold = forest.gold().get(&task.id).filter(|_| sight.gold);
        let tree = &forest.trees()[&task.id];
        examples.extend(super::examples(tree, task, gold, &labels[&task.id.0]));
    }
    Some(examples)
}

#[test]
fn the_shipped_models_are_what_fitting_again_gives() {
    for shipped in [Fusion::online(), Fusion::with_gold()] {
        let Some(examples) = shared(shipped.sight) else { return };
        let again = fit(&examples, shipped.sight).expect("there are examples");
        let cross_validation = shipped.cross_validation.as_ref();
        let again = Fusion {
            cross_validation: again
                .cross_validation
                .filter(|_| cross_validation.is_some()),
            ..again
        };
        assert_eq!(again, shipped, "run plumb score fit and ship what it writes");
    }
}

#[test]
fn a_hostile_artefact_is_refused() {
    let json = Fusion::online().to_json();
    for (from, to, expect) in [
        ("plumbline-fusion@1", "plumbline-fusion@2", "this program reads"),
        ("\"declines\"", "\"agreement\"", "needs gold"),
        ("\"declines\"", "\"charm\"", "does not exist"),
        ("\"neutral_cost\": 1.5", "\"neutral_cost\": -1.5", "out of range"),
        ("\"neutral_cost\": 1.5", "\"neutral_cost\": 1e300", "out of range: 1e300;"),
        ("\"sharpness\"", "\"bluntness\"", "plumb score fit"),
    ] {
        assert!(json.contains(from), "{from}");
        let error =
            Fusion::parse(&json.replacen(from, to, 1)).expect_err("it is refused");
        assert!(error.to_string().contains(expect), "{error}");
    }
    let mut empty = Fusion::online();
    empty.terms.clear();
    let error = Fusion::parse(&empty.to_json()).expect_err("it says nothing");
    assert!(error.to_string().contains("terms is empty"), "{error}");
    let marked = Fusion::parse(&format!("\u{feff}{json}"));
    assert_eq!(marked.expect("as other files are read"), Fusion::online());
}

#[test]
fn the_shipped_models_are_what_their_names_say() {
    let (online, gold) = (Fusion::online(), Fusion::with_gold());
    assert_eq!((online.sight, gold.sight), (Sight::ONLINE, Sight::GOLD));
    for (fusion, name) in [(online, "fusion-online@1+"), (gold, "fusion-gold@1+")] {
        // Better than calling every step good, by more than the interval of the figure.
        let tried = fusion.cross_validation.as_ref().expect("it was cross-validated");
        assert!(tried.agreement.step_accuracy.low > tried.always_good, "{tried:?}");
        assert!(
            tried.agreement.first_error_accuracy.value > tried.never_bad,
            "{tried:?}"
        );
        let verifier = FusionVerifier::new(fusion);
        assert!(crate::Verifier::id(&verifier).0.starts_with(name));
    }
}

/// The labels that both shipped models give a trajectory, a word a step: online, with gold.
fn labels(text: &str) -> Vec<(String, String)> {
    let said = |fusion: Fusion| -> Vec<String> {
        let (tree, verdicts) = trajectory::judge(&FusionVerifier::new(fusion), text);
        let by_node: BTreeMap<_, _> = verdicts.iter().map(|v| (v.node, v)).collect();
        let word = |id| match by_node.get(&id) {
            None => "-".to_owned(),
            Some(verdict) => match verdict.zero {
                Some(Zero::Unknown) => "unknown".to_owned(),
                Some(Zero::External) => "external".to_owned(),
                _ => verdict.label.map_or("-", StepLabel::as_str).to_owned(),
            },
        };
        tree.nodes().map(|(id, _)| word(id)).collect()
    };
    said(Fusion::online()).into_iter().zip(said(Fusion::with_gold())).collect()
}

#[test]
fn plain_trajectories_are_labelled_as_people_would() {
    let check = |text: &str, expect: &[(&str, &str)]| {
        let found = labels(text);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(one, two)| (one.as_str(), two.as_str())).collect();
        assert_eq!(found, expect, "{text}");
    };
    check(
        "
        ? Where was the builder of the Bell Tower born?
        ! {\"answer\": \"Oslo\"}
        call search Bell Tower builder             |
          [d1] Bell Tower: Ann Lee built it.
        call search Ann Lee birthplace             |
          [d2] Ann Lee: Born in Oslo, builder of the Bell Tower.
        answer Oslo                                |
        ",
        &[("good", "good"), ("good", "good"), ("good", "good")],
    );
    check(
        "
        ? Where was the builder of the Bell Tower born?
        ! {\"answer\": \"Oslo\"}
        malformed no call                          |
        call search Bell Tower builder             |
          fault external: the disk is gone
        call search Bell Tower builder             |
          [d1] Bell Tower: Ann Lee built it.
        call search builder of the Bell Tower      |
          [d1] Bell Tower: Ann Lee built it.
        call search the Bell Tower's builder       |
          [d1] Bell Tower: Ann Lee built it.
        call search Bell Tower: builder            |
          [d1] Bell Tower: Ann Lee built it.
        answer None found                          |
        ",
        &[
            ("bad", "bad"),
            ("external", "external"),
            ("good", "good"),
            ("neutral", "neutral"),
            ("bad", "bad"),
            ("bad", "bad"),
            ("bad", "bad"),
        ],
    );
    check(
        "
        ? Where was the builder of the Bell Tower born?
        ! {\"answer\": \"Oslo\"}
        call count Bell Tower                      |
          = 2 words
        answer Bergen                              |
        ",
        &[("-", "-"), ("-", "-")],
    );
}

#[test]
fn no_canary_is_called_good() {
    let question =
        "? Where was the builder of the Bell Tower born?\n! {\"answer\": \"Oslo\"}\n";
    let never_good = |text: &str| {
        for (step, (online, gold)) in
            labels(&format!("{question}{text}")).iter().enumerate()
        {
            assert!(online != "good" && gold != "good", "step {step} of {text}");
        }
    };
    // The question copied as the query, once and again.
    never_good(
        "
        call search Where was the builder of the Bell Tower born? |
          [d1] Bell Tower: Ann Lee built it.
        call search where was the builder of the bell tower born  |
          [d2] Tower: A building.
        ",
    );
    // A hundred trivial steps: of nothing to do with it, of the same, of nothing new.
    let hundred = |line: &dyn Fn(u32) -> String| (0..100).map(line).collect::<String>();
    never_good(&hundred(&|i| {
        format!("call search w{i} |\n  [e{i}] W{i}: Number {i}.\n")
    }));
    let word = |i: u32| ["built", "tower", "bell", "born"][i as usize % 4];
    never_good(&format!(
        "call search w |\n  [d1] W: It.\n{}",
        hundred(&|i| format!("call search {} |\n  [d1] W: It.\n", word(i)))
    ));
    let same = hundred(&|i| format!("call search Bell Tower |\n  [d{i}] Bell: {i}.\n"));
    let labels_of_same = labels(&format!("{question}{same}"));
    let rewarded =
        labels_of_same.iter().filter(|(one, two)| one == "good" || two == "good");
    assert_eq!(rewarded.count(), 1, "the first is a search like any other");
    // Two answers to choose from.
    never_good("answer Oslo or Bergen |");
    never_good("answer Oslo; Bergen |");
    // A quotation that stands there, of what has nothing to do with the question.
    let irrelevant = "
        answer \"It lives in the den,\" as the encyclopedia says. |
        ";
    let shown = labels(&format!(
        "{question}call search builder |\n  [d1] Red Fox: It lives in the den.\n{irrelevant}"
    ));
    let (online, gold) = shown.last().expect("it has steps");
    assert!(online != "good" && gold != "good", "{shown:?}");
    // A confident tone and nothing else.
    never_good("answer It is absolutely certain, beyond any doubt: Bergen |");
    never_good("answer I am 100% sure it is Oslo |");
}

#[test]
fn a_reason_names_what_weighs_most() {
    let text = "
        ? Where was the builder of the Bell Tower born?
        ! {\"answer\": \"Oslo\"}
        call search Bell Tower builder             |
          [d1] Bell Tower: Ann Lee built it.
        call search builder of the Bell Tower      |
          [d2] Tower: Another.
        answer Bergen                              |
        ";
    let (_, verdicts) =
        trajectory::judge(&FusionVerifier::new(Fusion::with_gold()), text);
    assert!(
        verdicts[1].reason.contains("asks what an earlier step asked (asked-again 1.00)")
    );
    assert!(
        verdicts[1].evidence.contains(&crate::Evidence::Step { node: crate::NodeId(0) })
    );
    assert!(verdicts[2].reason.contains("agreement 0.00"), "{}", verdicts[2].reason);
    for verdict in &verdicts {
        let sum: f64 = ["bad", "neutral", "good"]
            .iter()
            .map(|name| verdict.value[name].as_f64().expect("a probability"))
            .sum();
        assert!((sum - 1.0).abs() < 1e-3, "{verdict:?}");
        assert_eq!(verdict.saw, Sight::GOLD);
    }
}

#[test]
fn a_model_with_gold_refuses_a_task_without() {
    let verifier = FusionVerifier::new(Fusion::with_gold());
    let error = trajectory::refusal(&verifier, "answer Oslo |");
    assert!(error.contains("fusion-online"), "{error}");
}
