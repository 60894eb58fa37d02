//! A secret that can be sent, and nothing else.

use std::env;
use std::fmt;

use reqwest::header::HeaderValue;

/// Stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// A bearer token. It is never shown: not by `Debug`, not in an error, not on disk.
#[derive(Clone)]
pub struct ApiKey {
    secret: String,
}

/// Why a token cannot be used. The token itself is not told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{variable} holds characters that no HTTP header can carry")]
pub struct KeyError {
    /// The environment variable it was read from.
    pub variable: String,
}

impl ApiKey {
    /// Reads the first of these environment variables that is set and not empty; `None`
    /// where none is.
    pub fn from_env(variables: &[String]) -> Result<Option<Self>, KeyError> {
        Self::first(variables, |variable| env::var(variable).ok())
    }

    /// As [`from_env`](Self::from_env), from any other place that gives names a value.
    pub fn first(
        variables: &[String],
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, KeyError> {
        for variable in variables {
            let secret = lookup(variable).unwrap_or_default().trim().to_owned();
            if secret.is_empty() {
                continue;
            }
            let sendable = secret.bytes().all(|byte| byte.is_ascii_graphic());
            let key = sendable.then_some(Self { secret });
            return key.map(Some).ok_or_else(|| KeyError { variable: variable.clone() });
        }
        Ok(None)
    }

    /// The value of the `authorization` header, marked so that HTTP libraries keep it out of
    /// their logs and of header compression.
    pub(crate) fn bearer(&self) -> HeaderValue {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.secret))
            .expect("a key is visible ASCII: `first` has checked");
        value.set_sensitive(true);
        value
    }

    /// The text without the secret: servers like to repeat a key they refuse.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.secret, REDACTED)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(values: &[(&str, &str)]) -> Result<Option<ApiKey>, KeyError> {
        let variables = ["PLUMB_API_KEY".to_owned(), "OPENAI_API_KEY".to_owned()];
        ApiKey::first(&variables, |name| {
            let found = values.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_first_variable_that_holds_something_wins() {
        let key = first(&[("PLUMB_API_KEY", " \n"), ("OPENAI_API_KEY", "sk-b\n")])
            .expect("both are sendable")
            .expect("one is set");
        assert_eq!(key.bearer(), "Bearer sk-b");
        assert!(first(&[]).expect("nothing is wrong with nothing").is_none());
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = first(&[("PLUMB_API_KEY", "sk-secret")]).expect("sendable");
        assert_eq!(format!("{key:?}"), "Some([redacted])");
        let key = key.expect("it is set");
        assert!(!format!("{:?}", key.bearer()).contains("sk-secret"));
        assert_eq!(key.redact("bad key sk-secret!"), "bad key [redacted]!");
        let error = first(&[("OPENAI_API_KEY", "sk-sécret")]).expect_err("no header");
        assert!(error.to_string().contains("OPENAI_API_KEY"));
        assert!(!error.to_string().contains("cret"), "{error}");
    }
}
