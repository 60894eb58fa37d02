//! What a call of a component costs beyond what the component does: an instance, and the way
//! there and back. Asserted: the median is under 50 µs after the first call.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints")]

use std::sync::Arc;
use std::time::Instant;

use plumbline::{Effect, Limits, Scratch, Tool};
use plumbline_wasm::{ComponentSettings, Components, Grants};
use serde_json::json;

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/text/mod.rs"]
mod text;

const CALLS: usize = 20_000;
const CALL_US_MAX: f64 = 50.0;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("count.wasm");
    std::fs::write(&path, wat::parse_str(text::counter()).unwrap()).unwrap();
    let components = Components::new(&dir.path().join("cache")).unwrap();
    let (effect, grants, limits) =
        (Effect::Stateful, Grants::default(), Limits::default());
    let settings =
        ComponentSettings { path, effect, grants, files: Arc::default(), name: None };
    let tool = components.open(&settings, &limits).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let args = json!({});
    let mut times: Vec<f64> = (0..CALLS)
        .map(|_| {
            let mut scratch = Scratch::default();
            let began = Instant::now();
            let observed = runtime.block_on(tool.call(&args, &mut scratch, &limits));
            let us = began.elapsed().as_secs_f64() * 1e6;
            assert_eq!(observed.unwrap().text(), "1");
            us
        })
        .skip(1)
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    let (median, late) = (at(0.5), at(0.99));
    println!("a call of a component   median {median:.1} µs, 99 % within {late:.1} µs");
    assert!(median < CALL_US_MAX, "a call costs {median:.1} µs; at most {CALL_US_MAX}");
}
