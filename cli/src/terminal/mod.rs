//! Everything that the program prints: data, notes, errors, progress bars, colours. Nothing else writes to standard output or standard error.

mod pipe;
mod problems;
mod progress;

pub use pipe::closed;
pub use progress::SweepProgress;

use crate::error::CliError;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use plusminus_core::display_text;
use plusminus_core::report::Emphasis;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const NOTE: Style = HINT;
const EMPHASIS: Emphasis<'static> = Emphasis { start: "\x1b[1m", end: "\x1b[0m" };

/// Set once the reader of standard output has gone.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Writes data to standard output. If the reader has closed the pipe (`| head`), the rest is discarded.
///
/// # Errors
/// If standard output cannot be written for another reason: a missing table must not look like success.
pub fn data(text: &str) -> Result<(), CliError> {
    write(&display_text::page(text))
}

/// Writes a table to standard output, as [`data`] does. The marks of its emphasised cells stay.
///
/// # Errors
/// As for [`data`].
pub fn table(text: &str) -> Result<(), CliError> {
    let plain = |part: &str| part.split(EMPHASIS.end).map(display_text::page).collect::<Vec<_>>().join(EMPHASIS.end);
    write(&text.split(EMPHASIS.start).map(plain).collect::<Vec<_>>().join(EMPHASIS.start))
}

fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = anstream::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            READER_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(CliError::Io { what: "cannot write to standard output", error }),
        Ok(()) => Ok(()),
    }
}

/// Writes data as [`data`] does, on another thread: a reader that does not read must not keep the command from ending. Returns whether
/// there is still a reader.
///
/// # Errors
/// As for [`data`].
pub async fn stream(text: String) -> Result<bool, CliError> {
    let written = tokio::task::spawn_blocking(move || data(&text)).await;
    written.map_err(|error| CliError::Io { what: "cannot write to standard output", error: error.into() })??;
    Ok(!READER_GONE.load(Ordering::Relaxed))
}

/// Writes a note to standard error.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{NOTE}note{NOTE:#}: {}", display_text::message(text));
}

/// Writes a line about an error to standard error.
pub fn error(text: &str) {
    let _ = writeln!(anstream::stderr(), "{ERROR}error{ERROR:#}: {}", display_text::message(text));
}

/// Writes the error that ends the command: the problems of a file beside its lines, the message, and a hint per remedy.
pub fn report(failure: &CliError) {
    let text = failure.to_string();
    match failure {
        CliError::Problems { file, source_text, problems }
        | CliError::PublishedProblems { file, source_text, problems } => {
            let _ = writeln!(anstream::stderr(), "{}", problems::render(file, source_text, problems));
            error(&text);
        }
        _ => {
            let (message, hints) = split_hints(&text);
            error(message);
            for hint in hints {
                let _ = writeln!(anstream::stderr(), "{HINT}hint{HINT:#}: {}", display_text::message(hint));
            }
        }
    }
}

/// Splits the text of an error, `message; remedy; remedy`, into the message and its remedies.
fn split_hints(text: &str) -> (&str, impl Iterator<Item = &str>) {
    let mut parts = text.split("; ");
    (parts.next().unwrap_or_default(), parts)
}

/// Returns how the best cells of a table are emphasised on standard output.
pub fn emphasis() -> Emphasis<'static> {
    if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
        return Emphasis::NONE;
    }
    EMPHASIS
}

/// Returns whether standard error is a terminal that shows colours.
pub fn stderr_has_colour() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never && io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_after_semicolons_become_hints() {
        let (message, hints) =
            split_hints("cannot listen on 127.0.0.1:1: permission denied; give another --listen; or use sudo");
        assert_eq!(message, "cannot listen on 127.0.0.1:1: permission denied");
        assert_eq!(hints.collect::<Vec<_>>(), ["give another --listen", "or use sudo"]);
        assert_eq!(split_hints("no remedy").1.count(), 0);
    }
}
