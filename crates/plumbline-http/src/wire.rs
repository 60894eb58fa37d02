//! The chat completion format: the body of a request, the samples in a reply.

use plumbline::protocol::{Message, Protocol};
use plumbline::{Action, Prompt, Sampling, Tokens, ToolSpec, Usage};
use serde_json::{Map, Value, json};

/// What a request asks for besides the conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// The seed of the first sample.
    pub(crate) seed: u64,
    /// How many samples.
    pub(crate) samples: usize,
    /// Which of the fields that servers may refuse are sent.
    pub(crate) fields: Fields,
}

/// Fields of a request that are left out, or put differently, where a server refuses them:
/// none of them changes the distribution that messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    /// `seed`.
    pub(crate) seed: bool,
    /// `n`, where it is more than 1.
    pub(crate) n: bool,
    /// `logprobs` and `return_token_ids`.
    pub(crate) tokens: bool,
    /// `max_tokens`; OpenAI's newer models know only `max_completion_tokens`.
    pub(crate) max_tokens: bool,
}

/// One message that came back.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    /// The message as the prompt's protocol reads it.
    pub(crate) text: String,
    /// Its tokens, if the server gave ids and log-probabilities that fit together.
    pub(crate) tokens: Option<Tokens>,
}

/// The body of a request.
pub(crate) fn body(
    model: &str,
    sampling: &Sampling,
    prompt: &Prompt<'_>,
    messages: &[Message],
    ask: Ask,
) -> Value {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("model", model.into());
    put("messages", messages.iter().map(message).collect());
    put("temperature", decimal(sampling.temperature));
    if sampling.top_p < 1.0 {
        put("top_p", decimal(sampling.top_p));
    }
    if sampling.min_p > 0.0 {
        put("min_p", decimal(sampling.min_p));
    }
    let limit =
        if ask.fields.max_tokens { "max_tokens" } else { "max_completion_tokens" };
    put(limit, prompt.tokens_max.into());
    if ask.fields.seed {
        put("seed", narrow(ask.seed).into());
    }
    if ask.samples > 1 {
        put("n", ask.samples.into());
    }
    if ask.fields.tokens {
        put("logprobs", true.into());
        put("return_token_ids", true.into());
    }
    let stops = prompt.protocol.stops();
    if prompt.protocol == Protocol::Openai {
        if !prompt.tools.is_empty() {
            put("tools", prompt.tools.iter().map(tool).collect());
            // The last message is shown the same tools and may not call them: without the
            // list the server would render, and read, another prefix.
            if prompt.last {
                put("tool_choice", "none".into());
            }
        }
    } else if !stops.is_empty() {
        put("stop", json!(stops));
    }
    Value::Object(body)
}

/// The samples of a reply, in order. `path` is the tokens of the steps before.
pub(crate) fn samples(
    reply: &Value,
    protocol: Protocol,
    path: &[u32],
) -> Result<Vec<Sample>, &'static str> {
    let choices = reply.get("choices").and_then(Value::as_array);
    let choices = choices.ok_or("the reply has no choices")?;
    if choices.is_empty() {
        return Err("the reply's choices are empty");
    }
    let read = |choice: &Value| {
        let message =
            choice.get("message").ok_or("a choice of the reply has no message")?;
        let text = match protocol {
            Protocol::Openai => assistant_text(message),
            Protocol::SearchR1 | Protocol::React | Protocol::Hermes => {
                restore_stop(protocol, content(message).unwrap_or_default(), choice)
            }
        };
        Ok(Sample { text, tokens: tokens(reply, choice, path) })
    };
    choices.iter().map(read).collect()
}

/// What a reply says it cost; zeros where it does not say.
pub(crate) fn usage(reply: &Value) -> Usage {
    let count = |pointer: &str| reply.pointer(pointer).and_then(Value::as_u64);
    let prompt = count("/usage/prompt_tokens").unwrap_or_default();
    let cached = count("/usage/prompt_tokens_details/cached_tokens").unwrap_or_default();
    Usage {
        prompt_evaluated: prompt.saturating_sub(cached),
        prompt_reused: cached.min(prompt),
        prompt_new: 0,
        sampled: count("/usage/completion_tokens").unwrap_or_default(),
    }
}

