//! Methods on a small world whose policy is known, so that what theory says of them can be
//! counted.

mod world;

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::*;
use crate::mutants::call;
use crate::scale::Rollouts;
use crate::{Action, Effort, Evidence, NodeId, StepLabel, Zero, regenerate, replay};
use StepLabel::{Bad, Good, Neutral};
use world::{World, block_on, few, knows, rollouts, says};

/// The completions a verdict rests on.
fn counted(verdict: &Verdict) -> Rollouts {
    match verdict.evidence.as_slice() {
        [Evidence::Rollouts { sampled, succeeded }] => {
            Rollouts { sampled: *sampled, succeeded: *succeeded }
        }
        other => panic!("{other:?} is not one batch of rollouts"),
    }
}

/// Verdicts on steps that go on.
fn going_on<'v>(tree: &Tree, verdicts: &'v [Verdict]) -> Vec<&'v Verdict> {
    verdicts.iter().filter(|verdict| tree.ending(verdict.node).is_none()).collect()
}

#[test]
fn math_shepherds_soft_score_is_near_the_true_chance_and_its_hard_one_is_not() {
    let world = World::new(0.8, 0.3);
    let (tree, verdicts, _) = world.run("math-shepherd", world.tree(), 20, rollouts(48));
    let within = |verdict: &&&Verdict| {
        let (taken, good) = world.taken(&tree, verdict.node);
        let (low, high) = counted(verdict).interval();
        (low..=high).contains(&world.policy.value(taken, good))
    };
    let steps = going_on(&tree, &verdicts);
    let share = steps.iter().filter(within).count() as f64 / steps.len() as f64;
    assert_eq!(steps.len(), 80);
    assert!(share >= 0.8, "{share} of 90 % intervals have the true chance in them");

    // After a bad step the chance is 0.3; hard labels call 1 - 0.7^8 = 94 % of them good.
    let world = World::new(0.3, 0.3);
    let (tree, verdicts, _) = world.run("math-shepherd", world.tree(), 12, rollouts(8));
    let steps = going_on(&tree, &verdicts);
    let lost = |verdict: &&Verdict| !world.taken(&tree, verdict.node).1;
    let lost: Vec<&Verdict> = steps.into_iter().filter(lost).collect();
    let called_good = lost.iter().filter(|verdict| verdict.label == Some(Good)).count();
    let share = called_good as f64 / lost.len() as f64;
    assert!(lost.len() > 20 && share > 0.85, "{share} of {}", lost.len());
}

/// The mean of what a method's estimates of chances are off by, over 40 questions, and the
/// standard error of that mean.
fn error(
    name: &str,
    given: Constants,
    estimate: impl Fn(&Verdict) -> Option<f64>,
) -> (f64, f64) {
    let of_question = |seed: u64| {
        let world = World { seed, ..World::new(0.8, 0.3) };
        let (tree, verdicts, _) = world.run(name, world.tree(), 3, given);
        let off = |verdict: &&Verdict| {
            let (taken, good) = world.taken(&tree, verdict.node);
            Some(estimate(verdict)? - world.policy.value(taken, good))
        };
        let off: Vec<f64> = going_on(&tree, &verdicts).iter().filter_map(off).collect();
        (!off.is_empty()).then(|| off.iter().sum::<f64>() / off.len() as f64)
    };
    let means: Vec<f64> = (0..40).filter_map(of_question).collect();
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let square = means.iter().map(|it| (it - mean).powi(2)).sum::<f64>();
    (mean, (square / (n - 1.0) / n).sqrt())
}

