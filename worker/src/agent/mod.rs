//! The worker's state machine: `handle(now, event) -> effects`. It knows neither network, nor processes, nor disk, nor clock:
//! `daemon` does what it asks for, and so does a simulation.
//!
//! - `event`: what it is told, and what it asks for.
//! - `lease`: until when what is in hand may be trained.
//! - `outbox`: what is yet to be acknowledged.
//! - `places`: slots, and the runners that train in them.
//! - `work`: what is trained in the slots.
//!
//! *Architecture invariants:* a runner is never told to train for longer than the lease that the coordinator has confirmed; of an attempt
//! that the coordinator has stopped nothing more is said; what is for one coordinator's store is said to no other; everything else is said until it is acknowledged; what is said of attempts
//! waits while the lease has passed, and heartbeats wait for nothing.

mod event;
mod lease;
mod outbox;
mod places;
#[cfg(test)]
mod tests;
mod work;

pub use event::{BootTime, Effect, Entry, Equipment, Event, RunnerEvent, RunnerExit, Settings};
use plusminus_core::id::AttemptId;

use lease::Lease;
use outbox::{Outbox, Turned};
use places::{Runner, Slot, Watch};
use plusminus_proto::convert::{attempt_id, required_attempt};
use plusminus_proto::v1::{self, from_worker, to_runner, to_worker};
use std::collections::VecDeque;
use tracing::warn;

/// Reports that may be on their way over a connection without an acknowledgement. A connection that has room for so many messages and
/// some besides never has to refuse one.
pub const WINDOW: usize = 1024;
/// Reports that may wait for the coordinator before the runners are held up, and so few must be left before they go on.
const FULL: usize = 1 << 16;
const ROOM: usize = FULL / 2;
/// How long what is left may take to be delivered when the worker leaves, after the last runner should have stopped: in milliseconds.
const DELIVERY: u64 = 5_000;
/// At the longest, time is to be told so often, in milliseconds.
const LONGEST_SLEEP: u64 = 1_000;

/// A worker, without all that is outside.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    slots: Vec<Slot>,
    runners: Vec<Runner>,
    /// Assignments that came while the attempt in their slot was still winding down.
    queue: VecDeque<(AttemptId, v1::Assignment)>,
    outbox: Outbox,
    lease: Lease,
    /// The runners are held up, whatever the lease, because the outbox is full.
    held_up: bool,
    connected: bool,
    /// In milliseconds.
    heartbeat: u64,
    next_beat: BootTime,
    watch: Watch,
    /// Slots of each device, as the coordinator last heard.
    told_slots: Vec<u32>,
    /// By when it is gone, once it was told to leave.
    leaving: Option<BootTime>,
    left: bool,
    effects: Vec<Effect>,
}

impl Agent {
    /// An agent that has nothing in hand and no connection.
    pub fn new(settings: Settings) -> Self {
        let (runners, slots) = places::laid_out(&settings.equipment);
        Agent {
            slots,
            runners,
            settings,
            queue: VecDeque::new(),
            outbox: Outbox::default(),
            lease: Lease::default(),
            held_up: false,
            connected: false,
            heartbeat: 1_000,
            next_beat: BootTime(0),
            watch: Watch::default(),
            told_slots: Vec::new(),
            leaving: None,
            left: false,
            effects: Vec::new(),
        }
    }

    /// With what each of its runners trains, by the runner's number.
    pub fn runners(&self) -> impl Iterator<Item = &Equipment> {
        self.runners.iter().map(|runner| &self.settings.equipment[runner.equipment])
    }

    /// Takes in what has happened and says what is to be done, in order. `now` never goes back.
    pub fn handle(&mut self, now: BootTime, event: Event) -> Vec<Effect> {
        self.watch.pass(now, now < self.granted());
        match event {
            Event::Loaded(entries) => self.outbox.load(entries),
            Event::Connecting => self.introduce(now),
            Event::Told(message) => self.told(now, message),
            Event::Disconnected => self.connected = false,
            Event::Runner { runner, generation, said } => self.heard(now, runner, generation, said),
            Event::Fetched(of, fetched) => self.fetched(of, fetched),
            Event::Delivered(of, delivered) => self.delivered(of, delivered),
            Event::Read(readings) => self.read(now, readings),
            Event::Leave => self.leave(now),
            Event::Tick => {
                self.kill_what_does_not_move(now);
                self.give_up_what_does_not_die(now);
            }
        }
        self.begin_queued();
        self.hold_up_or_let_go();
        self.beat(now);
        self.tell_of_slots(now);
        self.say(now);
        self.leave_when_done(now);
        std::mem::take(&mut self.effects)
    }

