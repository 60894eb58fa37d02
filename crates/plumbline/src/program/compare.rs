//! Compares two programs without trusting their names: which column of one stands for which
//! of the other, and which limits one has that the other lacks.

use std::collections::BTreeMap;

use crate::program::{Column, Program, Row, Sense};

/// Columns beyond which no correspondence is looked for.
pub const COLUMNS_MAX: usize = 60;
/// One-sided limits beyond which no comparison is made.
pub const LIMITS_MAX: usize = 400;
/// Two coefficients are one if they differ by less, relatively.
const TOLERANCE: f64 = 1e-6;
/// Rounds of exchanging two columns for a better correspondence.
const ROUNDS_MAX: usize = 8;
/// Pairs of columns times pairs of limits beyond which none are exchanged.
const EXCHANGES_MAX: usize = 5_000_000;

/// One side of a row or of a bound: `sum of coefficient * column <= limit`, scaled so that
/// the largest coefficient is 1 or -1.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// The row, or the column whose bound it is.
    pub name: String,
    /// Index of a column, and its coefficient.
    pub terms: Vec<(usize, f64)>,
    /// The largest activity.
    pub limit: f64,
    /// The row's index in its program; `None` for a bound.
    pub row: Option<usize>,
}

/// Every one-sided limit of a program, bounds included.
pub fn limits(program: &Program) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (index, row) in program.rows.iter().enumerate() {
        push(&mut limits, &row.name, Some(index), &row.terms, row.lower, row.upper);
    }
    for (index, column) in program.columns.iter().enumerate() {
        let (lower, upper) = (column.lower, column.upper);
        push(&mut limits, &column.name, None, &[(index, 1.0)], lower, upper);
    }
    limits
}

fn push(
    limits: &mut Vec<Limit>,
    name: &str,
    row: Option<usize>,
    terms: &[(usize, f64)],
    lower: f64,
    upper: f64,
) {
    let largest = terms.iter().fold(0.0f64, |largest, term| largest.max(term.1.abs()));
    if largest == 0.0 {
        return;
    }
    for (sign, limit) in [(1.0, upper), (-1.0, -lower)] {
        if limit.is_finite() {
            let scaled = terms.iter().map(|(at, v)| (*at, sign * v / largest));
            limits.push(Limit {
                name: name.to_owned(),
                terms: scaled.collect(),
                limit: limit / largest,
                row,
            });
        }
    }
}

impl Limit {
    /// Whether both say the same.
    pub fn same(&self, other: &Limit) -> bool {
        near(self.limit, other.limit)
            && self.terms.len() == other.terms.len()
            && self
                .terms
                .iter()
                .zip(&other.terms)
                .all(|(one, two)| one.0 == two.0 && near(one.1, two.1))
    }

    /// A program that is to find how far the activity can go where `within` allows it: the
    /// limit is implied there if the maximum is no more than `self.limit`.
    pub fn probe(&self, within: &Program) -> Program {
        let mut probe = within.clone();
        probe.sense = Sense::Maximize;
        probe.offset = 0.0;
        probe.columns.iter_mut().for_each(|column| column.cost = 0.0);
        for (column, coefficient) in &self.terms {
            probe.columns[*column].cost = *coefficient;
        }
        probe
    }
}

/// Whether two numbers are one but for the noise of arithmetic.
pub fn near(one: f64, two: f64) -> bool {
    one == two || (one - two).abs() <= TOLERANCE * one.abs().max(two.abs()).max(1e-3)
}

/// Renumbers the columns of `program` as those of `gold`, so that both speak of the same
/// things; `None` if they have different numbers of columns, or too many.
///
/// Names decide where both have the same ones. Otherwise columns are put together that cost
/// the same and take part in the same limits.
pub fn aligned(program: &Program, gold: &Program) -> Option<Program> {
    let count = gold.columns.len();
    let sizes = limits(program).len().max(limits(gold).len());
    if program.columns.len() != count || count > COLUMNS_MAX || sizes > LIMITS_MAX {
        return None;
    }
    let by_name = by_name(program, gold);
    let mut order = by_name.clone().unwrap_or_else(|| by_profile(program, gold));
    if by_name.is_none() {
        improve(program, gold, &mut order);
    }
    Some(renumbered(program, &order))
}

