//! The shell's environment on a real host: a gRPC connection, child processes, tokio tasks, files.

use super::checkpoints;
use super::shell::{Environment, Transfer};
use crate::agent::{BootTime, Equipment, Event, OutboxEntry};
use crate::clock;
use crate::journal::Journal;
use crate::link::Sender;
use crate::runner::{Runner, RunnerOptions, ShownWarnings};
use crate::shortage;
use crate::weights::{self, Cache};
use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_proto::v1::{self, from_worker, to_runner};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tonic::transport::Endpoint;

/// Network, processes and disk of a worker.
pub(super) struct HostEnvironment {
    /// The open connection.
    pub link: Option<Sender>,
    /// Where the Hello of the connection that is being opened goes.
    pub introduction: Option<oneshot::Sender<v1::Hello>>,
    /// Where results of runners and transfers go.
    pub events: mpsc::Sender<Event>,
    pub endpoint: Endpoint,
    pub runner_options: RunnerOptions,
    /// By runner: the latest process.
    pub runners: Vec<Option<Runner>>,
    /// Which warnings of runners are shown.
    pub warnings: Arc<Mutex<ShownWarnings>>,
    pub transfers: BTreeMap<AttemptId, AbortHandle>,
    pub cache: Arc<Cache>,
    pub journal: Journal,
    /// The directory of checkpoints.
    pub checkpoints: PathBuf,
    /// The latest removal of checkpoints.
    pub removal: Option<JoinHandle<()>>,
}

impl Environment for HostEnvironment {
    fn now(&self) -> BootTime {
        clock::now()
    }

    fn introduce(&mut self, hello: v1::Hello) {
        if let Some(introduction) = self.introduction.take() {
            // The link may have been stopped.
            let _ = introduction.send(hello);
        }
    }

    fn send(&mut self, message: from_worker::Message) -> bool {
        let sent = self.link.as_ref().is_some_and(|link| link.send(message));
        if !sent {
            // The link notices the dropped sender and reconnects; then every report is sent again.
            self.link = None;
        }
        sent
    }

    fn start_runner(&mut self, runner: usize, generation: u64, equipment: &Equipment) -> Result<(), String> {
        let (events, warnings) = (self.events.clone(), Arc::clone(&self.warnings));
        let started = Runner::start(&self.runner_options, equipment, (runner, generation), warnings, events);
        self.runners[runner] = Some(started.map_err(|error| shortage::describe("a runner process", &error))?);
        Ok(())
    }

    fn send_to_runner(&mut self, runner: usize, lane: u32, message: to_runner::Message) {
        if let Some(Some(runner)) = self.runners.get(runner) {
            runner.send(lane, message);
        }
    }

    fn kill_runner(&mut self, runner: usize) {
        if let Some(Some(runner)) = self.runners.get_mut(runner) {
            runner.kill();
        }
    }

    fn start_transfer(&mut self, attempt: AttemptId, transfer: Transfer) {
        let (endpoint, cache, events) = (self.endpoint.clone(), Arc::clone(&self.cache), self.events.clone());
        let task = tokio::spawn(async move {
            let event = match transfer {
                Transfer::Fetch { parent, digest, needed } => {
                    Event::WeightsFetched(attempt, weights::fetch(endpoint, cache, parent, digest, needed).await)
                }
                Transfer::Deliver(digests) => {
                    Event::WeightsDelivered(attempt, weights::deliver(endpoint, cache, attempt, digests).await)
                }
            };
            // The daemon may have ended.
            let _ = events.send(event).await;
        });
        self.transfers.retain(|_, transfer| !transfer.is_finished());
        self.transfers.insert(attempt, task.abort_handle());
    }

    fn abort_transfer(&mut self, attempt: AttemptId) {
        if let Some(transfer) = self.transfers.remove(&attempt) {
            transfer.abort();
        }
    }

    fn trim_cache(&mut self, needed: BTreeSet<Digest>) {
        let cache = Arc::clone(&self.cache);
        tokio::task::spawn_blocking(move || cache.trim(&needed));
    }

    fn store_entry(&mut self, entry: OutboxEntry) {
        self.journal.put(entry);
    }

    fn delete_entry(&mut self, sequence: u64) {
        self.journal.delete(sequence);
    }

    fn remove_checkpoints(&mut self, jobs: Vec<JobId>) {
        let directory = self.checkpoints.clone();
        self.removal = Some(tokio::task::spawn_blocking(move || checkpoints::remove(&directory, &jobs)));
    }
}
