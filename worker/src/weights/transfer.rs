//! Transfers of weight files between the cache and the coordinator.
//!
//! A transfer is a task of its own, so that it does not delay heartbeats. It is retried while the coordinator cannot be reached, and fails
//! if the coordinator refuses it or the host's disk fails: then the job is requeued, for another host may have a better disk.

use super::cache::Cache;
use backon::{ExponentialBuilder, Retryable};
use plusminus_core::id::{AttemptId, Digest, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::convert::{attempt_id, parent_weights};
use plusminus_proto::endpoint::root_cause;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{GetWeightsRequest, WeightsPart};
use plusminus_proto::weights::{self, ReceiveError};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::warn;

/// The number of parts of a file that may wait for the disk or the network.
const PARTS: usize = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A transfer without progress for this long counts as a broken connection.
const STALL: Duration = Duration::from_secs(60);

/// Fetches the weights that `job` kept into the cache, unless they are there. The files `needed` stay in the cache.
pub(crate) async fn fetch(
    endpoint: Endpoint,
    cache: Arc<Cache>,
    job: JobId,
    digest: Digest,
    needed: BTreeSet<Digest>,
) -> Result<(), Failure> {
    let local = Arc::clone(&cache);
    let cached = blocking(move || {
        let cached = local.has(digest)?;
        local.trim(&needed);
        Ok(cached)
    });
    if cached.await.map_err(|error| unusable(&cache, &error))? {
        return Ok(());
    }
    let what = format!("cannot fetch the weights of parent job {job}");
    with_retries(&what, || get(&endpoint, &cache, job, digest)).await
}

/// Sends the kept weights of an attempt to the coordinator.
pub(crate) async fn deliver(
    endpoint: Endpoint,
    cache: Arc<Cache>,
    attempt: AttemptId,
    digests: BTreeSet<Digest>,
) -> Result<(), Failure> {
    for digest in digests {
        with_retries("cannot deliver the kept weights", || put(&endpoint, &cache, attempt, digest)).await?;
    }
    Ok(())
}

/// Why a transfer has failed.
enum TransferError {
    /// The connection failed; a retry may succeed.
    Connection(String),
    /// The coordinator or the data is at fault; a retry would fail again.
    Refused(String),
    /// The disk of this host is full or fails.
    LocalDisk(String),
    /// The coordinator has lost the file. The parent job is trained again, and the child job waits for it.
    Lost(String),
}

impl From<tonic::transport::Error> for TransferError {
    fn from(error: tonic::transport::Error) -> Self {
        TransferError::Connection(root_cause(&error))
    }
}

impl From<Status> for TransferError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => TransferError::Lost(message),
            // Space may become free, and there is no other place for the file.
            Code::ResourceExhausted if is_disk_full(&message) => TransferError::Connection(message),
            Code::InvalidArgument | Code::ResourceExhausted | Code::DataLoss | Code::Unimplemented => {
                TransferError::Refused(message)
            }
            // One of the many ways in which a connection breaks.
            _ => TransferError::Connection(message),
        }
    }
}

/// Whether the message is that of a full disk or an exhausted quota.
fn is_disk_full(message: &str) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].iter().any(|kind| message.contains(&kind.to_string()))
        || ["No space left on device", "Disk quota exceeded"].iter().any(|text| message.contains(text))
}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        TransferError::LocalDisk(error.to_string())
    }
}

impl From<ReceiveError> for TransferError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Disk { .. } => TransferError::LocalDisk(error.to_string()),
            ReceiveError::Other { .. } | ReceiveError::TooLong => TransferError::Refused(error.to_string()),
        }
    }
}

/// Retries a transfer until it succeeds or is refused. After a refusal the job's next attempt tries again, perhaps on another host.
async fn with_retries<F>(what: &str, transfer: impl FnMut() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), TransferError>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times();
    let tried = transfer
        .retry(pauses)
        .when(|error| matches!(error, TransferError::Connection(_)))
        .notify(|error, _| {
            if let TransferError::Connection(why) = error {
                warn!("{what}, retrying: {why}");
            }
        })
        .await;
    tried.map_err(|error| {
        let (kind, why) = match error {
            TransferError::Lost(why) | TransferError::LocalDisk(why) => (FailureKind::Preempted, why),
            TransferError::Connection(why) | TransferError::Refused(why) => (FailureKind::Infrastructure, why),
        };
        Failure::new(kind, format!("{what}: {why}"))
    })
}

async fn connect(endpoint: &Endpoint) -> Result<WorkerServiceClient<Channel>, TransferError> {
    Ok(WorkerServiceClient::new(endpoint.connect().await?))
}

/// The result of a step of a transfer, or an error if it takes longer than `limit`.
async fn within<T, E>(step: impl Future<Output = Result<T, E>>, limit: Duration) -> Result<T, TransferError>
where
    TransferError: From<E>,
{
    let done = tokio::time::timeout(limit, step).await;
    Ok(done.map_err(|_| TransferError::Connection(format!("no progress for {} s", limit.as_secs_f64())))??)
}