/// For each column of gold, the column of `program` with its name, case and signs aside.
fn by_name(program: &Program, gold: &Program) -> Option<Vec<usize>> {
    let plain = |column: &Column| -> String {
        let letters = column.name.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let at: BTreeMap<String, usize> =
        (0..).zip(&program.columns).map(|(at, column)| (plain(column), at)).collect();
    if at.len() != program.columns.len() {
        return None;
    }
    gold.columns.iter().map(|column| at.get(&plain(column)).copied()).collect()
}

/// What tells a column from others: its kind, its cost, and its part in each limit.
struct Profile {
    integer: bool,
    cost: f64,
    parts: Vec<(f64, f64, usize)>,
}

fn profiles(program: &Program) -> Vec<Profile> {
    let mut profiles: Vec<Profile> = program
        .columns
        .iter()
        .map(|column| Profile {
            integer: column.integer,
            cost: column.cost,
            parts: vec![],
        })
        .collect();
    for limit in limits(program) {
        for (column, coefficient) in &limit.terms {
            let part = (*coefficient, limit.limit, limit.terms.len());
            profiles[*column].parts.push(part);
        }
    }
    profiles
}

fn difference(one: &Profile, two: &Profile) -> f64 {
    let mut left: Vec<&(f64, f64, usize)> = two.parts.iter().collect();
    let mut unmatched = 0usize;
    for part in &one.parts {
        let same = |other: &&(f64, f64, usize)| {
            near(part.0, other.0) && near(part.1, other.1) && part.2 == other.2
        };
        match left.iter().position(same) {
            Some(at) => {
                left.swap_remove(at);
            }
            None => unmatched += 1,
        }
    }
    let parts = (unmatched + left.len()) as f64;
    let cost = if near(one.cost, two.cost) { 0.0 } else { 2.0 };
    parts + cost + f64::from(u8::from(one.integer != two.integer)) / 2.0
}

/// An assignment of columns whose profiles differ little.
fn by_profile(program: &Program, gold: &Program) -> Vec<usize> {
    let (ours, theirs) = (profiles(program), profiles(gold));
    let costs: Vec<Vec<f64>> = theirs
        .iter()
        .map(|gold| ours.iter().map(|ours| difference(gold, ours)).collect())
        .collect();
    assignment(&costs)
}

/// For each row of a square matrix the column it is assigned to, at the least total cost
/// (Kuhn 1955, by shortest augmenting paths with potentials).
fn assignment(costs: &[Vec<f64>]) -> Vec<usize> {
    let count = costs.len();
    // Index 0 stands for "none", so that rows and columns count from 1.
    let (mut row_price, mut column_price) = (vec![0.0; count + 1], vec![0.0; count + 1]);
    let (mut row_of, mut came_from) = (vec![0usize; count + 1], vec![0usize; count + 1]);
    for row in 1..=count {
        row_of[0] = row;
        let mut column = 0;
        let mut least = vec![f64::INFINITY; count + 1];
        let mut used = vec![false; count + 1];
        loop {
            used[column] = true;
            let at = row_of[column];
            let (mut delta, mut next) = (f64::INFINITY, 0);
            for other in (1..=count).filter(|other| !used[*other]) {
                let reduced =
                    costs[at - 1][other - 1] - row_price[at] - column_price[other];
                if reduced < least[other] {
                    (least[other], came_from[other]) = (reduced, column);
                }
                if least[other] < delta {
                    (delta, next) = (least[other], other);
                }
            }
            for other in 0..=count {
                if used[other] {
                    row_price[row_of[other]] += delta;
                    column_price[other] -= delta;
                } else {
                    least[other] -= delta;
                }
            }
            column = next;
            if row_of[column] == 0 {
                break;
            }
        }
        while column != 0 {
            let before = came_from[column];
            row_of[column] = row_of[before];
            column = before;
        }
    }
    let mut assigned = vec![0; count];
    for column in 1..=count {
        assigned[row_of[column] - 1] = column - 1;
    }
    assigned
}

/// Exchanges columns while that leaves fewer limits without a counterpart: profiles do not
/// tell columns apart that look alike one by one.
fn improve(program: &Program, gold: &Program, order: &mut [usize]) {
    let theirs = limits(gold);
    let mismatches = |order: &[usize]| -> usize {
        let ours = renumbered(program, order);
        let costs = ours.columns.iter().zip(&gold.columns);
        let costs = costs.filter(|(ours, theirs)| !near(ours.cost, theirs.cost)).count();
        let ours = limits(&ours);
        costs + lacking(&theirs, &ours).len() + lacking(&ours, &theirs).len()
    };
    let pairs = order.len() * order.len() / 2;
    if pairs * theirs.len() * theirs.len() > EXCHANGES_MAX {
        return;
    }
    let mut least = mismatches(order);
    for _ in 0..ROUNDS_MAX {
        let before = least;
        for one in 0..order.len() {
            for two in one + 1..order.len() {
                if least == 0 {
                    return;
                }
                order.swap(one, two);
                let now = mismatches(order);
                if now < least {
                    least = now;
                } else {
                    order.swap(one, two);
                }
            }
        }
        if least == before {
            return;
        }
    }
}

/// The limits of one list that the other has none the same as.
pub fn lacking<'l>(wanted: &'l [Limit], there: &[Limit]) -> Vec<&'l Limit> {
    wanted.iter().filter(|limit| !there.iter().any(|other| other.same(limit))).collect()
}

