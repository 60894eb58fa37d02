//! How fast a corpus is indexed and searched, and in how much memory.
//!
//! ```text
//! cargo run --release -p plumbline-search --example index_bench -- 200000
//! ```
//!
//! The documents are made up: 100 words each, drawn so that a few words are in nearly every
//! document and most are in a handful, as in any language. The same number makes the same
//! corpus.

#![allow(clippy::print_stdout, reason = "a program that reports figures")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plumbline::{Limits, Scratch, Tool};
use plumbline_search::{Corpus, Index, Search, SearchSettings};
use serde_json::json;

const WORDS: u64 = 100;
const VOCABULARY: f64 = 200_000.0;
const QUERIES: u64 = 2000;
const QUERY_WORDS: u64 = 5;
const EPISODES: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let documents = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 200_000,
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("documents.jsonl");
    write_corpus(&path, documents)?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!("{documents} documents, {:.0} MB", megabytes(fs::metadata(&path)?.len()));

    let memory_before = memory("VmRSS")?;
    let start = Instant::now();
    let corpus = Corpus::open(&path)?;
    println!("digest of the corpus    {:>8.2} s", start.elapsed().as_secs_f64());
    let cache = folder.path().join("cache");
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let index = Index::open_or_build(&corpus, &cache, &|_| {})?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    println!("build                   {seconds:>8.2} s, {cpu:.2} s of processor time");
    println!("                        {:>8.0} documents/s", documents as f64 / seconds);
    let peak = memory("VmHWM")?.saturating_sub(memory_before);
    println!("peak memory of that     {:>8.0} MB", megabytes(peak));
    drop(index);
    let start = Instant::now();
    let index = Index::open_or_build(&corpus, &cache, &|_| {})?;
    println!("open, checksums and all {:>8.2} s", start.elapsed().as_secs_f64());

    for top_k in [5, 20] {
        let mut times = Vec::new();
        let cpu = cpu_seconds()?;
        for query in 0..QUERIES {
            let query = text(documents + query, QUERY_WORDS);
            let start = Instant::now();
            index.search(&query, top_k)?;
            times.push(start.elapsed());
        }
        let cpu = 1e6 * (cpu_seconds()? - cpu) / QUERIES as f64;
        times.sort();
        let at = |share: f64| times[(share * times.len() as f64) as usize];
        let (half, most) = (at(0.5), at(0.99));
        println!(
            "query, top {top_k:>2}           p50 {half:?}, p99 {most:?}, {cpu:.0} µs of processor time"
        );
    }
    for threads in [1, 2] {
        let (rate, longest) = serve(&index, threads, documents)?;
        println!(
            "{EPISODES} episodes, {threads} threads   {rate:>8.0} calls/s, a timer is late by {longest:?} at most"
        );
    }
    Ok(())
}

/// Calls the tool from many tasks at once, as episodes do. Returns calls a second, and how
/// late the runtime noticed a timer meanwhile.
fn serve(
    index: &Arc<Index>,
    threads: usize,
    documents: u64,
) -> Result<(f64, Duration), Box<dyn Error>> {
    let settings = SearchSettings { top_k: 5, top_k_max: 20, passage_chars_max: 600 };
    let search = Arc::new(Search::new(index.clone(), settings));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut episodes = Vec::new();
        for _ in 0..EPISODES {
            let (search, next) = (search.clone(), next.clone());
            episodes.push(tokio::spawn(async move {
                let (mut scratch, limits) = (Scratch::default(), Limits::default());
                loop {
                    let call = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if call >= 2 * QUERIES {
                        return Ok(());
                    }
                    let args = json!({ "query": text(documents + call, QUERY_WORDS) });
                    search.call(&args, &mut scratch, &limits).await?;
                    // An episode has more to do than to search.
                    tokio::task::yield_now().await;
                }
            }));
        }
        let watch = tokio::spawn(async {
            let mut longest = Duration::ZERO;
            loop {
                let due = Instant::now() + Duration::from_millis(5);
                tokio::time::sleep_until(due.into()).await;
                longest = longest.max(due.elapsed());
                LONGEST_US.store(longest.as_micros() as usize, Ordering::Relaxed);
            }
        });
        for episode in episodes {
            episode.await?.map_err(|error: plumbline::ToolError| error)?;
        }
        watch.abort();
        let rate = 2.0 * QUERIES as f64 / start.elapsed().as_secs_f64();
        let longest = LONGEST_US.swap(0, Ordering::Relaxed) as u64;
        Ok((rate, Duration::from_micros(longest)))
    })
}

static LONGEST_US: AtomicUsize = AtomicUsize::new(0);

fn write_corpus(path: &Path, documents: u64) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    for document in 0..documents {
        let title = text(document ^ 0xf1e1d, 3);
        let line = json!({
            "id": format!("d{document}"),
            "title": title,
            "text": text(document, WORDS),
        });
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

/// Some words that depend on the seed alone. The word of rank r has a share of about 1/r.
fn text(seed: u64, words: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    for _ in 0..words {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let uniform = (state >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = VOCABULARY.powf(uniform) as u64;
        if !text.is_empty() {
            text.push(' ');
        }
        spell(rank, &mut text);
    }
    text
}

/// A number as a word: common ones are short.
fn spell(mut number: u64, text: &mut String) {
    const SYLLABLES: [&str; 16] = [
        "ba", "do", "ki", "lu", "me", "na", "po", "ra", "su", "ta", "vi", "wo", "ya",
        "zu", "che", "fi",
    ];
    loop {
        text.push_str(SYLLABLES[(number % 16) as usize]);
        number /= 16;
        if number == 0 {
            return;
        }
    }
}

/// Processor time of this process; unlike the clock, it hardly minds what else is running.
/// 0 where the system does not say.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return Ok(0.0) };
    // The name, in brackets, may have spaces in it: counting begins after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Result<Vec<f64>, _> = fields.skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// A line of this process's status, in bytes; 0 where the system has none.
fn memory(name: &str) -> Result<u64, Box<dyn Error>> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return Ok(0) };
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes.unwrap_or("0").parse::<u64>()? * 1024)
}
