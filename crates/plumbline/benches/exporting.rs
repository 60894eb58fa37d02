//! How fast a run is exported, on one core, and how much memory that takes.
//!
//! Runs of 10,000 and of 100,000 steps are recorded, labelled, and exported in three formats
//! through [`Index`], one task at a time, as `plumb export` does it. Beside it the same run is
//! read whole, as the other commands do.
//!
//! Times are those of the processor where the system tells, so that whatever else the machine
//! does is not counted.
//!
//! Asserted: exporting takes at most 4 times what reading the run whole takes, and ten times
//! the steps take at most 24 MiB more memory. The throughput in bytes read and written is
//! printed.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plumbline::export::{
    Advantages, Forged, Format, Group, Rewards, Settings, Told, Worth, Zeros,
};
use plumbline::store::{
    FORMAT, Host, Index, Recording, RunHeader, RunWriter, VerdictWriter,
};
use plumbline::{
    Action, Cost, Digest, Ending, Event, Node, NodeId, Observation, Proposal, Sight,
    Step, StepLabel, Task, TaskId, Tokens, ToolCall, Verdict, VerifierId, View,
};
use serde_json::{Value, json};

const EXPORTING_OVER_READING_MAX: f64 = 4.0;
const MEMORY_BYTES_MAX: u64 = 24 << 20;
/// Samples of a task, and steps of a sample.
const SAMPLES: u32 = 5;
const STEPS: u32 = 5;
/// Tokens that a step reads and samples.
const PROMPT: u32 = 120;
const SAMPLED: u32 = 60;

fn header() -> RunHeader {
    let digest = Digest::of(b"bench");
    RunHeader {
        format: FORMAT,
        environment: "bench".into(),
        environment_digest: digest,
        tools: BTreeMap::new(),
        tasks_digest: digest,
        tasks: 0,
        policy: "bench@1".into(),
        seed: 0,
        samples: SAMPLES,
        settings: json!({}),
        begun_unix_s: 0,
        host: Host { platform: "bench".into(), cores: 1, plumb: "0".into() },
    }
}

fn step(task: u32, sample: u32, index: u32, kept: u32) -> Step {
    let last = index + 1 == STEPS;
    let args = json!({ "query": format!("where task {task} leads, part {index}") });
    let action = match last {
        true => Action::Answer { text: format!("the answer to {task}") },
        false => {
            let (id, tool) = ("call_0".to_owned(), "search".to_owned());
            Action::Calls { calls: vec![ToolCall { id, tool, args: args.clone() }] }
        }
    };
    let thought = "I should look at what is known, and then say what follows. ".repeat(3);
    let passage =
        "A passage about a place, who built it and when it was done. ".repeat(12);
    let observations = match last {
        true => vec![],
        false => vec![Observation::Output { text: passage, data: Value::Null }],
    };
    let tokens = Tokens {
        kept,
        prompt: (0..PROMPT).map(|n| n * 37 % 49_000).collect(),
        sampled: (0..SAMPLED).map(|n| n * 41 % 49_000).collect(),
        logprobs: (0..SAMPLED).map(|n| -(n as f32) / 64.0).collect(),
    };
    let text = format!("{thought}\n<tool_call>\n{args}\n</tool_call>");
    let (seed, tokens) = (u64::from(sample), Some(tokens));
    let proposal = Proposal { text, action, seed, tokens, elided: vec![] };
    Step { proposal, observations, scratch: Digest::of(b"{}") }
}

/// Records a run of so many steps.
fn record(dir: &Path, steps: u32) -> Result<(), Box<dyn std::error::Error>> {
    let writer = RunWriter::open(dir, &header())?;
    let verifier = VerifierId("bench@1".into());
    let mut verdicts = VerdictWriter::open(dir, &verifier)?;
    for number in 0..steps / (SAMPLES * STEPS) {
        let task = TaskId(format!("task-{number:06}"));
        let mut judged = Vec::new();
        for sample in 0..SAMPLES {
            let mut parent = None;
            for index in 0..STEPS {
                let step = step(number, sample, index, index * (PROMPT + SAMPLED));
                let id = NodeId(sample * STEPS + index);
                let node = Node { parent, step };
                writer.append(Event::Node { task: &task, id, node: &node })?;
                parent = Some(id);
                judged.push(verdict(id, &verifier, (sample + index) % 3));
            }
            let ending = Ending::Answered;
            let (node, seed) = (parent, None);
            writer.append(Event::Ending { task: &task, node, seed, ending: &ending })?;
        }
        verdicts.append(&task, SAMPLES * STEPS, Digest::of(b""), &judged, None)?;
    }
    Ok(())
}