#[test]
fn estimates_are_right_on_average_but_for_those_of_searches_that_exploit() {
    let share = |verdict: &Verdict| Some(counted(verdict).share());
    let field =
        |name: &'static str| move |verdict: &Verdict| verdict.value[name].as_f64();
    let (searches, width) = (Some(12), Some(3));
    let levels = Constants { width, depth: Some(4), ..Constants::NONE };
    let fair = [
        ("math-shepherd", error("math-shepherd", rollouts(8), share)),
        ("genprm", error("genprm", rollouts(16), field("mc"))),
        ("omegaprm", error("omegaprm", Constants { searches, ..rollouts(8) }, share)),
        ("mm-prm", error("mm-prm", Constants { searches, ..rollouts(8) }, share)),
        ("treeps-rag", error("treeps-rag", levels, field("v"))),
        ("hnc", error("hnc", levels, field("score"))),
    ];
    for (name, (mean, deviation)) in fair {
        assert!(mean.abs() < 3.0 * deviation, "{name}: {mean:.3} +- {deviation:.3}");
        assert!(deviation < 0.04, "{name}: {deviation}");
    }
    // Simulations go where earlier ones came to a right end. What they gave up early looks worse
    // than it is, for that is why they gave it up; what they went through often looks better
    // than the policy makes of it.
    let q = |verdict: &Verdict| Some((verdict.value["q"].as_f64()? + 1.0) / 2.0);
    let often = |verdict: &Verdict| verdict.value["visits"].as_u64() >= Some(8);
    let given = Constants { width, ..Constants::NONE };
    let (mean, deviation) = error("alphamath", given, |it| q(it).filter(|_| !often(it)));
    assert!(mean < -3.0 * deviation, "alphamath, seldom: {mean:.3} +- {deviation:.3}");
    let (mean, deviation) = error("alphamath", given, |it| q(it).filter(|_| often(it)));
    assert!(mean > 3.0 * deviation, "alphamath, often: {mean:.3} +- {deviation:.3}");
    // And a hard label says of a step that it can be put right, not that it was.
    let hard = |verdict: &Verdict| Some(f64::from(u8::from(verdict.label == Some(Good))));
    let (mean, deviation) = error("math-shepherd", rollouts(8), hard);
    assert!(mean > 10.0 * deviation, "hard labels: {mean:.3} +- {deviation:.3}");
}

#[test]
fn omegaprm_finds_a_planted_error_in_logarithmically_many_batches() {
    let mut found = 0;
    for planted in 0..6 {
        let mut world = World::new(0.5, 0.0);
        (world.policy.steps, world.policy.planted) = (6, Some(planted));
        let given = Constants { searches: Some(1), ..rollouts(8) };
        let (tree, verdicts, _) = world.run("omegaprm", world.tree(), 1, given);
        let hopeless = verdicts.iter().filter(|it| counted(it).succeeded == 0);
        let first = hopeless.map(|it| tree.path(it.node).len() - 1).min();
        let hopeful = verdicts.iter().filter(|it| counted(it).succeeded > 0);
        let last = hopeful.map(|it| tree.path(it.node).len() - 1).max();
        assert_eq!(first, Some(planted), "the first step that is called bad");
        assert!(last.is_none_or(|last| last < planted), "those before it are good");
        // Seven steps, the answer being one, after a batch at the question.
        let batches = world.policy.batches.load(Ordering::Relaxed) - 1;
        assert!(batches <= 4, "{batches} batches for the error at step {planted}");
        found += 1;
    }
    assert_eq!(found, 6);
}

#[test]
fn a_second_method_finds_its_rollouts_in_the_tree() {
    let world = World::new(0.8, 0.1);
    let (tree, _, first) = world.run("math-shepherd", world.tree(), 8, rollouts(8));
    assert_eq!(first.sampled.reused, 0);
    let (tree, _, consensus) = world.run("consensus", tree, 8, rollouts(8));
    assert_eq!((consensus.rollouts.fresh, consensus.sampled.fresh), (0, 0));
    assert!(consensus.sampled.reused > 0);
    let given = Constants { searches: Some(3), ..rollouts(8) };
    let (_, _, omegaprm) = world.run("omegaprm", tree, 8, given);
    let share = omegaprm.sampled.fresh as f64 / omegaprm.sampled.total() as f64;
    assert!(share < 0.3, "{share} of its tokens are new");
}