/// The program with its columns in another order: `order[i]` is the column that comes to
/// stand at `i`.
fn renumbered(program: &Program, order: &[usize]) -> Program {
    let mut place = vec![0; order.len()];
    for (to, from) in order.iter().enumerate() {
        place[*from] = to;
    }
    let rows = program.rows.iter().map(|row| {
        let mut terms: Vec<(usize, f64)> =
            row.terms.iter().map(|(column, v)| (place[*column], *v)).collect();
        terms.sort_by_key(|(column, _)| *column);
        Row { terms, ..row.clone() }
    });
    Program {
        sense: program.sense,
        offset: program.offset,
        columns: order.iter().map(|column| program.columns[*column].clone()).collect(),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Size, lp};

    fn program(text: &str) -> Program {
        lp::read(text, &Size::default()).expect("an LP file")
    }

    const GOLD: &str = "max 5 a + 4 b + 3 c\nst\n one: 2 a + 3 b + c <= 5\n \
        two: 4 a + b + 2 c <= 11\n three: 3 a + 4 b + 2 c <= 8\nbounds\n c <= 2\nend";

    #[track_caller]
    fn differences(text: &str) -> (usize, usize, usize) {
        let gold = program(GOLD);
        let ours = aligned(&program(text), &gold).expect("as many columns");
        let costs = ours.columns.iter().zip(&gold.columns);
        let costs = costs.filter(|(one, two)| !near(one.cost, two.cost)).count();
        let (ours, gold) = (limits(&ours), limits(&gold));
        (costs, lacking(&gold, &ours).len(), lacking(&ours, &gold).len())
    }

    #[test]
    fn names_order_and_scale_do_not_matter() {
        assert_eq!(differences(GOLD), (0, 0, 0));
        let other = "max 3 u + 5 v + 4 w\nst\n r: 6 v + 8 w + 4 u <= 16\n \
            s: -4 v - w - 2 u >= -11\n t: 2 v + 3 w + u <= 5\n q: 2 u <= 4\nend";
        assert_eq!(differences(other), (0, 0, 0));
    }

    #[test]
    fn what_differs_is_found_in_spite_of_other_names() {
        let changed = "max 3 u + 5 v + 4 w\nst\n r: 3 v + 4 w + 2 u <= 8\n \
            s: 4 v + w + 2 u <= 12\nbounds\n u <= 2\nend";
        assert_eq!(differences(changed), (0, 2, 1), "one is missing, one is looser");
        let cost = "max 3 u + 5 v + 7 w\nst\n r: 3 v + 4 w + 2 u <= 8\n \
            s: 4 v + w + 2 u <= 11\n t: 2 v + 3 w + u <= 5\nbounds\n u <= 2\nend";
        assert_eq!(differences(cost), (1, 0, 0));
    }

    #[test]
    fn columns_that_look_alike_are_told_apart_by_their_rows() {
        let square = |names: [&str; 4]| {
            let [a, b, c, d] = names;
            program(&format!(
                "min {a} + {b} + {c} + {d}\nst\n {a} + {b} = 1\n {c} + {d} = 1\n \
                 {a} + {c} = 1\n {b} + {d} = 1\nend"
            ))
        };
        let gold = square(["x11", "x12", "x21", "x22"]);
        let ours = aligned(&square(["q", "p", "s", "r"]), &gold).expect("four columns");
        assert!(lacking(&limits(&gold), &limits(&ours)).is_empty());
    }

    #[test]
    fn an_assignment_is_the_cheapest() {
        let costs = vec![vec![4.0, 1.0, 3.0], vec![2.0, 0.0, 5.0], vec![3.0, 2.0, 2.0]];
        assert_eq!(assignment(&costs), [1, 0, 2]);
    }
}
