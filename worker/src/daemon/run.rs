//! The daemon's event loop: the coordinator's messages, results of runners and transfers, the clock, the request to drain.

use super::checkpoints::{self, Interval, SEARCH_INTERVAL};
use super::environment::HostEnvironment;
use super::sensors::read_sensors;
use super::shell::{Environment, Exit, Shell};
use crate::agent::{Agent, Equipment, Event, Settings};
use crate::clock;
use crate::error::WorkerError;
use crate::journal::Journal;
use crate::link::{Link, LinkEvent};
use crate::runner::RunnerOptions;
use crate::state::StateDirectory;
use crate::weights::Cache;
use plusminus_proto::v1::to_worker;
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::transport::Endpoint;
use tracing::{info, warn};

/// The capacity of each queue of events. A full queue blocks its senders.
const QUEUE: usize = 256;
/// Events of one queue that are handled before the other sources are polled.
const BATCH: usize = 256;

/// The configuration of a worker.
#[derive(Debug)]
pub struct Options {
    /// The coordinator's URL.
    pub coordinator: String,
    /// The worker's state directory.
    pub state: StateDirectory,
    /// The worker's unique name, as stored in the state directory.
    pub name: String,
    /// The devices to train on.
    pub equipment: Vec<Equipment>,
    /// Whether a drain without a connection ends at once: the worker was started by its coordinator, which has exited.
    pub attached: bool,
    /// How long to try to open the first connection.
    pub patience: Duration,
    /// How long runners may take to write a checkpoint and stop when the worker drains.
    pub grace: Duration,
    /// How long a runner may train without a message before it is killed.
    pub stall: Duration,
    /// The directory for parent weights and kept weights, not shared with other workers. Default: in the state directory.
    pub cache: Option<PathBuf>,
    /// The directory for checkpoints. Default: in the state directory.
    pub checkpoints: Option<PathBuf>,
    /// The runner program. `--cache` and `--checkpoints` are appended to its arguments.
    pub runner: RunnerOptions,
}

/// Connects to the coordinator and trains until `stop` completes; then drains.
///
/// # Errors
/// If the first connection cannot be opened or the state directory cannot be used. Later connections are retried without limit.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), WorkerError> {
    let (link_events, mut from_link) = mpsc::channel(QUEUE);
    let (events, mut from_tasks) = mpsc::channel(QUEUE);
    let link = Link::new(&options.coordinator, link_events)?;
    let patience = options.patience;
    let mut daemon = Daemon::open(options, link.endpoint(), events)?;
    let link = tokio::spawn(link.run(patience));
    let mut stop = std::pin::pin!(stop);
    let mut draining = false;
    let result = loop {
        let due = daemon.due();
        let flow = tokio::select! {
            biased;
            () = &mut stop, if !draining => {
                draining = true;
                info!("leaving: stopping all attempts and delivering their reports");
                daemon.handle(Event::Drain)
            }
            () = sleep_until(due) => daemon.tick(),
            Some(event) = from_link.recv() => match daemon.link_events(event, &mut from_link) {
                Ok(flow) => flow,
                Err(error) => break Err(error),
            },
            Some(event) = from_tasks.recv() => daemon.task_events(event, &mut from_tasks),
        };
        if let ControlFlow::Break(exit) = flow {
            break Ok(exit);
        }
    };
    link.abort();
    daemon.close(result.as_ref().map_or(0, |exit| exit.undelivered)).await;
    result.map(|_| ())
}

struct Daemon {
    shell: Shell,
    environment: HostEnvironment,
    state: StateDirectory,
    checkpoint_search: Interval,
    /// The message for the log at the first connection.
    greeting: Option<Greeting>,
}

struct Greeting {
    name: String,
    slots: u32,
    coordinator: String,
}