/// A seed that every server takes: some hold 32 bits, some signed ones, and llama.cpp reads
/// all ones as "choose one for me". Seeds below 2^31 stay themselves.
fn narrow(seed: u64) -> u64 {
    (seed ^ (seed >> 32)) & 0x7fff_ffff
}

/// The number as people write it: 0.7, where widening the bits gives 0.699999988079071.
fn decimal(number: f32) -> Value {
    let wide: f64 = number.to_string().parse().unwrap_or(f64::from(number));
    wide.into()
}

fn message(message: &Message) -> Value {
    let (role, text) = (message.role(), message.text());
    match message {
        Message::System { .. } | Message::User { .. } => {
            json!({"role": role, "content": text})
        }
        Message::Assistant { calls, .. } if calls.is_empty() => {
            json!({"role": role, "content": text})
        }
        Message::Assistant { calls, .. } => {
            // Arguments that were no JSON are a JSON string here: a server that renders them
            // into a template reads them first, and refuses the whole conversation.
            let calls = calls.iter().map(|call| {
                let function =
                    json!({"name": call.tool, "arguments": call.args.to_string()});
                json!({"id": call.id, "type": "function", "function": function})
            });
            let content = if text.is_empty() { Value::Null } else { text.into() };
            json!({"role": role, "content": content, "tool_calls": calls.collect::<Value>()})
        }
        Message::Tool { call_id, .. } => {
            json!({"role": role, "tool_call_id": call_id, "content": text})
        }
    }
}

fn tool(spec: &ToolSpec) -> Value {
    let ToolSpec { name, description, parameters, .. } = spec;
    let function =
        json!({"name": name, "description": description, "parameters": parameters});
    json!({"type": "function", "function": function})
}

/// The fields of an assistant message that [`Protocol::Openai`] reads, as they came: it
/// copes with what servers put differently, and what the model got wrong, such as arguments
/// that are not JSON, belongs in the record.
fn assistant_text(message: &Value) -> String {
    let mut text = Map::new();
    let said = message.get("content").filter(|said| !said.is_null()).cloned();
    text.insert("content".to_owned(), said.unwrap_or_else(|| content(message).into()));
    for name in ["reasoning", "reasoning_content", "tool_calls"] {
        match message.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.is_empty() => {}
            Some(value) => {
                text.insert(name.to_owned(), value.clone());
            }
        }
    }
    Value::Object(text).to_string()
}

/// The text of a message: a string, or the text parts of a list; a refusal, which the format
/// keeps apart, where there is nothing else.
fn content(message: &Value) -> Option<String> {
    match message.get("content") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            Some(texts.collect())
        }
        _ => message.get("refusal").and_then(Value::as_str).map(str::to_owned),
    }
}

/// Gives a message the stop string back that the server cut off: by OpenAI's rules the text
/// ends before it, while the protocols (and the tokens sampled) end after it.
///
/// Some servers say which string it was (`stop_reason` in vLLM, `matched_stop` in SGLang):
/// then that one is appended, or none where they say that the model ended by itself. Others
/// do not. Then a text that reads well is left alone, and one that is malformed gets the
/// first stop string that makes it readable: most likely the one that was cut off.
fn restore_stop(protocol: Protocol, text: String, choice: &Value) -> String {
    let stops = protocol.stops();
    let stopped = choice.get("finish_reason").and_then(Value::as_str) == Some("stop");
    if !stopped || stops.iter().any(|stop| text.ends_with(stop)) {
        return text;
    }
    let with = |stop: &str| format!("{text}{stop}");
    match choice.get("stop_reason").or_else(|| choice.get("matched_stop")) {
        Some(Value::String(stop)) if stops.contains(&stop.as_str()) => with(stop),
        // Null or a token's id: the model ended its turn.
        Some(_) => text,
        None => {
            let reads = |text: &str| {
                !matches!(protocol.parse(text).action, Action::Malformed { .. })
            };
            if reads(&text) {
                return text;
            }
            let restored = stops.iter().map(|stop| with(stop)).find(|text| reads(text));
            restored.unwrap_or(text)
        }
    }
}