#[test]
fn a_method_run_again_samples_nothing_and_says_the_same() {
    let world = World::new(0.7, 0.2);
    let mut tree = world.tree();
    for method in METHODS {
        let (grown, first, ledger) = world.run(method.name, tree, 3, few(method));
        let (asked, nodes) = (world.policy.asked(), grown.len());
        let (again, second, free) = world.run(method.name, grown, 3, few(method));
        assert_eq!(world.policy.asked(), asked, "{}", method.name);
        assert_eq!(again.len(), nodes, "{}", method.name);
        assert_eq!(first, second, "{}", method.name);
        assert_eq!((free.sampled.fresh, free.rollouts.fresh), (0, 0), "{}", method.name);
        assert_eq!(free.sampled.total(), ledger.sampled.total(), "{}", method.name);
        let has_number = first.iter().any(|verdict| number(verdict).is_some());
        // Messages here have no thought, and so no sum of DRM's.
        let says_one =
            method.number.is_some() && !first.is_empty() && method.name != "drm";
        assert_eq!(has_number, says_one, "{}", method.name);
        // This world has no statement to change, and no query.
        let judges_none = matches!(method.name, "prlcoder" | "reward-sql");
        assert_eq!(first.is_empty(), judges_none, "{}", method.name);
        tree = again;
    }
    block_on(replay(&world.environment, &world.task, &tree))
        .map(|divergence| assert_eq!(divergence, None))
        .expect("the toys do not fail");
}

/// A value without the ids of steps in it, which are given out in the order of time.
fn nameless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, field)| {
            let taken = field.take();
            *field = if name == "leaf" { Value::Null } else { nameless(taken) };
        }),
        Value::Array(items) => {
            items.iter_mut().for_each(|item| *item = nameless(item.take()));
        }
        _ => {}
    }
    value
}

/// What is concluded must not hang on which of several steps in one state came about first.
#[test]
fn a_method_concludes_the_same_in_whatever_order_the_tree_came_about() {
    let mut world = World::new(0.6, 0.3);
    world.policy.marks = false;
    let concluded = |name: &str, tree: Tree, given: Constants| {
        let (tree, verdicts, _) = world.run(name, tree, 3, given);
        let told = |verdict: &Verdict| {
            let path = tree.path(verdict.node).into_iter();
            let said: Vec<String> =
                path.map(|(_, node)| node.step.proposal.text.clone()).collect();
            let value = nameless(verdict.value.clone()).to_string();
            (said, value, verdict.label.map(|label| label.to_string()))
        };
        let mut told: Vec<_> = verdicts.iter().map(told).collect();
        told.sort();
        told
    };
    let mut of_others = world.tree();
    for other in ["treeps-rag", "alphamath", "math-shepherd", "omegaprm"] {
        (of_others, ..) =
            world.run(other, of_others, 2, few(Method::find(other).expect("one")));
    }
    for method in METHODS {
        let given = few(method);
        let expected = concluded(method.name, world.tree(), given);
        for before in [world.sampled(1), world.sampled(2), of_others.clone()] {
            let steps = before.len();
            let found = concluded(method.name, before, given);
            assert_eq!(found, expected, "{} after {steps} steps", method.name);
        }
    }
}

#[test]
fn recorded_trajectories_are_executed_again_and_judged() {
    let theirs = World { seed: 9, ..World::new(0.5, 0.5) };
    let (tree, _, _) = theirs.run("spare", theirs.tree(), 3, Constants::NONE);
    let said = |tree: &Tree, leaf: NodeId| -> Vec<String> {
        let path = tree.path(leaf).into_iter();
        path.map(|(_, node)| node.step.proposal.text.clone()).collect()
    };
    let mut recorded: Vec<Vec<String>> =
        tree.leaves().into_iter().map(|leaf| said(&tree, leaf)).collect();
    assert_eq!(recorded.len(), 3);
    // One that was cut short has failed where it ends.
    recorded[2].pop();
    let world = World { recorded, ..World::new(0.5, 0.0) };
    for name in METHODS.iter().filter(|it| it.trajectories).map(|it| it.name) {
        let few = METHODS.iter().find(|it| it.name == name).expect("it has a name");
        let few = few.constants.rollouts.map(|_| 2);
        let given = Constants { rollouts: few, ..Constants::NONE };
        let (tree, verdicts, _) = world.run(name, world.tree(), 8, given);
        let judged: Vec<Vec<String>> =
            verdicts.iter().map(|verdict| said(&tree, verdict.node)).collect();
        let is_theirs = |path: &Vec<String>| {
            world.recorded.iter().any(|recorded| recorded.starts_with(path))
        };
        assert!(judged.iter().all(is_theirs), "{name}");
        let asked = world.policy.asked();
        let (again, same, _) = world.run(name, tree.clone(), 8, given);
        assert_eq!((again.len(), same), (tree.len(), verdicts), "{name}");
        assert_eq!(world.policy.asked(), asked, "{name}");
    }
    let (tree, verdicts, ledger) = world.run("spare", world.tree(), 8, Constants::NONE);
    assert_eq!((verdicts.len(), tree.len()), (5 + 5 + 4, 5 + 5 + 4));
    assert_eq!((ledger.sampled.total(), ledger.calls.total()), (0, 4 * 3));
}

