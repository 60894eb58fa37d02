//! Measures the engine beside llama.cpp itself, and models beside each other.
//!
//! ```text
//! engine_bench decode MODEL THREADS [ROUNDS]   16 messages: a plain loop, then the policy
//! engine_bench children MODEL THREADS          8 messages from one prompt, likewise; asserted
//! engine_bench steps MODEL THREADS             episodes of several steps: prompts reused
//! engine_bench speed MODEL THREADS             the plain loop alone
//! engine_bench idle MODEL THREADS              what other sequences' cells cost
//! engine_bench quantise MODEL FILE FORMAT      Q4_0, Q4_1 or Q8_0
//! engine_bench perplexity MODEL TEXT THREADS   over the first 20,000 tokens of a file
//! ```
//!
//! Wall time on a shared machine says little, so processor time stands beside it. Ratios are
//! of runs that took turns.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::error::Error;
use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use llama_cpp_2::LogOptions;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use plumbline::protocol::Protocol;
use plumbline::{
    Digest, Observation, Policy, Prompt, Proposal, Sampling, ToolSpec, Turn,
};
use plumbline_llama::{Llama, LlamaSettings, Quantisation, quantise};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEQUENCES: usize = 16;
const CHILDREN: usize = 8;
const ROUNDS: usize = 3;
/// Prompt tokens evaluated for children of one step, over those there are.
const EVALUATED_MAX: f64 = 1.05;
/// The rate at which they grow, over that of llama.cpp's own batches of as many.
const RATE_MIN: f64 = 0.9;
const MESSAGE_TOKENS: usize = 64;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["decode", model, threads] => decode(model, threads.parse()?, 3),
        ["decode", model, threads, rounds] => {
            decode(model, threads.parse()?, rounds.parse()?)
        }
        ["children", model, threads] => children(model, threads.parse()?),
        ["steps", model, threads] => steps(model, threads.parse()?),
        ["idle", model, threads] => idle(model, threads.parse()?),
        ["speed", model, threads] => speed(model, threads.parse()?),
        ["quantise", model, file, format] => {
            let formats = [Quantisation::Q4_0, Quantisation::Q4_1, Quantisation::Q8_0];
            let format = formats.into_iter().find(|known| known.name() == format);
            Ok(quantise(model.as_ref(), file.as_ref(), format.ok_or("no such format")?)?)
        }
        ["perplexity", model, text, threads] => perplexity(model, text, threads.parse()?),
        _ => Err("see the beginning of engine_bench.rs".into()),
    }
}

fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        llama_cpp_2::send_logs_to_tracing(LogOptions::default());
        LlamaBackend::init().unwrap_or(LlamaBackend {})
    })
}

/// Wall and processor seconds.
struct Clock {
    wall: Instant,
    processor: f64,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), processor: processor_seconds() }
    }

    fn stop(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), processor_seconds() - self.processor)
    }
}

/// Of all threads of this process; 0 where the system does not tell.
fn processor_seconds() -> f64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0.0 };
    let of_thread = |folder: PathBuf| {
        let text = fs::read_to_string(folder.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let nanoseconds = threads.flatten().filter_map(|entry| of_thread(entry.path()));
    nanoseconds.sum::<f64>() / 1e9
}

/// llama.cpp without this crate.
struct Plain<'m> {
    context: LlamaContext<'m>,
    batch: LlamaBatch<'m>,
}

impl<'m> Plain<'m> {
    fn load(path: &str) -> Result<LlamaModel> {
        Ok(LlamaModel::load_from_file(backend(), path, &LlamaModelParams::default())?)
    }

