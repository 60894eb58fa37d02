//! Text to tokens and back, and the model's chat template.

use std::path::Path;
use std::sync::OnceLock;

use llama_cpp_2::LogOptions;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate, LlamaModel};
use llama_cpp_2::sampling::LlamaSampler;
use toktrie::TokEnv;

/// A model's vocabulary and chat template, without its weights: shared by all callers, who
/// write and read tokens on their own threads.
pub(crate) struct Vocabulary {
    model: LlamaModel,
    template: LlamaChatTemplate,
    /// The bytes of each token, markup tokens as their names.
    pieces: Vec<Box<[u8]>>,
    ends: Vec<bool>,
    /// Names of tokens that text must not be able to say, the longest first.
    markup: Vec<(String, u32)>,
    begin: Vec<u32>,
}

/// A part of a rendered conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The template's own words, which may name markup tokens.
    Template(&'a str),
    /// What somebody said: never markup, whatever it spells.
    Said(&'a str),
}

/// Readies llama.cpp, once a process. What it logs goes to `tracing` from here on.
pub(crate) fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        llama_cpp_2::send_logs_to_tracing(LogOptions::default());
        // Someone else in this process may have been first; then it is ready too.
        LlamaBackend::init().unwrap_or(LlamaBackend {})
    })
}

impl Vocabulary {
    /// Reads the vocabulary of a model; `None` if llama.cpp cannot.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        let params = LlamaModelParams::default().with_vocab_only(true);
        let model = LlamaModel::load_from_file(backend(), path, &params).ok()?;
        let vocabulary = model.vocab();
        let mut pieces = Vec::new();
        let mut ends = Vec::new();
        let mut markup = Vec::new();
        for token in vocabulary.tokens() {
            let piece = vocabulary.token_to_piece(token, true, None);
            if vocabulary.is_control(token)
                && let Ok(name) = String::from_utf8(piece.clone())
                && !name.is_empty()
            {
                markup.push((name, token.0.cast_unsigned()));
            }
            ends.push(vocabulary.is_eog(token));
            pieces.push(piece.into_boxed_slice());
        }
        markup.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let begin = vocabulary.bos();
        let begin = if vocabulary.should_add_bos() && begin.0 >= 0 {
            vec![begin.0.cast_unsigned()]
        } else {
            vec![]
        };
        let template = template_of(&model, path);
        Some(Self { model, template, pieces, ends, markup, begin })
    }

    /// The token that begins every prompt, for models that have one.
    pub(crate) fn begin(&self) -> &[u32] {
        &self.begin
    }

    /// Whether a token ends a message.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.get(token as usize).is_some_and(|&ends| ends)
    }

    /// The bytes of a token; `None` if the vocabulary has no such token.
    pub(crate) fn piece(&self, token: u32) -> Option<&[u8]> {
        self.pieces.get(token as usize).map(|piece| &**piece)
    }

    /// The bytes of some tokens; `None` if one of them is not in the vocabulary.
    pub(crate) fn bytes(&self, tokens: &[u32]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(4 * tokens.len());
        for &token in tokens {
            bytes.extend_from_slice(self.piece(token)?);
        }
        Some(bytes)
    }

    /// Whether a message of this text may have been sampled as these tokens. They may say
    /// more: a message is cut where a stop text ends, and a token may not end there.
    pub(crate) fn says(&self, sampled: &[u32], text: &str) -> bool {
        let said = match sampled {
            [said @ .., last] if self.is_end(*last) => said,
            said => said,
        };
        self.bytes(said)
            .is_some_and(|bytes| String::from_utf8_lossy(&bytes).starts_with(text))
    }

    /// Appends the tokens of a text. The parts are read as one text, so that the tokens are
    /// those of ordinary rendering, but only the template's parts can name markup tokens.
    pub(crate) fn tokenise(&self, parts: &[Part<'_>], tokens: &mut Vec<u32>) {
        let mut plain = String::new();
        for part in parts {
            match *part {
                Part::Said(text) => plain.push_str(text),
                Part::Template(mut text) => {
                    while let Some((at, length, token)) = self.first_markup(text) {
                        plain.push_str(&text[..at]);
                        self.tokenise_plain(&mut plain, tokens);
                        tokens.push(token);
                        text = &text[at + length..];
                    }
                    plain.push_str(text);
                }
            }
        }
        self.tokenise_plain(&mut plain, tokens);
    }

    fn first_markup(&self, text: &str) -> Option<(usize, usize, u32)> {
        self.markup
            .iter()
            .filter_map(|(name, token)| {
                Some((text.find(name.as_str())?, name.len(), *token))
            })
            .min_by_key(|&(at, length, _)| (at, std::cmp::Reverse(length)))
    }

    fn tokenise_plain(&self, plain: &mut String, tokens: &mut Vec<u32>) {
        if !plain.is_empty() {
            let read = self.model.vocab().tokenize(plain.as_bytes(), false, false);
            tokens.extend(read.iter().map(|token| token.0.cast_unsigned()));
            plain.clear();
        }
    }

    /// What the chat template writes before, between and after messages of these roles: one
    /// text more than there are roles. The last one opens the model's own message.
    pub(crate) fn frames(&self, roles: &[&str]) -> Result<Vec<String>, String> {
        // Marks stand for what is said. They are private characters that no template writes,
        // and what is said never passes through the template at all.
        let mark = |index: usize| format!("\u{f0000}{index}\u{f0001}");
        let messages: Result<Vec<_>, _> = roles
            .iter()
            .enumerate()
            .map(|(index, role)| LlamaChatMessage::new((*role).to_owned(), mark(index)))
            .collect();
        let messages = messages.map_err(|error| error.to_string())?;
        let rendered = self
            .model
            .apply_chat_template(&self.template, &messages, true)
            .map_err(|error| format!("chat template: {error}"))?;
        let mut frames = Vec::with_capacity(roles.len() + 1);
        let mut rest = rendered.as_str();
        for (index, role) in roles.iter().enumerate() {
            let (frame, after) = rest.split_once(&mark(index)).ok_or_else(|| {
                format!("the chat template leaves out a message of role {role}")
            })?;
            frames.push(frame.to_owned());
            rest = after;
        }
        frames.push(rest.to_owned());
        Ok(frames)
    }

    /// The vocabulary as llguidance wants it.
    pub(crate) fn token_environment(&self) -> TokEnv {
        LlamaSampler::llguidance_tok_env(&self.model)
    }

    /// The tokens of a text as llama.cpp reads it whole, markup included.
    #[cfg(test)]
    pub(crate) fn tokenise_whole(&self, text: &str) -> Vec<u32> {
        let read = self.model.vocab().tokenize(text.as_bytes(), false, true);
        read.iter().map(|token| token.0.cast_unsigned()).collect()
    }
}

/// The model's own template where llama.cpp knows it, else ChatML.
fn template_of(model: &LlamaModel, path: &Path) -> LlamaChatTemplate {
    let chatml = || LlamaChatTemplate::new("chatml").expect("the name holds no NUL");
    let path = path.display();
    let Ok(template) = model.chat_template(None) else {
        tracing::warn!("{path} has no chat template: using ChatML");
        return chatml();
    };
    let probe = LlamaChatMessage::new("user".into(), "x".into()).expect("no NUL");
    match model.apply_chat_template(&template, &[probe], true) {
        Ok(text) if text.contains('x') => template,
        _ => {
            tracing::warn!(
                "llama.cpp does not know the chat template of {path}: using ChatML"
            );
            chatml()
        }
    }
}
