//! The worker's state machine: `handle(now, event) -> effects`. It uses no network, process, disk or clock: `daemon` performs its
//! effects, and so does the simulation.
//!
//! - `event`: events, effects, and the types in both.
//! - `lease`: until when runners may train.
//! - `outbox`: reports that are not acknowledged yet.
//! - `slots`: slots, and the runners that serve them.
//! - `attempts`: attempts from assignment to report.
//! - `rest`: rests of runners whose host lacks something.
//! - `shortages`: starts and ends rests; closes the worker while weights cannot be saved.
//! - `runners`: messages and exits of runners; stalled runners are killed.
//!
//! *Architecture invariants:* a runner never holds a lease longer than the one that the coordinator has confirmed. Nothing is reported of
//! a revoked attempt. A report goes only to the store that it is for, and is repeated until it is acknowledged. Reports wait while the
//! lease is expired; heartbeats never wait.

mod attempts;
mod event;
mod lease;
mod outbox;
mod rest;
mod runners;
mod shortages;
mod slots;
#[cfg(test)]
mod tests;

pub use event::{BootTime, Effect, Equipment, Event, OutboxEntry, RunnerEvent, RunnerExit, Settings};

use lease::Lease;
use outbox::{Outbox, StoreSwitch};
use plusminus_core::id::AttemptId;
use plusminus_proto::convert::{attempt_id, required_attempt};
use plusminus_proto::v1::{self, from_worker, to_runner, to_worker};
use slots::{RunnerState, Slot, TrainingClock};
use std::collections::VecDeque;
use std::time::Duration;
use tracing::warn;

/// The number of unacknowledged reports that may be in flight over a connection. A connection with room for these and a few other
/// messages never refuses a report.
pub const WINDOW: usize = 1024;
/// Runners pause when the outbox holds this many reports, and resume at `OUTBOX_RESUME`.
const OUTBOX_FULL: usize = 1 << 16;
const OUTBOX_RESUME: usize = OUTBOX_FULL / 2;
/// How long a draining worker tries to deliver its reports after the grace period of its runners.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time between two ticks.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The state of a worker.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    slots: Vec<Slot>,
    runners: Vec<RunnerState>,
    /// Assignments that wait for a slot whose revoked attempt is still stopping.
    queue: VecDeque<(AttemptId, v1::Assignment)>,
    outbox: Outbox,
    lease: Lease,
    /// Whether runners pause, whatever the lease, because the outbox is full.
    throttled: bool,
    connected: bool,
    heartbeat_interval: Duration,
    next_heartbeat: BootTime,
    training_clock: TrainingClock,
    /// Slots per device as last reported to the coordinator.
    reported_slots: Vec<u32>,
    /// When a draining worker exits at the latest.
    drain_deadline: Option<BootTime>,
    exited: bool,
    effects: Vec<Effect>,
}

impl Agent {
    /// An agent without attempts and without a connection.
    pub fn new(settings: Settings) -> Self {
        let (runners, slots) = slots::lay_out(&settings.equipment);
        Agent {
            slots,
            runners,
            settings,
            queue: VecDeque::new(),
            outbox: Outbox::default(),
            lease: Lease::default(),
            throttled: false,
            connected: false,
            heartbeat_interval: Duration::from_secs(1),
            next_heartbeat: BootTime(0),
            training_clock: TrainingClock::default(),
            reported_slots: Vec::new(),
            drain_deadline: None,
            exited: false,
            effects: Vec::new(),
        }
    }

    /// The equipment of each runner, by the runner's number.
    pub fn runners(&self) -> impl Iterator<Item = &Equipment> {
        self.runners.iter().map(|runner| &self.settings.equipment[runner.equipment])
    }

    /// Handles an event and returns the effects, to be performed in order. `now` never decreases.
    pub fn handle(&mut self, now: BootTime, event: Event) -> Vec<Effect> {
        self.training_clock.advance(now, now < self.training_deadline());
        match event {
            Event::OutboxLoaded(entries) => self.outbox.load(entries),
            Event::Connecting => self.send_hello(now),
            Event::Received(message) => self.received(now, message),
            Event::Disconnected => self.connected = false,
            Event::Runner { runner, generation, event } => self.runner_event(now, runner, generation, event),
            Event::WeightsFetched(attempt, result) => self.weights_fetched(attempt, result),
            Event::WeightsDelivered(attempt, result) => self.weights_delivered(attempt, result),
            Event::SensorsRead(readings) => self.sensors_read(now, readings),
            Event::Drain => self.drain(now),
            Event::Tick => {
                self.kill_unresponsive_runners(now);
                self.abandon_stuck_runners(now);
            }
        }
        self.start_queued(now);
        self.throttle_runners();
        self.send_heartbeat(now);
        self.report_changed_slots(now);
        self.send_reports(now);
        self.exit_when_drained(now);
        std::mem::take(&mut self.effects)
    }

