//! Messages of a worker's session as events and effects of the scheduler.

use crate::convert::{Invalid, attempt_id, attempts, parent_weights, required_attempt};
use crate::limits;
use crate::v1::{self, from_worker, to_worker};
use plusminus_core::display_text;
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::scheduler::{DeviceClass, Effect, Ending, Event, Heartbeat, Report, ReportBody, Session};

/// The number of heartbeats per lease.
const BEATS: u64 = 5;

/// The scheduler event of a worker's message. `None` for a Hello, which opens the session, and for progress, which the scheduler ignores.
///
/// # Errors
/// If a field is missing or malformed.
pub fn event(session: Session, message: from_worker::Message) -> Result<Option<Event>, Invalid> {
    Ok(match message {
        from_worker::Message::Heartbeat(heartbeat) => {
            limits::holds(&heartbeat.holds)?;
            let holds = attempts(&heartbeat.holds)?;
            Some(Event::Heartbeat(Heartbeat { session, beat: heartbeat.beat, holds }))
        }
        from_worker::Message::Report(report) => Some(Event::Reported(session, understood(report)?)),
        from_worker::Message::Draining(_) => Some(Event::Draining(session)),
        from_worker::Message::Devices(devices) => {
            limits::devices(&devices.devices)?;
            Some(Event::Resized(session, slots(&devices.devices)))
        }
        from_worker::Message::Hello(_) | from_worker::Message::Progress(_) => None,
    })
}

/// Converts a report. A malformed one becomes the failure of its attempt; otherwise the worker would send it without end.
fn understood(report: v1::Report) -> Result<Report, Invalid> {
    let (sequence, of) = (report.sequence, required_attempt(report.of.as_ref()));
    Report::try_from(report).or_else(|error| {
        let attempt = of?;
        let message = format!(
            "the worker sent a malformed report: {}; check that worker and coordinator have the same version",
            display_text::shortened(&error.to_string(), 300)
        );
        let failure = Failure::new(FailureKind::Infrastructure, message);
        Ok(Report { sequence, attempt, body: ReportBody::Ended(Ending::Failed(failure)) })
    })
}

/// The total number of slots of these devices.
pub fn slots(devices: &[v1::Device]) -> u32 {
    devices.iter().map(|device| device.slots).fold(0, u32::saturating_add)
}

/// The class of these devices. A worker with a GPU offers no other devices.
pub fn device_class(devices: &[v1::Device]) -> DeviceClass {
    let has_gpu = devices.iter().any(|device| device.name.starts_with("cuda:"));
    if has_gpu { DeviceClass::Gpu } else { DeviceClass::Cpu }
}

/// The terms of a session that a Welcome states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The length of a lease in milliseconds.
    pub lease: u64,
    /// The id of the coordinator's store.
    pub store: u32,
}

/// The message that an effect sends to a worker, with the session; `None` for effects that send none.
pub fn message(effect: &Effect, terms: Terms) -> Option<(Session, to_worker::Message)> {
    Some(match effect {
        Effect::Assign { session, attempt, configuration, seed, parent, keeps } => {
            let assignment = v1::Assignment {
                of: Some(attempt_id(*attempt)),
                configuration: configuration.to_string(),
                seed: *seed,
                parent: parent.map(|file| parent_weights(file.job, file.digest)),
                keeps: keeps.iter().map(ToString::to_string).collect(),
            };
            (*session, to_worker::Message::Assignment(assignment))
        }
        Effect::Stop { session, attempt } => {
            (*session, to_worker::Message::Stop(v1::Stop { of: Some(attempt_id(*attempt)) }))
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
        | Effect::Reinstated(..)
        | Effect::Notice(_)
        | Effect::Refuse(..) => return None,
    })
}
