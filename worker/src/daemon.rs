//! The daemon: it tells the agent what happens on the network, in its runners and by the clock, and does what the agent asks for. It
//! decides nothing.

use crate::agent::{Agent, BootTime, Effect, Equipment, Event, RunnerEvent, RunnerExit, Settings};
use crate::clock;
use crate::error::WorkerError;
use crate::journal::Journal;
use crate::link::{self, Link, Sender};
use crate::runner::{Runner, RunnerOptions};
use crate::state::StateDirectory;
use crate::weights::{self, Cache};
use plusminus_core::id::{AttemptId, JobId};
use plusminus_cuda::{Monitor, Reading};
use plusminus_proto::v1::{self, from_worker};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep_until};
use tonic::transport::Endpoint;
use tracing::{info, warn};

/// Things that may wait for the agent from each side: whoever has more to say waits.
const QUEUE: usize = 256;
/// Events that are taken in together, and finished jobs whose checkpoints are removed together.
const TOGETHER: usize = 256;
/// Checkpoints that have not changed for so long are nobody's any more.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often the sensors of GPUs are read.
const READ: Duration = Duration::from_secs(5);
/// How often they are looked for.
const LOOKED_FOR: Duration = Duration::from_secs(24 * 3_600);

/// What a worker is started with.
#[derive(Debug)]
pub struct Options {
    /// The coordinator's URL.
    pub coordinator: String,
    /// The worker's state directory.
    pub state: StateDirectory,
    /// The worker's name, no other worker's: the one that its state directory knows.
    pub name: String,
    /// With what it trains.
    pub equipment: Vec<Equipment>,
    /// Whether to go at once when told to while nobody listens: the coordinator has gone for good.
    pub attached: bool,
    /// How long the first connection may take.
    pub patience: Duration,
    /// How long runners may take to stop, with a checkpoint, when the worker is told to leave.
    pub grace: Duration,
    /// How long a runner may train without a word.
    pub stall: Duration,
    /// Where weights lie that jobs build on, this worker's and no other's; without it in the state directory.
    pub cache: Option<PathBuf>,
    /// Where checkpoints lie; without it in the state directory.
    pub checkpoints: Option<PathBuf>,
    /// How runners are started; they are told of the directories besides.
    pub runner: RunnerOptions,
}