    /// When the next tick is due at the latest.
    pub fn due(&self) -> BootTime {
        let now = self.training_clock.now();
        let heartbeat = self.connected.then_some(self.next_heartbeat);
        let stops = self.slots.iter().filter_map(Slot::stop_deadline);
        let stall = self.settings.stall;
        let stalls = self.slots.iter().filter_map(|slot| slot.time_to_stall(&self.training_clock, stall));
        let stalls = stalls.filter(|_| now < self.training_deadline()).map(|left| now.after(left));
        let exits = self.runners.iter().filter_map(|runner| runner.pending_exit(now));
        let rests = self.runners.iter().filter_map(|runner| runner.rest.pending_end(now));
        let of_runners = stops.chain(stalls).chain(exits).chain(rests);
        let due = heartbeat.into_iter().chain(of_runners).chain(self.drain_deadline).min();
        let latest = now.after(MAX_SLEEP);
        due.map_or(latest, |due| due.min(latest))
    }

    /// Until when runners may train, as sent to them.
    pub fn training_deadline(&self) -> BootTime {
        if self.throttled { BootTime(0) } else { self.lease.until() }
    }

    /// Attempts that are active or whose ending the present coordinator has not acknowledged.
    pub fn held_attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.active_attempts().chain(self.outbox.endings())
    }

    /// Attempts to name in a Hello, which is sent before the coordinator's store is known.
    fn claimed_attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.active_attempts().chain(self.outbox.all_endings())
    }

    fn active_attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        let in_slots = self.slots.iter().filter_map(|slot| Some(slot.active.as_ref()?.attempt));
        in_slots.chain(self.queue.iter().map(|(attempt, _)| *attempt))
    }

    /// Switches to the store of the coordinator that sent a Welcome.
    fn switch_store(&mut self, store: u32) {
        let StoreSwitch { aborted, to_deliver, withheld } = self.outbox.switch_store(store);
        if withheld > 0 {
            warn!(reports = withheld, "withholding reports for another store until this worker connects to it again");
        }
        self.effects.extend(aborted.into_iter().map(Effect::AbortTransfer));
        let deliver = |(attempt, weights)| Effect::DeliverWeights { attempt, weights };
        self.effects.extend(to_deliver.into_iter().map(deliver));
    }

    fn send_hello(&mut self, now: BootTime) {
        self.connected = false;
        self.lease.hello(now);
        self.reported_slots = self.open_slots(now).collect();
        let devices = self.devices();
        let hello = v1::Hello {
            worker: self.settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            devices,
            holds: self.claimed_attempts().map(attempt_id).collect(),
            instance: self.settings.instance,
            // The link knows the host.
            ..v1::Hello::default()
        };
        self.effects.push(Effect::Send(from_worker::Message::Hello(hello)));
    }

    /// The number of slots per device that accept attempts.
    fn open_slots(&self, now: BootTime) -> impl Iterator<Item = u32> + '_ {
        let open = move |equipment: usize| {
            let accepts = |runner: &&RunnerState| runner.equipment == equipment && runner.accepts(now);
            let slots = self.runners.iter().filter(accepts).flat_map(|runner| &self.slots[runner.slots.clone()]);
            slots.filter(|slot| !slot.closed).count() as u32
        };
        // A job that is trained while others cannot save their weights could not save its own either.
        let none = self.drain_deadline.is_some() || self.is_any_waiting();
        (0..self.settings.equipment.len()).map(move |number| if none { 0 } else { open(number) })
    }

    /// The devices with the reported number of slots.
    fn devices(&self) -> Vec<v1::Device> {
        let all = self.settings.equipment.iter().zip(&self.reported_slots);
        all.map(|(equipment, slots)| v1::Device { slots: *slots, ..equipment.device.clone() }).collect()
    }

    fn report_changed_slots(&mut self, now: BootTime) {
        let draining = self.drain_deadline.is_some();
        if self.connected && !draining && self.open_slots(now).ne(self.reported_slots.iter().copied()) {
            self.report_devices(now);
        }
    }

    fn report_devices(&mut self, now: BootTime) {
        self.reported_slots = self.open_slots(now).collect();
        let devices = v1::Devices { devices: self.devices() };
        self.effects.push(Effect::Send(from_worker::Message::Devices(devices)));
    }

    fn sensors_read(&mut self, now: BootTime, readings: Vec<(String, v1::Reading)>) {
        for (name, reading) in readings {
            if let Some(equipment) = self.settings.equipment.iter_mut().find(|e| e.device.name == name) {
                equipment.device.reading = Some(reading);
            }
        }
        if self.connected {
            self.report_devices(now);
        }
    }

    fn received(&mut self, now: BootTime, message: to_worker::Message) {
        match message {
            to_worker::Message::Welcome(welcome) => {
                self.connected = true;
                self.heartbeat_interval = Duration::from_millis(welcome.heartbeat_milliseconds.max(10));
                self.next_heartbeat = now;
                self.switch_store(welcome.store);
                welcome.stop.iter().for_each(|attempt| self.received_stop(now, Some(attempt)));
                self.lease.welcomed(&welcome);
                self.send_leases();
            }
            // From a connection that has ended or was never welcomed.
            _ if !self.connected => {}
            to_worker::Message::Renewed(renewed) => {
                let before = self.training_deadline();
                self.lease.renewed(renewed.beat);
                if self.training_deadline() != before {
                    self.send_leases();
                }
            }
            to_worker::Message::Assignment(assignment) => match required_attempt(assignment.of.as_ref()) {
                Ok(attempt) => self.assigned(now, attempt, assignment),
                Err(error) => warn!(%error, "ignoring a malformed message of the coordinator"),
            },
            to_worker::Message::Stop(stop) => self.received_stop(now, stop.of.as_ref()),
            to_worker::Message::Acknowledgement(acknowledgement) => self.acknowledged(acknowledgement.sequence),
        }
    }

    fn received_stop(&mut self, now: BootTime, attempt: Option<&v1::AttemptId>) {
        match required_attempt(attempt) {
            Ok(attempt) => self.revoke(now, attempt),
            Err(error) => warn!(%error, "ignoring a malformed message of the coordinator"),
        }
    }

    fn acknowledged(&mut self, sequence: u64) {
        let Some(entry) = self.outbox.acknowledge(sequence) else { return };
        self.effects.push(Effect::DeleteEntry(sequence));
        if let v1::report::Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(_)) }) = entry.body {
            self.effects.push(Effect::RemoveCheckpoints(entry.attempt.job));
        }
    }

    /// Sends the training deadline to every runner that is not killed.
    fn send_leases(&mut self) {
        let until = self.training_deadline().0;
        for (runner, state) in self.runners.iter().enumerate() {
            if state.running && state.exit_deadline.is_none() {
                let message = to_runner::Message::Lease(v1::Lease { until });
                self.effects.push(Effect::SendToRunner { runner, generation: state.generation, lane: 0, message });
            }
        }
    }

    /// Pauses training while the outbox is full: a coordinator that acknowledges nothing must not fill this host's memory.
    fn throttle_runners(&mut self) {
        let limit = if self.throttled { OUTBOX_RESUME } else { OUTBOX_FULL };
        let full = self.outbox.len() >= limit;
        if full != self.throttled {
            if full {
                warn!(reports = self.outbox.len(), "training pauses: the coordinator acknowledges no reports");
            }
            self.throttled = full;
            self.send_leases();
        }
    }

    fn send_heartbeat(&mut self, now: BootTime) {
        if !self.connected || now < self.next_heartbeat {
            return;
        }
        self.next_heartbeat = now.after(self.heartbeat_interval);
        let holds = self.held_attempts().map(attempt_id).collect();
        let heartbeat = v1::Heartbeat { holds, beat: self.lease.beat(now) };
        self.effects.push(Effect::Send(from_worker::Message::Heartbeat(heartbeat)));
    }

    /// Sends unsent reports. They wait while the lease is expired: the attempts may belong to other workers by now.
    fn send_reports(&mut self, now: BootTime) {
        if !self.connected || !self.lease.is_valid(now) {
            return;
        }
        while let Some(report) = self.outbox.next(WINDOW) {
            self.effects.push(Effect::Send(from_worker::Message::Report(report)));
        }
    }

    fn drain(&mut self, now: BootTime) {
        if self.drain_deadline.is_some() {
            return;
        }
        self.drain_deadline = Some(now.after(self.settings.grace + DELIVERY_TIMEOUT));
        if self.connected {
            self.effects.push(Effect::Send(from_worker::Message::Draining(v1::Draining {})));
        }
        self.stop_all(now);
    }

    /// Exits once nothing is active and every report is acknowledged, or at the deadline.
    fn exit_when_drained(&mut self, now: BootTime) {
        let Some(deadline) = self.drain_deadline.filter(|_| !self.exited) else { return };
        let idle = self.slots.iter().all(|slot| slot.active.is_none());
        let delivered = self.outbox.is_delivered() || (self.settings.attached && !self.connected);
        if (idle && delivered) || now >= deadline {
            self.exited = true;
            self.effects.push(Effect::Exit { undelivered: self.outbox.len() });
        }
    }
}
