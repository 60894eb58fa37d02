//! Numbers read off columns: what pandas and scipy have functions for, written down here
//! once more so that the gold rests on neither.

/// The mean; of nothing it is not a number.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample variance.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean) * (value - mean));
    squares.sum::<f64>() / (values.len() as f64 - 1.0)
}

/// The sample standard deviation.
pub(crate) fn std(values: &[f64]) -> f64 {
    variance(values).sqrt()
}

/// A quantile by linear interpolation, `at` 0 to 1: type 7 of Hyndman and Fan (1996).
pub(crate) fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = at * (sorted.len() as f64 - 1.0);
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (place - place.floor()) * (sorted[high] - sorted[low])
}

/// How far 1.5 interquartile ranges reach beyond the quartiles, downwards and upwards.
pub(crate) fn iqr_fence(values: &[f64]) -> (f64, f64) {
    let (low, high) = (quantile(values, 0.25), quantile(values, 0.75));
    let reach = 1.5 * (high - low);
    (low - reach, high + reach)
}

/// Pearson's correlation of pairs.
pub(crate) fn pearson(pairs: &[(f64, f64)]) -> f64 {
    let (xx, xy, yy) = moments(pairs);
    xy / (xx * yy).sqrt()
}

/// Slope and intercept of the least-squares line of the second on the first.
pub(crate) fn line(pairs: &[(f64, f64)]) -> (f64, f64) {
    let (xx, xy, _) = moments(pairs);
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let slope = xy / xx;
    (slope, mean(&y) - slope * mean(&x))
}

/// Sums of squares and products about the means.
fn moments(pairs: &[(f64, f64)]) -> (f64, f64, f64) {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (x, y) = (mean(&x), mean(&y));
    pairs.iter().fold((0.0, 0.0, 0.0), |(xx, xy, yy), (one, two)| {
        let (one, two) = (one - x, two - y);
        (xx + one * one, xy + one * two, yy + two * two)
    })
}

/// Welch's t statistic of the first against the second, and its two-sided p-value, with the
/// degrees of freedom of Welch and Satterthwaite.
pub(crate) fn welch(one: &[f64], two: &[f64]) -> (f64, f64) {
    let (a, b) = (variance(one) / one.len() as f64, variance(two) / two.len() as f64);
    let t = (mean(one) - mean(two)) / (a + b).sqrt();
    let (m, n) = (one.len() as f64 - 1.0, two.len() as f64 - 1.0);
    let freedom = (a + b) * (a + b) / (a * a / m + b * b / n);
    (t, incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t)))
}

/// The regularised incomplete beta function, by the continued fraction of DLMF 8.17.22.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front =
        ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    // Evaluated by Lentz's method; 200 terms are far more than it takes to converge.
    let (mut c, mut d, mut fraction) = (1.0, 0.0, 1.0);
    for i in 0..200 {
        let m = f64::from(i / 2);
        let numerator = if i == 0 {
            1.0
        } else if i % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -((a + m) * (a + b + m) * x) / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = 1.0 / nonzero(1.0 + numerator * d);
        c = nonzero(1.0 + numerator / c);
        fraction *= c * d;
    }
    front.exp() * (fraction - 1.0) / a
}

fn nonzero(value: f64) -> f64 {
    if value.abs() < 1e-300 { 1e-300 } else { value }
}

/// The logarithm of the gamma function, by Lanczos's approximation (g = 7, nine terms).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series = (1..)
        .zip(TERMS)
        .fold(0.999_999_999_999_809_9, |sum, (i, term)| sum + term / (x + f64::from(i)));
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + series.ln()
}
