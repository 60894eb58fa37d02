//! From a prompt to the tokens the model reads.
//!
//! A conversation is cut at the model's own messages into segments. What lies between two of
//! them (the template's words, observations) is one segment; the model's messages are the
//! tokens it sampled, as recorded, and are never tokenised again. So each step's prompt is
//! an exact extension of what the model has seen, and its cache holds.

use plumbline::protocol::Message;
use plumbline::{PolicyError, Prompt, Tokens};

use crate::cache::common_prefix;
use crate::vocabulary::{Part, Vocabulary};

/// Fewer tokens than these are no room for a message.
const REPLY_TOKENS_MIN: u32 = 64;

/// A prompt as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// All of its tokens.
    pub(crate) tokens: Vec<u32>,
    /// How many of them are those of the path so far.
    pub(crate) kept: u32,
    /// Steps whose observations are replaced by a marker.
    pub(crate) elided: Vec<u32>,
    /// How many tokens the message may take.
    pub(crate) reply_tokens_max: u32,
}

/// Writes a prompt such that it leaves room for a message in a context of `context_tokens`.
///
/// Where it does not fit, the oldest observations are elided, one step after another. What
/// an earlier step of the path had elided stays so, or each step would read another prefix.
/// The newest observations go only if the message had no room at all otherwise.
pub(crate) fn write(
    vocabulary: &Vocabulary,
    prompt: &Prompt<'_>,
    context_tokens: u32,
) -> Result<Written, PolicyError> {
    let minimum = REPLY_TOKENS_MIN.min(prompt.tokens_max);
    let wanted = prompt.tokens_max.min(context_tokens / 4).max(minimum);
    let steps = prompt.turns.len() as u32;
    let mut elided: Vec<u32> = prompt.turns.last().map_or(vec![], |turn| {
        turn.proposal.elided.iter().copied().filter(|&step| step < steps).collect()
    });
    loop {
        let tokens = write_eliding(vocabulary, prompt, &elided)?;
        let length = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        let room = context_tokens.saturating_sub(length);
        let next = (0..steps).find(|&step| {
            let observed = !prompt.turns[step as usize].observations.is_empty();
            observed && !elided.contains(&step)
        });
        match next {
            _ if room >= wanted => {}
            Some(step) if step + 1 < steps || room < minimum => {
                elided.push(step);
                elided.sort_unstable();
                continue;
            }
            _ if room >= minimum => {}
            _ => {
                let tokens_max = context_tokens.saturating_sub(minimum) as usize;
                return Err(PolicyError::Context { tokens: tokens.len(), tokens_max });
            }
        }
        let kept = common_prefix(&path_of(prompt), &tokens) as u32;
        let reply_tokens_max = room.min(prompt.tokens_max);
        return Ok(Written { tokens, kept, elided, reply_tokens_max });
    }
}

/// The tokens of the path so far: what [`Tokens::kept`] counts against.
fn path_of(prompt: &Prompt<'_>) -> Vec<u32> {
    let mut path = Vec::new();
    for tokens in prompt.turns.iter().filter_map(|turn| turn.proposal.tokens.as_ref()) {
        // A record that cannot be true adds nothing, as everywhere else.
        tokens.extend(&mut path);
    }
    path
}

fn write_eliding(
    vocabulary: &Vocabulary,
    prompt: &Prompt<'_>,
    elided: &[u32],
) -> Result<Vec<u32>, PolicyError> {
    let messages = prompt.messages_eliding(elided);
    let roles: Vec<&str> = messages.iter().map(Message::role).collect();
    let frames = vocabulary.frames(&roles).map_err(PolicyError::Model)?;

    let mut writer = Writer { vocabulary, tokens: Vec::new(), is_path: true };
    let mut segment = Vec::new();
    let mut turns = prompt.turns.iter();
    for (message, frame) in messages.iter().zip(&frames) {
        segment.push(Part::Template(frame));
        let own = match message {
            Message::Assistant { .. } => turns.next(),
            _ => None,
        };
        let Some(turn) = own else {
            segment.push(Part::Said(message.text()));
            continue;
        };
        // The proposal's own text: some protocols show its calls beside it, and chat
        // templates know nothing of those.
        let recorded = turn.proposal.tokens.as_ref();
        writer.read(&segment, recorded);
        writer.say(&turn.proposal.text, recorded);
        segment.clear();
    }
    segment.extend(frames.last().map(|frame| Part::Template(frame)));
    writer.read(&segment, None);
    Ok(writer.tokens)
}

/// Puts segments and messages one after the other.
struct Writer<'v> {
    vocabulary: &'v Vocabulary,
    tokens: Vec<u32>,
    /// Whether the tokens so far are those of the recorded path.
    is_path: bool,
}

impl Writer<'_> {
    /// Appends what the model reads before its message: the recorded tokens where they say
    /// the same, which saves reading the text again.
    fn read(&mut self, segment: &[Part<'_>], recorded: Option<&Tokens>) {
        let mut segment = segment.to_vec();
        self.skip_sampled_end(&mut segment);
        let texts = segment.iter().map(|part| match *part {
            Part::Template(text) | Part::Said(text) => text.as_bytes(),
        });
        let text: Vec<u8> = texts.flatten().copied().collect();
        let begin = if self.tokens.is_empty() { self.vocabulary.begin() } else { &[] };
        let says_it = |recorded: &&Tokens| {
            let prompt = recorded.prompt.strip_prefix(begin);
            recorded.kept as usize == self.tokens.len()
                && prompt.and_then(|prompt| self.vocabulary.bytes(prompt)) == Some(text)
        };
        match recorded.filter(|_| self.is_path).filter(says_it) {
            Some(recorded) => self.tokens.extend_from_slice(&recorded.prompt),
            None => {
                self.is_path = false;
                self.tokens.extend_from_slice(begin);
                self.vocabulary.tokenise(&segment, &mut self.tokens);
            }
        }
    }

    /// Appends a message of the model's own: the tokens it sampled, if they say this text.
    fn say(&mut self, text: &str, recorded: Option<&Tokens>) {
        match recorded.filter(|recorded| self.vocabulary.says(&recorded.sampled, text)) {
            Some(recorded) => self.tokens.extend_from_slice(&recorded.sampled),
            None => {
                self.is_path = false;
                self.vocabulary.tokenise(&[Part::Said(text)], &mut self.tokens);
            }
        }
    }

    /// A message that ended with the template's own end token is not ended again.
    fn skip_sampled_end(&self, segment: &mut [Part<'_>]) {
        let Some(&last) = self.tokens.last() else { return };
        let Some(Part::Template(frame)) = segment.first_mut() else { return };
        let end = self.vocabulary.piece(last).and_then(|end| str::from_utf8(end).ok());
        if self.vocabulary.is_end(last)
            && let Some(rest) = end.and_then(|end| frame.strip_prefix(end))
        {
            *frame = rest;
        }
    }
}
