//! From a row of logits to a token: pure functions of logits, mask, settings and one random
//! number.
//!
//! llama.cpp's sampler chain is not used. It copies each row into an array of structs three
//! times the row's size, and neither takes an llguidance mask as it is nor says what the
//! probability before truncation was. What is needed here is three passes over a slice.

use plumbline::Sampling;
use toktrie::SimpleVob;

/// Buffers that every choice uses again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    weights: Vec<f32>,
    ranked: Vec<(f32, u32)>,
}

/// The natural-log probability of one token under the model's own distribution: softmax of
/// all logits.
pub(crate) fn log_probability(logits: &[f32], token: u32) -> f32 {
    let best = best_of(logits);
    let sum: f64 = logits
        .chunks(LANES)
        .map(|chunk| f64::from(chunk.iter().map(|&logit| exp(logit - best)).sum::<f32>()))
        .sum();
    (f64::from(logits[token as usize]) - f64::from(best) - sum.ln()) as f32
}

/// Chooses a token among those allowed; all are without a mask. `draw` is a uniform random
/// number in `[0, 1)`, unused when greedy. `None` if no allowed token has a finite logit.
///
/// Temperature comes before top-p and min-p, and the mask before all three: the choice is
/// from the model's distribution given that the message stays well-formed. Of equally
/// probable tokens the greedy choice is the lowest id.
pub(crate) fn choose(
    logits: &[f32],
    allowed: Option<&SimpleVob>,
    sampling: &Sampling,
    draw: f64,
    scratch: &mut Scratch,
) -> Option<u32> {
    let (best, best_token) = match allowed {
        None => argmax(logits)?,
        Some(mask) => argmax_allowed(logits, mask)?,
    };
    if sampling.temperature <= 0.0 {
        return Some(best_token);
    }
    weigh(logits, allowed, best, sampling, &mut scratch.weights);
    let token = if sampling.top_p < 1.0 {
        draw_from_top(sampling.top_p, draw, scratch)
    } else {
        draw_from_all(draw, &scratch.weights)
    };
    // Rounding can leave the walk past its last token; the best one always has a weight.
    Some(token.unwrap_or(best_token))
}

/// Sums run over so many lanes in `f32` before they are added up in `f64`: long enough to
/// fill vector registers, short enough to lose nothing.
const LANES: usize = 256;

