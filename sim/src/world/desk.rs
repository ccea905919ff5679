//! What happens to the coordinator: it takes in what has come, commits it, and acts on it, as the driver does.

use super::{START, SimEvent, UserRequest, World};
use crate::coordinator::{Request, Round, TERMS, policy};
use crate::network::Packet;
use crate::plan::Plan;
use plusminus_core::id::WorkerName;
use plusminus_core::scheduler::{Again, Effect, Event, Record, Scheduler, WallTime};
use plusminus_proto::convert::attempts;
use plusminus_proto::session;
use plusminus_proto::v1::from_worker;

impl World {
    pub(super) fn start_coordinator(&mut self) -> Result<(), String> {
        if self.coordinator.machine.is_some() {
            return Ok(());
        }
        let records = self.coordinator.disk.records().map_err(|error| error.to_string())?;
        let machine = Scheduler::restart(policy(), records, WallTime(self.now));
        self.promises.restarted(&machine)?;
        if let Some(before) = self.coordinator.committed.take()
            && before.essence() != machine.state().essence()
        {
            let (before, after) = (before.essence(), machine.state().essence());
            return Err(format!("a restart should lead to {before:?} and leads to {after:?}"));
        }
        self.coordinator.machine = Some(machine);
        self.coordinator.process += 1;
        let process = self.coordinator.process;
        self.after(0, SimEvent::CoordinatorTick(process));
        Ok(())
    }

    /// A user calls, and calls again where nobody is there.
    pub(super) fn call(&mut self, call: UserRequest) -> Result<(), String> {
        if self.coordinator.machine.is_none() {
            self.after(1_000, SimEvent::User(call));
            return Ok(());
        }
        let ticket = self.coordinator.ticket();
        self.calls.insert(ticket, call);
        let event = match call {
            UserRequest::Submit => Event::Submit(ticket, self.plan.submission()),
            UserRequest::Cancel => Event::Cancel(ticket, Plan::sweep()),
            UserRequest::Resume => Event::Resume(ticket, Plan::sweep(), Again::Failed),
        };
        self.coordinator.inbox.push_back(Request::User(event));
        self.serve()
    }

    /// Takes in what has come. While a commit is under way heartbeats are answered, and nothing else is taken in.
    pub(super) fn serve(&mut self) -> Result<(), String> {
        if let Some(round) = &self.coordinator.round {
            let mut answered = Vec::new();
            for request in &self.coordinator.inbox {
                let Request::Message(session, from_worker::Message::Heartbeat(heartbeat)) = request else { continue };
                // Who is about to be told to stop something is not told to go on.
                let stops = |effect: &Effect| matches!(effect, Effect::Stop { session: s, .. } if s == session);
                if !round.effects.iter().any(stops) {
                    answered.push(Effect::Renew(*session, heartbeat.beat));
                }
            }
            let beats = |request: &Request| matches!(request, Request::Message(_, from_worker::Message::Heartbeat(_)));
            let waiting = std::mem::take(&mut self.coordinator.inbox);
            let (held, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(beats);
            self.coordinator.inbox.extend(waiting);
            self.coordinator.held.extend(held);
            answered.into_iter().for_each(|effect| self.act(effect));
            return Ok(());
        }
        let mut round = Round::default();
        // Time passes only after what workers have said meanwhile.
        let held = std::mem::take(&mut self.coordinator.held);
        let waiting = std::mem::take(&mut self.coordinator.inbox);
        for request in held.into_iter().chain(waiting) {
            let Some(event) = self.event(request) else { continue };
            let Some(machine) = &mut self.coordinator.machine else { return Ok(()) };
            for effect in machine.handle(WallTime(self.now), event) {
                match effect {
                    Effect::Record(record) => round.records.push(record),
                    other => round.effects.push(other),
                }
            }
        }
        if round.records.is_empty() {
            round.effects.into_iter().for_each(|effect| self.act(effect));
        } else {
            let slow = self.now < self.coordinator.disk_slow;
            let takes = if slow { self.rng.between(100, 2_500) } else { self.rng.delay(8, 300) };
            self.coordinator.round = Some(round);
            let process = self.coordinator.process;
            self.after(takes, SimEvent::Committed(process));
        }
        Ok(())
    }

    pub(super) fn event(&mut self, request: Request) -> Option<Event> {
        match request {
            Request::User(event) => Some(event),
            Request::Gone(session) => Some(Event::Left(session)),
            Request::Message(session, message) => session::event(session, message).ok().flatten(),
            Request::Hello(connection_id, from_worker::Message::Hello(hello)) => {
                let session = self.coordinator.session();
                match self.network.connections.get_mut(&connection_id) {
                    Some(connection) => connection.session = Some(session),
                    // It broke while the Hello waited to be taken in, and that it did is taken in next.
                    None => self.coordinator.inbox.push_back(Request::Gone(session)),
                }
                Some(Event::Joined {
                    session,
                    worker: WorkerName(hello.worker),
                    instance: hello.instance,
                    slots: session::slots(&hello.devices),
                    gpu: session::are_gpus(&hello.devices),
                    holds: attempts(&hello.holds).ok()?,
                })
            }
            Request::Hello(..) => None,
        }
    }

    /// The disk has answered.
    pub(super) fn committed(&mut self) -> Result<(), String> {
        if self.now < self.coordinator.disk_full {
            let process = self.coordinator.process;
            self.after(1_000, SimEvent::Committed(process));
            return Ok(());
        }
        let Some(Round { records, effects }) = self.coordinator.round.take() else { return Ok(()) };
        self.durable(&records)?;
        effects.into_iter().for_each(|effect| self.act(effect));
        self.serve()
    }

    pub(super) fn durable(&mut self, records: &[Record]) -> Result<(), String> {
        records.iter().for_each(|record| self.trace.line(self.now - START, format_args!("durable: {record:?}")));
        self.coordinator.disk.commit(records).map_err(|error| error.to_string())?;
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