#[test]
fn recorded_trajectories_that_begin_alike_are_each_judged_by_their_own_end() {
    let world = World::new(1.0, 0.0);
    let (tree, _, _) = world.run("spare", world.tree(), 1, Constants::NONE);
    let path = tree.path(tree.leaves()[0]).into_iter();
    let right: Vec<String> =
        path.map(|(_, node)| node.step.proposal.text.clone()).collect();
    let mut wrong = right.clone();
    *wrong.last_mut().expect("it has steps") = "<answer>wrong</answer>".to_owned();
    let recorded = vec![right.clone(), wrong, right];
    let world = World { recorded, ..world };
    let (tree, verdicts, _) = world.run("ppr", world.tree(), 8, Constants::NONE);
    assert_eq!(verdicts.len(), 4 + 4, "of two that say the same one is judged");
    let first = verdicts.iter().filter(|verdict| tree.path(verdict.node).len() == 1);
    let outcomes: Vec<Option<f64>> =
        first.map(|verdict| verdict.value["outcome"].as_f64()).collect();
    assert!(
        outcomes.contains(&Some(0.0)) && outcomes.contains(&Some(1.0)),
        "{outcomes:?}"
    );
    let regenerated =
        regenerate(&world.environment, &world.policy, &world.task, &tree, world.seed);
    let regenerated = block_on(regenerated).expect("the policy does not fail");
    assert_eq!((regenerated.same, regenerated.different), (0, 0), "nobody sampled them");
}

#[test]
fn a_success_from_behind_a_hopeless_step_is_a_recovery() {
    let world = World::new(0.5, 0.3);
    let (tree, verdicts, ledger) =
        world.run("math-shepherd", world.tree(), 6, rollouts(2));
    let hopeless = |node: &NodeId| {
        let verdict = verdicts.iter().find(|verdict| verdict.node == *node);
        verdict.is_some_and(|verdict| counted(verdict).succeeded == 0)
    };
    let recovered = |verdict: &&Verdict| {
        let before = tree.path(verdict.node);
        let mut before = before.iter().map(|(id, _)| id);
        counted(verdict).succeeded > 0 && before.any(hopeless)
    };
    let by_hand = verdicts.iter().filter(recovered).count() as u64;
    assert!(by_hand > 0, "two completions miss a chance of 0.3 half of the time");
    assert_eq!(ledger.recoveries, by_hand);
}

#[test]
fn sim_rag_sees_when_what_is_known_suffices() {
    let labels = |world: &World| -> Vec<(Option<StepLabel>, Option<Zero>)> {
        let (_, verdicts, _) = world.run("sim-rag", world.tree(), 1, Constants::NONE);
        verdicts.iter().map(|verdict| (verdict.label, verdict.zero)).collect()
    };
    let (good, bad) = ((Some(Good), None), (Some(Bad), None));
    let same = (Some(Neutral), Some(Zero::Neutral));
    let unknown = (Some(Neutral), Some(Zero::Unknown));
    let mut world = World::new(1.0, 0.0);
    world.policy.needed = 2;
    assert_eq!(labels(&world), [unknown, good, same, same, same]);
    let mut world = World::new(0.0, 0.0);
    (world.policy.needed, world.policy.planted) = (1, Some(2));
    assert_eq!(labels(&world), [good, same, bad, unknown, unknown]);
}

