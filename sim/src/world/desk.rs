//! The coordinator's part of a cluster. It performs what the shipped commit gate returns, in place of the asynchronous driver.

use super::{START, SimEvent, UserRequest, World};
use crate::coordinator::{Request, TERMS, policy};
use crate::network::Packet;
use crate::plan::Plan;
use crate::promises::Promises;
use plusminus_coordinator::CommitGate;
use plusminus_core::id::WorkerName;
use plusminus_core::scheduler::{Effect, Event, Record, RetrySelection, Scheduler, WallTime};
use plusminus_proto::convert::attempts;
use plusminus_proto::v1::from_worker;
use plusminus_proto::{limits, session};

impl World {
    pub(super) fn start_coordinator(&mut self) -> Result<(), String> {
        if self.coordinator.is_running() {
            return Ok(());
        }
        let records = self.coordinator.disk.records().map_err(|error| error.to_string())?;
        let scheduler = Scheduler::restart(policy(), records, WallTime(self.now));
        self.promises.restarted(&scheduler)?;
        if let Some(before) = self.coordinator.committed.take()
            && before.durable_jobs() != scheduler.state().durable_jobs()
        {
            let (before, after) = (before.durable_jobs(), scheduler.state().durable_jobs());
            return Err(format!("expected {before:?} after a restart, found {after:?}"));
        }
        self.coordinator.gate = Some(CommitGate::new(scheduler));
        self.coordinator.process += 1;
        let process = self.coordinator.process;
        self.after(0, SimEvent::CoordinatorTick(process));
        Ok(())
    }

    /// A user sends a request, or tries again later if the coordinator is down.
    pub(super) fn call(&mut self, call: UserRequest) -> Result<(), String> {
        if !self.coordinator.is_running() {
            self.after(1_000, SimEvent::User(call));
            return Ok(());
        }
        let ticket = self.coordinator.ticket();
        self.calls.insert(ticket, call);
        let event = match call {
            UserRequest::Submit => Event::Submit(ticket, self.plan.submission()),
            UserRequest::Cancel => Event::Cancel(ticket, Plan::sweep()),
            UserRequest::Resume => Event::Resume(ticket, Plan::sweep(), RetrySelection::AllFailed),
        };
        self.coordinator.inbox.push_back(Request::User(event));
        self.serve()
    }

    /// Handles what has arrived. During a commit heartbeats are answered and everything else waits.
    pub(super) fn serve(&mut self) -> Result<(), String> {
        if self.coordinator.writing.is_some() {
            self.answer_heartbeats();
            return Ok(());
        }
        // Heartbeats that arrived during a commit are a round of their own, before anything else.
        let held = self.coordinator.gate.as_mut().map(CommitGate::take_held_heartbeats).unwrap_or_default();
        if !held.is_empty() {
            self.run_round(held);
            if self.coordinator.writing.is_some() {
                self.answer_heartbeats();
                return Ok(());
            }
        }
        let waiting = std::mem::take(&mut self.coordinator.inbox);
        let events: Vec<Event> = waiting.into_iter().filter_map(|request| self.event(request)).collect();
        self.run_round(events);
        Ok(())
    }

    /// Accepts events, and starts their commit. If there is nothing to commit, performs their effects at once.
    fn run_round(&mut self, events: Vec<Event>) {
        let Some(gate) = &mut self.coordinator.gate else { return };
        for event in events {
            gate.accept(WallTime(self.now), event);
        }
        let records = gate.begin_commit();
        if records.is_empty() {
            let effects = gate.committed();
            effects.into_iter().for_each(|effect| self.act(effect));
        } else {
            let slow = self.now < self.coordinator.disk_slow;
            let takes = if slow { self.rng.between(100, 2_500) } else { self.rng.delay(8, 300) };
            self.coordinator.writing = Some(records);
            let process = self.coordinator.process;
            self.after(takes, SimEvent::Committed(process));
        }
    }

