//! The health of each worker, by name: sound, suspected or in quarantine. It is not stored: after a restart all workers count as sound.
//!
//! A worker collects strikes: different jobs that it failed, deaths of its process, silences. A finished job clears them. With
//! [`SUSPICION`] strikes of a kind, or after another worker finished what it failed, the worker is suspected.

use super::device_class::DeviceClass;
use super::policy::Policy;
use super::record::Place;
use super::time::WallTime;
use crate::id::{AttemptId, JobId, WorkerName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The strikes of one kind that make a worker suspected.
pub(super) const SUSPICION: usize = 3;
/// The most jobs that are remembered per worker.
const REMEMBERED_JOBS: usize = 1_024;
/// The most workers that are remembered. Workers that are not connected are forgotten first, those that left earliest first.
const REMEMBERED_WORKERS: usize = 4_096;
/// How long a worker that lost its connection is expected back.
const ABSENCE: Duration = Duration::from_secs(600);
/// A process that lived this long did not die of starting.
const LONG_LIFE: Duration = Duration::from_secs(600);
/// The most characters of a failure that a quarantine quotes.
const QUOTED: usize = 300;

/// Why a worker is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuarantineCause {
    /// It gave attempts back without being asked.
    Returned,
    /// It failed several different jobs in a row, or a job that another worker finished.
    Failures,
    /// Its process died again and again while it held attempts.
    Flapping,
    /// It let the leases of attempts expire again and again.
    Silent,
}

impl QuarantineCause {
    /// The cause's name in output.
    pub fn name(self) -> &'static str {
        match self {
            QuarantineCause::Returned => "returned",
            QuarantineCause::Failures => "failures",
            QuarantineCause::Flapping => "flapping",
            QuarantineCause::Silent => "silent",
        }
    }
}

/// A worker's quarantine: pauses that grow, each followed by one probe attempt. It ends when the worker finishes a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// When the first pause began.
    pub since: WallTime,
    /// The end of the last pause.
    pub until: WallTime,
    /// The number of pauses so far.
    pub pauses: u32,
    /// Whether the worker gets one attempt at a time after the pause. Otherwise the pause is all.
    pub probation: bool,
    /// Why it began, or went on.
    pub cause: QuarantineCause,
    /// The last failure, shortened.
    pub reason: String,
}

impl Quarantine {
    /// Whether it limits what the worker gets at `now`.
    pub fn is_active(&self, now: WallTime) -> bool {
        self.probation || self.until > now
    }
}

/// What dispatch has to know of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    /// The worker gets no attempt before this time.
    pub until: WallTime,
    /// The worker gets one attempt at a time.
    pub probation: bool,
    pub suspected: bool,
    /// Whether it has finished a job.
    pub proven: bool,
}

/// What is known of a worker.
#[derive(Clone, Debug)]
struct Standing {
    host: String,
    device: DeviceClass,
    /// Nothing before it connects for the first time.
    instance: Option<u64>,
    /// When the present process first connected.
    started: WallTime,
    /// When its connection ended; nothing while it is connected.
    gone: Option<WallTime>,
    /// Whether it announced that it leaves.
    drained: bool,
    proven: bool,
    /// The jobs that it failed or gave back since it last finished one.
    struck: BTreeSet<JobId>,
    /// Whether another worker finished a job that this one had failed.
    refuted: bool,
    deaths: usize,
    silences: usize,
    /// Attempts whose lease expired. If the same process shows them again, the network was to blame.
    expired: BTreeSet<AttemptId>,
    quarantine: Option<Quarantine>,
}

impl Standing {
    fn suspected(&self) -> bool {
        self.refuted || [self.struck.len(), self.deaths, self.silences].iter().any(|strikes| *strikes >= SUSPICION)
    }

    /// Whether the worker is connected, or may come back.
    fn is_expected(&self, now: WallTime) -> bool {
        !self.drained && self.gone.is_none_or(|gone| now < gone.after(ABSENCE))
    }

    /// Forgets every strike and the quarantine, and returns the quarantine.
    fn clear(&mut self) -> Option<Quarantine> {
        self.struck.clear();
        (self.refuted, self.deaths, self.silences) = (false, 0, 0);
        self.quarantine.take()
    }
}

/// All workers that are known by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    workers: BTreeMap<WorkerName, Standing>,
    /// Until when workers of the previous coordinator process may still come back.
    pub expects_others_until: WallTime,
}