fn best_of(logits: &[f32]) -> f32 {
    // `max` over blocks is what the compiler turns into vector instructions.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (blocks, rest) = logits.as_chunks::<16>();
    for block in blocks {
        for (lane, &logit) in lanes.iter_mut().zip(block) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

fn argmax(logits: &[f32]) -> Option<(f32, u32)> {
    let best = best_of(logits);
    let at = logits.iter().position(|&logit| logit == best)?;
    best.is_finite().then_some((best, at as u32))
}

fn argmax_allowed(logits: &[f32], mask: &SimpleVob) -> Option<(f32, u32)> {
    let mut best = (f32::NEG_INFINITY, None);
    for (logits, (first, mut word)) in logits.chunks(32).zip(words(mask)) {
        while word != 0 {
            let bit = word.trailing_zeros();
            word &= word - 1;
            match logits.get(bit as usize) {
                Some(&logit) if logit > best.0 => best = (logit, Some(first + bit)),
                _ => {}
            }
        }
    }
    best.1.filter(|_| best.0.is_finite()).map(|token| (best.0, token))
}

/// The words of a mask, each with the token that its lowest bit stands for.
fn words(mask: &SimpleVob) -> impl Iterator<Item = (u32, u32)> + '_ {
    (0u32..).step_by(32).zip(mask.as_slice().iter().copied())
}

/// Unnormalised probabilities after temperature, mask and min-p; the best token's is 1.
fn weigh(
    logits: &[f32],
    allowed: Option<&SimpleVob>,
    best: f32,
    sampling: &Sampling,
    weights: &mut Vec<f32>,
) {
    let scale = 1.0 / sampling.temperature;
    weights.clear();
    weights.extend(logits.iter().map(|&logit| exp((logit - best) * scale)));
    if let Some(mask) = allowed {
        let mut masked = 0;
        for (weights, (_, word)) in weights.chunks_mut(32).zip(words(mask)) {
            masked += weights.len();
            if word == u32::MAX {
                continue;
            }
            for (bit, weight) in weights.iter_mut().enumerate() {
                *weight = if word >> bit & 1 == 1 { *weight } else { 0.0 };
            }
        }
        // Tokens that the mask does not reach are not allowed.
        weights[masked..].fill(0.0);
    }
    if sampling.min_p > 0.0 {
        for weight in weights.iter_mut() {
            *weight = if *weight >= sampling.min_p { *weight } else { 0.0 };
        }
    }
}

fn total(weights: &[f32]) -> f64 {
    weights.chunks(LANES).map(|chunk| f64::from(chunk.iter().sum::<f32>())).sum()
}

fn draw_from_all(draw: f64, weights: &[f32]) -> Option<u32> {
    let mut left = draw * total(weights);
    // Whole blocks are passed over by their sums; the walk is then within one.
    for (block, weights) in weights.chunks(LANES).enumerate() {
        let sum = f64::from(weights.iter().sum::<f32>());
        if left >= sum {
            left -= sum;
            continue;
        }
        for (at, &weight) in weights.iter().enumerate() {
            if weight > 0.0 && left < f64::from(weight) {
                return Some((block * LANES + at) as u32);
            }
            left -= f64::from(weight);
        }
    }
    None
}

fn draw_from_top(top_p: f32, draw: f64, scratch: &mut Scratch) -> Option<u32> {
    let Scratch { weights, ranked } = scratch;
    let wanted = f64::from(top_p) * total(weights);
    // Sorting the vocabulary would cost more than everything else together, and the top is
    // nearly always among the few that come near the best.
    for floor in [1e-3, 1e-6, 0.0] {
        ranked.clear();
        let candidates = (0u32..).zip(weights.iter().copied());
        ranked.extend(
            candidates
                .filter(|&(_, weight)| weight > floor)
                .map(|(token, weight)| (weight, token)),
        );
        let mass: f64 = ranked.iter().map(|&(weight, _)| f64::from(weight)).sum();
        if mass >= wanted {
            break;
        }
    }
    ranked.sort_unstable_by(|left, right| {
        right.0.total_cmp(&left.0).then(left.1.cmp(&right.1))
    });
    let mut kept = 0.0;
    let mut count = 0;
    for &(weight, _) in ranked.iter() {
        kept += f64::from(weight);
        count += 1;
        if kept >= wanted {
            break;
        }
    }
    let mut left = draw * kept;
    ranked[..count].iter().find_map(|&(weight, token)| {
        left -= f64::from(weight);
        (left < 0.0).then_some(token)
    })
}

/// `e^x` for `x` up to 0, to within two units in the last place; 0 below -87 and for what is
/// not a number. Written without branches and calls so that a loop of it is vectorised: the
/// library's is ten times as slow over a vocabulary.
fn exp(x: f32) -> f32 {
    /// Adding this rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > -87.0 { x } else { -87.0 };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = (clamped - power * LN_2_HIGH) - power * LN_2_LOW;
    let mut series = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + coefficient;
    }
    let exponent =
        rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if x > -87.0 { series * f32::from_bits(exponent) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, min_p: 0.0 };
    const PLAIN: Sampling = Sampling { temperature: 1.0, ..GREEDY };

    /// How often each token is chosen, over evenly spread draws.
    fn shares(logits: &[f32], allowed: Option<&[u32]>, sampling: Sampling) -> Vec<f64> {
        let mask = allowed.map(|tokens| {
            let mut mask = SimpleVob::alloc(logits.len());
            tokens.iter().for_each(|&token| mask.allow_token(token));
            mask
        });
        let draws = 10_000;
        let mut shares = vec![0.0; logits.len()];
        let mut scratch = Scratch::default();
        for draw in 0..draws {
            let draw = (f64::from(draw) + 0.5) / f64::from(draws);
            let token = choose(logits, mask.as_ref(), &sampling, draw, &mut scratch)
                .expect("some token is allowed");
            shares[token as usize] += 1.0 / 10_000.0;
        }
        shares
    }

    fn check(found: &[f64], expect: &[f64]) {
        let near = |(found, expect): (&f64, &f64)| (found - expect).abs() < 2e-3;
        assert!(found.iter().zip(expect).all(near), "{found:?} is not {expect:?}");
    }

    fn logs(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() + 3.0).collect()
    }

    #[test]
    fn exponentials_are_accurate() {
        for step in 0..=8_700 {
            let x = -(step as f32) / 100.0 + 0.001;
            let (found, expect) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expect - 1.0).abs() < 3e-7, "exp({x}) is {found}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(f32::NEG_INFINITY), exp(f32::NAN), exp(-88.0)], [0.0; 3]);
    }

    #[test]
    fn log_probabilities_are_those_of_the_full_softmax() {
        let logits: Vec<f32> =
            (0..50_000).map(|i| ((i * 7919) % 1000) as f32 / 50.0).collect();
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        for token in [0u32, 1, 999, 49_999] {
            let expect = f64::from(logits[token as usize]) - sum.ln();
            let found = f64::from(log_probability(&logits, token));
            assert!((found - expect).abs() < 2e-6, "{token}: {found} is not {expect}");
        }
    }

    #[test]
    fn greedy_takes_the_best_allowed_token() {
        let logits = logs(&[0.1, 0.5, 0.1, 0.3]);
        check(&shares(&logits, None, GREEDY), &[0.0, 1.0, 0.0, 0.0]);
        check(&shares(&logits, Some(&[0, 3]), GREEDY), &[0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn sampling_follows_the_distribution_that_the_settings_leave() {
        let logits = logs(&[0.1, 0.5, 0.1, 0.3]);
        check(&shares(&logits, None, PLAIN), &[0.1, 0.5, 0.1, 0.3]);
        check(&shares(&logits, Some(&[0, 3]), PLAIN), &[0.25, 0.0, 0.0, 0.75]);
        let top = Sampling { top_p: 0.7, ..PLAIN };
        check(&shares(&logits, None, top), &[0.0, 0.625, 0.0, 0.375]);
        check(&shares(&logits, Some(&[0, 2, 3]), top), &[0.25, 0.0, 0.0, 0.75]);
        let min = Sampling { min_p: 0.5, ..PLAIN };
        check(&shares(&logits, None, min), &[0.0, 0.625, 0.0, 0.375]);
        let hot = Sampling { temperature: 2.0, ..PLAIN };
        let roots = [0.1f64, 0.5, 0.1, 0.3].map(f64::sqrt);
        let sum: f64 = roots.iter().sum();
        check(&shares(&logits, None, hot), &roots.map(|root| root / sum));
    }

    #[test]
    fn a_flat_distribution_is_cut_where_its_mass_is_reached() {
        let top = Sampling { top_p: 0.25, ..PLAIN };
        let shares = shares(&[0.0; 4000], None, top);
        assert_eq!(shares.iter().filter(|&&share| share > 0.0).count(), 1000);
    }

    #[test]
    fn without_a_choice_there_is_none() {
        let mut scratch = Scratch::default();
        let nothing = SimpleVob::alloc(2);
        assert_eq!(choose(&[1.0, 2.0], Some(&nothing), &PLAIN, 0.5, &mut scratch), None);
        assert_eq!(choose(&[f32::NAN; 2], None, &PLAIN, 0.5, &mut scratch), None);
        assert_eq!(choose(&[], None, &GREEDY, 0.5, &mut scratch), None);
    }
}
