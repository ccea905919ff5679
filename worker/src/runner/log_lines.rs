//! The lines that a runner writes to its standard error: their level, their job, and which of its warnings are shown.
//!
//! A runner writes a line as `LEVEL job{id=ID}: TEXT`. Two hundred jobs that warn of the same thing warn once.

use crate::agent::BootTime;
use std::collections::BTreeSet;
use std::time::Duration;

/// The number of different warnings that are remembered.
const REMEMBERED: usize = 1_000;
/// The number of warnings that are shown in an interval.
const IN_INTERVAL: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(60);
/// The number of characters by which warnings are compared.
const COMPARED: usize = 300;

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
    /// A line without a level, or with a lower one.
    Other,
}

/// A line of a runner's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogLine<'a> {
    pub level: Level,
    /// The beginning of the job's id.
    pub job: Option<&'a str>,
    pub text: &'a str,
}

impl<'a> LogLine<'a> {
    /// Reads a line. A line in another form has no level.
    pub fn parse(line: &'a str) -> Self {
        let (level, rest) = match line.trim_start().split_once(' ') {
            Some(("ERROR", rest)) => (Level::Error, rest),
            Some(("WARN", rest)) => (Level::Warning, rest),
            _ => return LogLine { level: Level::Other, job: None, text: line },
        };
        let of_job = rest.strip_prefix("job{id=").and_then(|rest| rest.split_once("}: "));
        // `tracing` quotes texts.
        let job = of_job.map(|(job, _)| job.trim_matches('"')).filter(|job| !job.is_empty());
        LogLine { level, job, text: of_job.map_or(rest, |(_, text)| text) }
    }
}

/// What to do with a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Yes,
    /// Yes, and say that further ones are not shown for a while.
    Last,
    No,
}

/// Decides which warnings of a worker's runners are shown: each once, whatever its numbers and ids, and not too many at a time.
#[derive(Debug, Default)]
pub(crate) struct ShownWarnings {
    known: BTreeSet<String>,
    interval_end: BootTime,
    in_interval: u32,
}

impl ShownWarnings {
    pub(super) fn show(&mut self, now: BootTime, text: &str) -> Show {
        let kind = kind(text);
        if self.known.contains(&kind) {
            return Show::No;
        }
        if now >= self.interval_end {
            (self.interval_end, self.in_interval) = (now.after(INTERVAL), 0);
        }
        if self.in_interval >= IN_INTERVAL {
            return Show::No;
        }
        self.in_interval += 1;
        if self.known.len() < REMEMBERED {
            self.known.insert(kind);
        }
        if self.in_interval == IN_INTERVAL { Show::Last } else { Show::Yes }
    }
}

/// The text without what differs from job to job: numbers, and words of hexadecimal digits, such as ids.
fn kind(text: &str) -> String {
    let mut kind = String::new();
    let mut word = String::new();
    let end = |kind: &mut String, word: &mut String| {
        let hexadecimal = word.len() >= 8 && word.chars().all(|letter| letter.is_ascii_hexdigit());
        if hexadecimal {
            kind.push('#');
        } else {
            kind.extend(word.chars().filter(|letter| !letter.is_ascii_digit()));
        }
        word.clear();
    };
    for letter in text.chars().take(COMPARED) {
        if letter.is_alphanumeric() {
            word.push(letter);
        } else {
            end(&mut kind, &mut word);
            kind.push(letter);
        }
    }
    end(&mut kind, &mut word);
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_level_a_job_and_a_text() {
        let line = |level, job, text| LogLine { level, job, text };
        let cases = [
            (" WARN job{id=\"3f2a1b9c\"}: cannot write", line(Level::Warning, Some("3f2a1b9c"), "cannot write")),
            (" WARN job{id=3f2a1b9c}: cannot write", line(Level::Warning, Some("3f2a1b9c"), "cannot write")),
            ("ERROR the device has failed", line(Level::Error, None, "the device has failed")),
            (" WARN job{id=\"\"}: text", line(Level::Warning, None, "text")),
            (" INFO text", line(Level::Other, None, " INFO text")),
            ("WARNING: a library's own", line(Level::Other, None, "WARNING: a library's own")),
            ("WARN", line(Level::Other, None, "WARN")),
            ("", line(Level::Other, None, "")),
        ];
        for (text, expected) in cases {
            assert_eq!(LogLine::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_warning_is_shown_once_whatever_its_job_and_epoch() {
        let mut shown = ShownWarnings::default();
        let text = |job: &str, epoch| format!("cannot write /c/{job} after epoch {epoch}: No space left (os error 28)");
        let now = BootTime(5);
        assert_eq!(shown.show(now, &text("3f2a1b9c0d3f2a1b9c0d3f2a1b9c0d11", 1)), Show::Yes);
        assert_eq!(shown.show(now, &text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 12)), Show::No);
        assert_eq!(shown.show(now.after(10 * INTERVAL), &text("3f2a1b9c0d3f2a1b9c0d3f2a1b9c0d11", 2)), Show::No);
        assert_eq!(shown.show(now, "cannot read /c"), Show::Yes);
    }

    #[test]
    fn only_so_many_warnings_are_shown_at_a_time() {
        let mut shown = ShownWarnings::default();
        let word = |number: u32| "x".repeat(number as usize);
        let answers: Vec<Show> = (1..=30).map(|number| shown.show(BootTime(1), &word(number))).collect();
        assert_eq!(answers.iter().filter(|answer| **answer == Show::Yes).count(), 19);
        assert_eq!((answers[19], answers[20]), (Show::Last, Show::No));
        assert_eq!(shown.show(BootTime(1).after(INTERVAL), &word(25)), Show::Yes, "it was not shown before");
        for minute in 1..=200 {
            (0..IN_INTERVAL).for_each(|number| {
                let text = format!("{} {}", "y".repeat(minute as usize), word(number));
                shown.show(BootTime(1).after(INTERVAL * (minute + 1)), &text);
            });
        }
        assert_eq!(shown.known.len(), REMEMBERED);
    }
}
