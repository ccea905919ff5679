//! How often a checkpoint is written.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

/// How often a checkpoint is written: at the end of an epoch, of which so many are let pass, or so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointInterval {
    /// After every so many epochs.
    Epochs(NonZeroU32),
    /// After the first epoch that ends so many seconds after the last one was written.
    Seconds(NonZeroU64),
}

impl CheckpointInterval {
    /// Whether one is due so many `epochs` and so much `time` after the last one, or after the training began.
    pub(crate) fn is_due(self, epochs: u32, time: Duration) -> bool {
        match self {
            CheckpointInterval::Epochs(interval) => epochs >= interval.get(),
            CheckpointInterval::Seconds(interval) => time >= Duration::from_secs(interval.get()),
        }
    }
}

impl Default for CheckpointInterval {
    /// A minute: what is lost with a worker is then little beside what it takes to notice.
    fn default() -> Self {
        CheckpointInterval::Seconds(const { NonZeroU64::new(60).expect("it is not 0") })
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

/// No text says how often in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of epochs or a time above 0, such as `10epochs`, `60s`, `5m` or `1h`")]
pub struct InvalidCheckpointInterval;

impl FromStr for CheckpointInterval {
    type Err = InvalidCheckpointInterval;

    fn from_str(text: &str) -> Result<Self, InvalidCheckpointInterval> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidCheckpointInterval)?);
        let seconds = |each| {
            let number: NonZeroU64 = number.parse().map_err(|_| InvalidCheckpointInterval)?;
            number.checked_mul(each).map(CheckpointInterval::Seconds).ok_or(InvalidCheckpointInterval)
        };
        match unit {
            "epoch" | "epochs" => number.parse().map(CheckpointInterval::Epochs).map_err(|_| InvalidCheckpointInterval),
            "s" => seconds(NonZeroU64::MIN),
            "m" => seconds(const { NonZeroU64::new(60).expect("it is not 0") }),
            "h" => seconds(const { NonZeroU64::new(3_600).expect("it is not 0") }),
            _ => Err(InvalidCheckpointInterval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_times_are_read_and_shown() {
        let shown = |text: &str| text.parse::<CheckpointInterval>().map(|interval| interval.to_string());
        for (text, expected) in
            [("10epochs", "10epochs"), ("1epoch", "1epochs"), ("60s", "60s"), ("5m", "300s"), ("2h", "7200s")]
        {
            assert_eq!(shown(text), Ok(expected.to_owned()));
            assert_eq!(shown(expected), Ok(expected.to_owned()), "what is shown is read again");
        }
        assert_eq!(CheckpointInterval::default().to_string(), "60s");
        let wrong =
            ["", "60", "s", "0s", "0epochs", "-1s", "1.5h", "10 epochs", "5d", "99999999999epochs", "+5s", "5ß"];
        for wrong in wrong.into_iter().chain(["18446744073709551615h"]) {
            assert_eq!(shown(wrong), Err(InvalidCheckpointInterval), "{wrong}");
        }
    }

    #[test]
    fn one_is_due_after_so_many_epochs_or_so_much_time_and_not_before() {
        let interval = |text: &str| text.parse::<CheckpointInterval>().unwrap();
        let long = Duration::from_secs(1_000_000);
        assert_eq!([1, 2, 3].map(|epochs| interval("2epochs").is_due(epochs, long)), [false, true, true]);
        let seconds = [59.9, 60.0, 61.0].map(Duration::from_secs_f64);
        assert_eq!(seconds.map(|time| interval("1m").is_due(1_000, time)), [false, true, true]);
    }
}
