//! `scripted:FILE`: replays messages from a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::Deserialize;

use crate::{Digest, Policy, PolicyError, PolicyId, Prompt, Proposal, Turn};

/// Bytes of a script that are read; a longer one is refused.
const SCRIPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Replays messages from a file. The test double among the policies, and stricter than a
/// model: a step that the script does not foresee is an error.
///
/// A script is JSON Lines. Each line holds the messages of one trajectory, first step first,
/// word for word as the environment's protocol writes them:
///
/// ```json
/// {"question": "Who designed the Bell Tower?", "replies": ["…a search…", "…an answer…"]}
/// {"replies": ["…an answer…"]}
/// ```
///
/// A line with a question serves that question alone; a line without one serves every
/// question that has no line of its own. Several lines for one question are variants.
/// Those whose earlier replies are what the path already holds are in play, and the seed
/// picks among them, so a sample keeps to its variant and a branch can change it. Where no
/// variant foresaw the path (a step was swapped by hand), all of them are in play.
#[derive(Debug)]
pub struct Scripted {
    id: PolicyId,
    by_question: BTreeMap<String, Vec<Vec<String>>>,
    any: Vec<Vec<String>>,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("script {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than a script may be.
    #[error("script {}: more than {bytes_max} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// The most there may be.
        bytes_max: u64,
    },
    /// A line is not of the form that a script's lines have.
    #[error("script {}:{line}: {message}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The file has no line.
    #[error("script {}: no replies in it", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// One line of a script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    question: Option<String>,
    replies: Vec<String>,
}

impl Scripted {
    /// Reads a script. Its id is `scripted:<file stem>+<digest>`, the digest being that of
    /// the file's bytes, shortened.
    pub fn from_file(path: &Path) -> Result<Self, ScriptError> {
        let unreadable = |source| ScriptError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(SCRIPT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > SCRIPT_BYTES_MAX {
            let bytes_max = SCRIPT_BYTES_MAX;
            return Err(ScriptError::TooLong { path: path.to_owned(), bytes_max });
        }
        let stem = path.file_stem().map_or_else(String::new, |s| s.display().to_string());
        let id = PolicyId(format!("scripted:{stem}+{}", Digest::of(&bytes).short()));
        let mut script = Self { id, by_question: BTreeMap::new(), any: vec![] };
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            script.add(line).map_err(|message| ScriptError::Line {
                path: path.to_owned(),
                line: index + 1,
                message,
            })?;
        }
        if script.any.is_empty() && script.by_question.is_empty() {
            return Err(ScriptError::Empty { path: path.to_owned() });
        }
        Ok(script)
    }

    fn add(&mut self, line: &[u8]) -> Result<(), String> {
        let Line { question, replies } =
            serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if replies.is_empty() {
            return Err("replies is empty: give at least one".to_owned());
        }
        match question {
            Some(question) => {
                let question = question.trim().to_owned();
                self.by_question.entry(question).or_default().push(replies);
            }
            None => self.any.push(replies),
        }
        Ok(())
    }

    /// The message due after `turns`, for a sample of this seed.
    fn reply(
        &self,
        question: &str,
        turns: &[Turn<'_>],
        seed: u64,
    ) -> Result<&str, PolicyError> {
        let variants = self.by_question.get(question.trim()).unwrap_or(&self.any);
        let foreseen: Vec<&Vec<String>> = variants
            .iter()
            .filter(|replies| {
                let mut pairs = replies.iter().zip(turns);
                pairs.all(|(reply, turn)| *reply == turn.proposal.text)
            })
            .collect();
        let in_play =
            if foreseen.is_empty() { variants.iter().collect() } else { foreseen };
        let none =
            || PolicyError::Model(format!("{}: no line serves {question:?}", self.id));
        let count = std::num::NonZeroU64::new(in_play.len() as u64).ok_or_else(none)?;
        let variant = usize::try_from(seed % count).expect("less than a vector's length");
        let replies = in_play[variant];
        let step = turns.len();
        replies.get(step).map(String::as_str).ok_or_else(|| {
            PolicyError::Model(format!(
                "{}: the script has {} replies to {question:?} and is asked for step {step} \
                 (the first is 0)",
                self.id,
                replies.len(),
            ))
        })
    }
}

#[async_trait]
impl Policy for Scripted {
    fn id(&self) -> &PolicyId {
        &self.id
    }

    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError> {
        let propose = |seed: &u64| {
            let text = self.reply(prompt.question, &prompt.turns, *seed)?.to_owned();
            let action = prompt.protocol.parse(&text).action;
            Ok(Proposal { text, action, seed: *seed, tokens: None, elided: vec![] })
        };
        seeds.iter().map(propose).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;

    fn script(lines: &str) -> Result<Scripted, ScriptError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("bell.jsonl");
        std::fs::write(&path, lines).expect("the folder is writable");
        Scripted::from_file(&path)
    }

