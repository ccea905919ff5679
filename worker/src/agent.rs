//! The daemon's one loop: what the coordinator, the runners and the clock say, and what follows from it.

use crate::error::WorkerError;
use crate::event::{Event, Of, Said, Sender, Told};
use crate::link::Link;
use crate::outbox::Outbox;
use crate::runner::{Runner, RunnerOptions};
use crate::weights::{self, Cache};
use plusminus_core::id::{Attempt, Digest, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::convert::{self, attempt_id, required_attempt};
use plusminus_proto::v1::{self, from_runner, from_worker, report::News, to_runner};
use plusminus_trainer::{Means, Memory};
use std::collections::BTreeSet;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tonic::transport::Endpoint;
use tracing::{debug, info, warn};

/// How long a runner may take to stop when it is told to, and an ending to be acknowledged when the worker leaves.
const GRACE: Duration = Duration::from_secs(5);

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The coordinator's URL.
    pub coordinator: String,
    /// The worker's name, no other worker's.
    pub name: String,
    /// Attempts at once.
    pub slots: u32,
    /// Whether to go at once when told to while nobody listens: the coordinator has gone for good.
    pub attached: bool,
    /// How long the first connection may take.
    pub patience: Duration,
    /// Where weights lie that jobs build on, this worker's and no other's; without it in a temporary directory.
    pub cache: Option<PathBuf>,
    /// How runners are started; they are told of the cache besides.
    pub runner: RunnerOptions,
}

/// Work in hand.
struct Work {
    job: JobId,
    attempt: Attempt,
    /// What it was told to train.
    assignment: v1::Assignment,
    /// The transfer of the weights that it builds on, until they are here and its runner begins.
    fetching: Option<AbortHandle>,
    /// When its runner is killed for not stopping.
    deadline: Option<Instant>,
}

/// An attempt that has ended and whose weights are on their way to the coordinator; its ending is reported after them.
struct Delivery {
    of: Of,
    ending: v1::Ending,
    weights: BTreeSet<Digest>,
    transfer: AbortHandle,
}

#[derive(Default)]
struct Slot {
    runner: Option<Runner>,
    generation: u64,
    work: Option<Work>,
}

/// A worker daemon.
pub struct Agent {
    options: Options,
    slots: Vec<Slot>,
    deliveries: Vec<Delivery>,
    outbox: Outbox,
    cache: Arc<Cache>,
    endpoint: Endpoint,
    link: Option<Sender>,
    heartbeat: Duration,
    events: mpsc::Sender<Event>,
    leaving: Option<Instant>,
    instance: u64,
}

impl Agent {
    /// Connects, then works until `stop`; leaves cleanly: attempts in hand are given back.
    ///
    /// # Errors
    /// If the coordinator cannot be reached at first. Once it has been, a broken connection is made again for ever.
    pub async fn run(mut options: Options, stop: impl Future<Output = ()>) -> Result<(), WorkerError> {
        let (events, mut inbox) = mpsc::channel(256);
        let link = Link::new(&options.coordinator, events.clone())?;
        let cache = Cache::open(options.cache.as_deref())?;
        options.runner.arguments.extend(["--cache".into(), cache.directory().into()]);
        let mut agent = Agent {
            slots: (0..options.slots).map(|_| Slot::default()).collect(),
            deliveries: Vec::new(),
            cache: Arc::new(cache),
            endpoint: link.endpoint(),
            outbox: Outbox::default(),
            link: None,
            heartbeat: Duration::from_secs(1),
            events,
            leaving: None,
            instance: RandomState::new().hash_one(std::process::id()),
            options,
        };
        let connection = link.first(agent.hello(), agent.options.patience).await?;
        let Options { name, slots, runner, coordinator, .. } = &agent.options;
        info!(name, slots, threads = runner.means.threads, "connected to {coordinator}");
        let keeper = tokio::spawn(link.keep(connection));
        let mut stop = std::pin::pin!(stop);
        let mut next_beat = Instant::now();
        while !agent.has_left() {
            tokio::select! {
                () = &mut stop, if agent.leaving.is_none() => agent.leave(),
                Some(event) = inbox.recv() => agent.take(event),
                () = sleep_until(next_beat) => {
                    next_beat = Instant::now() + agent.heartbeat;
                    agent.beat();
                }
                () = sleep_until(agent.deadline().unwrap_or(next_beat)), if agent.deadline().is_some() => {
                    agent.kill_what_does_not_stop();
                }
            }
            agent.pump();
        }
        keeper.abort();
        Ok(())
    }

