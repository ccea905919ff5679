//! How a peer is reached: the URL, and what keeps a connection honest.

use std::error::Error;
use std::time::Duration;
use tonic::transport::Endpoint;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it lives, by both sides.
pub const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the answer to that may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A URL that is no coordinator's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is no URL of a coordinator ({problem}); expected one like http://127.0.0.1:7600")]
pub struct BadUrl {
    /// What was given.
    pub url: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The coordinator at `url`.
///
/// # Errors
/// If it is not `http://HOST:PORT`.
pub fn endpoint(url: &str) -> Result<Endpoint, BadUrl> {
    let bad = |problem: String| BadUrl { url: url.to_owned(), problem };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| bad(root_cause(&error)))?;
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("there is no TLS yet".to_owned())),
        Some(other) => return Err(bad(format!("unknown scheme `{other}`"))),
        None => return Err(bad("it begins with no http://".to_owned())),
    }
    Ok(endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// What lies behind an error: tonic's own message is "transport error" and no more.
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
    fn what_is_no_url_of_a_coordinator_is_told() {
        for (url, problem) in [
            ("127.0.0.1:7600", "it begins with no http://"),
            ("https://127.0.0.1:7600", "there is no TLS yet"),
            ("ftp://host", "unknown scheme `ftp`"),
        ] {
            assert_eq!(endpoint(url).unwrap_err().problem, problem);
        }
        assert!(endpoint("not a url").is_err());
        assert!(endpoint("http://127.0.0.1:7600").is_ok());
    }
}