    fn new(model: &'m LlamaModel, threads: i32) -> Result<Self> {
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(16 * 1024))
            .with_n_batch(512)
            .with_n_ubatch(512)
            .with_n_seq_max(64)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_kv_unified(true);
        let context = model.new_context(backend(), params)?;
        Ok(Self { context, batch: LlamaBatch::new(512, 1) })
    }

    /// Reads prompts that share a beginning, and samples greedily. Returns the seconds of
    /// the reading, wall and processor, and of all.
    fn run(&mut self, prompts: &[Vec<u32>]) -> Result<[(f64, f64); 2]> {
        for sequence in 0..prompts.len() as u32 {
            self.context.clear_kv_cache_seq(Some(sequence), None, None)?;
        }
        let clock = Clock::start();
        let shared =
            prompts.iter().skip(1).fold(prompts[0].len() - 1, |shared, prompt| {
                let common =
                    prompts[0].iter().zip(prompt).take_while(|(a, b)| a == b).count();
                shared.min(common).min(prompt.len() - 1)
            });
        self.read(&prompts[0][..shared], 0, 0)?;
        let mut tokens = vec![];
        for (sequence, prompt) in (0i32..).zip(prompts) {
            if sequence > 0 {
                self.context.copy_kv_cache_seq(
                    0,
                    sequence,
                    Some(0),
                    Some(shared as u32),
                )?;
            }
            tokens.push(self.read(&prompt[shared..], shared, sequence)?);
        }
        let read = clock.stop();
        for step in 0..MESSAGE_TOKENS - 1 {
            self.batch.clear();
            for (sequence, (prompt, &token)) in (0i32..).zip(prompts.iter().zip(&tokens))
            {
                let position = (prompt.len() + step) as i32;
                self.batch.add(token, position, &[sequence], true)?;
            }
            self.context.decode(&mut self.batch)?;
            for (row, token) in (0..).zip(&mut tokens) {
                *token = argmax(self.context.get_logits_ith(row));
            }
        }
        Ok([read, clock.stop()])
    }

    fn read(&mut self, tokens: &[u32], from: usize, sequence: i32) -> Result<LlamaToken> {
        let mut next = LlamaToken(0);
        for (chunk, tokens) in tokens.chunks(512).enumerate() {
            self.batch.clear();
            let start = from + 512 * chunk;
            for (at, &token) in tokens.iter().enumerate() {
                let token = LlamaToken(token.cast_signed());
                let is_last = at + 1 == tokens.len();
                self.batch.add(token, (start + at) as i32, &[sequence], is_last)?;
            }
            self.context.decode(&mut self.batch)?;
            next = argmax(self.context.get_logits_ith(tokens.len() as i32 - 1));
        }
        Ok(next)
    }
}

fn argmax(logits: &[f32]) -> LlamaToken {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    LlamaToken(best as i32)
}

/// An environment with one tool, whose queries are so many characters long.
fn tools(chars_min: u32, chars_max: u32) -> Vec<ToolSpec> {
    let query = json!({"type": "string", "minLength": chars_min, "maxLength": chars_max});
    vec![ToolSpec {
        name: "search".into(),
        description: "Searches an encyclopaedia and returns the three best passages"
            .into(),
        parameters: json!({
            "type": "object",
            "properties": {"query": query},
            "required": ["query"],
            "additionalProperties": false,
        }),
        pinned: Digest::of(b"none"),
    }]
}

fn system(round: usize, tools: &[ToolSpec]) -> String {
    let rules =
        "Answer the question. Look every fact up before you use it, one at a time, \
        and give no answer that no passage supports. "
            .repeat(6);
    format!("Edition {round}. {rules}\n{}", Protocol::Hermes.instructions(tools))
}

fn load(model: &str, threads: u32, constrain: bool) -> Result<Arc<Llama>> {
    let mut settings = LlamaSettings::new(model.into());
    settings.sampling = Sampling { temperature: 0.0, top_p: 1.0, min_p: 0.0 };
    settings.threads = threads;
    settings.constrain = constrain;
    Ok(Arc::new(Llama::load(settings)?))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?)
}

/// Sixteen callers, one message each. Returns the proposals.
fn propose_all(
    runtime: &tokio::runtime::Runtime,
    llama: &Arc<Llama>,
    round: usize,
) -> Result<Vec<Proposal>> {
    let tools = Arc::new(tools(320, 400));
    let system = Arc::new(system(round, &tools));
    let callers: Vec<_> = (0..SEQUENCES)
        .map(|caller| {
            let (llama, tools, system) = (llama.clone(), tools.clone(), system.clone());
            runtime.spawn(async move {
                let question = format!(
                    "Write all numbers from {caller} to 500 in words, with commas."
                );
                let prompt = Prompt {
                    system: &system,
                    question: &question,
                    turns: vec![],
                    tools: &tools,
                    protocol: Protocol::Hermes,
                    last: false,
                    thought_chars_max: 0,
                    tokens_max: MESSAGE_TOKENS as u32,
                };
                llama.propose(&prompt, &[1]).await
            })
        })
        .collect();
    let mut proposals = vec![];
    for caller in callers {
        proposals.extend(runtime.block_on(caller)??);
    }
    Ok(proposals)
}