#[test]
fn cascade_rolls_out_what_the_checks_leave_open() {
    // They know the first step alone.
    let mut world = World::new(0.5, 0.0)
        .checked_by(|proposal, before| knows(proposal, before).filter(|_| before == 0));
    (world.policy.steps, world.policy.planted) = (2, Some(1));
    let (tree, verdicts, _) = world.run("cascade", world.tree(), 6, rollouts(16));
    let mut decided = [0, 0];
    for verdict in &verdicts {
        let node = tree.get(verdict.node).expect("it is judged");
        let by_rollouts = verdict.value["stage"] == "rollouts";
        let is_first = node.parent.is_none();
        assert!(!is_first || !by_rollouts, "the checks know it");
        if let (false, Some(label)) = (is_first, knows(&node.step.proposal, 1)) {
            assert_eq!(verdict.label, Some(label), "{}", verdict.reason);
        }
        decided[usize::from(by_rollouts)] += 1;
    }
    assert!(decided[0] >= 6 && decided[1] >= 6, "{decided:?}");
    assert_eq!(verdicts.last().expect("there are some").value["decided"]["checks"], 6);
    for verdict in verdicts.iter().filter(|it| tree.ending(it.node).is_some()) {
        // A wrong answer is none of the answer's doing: nothing succeeds before it either.
        let right = world.taken(&tree, tree.path(verdict.node)[1].0).1;
        let expected = if right { Some(Good) } else { Some(Neutral) };
        assert_eq!(verdict.label, expected, "{}", verdict.reason);
    }
    // Where the checks know all but answers, nothing but those is rolled out.
    let world = World::new(0.5, 0.0);
    let (tree, verdicts, ledger) = world.run("cascade", world.tree(), 6, rollouts(8));
    for verdict in going_on(&tree, &verdicts) {
        assert_eq!(verdict.value["stage"], "checks");
    }
    let (_, _, all) = world.run("math-shepherd", world.tree(), 6, rollouts(8));
    let share = ledger.sampled.total() as f64 / all.sampled.total() as f64;
    assert!(share < 0.25, "{share} of what rolling out every step takes");
}

#[test]
fn cascade_asks_the_dearer_ones_only_about_what_the_cheaper_leave_open() {
    let mut world = World::new(1.0, 0.0);
    // Listed in another order than they are asked in. Whoever comes later would say bad of a
    // step that is decided before.
    world.checks = vec![
        says("judge@1", Effort::Opinion, |_, before| (before <= 2).then_some(Bad)),
        says("fusion@1", Effort::Estimate, |_, before| match before {
            0 => Some(Bad),
            1 => Some(Good),
            _ => None,
        }),
        says("first@1", Effort::Check, |_, before| (before == 0).then_some(Good)),
    ];
    let (_, verdicts, ledger) = world.run("cascade", world.tree(), 1, rollouts(16));
    let stages: Vec<(&str, Option<StepLabel>)> = verdicts
        .iter()
        .map(|it| (it.value["stage"].as_str().expect("a stage"), it.label))
        .collect();
    let by_rollouts = ("rollouts", Some(Good));
    let told = [("checks", Some(Good)), ("fusion", Some(Good)), ("judge", Some(Bad))];
    assert_eq!(stages, [&told[..], &[by_rollouts, by_rollouts]].concat());
    assert_eq!(ledger.checks, 3, "nobody says anything of a step that is decided");
}

