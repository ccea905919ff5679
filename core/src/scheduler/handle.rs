//! Decisions: who gets which job, what a report is worth, when a lease has passed, what is tried again.

use super::WallTime;
use super::event::{Effect, Event, Report, ReportBody, Session};
use super::record::{Ending, Next, Record, StoredState};
use super::state::{Entry, JobState, State};
use super::view::WorkerView;
use crate::id::{Attempt, AttemptId, JobId, SweepName, WorkerName};
use crate::outcome::{Failure, FailureKind};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The numbers that decisions follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an attempt is a worker's after its last heartbeat, in milliseconds.
    pub lease: u64,
    /// How many failures a job may have before it is given up, none of which came further than all attempts before it.
    pub failures: u32,
    /// How long a job waits after its first failure, in milliseconds; twice as long after each further one. A part of up to a half is
    /// taken off each wait, so that jobs which failed together do not come back together.
    pub backoff: u64,
    /// The longest wait, in milliseconds.
    pub backoff_limit: u64,
    /// The one sweep that is trained, if it is not all.
    pub only: Option<SweepName>,
    /// How long the leases were that the coordinator before gave, in milliseconds: workers may count on them still.
    pub lease_before: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { lease: 15_000, failures: 3, backoff: 1_000, backoff_limit: 60_000, only: None, lease_before: 0 }
    }
}

impl Policy {
    /// How long is waited after so many failures have been waited for, in milliseconds.
    fn pause(&self, before: u32) -> u64 {
        self.backoff.saturating_mul(1 << before.min(16)).min(self.backoff_limit)
    }
}

/// A worker's live connection.
#[derive(Clone, Debug, PartialEq)]
struct Connection {
    worker: WorkerName,
    instance: u64,
    slots: u32,
    /// Whether it trains on a GPU, where every job can be trained.
    gpu: bool,
    /// What it has been given and has not said to have ended: each takes a slot.
    busy: BTreeSet<AttemptId>,
    /// What it last said that it holds.
    named: BTreeSet<AttemptId>,
    /// A lease of its has passed and nothing has been heard since: it is given nothing until it speaks.
    silent: bool,
    rest: Rest,
}

impl Connection {
    fn view(&self, session: Session) -> WorkerView<'_> {
        let Connection { worker: name, slots, gpu, busy, rest, .. } = self;
        WorkerView { session, name, slots: *slots, gpu: *gpu, busy, rests_until: rest.until }
    }
}

/// A worker that gives back what it is given, unasked, is given nothing for a while, and longer each time: whatever is wrong with it (a
/// full disk, a runner that cannot be started) shall not go through the whole queue.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rest {
    /// Until when it is given nothing.
    until: WallTime,
    /// How often in a row.
    times: u32,
}

/// An attempt that was taken back and may still be going on.
#[derive(Clone, Debug, PartialEq)]
struct Winding {
    attempt: Attempt,
    /// Whose it is, if that is known.
    worker: Option<WorkerName>,
    /// When its lease would have passed.
    until: WallTime,
}

/// The coordinator's state machine. [`State`] is what is committed; connections and leases are not, and begin anew.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub(super) policy: Policy,
    pub(super) state: State,
    connections: BTreeMap<Session, Connection>,
    /// Which process each worker was when it was last greeted.
    instances: BTreeMap<WorkerName, u64>,
    /// When the lease of each running job passes.
    leases: BTreeMap<JobId, WallTime>,
    /// Attempts that were taken back, until their worker says that it has wound them down, or their lease would have passed.
    winding: BTreeMap<JobId, Winding>,
    /// Jobs that were running when the machine began. Whoever trained them may have died with the machine before.
    inherited: BTreeSet<JobId>,
    /// It goes on from records, and has not looked yet whether what jobs wait for will come.
    unsettled: bool,
    /// When time was last seen to pass.
    ticked: Option<WallTime>,
}

impl Scheduler {
    /// A machine that knows nothing.
    pub fn new(policy: Policy) -> Self {
        Scheduler {
            policy,
            state: State::default(),
            connections: BTreeMap::new(),
            instances: BTreeMap::new(),
            leases: BTreeMap::new(),
            winding: BTreeMap::new(),
            inherited: BTreeSet::new(),
            unsettled: false,
            ticked: None,
        }
    }