    /// Asks for the message after `texts` and returns it, or the error in words.
    fn reply(script: &Scripted, question: &str, texts: &[&str], seed: u64) -> String {
        let proposal = |text: &&str| Proposal {
            text: (*text).to_owned(),
            action: Action::Malformed { reason: String::new() },
            seed: 0,
            tokens: None,
            elided: vec![],
        };
        let proposals: Vec<Proposal> = texts.iter().map(proposal).collect();
        let turn = |proposal| Turn { proposal, observations: &[] };
        let turns: Vec<Turn<'_>> = proposals.iter().map(turn).collect();
        match script.reply(question, &turns, seed) {
            Ok(text) => text.to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_question_has_its_own_replies_and_the_rest_share_one_line() {
        let script = script(
            r#"{"question": "Who? ", "replies": ["search", "answer"]}

               {"replies": ["shrug"]}"#,
        )
        .expect("a good script");
        assert_eq!(reply(&script, "Who?", &[], 7), "search");
        assert_eq!(reply(&script, " Who?", &["search"], 7), "answer");
        assert_eq!(reply(&script, "When?", &[], 7), "shrug");
        assert!(script.id.0.starts_with("scripted:bell+"), "{}", script.id);
    }

    #[test]
    fn running_out_names_question_and_step() {
        let script =
            script(r#"{"question": "Who?", "replies": ["search"]}"#).expect("good");
        let out = reply(&script, "Who?", &["search"], 0);
        assert!(out.contains("1 replies to \"Who?\"") && out.contains("step 1"), "{out}");
        let unserved = reply(&script, "When?", &[], 0);
        assert!(unserved.contains("no line serves \"When?\""), "{unserved}");
    }

    #[test]
    fn the_seed_picks_a_variant_and_a_sample_keeps_to_it() {
        let script = script(
            r#"{"replies": ["a", "a1"]}
               {"replies": ["b", "b1"]}
               {"replies": ["b", "b2"]}"#,
        )
        .expect("a good script");
        assert_eq!(reply(&script, "?", &[], 0), "a");
        assert_eq!(reply(&script, "?", &[], 1), "b");
        for seed in 0..6 {
            assert_eq!(reply(&script, "?", &["a"], seed), "a1", "seed {seed}");
        }
        assert_eq!(reply(&script, "?", &["b"], 0), "b1");
        assert_eq!(reply(&script, "?", &["b"], 1), "b2");
        assert_eq!(reply(&script, "?", &["swapped"], 2), "b2", "none foresaw the path");
    }

    #[test]
    fn a_bad_script_is_refused_by_file_and_line() {
        let check = |lines: &str, expect: &str| {
            let error = script(lines).expect_err(lines).to_string();
            assert!(error.contains(expect), "{error:?} lacks {expect:?}");
            assert!(error.contains("bell.jsonl"), "{error}");
        };
        check("", "no replies");
        check("{\"replies\": [\"x\"]}\n{\"replies\"", "jsonl:2: EOF");
        check("{\"replies\": []}", "jsonl:1: replies is empty");
        check("{\"reply\": [\"x\"]}", "unknown field `reply`");
        check("{\"replies\": [\"x\", 1]}", "invalid type");
        check("[\"x\"", "jsonl:1");
        assert!(Scripted::from_file(Path::new("no/such/file")).is_err());
    }
}