/// Connects, then works until `stop`; leaves cleanly: attempts in hand are given back.
///
/// # Errors
/// If the coordinator cannot be reached at first, or the state directory is of no use. Once there has been a connection, a broken one is
/// made again for ever.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), WorkerError> {
    let Options { coordinator, state, name, equipment, .. } = options;
    let Options { attached, patience, grace, stall, cache, checkpoints, mut runner, .. } = options;
    let (event, mut of_link) = mpsc::channel(QUEUE);
    let (events, mut of_work) = mpsc::channel(QUEUE);
    let link = Link::new(&coordinator, event)?;
    let cache = Cache::open(&cache.unwrap_or_else(|| state.path().join("cache")))?;
    let checkpoints = checkpoints.unwrap_or_else(|| state.path().join("checkpoints"));
    // A runner is told where it is, whatever its own directory.
    let checkpoints =
        std::path::absolute(&checkpoints).map_err(|error| WorkerError::State { path: checkpoints.clone(), error })?;
    runner.arguments.extend(["--cache".into(), cache.directory().into()]);
    runner.arguments.extend(["--checkpoints".into(), checkpoints.clone().into()]);
    let (journal, unsaid) = Journal::open(state.path())?;
    let sensors = equipment.iter().filter_map(|e| Some((e.device.name.clone(), e.uuid.clone()?)));
    tokio::spawn(read_sensors(sensors.collect(), events.clone()));
    let slots: u32 = equipment.iter().map(|equipment| equipment.device.slots).sum();
    let instance = RandomState::new().hash_one(std::process::id());
    let agent = Agent::new(Settings { name: name.clone(), instance, equipment, attached, grace, stall });
    let mut daemon = Daemon {
        runners: agent.runners().map(|_| None).collect(),
        agent,
        transfers: BTreeMap::new(),
        cache: Arc::new(cache),
        checkpoints,
        journal,
        endpoint: link.endpoint(),
        link: None,
        introduction: None,
        events,
        runner,
        finished: Vec::new(),
        forgotten: Every::new(LOOKED_FOR),
        undelivered: 0,
    };
    if !unsaid.is_empty() {
        info!(reports = unsaid.len(), "what was not delivered before is delivered now");
        let _ = daemon.tell(Event::Loaded(unsaid));
    }
    let keeper = tokio::spawn(link.keep(patience));
    let mut stop = std::pin::pin!(stop);
    let (mut stopping, mut known) = (false, false);
    let ended = 'working: loop {
        let due = daemon.sleeps_until();
        let flow = tokio::select! {
            biased;
            () = &mut stop, if !stopping => {
                stopping = true;
                info!("leaving: giving back what is in hand");
                daemon.tell(Event::Leave)
            }
            () = sleep_until(due) => {
                drop(daemon.remove_checkpoints());
                if daemon.forgotten.is_due(clock::now()) {
                    let checkpoints = daemon.checkpoints.clone();
                    tokio::task::spawn_blocking(move || forget(&checkpoints));
                }
                daemon.tell(Event::Tick)
            }
            Some(mut event) = of_link.recv() => {
                let mut left = TOGETHER;
                loop {
                    if let link::LinkEvent::GaveUp(error) = event {
                        break 'working Err(error);
                    }
                    if matches!(event, link::LinkEvent::Connected(..)) && !mem::replace(&mut known, true) {
                        info!(name, slots, "connected to {coordinator}");
                    }
                    let flow = daemon.of_link(event);
                    left -= 1;
                    if left == 0 || flow.is_break() {
                        break flow;
                    }
                    match of_link.try_recv() {
                        Ok(next) => event = next,
                        Err(_) => break flow,
                    }
                }
            }
            Some(event) = of_work.recv() => {
                let mut flow = daemon.tell(event);
                // What else has come, but not for so long that the coordinator and the clock would wait.
                for _ in 1..TOGETHER {
                    let Some(event) = of_work.try_recv().ok().filter(|_| flow.is_continue()) else { break };
                    flow = daemon.tell(event);
                }
                flow
            }
        };
        if flow.is_break() {
            break 'working Ok(());
        }
    };
    keeper.abort();
    daemon.close(&state).await;
    ended
}

/// Tells what the sensors of GPUs say, by the GPUs' names, from time to time for as long as there is a daemon and NVML to ask.
async fn read_sensors(sensors: Vec<(String, String)>, events: mpsc::Sender<Event>) {
    if sensors.is_empty() {
        return;
    }
    // A driver may take its time, so nobody else waits for it.
    let mut monitor = tokio::task::spawn_blocking(Monitor::open).await.ok().flatten();
    while let Some(there) = monitor.take() {
        let sensors = sensors.clone();
        let read = move || {
            let reading = |uuid: &str| {
                let Reading { memory_used, load, temperature, .. } = there.read(uuid)?;
                Some(v1::Reading { memory_used, load, temperature })
            };
            let readings = sensors.into_iter().filter_map(|(name, uuid)| Some((name, reading(&uuid)?))).collect();
            (there, readings)
        };
        let Ok((there, readings)) = tokio::task::spawn_blocking(read).await else { return };
        if events.send(Event::Read(readings)).await.is_err() {
            return;
        }
        monitor = Some(there);
        tokio::time::sleep(READ).await;
    }
}

/// What does what the agent asks for.
struct Daemon {
    agent: Agent,
    /// By number: which it is, and the process.
    runners: Vec<Option<(u64, Runner)>>,
    transfers: BTreeMap<AttemptId, AbortHandle>,
    cache: Arc<Cache>,
    checkpoints: PathBuf,
    journal: Journal,
    endpoint: Endpoint,
    link: Option<Sender>,
    /// Who waits for a Hello.
    introduction: Option<oneshot::Sender<v1::Hello>>,
    events: mpsc::Sender<Event>,
    runner: RunnerOptions,
    /// Jobs that have finished and may have left checkpoints.
    finished: Vec<JobId>,
    /// When checkpoints were last looked for that are nobody's any more.
    forgotten: Every,
    undelivered: usize,
}

