//! Checks what workers report of jobs that plusminus trains itself: an impossible report must not reach a table.
//!
//! An attempt reports its epochs from 1 to the last, each once; one that resumes from a checkpoint repeats the earlier ones first. After a
//! lost connection a worker may repeat reports, which are the same then, so only the first of each epoch counts.

use super::event::ReportBody;
use super::job_entry::Reported;
use super::record::Ending;
use crate::display_text;
use crate::id::Digest;
use crate::metric::{EpochSelection, Measurements, Metric, Range};
use crate::outcome::Facts;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The most parameters of a network, and the most samples of a part of a data set.
const MOST: usize = 1 << 44;
/// The most classes of a data set.
const MOST_CLASSES: usize = 1 << 16;
/// The longest name of an engine, in characters.
const LONGEST_ENGINE: usize = 200;

/// What is known of the current attempt at a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct AttemptReports {
    /// The epochs of the job; unknown for a job that plusminus does not train itself.
    pub epochs: Option<u32>,
    /// The reports of the attempt so far.
    pub reported: Reported,
}

impl AttemptReports {
    /// An attempt at a job with this configuration in canonical form.
    pub fn of(configuration: &str, reported: Reported) -> Self {
        // Only this field is read, since a configuration is read here at each assignment.
        #[derive(Deserialize)]
        struct Trained {
            epochs: u32,
        }
        let trained = serde_json::from_str::<Trained>(configuration).ok();
        AttemptReports { epochs: trained.map(|trained| trained.epochs), reported }
    }
}

/// What a possible report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// News.
    New,
    /// A repetition of an epoch that is recorded.
    Repeated,
}

/// Why a report is impossible.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Impossible {
    #[error("epoch {found} (expected 1 to {epochs})")]
    Epoch { found: u32, epochs: u32 },
    #[error("epoch {found} (expected epoch {next} first)")]
    Gap { found: u32, next: u32 },
    #[error("{metric} {value} at epoch {epoch} (expected {range})")]
    Value { metric: Metric, value: f64, epoch: u32, range: Range },
    #[error("the end of the training after {found} epochs (expected {epochs})")]
    Incomplete { found: u32, epochs: u32 },
    #[error("a result although a loss was infinite or NaN (expected the failure `diverged`)")]
    FinishedDiverging,
    #[error("a result with {samples} {kind} samples and an epoch without their metrics (expected them in every epoch)")]
    Unmeasured { kind: &'static str, samples: usize },
    #[error("{what} {found} (expected {expected})")]
    Fact { what: &'static str, found: String, expected: String },
}

/// Checks a report of the current attempt at a job whose `wanted` weights its children use.
pub(super) fn check(
    attempt: AttemptReports,
    wanted: &BTreeSet<EpochSelection>,
    body: &ReportBody,
) -> Result<Intake, Impossible> {
    let AttemptReports { epochs: Some(epochs), reported } = attempt else { return Ok(Intake::New) };
    match body {
        ReportBody::Epoch(epoch, measurements) => check_epoch(epochs, reported, *epoch, measurements),
        ReportBody::Ended(Ending::Finished(facts)) => {
            check_complete(epochs, reported, facts)?;
            check_facts(facts, wanted).map(|()| Intake::New)
        }
        ReportBody::Ended(Ending::Failed(_)) => Ok(Intake::New),
    }
}

fn check_epoch(epochs: u32, reported: Reported, found: u32, measurements: &Measurements) -> Result<Intake, Impossible> {
    if !(1..=epochs).contains(&found) {
        return Err(Impossible::Epoch { found, epochs });
    }
    let outside = measurements.iter().find(|(metric, value)| !metric.range().contains(**value));
    if let Some((metric, value)) = outside {
        return Err(Impossible::Value { metric: *metric, value: *value, epoch: found, range: metric.range() });
    }
    match found {
        _ if found <= reported.epochs => Ok(Intake::Repeated),
        _ if found == reported.epochs + 1 => Ok(Intake::New),
        _ => Err(Impossible::Gap { found, next: reported.epochs + 1 }),
    }
}

fn check_complete(epochs: u32, reported: Reported, facts: &Facts) -> Result<(), Impossible> {
    let unmeasured = |kind, samples| Err(Impossible::Unmeasured { kind, samples });
    match facts.samples {
        _ if reported.epochs != epochs => Err(Impossible::Incomplete { found: reported.epochs, epochs }),
        _ if reported.diverging => Err(Impossible::FinishedDiverging),
        samples if samples.test > 0 && reported.untested => unmeasured("test", samples.test),
        samples if samples.validation > 0 && reported.unvalidated => unmeasured("validation", samples.validation),
        _ => Ok(()),
    }
}

fn check_facts(facts: &Facts, wanted: &BTreeSet<EpochSelection>) -> Result<(), Impossible> {
    let within = |what, found: usize, least: usize, most: usize| {
        let expected = || format!("{least} to {most}");
        let outside = || Impossible::Fact { what, found: found.to_string(), expected: expected() };
        (least..=most).contains(&found).then_some(()).ok_or_else(outside)
    };
    within("a number of parameters of", facts.parameters, 1, MOST)?;
    within("a number of training samples of", facts.samples.train, 1, MOST)?;
    within("a number of validation samples of", facts.samples.validation, 0, MOST)?;
    within("a number of test samples of", facts.samples.test, 0, MOST)?;
    within("a number of classes of", facts.transition.classes(), 1, MOST_CLASSES)?;
    let text = |what, text: &str, expected: &str| {
        let found = format!("`{}`", display_text::shortened(text, 80));
        Err(Impossible::Fact { what, found, expected: expected.to_owned() })
    };
    if !(0.0..=1.0).contains(&facts.noise_rate) {
        let found = facts.noise_rate.to_string();
        return Err(Impossible::Fact { what: "a noise rate of", found, expected: "0 to 1".to_owned() });
    }
    let engine = &facts.engine;
    if engine.is_empty() || engine.chars().count() > LONGEST_ENGINE || !engine.chars().all(display_text::is_plain) {
        return text("the engine", engine, &format!("1 to {LONGEST_ENGINE} printable characters"));
    }
    let start = facts.start.as_ref().map(|start| ("the digest of initial weights", &start.digest));
    let digests = [("the digest of weights", &facts.weights), ("the digest of data", &facts.data)];
    for (what, digest) in digests.into_iter().chain(start) {
        if digest.parse::<Digest>().is_err() {
            return text(what, digest, "64 hexadecimal digits");
        }
    }
    match facts.kept.keys().find(|selection| !wanted.contains(*selection)) {
        Some(other) => text("kept weights", &other.to_string(), "only weights that were asked for"),
        None => Ok(()),
    }
}