async fn get(endpoint: &Endpoint, cache: &Cache, job: JobId, digest: Digest) -> Result<(), TransferError> {
    let request = GetWeightsRequest { weights: Some(parent_weights(job, digest)) };
    let mut client = connect(endpoint).await?;
    let mut inbound = within(client.get_weights(request), STALL).await?.into_inner();
    let (sender, mut parts) = mpsc::channel(PARTS);
    let directory = cache.directory().to_owned();
    let written = tokio::task::spawn_blocking(move || {
        weights::receive(&directory, digest, std::iter::from_fn(|| parts.blocking_recv()))
    });
    while let Some(part) = within(inbound.message(), STALL).await? {
        if sender.send(part.content).await.is_err() {
            break;
        }
    }
    drop(sender);
    let written = written.await.map_err(|error| TransferError::Refused(error.to_string()))?;
    Ok(written?)
}

async fn put(endpoint: &Endpoint, cache: &Cache, attempt: AttemptId, digest: Digest) -> Result<(), TransferError> {
    let mut client = connect(endpoint).await?;
    let directory = cache.directory().to_owned();
    let parts = blocking(move || weights::parts(&directory, digest)).await?;
    let (sender, outbound) = mpsc::channel(PARTS);
    let (progress, mut progressed) = watch::channel(());
    let read = tokio::task::spawn_blocking(move || {
        let (mut name, mut of) = (digest.to_string(), Some(attempt_id(attempt)));
        for part in parts {
            let part = WeightsPart { digest: std::mem::take(&mut name), content: part?, of: of.take() };
            // If the connection broke, the answer is an error.
            if sender.blocking_send(part).is_err() {
                break;
            }
            progress.send_replace(());
        }
        Ok::<_, io::Error>(())
    });
    let mut call = std::pin::pin!(client.put_weights(ReceiverStream::new(outbound)));
    let answer = loop {
        let step = async {
            tokio::select! {
                answer = &mut call => Ok::<_, TransferError>(Some(answer)),
                Ok(()) = progressed.changed() => Ok(None),
            }
        };
        // After the last part the coordinator writes the file.
        if let Some(answer) = within(step, STALL).await? {
            break answer;
        }
    };
    // A read error explains an incomplete file better than the coordinator's answer.
    read.await.map_err(|error| TransferError::Refused(error.to_string()))??;
    answer?;
    Ok(())
}

fn unusable(cache: &Cache, error: &io::Error) -> Failure {
    let directory = cache.directory().display();
    Failure::new(FailureKind::Preempted, format!("cannot use the directory for weights {directory}: {error}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn weights_that_the_coordinator_has_lost_preempt_the_job() {
        let lost = || async { Err(TransferError::from(Status::not_found("it is trained again"))) };
        let failure = with_retries("cannot fetch", lost).await.unwrap_err();
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Preempted, "cannot fetch: it is trained again"));
        let refused = || async { Err(TransferError::from(Status::data_loss("damaged"))) };
        assert_eq!(with_retries("cannot fetch", refused).await.unwrap_err().kind, FailureKind::Infrastructure);
    }

    #[tokio::test]
    async fn a_failing_local_disk_preempts_the_job() {
        let kind = |error: TransferError| async {
            let failed = std::sync::Mutex::new(Some(error));
            let next = || std::future::ready(Err(failed.lock().unwrap().take().unwrap()));
            with_retries("cannot fetch", next).await.unwrap_err().kind
        };
        let full = || io::Error::from_raw_os_error(28);
        let written = ReceiveError::Disk { path: "weights".into(), error: full() };
        assert_eq!(kind(TransferError::from(written)).await, FailureKind::Preempted);
        assert_eq!(kind(TransferError::from(full())).await, FailureKind::Preempted, "a file to deliver cannot be read");
        let [expected, found] = [Digest::of(b"a"), Digest::of(b"b")];
        let damaged = ReceiveError::Other { expected, found };
        assert_eq!(kind(TransferError::from(damaged)).await, FailureKind::Infrastructure, "damaged in transit");

        let parent = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(&parent.path().join("weights")).unwrap());
        fs::remove_dir(cache.directory()).unwrap();
        fs::write(cache.directory(), "in the way").unwrap();
        let unreachable = Endpoint::from_static("http://127.0.0.1:1");
        let job = "0".repeat(32).parse().unwrap();
        let failure = fetch(unreachable, cache, job, expected, BTreeSet::new()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Preempted, "{failure}");
        assert!(failure.message.contains("directory for weights"), "{failure}");
    }

    #[tokio::test]
    async fn a_delivery_to_a_full_disk_is_retried_until_there_is_room() {
        let full = format!("cannot store the weights in x: {}", io::Error::from_raw_os_error(28));
        let answers = std::sync::Mutex::new(vec![Ok(()), Err(TransferError::from(Status::resource_exhausted(full)))]);
        let next = || std::future::ready(answers.lock().unwrap().pop().unwrap());
        assert_eq!(with_retries("cannot deliver", next).await, Ok(()));
        let long =
            || async { Err(TransferError::from(Status::resource_exhausted("the weights are longer than 1 bytes"))) };
        assert_eq!(with_retries("cannot deliver", long).await.unwrap_err().kind, FailureKind::Infrastructure);
    }

    #[tokio::test]
    async fn a_transfer_without_progress_counts_as_a_broken_connection() {
        let step = std::future::pending::<Result<(), Status>>();
        let result = within(step, Duration::from_millis(5)).await;
        assert!(matches!(result, Err(TransferError::Connection(why)) if why.contains("0.005 s")));
        assert!(within(std::future::ready(Ok::<_, Status>(3)), STALL).await.is_ok_and(|three| three == 3));
    }
}