fn decode(model: &str, threads: u32, rounds: usize) -> Result<()> {
    let runtime = runtime()?;
    let plain_model = Plain::load(model)?;
    let mut plain = Plain::new(&plain_model, threads.cast_signed())?;
    for constrain in [false, true] {
        for round in 0..rounds {
            // Both begin with an empty cache.
            let llama = load(model, threads, constrain)?;
            let clock = Clock::start();
            let proposals = propose_all(&runtime, &llama, round)?;
            let (wall, processor) = clock.stop();
            let tokens = proposals.iter().filter_map(|proposal| proposal.tokens.as_ref());
            let sampled: usize = tokens.clone().map(|tokens| tokens.sampled.len()).sum();
            let prompts: Vec<Vec<u32>> =
                tokens.map(|tokens| tokens.prompt.clone()).collect();
            let [read, all] = plain.run(&prompts)?;
            let expected = SEQUENCES * MESSAGE_TOKENS;
            let share = sampled as f64 / expected as f64;
            println!(
                "constrained {constrain}: plain loop {:.0} tokens/s in all, {:.0} decoding; \
                 policy {:.0} in all; policy/plain {:.3} wall, {:.3} processor \
                 ({sampled} of {expected} tokens)",
                expected as f64 / all.0,
                expected as f64 / (all.0 - read.0),
                sampled as f64 / wall,
                share * all.0 / wall,
                share * all.1 / processor,
            );
        }
    }
    Ok(())
}

/// Children of one step: the prompt is evaluated once, and the messages grow at the pace of
/// llama.cpp's own batches. The best of several rounds on either side, as the machine is shared.
fn children(model: &str, threads: u32) -> Result<()> {
    let runtime = runtime()?;
    let plain_model = Plain::load(model)?;
    let mut plain = Plain::new(&plain_model, threads.cast_signed())?;
    let (mut best, mut evaluated) = (0.0f64, 0.0f64);
    for round in 0..ROUNDS {
        // The grammar wants 320 characters: every message is as long as those beside it.
        let llama = load(model, threads, true)?;
        let (tools, question) = (tools(320, 400), "Write all numbers to 500 in words.");
        let prompt = Prompt {
            system: &system(round, &tools),
            question,
            turns: vec![],
            tools: &tools,
            protocol: Protocol::Hermes,
            last: false,
            thought_chars_max: 0,
            tokens_max: MESSAGE_TOKENS as u32,
        };
        let seeds: Vec<u64> = (0..CHILDREN as u64).collect();
        let clock = Clock::start();
        let proposals = runtime.block_on(llama.propose(&prompt, &seeds))?;
        let (_, processor) = clock.stop();
        let tokens = proposals.iter().filter_map(|proposal| proposal.tokens.as_ref());
        let sampled: usize = tokens.clone().map(|tokens| tokens.sampled.len()).sum();
        let prompts: Vec<Vec<u32>> = tokens.map(|tokens| tokens.prompt.clone()).collect();
        let usage = llama.usage();
        evaluated =
            evaluated.max(usage.prompt_evaluated as f64 / prompts[0].len() as f64);
        let [_, all] = plain.run(&prompts)?;
        let share = sampled as f64 / (CHILDREN * MESSAGE_TOKENS) as f64;
        best = best.max(share * all.1 / processor);
        println!(
            "{CHILDREN} children of a prompt of {} tokens: {} evaluated; policy/plain {:.3} \
             processor ({sampled} tokens)",
            prompts[0].len(),
            usage.prompt_evaluated,
            share * all.1 / processor,
        );
    }
    println!(
        "prompt tokens evaluated over ideal {evaluated:.3}, rate over llama.cpp's {best:.3}"
    );
    assert!(evaluated <= EVALUATED_MAX, "the prompt is evaluated more than once");
    assert!(best >= RATE_MIN, "the messages grow too slowly");
    Ok(())
}

fn speed(model: &str, threads: u32) -> Result<()> {
    let plain_model = Plain::load(model)?;
    let mut plain = Plain::new(&plain_model, threads.cast_signed())?;
    let text =
        "The quick brown fox jumps over the lazy dog near the river in 1987. ".repeat(30);
    let tokens = plain_model.vocab().tokenize(text.as_bytes(), false, false);
    let tokens: Vec<u32> = tokens.iter().map(|token| token.0.cast_unsigned()).collect();
    for sequences in [1, 8, SEQUENCES, 32] {
        let prompts = vec![tokens[..400].to_vec(); sequences];
        let [read, all] = plain.run(&prompts)?;
        let sampled = (sequences * MESSAGE_TOKENS) as f64;
        println!(
            "{sequences} sequences, {threads} threads: prompt {:.0} tokens/s ({:.0} a processor \
             second), decoding {:.0} ({:.0})",
            (399 + sequences) as f64 / read.0,
            (399 + sequences) as f64 / read.1,
            sampled / (all.0 - read.0),
            sampled / (all.1 - read.1),
        );
    }
    Ok(())
}

