//! One request there and one reply back, with patience: retries, waits and bounds.

use std::fmt;
use std::time::Duration;

use plumbline::Digest;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::client::{client, describe};
use crate::complaint::Complaint;
use crate::{ApiKey, BaseUrl, EndpointSettings};

/// Bytes of a refusal that are read: it is there to be shown.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// The way to one server. It never has more than `concurrency_max` requests under way.
pub(crate) struct Transport {
    client: Client,
    url: Url,
    base_url: BaseUrl,
    key: Option<ApiKey>,
    seats: Semaphore,
    request_ms_max: u64,
    retries_max: u32,
    backoff_ms_base: u64,
    backoff_ms_max: u64,
    reply_bytes_max: usize,
}

/// Why there is no reply, after all attempts.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What went wrong in the last attempt.
    pub(crate) reason: Reason,
    /// How many attempts there were.
    pub(crate) attempts: u32,
}

/// What can go wrong in one attempt.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The server answered that it will not.
    Refused { status: StatusCode, complaint: Complaint, retry_after: Option<Duration> },
    /// No connection came about, or it broke.
    Broken(String),
    /// The time of one attempt ran out.
    Late { ms_max: u64 },
    /// The reply is longer than we read.
    Long { bytes_max: usize },
    /// The reply is not JSON.
    Garbage(String),
}

impl Transport {
    /// A transport to `path` under the settings' base address.
    pub(crate) fn new(
        settings: &EndpointSettings,
        path: &str,
        key: Option<ApiKey>,
    ) -> Result<Self, reqwest::Error> {
        // A redirect would carry the question, and maybe the key, where nobody sent it.
        let client =
            client(&settings.base_url, |it| it.redirect(redirect::Policy::none()))?;
        let seats = usize::try_from(settings.concurrency_max.max(1))
            .unwrap_or(Semaphore::MAX_PERMITS)
            .min(Semaphore::MAX_PERMITS);
        Ok(Self {
            client,
            url: settings.base_url.join(path),
            base_url: settings.base_url.clone(),
            key: key.filter(|_| !settings.base_url.names_user()),
            seats: Semaphore::new(seats),
            request_ms_max: settings.request_ms_max,
            retries_max: settings.retries_max,
            backoff_ms_base: settings.backoff_ms_base,
            backoff_ms_max: settings.backoff_ms_max,
            reply_bytes_max: settings.reply_bytes_max,
        })
    }

    /// Posts a body and reads the reply as JSON. Failures that may pass are tried again;
    /// `seed` decides the jitter of the waits.
    ///
    /// A request that waits for its next attempt keeps its seat: a server that is overloaded
    /// should see less of us, not more.
    pub(crate) async fn post(&self, body: &Value, seed: u64) -> Result<Value, Failure> {
        let body = body.to_string();
        let _seat = self.seats.acquire().await.expect("the semaphore is never closed");
        let mut attempts = 0;
        loop {
            let limit = Duration::from_millis(self.request_ms_max);
            let attempt = tokio::time::timeout(limit, self.attempt(body.clone()));
            let reason = match attempt.await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(reason)) => reason,
                Err(_) => Reason::Late { ms_max: self.request_ms_max },
            };
            attempts += 1;
            if !reason.may_pass() || attempts > self.retries_max {
                return Err(Failure { reason, attempts });
            }
            let wait = self.wait(attempts, reason.retry_after(), seed);
            tracing::debug!(url = %self.base_url, %reason, ?wait, "trying again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, body: String) -> Result<Value, Reason> {
        let mut request = self.client.post(self.url.clone());
        request = request.header(CONTENT_TYPE, "application/json").body(body);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.bearer());
        }
        let response = request.send().await.map_err(|e| Reason::Broken(describe(e)))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = retry_after(response.headers());
            let complaint = self.complaint(response).await;
            return Err(Reason::Refused { status, complaint, retry_after });
        }
        let body = read_to(response, self.reply_bytes_max).await?;
        let reply: Value = serde_json::from_slice(&body)
            .or_else(|error| serde_json::from_slice(&paired(&body)).map_err(|_| error))
            .map_err(|error| Reason::Garbage(error.to_string()))?;
        // Some gateways answer 200 and put what their upstream said inside.
        if reply.get("choices").is_none() && reply.get("error").is_some() {
            let code = reply["error"].get("code").and_then(Value::as_u64);
            let status = code
                .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
                .filter(|code| code.is_client_error() || code.is_server_error())
                .unwrap_or(status);
            let complaint = Complaint::read(&self.redact(&reply.to_string()));
            return Err(Reason::Refused { status, complaint, retry_after: None });
        }
        Ok(reply)
    }

    /// The words of a refusal. That they cannot be read is not worth an error of its own.
    async fn complaint(&self, mut response: Response) -> Complaint {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = REFUSAL_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == REFUSAL_BYTES_MAX {
                break;
            }
        }
        Complaint::read(&self.redact(&String::from_utf8_lossy(&body)))
    }

    fn redact(&self, text: &str) -> String {
        let text = self.base_url.redact(text);
        self.key.as_ref().map_or_else(|| text.clone(), |key| key.redact(&text))
    }

    /// How long to wait after so many attempts: what the server asked for, or twice as long
    /// as the time before, and a part that differs from seed to seed, so that those turned
    /// away together do not come back together.
    fn wait(&self, attempts: u32, asked: Option<Duration>, seed: u64) -> Duration {
        let max = Duration::from_millis(self.backoff_ms_max);
        let base = Duration::from_millis(self.backoff_ms_base);
        let jitter = Digest::of_json(&(seed, attempts)).to_u64();
        // 16 of its bits are plenty, and exact in a float.
        let part = f64::from((jitter & 0xffff) as u16) / 65_536.0;
        match asked {
            Some(asked) => asked.min(max).saturating_add(base.mul_f64(part)),
            None => {
                let doubled = base.saturating_mul(1 << (attempts - 1).min(20)).min(max);
                doubled.mul_f64(0.5 + part / 2.0)
            }
        }
    }
}