impl Daemon {
    /// Opens the worker's directories and loads its outbox.
    fn open(options: Options, endpoint: Endpoint, events: mpsc::Sender<Event>) -> Result<Self, WorkerError> {
        let Options { coordinator, state, name, equipment, attached, grace, stall, mut runner, .. } = options;
        let cache = Cache::open(&options.cache.unwrap_or_else(|| state.path().join("cache")))?;
        let checkpoints = options.checkpoints.unwrap_or_else(|| state.path().join("checkpoints"));
        // Absolute, because runners may have another working directory.
        let checkpoints = std::path::absolute(&checkpoints)
            .map_err(|error| WorkerError::State { path: checkpoints.clone(), error })?;
        runner.arguments.extend(["--cache".into(), cache.directory().into()]);
        runner.arguments.extend(["--checkpoints".into(), checkpoints.clone().into()]);
        let (journal, stored) = Journal::open(state.path())?;
        let sensors = equipment.iter().filter_map(|e| Some((e.device.name.clone(), e.uuid.clone()?)));
        tokio::spawn(read_sensors(sensors.collect(), events.clone()));
        let slots = equipment.iter().map(|equipment| equipment.device.slots).sum();
        let greeting = Some(Greeting { name: name.clone(), slots, coordinator });
        let instance = RandomState::new().hash_one(std::process::id());
        let agent = Agent::new(Settings { name, instance, equipment, attached, grace, stall });
        let environment = HostEnvironment {
            link: None,
            introduction: None,
            events,
            endpoint,
            runner_options: runner,
            runners: agent.runners().map(|_| None).collect(),
            warnings: Arc::default(),
            transfers: BTreeMap::new(),
            cache: Arc::new(cache),
            journal,
            checkpoints,
            removal: None,
        };
        let (shell, checkpoint_search) = (Shell::new(agent), Interval::new(SEARCH_INTERVAL));
        let mut daemon = Daemon { shell, environment, state, checkpoint_search, greeting };
        if !stored.is_empty() {
            info!(reports = stored.len(), "delivering reports of an earlier run");
            let _ = daemon.handle(Event::OutboxLoaded(stored));
        }
        Ok(daemon)
    }

    fn handle(&mut self, event: Event) -> ControlFlow<Exit> {
        self.shell.handle(&mut self.environment, event)
    }

    /// When the next tick is due.
    fn due(&self) -> Instant {
        Instant::now() + self.shell.agent().due().since(self.environment.now())
    }

    fn tick(&mut self) -> ControlFlow<Exit> {
        if self.checkpoint_search.is_due(clock::now()) {
            let directory = self.environment.checkpoints.clone();
            tokio::task::spawn_blocking(move || checkpoints::remove_expired(&directory));
        }
        self.handle(Event::Tick)
    }

    /// Handles an event and those queued behind it, up to a batch.
    fn task_events(&mut self, first: Event, queue: &mut mpsc::Receiver<Event>) -> ControlFlow<Exit> {
        self.handle(first)?;
        for _ in 1..BATCH {
            let Ok(event) = queue.try_recv() else { break };
            self.handle(event)?;
        }
        ControlFlow::Continue(())
    }

    /// Handles an event of the link and those queued behind it, up to a batch.
    fn link_events(
        &mut self,
        first: LinkEvent,
        queue: &mut mpsc::Receiver<LinkEvent>,
    ) -> Result<ControlFlow<Exit>, WorkerError> {
        let mut flow = self.link_event(first)?;
        for _ in 1..BATCH {
            if flow.is_break() {
                break;
            }
            let Ok(event) = queue.try_recv() else { break };
            flow = self.link_event(event)?;
        }
        Ok(flow)
    }

    fn link_event(&mut self, event: LinkEvent) -> Result<ControlFlow<Exit>, WorkerError> {
        let event = match event {
            LinkEvent::Connecting(introduction) => {
                (self.environment.link, self.environment.introduction) = (None, Some(introduction));
                Event::Connecting
            }
            LinkEvent::Connected(sender, welcome) => {
                if let Some(Greeting { name, slots, coordinator }) = mem::take(&mut self.greeting) {
                    info!(name, slots, "connected to {coordinator}");
                }
                self.environment.link = Some(sender);
                Event::Received(to_worker::Message::Welcome(welcome))
            }
            LinkEvent::Received(message) => Event::Received(message),
            LinkEvent::Disconnected => {
                self.environment.link = None;
                Event::Disconnected
            }
            LinkEvent::Failed(error) => return Err(error),
        };
        Ok(self.handle(event))
    }

    /// Waits for the disk and logs which reports were not delivered.
    async fn close(self, undelivered: usize) {
        let HostEnvironment { journal, removal, .. } = self.environment;
        if let Some(removal) = removal {
            // A failed removal is logged where it happens.
            let _ = removal.await;
        }
        let unwritten = tokio::task::spawn_blocking(move || journal.close()).await.unwrap_or(0);
        let path = self.state.path().display();
        if unwritten > 0 {
            warn!(
                "{unwritten} reports could neither be delivered nor stored in {path}: they are lost, and their jobs are trained again"
            );
        }
        let stored = undelivered.saturating_sub(unwritten);
        if stored > 0 {
            warn!(
                "{stored} reports are not delivered; they are stored in {path}, and the next worker with this --state delivers them"
            );
        }
    }
}
