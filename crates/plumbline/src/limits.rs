//! Every bound of an episode, in one place: every loop, queue, buffer and wait has one.

use serde::{Deserialize, Serialize};

/// The bounds of an episode and of the calls in it. Bounds that reproduce come first; the
/// two in milliseconds do not, and abort a branch instead of being shown to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Steps of one trajectory.
    pub steps_max: u32,
    /// Tool calls of one trajectory.
    pub calls_max: u32,
    /// Tool calls of one message; the rest get a fault each.
    pub step_calls_max: u32,
    /// Tokens sampled over one trajectory, where the policy counts tokens.
    pub tokens_max: u32,
    /// Tokens sampled for one message.
    pub step_tokens_max: u32,
    /// Malformed messages in a row before the episode ends.
    pub malformed_max: u32,
    /// Bytes of one message that are read; a longer one is malformed.
    pub message_bytes_max: usize,
    /// Bytes of one observation that the model is shown; the cut is marked.
    pub observation_bytes_max: usize,
    /// Instructions a guest may execute in one call, in wasmtime's units of fuel.
    pub fuel_max: u64,
    /// Linear memory of one guest, in bytes.
    pub memory_bytes_max: usize,
    /// Bytes a guest may print in one call.
    pub output_bytes_max: usize,
    /// Bytes of all files that a guest keeps between calls.
    pub files_bytes_max: usize,
    /// Rows of one query's result.
    pub rows_max: u32,
    /// Steps of SQLite's virtual machine that one query may take.
    pub sql_steps_max: u64,
    /// Nodes of the solver's branch-and-bound tree in one call.
    pub nodes_max: u64,
    /// Simplex iterations of the solver in one call.
    pub iterations_max: u64,
    /// Wall clock of one tool call, from when the tool has time for it.
    pub call_ms_max: u64,
    /// Wall clock of one episode.
    pub episode_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps_max: 8,
            calls_max: 16,
            step_calls_max: 4,
            tokens_max: 4096,
            step_tokens_max: 512,
            malformed_max: 3,
            message_bytes_max: 256 * 1024,
            observation_bytes_max: 16 * 1024,
            fuel_max: 50_000_000_000,
            memory_bytes_max: 1 << 30,
            output_bytes_max: 1 << 20,
            files_bytes_max: 16 << 20,
            rows_max: 1000,
            sql_steps_max: 20_000_000,
            nodes_max: 10_000,
            iterations_max: 100_000,
            call_ms_max: 60_000,
            episode_ms_max: 3_600_000,
        }
    }
}

impl Limits {
    /// Tokens that one message may take when a trajectory has sampled so many already.
    pub fn tokens_left(&self, sampled: u64) -> u32 {
        let left = u64::from(self.tokens_max).saturating_sub(sampled);
        u32::try_from(left).unwrap_or(u32::MAX).min(self.step_tokens_max)
    }
}

/// Cuts a text to at most `bytes_max` bytes at a character boundary, and says at the cut how
/// much is missing. The marker comes on top of `bytes_max`.
pub fn cut(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let kept = text.floor_char_boundary(bytes_max);
    let missing = text.len() - kept;
    format!("{}\n[cut: {missing} more bytes]", &text[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_marked_and_keeps_characters_whole() {
        assert_eq!(cut("short".into(), 5), "short");
        assert_eq!(cut("aé".into(), 2), "a\n[cut: 2 more bytes]");
    }
}
