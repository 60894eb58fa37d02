//! Multinomial logistic regression with a ridge penalty, by Newton's method.
//!
//! Written here rather than taken from a crate: `linfa-logistic` and `smartcore` bring an
//! array library and an optimiser each (some sixty crates), penalise every weight alike, and
//! stop by tolerances that make a refit differ in digits. With some forty weights Newton's
//! method is shorter than their set-up, and ends at the one minimum there is.

/// One observation: its terms that are not 0, by index, and its class.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) values: Vec<(usize, f64)>,
    pub(super) class: usize,
}

/// Iterations at most; the objective is convex, and a handful suffices.
const ITERATIONS_MAX: usize = 100;
/// Halvings of one step at most.
const HALVINGS_MAX: usize = 40;
/// The largest component of the gradient at which it is 0.
const GRADIENT_MAX: f64 = 1e-9;

/// The sum of values times weights.
pub(super) fn sum(values: impl Iterator<Item = (f64, [f64; 3])>) -> [f64; 3] {
    values.fold([0.0; 3], |mut sum, (value, weights)| {
        for (sum, weight) in sum.iter_mut().zip(weights) {
            *sum += value * weight;
        }
        sum
    })
}

/// Log-odds as probabilities.
pub(super) fn softmax(log_odds: [f64; 3]) -> [f64; 3] {
    let largest = log_odds.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let powers = log_odds.map(|odds| (odds - largest).exp());
    let sum: f64 = powers.iter().sum();
    powers.map(|power| power / sum)
}

/// The weights, one triple a term, that minimise the negative log-likelihood of the rows'
/// classes plus half of each weight's square times its term's penalty.
///
/// # Panics
///
/// If a penalty is not above 0: the minimum would not be unique.
pub(super) fn fit(rows: &[Row], penalties: &[f64]) -> Vec<[f64; 3]> {
    assert!(penalties.iter().all(|penalty| *penalty > 0.0), "each weight has a penalty");
    let mut weights = vec![[0.0; 3]; penalties.len()];
    for _ in 0..ITERATIONS_MAX {
        let (gradient, hessian) = derivatives(rows, penalties, &weights);
        if gradient.iter().all(|slope| slope.abs() <= GRADIENT_MAX) {
            break;
        }
        let step = solve(hessian, gradient);
        let here = objective(rows, penalties, &weights);
        let moved = |scale: f64| -> Vec<[f64; 3]> {
            let by = |term: usize, class: usize| scale * step[3 * term + class];
            let at = |(term, old): (usize, &[f64; 3])| {
                [0, 1, 2].map(|class| old[class] - by(term, class))
            };
            weights.iter().enumerate().map(at).collect()
        };
        let scales = (0..HALVINGS_MAX).map(|halvings| 0.5f64.powi(halvings as i32));
        let next = scales.map(moved).find(|next| objective(rows, penalties, next) < here);
        // Nowhere lower: the minimum, as far as numbers can tell.
        let Some(next) = next else { break };
        weights = next;
    }
    weights
}

fn probabilities(row: &Row, weights: &[[f64; 3]]) -> [f64; 3] {
    softmax(sum(row.values.iter().map(|(term, value)| (*value, weights[*term]))))
}

fn objective(rows: &[Row], penalties: &[f64], weights: &[[f64; 3]]) -> f64 {
    let loss = |row: &Row| -probabilities(row, weights)[row.class].max(1e-300).ln();
    let squares = |w: &[f64; 3]| w.iter().map(|weight| weight * weight).sum::<f64>();
    let penalty =
        weights.iter().zip(penalties).map(|(w, penalty)| 0.5 * penalty * squares(w));
    rows.iter().map(loss).sum::<f64>() + penalty.sum::<f64>()
}

/// Gradient and Hessian, weights in the order term by term, class by class.
fn derivatives(
    rows: &[Row],
    penalties: &[f64],
    weights: &[[f64; 3]],
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = 3 * penalties.len();
    let mut gradient = vec![0.0; size];
    let mut hessian = vec![vec![0.0; size]; size];
    for (term, penalty) in penalties.iter().enumerate() {
        for class in 0..3 {
            gradient[3 * term + class] = penalty * weights[term][class];
            hessian[3 * term + class][3 * term + class] = *penalty;
        }
    }
    for row in rows {
        let p = probabilities(row, weights);
        for (one, x) in &row.values {
            for a in 0..3 {
                let error = p[a] - f64::from(u8::from(a == row.class));
                gradient[3 * one + a] += x * error;
                for (two, y) in &row.values {
                    for b in 0..3 {
                        let curve = p[a] * (f64::from(u8::from(a == b)) - p[b]);
                        hessian[3 * one + a][3 * two + b] += x * y * curve;
                    }
                }
            }
        }
    }
    (gradient, hessian)
}

