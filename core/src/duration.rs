//! Durations as users write them.

use std::time::Duration;

/// The duration that `text` describes: numbers with units, such as `500ms`, `15s`, `1m30s`, `1.5h` or `1d`; a number alone means
/// seconds. `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units_or_seconds() {
        let milliseconds = |text| parse_duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("500ms", 500),
            ("15s", 15_000),
            ("15", 15_000),
            ("0.3", 300),
            ("0", 0),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1d12h", 129_600_000),
        ] {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
        let wrong = [
            "",
            " ",
            "s",
            "-1",
            "-1s",
            "1x",
            "nan",
            "inf",
            "1e400",
            "1:30",
            "s1",
            "99999999999999999999999d",
            "１s",
            "1 2",
        ];
        for text in wrong {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }
}
