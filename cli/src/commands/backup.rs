//! `plusminus backup DIR` and `plusminus restore DIR`

use crate::exit::{CliError, Exit};
use crate::terminal;
use plusminus_coordinator::Copied;
use std::path::PathBuf;

/// `backup`
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// Directory to make, which is itself a state directory: `plusminus table SWEEP --state DIR` reads it
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
    /// State directory to copy, whether a coordinator runs on it or not
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE")]
    pub state: PathBuf,
}

/// `restore`
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// Directory that `plusminus backup` has made
    #[arg(value_name = "DIR")]
    pub from: PathBuf,
    /// State directory to put it into
    #[arg(long, value_name = "DIR", default_value = ".plusminus", env = "PLUSMINUS_STATE")]
    pub state: PathBuf,
    /// Put it in the place of sweeps that are there, whose store is kept beside it
    #[arg(long)]
    pub force: bool,
}

pub fn back_up(arguments: &Backup) -> Result<Exit, CliError> {
    let copied = plusminus_coordinator::backup(&arguments.state, &arguments.to)?;
    terminal::note(&format!("{} holds {}", arguments.to.display(), describe(&copied)));
    Ok(Exit::Success)
}

pub fn put_back(arguments: &Restore) -> Result<Exit, CliError> {
    let copied = plusminus_coordinator::restore(&arguments.from, &arguments.state, arguments.force)?;
    terminal::note(&format!("{} holds {} again", arguments.state.display(), describe(&copied)));
    if let Some(replaced) = &copied.replaced {
        terminal::note(&format!("the store that was there is kept as {}", replaced.display()));
    }
    Ok(Exit::Success)
}

fn describe(copied: &Copied) -> String {
    let many = |number: usize, one: &str, more: &str| format!("{number} {}", if number == 1 { one } else { more });
    let mut text = format!(
        "{} with {} and {}",
        many(copied.sweeps, "sweep", "sweeps"),
        many(copied.finished, "finished job", "finished jobs"),
        many(copied.weights, "file of weights", "files of weights"),
    );
    if copied.missing > 0 {
        text += &format!(
            " ({} more were not there or damaged: the jobs that left them are trained again when others build on them)",
            copied.missing
        );
    }
    text
}
