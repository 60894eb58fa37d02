//! Sudoku of four by four: each digit once in every row, column and quarter.

use serde_json::{Value, json};

use super::{Played, Position, Worth, number};

const SIDE: usize = 4;
const CELLS: usize = SIDE * SIDE;

/// Digits by cell, 0 for an empty one.
type Grid = [u8; CELLS];

pub(super) fn start(inputs: &Value) -> Result<Position, String> {
    let problem = "field \"rows\": must be four texts of four of the characters 1234.";
    let rows = inputs.get("rows").and_then(Value::as_array).ok_or(problem)?;
    let rows: Option<Vec<&str>> = rows.iter().map(Value::as_str).collect();
    let given = read(&rows.ok_or(problem)?.concat()).ok_or(problem)?;
    match solutions(given).as_slice() {
        [_] => Ok(json!({ "given": write(&given), "grid": write(&given) })),
        [] => Err("field \"rows\": has no solution".to_owned()),
        _ => Err("field \"rows\": has several solutions".to_owned()),
    }
}

pub(super) fn worth(position: &Position, args: &Value) -> Option<Worth> {
    let (given, grid) = (cells(position, "given")?, cells(position, "grid")?);
    let solution = *solutions(given).first()?;
    let after = written(&given, &grid, args).ok()?;
    let wrong = |grid: &Grid| {
        (0..CELLS).filter(|cell| ![0, solution[*cell]].contains(&grid[*cell])).count()
    };
    let missing = |grid: &Grid| grid.iter().filter(|digit| **digit == 0).count();
    let (before, now) =
        ((wrong(&grid), missing(&grid)), (wrong(&after), missing(&after)));
    Some(if now < before { Worth::Keeps } else { Worth::Loses })
}

pub(super) fn play(position: &Position, args: &Value) -> Result<Played, String> {
    let unread = || "the position cannot be read".to_owned();
    let given = cells(position, "given").ok_or_else(unread)?;
    let grid = cells(position, "grid").ok_or_else(unread)?;
    let after = written(&given, &grid, args)?;
    let text = write(&after);
    let rows: Vec<&str> =
        (0..SIDE).map(|row| &text[row * SIDE..(row + 1) * SIDE]).collect();
    let mut shown = rows.join("\n");
    if !after.contains(&0) {
        shown += "\nThe grid is full.";
    }
    let position = json!({ "given": position["given"], "grid": text });
    Ok(Played { position, text: shown })
}

fn cells(position: &Position, which: &str) -> Option<Grid> {
    read(position[which].as_str()?)
}

fn read(text: &str) -> Option<Grid> {
    let digit = |letter: u8| match letter {
        b'.' => Some(0),
        b'1'..=b'4' => Some(letter - b'0'),
        _ => None,
    };
    let digits: Option<Vec<u8>> = text.bytes().map(digit).collect();
    digits?.try_into().ok()
}

fn write(grid: &Grid) -> String {
    let letter = |digit: &u8| match digit {
        0 => '.',
        digit => char::from(b'0' + digit),
    };
    grid.iter().map(letter).collect()
}

/// The grid with a digit written, if the rules let it stand there.
fn written(given: &Grid, grid: &Grid, args: &Value) -> Result<Grid, String> {
    let place = |name: &str| {
        let place = number(args, name).filter(|place| (1..=SIDE).contains(place));
        place.ok_or_else(|| format!("{name} must be 1 to 4"))
    };
    let (row, column) = (place("row")? - 1, place("column")? - 1);
    let digit = number(args, "digit").and_then(|digit| u8::try_from(digit).ok());
    let digit = digit.filter(|digit| *digit <= 4).ok_or("digit must be 0 to 4")?;
    let cell = row * SIDE + column;
    if given[cell] != 0 {
        return Err("the digit of that cell is given".to_owned());
    }
    let mut after = *grid;
    after[cell] = 0;
    if digit != 0 && clashes(&after, cell, digit) {
        return Err(format!("a {digit} stands in that row, column or quarter already"));
    }
    after[cell] = digit;
    Ok(after)
}

fn clashes(grid: &Grid, cell: usize, digit: u8) -> bool {
    let quarter = |cell: usize| (cell / SIDE / 2, cell % SIDE / 2);
    (0..CELLS).any(|other| {
        let sees = other / SIDE == cell / SIDE
            || other % SIDE == cell % SIDE
            || quarter(other) == quarter(cell);
        sees && other != cell && grid[other] == digit
    })
}

/// Up to two ways to fill a grid.
fn solutions(grid: Grid) -> Vec<Grid> {
    let mut found = Vec::new();
    let valid =
        (0..CELLS).all(|cell| grid[cell] == 0 || !clashes(&grid, cell, grid[cell]));
    if valid {
        fill(grid, &mut found);
    }
    found
}

fn fill(grid: Grid, found: &mut Vec<Grid>) {
    let Some(cell) = grid.iter().position(|digit| *digit == 0) else {
        found.push(grid);
        return;
    };
    for digit in (1..=4).filter(|digit| !clashes(&grid, cell, *digit)) {
        if found.len() < 2 {
            let mut next = grid;
            next[cell] = digit;
            fill(next, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_digit_keeps_the_way_open_and_a_wrong_one_closes_it() {
        let inputs = json!({ "rows": ["..24", "....", "2..3", "3.4."] });
        let position = start(&inputs).expect("one solution");
        // The solution is 1324 4231 2413 3142.
        let at = |digit: u8| json!({ "row": 2, "column": 2, "digit": digit });
        assert_eq!(worth(&position, &at(2)), Some(Worth::Keeps));
        assert_eq!(worth(&position, &at(1)), Some(Worth::Loses));
        let spoilt = play(&position, &at(1)).expect("it clashes with nothing yet");
        assert_eq!(worth(&spoilt.position, &at(0)), Some(Worth::Keeps), "put right");
        let given = json!({ "row": 1, "column": 3, "digit": 1 });
        assert_eq!(worth(&position, &given), None, "it is given");
        assert!(play(&position, &given).is_err());
        let clash = json!({ "row": 1, "column": 1, "digit": 2 });
        assert!(play(&position, &clash).is_err(), "2 stands in that row");
    }

    #[test]
    fn a_puzzle_has_one_solution() {
        for (rows, part) in [
            (["....", "....", "....", "...."], "several"),
            (["11..", "....", "....", "...."], "no solution"),
            (["1...", "....", "....", "x..."], "rows"),
        ] {
            let refusal = start(&json!({ "rows": rows })).expect_err("refused");
            assert!(refusal.contains(part), "{refusal}");
        }
    }
}
