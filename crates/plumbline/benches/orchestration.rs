//! What the loop itself costs: everything but policy and tool, recording included.
//!
//! Episodes of four calls and an answer run with a policy and a tool that do next to nothing,
//! 64 at a time on all cores, and every step is written to disk. Beside it the same lines are
//! written by a bare loop: the least that recording can cost. A second part holds many
//! episodes in mid-air and counts the memory each one takes.
//!
//! Asserted: the loop takes at most 12 times what the bare writing takes, and an episode in
//! mid-air at most 50 kB.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use plumbline::protocol::Protocol;
use plumbline::store::{FORMAT, Host, RunHeader, RunWriter};
use plumbline::{
    Action, Digest, Environment, EnvironmentParts, Event, Ground, Limits, Observation,
    Policy, PolicyError, PolicyId, Prompt, Proposal, Scratch, Shape, SinkError, Task,
    TaskId, Tool, ToolCall, ToolError, ToolSpec, Tree, grow,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

const EPISODES: usize = 20_000;
const CONCURRENCY: usize = 64;
const CALLS: usize = 4;
const LOOP_OVER_WRITING_MAX: f64 = 12.0;
const LIVE_EPISODES: usize = 4_000;
const LIVE_BYTES_MAX: f64 = 50_000.0;

/// Answers each call with the same short text.
struct Echo(ToolSpec);

#[async_trait]
impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(
        &self,
        _args: &Value,
        _scratch: &mut Scratch,
        _limits: &Limits,
    ) -> Result<Observation, ToolError> {
        Ok(Observation::Output {
            text: "It rains in Bergen. ".repeat(10),
            data: Value::Null,
        })
    }
}

/// Calls four times, then answers. `gate`, once reached, holds every episode in mid-air.
struct Metronome {
    id: PolicyId,
    gate: Option<(usize, Semaphore, AtomicUsize)>,
}

#[async_trait]
impl Policy for Metronome {
    fn id(&self) -> &PolicyId {
        &self.id
    }

    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError> {
        let step = prompt.turns.len();
        if let Some((at, gate, waiting)) = &self.gate
            && step == *at
        {
            waiting.fetch_add(1, Ordering::Relaxed);
            let _open = gate.acquire().await;
        }
        let action = if step < CALLS {
            let args = json!({ "query": format!("weather {step}") });
            let call = ToolCall { id: "call_0".into(), tool: "echo".into(), args };
            Action::Calls { calls: vec![call] }
        } else {
            Action::Answer { text: "rain".into() }
        };
        let text = "<tool_call>\n{\"name\": \"echo\"}\n</tool_call>".to_owned();
        let proposal = |seed: &u64| Proposal {
            text: text.clone(),
            action: action.clone(),
            seed: *seed,
            tokens: None,
            elided: vec![],
        };
        Ok(seeds.iter().map(proposal).collect())
    }
}

fn environment() -> Environment {
    let spec = ToolSpec {
        name: "echo".into(),
        description: "Says what the weather is.".into(),
        parameters: json!({
            "type": "object",
            "properties": { "query": { "type": "string" } },
            "required": ["query"],
            "additionalProperties": false
        }),
        pinned: Digest::of(b"echo"),
    };
    Environment::new(EnvironmentParts {
        name: "bench".into(),
        prompt: "Answer.".into(),
        protocol: Protocol::Hermes,
        thought_chars_max: 0,
        limits: Limits::default(),
        tools: vec![Arc::new(Echo(spec))],
    })
    .expect("the parts fit")
}

fn header() -> RunHeader {
    let digest = Digest::of(b"");
    RunHeader {
        format: FORMAT,
        environment: "bench".into(),
        environment_digest: digest,
        tools: Default::default(),
        tasks_digest: digest,
        tasks: 0,
        policy: "metronome".into(),
        seed: 0,
        samples: 1,
        settings: Value::Null,
        begun_unix_s: 0,
        host: Host { platform: "bench".into(), cores: 1, plumb: "0".into() },
    }
}

