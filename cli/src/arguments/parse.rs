//! Parsers of option values: durations, counts, addresses, levels.

use plusminus_core::id::{IdError, WorkerName};
use plusminus_core::parse_duration;
use plusminus_core::sweep_file::TableSpec;
use plusminus_proto::endpoint::with_scheme;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Parses a duration from a millisecond to 30 days, such as `90s` or `1m30s`. A number alone means seconds.
///
/// # Errors
/// Describes the expected form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let in_range = |time: &Duration| (Duration::from_millis(1)..=30 * DAY).contains(time);
    let expected = || "expected a time above 0 and up to 30 days, such as 500ms, 90s, 1m30s, 2h or 1d".to_owned();
    parse_duration(text).filter(in_range).ok_or_else(expected)
}

/// Parses the duration of a lease, from a second to an hour.
///
/// # Errors
/// Describes the expected form.
pub fn lease(text: &str) -> Result<Duration, String> {
    let in_range = |time: &Duration| (SECOND..=HOUR).contains(time);
    let expected = || "expected a time from 1s to 1h, such as 15, 15s or 1m30s".to_owned();
    parse_duration(text).filter(in_range).ok_or_else(expected)
}

/// Parses how long to wait for the coordinator, up to a day.
///
/// # Errors
/// Describes the expected form.
pub fn patience(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time from 0 to 1d, such as 10, 10s or 5m".to_owned();
    parse_duration(text).filter(|time| *time <= DAY).ok_or_else(expected)
}

/// Parses the URL of a coordinator; `HOST:PORT` is one too. A wrong URL is reported when it is used.
///
/// # Errors
/// Never.
pub fn coordinator(text: &str) -> Result<String, Infallible> {
    Ok(with_scheme(text))
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

/// Parses a number of decimals.
///
/// # Errors
/// Describes the expected form.
pub fn decimals(text: &str) -> Result<u8, String> {
    let most = TableSpec::MOST_DECIMALS;
    text.parse().ok().filter(|decimals| *decimals <= most).ok_or_else(|| format!("expected a number from 0 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_bounded_by_what_they_are_for() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for ninety in ["90", "90s", "1m30s", "1.5m"] {
            assert_eq!((duration(ninety), lease(ninety)), (Ok(90 * SECOND), Ok(90 * SECOND)));
            assert_eq!(patience(ninety), Ok(90 * SECOND));
        }
        assert_eq!([duration("720h"), duration("30d")], [Ok(30 * DAY), Ok(30 * DAY)]);
        assert_eq!([patience("0"), patience("1d")], [Ok(Duration::ZERO), Ok(DAY)]);
        assert_eq!([lease("1"), lease("1h")], [Ok(SECOND), Ok(HOUR)]);
        for wrong in ["", "0s", "-1s", "721h", "31d", "1 week 30 days"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0", "999ms", "3601", "1h1s", "1d"] {
            assert!(lease(wrong).is_err(), "{wrong}");
        }
        for wrong in ["-1", "86401", "1d1s", "soon"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn decimals_are_at_most_ten() {
        assert_eq!(["0", "10"].map(decimals), [Ok(0), Ok(10)]);
        assert!(["", "11", "-1", "2.0", "256"].into_iter().all(|wrong| decimals(wrong).is_err()));
    }

    #[test]
    fn localhost_means_the_ipv4_loopback_address() {
        assert_eq!(address("localhost:0").unwrap().to_string(), "127.0.0.1:0");
        assert!(address("localhost").is_err());
    }
}