impl Reason {
    /// Whether another attempt may fare better.
    fn may_pass(&self) -> bool {
        match self {
            Reason::Refused { status, .. } => {
                matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            }
            Reason::Broken(_) | Reason::Late { .. } => true,
            Reason::Long { .. } | Reason::Garbage(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Reason::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Refused { status, complaint, .. } => {
                write!(f, "{status}: {}", complaint.excerpt())
            }
            Reason::Broken(words) => f.write_str(words),
            Reason::Late { ms_max } => write!(f, "no reply within {ms_max} ms"),
            Reason::Long { bytes_max } => {
                write!(f, "the reply is longer than {bytes_max} bytes")
            }
            Reason::Garbage(words) => write!(f, "the reply is not JSON: {words}"),
        }
    }
}

/// The body of a reply, if it is no longer than `bytes_max`.
async fn read_to(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Reason> {
    let long = || Reason::Long { bytes_max };
    let declared = response.content_length().unwrap_or_default();
    if usize::try_from(declared).map_or(true, |declared| declared > bytes_max) {
        return Err(long());
    }
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|e| Reason::Broken(describe(e)))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if chunk.len() > bytes_max - body.len() {
            return Err(long());
        }
        body.extend_from_slice(&chunk);
    }
}

/// The wait that a server asks for, in milliseconds or seconds. Its third form, a date,
/// would need our clocks to agree: then our own backoff serves.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| -> Option<f64> {
        let number: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let ms = number("retry-after-ms");
    let seconds = ms.map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// JSON with every escape that is half of a surrogate pair replaced by the replacement
/// character. A model whose reply was cut in the middle of an emoji leaves one behind, and
/// text in Rust cannot hold it.
fn paired(json: &[u8]) -> Vec<u8> {
    let unit = |at: usize| -> Option<u16> {
        let escape = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
    };
    let (high, low) = (0xd800..0xdc00, 0xdc00..0xe000);
    let mut paired = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        let taken = match unit(at) {
            Some(one) if high.contains(&one) => {
                if unit(at + 6).is_some_and(|two| low.contains(&two)) { 12 } else { 0 }
            }
            Some(one) if low.contains(&one) => 0,
            // Whatever is escaped, a backslash included, begins no escape itself.
            _ if json[at] == b'\\' => 2,
            _ => 1,
        };
        match taken {
            0 => paired.extend_from_slice(b"\\ufffd"),
            taken => paired.extend(json[at..].iter().take(taken)),
        }
        at += if taken == 0 { 6 } else { taken };
    }
    paired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_nothing_else() {
        for (json, expected) in [
            (r#""\ud83d\ude00 \ud83d""#, "\u{1f600} \u{fffd}"),
            (r#""\ude00\ud83dx""#, "\u{fffd}\u{fffd}x"),
            (r#""\\ud83d \"\u00e9""#, "\\ud83d \"\u{e9}"),
        ] {
            let text: String =
                serde_json::from_slice(&paired(json.as_bytes())).expect("valid JSON");
            assert_eq!(text, expected, "{json}");
        }
        assert_eq!(paired(b"\"\\ud8"), b"\"\\ud8");
    }
}