/// The tokens of a choice, in vLLM's fields. All or nothing: ids are never made up, and a
/// log-probability for each sampled id is part of the record.
fn tokens(reply: &Value, choice: &Value, path: &[u32]) -> Option<Tokens> {
    let prompt = choice.get("prompt_token_ids").or_else(|| reply.get("prompt_token_ids"));
    let prompt = ids(prompt?)?;
    let sampled = ids(choice.get("token_ids")?)?;
    let logprobs = choice.pointer("/logprobs/content")?.as_array()?;
    let logprob = |entry: &Value| {
        // The format's 64 bits narrow to the record's 32.
        let logprob = entry.get("logprob")?.as_f64()? as f32;
        logprob.is_finite().then_some(logprob)
    };
    let logprobs: Vec<f32> = logprobs.iter().map(logprob).collect::<Option<_>>()?;
    if logprobs.len() != sampled.len() {
        return None;
    }
    let kept = prompt.iter().zip(path).take_while(|(a, b)| a == b).count();
    Some(Tokens {
        kept: u32::try_from(kept).ok()?,
        prompt: prompt[kept..].to_vec(),
        sampled,
        logprobs,
    })
}

fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |id: &Value| u32::try_from(id.as_u64()?).ok();
    value.as_array()?.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!(decimal(0.7).to_string(), "0.7");
        assert_eq!(narrow(7), 7);
        assert!(narrow(u64::MAX) < 1 << 31);
        assert_ne!(narrow(1 << 40), narrow(1 << 41));
    }

    #[test]
    fn an_assistant_message_is_kept_as_it_came() {
        let text = |message: Value| assistant_text(&message);
        let call = json!([{"index": 0, "id": "c", "type": "function",
            "function": {"name": "open", "arguments": "{broken"}}]);
        let message = json!({"role": "assistant", "content": null, "reasoning": "hm",
            "reasoning_content": null, "tool_calls": call, "audio": null});
        let kept = json!({"content": null, "reasoning": "hm", "tool_calls": call});
        assert_eq!(text(message), kept.to_string());
        let bare = json!({"content": "Paris", "tool_calls": [], "refusal": null});
        assert_eq!(text(bare), r#"{"content":"Paris"}"#);
        let refusal = json!({"content": null, "refusal": "no"});
        assert_eq!(text(refusal), r#"{"content":"no"}"#);
        assert_eq!(text(json!("no object")), r#"{"content":null}"#);
    }

    #[test]
    fn text_may_come_in_parts() {
        let parts = json!({"content": [{"type": "text", "text": "a"}, {"text": "b"}]});
        assert_eq!(content(&parts), Some("ab".into()));
        assert_eq!(content(&json!({"content": 3})), None);
    }

    #[test]
    fn tokens_come_whole_or_not_at_all() {
        let choice = json!({"token_ids": [8, 9], "logprobs": {"content": [
            {"logprob": -0.5}, {"logprob": -0.25}]}});
        let reply = json!({"prompt_token_ids": [1, 2, 3, 4]});
        let found = tokens(&reply, &choice, &[1, 2, 7]).expect("everything is there");
        assert_eq!((found.kept, &found.prompt[..]), (2, &[3, 4][..]));
        assert_eq!(
            (&found.sampled[..], &found.logprobs[..]),
            (&[8, 9][..], &[-0.5, -0.25][..])
        );
        assert_eq!(tokens(&json!({}), &choice, &[]), None, "no ids of the prompt");
        let short =
            json!({"token_ids": [8, 9], "logprobs": {"content": [{"logprob": -1}]}});
        assert_eq!(tokens(&reply, &short, &[]), None, "one log-probability for two");
        let wild = json!({"token_ids": [-1], "logprobs": {"content": [{"logprob": -1}]}});
        assert_eq!(tokens(&reply, &wild, &[]), None, "not an id");
    }

    #[test]
    fn usage_counts_cached_tokens_apart() {
        let reply = json!({"usage": {"prompt_tokens": 100, "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 60}}});
        let Usage { prompt_evaluated, prompt_reused, sampled, .. } = usage(&reply);
        assert_eq!((prompt_evaluated, prompt_reused, sampled), (40, 60, 7));
        assert_eq!(usage(&json!({"usage": null})), Usage::default());
    }
}
