//! Transfers of weights. They have threads of their own, are expected, and leave space on the disk.

use super::expected::{ExpectedUploads, TooMany, Upload};
use super::status::{invalid, request_error};
use crate::driver::{DriverHandle, WorkerMessage};
use crate::server::limits::WeightsLimits;
use crate::store::Reader;
use plusminus_core::id::{AttemptId, Digest};
use plusminus_proto::convert::{self, Invalid, required_attempt};
use plusminus_proto::v1;
use plusminus_proto::weights::{self, ReceiveError, Space};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{info, warn};

/// The most parts of a file that wait for the disk or the network.
const PARTS: usize = 4;

/// The kept weights of a state directory.
pub(crate) struct Weights {
    directory: PathBuf,
    /// The file of the store, on the same disk.
    store: PathBuf,
    driver: DriverHandle,
    limits: WeightsLimits,
    expected: Arc<ExpectedUploads>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl Weights {
    pub fn new(directory: PathBuf, store: PathBuf, driver: DriverHandle, limits: WeightsLimits) -> Arc<Self> {
        Arc::new(Weights {
            directory,
            store,
            driver,
            expected: ExpectedUploads::new(limits),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            downloads: Arc::new(Semaphore::new(limits.downloads)),
            limits,
        })
    }

    /// Receives a file of a running attempt.
    pub async fn put(&self, mut inbound: Streaming<v1::WeightsPart>) -> Result<(), Status> {
        let mut part =
            inbound.message().await?.ok_or_else(|| Status::invalid_argument("expected a part of the file first"))?;
        let digest = convert::digest(&part.digest).map_err(invalid)?;
        let attempt = required_attempt(part.of.as_ref()).map_err(invalid)?;
        let upload = self.expect(attempt, digest).await?;
        let turn = turn(&self.uploads).await?;
        let (sender, mut parts) = mpsc::channel(PARTS);
        let (directory, space) = (self.directory.clone(), self.space());
        let written = tokio::task::spawn_blocking(move || {
            let parts = std::iter::from_fn(|| parts.blocking_recv());
            let received = weights::receive_within(&directory, digest, parts, space);
            if received.is_ok() {
                upload.received();
            }
            drop((upload, turn));
            received
        });
        // If writing fails, the queue closes; the error is returned below.
        while sender.send(part.content).await.is_ok() {
            match inbound.message().await? {
                Some(next) => part = next,
                None => break,
            }
        }
        drop(sender);
        written.await.map_err(internal)?.map_err(|error| match error {
            ReceiveError::Other { .. } => Status::data_loss(error.to_string()),
            ReceiveError::TooLong => Status::resource_exhausted(error.to_string()),
            // There may be space later: the worker keeps the file and retries.
            ReceiveError::Disk { .. } => {
                warn!("{error}; the worker will retry");
                Status::unavailable(error.to_string())
            }
        })
    }

    /// Waits until uploads whose connections were closed have removed their files, at most for `limit`.
    pub async fn uploads_ended(&self, limit: Duration) {
        let all = self.uploads.acquire_many(self.limits.uploads as u32);
        // What a disk that hangs leaves is removed at the next start.
        let _ = tokio::time::timeout(limit, all).await;
    }

    /// Admits an upload of a running attempt.
    async fn expect(&self, attempt: AttemptId, digest: Digest) -> Result<Upload, Status> {
        let running = self.driver.query(move |scheduler, _, _| scheduler.state().is_running(attempt)).await;
        if !running.map_err(request_error)? {
            let AttemptId { job, attempt } = attempt;
            // The coordinator sends the worker a stop message for the attempt. Until it arrives, the worker retries.
            return Err(Status::failed_precondition(format!(
                "attempt {} of job {job} is not running: its weights are not expected",
                attempt.0
            )));
        }
        self.expected.begin(attempt, digest).map_err(|refused| match refused {
            TooMany::Open(_) => Status::unavailable(refused.to_string()),
            TooMany::Files(_) => Status::resource_exhausted(refused.to_string()),
        })
    }

    fn space(&self) -> Space {
        let (least, most) = self.limits.reserved;
        let store = fs::metadata(&self.store).map_or(0, |file| file.len());
        // Without a size, the look at the free space fails too.
        let disk = weights::disk_bytes(&self.directory).unwrap_or(u64::MAX);
        let reserved = store.clamp(least, most).min(disk / self.limits.reserved_part.max(1));
        Space { most: self.limits.file, reserved }
    }

    /// Sends a file. A file that is lost is reported to the driver.
    pub async fn get(
        &self,
        request: v1::GetWeightsRequest,
    ) -> Result<ReceiverStream<Result<v1::WeightsPart, Status>>, Status> {
        let asked = request.weights.ok_or_else(|| invalid(Invalid::Missing("weights")))?;
        let (job, digest) = asked.to_core().map_err(invalid)?;
        let turn = turn(&self.downloads).await?;
        let directory = self.directory.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let parts = || match weights::is_whole(&directory, digest)? {
                true => weights::parts(&directory, digest).map(Some),
                false => Ok(None),
            };
            (parts(), turn)
        });
        let (opened, turn) = opened.await.map_err(internal)?;
        let opened = opened.or_else(|error| if is_lost(&error) { Ok(None) } else { Err(error) });
        let Some(parts) = opened.map_err(|error| Status::unavailable(error.to_string()))? else {
            self.driver.send(WorkerMessage::WeightsLost(job, digest)).await.map_err(request_error)?;
            let reason = format!("the weights of job {job} are missing from the state directory; the job is retrained");
            return Err(Status::not_found(reason));
        };
        let (sender, receiver) = mpsc::channel(PARTS);
        tokio::task::spawn_blocking(move || {
            for part in parts {
                let part = part.map(|content| v1::WeightsPart { content, ..v1::WeightsPart::default() });
                // The worker may have gone.
                if sender.blocking_send(part.map_err(|error| Status::data_loss(error.to_string()))).is_err() {
                    break;
                }
            }
            drop(turn);
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// Removes old files that no result and no running attempt refers to, now and repeatedly.
    pub async fn remove_orphans(self: Arc<Self>, reader: Reader) {
        let (mut tick, mut reader) = (tokio::time::interval(self.limits.orphan_tick), Some(reader));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let attempts = self.expected.attempts();
            let running = self.driver.query(move |scheduler, _, _| {
                attempts.into_iter().filter(|attempt| scheduler.state().is_running(*attempt)).collect()
            });
            // While the store does not work, nothing is removed.
            let Ok(running) = running.await else { continue };
            let mut named = self.expected.retain(&running);
            let (directory, limits, taken) = (self.directory.clone(), self.limits, reader.take());
            let removed = tokio::task::spawn_blocking(move || {
                let removed = taken.as_ref().map(|reader| {
                    named.extend(reader.kept_weights().map_err(io::Error::other)?);
                    remove_others(&directory, &named, limits)
                });
                (removed, taken)
            });
            let Ok((removed, taken)) = removed.await else { return };
            reader = taken;
            match removed {
                None | Some(Ok((0, _))) => {}
                Some(Ok((files, bytes))) => {
                    info!("removed {files} weights files ({} MiB) that no result refers to", bytes >> 20);
                }
                Some(Err(error)) => warn!(%error, "cannot remove weights files that no result refers to"),
            }
        }
    }
}

/// Removes weights files that are not among `named` and are old enough. Returns their number and bytes.
fn remove_others(directory: &Path, named: &BTreeSet<Digest>, limits: WeightsLimits) -> io::Result<(usize, u64)> {
    let Some(entries) = weights::if_there(fs::read_dir(directory))? else { return Ok((0, 0)) };
    let (mut files, mut bytes) = (0, 0);
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| name.split('.').next()?.parse::<Digest>().ok());
        // Foreign files stay.
        let Some(digest) = digest.filter(|digest| name == *digest.file_name() && !named.contains(digest)) else {
            continue;
        };
        let Some(metadata) = weights::if_there(entry.metadata())? else { continue };
        if metadata.modified()?.elapsed().is_ok_and(|age| age >= limits.orphan) {
            weights::if_there(fs::remove_file(weights::path(directory, digest)))?;
            files += 1;
            bytes += metadata.len();
        }
    }
    Ok((files, bytes))
}

/// Waits for the turn of a transfer.
async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(turns).acquire_owned().await.map_err(|error| Status::unavailable(error.to_string()))
}

/// Whether a file exists and will never be readable. Waiting for it would not end.
fn is_lost(error: &io::Error) -> bool {
    /// EIO, on every system.
    const BROKEN_MEDIUM: i32 = 5;
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::IsADirectory)
        || error.raw_os_error() == Some(BROKEN_MEDIUM)
}

fn internal(error: tokio::task::JoinError) -> Status {
    Status::internal(error.to_string())
}
