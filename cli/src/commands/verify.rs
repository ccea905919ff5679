//! `plusminus verify`

use crate::arguments::{Output, VerifyArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;
use plusminus_coordinator::Verified;
use serde_json::json;

pub fn run(arguments: &VerifyArgs) -> Result<Exit, CliError> {
    let directory = arguments.backup.as_ref().unwrap_or(&arguments.state);
    let verified = plusminus_coordinator::verify(directory)?;
    match arguments.output {
        Output::Text => {
            verified.faults.iter().for_each(|fault| terminal::error(fault));
            let more = verified.fault_count - verified.faults.len() as u64;
            if more > 0 {
                terminal::error(&format!("{more} more faults"));
            }
            terminal::note(&format!("{}: {}", directory.display(), describe(&verified)));
        }
        Output::Json => terminal::data(&format!("{}\n", to_json(&verified)))?,
    }
    Ok(if verified.fault_count == 0 { Exit::Success } else { Exit::State })
}

fn describe(verified: &Verified) -> String {
    let rows = verified.rows;
    let mut text = format!(
        "checked {} sweeps, {} jobs, {} epochs, {} results and {} weights files",
        rows.sweeps, rows.jobs, rows.epochs, rows.results, verified.weights
    );
    if let Some(files) = verified.manifest {
        text += &format!(", and {files} files against the manifest");
    }
    if verified.missing_weights > 0 {
        text += &format!(
            " ({} weights files are gone; they are trained again when a job needs them)",
            verified.missing_weights
        );
    }
    if !verified.has_checksums {
        text += " (a store of this older version has no checksums; a coordinator adds them when it opens the store)";
    }
    match verified.fault_count {
        0 => text + ": no fault",
        1 => text + ": 1 fault; `plusminus restore BACKUP --state DIR --force` restores a backup",
        faults => {
            text + &format!(": {faults} faults; `plusminus restore BACKUP --state DIR --force` restores a backup")
        }
    }
}

fn to_json(verified: &Verified) -> serde_json::Value {
    let rows = verified.rows;
    json!({
        "sweeps": rows.sweeps,
        "jobs": rows.jobs,
        "epochs": rows.epochs,
        "results": rows.results,
        "weights": verified.weights,
        "missing_weights": verified.missing_weights,
        "manifest_files": verified.manifest,
        "checksums": verified.has_checksums,
        "fault_count": verified.fault_count,
        "faults": verified.faults,
    })
}
