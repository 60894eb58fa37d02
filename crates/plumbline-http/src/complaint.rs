//! What a server says when it refuses: every server has its own form for it.

use plumbline::cut;
use serde_json::Value;

/// Bytes of a complaint that an error of ours repeats.
const EXCERPT_BYTES_MAX: usize = 300;

/// Phrases by which servers say that the prompt does not fit, in lower case.
const OVERFLOW_PHRASES: [&str; 8] = [
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "model's context length",
    "available context size",
    "context window",
    "prompt is too long",
    "input is too long",
];

/// A refusal, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Complaint {
    /// The words, codes and types included; the body as it is where no form fits.
    text: String,
    /// The request's field that it is about, where the server says so.
    field: Option<String>,
    /// Sizes that some servers state as fields of their own.
    overflow: Overflow,
}

/// A prompt that does not fit; 0 where the server did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// What the prompt takes, or prompt and message together: servers differ.
    pub(crate) tokens: usize,
    /// What the context holds.
    pub(crate) tokens_max: usize,
}

impl Complaint {
    /// Reads the body of a refusal; any text will do.
    pub(crate) fn read(body: &str) -> Self {
        let json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        // OpenAI puts everything under `error`; older vLLM at the top; Ollama makes `error`
        // a string; FastAPI says `detail`, a string or a list of places and messages.
        let form = json.get("error").filter(|e| e.is_object()).unwrap_or(&json);
        let mut words: Vec<String> = Vec::new();
        for key in ["message", "error", "detail", "code", "type"] {
            match form.get(key) {
                Some(Value::String(text)) => words.push(text.clone()),
                Some(Value::Array(items)) => {
                    words.extend(items.iter().take(16).map(place_and_message));
                }
                _ => {}
            }
        }
        let text = if words.is_empty() { body.to_owned() } else { words.join("; ") };
        let field = form.get("param").and_then(Value::as_str).map(str::to_owned);
        let size = |key: &str| {
            let size = form.get(key).and_then(Value::as_u64).unwrap_or_default();
            usize::try_from(size).unwrap_or(usize::MAX)
        };
        let overflow =
            Overflow { tokens: size("n_prompt_tokens"), tokens_max: size("n_ctx") };
        Self { text, field, overflow }
    }

    /// Whether it is about this field of the request.
    pub(crate) fn names(&self, field: &str) -> bool {
        if self.field.as_deref() == Some(field) {
            return true;
        }
        // A short name such as `n` is an English letter too: only in quotes is it the field.
        let quoted = |quote: char| self.text.contains(&format!("{quote}{field}{quote}"));
        let in_quotes = ['\'', '"', '`'].into_iter().any(quoted);
        in_quotes || (field.len() > 2 && has_word(&self.text, field))
    }

    /// The sizes, if it is about a prompt that does not fit.
    ///
    /// Where they stand in prose, the context's is the number after "context length", and
    /// the prompt's the largest of all: no server names a number above what was asked for.
    pub(crate) fn overflow(&self) -> Option<Overflow> {
        let lower = self.text.to_ascii_lowercase();
        if !OVERFLOW_PHRASES.iter().any(|phrase| lower.contains(phrase)) {
            return None;
        }
        if self.overflow != Overflow::default() {
            return Some(self.overflow);
        }
        let after = lower.split_once("context length").map_or("", |(_, after)| after);
        let tokens = numbers(&lower).max().unwrap_or_default();
        let tokens_max = numbers(after).next().unwrap_or_default();
        Some(Overflow { tokens, tokens_max })
    }

    /// The words on one line, cut to what an error can repeat.
    pub(crate) fn excerpt(&self) -> String {
        let line: String = cut(self.text.clone(), EXCERPT_BYTES_MAX)
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        if line.is_empty() { "(an empty reply)".to_owned() } else { line }
    }
}

/// One item of FastAPI's list: `{"loc": ["body", "seed"], "msg": "…"}`.
fn place_and_message(item: &Value) -> String {
    let place = item.get("loc").and_then(Value::as_array);
    let place: Vec<&str> =
        place.into_iter().flatten().filter_map(Value::as_str).collect();
    let message = item.get("msg").and_then(Value::as_str).unwrap_or_default();
    format!("{}: {message}", place.join("."))
}

/// Whether a text holds a name that is not part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|w| w == word)
}

/// The whole numbers in a text that fit our own, in order.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    let digits = text.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_read_from_fields_and_from_prose() {
        let overflow = |body: &str| Complaint::read(body).overflow();
        let sizes = |tokens, tokens_max| Some(Overflow { tokens, tokens_max });
        let openai = json!({"error": {
            "message": "This model's maximum context length is 4096 tokens. However, you \
                        requested 5000 tokens (4488 in the messages, 512 in the completion).",
            "code": "context_length_exceeded"}});
        assert_eq!(overflow(&openai.to_string()), sizes(5000, 4096));
        let llama = json!({"error": {"code": 400, "type": "exceed_context_size_error",
            "message": "too long", "n_prompt_tokens": 900, "n_ctx": 512}});
        assert_eq!(overflow(&llama.to_string()), sizes(900, 512));
        let sglang = json!({"object": "error", "code": 400,
            "message": "The input (81 tokens) is longer than the model's context length \
                        (64 tokens)."});
        assert_eq!(overflow(&sglang.to_string()), sizes(81, 64));
        let bare = r#"{"error":{"message":"no","code":"context_length_exceeded"}}"#;
        assert_eq!(overflow(bare), sizes(0, 0));
        assert_eq!(overflow("temperature must not exceed 2"), None);
    }

    #[test]
    fn a_field_is_named_by_param_by_place_or_in_words() {
        let names = |body: &str, field| Complaint::read(body).names(field);
        assert!(names(r#"{"error":{"message":"no","param":"seed"}}"#, "seed"));
        let place = r#"{"detail":[{"loc":["body","return_token_ids"],"msg":"Extra"}]}"#;
        assert!(names(place, "return_token_ids"));
        assert!(names("logprobs is not supported", "logprobs"));
        assert!(!names("top_logprobs is not supported", "logprobs"), "another field");
        assert!(names("Unsupported value: 'n' must be 1", "n"));
        assert!(!names("n is a letter in a sentence", "n"));
    }

    #[test]
    fn an_excerpt_is_one_short_line_of_whatever_came() {
        let excerpt = |body: &str| Complaint::read(body).excerpt();
        assert_eq!(excerpt("<html>\n  <b>Bad\tGateway"), "<html> <b>Bad Gateway");
        assert_eq!(excerpt(" \n"), "(an empty reply)");
        assert_eq!(excerpt(r#"{"error":"model not found"}"#), "model not found");
        assert!(excerpt(&"é".repeat(9_999)).len() < 2 * EXCERPT_BYTES_MAX);
    }
}
