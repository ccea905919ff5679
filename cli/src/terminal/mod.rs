//! Everything that is drawn. The interface to standard output, standard error, colours and bars is here and nowhere else.

mod problems;
mod progress;

pub use progress::SweepProgress;

use crate::exit::CliError;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use plusminus_core::report::Emphasis;
use std::io::{self, IsTerminal, Write};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();

/// Writes data to standard output. A reader that has gone (`| head`) has had enough.
///
/// # Errors
/// If it cannot be written: a table that is not there must not look like success.
pub fn data(text: &str) -> Result<(), CliError> {
    let mut stdout = anstream::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Io { what: "cannot write to standard output", error })
        }
        _ => Ok(()),
    }
}

/// Writes a line for people to standard error.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{NOTE}note{NOTE:#}: {text}");
}

/// Writes an error to standard error.
pub fn error(error: &CliError) {
    if let CliError::Problems { file, source_text, problems }
    | CliError::PublishedProblems { file, source_text, problems } = error
    {
        let text = problems::render(file, source_text, problems);
        let _ = writeln!(anstream::stderr(), "{text}");
    }
    complain(&error.to_string());
}

/// Writes that something has gone wrong to standard error.
pub fn complain(text: &str) {
    let _ = writeln!(anstream::stderr(), "{ERROR}error{ERROR:#}: {text}");
}

/// How the best cells of a table are set off.
pub fn emphasis() -> Emphasis<'static> {
    if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
        return Emphasis::NONE;
    }
    Emphasis { start: "\x1b[1m", end: "\x1b[0m" }
}

/// Whether standard error shows colours.
pub fn stderr_has_colour() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never && io::stderr().is_terminal()
}
