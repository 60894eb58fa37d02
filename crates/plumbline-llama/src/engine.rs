//! The engine: one thread that owns the context and works for all callers at once.
//!
//! Each turn it builds one batch: the prompts that wait to be read, as much as fits, or, when
//! there are none, the latest token of every message being sampled. The weights are walked
//! through once for all of them. The two are kept apart because llama.cpp's attention works
//! on tiles of 64 rows once a batch has as many: the messages' rows, each of another
//! sequence, would make it compute every tile of every sequence in the cache (README.md).
//!
//! With one request at a time every choice depends on the requests alone: batches are cut by
//! counting tokens, never by the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plumbline::protocol::Grammar;
use plumbline::{Sampling, Usage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot};

use crate::cache::{Cache, Edit, common_prefix};
use crate::context::{Context, Row};
use crate::grammar::{Follower, Grammars};
use crate::sampler::{self, Scratch};
use crate::seen::Seen;
use crate::stops::Stops;
use crate::vocabulary::Vocabulary;

/// Requests that wait in the channel; a caller beyond them waits for room in it.
pub(crate) const REQUESTS_MAX: usize = 256;

/// A prompt waits for another one that is being read if it can then reuse so many more
/// tokens than it could now.
const WAIT_TOKENS_MIN: usize = 16;

/// Messages to sample from one prompt.
pub(crate) struct Request {
    /// The prompt; not empty, and short enough for a sequence with room for the message.
    pub(crate) prompt: Vec<u32>,
    /// One message for each.
    pub(crate) seeds: Vec<u64>,
    /// Tokens of each message; at least one.
    pub(crate) tokens_max: u32,
    /// The messages, where they are given and only their log-probabilities are wanted: one for
    /// each seed, none longer than `tokens_max`, none empty.
    pub(crate) given: Option<Vec<Vec<u32>>>,
    /// A message ends right after any of these.
    pub(crate) stops: &'static [&'static str],
    /// What a message must look like.
    pub(crate) grammar: Option<Grammar>,
    /// Where the messages go. A closed one cancels the request.
    pub(crate) reply: oneshot::Sender<Result<Vec<Sample>, String>>,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The tokens sampled, the one that ended the message included.
    pub(crate) tokens: Vec<u32>,
    /// Their log-probabilities.
    pub(crate) logprobs: Vec<f32>,
    /// What they say, without the token that ended it, cut where a stop text ends.
    pub(crate) text: String,
}

/// Counters that callers may read at any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    prompt_evaluated: AtomicU64,
    prompt_reused: AtomicU64,
    prompt_new: AtomicU64,
    sampled: AtomicU64,
}

impl Counters {
    /// The counters as they stand.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            prompt_evaluated: self.prompt_evaluated.load(Ordering::Relaxed),
            prompt_reused: self.prompt_reused.load(Ordering::Relaxed),
            prompt_new: self.prompt_new.load(Ordering::Relaxed),
            sampled: self.sampled.load(Ordering::Relaxed),
        }
    }
}

fn count(counter: &AtomicU64, tokens: usize) {
    counter.fetch_add(tokens as u64, Ordering::Relaxed);
}

/// What the engine is made of.
pub(crate) struct Engine {
    pub(crate) context: Context,
    pub(crate) cache: Cache,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) grammars: Grammars,
    pub(crate) sampling: Sampling,
    pub(crate) counters: Arc<Counters>,
    /// Sequences in use at once.
    pub(crate) sequences_max: usize,
    pub(crate) seen: Seen,
    pub(crate) scratch: Scratch,
}

/// A request being worked on.
struct Job {
    request: Request,
    /// The sequence that reads the prompt, once there is one. It is kept until every message
    /// has begun.
    lead: Option<u32>,
    /// Tokens of the prompt that the lead has been given.
    read: usize,
    /// The logits after the prompt, which every message begins with.
    first: Option<Box<[f32]>>,
    /// Whether a message grows on the lead.
    lead_taken: bool,
    /// The next message to begin.
    next: usize,
    branches: Vec<Branch>,
    samples: Vec<Option<Sample>>,
    failure: Option<String>,
}

/// A message being sampled.
struct Branch {
    index: usize,
    sequence: u32,
    random: ChaCha8Rng,
    follower: Option<Follower>,
    /// The tokens it has to take.
    given: Option<Vec<u32>>,
    stops: Stops,
    bytes: Vec<u8>,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    /// Set when it has ended: how many of the bytes are the message.
    end: Option<usize>,
}

