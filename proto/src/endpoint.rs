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
#[error("invalid coordinator URL `{url}`: {problem}; expected one like http://127.0.0.1:7600")]
pub struct BadUrl {
    /// The given URL.
    pub url: String,
    /// The reason.
    pub problem: String,
}

/// The endpoint at `url`, with keep-alive settings.
///
/// # Errors
/// If `url` is not of the form `http://HOST:PORT`.
pub fn endpoint(url: &str) -> Result<Endpoint, BadUrl> {
    let bad = |problem: String| BadUrl { url: url.to_owned(), problem };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| bad(root_cause(&error)))?;
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("TLS is not supported".to_owned())),
        Some(other) => return Err(bad(format!("unknown scheme `{other}`"))),
        None => return Err(bad("the scheme http:// is missing".to_owned())),
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
            ("127.0.0.1:7600", "the scheme http:// is missing"),
            ("https://127.0.0.1:7600", "TLS is not supported"),
            ("ftp://host", "unknown scheme `ftp`"),
        ] {
            assert_eq!(endpoint(url).unwrap_err().problem, problem);
        }
        assert!(endpoint("not a url").is_err());
        assert!(endpoint("http://127.0.0.1:7600").is_ok());
    }
}