#[test]
fn one_trajectory_in_the_eyes_of_several_methods() {
    // A good search, a bad one, the good one's document again, and a wrong answer.
    let mut world = World::new(0.0, 0.0);
    (world.policy.steps, world.policy.planted) = (3, Some(1));
    let run = |name: &str, given: Constants| -> Vec<Verdict> {
        world.run(name, world.tree(), 1, given).1
    };
    let values = |name: &str, field: &str| -> Vec<Value> {
        run(name, Constants::NONE).iter().map(|it| it.value[field].clone()).collect()
    };
    assert_eq!(values("stepsearch", "reward"), [1.0, 0.0, -1.0]);
    assert_eq!(values("spare", "right"), [true, false, true, false]);
    // The checks say nothing of the answer.
    assert_eq!(values("ppr", "reward"), [0.0, -1.0, 0.0]);
    // The mean of twelve times -0.5, and four times that; the messages have no thought.
    assert_eq!(values("drm", "confidence"), [-2.5]);
    assert_eq!(values("drm", "relevance"), [Value::Null]);
    assert_eq!(values("steporlm", "process"), [2.0 / 3.0]);
    // This policy always fails at the second step: rollouts blame the first.
    assert_eq!(values("consensus", "rollouts"), [0, 0, 0, 0]);
    assert_eq!(values("consensus", "checks"), [1, 1, 1, 1]);
    assert!(run("consensus", rollouts(4)).iter().all(|verdict| verdict.label.is_none()));
    world.policy.p = 0.5;
    let (tree, verdicts, _) = world.run("consensus", world.tree(), 6, rollouts(8));
    for verdict in &verdicts {
        let (taken, good) = world.taken(&tree, verdict.node);
        let failed = verdict.value["checks"] == 1;
        let expected = match (failed, taken) {
            (true, 2) => Some(Bad),
            (true, 3..) => None,
            _ => Some(Good),
        };
        assert_eq!((verdict.label, verdict.value["agreed"] == true), (expected, true));
        assert!(good || failed || tree.ending(verdict.node).is_some());
    }
}

/// In how many of 12 runs a method chooses a right trajectory.
fn right(name: &str, p: f64, samples: u32, given: Constants) -> usize {
    let chosen_is_right = |seed: &u64| {
        let world = World { seed: *seed, ..World::new(p, 0.0) };
        let (tree, verdicts, _) = world.run(name, world.tree(), samples, given);
        let ends = verdicts.iter().filter(|it| tree.ending(it.node).is_some());
        let ends: Vec<&Verdict> = ends.collect();
        let [end] = ends.as_slice() else { panic!("{name}: {} are chosen", ends.len()) };
        assert_eq!(end.label == Some(Good), end.value["right"] == true);
        assert!(verdicts.iter().all(|it| it.value["chosen"] == true));
        end.label == Some(Good)
    };
    (0..12).filter(chosen_is_right).count()
}

#[test]
fn good_steps_make_good_choices() {
    // One trajectory is right with chance 0.5^4 = 0.06, the best of 16 with 0.64. Of eight next
    // steps one is good with chance 0.996, so that both ways to go on from the best of them
    // come to a right answer with 0.98 or more.
    let by_chance = right("best-of-n", 0.5, 1, Constants::NONE);
    let best = right("best-of-n", 0.5, 16, Constants::NONE);
    let vote = right("weighted-vote", 0.5, 16, Constants::NONE);
    let given = Constants { width: Some(8), ..Constants::NONE };
    let beam = right("beam", 0.5, 1, given);
    let greedy = right("greedy", 0.5, 1, Constants::NONE);
    assert!(by_chance <= 3, "{by_chance}");
    assert!((4..=11).contains(&best), "{best}");
    // Minimal scores of wrong trajectories are 0 here, so that the vote finds the same.
    assert_eq!(vote, best);
    assert!(beam >= 11 && greedy >= 11, "{beam} {greedy} {best}");
}