/// A row of logits, and what it is for.
struct Wanted {
    row: u32,
    job: usize,
    /// Which branch grows by it; the prompt's end where there is none.
    branch: Option<usize>,
}

impl Engine {
    /// Works until nobody can send requests any more.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut jobs: Vec<Job> = Vec::new();
        loop {
            if jobs.is_empty() {
                match requests.blocking_recv() {
                    Some(request) => jobs.push(Job::new(request)),
                    None => return,
                }
            }
            // Twice what can be in use: enough to choose whom to read first.
            while jobs.len() < 2 * self.sequences_max
                && let Ok(request) = requests.try_recv()
            {
                jobs.push(Job::new(request));
            }
            self.turn(&mut jobs);
        }
    }

    fn turn(&mut self, jobs: &mut Vec<Job>) {
        for job in jobs.extract_if(.., |job| job.request.reply.is_closed()) {
            self.release(&job);
        }
        let dropped = self.cache.turn();
        apply(&mut self.context, &dropped);
        self.admit(jobs);
        for job in jobs.iter_mut() {
            self.begin_messages(job);
        }
        let wanted = self.fill_batch(jobs);
        if self.context.len() > 0 {
            match self.context.decode() {
                Ok(()) => self.read_rows(jobs, &wanted),
                Err(error) => self.fail(jobs, &error.to_string()),
            }
        } else if !jobs.iter().any(Job::is_done)
            && let Some(job) = jobs.first_mut()
        {
            // The cache is large enough for any one prompt, so this is a fault of ours; an
            // error is better than a thread that turns for ever.
            job.failure = Some("there is no room for the prompt".into());
        }
        for job in jobs.extract_if(.., |job| job.is_done()) {
            self.release(&job);
            job.answer();
        }
    }

    /// Gives sequences to waiting prompts, first come first served, except that a prompt
    /// waits while a longer beginning of it is being read for another.
    fn admit(&mut self, jobs: &mut [Job]) {
        for at in 0..jobs.len() {
            if self.cache.busy() >= self.sequences_max {
                return;
            }
            if !jobs[at].is_waiting() {
                continue;
            }
            let prompt = &jobs[at].request.prompt;
            let held = self.cache.held(prompt);
            let coming = jobs.iter().filter(|job| job.is_reading());
            let coming =
                coming.map(|job| common_prefix(&job.request.prompt, prompt)).max();
            if coming.unwrap_or(0) >= held + WAIT_TOKENS_MIN {
                continue;
            }
            let growth = jobs[at].request.tokens_max as usize;
            // The first to lack room ends the round, or it would be overtaken for ever.
            let Some(lease) = self.cache.acquire(prompt, growth) else { return };
            apply(&mut self.context, &lease.edits);
            count(&self.counters.prompt_new, self.seen.record(prompt));
            count(&self.counters.prompt_reused, lease.reused as usize);
            jobs[at].lead = Some(lease.sequence);
            jobs[at].read = lease.reused as usize;
        }
    }

    /// Begins the messages of a prompt that has been read, as far as there are sequences.
    fn begin_messages(&mut self, job: &mut Job) {
        let (Some(lead), Some(first)) = (job.lead, job.first.take()) else { return };
        while job.failure.is_none() && job.next < job.request.seeds.len() {
            let Some(sequence) = self.sequence_for_message(job, lead) else { break };
            let index = job.next;
            job.next += 1;
            let grown =
                self.begin(&job.request, index, sequence).and_then(|mut branch| {
                    self.grow(&mut branch, &first, &job.request)?;
                    Ok(branch)
                });
            match grown {
                Ok(branch) => job.branches.push(branch),
                Err(message) => {
                    job.failure = Some(message);
                    if sequence != lead {
                        self.cache.release(sequence);
                    }
                }
            }
            self.settle(job);
        }
        if job.next < job.request.seeds.len() {
            job.first = Some(first);
        } else if !job.lead_taken && job.lead.take().is_some() {
            self.cache.release(lead);
        }
    }

    /// The lead where no message grows on it, else a fork of it.
    fn sequence_for_message(&mut self, job: &mut Job, lead: u32) -> Option<u32> {
        if !job.lead_taken {
            job.lead_taken = true;
            apply(&mut self.context, &self.cache.rewind(lead));
            return Some(lead);
        }
        if self.cache.busy() >= self.sequences_max {
            return None;
        }
        let length = job.request.prompt.len() as u32;
        let growth = job.request.tokens_max as usize;
        let (sequence, edits) = self.cache.fork(lead, length, growth)?;
        apply(&mut self.context, &edits);
        Some(sequence)
    }

    fn begin(
        &mut self,
        request: &Request,
        index: usize,
        sequence: u32,
    ) -> Result<Branch, String> {
        let follower =
            request.grammar.as_ref().map(|grammar| self.grammars.follow(grammar));
        Ok(Branch {
            index,
            sequence,
            random: ChaCha8Rng::seed_from_u64(request.seeds[index]),
            follower: follower.transpose().map_err(|error| error.to_string())?,
            given: request.given.as_ref().map(|given| given[index].clone()),
            stops: Stops::new(request.stops),
            bytes: Vec::new(),
            tokens: Vec::new(),
            logprobs: Vec::new(),
            end: None,
        })
    }

    /// Fills the batch with prompts while there are any to read, else with the latest token
    /// of each message.
    fn fill_batch(&mut self, jobs: &mut [Job]) -> Vec<Wanted> {
        self.context.clear();
        let mut wanted = Vec::new();
        for (at, job) in jobs.iter_mut().enumerate() {
            self.push_prompt(at, job, &mut wanted);
        }
        if self.context.len() == 0 {
            for (at, job) in jobs.iter().enumerate() {
                self.push_messages(at, job, &mut wanted);
            }
        }
        wanted
    }

    /// Pushes as much of a job's prompt as there is room for.
    fn push_prompt(&mut self, at: usize, job: &mut Job, wanted: &mut Vec<Wanted>) {
        let Some(sequence) = job.lead.filter(|_| job.is_reading()) else { return };
        let prompt = &job.request.prompt;
        let end = prompt.len().min(job.read + self.context.room() as usize);
        for (index, &token) in prompt.iter().enumerate().take(end).skip(job.read) {
            let is_last = index + 1 == prompt.len();
            let wants = if is_last { Row::Wanted } else { Row::Unwanted };
            let position = self.cache.append(sequence, token);
            let row = self.context.push(token, position, sequence, wants);
            if is_last {
                wanted.push(Wanted { row, job: at, branch: None });
            }
        }
        count(&self.counters.prompt_evaluated, end - job.read);
        job.read = end;
    }

    /// Pushes the latest token of each of a job's messages.
    fn push_messages(&mut self, at: usize, job: &Job, wanted: &mut Vec<Wanted>) {
        for (branch, Branch { sequence, tokens, .. }) in job.branches.iter().enumerate() {
            let token = *tokens.last().expect("a message begins with its first token");
            let position = self.cache.append(*sequence, token);
            let row = self.context.push(token, position, *sequence, Row::Wanted);
            wanted.push(Wanted { row, job: at, branch: Some(branch) });
        }
    }

    fn read_rows(&mut self, jobs: &mut [Job], wanted: &[Wanted]) {
        for &Wanted { row, job, branch } in wanted {
            let job = &mut jobs[job];
            let Some(logits) = self.context.logits(row) else {
                job.failure = Some(format!("llama.cpp has no logits for row {row}"));
                continue;
            };
            let Some(branch) = branch else {
                job.first = Some(logits.into());
                continue;
            };
            let mut chooser = Chooser {
                vocabulary: &self.vocabulary,
                sampling: &self.sampling,
                scratch: &mut self.scratch,
            };
            let tokens_max = job.request.tokens_max;
            if let Err(message) =
                chooser.grow(&mut job.branches[branch], logits, tokens_max)
            {
                job.failure = Some(message);
            }
            count(&self.counters.sampled, usize::from(job.request.given.is_none()));
        }
        for job in jobs {
            self.settle(job);
        }
    }

    fn grow(
        &mut self,
        branch: &mut Branch,
        logits: &[f32],
        request: &Request,
    ) -> Result<(), String> {
        count(&self.counters.sampled, usize::from(request.given.is_none()));
        let mut chooser = Chooser {
            vocabulary: &self.vocabulary,
            sampling: &self.sampling,
            scratch: &mut self.scratch,
        };
        chooser.grow(branch, logits, request.tokens_max)
    }

    /// Takes the messages that have ended out of a job, and their sequences out of use.
    fn settle(&mut self, job: &mut Job) {
        for mut branch in job.branches.extract_if(.., |branch| branch.end.is_some()) {
            let mut path = job.request.prompt.clone();
            path.extend_from_slice(&branch.tokens);
            self.seen.record(&path);
            if job.lead == Some(branch.sequence) && job.next < job.request.seeds.len() {
                job.lead_taken = false;
            } else {
                self.cache.release(branch.sequence);
                job.lead.take_if(|lead| *lead == branch.sequence);
            }
            branch.bytes.truncate(branch.end.unwrap_or(0));
            job.samples[branch.index] = Some(Sample {
                tokens: branch.tokens,
                logprobs: branch.logprobs,
                text: String::from_utf8_lossy(&branch.bytes).into_owned(),
            });
        }
    }

    /// Ends every job that llama.cpp may have been in the middle of.
    fn fail(&mut self, jobs: &mut [Job], message: &str) {
        for job in jobs.iter_mut().filter(|job| !job.is_waiting()) {
            job.failure = Some(message.to_owned());
            for sequence in job.sequences() {
                let edits = self.cache.forget(sequence);
                apply(&mut self.context, &edits);
            }
            job.lead = None;
            job.branches.clear();
        }
    }

    fn release(&mut self, job: &Job) {
        for sequence in job.sequences() {
            self.cache.release(sequence);
        }
    }
}