    /// Answers the heartbeats that arrived during a commit.
    fn answer_heartbeats(&mut self) {
        let is_heartbeat =
            |request: &Request| matches!(request, Request::Message(_, from_worker::Message::Heartbeat(_)));
        let arrived = std::mem::take(&mut self.coordinator.inbox);
        let (heartbeats, waiting): (Vec<_>, Vec<_>) = arrived.into_iter().partition(is_heartbeat);
        self.coordinator.inbox.extend(waiting);
        for request in heartbeats {
            if let Some(Event::Heartbeat(heartbeat)) = self.event(request)
                && let Some(gate) = &mut self.coordinator.gate
                && let Some(renewal) = gate.hold_heartbeat(heartbeat)
            {
                self.act(renewal);
            }
        }
    }

    pub(super) fn event(&mut self, request: Request) -> Option<Event> {
        match request {
            Request::User(event) => Some(event),
            Request::Gone(session) => Some(Event::Disconnected(session)),
            Request::Message(session, message) => session::event(session, message).ok().flatten(),
            Request::Hello(connection_id, from_worker::Message::Hello(hello)) => {
                if limits::hello(&hello).is_err() {
                    // The service refuses it.
                    self.after(1, SimEvent::ConnectionLost(connection_id));
                    return None;
                }
                let session = self.coordinator.session();
                match self.network.connections.get_mut(&connection_id) {
                    Some(connection) => connection.session = Some(session),
                    // The connection broke while the `Hello` waited; its end is handled next.
                    None => self.coordinator.inbox.push_back(Request::Gone(session)),
                }
                Some(Event::Connected {
                    session,
                    worker: WorkerName(hello.worker),
                    host: hello.host,
                    instance: hello.instance,
                    slots: session::slots(&hello.devices),
                    device: session::device_class(&hello.devices),
                    holds: attempts(&hello.holds).ok()?,
                })
            }
            Request::Hello(..) => None,
        }
    }

    /// The commit ends, or fails because the disk is full and is retried.
    pub(super) fn committed(&mut self) -> Result<(), String> {
        if self.now < self.coordinator.disk_full {
            let process = self.coordinator.process;
            self.after(1_000, SimEvent::Committed(process));
            let renewals = self.coordinator.gate.as_mut().map(CommitGate::early_renewals).unwrap_or_default();
            renewals.into_iter().for_each(|effect| self.act(effect));
            return Ok(());
        }
        let Some(records) = self.coordinator.writing.take() else { return Ok(()) };
        self.durable(&records)?;
        let effects = self.coordinator.gate.as_mut().map(CommitGate::committed).unwrap_or_default();
        effects.into_iter().for_each(|effect| self.act(effect));
        self.serve()
    }

    pub(super) fn durable(&mut self, records: &[Record]) -> Result<(), String> {
        records.iter().for_each(|record| self.trace.line(self.now - START, format_args!("durable: {record:?}")));
        self.coordinator.disk.commit(records).map_err(|error| error.to_string())?;
        if self.has_flaws() {
            Promises::check_blame(records)?;
        }
        self.promises.committed(&self.plan, records)
    }

    pub(super) fn act(&mut self, effect: Effect) {
        if let Some((session, message)) = session::message(&effect, TERMS) {
            if let Some(connection_id) = self.network.of_session(session) {
                self.send(connection_id, Packet::ToWorker(message));
            }
            return;
        }
        match effect {
            Effect::Disconnect(session) | Effect::Reject(session) => {
                if let Some(connection_id) = self.network.of_session(session) {
                    self.after(1, SimEvent::ConnectionLost(connection_id));
                }
            }
            Effect::Submitted(ticket, _) => {
                self.calls.remove(&ticket);
                self.promises.accept(&self.plan);
            }
            Effect::Cancelled(ticket, _) => {
                self.calls.remove(&ticket);
                let after = self.rng.between(10, 20_000);
                self.after(after, SimEvent::User(UserRequest::Submit));
            }
            Effect::Resumed(ticket, _) | Effect::Refuse(ticket, _) => {
                self.calls.remove(&ticket);
            }
            _ => {}
        }
    }
}