impl Fleet {
    /// Notes that a worker connected. Returns whether it is the process that connected last under this name.
    pub fn connected(
        &mut self,
        worker: &WorkerName,
        host: &str,
        device: DeviceClass,
        instance: u64,
        now: WallTime,
    ) -> bool {
        let host = if host.is_empty() { &worker.0 } else { host }.to_owned();
        let standing = self.known(worker, now);
        let same = standing.instance == Some(instance);
        if !same {
            standing.started = now;
        }
        (standing.host, standing.device, standing.instance) = (host, device, Some(instance));
        (standing.gone, standing.drained) = (None, false);
        same
    }

    /// Notes that a worker, which the previous coordinator process knew, may come back.
    pub fn expect(&mut self, worker: &WorkerName, now: WallTime) {
        self.known(worker, now);
    }

    fn known(&mut self, worker: &WorkerName, now: WallTime) -> &mut Standing {
        if !self.workers.contains_key(worker) {
            self.forget_some();
        }
        self.workers.entry(worker.clone()).or_insert_with(|| Standing {
            host: worker.0.clone(),
            // It may be able to train every job.
            device: DeviceClass::Gpu,
            instance: None,
            started: now,
            gone: Some(now),
            drained: false,
            proven: false,
            struck: BTreeSet::new(),
            refuted: false,
            deaths: 0,
            silences: 0,
            expired: BTreeSet::new(),
            quarantine: None,
        })
    }

    fn forget_some(&mut self) {
        while self.workers.len() >= REMEMBERED_WORKERS {
            let gone = self.workers.iter().filter_map(|(name, standing)| Some((standing.gone?, name)));
            let Some(earliest) = gone.min().map(|(_, name)| name.clone()) else { return };
            self.workers.remove(&earliest);
        }
    }

    /// Notes that a worker's connection ended.
    pub fn disconnected(&mut self, worker: &WorkerName, now: WallTime) {
        if let Some(standing) = self.workers.get_mut(worker) {
            standing.gone = Some(now);
        }
    }

    /// Notes that a worker leaves.
    pub fn drained(&mut self, worker: &WorkerName) {
        if let Some(standing) = self.workers.get_mut(worker) {
            standing.drained = true;
        }
    }

    pub fn is_drained(&self, worker: &WorkerName) -> bool {
        self.workers.get(worker).is_some_and(|standing| standing.drained)
    }

    /// Notes that the worker failed a job, or gave it back.
    pub fn struck(&mut self, worker: &WorkerName, job: JobId) {
        if let Some(standing) = self.workers.get_mut(worker)
            && standing.struck.len() < REMEMBERED_JOBS
        {
            standing.struck.insert(job);
        }
    }

    /// Notes that the worker's process died while it held attempts. Returns the attempts whose lease had expired before.
    pub fn died(&mut self, worker: &WorkerName, lived_since: WallTime, now: WallTime) -> BTreeSet<AttemptId> {
        let Some(standing) = self.workers.get_mut(worker) else { return BTreeSet::new() };
        standing.deaths = if now.since(lived_since) < LONG_LIFE { standing.deaths + 1 } else { 1 };
        std::mem::take(&mut standing.expired)
    }

    /// When the process that connected last under this name first connected.
    pub fn started(&self, worker: &WorkerName) -> WallTime {
        self.workers.get(worker).map(|standing| standing.started).unwrap_or_default()
    }

    /// Whether leases of the worker expired and it has not come back with the attempts.
    pub fn has_expired(&self, worker: &WorkerName) -> bool {
        self.workers.get(worker).is_some_and(|standing| !standing.expired.is_empty())
    }

    /// Notes that the leases of these attempts expired. It is a new silence if the worker was `heard` since the last.
    pub fn fell_silent(&mut self, worker: &WorkerName, heard: bool, attempts: impl IntoIterator<Item = AttemptId>) {
        if let Some(standing) = self.workers.get_mut(worker) {
            standing.silences += usize::from(heard || standing.expired.is_empty());
            standing.expired.extend(attempts);
            while standing.expired.len() > REMEMBERED_JOBS {
                standing.expired.pop_first();
            }
        }
    }

    /// Notes that the process that held expired attempts still lives. Returns whether that forgave a silence.
    pub fn came_back(&mut self, worker: &WorkerName, shows: impl Fn(&AttemptId) -> bool) -> bool {
        let Some(standing) = self.workers.get_mut(worker) else { return false };
        let forgiven = standing.expired.iter().any(shows);
        if forgiven {
            standing.expired.clear();
            standing.silences = 0;
            if standing.quarantine.as_ref().is_some_and(|quarantine| quarantine.cause == QuarantineCause::Silent) {
                standing.quarantine = None;
            }
        }
        forgiven
    }

    /// Notes that the worker finished a job. Returns the quarantine that this ended, and whether its gate may have changed.
    pub fn finished(&mut self, worker: &WorkerName) -> (Option<Quarantine>, bool) {
        let Some(standing) = self.workers.get_mut(worker) else { return (None, false) };
        let changed = !std::mem::replace(&mut standing.proven, true) || standing.suspected();
        let ended = standing.clear();
        (ended.clone(), changed || ended.is_some())
    }