    /// A machine that goes on from committed records at `now`. Whoever was training may have gone on, so every lease is renewed.
    pub fn restart(policy: Policy, records: impl IntoIterator<Item = Record>, now: WallTime) -> Self {
        let mut machine = Scheduler::new(policy);
        let latest = now.after(machine.policy.backoff_limit);
        for mut record in records {
            if let Record::Restored { state: StoredState::Queued { not_before }, .. } = &mut record {
                // A clock that was set back must not hold a job up for longer than the longest pause.
                *not_before = latest.min(*not_before);
            }
            machine.state.apply(&record);
        }
        machine.state.pass(now);
        let running = machine.state.running.iter().map(|index| machine.state.jobs[*index as usize].id);
        machine.inherited = running.collect();
        machine.unsettled = true;
        // A worker may have just begun to wait for an answer to its last attempt to connect.
        let until = now.after(2 * machine.policy.lease.max(machine.policy.lease_before));
        machine.ticked = Some(now);
        machine.leases = machine.inherited.iter().map(|job| (*job, until)).collect();
        // Whoever trained what was dropped may not have heard of it. What failed is tried again at a time; what waits for none was queued
        // again by a user, and its last attempt may have been dropped before.
        let was_dropped = |entry: &&Entry| {
            entry.attempts > 0
                && matches!(entry.state, JobState::Dropped | JobState::Queued { not_before: WallTime(0) })
        };
        let dropped = machine.state.jobs.iter().filter(was_dropped);
        let winding = |entry: &Entry| (entry.id, Winding { attempt: Attempt(entry.attempts), worker: None, until });
        machine.winding = dropped.map(winding).collect();
        machine
    }

