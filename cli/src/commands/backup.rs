//! `plusminus backup DIR` and `plusminus restore DIR`

use crate::arguments::{BackupArgs, RestoreArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;
use plusminus_coordinator::Copied;

pub fn back_up(arguments: &BackupArgs) -> Result<Exit, CliError> {
    let copied = plusminus_coordinator::backup(&arguments.state, &arguments.to)?;
    terminal::note(&format!("copied {} to {}", describe(&copied), arguments.to.display()));
    Ok(Exit::Success)
}

pub fn restore(arguments: &RestoreArgs) -> Result<Exit, CliError> {
    let copied = plusminus_coordinator::restore(&arguments.from, &arguments.state, arguments.force)?;
    terminal::note(&format!("restored {} to {}", describe(&copied), arguments.state.display()));
    if copied.unverified {
        terminal::note(
            "the backup has no manifest, since an older version wrote it: only its structure and rows could be checked",
        );
    }
    if let Some(replaced) = &copied.replaced {
        terminal::note(&format!("the store that was there before is kept as {}", replaced.display()));
    }
    Ok(Exit::Success)
}

fn describe(copied: &Copied) -> String {
    let count = |number: usize, one: &str, more: &str| format!("{number} {}", if number == 1 { one } else { more });
    let mut text = format!(
        "{}, {} and {}",
        count(copied.sweeps, "sweep", "sweeps"),
        count(copied.finished, "finished job", "finished jobs"),
        count(copied.weights, "weights file", "weights files"),
    );
    if copied.missing > 0 {
        text += &format!(
            " ({} more were missing or damaged; their jobs train again when a child job needs the weights)",
            copied.missing
        );
    }
    text
}