fn verdict(node: NodeId, verifier: &VerifierId, which: u32) -> Verdict {
    let labels = [StepLabel::Good, StepLabel::Good, StepLabel::Bad];
    Verdict {
        node,
        verifier: verifier.clone(),
        value: Value::Null,
        label: Some(labels[which as usize]),
        zero: None,
        confidence: None,
        reason: "it shows what was asked for".into(),
        evidence: vec![],
        saw: Sight::ONLINE,
        cost: Cost::default(),
    }
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Exports a run; the bytes written.
fn export(dir: &Path, format: Format) -> Result<u64, Box<dyn std::error::Error>> {
    let (zeros, rewards, advantages) = (format.zeros(), Rewards::Step, Advantages::Grpo);
    assert!(zeros != Zeros::Positive, "no format begins with that");
    let (worth, forged) = (Worth::Label, Forged::Refuse);
    let settings = Settings { zeros, worth, rewards, advantages, forged };
    let told = Told { system: "Answer.".into(), tools: vec![] };
    let index = Index::open(dir)?;
    let mut out = BufWriter::with_capacity(1 << 18, Counter(0));
    for (number, id) in (0..).zip(index.tasks()) {
        let task = Task { id: id.clone(), prompt: "Where?".into(), inputs: Value::Null };
        let (tree, verdicts) = (index.tree(id)?, index.verdicts(id, None)?);
        let labels = View::StrictLocal.labels(&task.prompt, &tree, &verdicts);
        let group = Group {
            index: number,
            task: &task,
            gold: None,
            policy: "bench@1",
            told: &told,
            told_otherwise: &BTreeMap::new(),
            tree: &tree,
            forged: None,
            verdicts: &verdicts,
            labels,
            numbers: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        };
        let rows = format.rows(&group, &settings);
        assert!(rows.refused.is_empty(), "{:?}", rows.refused);
        for row in &rows.tables[0] {
            out.write_all(row.as_bytes())?;
            out.write_all(b"\n")?;
        }
    }
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?.0)
}

/// The most memory this process has held since [`reset`], where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn reset() {
    // Where it is refused the peak is that of all before, and the assertion the stricter.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Processor time of this process since it began, in steps of 10 ms; where the system does not
/// tell, the time of day.
fn clock() -> Duration {
    let told = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // User and system time, in hundredths of a second, are the 14th and the 15th field;
        // the second one ends in a parenthesis and may hold anything.
        let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
        let ticks = fields.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
        Some(Duration::from_millis(10 * ticks))
    };
    let day = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    told().unwrap_or_else(day)
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let (small, large) = (dir.path().join("small"), dir.path().join("large"));
    record(&small, 10_000)?;
    record(&large, 100_000)?;
    let bytes = std::fs::metadata(large.join("steps.jsonl"))?.len();
    println!("100,000 steps in {:.0} MB", bytes as f64 / 1e6);
    let mut exported = Vec::new();
    for format in [Format::Trl, Format::Prm, Format::SkyRl, Format::Atif] {
        reset();
        export(&small, format)?;
        let few = peak();
        reset();
        let begun = clock();
        let written = export(&large, format)?;
        let took = clock() - begun;
        let many = peak();
        println!(
            "{:<8} {:>6.2} s, {:>4.0} MB/s read, {:>4.0} MB/s written ({:.0} MB)",
            format.name(),
            took.as_secs_f64(),
            rate(bytes, took),
            rate(written, took),
            written as f64 / 1e6
        );
        if let (Some(few), Some(many)) = (few, many) {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            println!(
                "         {:.0} MiB, and {:.0} MiB for a tenth",
                mib(many),
                mib(few)
            );
            assert!(
                many.saturating_sub(few) <= MEMORY_BYTES_MAX,
                "{format}: memory grows with the run"
            );
        }
        exported.push((format, took));
    }
    // Last, for it holds the run whole.
    let begun = clock();
    let recording = Recording::open(&large)?;
    let reading = clock() - begun;
    assert_eq!(recording.trees.values().map(|tree| tree.len()).sum::<usize>(), 100_000);
    println!(
        "reading  {:>6.2} s, {:>4.0} MB/s",
        reading.as_secs_f64(),
        rate(bytes, reading)
    );
    for (format, took) in exported {
        let times = took.as_secs_f64() / reading.as_secs_f64();
        println!("{format}: {times:.1} times reading");
        assert!(
            times <= EXPORTING_OVER_READING_MAX,
            "{format}: {times:.1} times reading"
        );
    }
    Ok(())
}
