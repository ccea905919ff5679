//! How often a checkpoint is written.

use plusminus_core::parse_duration;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

/// How often a checkpoint is written. It is always written at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointInterval {
    /// After this number of epochs.
    Epochs(NonZeroU32),
    /// At the first epoch's end at least this number of seconds after the previous checkpoint.
    Seconds(NonZeroU64),
}

impl CheckpointInterval {
    /// Whether a checkpoint is due that many `epochs` and that much `time` after the previous one, or after the start.
    pub(crate) fn is_due(self, epochs: u32, time: Duration) -> bool {
        match self {
            CheckpointInterval::Epochs(interval) => epochs >= interval.get(),
            CheckpointInterval::Seconds(interval) => time >= Duration::from_secs(interval.get()),
        }
    }
}

impl Default for CheckpointInterval {
    /// One minute. A lost worker then costs little more work than the time until the loss is noticed.
    fn default() -> Self {
        CheckpointInterval::Seconds(const { NonZeroU64::new(60).expect("60 is not 0") })
    }
}

impl fmt::Display for CheckpointInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointInterval::Epochs(epochs) => write!(f, "{epochs}epochs"),
            CheckpointInterval::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// The longest time between checkpoints.
const MOST: Duration = Duration::from_secs(365 * 86_400);

/// The text is not an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of epochs or a time of at least a second, such as `10epochs`, `60s`, `1m30s` or `1h`")]
pub struct InvalidCheckpointInterval;

impl FromStr for CheckpointInterval {
    type Err = InvalidCheckpointInterval;

    fn from_str(text: &str) -> Result<Self, InvalidCheckpointInterval> {
        let epochs = text.strip_suffix("epochs").or_else(|| text.strip_suffix("epoch"));
        if let Some(number) = epochs {
            let plain = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse().ok().filter(|_| plain);
            return number.map(CheckpointInterval::Epochs).ok_or(InvalidCheckpointInterval);
        }
        // A number alone might be meant as epochs.
        let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
        let time = parse_duration(text).filter(|time| has_unit && *time <= MOST);
        let seconds = time.and_then(|time| NonZeroU64::new(time.as_secs_f64().round() as u64));
        seconds.map(CheckpointInterval::Seconds).ok_or(InvalidCheckpointInterval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_times_are_parsed_and_displayed() {
        let displayed = |text: &str| text.parse::<CheckpointInterval>().map(|interval| interval.to_string());
        for (text, expected) in [
            ("10epochs", "10epochs"),
            ("1epoch", "1epochs"),
            ("60s", "60s"),
            ("5m", "300s"),
            ("2h", "7200s"),
            ("1m30s", "90s"),
            ("1.5h", "5400s"),
            ("1d", "86400s"),
            ("1500ms", "2s"),
        ] {
            assert_eq!(displayed(text), Ok(expected.to_owned()));
            assert_eq!(displayed(expected), Ok(expected.to_owned()), "the displayed form parses");
        }
        assert_eq!(CheckpointInterval::default().to_string(), "60s");
        let invalid = [
            "",
            "60",
            "s",
            "0s",
            "400ms",
            "0epochs",
            "+1epochs",
            "-1s",
            "10 epochs",
            "366d",
            "99999999999epochs",
            "5ß",
        ];
        for text in invalid.into_iter().chain(["18446744073709551615h"]) {
            assert_eq!(displayed(text), Err(InvalidCheckpointInterval), "{text}");
        }
    }

    #[test]
    fn a_checkpoint_is_due_after_the_interval_and_not_before() {
        let interval = |text: &str| text.parse::<CheckpointInterval>().unwrap();
        let long = Duration::from_secs(1_000_000);
        assert_eq!([1, 2, 3].map(|epochs| interval("2epochs").is_due(epochs, long)), [false, true, true]);
        let seconds = [59.9, 60.0, 61.0].map(Duration::from_secs_f64);
        assert_eq!(seconds.map(|time| interval("1m").is_due(1_000, time)), [false, true, true]);
    }
}