    fn hello(&self) -> v1::Hello {
        // Who is leaving takes nothing more.
        let slots = if self.leaving.is_some() { 0 } else { self.options.slots };
        v1::Hello {
            worker: self.options.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            devices: vec![v1::Device { name: "cpu".to_owned(), slots }],
            holds: self.holds(),
            instance: self.instance,
        }
    }

    fn holds(&self) -> Vec<v1::AttemptId> {
        let training = self.slots.iter().filter_map(|slot| slot.work.as_ref()).map(|work| (work.job, work.attempt));
        let delivering = self.deliveries.iter().map(|delivery| delivery.of);
        training.chain(delivering).chain(self.outbox.endings()).map(|(job, attempt)| attempt_id(job, attempt)).collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connected(sender, welcome) => {
                self.link = Some(sender);
                self.heartbeat = Duration::from_millis(welcome.heartbeat_milliseconds.max(10));
                self.outbox.rewind();
            }
            Event::Disconnected(reply) => {
                self.link = None;
                // The link may have been stopped.
                let _ = reply.send(self.hello());
            }
            // It comes once, first.
            Event::Told(Told::Welcome(_) | Told::Renewed(_)) => {}
            Event::Told(Told::Assignment(assignment)) => self.begin(assignment),
            Event::Told(Told::Stop(stop)) => match required_attempt(stop.of.as_ref()) {
                Ok(of) => self.stop(of),
                Err(error) => warn!(%error, "the coordinator's message is not understood"),
            },
            Event::Told(Told::Acknowledgement(acknowledgement)) => self.outbox.acknowledge(acknowledgement.sequence),
            Event::Runner(slot, generation, said) => self.heard(slot, generation, said),
            Event::Fetched(of, fetched) => self.fetched(of, fetched),
            Event::Delivered(of, delivered) => self.delivered(of, delivered),
        }
    }

    fn begin(&mut self, assignment: v1::Assignment) {
        let (job, attempt) = match required_attempt(assignment.of.as_ref()) {
            Ok(of) => of,
            Err(error) => return warn!(%error, "the coordinator's message is not understood"),
        };
        if self.leaving.is_some() {
            return self.end(job, attempt, Failure::new(FailureKind::Preempted, "the worker is leaving"));
        }
        let Some(index) = self.slots.iter().position(|slot| slot.work.is_none()) else {
            return self.end(job, attempt, Failure::new(FailureKind::Infrastructure, "the worker has no free slot"));
        };
        let parent = match assignment.parent.as_ref().map(v1::ParentWeights::to_core).transpose() {
            Ok(parent) => parent,
            Err(error) => return self.end(job, attempt, Failure::new(FailureKind::UserError, error.to_string())),
        };
        debug!(%job, %attempt, slot = index, "begins");
        let slot = &mut self.slots[index];
        if slot.runner.is_none() {
            slot.generation += 1;
            match Runner::start(&self.options.runner, index, slot.generation, self.events.clone()) {
                Ok(runner) => slot.runner = Some(runner),
                Err(error) => {
                    let failure = format!("cannot start a runner process: {error}");
                    return self.end(job, attempt, Failure::new(FailureKind::Infrastructure, failure));
                }
            }
        }
        let fetching = parent.map(|(parent, digest)| {
            let needed = self.needed().chain([digest]).collect();
            let (endpoint, cache, events) = (self.endpoint.clone(), Arc::clone(&self.cache), self.events.clone());
            let transfer = tokio::spawn(async move {
                let fetched = weights::fetch(endpoint, cache, parent, digest, needed).await;
                // The agent may have left.
                let _ = events.send(Event::Fetched((job, attempt), fetched)).await;
            });
            transfer.abort_handle()
        });
        let slot = &mut self.slots[index];
        if let (Some(runner), None) = (&slot.runner, &fetching) {
            runner.tell(to_runner::Message::Train(assignment.clone()));
        }
        slot.work = Some(Work { job, attempt, assignment, fetching, deadline: None });
    }

    /// The files of weights that must stay in the cache for now.
    fn needed(&self) -> impl Iterator<Item = Digest> + '_ {
        let works = self.slots.iter().filter_map(|slot| slot.work.as_ref());
        let built_on = works.filter_map(|work| Some(work.assignment.parent.as_ref()?.to_core().ok()?.1));
        built_on.chain(self.deliveries.iter().flat_map(|delivery| &delivery.weights).copied())
    }

    fn fetched(&mut self, of: Of, fetched: Result<(), Failure>) {
        let waits = |work: &Work| (work.job, work.attempt) == of && work.fetching.is_some();
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.work.as_ref().is_some_and(waits)) else { return };
        match (fetched, &slot.runner, &mut slot.work) {
            (Ok(()), Some(runner), Some(work)) => {
                work.fetching = None;
                runner.tell(to_runner::Message::Train(work.assignment.clone()));
            }
            (fetched, ..) => {
                slot.work = None;
                let gone = || Failure::new(FailureKind::Infrastructure, "the runner process has ended");
                self.end(of.0, of.1, fetched.err().unwrap_or_else(gone));
            }
        }
    }

    /// Takes in that a runner has trained its job to the end, or failed: what it leaves for others goes ahead of the news.
    fn ended(&mut self, of: Of, ending: v1::Ending) {
        let kept = match &ending.how {
            Some(v1::ending::How::Finished(facts)) => {
                facts.kept.values().map(|digest| convert::digest(digest)).collect()
            }
            _ => Ok(BTreeSet::new()),
        };
        let weights = match kept {
            Ok(weights) => weights,
            Err(error) => return self.end(of.0, of.1, Failure::new(FailureKind::Infrastructure, error.to_string())),
        };
        if weights.is_empty() {
            return self.outbox.push(of, News::Ended(ending));
        }
        let (endpoint, cache, events) = (self.endpoint.clone(), Arc::clone(&self.cache), self.events.clone());
        let handed_in = weights.clone();
        let transfer = tokio::spawn(async move {
            let delivered = weights::deliver(endpoint, cache, handed_in).await;
            // The agent may have left.
            let _ = events.send(Event::Delivered(of, delivered)).await;
        });
        self.deliveries.push(Delivery { of, ending, weights, transfer: transfer.abort_handle() });
    }

    fn delivered(&mut self, of: Of, delivered: Result<(), Failure>) {
        let Some(at) = self.deliveries.iter().position(|delivery| delivery.of == of) else { return };
        let Delivery { ending, .. } = self.deliveries.remove(at);
        let (cache, needed) = (Arc::clone(&self.cache), self.needed().collect());
        tokio::task::spawn_blocking(move || cache.make_room(&needed));
        match delivered {
            Ok(()) => self.outbox.push(of, News::Ended(ending)),
            Err(failure) => self.end(of.0, of.1, failure),
        }
    }

    /// Stops an attempt, whatever it is at.
    fn stop(&mut self, of: Of) {
        self.stop_training(|work| (work.job, work.attempt) == of);
        if let Some(at) = self.deliveries.iter().position(|delivery| delivery.of == of) {
            self.deliveries.remove(at).transfer.abort();
            self.end(of.0, of.1, Failure::new(FailureKind::Preempted, "stopped before its weights were delivered"));
        }
    }

    /// Tells the runners of the chosen work to stop; they say when they have. What has no weights yet to begin with ends at once.
    fn stop_training(&mut self, chosen: impl Fn(&Work) -> bool) {
        let mut ended = Vec::new();
        for slot in &mut self.slots {
            let Some(work) = slot.work.as_mut().filter(|work| chosen(work) && work.deadline.is_none()) else {
                continue;
            };
            if let Some(transfer) = &work.fetching {
                transfer.abort();
                ended.push((work.job, work.attempt));
                slot.work = None;
            } else if let Some(runner) = &slot.runner {
                work.deadline = Some(Instant::now() + GRACE);
                runner.tell(to_runner::Message::Stop(v1::StopTraining {}));
            }
        }
        for (job, attempt) in ended {
            self.end(job, attempt, Failure::new(FailureKind::Preempted, "stopped before it had begun"));
        }
    }

    fn heard(&mut self, index: usize, generation: u64, said: Said) {
        let slot = &mut self.slots[index];
        if slot.generation != generation {
            return;
        }
        let work = slot.work.as_ref().map(|work| (work.job, work.attempt));
        match said {
            Said::Message(message) => {
                let Some(of) = work else { return };
                match message {
                    from_runner::Message::Progress(progress) => {
                        let of = Some(attempt_id(of.0, of.1));
                        let report = v1::ProgressReport { of, progress: Some(progress) };
                        // The next one comes soon.
                        self.try_send(from_worker::Message::Progress(report));
                    }
                    from_runner::Message::Epoch(epoch) => self.outbox.push(of, News::Epoch(epoch)),
                    from_runner::Message::Ended(ending) => {
                        slot.work = None;
                        self.ended(of, ending);
                    }
                }
            }
            Said::Exited { how, killed, log } => {
                let stopped = slot.work.as_ref().is_some_and(|work| work.deadline.is_some());
                slot.runner = None;
                let Some(Work { job, attempt, assignment, fetching, .. }) = slot.work.take() else { return };
                if let Some(transfer) = fetching {
                    transfer.abort();
                }
                let failure = if stopped {
                    Failure::new(FailureKind::Preempted, "the runner was killed for not stopping in time")
                } else if killed {
                    let need = memory(&assignment, self.options.runner.means);
                    let advice = "give fewer --slots or a smaller batch_size";
                    let why = format!("as the system does when memory runs out{need}; {advice}");
                    Failure::new(FailureKind::OutOfMemory, format!("the runner process {how}, {why}"))
                } else {
                    let last =
                        if log.is_empty() { "it logged nothing".to_owned() } else { format!("its log ends: {log}") };
                    Failure::new(FailureKind::Infrastructure, format!("the runner process {how}; {last}"))
                };
                self.end(job, attempt, failure);
            }
        }
    }

    fn end(&mut self, job: JobId, attempt: Attempt, failure: Failure) {
        let ending = v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) };
        self.outbox.push((job, attempt), News::Ended(ending));
    }

    fn beat(&mut self) {
        let heartbeat = v1::Heartbeat { holds: self.holds(), beat: 0 };
        self.try_send(from_worker::Message::Heartbeat(heartbeat));
    }

    /// Sends what the connection has room for; the rest waits in the outbox.
    fn pump(&mut self) {
        while let Some(report) = self.outbox.unsent() {
            let sequence = report.sequence;
            if !self.try_send(from_worker::Message::Report(report)) {
                return;
            }
            self.outbox.sent(sequence);
        }
    }

    fn try_send(&self, message: from_worker::Message) -> bool {
        let message = v1::FromWorker { message: Some(message) };
        self.link.as_ref().is_some_and(|link| link.try_send(message).is_ok())
    }

    fn leave(&mut self) {
        info!("leaving: giving back what is in hand");
        self.leaving = Some(Instant::now() + 2 * GRACE);
        self.try_send(from_worker::Message::Draining(v1::Draining {}));
        self.stop_training(|_| true);
    }

    /// Nothing is in hand or unacknowledged, or it has taken too long.
    fn has_left(&self) -> bool {
        let idle = || self.slots.iter().all(|slot| slot.work.is_none());
        let empty = || self.outbox.is_empty() && self.deliveries.is_empty();
        let delivered = || empty() || (self.options.attached && self.link.is_none());
        self.leaving.is_some_and(|limit| (idle() && delivered()) || Instant::now() >= limit)
    }

    /// When something has to be looked at next.
    fn deadline(&self) -> Option<Instant> {
        let works = self.slots.iter().filter_map(|slot| slot.work.as_ref()?.deadline);
        works.chain(self.leaving).min()
    }

    fn kill_what_does_not_stop(&mut self) {
        let now = Instant::now();
        for slot in &mut self.slots {
            if slot.work.as_ref().and_then(|work| work.deadline).is_some_and(|deadline| deadline <= now)
                && let Some(runner) = &mut slot.runner
            {
                runner.kill();
                if let Some(work) = &mut slot.work {
                    // It is dead; that it is comes as an event.
                    work.deadline = Some(now + GRACE);
                }
            }
        }
    }
}

/// What training takes, in a half-sentence; nothing where it is not known.
fn memory(assignment: &v1::Assignment, means: Means) -> String {
    let memory = assignment.job().ok().and_then(|job| Memory::of(&job.configuration, means));
    memory.map_or_else(String::new, |memory| format!(" (the job takes about {memory})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_estimated_is_not_told() {
        assert_eq!(memory(&v1::Assignment::default(), Means::default()), "");
    }
}