fn apply(context: &mut Context, edits: &[Edit]) {
    for &edit in edits {
        match edit {
            Edit::Fork { from, to, length } => context.fork(from, to, length),
            Edit::Truncate { sequence, length } => context.truncate(sequence, length),
        }
    }
}

impl Job {
    fn new(request: Request) -> Self {
        let samples = request.seeds.iter().map(|_| None).collect();
        Self {
            request,
            lead: None,
            read: 0,
            first: None,
            lead_taken: false,
            next: 0,
            branches: Vec::new(),
            samples,
            failure: None,
        }
    }

    fn is_waiting(&self) -> bool {
        self.lead.is_none() && self.next == 0 && self.failure.is_none()
    }

    fn is_reading(&self) -> bool {
        self.lead.is_some() && self.read < self.request.prompt.len()
    }

    fn is_done(&self) -> bool {
        self.failure.is_some() || self.samples.iter().all(Option::is_some)
    }

    /// The sequences in use for it.
    fn sequences(&self) -> Vec<u32> {
        let mut sequences: Vec<u32> =
            self.branches.iter().map(|branch| branch.sequence).collect();
        sequences.extend(self.lead.filter(|lead| !sequences.contains(lead)));
        sequences
    }

    fn answer(self) {
        let answer = match self.failure {
            Some(message) => Err(message),
            None => Ok(self.samples.into_iter().flatten().collect()),
        };
        // The caller may have gone in this very moment.
        let _ = self.request.reply.send(answer);
    }
}

