//! The synchronous part of the daemon: passes events to the agent and performs its effects on an [`Environment`].
//!
//! The daemon implements the environment with processes, sockets and files, the simulation with an agenda. The rules between agent and
//! environment exist only here: what may be sent over which connection, which runner process a message is for, what a failed start
//! leads to, when checkpoints are removed.

use crate::agent::{Agent, BootTime, Effect, Equipment, Event, OutboxEntry, RunnerEvent, RunnerExit};
use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_proto::v1::{self, from_worker, to_runner, to_worker};
use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::ops::ControlFlow;

/// Checkpoints of this many finished jobs are removed together; most jobs have none.
const REMOVALS: usize = 256;

/// What the shell acts upon. No method blocks.
pub trait Environment {
    /// The current time.
    fn now(&self) -> BootTime;

    /// Sends a Hello over the connection that is being opened.
    fn introduce(&mut self, hello: v1::Hello);

    /// Sends a message over the open connection. Returns false if the connection cannot be used any longer.
    fn send(&mut self, message: from_worker::Message) -> bool;

    /// Starts a runner process. Returns the reason if that fails.
    ///
    /// # Errors
    /// A sentence that says so, with the operating system's reason.
    fn start_runner(&mut self, runner: usize, generation: u64, equipment: &Equipment) -> Result<(), String>;

    /// Sends a message to the latest process of a runner.
    fn send_to_runner(&mut self, runner: usize, lane: u32, message: to_runner::Message);

    /// Kills the latest process of a runner.
    fn kill_runner(&mut self, runner: usize);

    /// Starts a transfer of weights. Its result arrives as [`Event::WeightsFetched`] or [`Event::WeightsDelivered`].
    fn start_transfer(&mut self, attempt: AttemptId, transfer: Transfer);

    /// Aborts the transfer of an attempt, if there is one.
    fn abort_transfer(&mut self, attempt: AttemptId);

    /// Removes unused files from the cache of weights while it exceeds its limit, but none of `needed`.
    fn trim_cache(&mut self, needed: BTreeSet<Digest>);

    /// Stores an entry of the outbox on disk.
    fn store_entry(&mut self, entry: OutboxEntry);

    /// Deletes an entry of the outbox from disk.
    fn delete_entry(&mut self, sequence: u64);

    /// Removes the checkpoints of finished jobs.
    fn remove_checkpoints(&mut self, jobs: Vec<JobId>);
}

/// A transfer of weights between the worker and the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Parent weights to the worker.
    Fetch {
        /// The job that kept the weights.
        parent: JobId,
        /// The file.
        digest: Digest,
        /// Files that must stay in the cache.
        needed: BTreeSet<Digest>,
    },
    /// Kept weights to the coordinator.
    Deliver(BTreeSet<Digest>),
}

/// The worker is drained and exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Reports that stay in the outbox on disk.
    pub undelivered: usize,
}

/// The agent with the state that its effects depend on.
#[derive(Debug)]
pub struct Shell {
    agent: Agent,
    connection: Connection,
    /// By runner: the generation of the latest process that was started.
    generations: Vec<Option<u64>>,
    /// Finished jobs whose checkpoints are not removed yet.
    finished: Vec<JobId>,
}

#[derive(Debug)]
enum Connection {
    Closed,
    /// The environment is opening a connection and waits for a Hello.
    Opening,
    /// The Welcome has arrived.
    Open,
}

impl Shell {
    /// A shell without connection and runners.
    pub fn new(agent: Agent) -> Self {
        let generations = agent.runners().map(|_| None).collect();
        Shell { agent, connection: Connection::Closed, generations, finished: Vec::new() }
    }

    /// The agent, to be inspected.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Passes an event to the agent and performs its effects. Breaks when the worker exits.
    pub fn handle(&mut self, environment: &mut impl Environment, event: Event) -> ControlFlow<Exit> {
        match &event {
            Event::Connecting => self.connection = Connection::Opening,
            Event::Received(to_worker::Message::Welcome(_)) => self.connection = Connection::Open,
            Event::Disconnected => self.connection = Connection::Closed,
            Event::Tick => self.remove_checkpoints(environment),
            _ => {}
        }
        // An effect may cause another event at once.
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.agent.handle(environment.now(), event) {
                events.extend(self.perform(environment, effect)?);
            }
        }
        ControlFlow::Continue(())
    }

    /// Performs an effect. Returns the event that it causes at once, if any.
    fn perform(&mut self, environment: &mut impl Environment, effect: Effect) -> ControlFlow<Exit, Option<Event>> {
        match effect {
            Effect::Send(message) => self.send(environment, message),
            Effect::StartRunner { runner, generation } => {
                return ControlFlow::Continue(self.start_runner(environment, runner, generation));
            }
            Effect::SendToRunner { runner, generation, lane, message } => {
                if self.is_latest(runner, generation) {
                    environment.send_to_runner(runner, lane, message);
                }
            }
            Effect::KillRunner { runner, generation } => {
                if self.is_latest(runner, generation) {
                    environment.kill_runner(runner);
                }
            }
            Effect::FetchWeights { attempt, parent, digest, needed } => {
                environment.start_transfer(attempt, Transfer::Fetch { parent, digest, needed });
            }
            Effect::DeliverWeights { attempt, weights } => {
                environment.start_transfer(attempt, Transfer::Deliver(weights));
            }
            Effect::AbortTransfer(attempt) => environment.abort_transfer(attempt),
            Effect::TrimCache(needed) => environment.trim_cache(needed),
            Effect::StoreEntry(entry) => environment.store_entry(entry),
            Effect::DeleteEntry(sequence) => environment.delete_entry(sequence),
            Effect::RemoveCheckpoints(job) => {
                self.finished.push(job);
                if self.finished.len() >= REMOVALS {
                    self.remove_checkpoints(environment);
                }
            }
            Effect::Exit { undelivered } => {
                self.remove_checkpoints(environment);
                return ControlFlow::Break(Exit { undelivered });
            }
        }
        ControlFlow::Continue(None)
    }

    /// Sends a Hello over a connection that is being opened, and everything else over an open one.
    fn send(&mut self, environment: &mut impl Environment, message: from_worker::Message) {
        match message {
            from_worker::Message::Hello(hello) => {
                if matches!(self.connection, Connection::Opening) {
                    self.connection = Connection::Closed;
                    environment.introduce(hello);
                }
            }
            message => {
                if matches!(self.connection, Connection::Open) && !environment.send(message) {
                    self.connection = Connection::Closed;
                }
            }
        }
    }

    fn start_runner(&mut self, environment: &mut impl Environment, runner: usize, generation: u64) -> Option<Event> {
        let equipment = self.agent.runners().nth(runner)?;
        match environment.start_runner(runner, generation, equipment) {
            Ok(()) => {
                self.generations[runner] = Some(generation);
                None
            }
            Err(why) => {
                let event = RunnerEvent::Exited(RunnerExit::NotStarted(why), String::new());
                Some(Event::Runner { runner, generation, event })
            }
        }
    }

    fn is_latest(&self, runner: usize, generation: u64) -> bool {
        self.generations.get(runner) == Some(&Some(generation))
    }

    fn remove_checkpoints(&mut self, environment: &mut impl Environment) {
        if !self.finished.is_empty() {
            environment.remove_checkpoints(mem::take(&mut self.finished));
        }
    }
}