#[test]
fn a_changed_statement_that_fails_is_bad() {
    let mut world = World::new(1.0, 0.0);
    let code = "x = 20\nprint(x + 22)";
    let answer = Action::Answer { text: "42".into() };
    world.policy.script = vec![call("python", json!({ "code": code })), answer];
    world.gold = Gold(json!({ "answer": "42" }));
    let given = Constants { width: Some(16), ..Constants::NONE };
    let (tree, verdicts, ledger) = world.run("prlcoder", world.tree(), 1, given);
    assert_eq!(world.policy.asked(), 2, "changes are not sampled");
    let original = &verdicts[0];
    assert_eq!((original.node, original.label), (NodeId(0), Some(Good)));
    assert_eq!(original.value["tested"], true);
    assert!(original.value["failed"].as_u64() > Some(0), "{}", original.value);
    let (mut failed, mut passed) = (0, 0);
    for mutant in &verdicts[1..] {
        let step = &tree.get(mutant.node).expect("it is judged").step;
        assert_eq!(step.proposal.tokens, None);
        match step.observations[0].data()["stdout"] == "42" {
            true => {
                assert_eq!(mutant.zero, Some(Zero::Unknown), "{}", mutant.reason);
                passed += 1;
            }
            false => {
                assert_eq!(mutant.label, Some(Bad), "{}", mutant.reason);
                failed += 1;
            }
        }
    }
    assert!(failed > 0 && passed > 0, "{failed} {passed}");
    assert_eq!(original.value["failed"], failed);
    assert!(ledger.calls.fresh > failed);

    let nodes = tree.len();
    let (tree, again, free) = world.run("prlcoder", tree, 1, given);
    assert_eq!((tree.len(), again), (nodes, verdicts));
    assert_eq!((free.calls.fresh, free.calls.total()), (0, ledger.calls.total()));
    let World { environment, policy, task, seed, .. } = &world;
    let divergence = block_on(replay(environment, task, &tree)).expect("toys");
    assert_eq!(divergence, None, "what was grafted is executed again like any step");
    let asked = regenerate(environment, policy, task, &tree, *seed);
    let asked = block_on(asked).expect("it has a script");
    assert_eq!((asked.same, asked.different), (2, 0), "and nobody is asked to say it");

    // An answer that does not come from what was executed says nothing about that.
    world.policy.script[1] = Action::Answer { text: "right".into() };
    world.gold = Gold(json!({ "answer": "right" }));
    let (_, verdicts, _) = world.run("prlcoder", world.tree(), 1, given);
    assert_eq!(verdicts.len(), 1);
    assert_eq!(verdicts[0].value["tested"], false);
}

#[test]
fn a_query_is_told_anew_as_a_chain_of_ctes() {
    let answer = |sql: &str| Action::Answer { text: sql.into() };
    let chain = |tail: &str| format!("WITH a AS (SELECT 1), b AS (SELECT 2 FROM {tail}");
    // Behind a CTE this policy answers right with chance 0.4, whatever the query was.
    let mut world = World::new(1.0, 0.4);
    (world.policy.steps, world.policy.needed) = (0, 9);
    world.policy.script = vec![answer(&chain("a) SELECT * FROM b"))];
    let run = |world: &World, k| world.run("reward-sql", world.tree(), 1, rollouts(k));
    let (tree, verdicts, _) = run(&world, 32);
    let [a, b, end] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    for (cte, name, sql) in [
        (a, "CTE a", "WITH a AS (SELECT 1) SELECT * FROM a".to_owned()),
        (b, "CTE b", chain("a) SELECT * FROM b")),
    ] {
        let step = &tree.get(cte.node).expect("it is judged").step;
        assert_eq!(step.proposal.action.calls()[0].args["query"], sql);
        assert_eq!((&cte.value["cte"], &cte.value["rows"]), (&json!(name), &json!(1)));
        let (low, high) = counted(cte).interval();
        assert!((low..=high).contains(&0.4), "{name}: {low} to {high}");
        assert_eq!(cte.label, Some(Good));
    }
    assert_eq!((end.label, &end.value["ctes"]), (Some(Bad), &json!(2)));
    assert_eq!(tree.path(end.node).len(), 3, "two CTEs and the answer");
    // Nothing comes to the right answer from behind a CTE: both are bad.
    world.policy.r = 0.0;
    let labels = |world: &World| -> Vec<Option<StepLabel>> {
        run(world, 4).1.iter().map(|verdict| verdict.label).collect()
    };
    assert_eq!(labels(&world), [Some(Bad), Some(Bad), Some(Bad)]);
    // One that cannot be executed is the last that is judged, and nothing goes on from it.
    world.policy.r = 1.0;
    world.policy.script = vec![answer(&chain("missing) SELECT * FROM b"))];
    assert_eq!(labels(&world), [Some(Good), Some(Bad)]);
    assert_eq!(run(&world, 4).2.rollouts.total(), 1 + 4);
    // A query without CTEs is its own only step; what is no query is not judged.
    world.gold = Gold(json!({ "answer": "SELECT 1" }));
    world.policy.script = vec![answer("SELECT 1")];
    assert_eq!(labels(&world), [Some(Good)]);
    world.policy.script = vec![answer("a fox")];
    assert_eq!(labels(&world), []);
}