fn idle(model: &str, threads: u32) -> Result<()> {
    let plain_model = Plain::load(model)?;
    let mut plain = Plain::new(&plain_model, threads.cast_signed())?;
    let text =
        "The quick brown fox jumps over the lazy dog near the river in 1987. ".repeat(30);
    let tokens = plain_model.vocab().tokenize(text.as_bytes(), false, false);
    let tokens: Vec<u32> = tokens.iter().map(|token| token.0.cast_unsigned()).collect();
    let prompts = vec![tokens[..400].to_vec(); SEQUENCES];
    for filled in 0..3 {
        let [read, all] = plain.run(&prompts)?;
        println!(
            "{} idle cells: prompt {:.0} tokens a processor second, 16 messages {:.0}",
            filled * 4 * 500,
            (399 + SEQUENCES) as f64 / read.1,
            (SEQUENCES * MESSAGE_TOKENS) as f64 / (all.1 - read.1),
        );
        for sequence in 0..4 {
            plain.read(&tokens[..500], 0, 32 + 4 * filled + sequence)?;
        }
    }
    Ok(())
}

fn steps(model: &str, threads: u32) -> Result<()> {
    const EPISODES: usize = 32;
    const STEPS: usize = 4;
    let runtime = runtime()?;
    let llama = load(model, threads, true)?;
    let tools = Arc::new(tools(0, 40));
    let system = Arc::new(system(0, &tools));
    let clock = Clock::start();
    let slots = Arc::new(tokio::sync::Semaphore::new(SEQUENCES));
    let episodes: Vec<_> = (0..EPISODES)
        .map(|episode| {
            let (llama, tools, system) = (llama.clone(), tools.clone(), system.clone());
            let slots = slots.clone();
            runtime.spawn(async move {
                let _slot = slots.acquire().await.ok();
                let question =
                    format!("Who founded the town that river {episode} runs through?");
                let mut done: Vec<(Proposal, Vec<Observation>)> = vec![];
                for step in 0..STEPS {
                    let prompt = Prompt {
                        system: &system,
                        question: &question,
                        turns: done
                            .iter()
                            .map(|(proposal, observations)| Turn {
                                proposal,
                                observations,
                            })
                            .collect(),
                        tools: &tools,
                        protocol: Protocol::Hermes,
                        last: false,
                        thought_chars_max: 80,
                        tokens_max: 128,
                    };
                    let proposal = llama.propose(&prompt, &[step as u64]).await;
                    let proposal = proposal.map_err(|error| error.to_string())?.remove(0);
                    let passage =
                        format!("Passage {episode}-{step}: a town on a river. ");
                    let text = passage.repeat(10);
                    done.push((
                        proposal,
                        vec![Observation::Output { text, data: Value::Null }],
                    ));
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for episode in episodes {
        runtime.block_on(episode)??;
    }
    let (wall, processor) = clock.stop();
    let usage = llama.usage();
    println!(
        "{EPISODES} episodes of {STEPS} steps, {SEQUENCES} at once: {wall:.1} s, {processor:.1} \
         processor s; sampled {}; prompt tokens: {} evaluated, {} new, {} reused; \
         evaluated/new {:.3}",
        usage.sampled,
        usage.prompt_evaluated,
        usage.prompt_new,
        usage.prompt_reused,
        usage.prompt_evaluated as f64 / usage.prompt_new as f64,
    );
    Ok(())
}

/// Over windows of 512 tokens, counting the second half of each.
fn perplexity(model: &str, text: &str, threads: i32) -> Result<()> {
    const WINDOW: usize = 512;
    const TOKENS: usize = 20_480;
    let plain_model = Plain::load(model)?;
    let mut plain = Plain::new(&plain_model, threads)?;
    let text = fs::read(text)?;
    let tokens = plain_model.vocab().tokenize(&text, false, false);
    let (mut sum, mut count) = (0.0, 0);
    for window in tokens[..tokens.len().min(TOKENS)].chunks_exact(WINDOW) {
        plain.context.clear_kv_cache();
        plain.batch.clear();
        for (at, &token) in window.iter().enumerate() {
            plain.batch.add(token, at as i32, &[0], at >= WINDOW / 2)?;
        }
        plain.context.decode(&mut plain.batch)?;
        for at in WINDOW / 2..WINDOW - 1 {
            let logits = plain.context.get_logits_ith(at as i32);
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 =
                logits.iter().map(|logit| f64::from(logit - best).exp()).sum();
            let logit = logits[window[at + 1].0 as usize];
            sum += f64::from(logit - best) - total.ln();
            count += 1;
        }
    }
    println!(
        "{model}: perplexity {:.3} over {count} tokens",
        (-sum / f64::from(count)).exp()
    );
    Ok(())
}