    /// Notes that another worker finished `job`, which this one had failed. Returns whether this one has finished nothing since.
    pub fn refuted(&mut self, worker: &WorkerName, job: JobId) -> bool {
        let standing = self.workers.get_mut(worker).filter(|standing| standing.struck.contains(&job));
        standing.is_some_and(|standing| !std::mem::replace(&mut standing.refuted, true))
    }

    /// Lifts the quarantine of a worker on an operator's request. Returns nothing for an unknown worker.
    pub fn reinstate(&mut self, worker: &WorkerName) -> Option<Option<Quarantine>> {
        self.workers.get_mut(worker).map(Standing::clear)
    }

    /// Starts a pause if none is under way. Returns the quarantine if it is new or goes on.
    pub fn pause(
        &mut self,
        worker: &WorkerName,
        cause: QuarantineCause,
        reason: &str,
        now: WallTime,
        policy: &Policy,
    ) -> Option<Quarantine> {
        let others = self.others(worker, now);
        let standing = self.workers.get_mut(worker)?;
        let before = standing.quarantine.as_ref();
        if before.is_some_and(|quarantine| quarantine.until > now) {
            return None;
        }
        let pauses = before.map_or(0, |quarantine| quarantine.pauses);
        // A worker that trains alone is tried again soon: nobody else can do its work.
        let limit = if others { policy.quarantine_limit } else { policy.backoff_limit };
        let returned_alone = cause == QuarantineCause::Returned && !(others && standing.suspected());
        let quarantine = Quarantine {
            since: before.map_or(now, |quarantine| quarantine.since),
            until: now.after(policy.backoff.saturating_mul(1 << pauses.min(20)).min(limit)),
            pauses: pauses + 1,
            probation: !returned_alone || before.is_some_and(|quarantine| quarantine.probation),
            cause,
            reason: reason.chars().take(QUOTED).map(|letter| if letter.is_control() { ' ' } else { letter }).collect(),
        };
        standing.quarantine = Some(quarantine.clone());
        Some(quarantine)
    }

    /// Whether a sound worker besides this one is connected or expected back.
    pub fn others(&self, worker: &WorkerName, now: WallTime) -> bool {
        let sound = |standing: &Standing| !standing.suspected() && standing.is_expected(now);
        self.workers.iter().any(|(name, standing)| name != worker && sound(standing))
    }

    /// Whether a sound worker that has not failed the job may still finish it.
    pub fn has_candidate(&self, failed_on: &[Place], requires: DeviceClass, now: WallTime) -> bool {
        let untried = |name: &WorkerName| failed_on.iter().all(|place| place.worker != *name);
        now < self.expects_others_until
            || self.workers.iter().any(|(name, standing)| {
                standing.device.can_train(requires)
                    && !standing.suspected()
                    && standing.is_expected(now)
                    && untried(name)
            })
    }

    /// The number of different hosts among these places whose worker is sound for certain: it has finished other jobs, and has not been
    /// suspected since.
    pub fn sound_hosts(&self, places: &[Place]) -> usize {
        let sound = |place: &&Place| {
            self.workers.get(&place.worker).is_some_and(|standing| standing.proven && !standing.suspected())
        };
        places.iter().filter(sound).map(|place| place.host.as_str()).collect::<BTreeSet<_>>().len()
    }

    pub fn is_suspected(&self, worker: &WorkerName) -> bool {
        self.workers.get(worker).is_some_and(Standing::suspected)
    }

    /// The worker's name with its host.
    pub fn place(&self, worker: &WorkerName) -> Place {
        let host = self.workers.get(worker).map_or(&worker.0, |standing| &standing.host);
        Place { worker: worker.clone(), host: host.clone() }
    }

    pub fn gate(&self, worker: &WorkerName) -> Gate {
        let Some(standing) = self.workers.get(worker) else { return Gate::default() };
        let quarantine = standing.quarantine.as_ref();
        Gate {
            until: quarantine.map(|quarantine| quarantine.until).unwrap_or_default(),
            probation: quarantine.is_some_and(|quarantine| quarantine.probation),
            suspected: standing.suspected(),
            proven: standing.proven,
        }
    }

    /// The workers that get fewer attempts at `now`, connected or not.
    pub fn quarantines(&self, now: WallTime) -> impl Iterator<Item = (&WorkerName, &Quarantine)> {
        let all = self.workers.iter().filter_map(|(name, standing)| Some((name, standing.quarantine.as_ref()?)));
        all.filter(move |(_, quarantine)| quarantine.is_active(now))
    }
}
