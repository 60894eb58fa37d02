//! Features are tested on trajectories as verifiers are: in the margin stand the kind, some
//! features with their values to two decimals, and after `!` the doubt.

use super::*;
use crate::verifiers::trajectory;

fn check(text: &str) {
    let read = trajectory::read(text);
    let leaf = read.tree.leaves().pop().expect("a trajectory has a step");
    let steps = features(&read.tree, leaf, &read.task, read.gold.as_ref());
    assert_eq!(steps.len(), read.margins().len());
    for (step, margin) in steps.iter().zip(read.margins()) {
        let mut expected = margin.split_whitespace();
        assert_eq!(expected.next(), Some(step.kind.as_str()), "{margin} {step:?}");
        let mut doubt = None;
        for word in expected {
            if let Some(name) = word.strip_prefix('!') {
                doubt = Some(name.to_owned());
                continue;
            }
            let (name, value) = word.split_once('=').expect("NAME=VALUE");
            let feature = feature(name).expect("a feature of that name");
            assert!(feature.kinds.contains(&step.kind), "{name} of {margin}");
            let found = step.values.get(name).map(|value| format!("{value:.2}"));
            assert_eq!(found.as_deref(), Some(value), "{name} of {margin}: {step:#?}");
        }
        assert_eq!(step.doubt.map(|doubt| format!("{doubt:?}")), doubt, "{margin}");
        let names: Vec<&str> = step.values.keys().copied().collect();
        let due = FEATURES.iter().filter(|feature| {
            feature.kinds.contains(&step.kind)
                && (read.gold.is_some() || !feature.sight.gold)
        });
        let mut due: Vec<&str> = due.map(|feature| feature.name).collect();
        due.sort_unstable();
        assert_eq!(names, due, "a step has the features of its kind, no more, no less");
    }
}

#[test]
fn what_is_asked_is_compared_with_what_was_asked() {
    check(
        "
        ? Who built the Bell Tower of Oslo?
        call search Bell Tower builder             | opening asked-again=0.00 attempts=0.00
          [d1] Bell Tower: Raised by Ann Lee.
        call search Bell Tower builder name        | search asked-again=0.75 attempts=0.25
          [d2] Tower: Another.
        call search Tower of Bell, builders        | search asked-again=1.00 attempts=0.50
          [d3] Belfry: Another.
        call search Bell Tower builder && search Ann Lee | search asked-again=0.00 attempts=0.00
          [d4] Belfry: Another.
          --
          [d5] Ann Lee: A smith.
        call search smith                          | search asked-again=0.00 attempts=0.00
          [d6] Smith: A trade.
        ",
    );
}

#[test]
fn what_is_asked_comes_from_the_question_from_reading_or_from_nowhere() {
    check(
        "
        ? Who built the Bell Tower of Oslo?
        call search Bell Tower engineer            | opening of-question=0.67 of-reading=0.00 of-nowhere=0.33
          [d1] Bell Tower: Raised by Ann Lee in Oslo.
        call search Ann Lee Oslo born              | search of-question=0.25 of-reading=0.50 of-nowhere=0.25
          [d2] Ann Lee: A smith.
        ",
    );
}

