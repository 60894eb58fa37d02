//! The address of a server: what is sent to, and what may be shown.

use std::fmt;

use reqwest::Url;

/// The base address of a server, under which its endpoints lie.
///
/// User name, password and query are used and never shown: gateways put secrets there.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
}

/// Why a text is not the address of a server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    /// It does not say how to talk to the server.
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    /// It cannot be read as a URL.
    #[error("the URL cannot be read: {0}")]
    Unreadable(String),
}

impl BaseUrl {
    /// Reads an address such as `http://127.0.0.1:8000/v1`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|s| ["http", "https"].contains(&&*s.to_ascii_lowercase()))
        {
            return Err(UrlError::Scheme);
        }
        let mut url =
            Url::parse(text).map_err(|error| UrlError::Unreadable(error.to_string()))?;
        url.set_fragment(None);
        Ok(Self { url })
    }

    /// The address of an endpoint under this one; an address that already ends in it is
    /// left alone. It still carries user name, password and query.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        if !base.ends_with(&format!("/{path}")) {
            url.set_path(&format!("{base}/{path}"));
        }
        url
    }

    /// Host and port, as a policy's name shows them.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether it names a user: reqwest then sends that as basic authentication, and a
    /// bearer token beside it would make two answers to one question.
    pub(crate) fn names_user(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    /// The text without the secrets of this address: a server may repeat what it was sent.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secrets = [self.url.password(), self.url.query()];
        let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"))
    }

    /// Whether the server is this machine: no proxy can stand in between.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether what is sent can be read on the way.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url.path().trim_end_matches('/');
        write!(f, "{}://{}{path}", self.url.scheme(), self.host())
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BaseUrl {
        BaseUrl::parse(text).expect("an address")
    }

    #[test]
    fn secrets_are_sent_and_not_shown() {
        let address = url("https://user:pw@example.org:8443/v1/?key=s3cret#x");
        assert_eq!(address.to_string(), "https://example.org:8443/v1");
        assert_eq!(format!("{address:?}"), "https://example.org:8443/v1");
        assert_eq!(address.host(), "example.org:8443");
        let joined = address.join("chat/completions");
        assert_eq!(joined.path(), "/v1/chat/completions");
        assert_eq!(joined.query(), Some("key=s3cret"));
        assert!(address.names_user());
        assert!(!address.redact("pw key=s3cret").contains("s3cret"));
    }

    #[test]
    fn a_complete_address_is_left_alone() {
        let joined = url("http://h/v1/chat/completions/").join("chat/completions");
        assert_eq!(joined.path(), "/v1/chat/completions/");
        assert_eq!(url("http://h").join("x").as_str(), "http://h/x");
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for here in ["http://localhost", "http://127.3.2.1:80", "http://[::1]:8000/v1"] {
            assert!(url(here).is_loopback(), "{here}");
        }
        assert!(!url("http://127.0.0.1.example.org").is_loopback());
    }

    #[test]
    fn what_is_no_address_says_so() {
        for wrong in ["localhost:8000/v1", "ftp://h/v1", "", "http:/h"] {
            assert_eq!(BaseUrl::parse(wrong), Err(UrlError::Scheme), "{wrong}");
        }
        assert!(matches!(BaseUrl::parse("http://[::1"), Err(UrlError::Unreadable(_))));
    }
}