/// What is to be done now, and again whenever so much time has passed.
struct Every {
    pause: u64,
    next: BootTime,
}

impl Every {
    fn new(pause: Duration) -> Self {
        Every { pause: pause.as_millis() as u64, next: BootTime(0) }
    }

    /// Whether it is to be done now; then it is not to be done again for a while.
    fn is_due(&mut self, now: BootTime) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now.after(self.pause);
        }
        due
    }
}

impl Daemon {
    fn of_link(&mut self, event: link::LinkEvent) -> ControlFlow<()> {
        match event {
            link::LinkEvent::Connecting(reply) => {
                self.link = None;
                self.introduction = Some(reply);
                self.tell(Event::Connecting)
            }
            link::LinkEvent::Connected(sender, welcome) => {
                self.link = Some(sender);
                self.tell(Event::Told(v1::to_worker::Message::Welcome(welcome)))
            }
            link::LinkEvent::Told(message) => self.tell(Event::Told(message)),
            link::LinkEvent::Disconnected => {
                self.link = None;
                self.tell(Event::Disconnected)
            }
            link::LinkEvent::GaveUp(_) => ControlFlow::Break(()),
        }
    }

    /// Tells the agent what has happened, and does what it asks for; breaks when the worker has left.
    fn tell(&mut self, event: Event) -> ControlFlow<()> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.agent.handle(clock::now(), event) {
                events.extend(self.act(effect)?);
            }
        }
        ControlFlow::Continue(())
    }

    /// When the agent wants to be told that time has passed.
    fn sleeps_until(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.agent.due().since(clock::now()))
    }

    /// Does what the agent asks for; says what has come of it at once, if anything has.
    fn act(&mut self, effect: Effect) -> ControlFlow<(), Option<Event>> {
        match effect {
            Effect::Send(message) => self.send(message),
            Effect::Start { runner, generation } => {
                return ControlFlow::Continue(self.start(runner, generation));
            }
            Effect::Tell { runner, generation, lane, message } => {
                if let Some(runner) = self.runner(runner, generation) {
                    runner.tell(lane, message);
                }
            }
            Effect::Kill { runner, generation } => {
                if let Some(runner) = self.runner(runner, generation) {
                    runner.kill();
                }
            }
            Effect::Fetch { of, parent, digest, needed } => {
                let (endpoint, cache) = (self.endpoint.clone(), Arc::clone(&self.cache));
                self.transfer(of, async move {
                    Event::Fetched(of, weights::fetch(endpoint, cache, parent, digest, needed).await)
                });
            }
            Effect::Deliver { of, weights } => {
                let (endpoint, cache) = (self.endpoint.clone(), Arc::clone(&self.cache));
                self.transfer(
                    of,
                    async move { Event::Delivered(of, weights::deliver(endpoint, cache, weights).await) },
                );
            }
            Effect::Abort(of) => {
                if let Some(transfer) = self.transfers.remove(&of) {
                    transfer.abort();
                }
            }
            Effect::MakeRoom(needed) => {
                let cache = Arc::clone(&self.cache);
                tokio::task::spawn_blocking(move || cache.make_room(&needed));
            }
            Effect::Write(entry) => self.journal.put(entry),
            Effect::Delete(sequence) => self.journal.delete(sequence),
            Effect::RemoveCheckpoints(job) => {
                self.finished.push(job);
                if self.finished.len() >= TOGETHER {
                    drop(self.remove_checkpoints());
                }
            }
            Effect::Left { undelivered } => {
                self.undelivered = undelivered;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(None)
    }

    fn send(&mut self, message: from_worker::Message) {
        if let from_worker::Message::Hello(hello) = message {
            if let Some(introduction) = self.introduction.take() {
                // The link may have been stopped.
                let _ = introduction.send(hello);
            }
        } else if self.link.as_ref().is_some_and(|link| !link.send(message)) {
            // The link notices that nobody sends any more, and makes another connection, over which everything is said again.
            self.link = None;
        }
    }

    fn start(&mut self, number: usize, generation: u64) -> Option<Event> {
        let equipment = self.agent.runners().nth(number)?;
        match Runner::start(&self.runner, equipment, (number, generation), self.events.clone()) {
            Ok(runner) => {
                self.runners[number] = Some((generation, runner));
                None
            }
            Err(error) => {
                let said = RunnerEvent::Exited(RunnerExit::NotStarted(error.to_string()), String::new());
                Some(Event::Runner { runner: number, generation, said })
            }
        }
    }

    fn runner(&mut self, number: usize, generation: u64) -> Option<&mut Runner> {
        let (which, runner) = self.runners.get_mut(number)?.as_mut()?;
        (*which == generation).then_some(runner)
    }

    /// Has a transfer made beside the loop; what comes of it comes as an event.
    fn transfer(&mut self, of: AttemptId, transfer: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            let event = transfer.await;
            // The daemon may have ended.
            let _ = events.send(event).await;
        });
        self.transfers.retain(|_, transfer| !transfer.is_finished());
        self.transfers.insert(of, task.abort_handle());
    }

    /// Removes the checkpoints of jobs that have finished, beside the loop, many at a time: most of the jobs may have none.
    fn remove_checkpoints(&mut self) -> Option<JoinHandle<()>> {
        if self.finished.is_empty() {
            return None;
        }
        let (finished, directory) = (mem::take(&mut self.finished), self.checkpoints.clone());
        let remove = move || {
            for job in finished {
                if let Err(error) = plusminus_trainer::checkpoint::remove(&directory, job) {
                    warn!(%error, "cannot remove the checkpoints of a job that has finished");
                }
            }
        };
        Some(tokio::task::spawn_blocking(remove))
    }

    /// Ends what is left, and says what is left undone.
    async fn close(mut self, state: &StateDirectory) {
        if let Some(removing) = self.remove_checkpoints() {
            // That it has failed it says itself.
            let _ = removing.await;
        }
        let Daemon { journal, undelivered, .. } = self;
        let unwritten = tokio::task::spawn_blocking(move || journal.close()).await.unwrap_or(0);
        let path = state.path().display();
        if unwritten > 0 {
            warn!(
                "{unwritten} reports could neither be delivered nor written to {path}: they are lost, and what they are of is trained again"
            );
        }
        let kept = undelivered.saturating_sub(unwritten);
        if kept > 0 {
            warn!(
                "{kept} reports are not delivered; they lie in {path}, and the next worker with this --state delivers them"
            );
        }
    }
}

