//! Parsers of option values: durations, counts, addresses, levels.

use plusminus_core::id::{IdError, WorkerName};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// Parses a duration with a unit, from a millisecond to 30 days, such as `90s`.
///
/// # Errors
/// Describes the expected form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let number = |(unit, seconds): (&str, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds);
    let seconds = units.into_iter().find_map(number).filter(|seconds| (0.001..=30.0 * 86_400.0).contains(seconds));
    let expected = || "expected a time above 0 and up to 30 days, such as 90s, 10m or 2h".to_owned();
    seconds.map(Duration::from_secs_f64).ok_or_else(expected)
}

/// Parses the name of a worker.
///
/// # Errors
/// Describes the expected form.
pub fn worker_name(text: &str) -> Result<String, IdError> {
    text.parse::<WorkerName>().map(|name| name.0)
}

/// Jobs that train at once on each device; `None` chooses the number automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(pub Option<NonZeroU32>);

/// Parses `auto` or a number of slots.
///
/// # Errors
/// Describes the expected form.
pub fn slots(text: &str) -> Result<Slots, String> {
    match text.parse() {
        _ if text == "auto" => Ok(Slots(None)),
        Ok(number @ 1..=1024) => Ok(Slots(NonZeroU32::new(number))),
        _ => Err("expected `auto` or a number from 1 to 1024".to_owned()),
    }
}

/// Parses a number of threads.
///
/// # Errors
/// Describes the expected form.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 1024);
    number.ok_or_else(|| "expected a number from 1 to 1024".to_owned())
}

/// Parses the level of a statistical test, above 0 and below 1.
///
/// # Errors
/// Describes the expected form.
pub fn level(text: &str) -> Result<f64, String> {
    let level = text.parse().ok().filter(|level: &f64| *level > 0.0 && *level < 1.0);
    level.ok_or_else(|| "expected a number above 0 and below 1, such as 0.05".to_owned())
}

/// Parses a socket address; `localhost:PORT` means 127.0.0.1.
///
/// # Errors
/// Describes the expected form.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:7600".to_owned())
}

/// Parses a number of seconds, up to a day.
///
/// # Errors
/// Describes the expected form.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_end_at_30_days() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("720h"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "90", "0s", "-1s", "721h", "1d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn localhost_means_the_ipv4_loopback_address() {
        assert_eq!(address("localhost:0").unwrap().to_string(), "127.0.0.1:0");
        assert!(address("localhost").is_err());
    }
}