    /// The numbers that decisions follow.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is committed.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The connected workers.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView<'_>> {
        self.connections.iter().map(|(session, connection)| connection.view(*session))
    }

    /// Until when `job` is a worker's.
    pub fn lease(&self, job: JobId) -> Option<WallTime> {
        self.leases.get(&job).copied()
    }

    /// Takes in what has happened and says what is to be done, in order.
    pub fn handle(&mut self, now: WallTime, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.state.pass(now);
        if std::mem::take(&mut self.unsettled) {
            self.settle_all(now, &mut effects);
        }
        match event {
            Event::Submit(ticket, submission) => self.submit(now, ticket, submission, &mut effects),
            Event::Continue(submission) => self.go_on(now, submission, &mut effects),
            Event::Cancel(ticket, name) => self.cancel(now, ticket, name, &mut effects),
            Event::Joined { session, worker, instance, slots, gpu, holds } => {
                let busy: BTreeSet<_> = holds.into_iter().collect();
                let (named, rest) = (busy.clone(), Rest::default());
                let connection = Connection { worker, instance, slots, gpu, named, busy, silent: false, rest };
                self.joined(now, session, connection, &mut effects);
            }
            Event::Left(session) => {
                self.connections.remove(&session);
            }
            Event::Draining(session) => {
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.slots = 0;
                }
            }
            Event::Resized(session, slots) => {
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.slots = slots;
                }
            }
            Event::Resume(ticket, name, again) => self.resume(now, ticket, name, &again, &mut effects),
            Event::Heartbeat { session, beat, holds } => self.heartbeat(now, session, beat, &holds, &mut effects),
            Event::Reported(session, report) => self.reported(now, session, report, &mut effects),
            Event::Lost(job, file) => self.lost(now, job, file, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.dispatch(now, &mut effects);
        effects
    }

    pub(super) fn record(&mut self, record: Record, effects: &mut Vec<Effect>) {
        self.state.apply(&record);
        effects.push(Effect::Record(record));
    }

    /// Tells the workers to stop what they do for these jobs; the slots are free once they say that it has ended.
    pub(super) fn stop(&mut self, now: WallTime, jobs: &[JobId], effects: &mut Vec<Effect>) {
        let jobs: BTreeSet<&JobId> = jobs.iter().collect();
        for job in &jobs {
            let lease = self.leases.remove(job).unwrap_or_default();
            if let Some(JobState::Running { attempt, worker, .. }) = self.state.job(**job) {
                // The worker counts its lease from a heartbeat that is answered by now, whatever the attempt's own was; unless that is
                // of the coordinator before.
                let until = now.after(self.policy.lease).max(lease);
                let winding = Winding { attempt: *attempt, worker: Some(worker.clone()), until };
                self.winding.insert(**job, winding);
            }
        }
        for (session, connection) in &self.connections {
            for AttemptId { job, attempt } in connection.busy.iter().filter(|of| jobs.contains(&of.job)) {
                effects.push(Effect::Stop { session: *session, job: *job, attempt: *attempt });
            }
        }
    }

    fn joined(&mut self, now: WallTime, session: Session, connection: Connection, effects: &mut Vec<Effect>) {
        let Connection { worker, instance, busy: holds, .. } = connection.clone();
        let namesakes = self.connections.iter().filter(|(_, c)| c.worker == worker);
        let (same, others): (Vec<_>, Vec<_>) = namesakes.partition(|(_, c)| c.instance == instance);
        if !others.is_empty() {
            return effects.push(Effect::Reject(session));
        }
        // A process that lives on and comes back without an attempt never had it: what a runner's death ends, it reports.
        let lives_on = self.instances.insert(worker.clone(), instance) == Some(instance);
        // In one message with the welcome, so that nothing past goes on for a moment.
        let is_past = |of: &&AttemptId| !self.state.is_current(&worker, of.job, of.attempt);
        effects.push(Effect::Welcome(session, holds.iter().filter(is_past).copied().collect()));
        for old in same.into_iter().map(|(session, _)| *session).collect::<Vec<_>>() {
            self.connections.remove(&old);
            effects.push(Effect::Disconnect(old));
        }
        // What it was given and does not hold never reached it, or died with it.
        let running = self.state.running.iter().map(|index| &self.state.jobs[*index as usize]);
        let lost: Vec<AttemptId> = running
            .filter_map(|entry| match &entry.state {
                JobState::Running { attempt, worker: w, .. } if *w == worker => {
                    Some(AttemptId::new(entry.id, *attempt))
                }
                _ => None,
            })
            .filter(|held| !holds.contains(held))
            .collect();
        for AttemptId { job, attempt } in lost {
            if lives_on {
                let why = Failure::new(FailureKind::Preempted, format!("it never reached worker {worker}"));
                self.ended(now, job, attempt, Ending::Failed(why), effects);
            } else {
                self.gone(now, job, attempt, format!("worker {worker} came back without it"), effects);
            }
        }
        self.winding.retain(|job, winding| {
            winding.worker.as_ref() != Some(&worker) || holds.contains(&AttemptId::new(*job, winding.attempt))
        });
        for AttemptId { job, attempt } in &holds {
            if self.state.is_current(&worker, *job, *attempt) {
                self.inherited.remove(job);
                self.leases.insert(*job, now.after(self.policy.lease));
            }
        }
        self.connections.insert(session, connection);
    }

    /// Ends an attempt that nobody works on any more. One from before a restart is no failure of the job's.
    fn gone(&mut self, now: WallTime, job: JobId, attempt: Attempt, how: String, effects: &mut Vec<Effect>) {
        let kind = if self.inherited.contains(&job) { FailureKind::Preempted } else { FailureKind::Infrastructure };
        self.ended(now, job, attempt, Ending::Failed(Failure::new(kind, how)), effects);
    }

    fn heartbeat(
        &mut self,
        now: WallTime,
        session: Session,
        beat: u64,
        holds: &[AttemptId],
        effects: &mut Vec<Effect>,
    ) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        connection.silent = false;
        // The worker counts what is on its way to it as leased from this heartbeat too; for so long, but not for ever.
        let is_new = |job| match self.state.job(job) {
            Some(JobState::Running { since, .. }) => now < since.after(2 * self.policy.lease),
            _ => false,
        };
        let on_its_way = connection.busy.iter().filter(|of| is_new(of.job));
        for AttemptId { job, attempt } in holds.iter().chain(on_its_way) {
            if self.state.is_current(&connection.worker, *job, *attempt) {
                self.leases.insert(*job, now.after(self.policy.lease));
            }
        }
        // A slot is free when its attempt was taken away and the worker has wound it down.
        let Connection { worker, busy, .. } = connection;
        busy.retain(|held| holds.contains(held) || self.state.is_current(worker, held.job, held.attempt));
        // What it named before and does not any more it has wound down; what it never named may be on its way to it.
        let named = std::mem::replace(&mut connection.named, holds.iter().copied().collect());
        let ended: BTreeSet<_> = named.difference(&connection.named).copied().collect();
        self.winding.retain(|job, winding| !ended.contains(&AttemptId::new(*job, winding.attempt)));
        effects.push(Effect::Renew(session, beat));
    }

    fn reported(&mut self, now: WallTime, session: Session, report: Report, effects: &mut Vec<Effect>) {
        let Report { sequence, job, attempt, body } = report;
        let Some(connection) = self.connections.get_mut(&session) else { return };
        connection.silent = false;
        if matches!(body, ReportBody::Ended(_)) {
            connection.busy.remove(&AttemptId { job, attempt });
            if self.winding.get(&job).is_some_and(|winding| winding.attempt == attempt) {
                self.winding.remove(&job);
            }
        }
        // A straggler from a past attempt is heard out and dropped.
        let worker = connection.worker.clone();
        if self.state.is_current(&worker, job, attempt) {
            match &body {
                ReportBody::Ended(Ending::Failed(failure)) if failure.kind == FailureKind::Preempted => {
                    connection.rest.begin(now, &self.policy);
                }
                ReportBody::Ended(Ending::Finished(_)) | ReportBody::Epoch(..) => connection.rest = Rest::default(),
                ReportBody::Ended(Ending::Failed(_)) => {}
            }
            match body {
                ReportBody::Epoch(epoch, measurements) => {
                    self.leases.insert(job, now.after(self.policy.lease));
                    self.record(Record::Epoch { job, attempt, epoch, measurements, at: now }, effects);
                }
                ReportBody::Ended(ending) => self.ended(now, job, attempt, ending, effects),
            }
        }
        effects.push(Effect::Acknowledge(session, sequence));
    }

    /// Ends the current attempt of `job`.
    fn ended(&mut self, at: WallTime, job: JobId, attempt: Attempt, mut ending: Ending, effects: &mut Vec<Effect>) {
        let next = match &mut ending {
            Ending::Finished(_) => Next::Done,
            Ending::Failed(failure) => {
                let next = self.after_failure(at, job, failure.kind);
                if next == Next::GiveUp && failure.kind.is_transient() {
                    let failures = self.policy.failures;
                    failure.message += &format!(
                        " (given up after {failures} failures without getting further; `plusminus resume` tries again)"
                    );
                }
                next
            }
        };
        let why = if let Ending::Failed(failure) = &ending { Some(failure.clone()) } else { None };
        self.leases.remove(&job);
        self.inherited.remove(&job);
        self.record(Record::Ended { job, attempt, ending, next, at }, effects);
        match next {
            Next::Done => self.settle(at, job, effects),
            Next::GiveUp => self.strand(at, [job].into(), why, effects),
            // What it builds on may have failed, or been lost, while the attempt was made.
            Next::Retry { .. } => self.settle_origin(at, job, effects),
        }
    }

    fn after_failure(&self, now: WallTime, job: JobId, kind: FailureKind) -> Next {
        let Some(entry) = self.state.entry(job) else { return Next::GiveUp };
        let (failures, reached) = (entry.failures, entry.reached_before);
        let spread = |wait| now.after(wait - spread(job, entry.attempts, wait / 2));
        if kind == FailureKind::Preempted {
            // The worker was told to leave, or the weights that the job builds on were gone: no fault of the job's. What has to do
            // with weights is not tried again at once, so that a file that stays away keeps nobody busy.
            let wait = if self.state.families.origin(job).is_some() { self.policy.backoff } else { 0 };
            return Next::Retry { not_before: spread(wait), failures, reached };
        }
        // An attempt that came further than all before it was not in vain, however it ended.
        let failures = if entry.reached > reached { 1 } else { failures + 1 };
        if !kind.is_transient() || failures >= self.policy.failures {
            return Next::GiveUp;
        }
        Next::Retry { not_before: spread(self.policy.pause(failures - 1)), failures, reached: entry.reached }
    }

    fn tick(&mut self, now: WallTime, effects: &mut Vec<Effect>) {
        // Where this process has stood still (a stopped machine, a slow disk), heartbeats have waited too: nobody is to blame.
        let stood = self.ticked.map_or(0, |ticked| now.0.saturating_sub(ticked.0));
        self.ticked = Some(now);
        if stood > self.policy.lease / 2 {
            self.leases.values_mut().for_each(|until| *until = until.after(stood));
        }
        self.winding.retain(|_, winding| winding.until > now);
        let passed: Vec<JobId> = self.leases.iter().filter(|(_, until)| **until <= now).map(|(job, _)| *job).collect();
        for job in passed {
            let Some(JobState::Running { attempt, worker, .. }) = self.state.job(job).cloned() else {
                self.leases.remove(&job);
                continue;
            };
            for (session, connection) in self.connections.iter_mut().filter(|(_, c)| c.worker == worker) {
                connection.silent = true;
                effects.push(Effect::Stop { session: *session, job, attempt });
            }
            let seconds = self.policy.lease as f64 / 1000.0;
            self.gone(
                now,
                job,
                attempt,
                format!("nothing was heard of it from worker {worker} for {seconds} s"),
                effects,
            );
        }
    }

    /// Gives queued jobs to free slots: the next job in turn to the connection with the most free slots.
    fn dispatch(&mut self, now: WallTime, effects: &mut Vec<Effect>) {
        let mut waiting = Vec::new();
        loop {
            let [others, gpus] = [false, true].map(|gpu| self.freest(now, gpu));
            // Who looks for a job goes through the queue: not where nobody could take it.
            if others.is_none() && gpus.is_none() {
                break;
            }
            let Some(entry) = self.next_in_turn(now, gpus.is_some()) else { break };
            let to = match (others, gpus) {
                (_, Some(gpus)) if entry.gpu => Some(gpus),
                // Where jobs wait for a GPU, it is kept free of those that others can train.
                (Some(others), Some(gpus)) if !self.state.queue.waits_for_gpus() => Some(others.max(gpus)),
                (others, gpus) => others.or(gpus),
            };
            let Some((_, Reverse(session), worker)) = to else { break };
            let (job, attempt, seed) = (entry.id, Attempt(entry.attempts).next(), entry.seed);
            let configuration = Arc::clone(&self.state.cells[entry.cell as usize].configuration);
            let families = &self.state.families;
            let origin = families.origin(job).and_then(|origin| Some((origin.job, families.file(origin)?)));
            let keeps = families.wanted(job);
            self.record(Record::Assigned { job, attempt, worker, at: now }, effects);
            self.leases.insert(job, now.after(self.policy.lease));
            if let Some(connection) = self.connections.get_mut(&session) {
                connection.busy.insert(AttemptId { job, attempt });
            }
            waiting.push(Effect::Assign { session, job, attempt, configuration, seed, origin, keeps });
        }
        effects.append(&mut waiting);
    }

    /// The next job for a worker with a GPU, or without.
    fn next_in_turn(&self, now: WallTime, gpu: bool) -> Option<&Entry> {
        let due = |state: &JobState| matches!(state, JobState::Queued { not_before } if *not_before <= now);
        let mut jobs = self.state.in_turn(self.policy.only.as_ref(), gpu);
        let is_free = |entry: &Entry| {
            due(&entry.state) && self.state.has_what_it_builds_on(entry.id) && !self.winding.contains_key(&entry.id)
        };
        jobs.find(|entry| is_free(entry))
    }

    /// The connection with the most free slots among those with a GPU, or without.
    fn freest(&self, now: WallTime, gpu: bool) -> Option<(usize, Reverse<Session>, WorkerName)> {
        let free = |connection: &Connection| (connection.slots as usize).saturating_sub(connection.busy.len());
        let takes = |c: &Connection| c.gpu == gpu && free(c) > 0 && !c.silent && c.rest.until <= now;
        let candidates = self.connections.iter().filter(|(_, connection)| takes(connection));
        let freest = candidates.max_by_key(|(session, connection)| (free(connection), Reverse(**session)));
        freest.map(|(session, connection)| (free(connection), Reverse(*session), connection.worker.clone()))
    }
}

impl Rest {
    fn begin(&mut self, now: WallTime, policy: &Policy) {
        // What it has given back in one breath counts once.
        if self.until <= now {
            self.until = now.after(policy.pause(self.times));
            self.times += 1;
        }
    }
}

/// A number up to `most` that follows from a job and its attempts: core has no other chance.
fn spread(job: JobId, attempts: u32, most: u64) -> u64 {
    let hash = blake3::hash(format!("{job} {attempts}").as_bytes());
    let number = hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    number % most.saturating_add(1)
}
