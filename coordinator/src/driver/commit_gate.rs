//! Holds effects back until the records that they depend on are durable.
//!
//! The gate does no input or output and reads no clock. The driver and the simulation of clusters both run it.

use plusminus_core::scheduler::{Effect, Event, Heartbeat, Record, Scheduler, Session, WallTime};
use std::collections::{BTreeMap, BTreeSet};

/// Owns the scheduler, the effects of the events since the last commit, and heartbeats that were answered during a commit.
///
/// A round goes like this: [`accept`](CommitGate::accept) events, write the records of [`begin_commit`](CommitGate::begin_commit), and
/// perform the effects of [`committed`](CommitGate::committed). No event is accepted while the records are being written. Heartbeats
/// that arrive meanwhile are answered early, so that no worker loses a lease to a slow disk, and are accepted first in the next round.
#[derive(Debug)]
pub struct CommitGate {
    scheduler: Scheduler,
    /// Records that have not been handed to the store.
    records: Vec<Record>,
    /// Effects that wait for records.
    effects: Vec<Effect>,
    /// Heartbeats that were answered and that the scheduler has not handled: the latest of each session.
    held: BTreeMap<Session, Heartbeat>,
}

/// What an accepted event led to.
#[derive(Debug)]
pub struct Accepted<'g> {
    /// The new records.
    pub records: &'g [Record],
    /// Whether the event had any effect, including records.
    pub has_effects: bool,
}

impl CommitGate {
    /// A gate without effects.
    pub fn new(scheduler: Scheduler) -> Self {
        CommitGate { scheduler, records: Vec::new(), effects: Vec::new(), held: BTreeMap::new() }
    }

    /// The scheduler, whose state may be ahead of the store.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Hands an event to the scheduler and keeps its effects for the current round.
    pub fn accept(&mut self, now: WallTime, event: Event) -> Accepted<'_> {
        let before = self.records.len();
        let effects = self.scheduler.handle(now, event);
        let has_effects = !effects.is_empty();
        for effect in effects {
            match effect {
                Effect::Record(record) => self.records.push(record),
                other => self.effects.push(other),
            }
        }
        Accepted { records: &self.records[before..], has_effects }
    }

    /// The records to commit, in one transaction. If there are none, the round can be completed at once.
    pub fn begin_commit(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Completes the round: its records are durable. Returns the effects to perform.
    pub fn committed(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The renewals among the effects that are held back, to be performed early because the commit takes long.
    pub fn early_renewals(&mut self) -> Vec<Effect> {
        let stopped: BTreeSet<Session> = self.effects.iter().filter_map(stopped_session).collect();
        let is_early = |effect: &Effect| matches!(effect, Effect::Renew(session, _) if !stopped.contains(session));
        let (renewals, held) = std::mem::take(&mut self.effects).into_iter().partition(is_early);
        self.effects = held;
        renewals
    }

    /// Keeps a heartbeat that arrives during a commit for the next round. Returns its answer, unless its worker is about to receive a
    /// stop: the lease of a stopped attempt must not be renewed, since another worker may get the job.
    pub fn hold_heartbeat(&mut self, heartbeat: Heartbeat) -> Option<Effect> {
        let Heartbeat { session, beat, .. } = heartbeat;
        let is_stopped = self.effects.iter().filter_map(stopped_session).any(|stopped| stopped == session);
        let renewal = (!is_stopped).then_some(Effect::Renew(session, beat));
        self.held.insert(session, heartbeat);
        renewal
    }

    /// The number of heartbeats that are held.
    pub fn held_heartbeats(&self) -> usize {
        self.held.len()
    }

    /// The heartbeats that were held, as events to accept before any other.
    pub fn take_held_heartbeats(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.held).into_values().map(Event::Heartbeat).collect()
    }
}

/// The session whose worker the effect stops, if it stops one.
fn stopped_session(effect: &Effect) -> Option<Session> {
    if let Effect::Stop { session, .. } = effect { Some(*session) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_core::id::WorkerName;
    use plusminus_core::scheduler::{DeviceClass, NewCell, NewJob, Policy, Submission, Ticket};

    const NOW: WallTime = WallTime(1);

    /// A gate after a sweep of one job was submitted and two workers connected; the job runs on the first.
    fn gate() -> CommitGate {
        let mut gate = CommitGate::new(Scheduler::new(Policy::default()));
        let (id, cell) = ("a".repeat(32).parse().unwrap(), "c".repeat(32).parse().unwrap());
        let submission = Submission {
            name: "small".parse().unwrap(),
            source: "".into(),
            cells: vec![NewCell { id: cell, configuration: "{}".into() }],
            jobs: vec![NewJob { id, cell, seed: 0, origin: None }],
        };
        gate.accept(NOW, Event::Submit(Ticket(0), submission));
        for session in [1, 2] {
            let (session, worker) = (Session(session), WorkerName(format!("w{session}")));
            let device = DeviceClass::Cpu;
            let (host, holds) = (String::new(), vec![]);
            gate.accept(NOW, Event::Connected { session, worker, host, instance: 1, slots: 1, device, holds });
        }
        assert_eq!(gate.begin_commit().len(), 2, "a submission and an assignment");
        assert!(gate.committed().iter().any(|effect| matches!(effect, Effect::Assign { session: Session(1), .. })));
        gate
    }

    fn heartbeat(session: u64, beat: u64) -> Heartbeat {
        Heartbeat { session: Session(session), beat, holds: vec![] }
    }

    #[test]
    fn a_worker_that_is_about_to_be_stopped_gets_no_early_renewal() {
        let mut gate = gate();
        gate.accept(NOW, Event::Heartbeat(heartbeat(1, 1)));
        gate.accept(NOW, Event::Heartbeat(heartbeat(2, 1)));
        gate.accept(NOW, Event::Cancel(Ticket(1), "small".parse().unwrap()));
        assert_eq!(gate.begin_commit().len(), 1);
        assert_eq!(gate.early_renewals(), [Effect::Renew(Session(2), 1)]);
        assert_eq!(gate.hold_heartbeat(heartbeat(1, 2)), None);
        assert_eq!(gate.hold_heartbeat(heartbeat(2, 2)), Some(Effect::Renew(Session(2), 2)));
        let effects = gate.committed();
        assert_eq!(effects[0], Effect::Renew(Session(1), 1));
        assert!(matches!(effects[1..], [Effect::Stop { session: Session(1), .. }, Effect::Cancelled(_, 1)]));
    }

    #[test]
    fn the_latest_held_heartbeat_of_each_session_is_replayed() {
        let mut gate = gate();
        for (session, beat) in [(2, 1), (1, 1), (2, 2)] {
            gate.hold_heartbeat(heartbeat(session, beat));
        }
        let replayed = [heartbeat(1, 1), heartbeat(2, 2)].map(Event::Heartbeat);
        assert_eq!(gate.take_held_heartbeats(), replayed);
        assert_eq!(gate.held_heartbeats(), 0);
    }
}
