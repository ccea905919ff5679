//! What goes over a worker's stream, as events and effects of the coordinator's machine.

use crate::convert::{Invalid, attempt_id, attempts, parent_weights, required_attempt};
use crate::v1::{self, from_worker, to_worker};
use plusminus_core::id::AttemptId;
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::{Effect, Ending, Event, Report, ReportBody, Session};

/// How many heartbeats are wanted in a lease.
const BEATS: u64 = 5;

/// What the machine is told by a message of a worker: nothing by a Hello, which comes once and first, and by progress, which it does
/// not follow.
///
/// # Errors
/// If the message does not say what it must.
pub fn event(session: Session, message: from_worker::Message) -> Result<Option<Event>, Invalid> {
    Ok(match message {
        from_worker::Message::Heartbeat(heartbeat) => {
            let holds = attempts(&heartbeat.holds)?;
            Some(Event::Heartbeat { session, beat: heartbeat.beat, holds })
        }
        from_worker::Message::Report(report) => Some(Event::Reported(session, understood(report)?)),
        from_worker::Message::Draining(_) => Some(Event::Draining(session)),
        from_worker::Message::Devices(devices) => Some(Event::Resized(session, slots(&devices.devices))),
        from_worker::Message::Hello(_) | from_worker::Message::Progress(_) => None,
    })
}

/// A report, or, where it says what cannot be, the end of its attempt: the worker would send it for ever.
fn understood(report: v1::Report) -> Result<Report, Invalid> {
    let (sequence, of) = (report.sequence, required_attempt(report.of.as_ref()));
    Report::try_from(report).or_else(|error| {
        let AttemptId { job, attempt } = of?;
        let message = format!("the worker's report is not understood: {error}; is it of the same version?");
        let failure = Failure::new(FailureKind::Infrastructure, message);
        Ok(Report { sequence, job, attempt, body: ReportBody::Ended(Ending::Failed(failure)) })
    })
}

/// Attempts at once on all these devices.
pub fn slots(devices: &[v1::Device]) -> u32 {
    devices.iter().map(|device| device.slots).fold(0, u32::saturating_add)
}

/// Whether they are GPUs: a worker has no others beside one.
pub fn are_gpus(devices: &[v1::Device]) -> bool {
    devices.iter().any(|device| device.name.starts_with("cuda:"))
}

/// What a worker is told of the coordinator that greets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a lease lasts, in milliseconds.
    pub lease: u64,
    /// Which store takes in what is reported.
    pub store: u32,
}

/// The message that an effect sends to a worker, if it sends one.
pub fn message(effect: &Effect, terms: Terms) -> Option<(Session, to_worker::Message)> {
    Some(match effect {
        Effect::Assign { session, job, attempt, configuration, seed, origin, keeps } => {
            let assignment = v1::Assignment {
                of: Some(attempt_id(AttemptId::new(*job, *attempt))),
                configuration: configuration.to_string(),
                seed: *seed,
                parent: origin.map(|(parent, file)| parent_weights(parent, file)),
                keeps: keeps.iter().map(ToString::to_string).collect(),
            };
            (*session, to_worker::Message::Assignment(assignment))
        }
        Effect::Stop { session, job, attempt } => {
            (*session, to_worker::Message::Stop(v1::Stop { of: Some(attempt_id(AttemptId::new(*job, *attempt))) }))
        }
        Effect::Acknowledge(session, sequence) => {
            (*session, to_worker::Message::Acknowledgement(v1::Acknowledgement { sequence: *sequence }))
        }
        Effect::Welcome(session, past) => {
            let stop = past.iter().copied().map(attempt_id).collect();
            let Terms { lease, store } = terms;
            let welcome = v1::Welcome { heartbeat_milliseconds: lease / BEATS, lease_milliseconds: lease, stop, store };
            (*session, to_worker::Message::Welcome(welcome))
        }
        Effect::Renew(session, beat) => (*session, to_worker::Message::Renewed(v1::Renewed { beat: *beat })),
        Effect::Record(_)
        | Effect::Disconnect(_)
        | Effect::Reject(_)
        | Effect::Submitted(..)
        | Effect::Cancelled(..)
        | Effect::Resumed(..)
        | Effect::Refuse(..) => return None,
    })
}
