//! The coordinator's URL, and the timeouts that detect a lost connection.

use std::error::Error;
use std::time::Duration;
use tonic::transport::Endpoint;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often both sides ping an idle connection.
pub const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the answer to a ping may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A malformed coordinator URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid coordinator URL `{url}`: {problem}; expected HOST:PORT or http://HOST:PORT, such as 127.0.0.1:7600")]
pub struct BadUrl {
    /// The given URL.
    pub url: String,
    /// The reason.
    pub problem: String,
}

/// `text` as a URL: `HOST:PORT` stands for `http://HOST:PORT`, and `:PORT` for a coordinator on this host. Anything else is returned as it
/// is; [`endpoint`] then says what is wrong with it.
pub fn with_scheme(text: &str) -> String {
    let text = text.trim();
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit_once(':') {
        Some(("", port)) if is_port(port) => format!("http://127.0.0.1:{port}"),
        Some((_, port)) if is_port(port) && !text.contains('/') => format!("http://{text}"),
        _ => text.to_owned(),
    }
}

/// The endpoint at `url`, with keep-alive settings.
///
/// # Errors
/// If `url` is not of the form `http://HOST:PORT` or `HOST:PORT`.
pub fn endpoint(url: &str) -> Result<Endpoint, BadUrl> {
    let bad = |problem: &str| BadUrl { url: url.to_owned(), problem: problem.to_owned() };
    let whole = with_scheme(url);
    let authority = whole.strip_prefix("http://").unwrap_or_default();
    if !authority.starts_with('[') && authority.matches(':').count() > 1 {
        return Err(bad("an IPv6 address needs brackets, as in [::1]:7600"));
    }
    let endpoint = Endpoint::from_shared(whole).map_err(|error| bad(&root_cause(&error)))?;
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("TLS is not supported")),
        Some(other) => return Err(bad(&format!("unknown scheme `{other}`"))),
        None => return Err(bad("the port is missing")),
    }
    let port = endpoint.uri().authority().map(|authority| authority.as_str().rsplit(':').next().unwrap_or_default());
    if port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())) && endpoint.uri().port_u16().is_none() {
        return Err(bad("expected a port from 0 to 65535"));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// The message of the innermost cause: tonic's own message is only "transport error".
pub fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_coordinator_url_is_an_error() {
        for (url, problem) in [
            ("127.0.0.1", "the port is missing"),
            ("host", "the port is missing"),
            ("7600", "the port is missing"),
            ("::1:7600", "an IPv6 address needs brackets, as in [::1]:7600"),
            ("https://127.0.0.1:7600", "TLS is not supported"),
            ("ftp://host", "unknown scheme `ftp`"),
        ] {
            assert_eq!(endpoint(url).unwrap_err().problem, problem, "{url}");
        }
        for url in ["", "host:", "not a url", "not a url:7600", "http://", "host:99999", "http://host:99999"] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_host_and_a_port_are_a_coordinator_url() {
        for (text, url) in [
            ("127.0.0.1:7600", "http://127.0.0.1:7600"),
            ("localhost:7600", "http://localhost:7600"),
            ("gpu-4.example.org:7600", "http://gpu-4.example.org:7600"),
            ("[::1]:7600", "http://[::1]:7600"),
            (":7600", "http://127.0.0.1:7600"),
            (" 127.0.0.1:7600\n", "http://127.0.0.1:7600"),
            ("http://127.0.0.1:7600", "http://127.0.0.1:7600"),
            ("http://[::1]:7600", "http://[::1]:7600"),
        ] {
            assert_eq!(with_scheme(text), url);
            let uri = endpoint(text).unwrap().uri().to_string();
            assert_eq!(uri.trim_end_matches('/'), url);
        }
    }
}