/// Solves `matrix · x = right` by Cholesky's method.
///
/// # Panics
///
/// If the matrix is not positive definite; a penalised Hessian is.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for column in 0..size {
        let squares: f64 = matrix[column][..column].iter().map(|v| v * v).sum();
        let pivot = (matrix[column][column] - squares).sqrt();
        assert!(pivot > 0.0, "a penalised Hessian is positive definite");
        matrix[column][column] = pivot;
        for row in column + 1..size {
            let (above, below) = matrix.split_at(row);
            let known = above[column][..column].iter().zip(&below[0][..column]);
            let dot: f64 = known.map(|(a, b)| a * b).sum();
            matrix[row][column] = (matrix[row][column] - dot) / pivot;
        }
    }
    for row in 0..size {
        let dot: f64 = matrix[row][..row].iter().zip(&right).map(|(a, b)| a * b).sum();
        right[row] = (right[row] - dot) / matrix[row][row];
    }
    for row in (0..size).rev() {
        let dot: f64 =
            (row + 1..size).map(|below| matrix[below][row] * right[below]).sum();
        right[row] = (right[row] - dot) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64], class: usize) -> Row {
        Row { values: values.iter().copied().enumerate().collect(), class }
    }

    #[test]
    fn without_features_the_probabilities_are_the_shares() {
        let rows: Vec<Row> = [0, 0, 0, 1, 2, 2].map(|class| row(&[1.0], class)).to_vec();
        let weights = fit(&rows, &[1e-9]);
        for (found, expect) in
            softmax(weights[0]).into_iter().zip([0.5, 1.0 / 6.0, 1.0 / 3.0])
        {
            assert!((found - expect).abs() < 1e-6, "{weights:?}");
        }
    }

    #[test]
    fn a_binary_fit_is_the_known_one() {
        // Two classes and one feature with the intercept: counts 1:3 where it is 0, 3:1 where
        // it is 1, so that the log-odds are −ln 3 and ln 3.
        let mut rows = vec![];
        for (value, classes) in [(0.0, [0, 2, 2, 2]), (1.0, [0, 0, 0, 2])] {
            rows.extend(classes.map(|class| row(&[1.0, value], class)));
        }
        let weights = fit(&rows, &[1e-9, 1e-9]);
        let odds = |value: f64| {
            let sum = |class: usize| weights[0][class] + value * weights[1][class];
            sum(0) - sum(2)
        };
        assert!((odds(0.0) + 3f64.ln()).abs() < 1e-6, "{weights:?}");
        assert!((odds(1.0) - 3f64.ln()).abs() < 1e-6, "{weights:?}");
    }

    #[test]
    fn the_gradient_is_the_slope_and_vanishes_at_the_fit() {
        let rows: Vec<Row> = (0..30u32)
            .map(|i| {
                row(&[1.0, f64::from(i % 7) / 7.0, f64::from(i % 5)], (i % 3) as usize)
            })
            .collect();
        let penalties = [0.1, 0.2, 0.3];
        let at = vec![[0.3, -0.2, 0.1], [0.5, 0.0, -1.0], [0.0, 0.4, 0.1]];
        let (gradient, _) = derivatives(&rows, &penalties, &at);
        for (index, slope) in gradient.iter().enumerate() {
            let near = |by: f64| {
                let mut near = at.clone();
                near[index / 3][index % 3] += by;
                objective(&rows, &penalties, &near)
            };
            let measured = (near(1e-5) - near(-1e-5)) / 2e-5;
            assert!((slope - measured).abs() < 1e-6, "{index}: {slope} {measured}");
        }
        let fitted = fit(&rows, &penalties);
        let (gradient, _) = derivatives(&rows, &penalties, &fitted);
        assert!(gradient.iter().all(|slope| slope.abs() < 1e-8), "{gradient:?}");
    }
}
