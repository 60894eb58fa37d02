//! Nim: whoever takes the last piece wins.
//!
//! A position is won for the side to move exactly if the exclusive or of the heaps is not 0
//! (C. L. Bouton, "Nim, a game with a complete mathematical theory", Annals of Mathematics 3,
//! 1901).

use serde_json::{Value, json};

use super::{Played, Position, Worth, number, word};

/// Pieces of a heap at the most.
const HEAP_MAX: u64 = 99;

pub(super) fn start(inputs: &Value) -> Result<Position, String> {
    let problem = "field \"heaps\": must be 1 to 9 whole numbers from 1 to 99";
    let heaps = inputs.get("heaps").and_then(Value::as_array).ok_or(problem)?;
    let fits = |heap: &Value| heap.as_u64().is_some_and(|n| (1..=HEAP_MAX).contains(&n));
    if !(1..=9).contains(&heaps.len()) || !heaps.iter().all(fits) {
        return Err(problem.to_owned());
    }
    Ok(json!({ "heaps": heaps, "word": word(&json!(["nim", heaps])) }))
}

pub(super) fn worth(position: &Position, args: &Value) -> Option<Worth> {
    let heaps = heaps(position);
    let after = taken(&heaps, args).ok()?;
    Some(match (balance(&heaps), balance(&after)) {
        (0, _) => Worth::Lost,
        (_, 0) => Worth::Keeps,
        _ => Worth::Loses,
    })
}

pub(super) fn play(position: &Position, args: &Value) -> Result<Played, String> {
    let mut heaps = taken(&heaps(position), args)?;
    let with = |heaps: &[u64]| {
        let mut position = position.clone();
        position["heaps"] = json!(heaps);
        position
    };
    if heaps.iter().all(|heap| *heap == 0) {
        let word = position["word"].as_str().unwrap_or_default();
        let text = format!("You took the last piece and won. The word is {word}.");
        return Ok(Played { position: with(&heaps), text });
    }
    let (heap, take) = reply(&heaps);
    heaps[heap] -= take;
    let mut text = format!("The other side takes {take} off heap {}.", heap + 1);
    text += &match heaps.iter().all(|heap| *heap == 0) {
        true => " It was the last piece: you lost.".to_owned(),
        false => format!(" The heaps now: {}.", listed(&heaps)),
    };
    Ok(Played { position: with(&heaps), text })
}

fn heaps(position: &Position) -> Vec<u64> {
    let heaps = position["heaps"].as_array().into_iter().flatten();
    heaps.map(|heap| heap.as_u64().unwrap_or(0)).collect()
}

fn balance(heaps: &[u64]) -> u64 {
    heaps.iter().fold(0, |all, heap| all ^ heap)
}

fn taken(heaps: &[u64], args: &Value) -> Result<Vec<u64>, String> {
    let heap = number(args, "heap").and_then(|heap| heap.checked_sub(1));
    let take = number(args, "take").unwrap_or(0) as u64;
    let there = heap.and_then(|heap| Some((heap, *heaps.get(heap)?)));
    match there {
        Some((heap, pieces)) if (1..=pieces).contains(&take) => {
            let mut heaps = heaps.to_vec();
            heaps[heap] -= take;
            Ok(heaps)
        }
        Some((heap, pieces)) => {
            Err(format!("heap {} has {pieces} pieces: {take} cannot be taken", heap + 1))
        }
        None => Err(format!("there is no such heap; the heaps are {}", listed(heaps))),
    }
}

/// The other side's move: one that wins if there is one, else a piece off the largest heap.
fn reply(heaps: &[u64]) -> (usize, u64) {
    let balance = balance(heaps);
    let winning = heaps.iter().enumerate().find(|(_, heap)| **heap ^ balance < **heap);
    if let Some((index, heap)) = winning {
        return (index, heap - (heap ^ balance));
    }
    let largest = (0..heaps.len()).max_by_key(|index| heaps[*index]);
    (largest.expect("a heap has pieces"), 1)
}

fn listed(heaps: &[u64]) -> String {
    heaps.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the side to move wins, by trying everything.
    fn wins(heaps: &[u64]) -> bool {
        (0..heaps.len()).any(|heap| {
            (1..=heaps[heap]).any(|take| {
                let mut after = heaps.to_vec();
                after[heap] -= take;
                !wins(&after)
            })
        })
    }

    #[test]
    fn the_oracle_is_what_trying_everything_finds() {
        for (a, b, c) in itertools(4) {
            let heaps = [a, b, c];
            let position = json!({ "heaps": heaps });
            for heap in 0..3 {
                for take in 1..=heaps[heap] {
                    let mut after = heaps;
                    after[heap] -= take;
                    let args = json!({ "heap": heap + 1, "take": take });
                    let expected = match (wins(&heaps), wins(&after)) {
                        (false, _) => Worth::Lost,
                        (true, false) => Worth::Keeps,
                        (true, true) => Worth::Loses,
                    };
                    assert_eq!(
                        worth(&position, &args),
                        Some(expected),
                        "{heaps:?} {args}"
                    );
                }
            }
        }
        assert_eq!(
            worth(&json!({ "heaps": [1] }), &json!({ "heap": 2, "take": 1 })),
            None
        );
    }

    fn itertools(below: u64) -> impl Iterator<Item = (u64, u64, u64)> {
        (0..below).flat_map(move |a| {
            (0..below).flat_map(move |b| (0..below).map(move |c| (a, b, c)))
        })
    }

    #[test]
    fn a_game_ends_with_a_word_only_for_the_winner() {
        let position = start(&json!({ "heaps": [1, 2] })).expect("heaps");
        let even = play(&position, &json!({ "heap": 2, "take": 1 })).expect("a move");
        assert!(even.text.contains("heaps now: 1, 0"), "{}", even.text);
        let won = play(&even.position, &json!({ "heap": 1, "take": 1 })).expect("a move");
        assert!(won.text.contains("The word is"), "{}", won.text);
        let lost = play(&position, &json!({ "heap": 1, "take": 1 })).expect("a move");
        assert!(lost.text.contains("you lost"), "{}", lost.text);
        assert!(play(&position, &json!({ "heap": 1, "take": 5 })).is_err());
    }
}