/// Removes checkpoints that have not changed for so long that nobody waits for them: their jobs have finished elsewhere, or were
/// cancelled. Blocks.
fn forget(checkpoints: &Path) {
    let Ok(entries) = fs::read_dir(checkpoints) else { return };
    for entry in entries.flatten() {
        let job = entry.file_name().to_str().and_then(|name| name.parse::<JobId>().ok());
        // The directory changes with every checkpoint.
        let changed = entry.metadata().and_then(|about| about.modified());
        let old = changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > FORGOTTEN));
        if let Some(job) = job.filter(|_| old) {
            info!(%job, "removing checkpoints that nobody has asked for in a long time");
            let _ = plusminus_trainer::checkpoint::remove(checkpoints, job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::SystemTime;

    #[test]
    fn checkpoints_that_are_nobodys_are_looked_for_at_the_start_and_once_a_day() {
        let mut looking = Every::new(LOOKED_FOR);
        const HOUR: u64 = 3_600_000;
        let due: Vec<u64> = (5..=100).filter(|hour| looking.is_due(BootTime(hour * HOUR))).collect();
        assert_eq!(due, [5, 29, 53, 77]);
    }

    #[test]
    fn checkpoints_that_nobody_has_asked_for_in_a_long_time_go() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("epoch-1-attempt-1.checkpoint"), "").unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let old = make(&"a".repeat(32), 2 * FORGOTTEN);
        let young = make(&"b".repeat(32), FORGOTTEN / 2);
        let other = make("somebody's", 2 * FORGOTTEN);
        forget(place.path());
        assert_eq!([old, young, other].map(|path| path.exists()), [false, true, true]);
        forget(&place.path().join("absent"));
    }
}
