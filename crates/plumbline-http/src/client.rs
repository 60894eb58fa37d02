//! The HTTP client that the endpoint and the hub have in common.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};
use rustls::crypto::CryptoProvider;

use crate::BaseUrl;

/// The longest that a connection may take to come about.
const CONNECT_MS_MAX: u64 = 10_000;

/// A client for one server. It trusts what the operating system trusts.
pub(crate) fn client(
    server: &BaseUrl,
    adjust: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, reqwest::Error> {
    // The `rustls` that reqwest is built with here has no default of its own. Whoever
    // installed one before us, another thread included, is welcome.
    if CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("plumbline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX));
        let builder = if server.is_loopback() { builder.no_proxy() } else { builder };
        adjust(builder)
    };
    match builder().build() {
        // A container without certificates can still talk to a server without TLS.
        Err(_) if server.is_plain() => builder().tls_certs_only([]).build(),
        built => built,
    }
}

/// What went wrong on the way, in words: the innermost causes, which name the system's own
/// reason, and never the URL, which may hold a secret.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = error.source();
    // A chain of causes is a handful long; the bound is for the one that is not.
    for _ in 0..8 {
        let Some(inner) = cause else { break };
        let text = inner.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = inner.source();
    }
    words
}