/// Runs episodes, so many at a time, and records them in `dir`.
async fn episodes(dir: &Path, policy: Arc<Metronome>, count: usize, at_once: usize) {
    let environment = Arc::new(environment());
    let writer = Arc::new(RunWriter::open(dir, &header()).expect("a folder to write in"));
    let slots = Arc::new(Semaphore::new(at_once));
    let (_stopper, stop) = watch::channel(false);
    let mut growing = tokio::task::JoinSet::new();
    for index in 0..count {
        if growing.len() == at_once {
            growing.join_next().await.expect("some are growing").expect("none panics");
        }
        let (environment, policy) = (Arc::clone(&environment), Arc::clone(&policy));
        let (writer, slots, stop) =
            (Arc::clone(&writer), Arc::clone(&slots), stop.clone());
        growing.spawn(async move {
            let sink = |event: Event<'_>| {
                writer.append(event).map_err(|error| SinkError(Box::new(error)))
            };
            let ground = Ground {
                environment: &environment,
                policy: policy.as_ref(),
                cache: None,
                meter: None,
                slots: &slots,
                stop,
                sink: &sink,
                seed: 7,
                retries: 0,
            };
            let id = TaskId(format!("task-{index}"));
            let prompt = "What is the weather in Bergen?".to_owned();
            let task = Task { id: id.clone(), prompt, inputs: Value::Null };
            grow(&ground, &task, Tree::new(id), &Shape::samples(1))
                .await
                .expect("it grows");
        });
    }
    while let Some(grown) = growing.join_next().await {
        grown.expect("none panics");
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

fn speed(runtime: &tokio::runtime::Runtime) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let policy = Arc::new(Metronome { id: PolicyId("metronome".into()), gate: None });
    let began = Instant::now();
    runtime.block_on(episodes(dir.path(), policy, EPISODES, CONCURRENCY));
    let looped = began.elapsed();
    let text = std::fs::read(dir.path().join("steps.jsonl")).expect("what was recorded");
    let values: Vec<Value> = text
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect();
    let mut file = std::fs::File::create(dir.path().join("bare.jsonl")).expect("a file");
    let began = Instant::now();
    for value in &values {
        let mut line = serde_json::to_vec(value).expect("it was JSON");
        line.push(b'\n');
        file.write_all(&line).expect("room on the disk");
    }
    let bare = began.elapsed();
    let steps = (EPISODES * (CALLS + 1)) as f64;
    let ratio = looped.as_secs_f64() / bare.as_secs_f64();
    println!("episodes/s           {:>10.0}", EPISODES as f64 / looped.as_secs_f64());
    println!("a step, wall clock   {:>10.1} us", looped.as_secs_f64() * 1e6 / steps);
    println!("writing alone        {:>10.1} us", bare.as_secs_f64() * 1e6 / steps);
    println!("loop / writing alone {ratio:>10.2} (at most {LOOP_OVER_WRITING_MAX})");
    assert!(ratio <= LOOP_OVER_WRITING_MAX, "the loop costs too much");
}

fn memory(runtime: &tokio::runtime::Runtime) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let gate = (CALLS, Semaphore::new(0), AtomicUsize::new(0));
    let policy =
        Arc::new(Metronome { id: PolicyId("metronome".into()), gate: Some(gate) });
    let Some(before) = resident_bytes() else {
        println!("memory: skipped, this system does not tell");
        return;
    };
    let path = dir.path().to_owned();
    let held = Arc::clone(&policy);
    let running = runtime
        .spawn(async move { episodes(&path, held, LIVE_EPISODES, LIVE_EPISODES).await });
    let (_, gate, waiting) = policy.gate.as_ref().expect("it was just given");
    while waiting.load(Ordering::Relaxed) < LIVE_EPISODES {
        std::thread::sleep(Duration::from_millis(10));
    }
    let each = (resident_bytes().unwrap_or(before) - before) / LIVE_EPISODES as f64;
    gate.add_permits(LIVE_EPISODES);
    runtime.block_on(running).expect("none panics");
    println!("a live episode       {each:>10.0} bytes (at most {LIVE_BYTES_MAX})");
    assert!(each <= LIVE_BYTES_MAX, "a live episode takes too much memory");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("threads");
    memory(&runtime);
    speed(&runtime);
}