#[test]
fn what_came_of_a_search_is_news_or_not() {
    check(
        "
        ? Who built the Bell Tower of Oslo?
        ! {\"answer\": \"Ann Lee\", \"supporting\": [\"d9\"]}
        malformed no call                          | malformed
        call search towers | opening new-documents=1.00 coverage=0.25 coverage-gain=0.25 best-passage=0.25 gold-news=0.00 after-error=1.00
          [d1] Tower: Tall.
        call search Bell Tower | search new-documents=0.50 coverage=0.50 coverage-gain=0.25 best-passage=0.50 gold-news=1.00 gold-known=0.00 after-error=0.00
          [d1] Tower: Tall.
          [d2] Bell Tower: Lee, Ann raised it.
        call search Bell                           | search new-documents=0.00 coverage-gain=0.00 gold-news=0.00 gold-known=1.00 !NoNews
          [d2] Bell Tower: Lee, Ann raised it.
        call search Bell Oslo                      | search new-documents=0.00 coverage-gain=0.00 !NoNews
          (no documents)
        ",
    );
    check(
        "
        ? Who built the Bell Tower of Oslo?
        ! {\"answer\": \"yes\", \"supporting\": [\"d9\"]}
        call search tower                          | opening gold-news=0.00
          [d1] Tower: Yes.
        call search bell                           | search gold-news=1.00
          [d9] Bell: Rings.
        ",
    );
}

#[test]
fn steps_are_told_apart_by_what_came_of_them() {
    check(
        "
        call search Oslo                           | outside
          fault external: the disk is gone
        call serach Oslo                           | malformed
          fault unknown-tool: no such tool
        call count Oslo                            | other
          = 4 letters
        call search Oslo && search Rome            | opening !OffTopic
          fault bad-args: no
          --
          [d1] Rome: A city.
        answer Rome                                | answer !Irrelevant
        ",
    );
}

#[test]
fn answers_are_held_against_what_was_shown() {
    let trajectory = |answer: &str, margin: &str| {
        check(&format!(
            "
            ? Who built the Bell Tower of Oslo?
            ! {{\"answer\": \"Ann Lee\"}}
            call search Bell Tower     | opening new-documents=1.00
              [d1] Bell Tower: Raised by Ann Lee in 1901.
            answer {answer} | answer {margin}
            "
        ));
    };
    trajectory(
        "Ann Lee",
        "declines=0.00 supported=1.00 relevance=0.50 uncovered=0.50 unsearched=0.00 misfit=0.00 agreement=1.00",
    );
    trajectory("Ann Ek", "supported=0.50 relevance=0.00 agreement=0.50");
    trajectory("None found", "declines=1.00 agreement=0.00");
    trajectory("", "declines=1.00 agreement=0.00 supported=1.00");
    trajectory("Ann Lee or Bo Ek", "agreement=0.50 !SeveralAnswers");
    trajectory("I am certain: Bo Ek", "agreement=0.00 !Assertive");
    trajectory("I am certain: Ann Lee", "agreement=1.00 !Assertive");
    trajectory("1901", "misfit=1.00 strange-numbers=0.00");
    trajectory("Ann Lee or so", "agreement=1.00");
    trajectory("in 1902", "misfit=0.00 strange-numbers=1.00");
    check(
        "
        ? How many bells?
        answer many | answer misfit=1.00 unsearched=1.00 supported=0.00 uncovered=0.00
        ",
    );
}

#[test]
fn what_pays_off_without_worth_is_doubted() {
    check(
        "
        ? Who built the Bell Tower of Oslo?
        call search who built the bell tower of oslo | opening !CopiedQuestion
          [d1] Bell Tower: Old.
        call search red fox                          | search !OffTopic
          [d2] Fox: It lives.
        call search Tower                            | search
          [d3] Tower: It stands.
        ",
    );
    check(
        "
        ? Who built the Bell Tower of Oslo?
        call search builder Oslo                   | opening
          [d1] Fox: It lives in the den.
        answer in the den                          | answer !Irrelevant
        ",
    );
    let mut long = String::from("? Who built the Bell Tower?\n");
    for step in 0..32 {
        let (kind, doubt) = match step {
            0 => ("opening", ""),
            30.. => ("search", "!TooLong"),
            _ => ("search", ""),
        };
        long += &format!(
            "call search tower w{step} | {kind} {doubt}\n  [d{step}] Tower: It.\n"
        );
    }
    check(&long);
}

#[test]
fn gold_is_read_only_where_it_is_shown() {
    let without = "
        ? Who built the Bell Tower of Oslo?
        call search Bell Tower     | opening
          [d1] Bell Tower: Raised by Ann Lee.
        answer Ann Lee             | answer
        ";
    check(without);
    let read = trajectory::read(without);
    let leaf = read.tree.leaves()[0];
    for step in features(&read.tree, leaf, &read.task, None) {
        assert!(
            step.values.keys().all(|name| !feature(name).expect("it is one").sight.gold)
        );
    }
}

#[test]
fn a_table_says_what_each_feature_is() {
    let mut names: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FEATURES.len());
    let source = include_str!("mod.rs");
    for feature in FEATURES {
        assert!(
            source.contains(&format!("`{}`", feature.name)),
            "{} is explained",
            feature.name
        );
    }
}