    /// When it wants to be told that time has passed, at the latest.
    pub fn due(&self) -> BootTime {
        let now = self.watch.seen();
        let beat = self.connected.then_some(self.next_beat);
        let stops = self.slots.iter().filter_map(Slot::stops_by);
        let stalls = self.slots.iter().filter_map(|slot| slot.silence_left(&self.watch, self.stall()));
        let stalls = stalls.filter(|_| now < self.granted()).map(|left| now.after(left));
        let deaths = self.runners.iter().filter_map(|runner| runner.gone_by(now));
        let due = beat.into_iter().chain(stops).chain(stalls).chain(deaths).chain(self.leaving).min();
        due.map_or(now.after(LONGEST_SLEEP), |due| due.min(now.after(LONGEST_SLEEP)))
    }

    /// Until when runners may train, as far as they have been told.
    pub fn granted(&self) -> BootTime {
        if self.held_up { BootTime(0) } else { self.lease.until() }
    }

    /// What it works on, or has yet to deliver the ending of.
    pub fn holds(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.in_hand().chain(self.outbox.endings())
    }

    /// The same before it knows whose coordinator it is with.
    fn claims(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.in_hand().chain(self.outbox.all_endings())
    }

    fn in_hand(&self) -> impl Iterator<Item = AttemptId> + '_ {
        let working = self.slots.iter().filter_map(|slot| Some(slot.work.as_ref()?.of));
        working.chain(self.queue.iter().map(|(of, _)| *of))
    }

    fn stall(&self) -> u64 {
        self.settings.stall.as_millis() as u64
    }

    /// The coordinator that counts now has this store.
    fn turn_to(&mut self, store: u32) {
        let Turned { away, back, others } = self.outbox.turn_to(store);
        if others > 0 {
            warn!(
                reports = others,
                "some of what is left to report is for another coordinator: it is kept until this worker is with that one again"
            );
        }
        self.effects.extend(away.into_iter().map(Effect::Abort));
        self.effects.extend(back.into_iter().map(|(of, weights)| Effect::Deliver { of, weights }));
    }

    fn introduce(&mut self, now: BootTime) {
        self.connected = false;
        self.lease.hello(now);
        self.told_slots = self.open_slots(now).collect();
        let devices = self.devices();
        let hello = v1::Hello {
            worker: self.settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            devices,
            holds: self.claims().map(attempt_id).collect(),
            instance: self.settings.instance,
        };
        self.effects.push(Effect::Send(from_worker::Message::Hello(hello)));
    }

    /// Slots of each device that take something now.
    fn open_slots(&self, now: BootTime) -> impl Iterator<Item = u32> + '_ {
        let open = move |equipment: usize| {
            let takes = |runner: &&Runner| runner.equipment == equipment && !runner.is_stuck(now);
            let slots = self.runners.iter().filter(takes).flat_map(|runner| &self.slots[runner.slots.clone()]);
            slots.filter(|slot| !slot.closed).count() as u32
        };
        // Who is leaving takes nothing more.
        (0..self.settings.equipment.len()).map(move |number| if self.leaving.is_some() { 0 } else { open(number) })
    }

    /// Its devices, with as many slots as are told of.
    fn devices(&self) -> Vec<v1::Device> {
        let all = self.settings.equipment.iter().zip(&self.told_slots);
        all.map(|(equipment, slots)| v1::Device { slots: *slots, ..equipment.device.clone() }).collect()
    }

    /// Tells how many slots there are, where that is not what the coordinator last heard.
    fn tell_of_slots(&mut self, now: BootTime) {
        if self.connected && self.leaving.is_none() && self.open_slots(now).ne(self.told_slots.iter().copied()) {
            self.tell_of_devices(now);
        }
    }

    fn tell_of_devices(&mut self, now: BootTime) {
        self.told_slots = self.open_slots(now).collect();
        let devices = v1::Devices { devices: self.devices() };
        self.effects.push(Effect::Send(from_worker::Message::Devices(devices)));
    }

    /// Takes in what sensors say.
    fn read(&mut self, now: BootTime, readings: Vec<(String, v1::Reading)>) {
        for (name, reading) in readings {
            if let Some(equipment) = self.settings.equipment.iter_mut().find(|e| e.device.name == name) {
                equipment.device.reading = Some(reading);
            }
        }
        if self.connected {
            self.tell_of_devices(now);
        }
    }

    fn told(&mut self, now: BootTime, message: to_worker::Message) {
        match message {
            to_worker::Message::Welcome(welcome) => {
                self.connected = true;
                self.heartbeat = welcome.heartbeat_milliseconds.max(10);
                self.next_beat = now;
                self.turn_to(welcome.store);
                welcome.stop.iter().for_each(|of| self.told_to_stop(now, Some(of)));
                self.lease.welcomed(&welcome);
                self.grant();
            }
            // Of a connection that does not count, or not any more.
            _ if !self.connected => {}
            to_worker::Message::Renewed(renewed) => {
                let before = self.granted();
                self.lease.renewed(renewed.beat);
                if self.granted() != before {
                    self.grant();
                }
            }
            to_worker::Message::Assignment(assignment) => match required_attempt(assignment.of.as_ref()) {
                Ok(of) => self.assigned(now, of, assignment),
                Err(error) => warn!(%error, "the coordinator's message is not understood"),
            },
            to_worker::Message::Stop(stop) => self.told_to_stop(now, stop.of.as_ref()),
            to_worker::Message::Acknowledgement(acknowledgement) => self.acknowledged(acknowledgement.sequence),
        }
    }

    fn told_to_stop(&mut self, now: BootTime, of: Option<&v1::AttemptId>) {
        match required_attempt(of) {
            Ok(of) => self.stop(now, of),
            Err(error) => warn!(%error, "the coordinator's message is not understood"),
        }
    }

    fn acknowledged(&mut self, sequence: u64) {
        let Some(entry) = self.outbox.acknowledge(sequence) else { return };
        self.effects.push(Effect::Delete(sequence));
        if let v1::report::Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(_)) }) = entry.body {
            self.effects.push(Effect::RemoveCheckpoints(entry.of.job));
        }
    }

    /// Tells every runner until when it may train; one that is killed not any more.
    fn grant(&mut self) {
        let until = self.granted().0;
        for (runner, Runner { there, killed, generation, .. }) in self.runners.iter().enumerate() {
            if *there && killed.is_none() {
                let message = to_runner::Message::Lease(v1::Lease { until });
                self.effects.push(Effect::Tell { runner, generation: *generation, lane: 0, message });
            }
        }
    }

    /// A coordinator that takes nothing in for long must not fill this machine's memory.
    fn hold_up_or_let_go(&mut self) {
        let limit = if self.held_up { ROOM } else { FULL };
        let full = self.outbox.len() >= limit;
        if full != self.held_up {
            if full {
                warn!(reports = self.outbox.len(), "the coordinator takes nothing in: training waits");
            }
            self.held_up = full;
            self.grant();
        }
    }

    fn beat(&mut self, now: BootTime) {
        if !self.connected || now < self.next_beat {
            return;
        }
        self.next_beat = now.after(self.heartbeat);
        let holds = self.holds().map(attempt_id).collect();
        let heartbeat = v1::Heartbeat { holds, beat: self.lease.beat(now) };
        self.effects.push(Effect::Send(from_worker::Message::Heartbeat(heartbeat)));
    }

    /// Sends what is unsent. While the lease has passed everything waits: the attempts may be others' by now.
    fn say(&mut self, now: BootTime) {
        if !self.connected || !self.lease.lasts(now) {
            return;
        }
        while let Some(report) = self.outbox.next(WINDOW) {
            self.effects.push(Effect::Send(from_worker::Message::Report(report)));
        }
    }

    fn leave(&mut self, now: BootTime) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(now.after(self.settings.grace.as_millis() as u64 + DELIVERY));
        if self.connected {
            self.effects.push(Effect::Send(from_worker::Message::Draining(v1::Draining {})));
        }
        self.give_back(now);
    }

    /// Nothing is in hand or unacknowledged, or it has taken too long.
    fn leave_when_done(&mut self, now: BootTime) {
        let Some(limit) = self.leaving.filter(|_| !self.left) else { return };
        let idle = self.slots.iter().all(|slot| slot.work.is_none());
        let delivered = self.outbox.is_delivered() || (self.settings.attached && !self.connected);
        if (idle && delivered) || now >= limit {
            self.left = true;
            self.effects.push(Effect::Left { undelivered: self.outbox.len() });
        }
    }
}