/// What a choice needs besides the branch and its logits.
struct Chooser<'e> {
    vocabulary: &'e Vocabulary,
    sampling: &'e Sampling,
    scratch: &'e mut Scratch,
}

impl Chooser<'_> {
    /// Grows a message by one token, and sees whether it has ended.
    fn grow(
        &mut self,
        branch: &mut Branch,
        logits: &[f32],
        tokens_max: u32,
    ) -> Result<(), String> {
        if let Some(given) = &branch.given {
            let token = given[branch.tokens.len()];
            branch.tokens.push(token);
            branch.logprobs.push(sampler::log_probability(logits, token));
            branch.end = (branch.tokens.len() == given.len()).then_some(0);
            return Ok(());
        }
        let allowed = branch.follower.as_mut().map(Follower::allowed);
        let allowed = allowed.transpose().map_err(|error| error.to_string())?;
        // One number a token, used or not: a message depends on its seed and prompt alone.
        let draw: f64 = branch.random.random();
        let token =
            sampler::choose(logits, allowed.as_ref(), self.sampling, draw, self.scratch)
                .ok_or("the model gives no token that may come next a finite logit")?;
        branch.tokens.push(token);
        branch.logprobs.push(sampler::log_probability(logits, token));

        if self.vocabulary.is_end(token) {
            branch.end = Some(branch.bytes.len());
            return Ok(());
        }
        branch.bytes.extend_from_slice(self.vocabulary.piece(token).unwrap_or_default());
        let complete = match &mut branch.follower {
            Some(follower) => {
                follower.accept(token).map_err(|error| error.to_string())?
            }
            None => false,
        };
        branch.end = branch.stops.find(&branch.bytes);
        let is_full = branch.tokens.len() >= tokens_max as usize;
        if branch.end.is_none() && (complete || is_full) {
            branch.end = Some(branch.bytes.len());
        }
        Ok(())
    }
}
