//! Weights that jobs build on and leave: the directory where they lie on this machine, and their ways from and to the coordinator.
//!
//! A transfer is a task beside the agent's loop, which so always has time for a heartbeat. It is tried again for as long as the
//! coordinator cannot be reached, and given up where the coordinator refuses it.

use crate::error::WorkerError;
use backon::{ExponentialBuilder, Retryable};
use plusminus_core::id::{Digest, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::convert::parent_weights;
use plusminus_proto::endpoint::root_cause;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{GetWeightsRequest, WeightsPart};
use plusminus_proto::weights;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::warn;

/// Bytes of files that may lie in the directory; what is needed now is beside the point.
const LIMIT: u64 = 4 << 30;
/// Parts of a file that may wait for the disk or the network.
const PARTS: usize = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The directory of weights on this machine.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    limit: u64,
    /// Removed with the worker, where none was given.
    _temporary: Option<tempfile::TempDir>,
}

impl Cache {
    /// The cache in `directory`, or else in a temporary one.
    pub fn open(directory: Option<&Path>) -> Result<Self, WorkerError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| WorkerError::Cache { path, error }
        };
        let (directory, temporary) = match directory {
            // A runner is told where it is, whatever its own directory.
            Some(given) => (std::path::absolute(given).map_err(failed(given))?, None),
            None => {
                let made = tempfile::Builder::new().prefix("plusminus-").tempdir();
                let made = made.map_err(failed(&std::env::temp_dir()))?;
                (made.path().to_owned(), Some(made))
            }
        };
        fs::create_dir_all(&directory).map_err(failed(&directory))?;
        Ok(Cache { directory, limit: LIMIT, _temporary: temporary })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the file is there; it then counts as just used.
    fn has(&self, digest: Digest) -> io::Result<bool> {
        let there = weights::is_whole(&self.directory, digest)?;
        if there {
            File::options().write(true).open(weights::path(&self.directory, digest))?.set_modified(SystemTime::now())?;
        }
        Ok(there)
    }

    /// Removes what has lain unused the longest, until the rest is within the limit; `needed` stays. Blocks.
    pub fn trim(&self, needed: &BTreeSet<Digest>) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let (name, about) = (entry.file_name(), entry.metadata()?);
            let digest = name.to_str().and_then(|name| name.split('.').next()?.parse::<Digest>().ok());
            if let Some(digest) = digest.filter(|digest| name == *digest.file_name()) {
                files.push((about.modified()?, digest, about.len()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, length)| length).sum();
        for (_, digest, length) in files.into_iter().filter(|(_, digest, _)| !needed.contains(digest)) {
            if total <= self.limit {
                break;
            }
            fs::remove_file(weights::path(&self.directory, digest))?;
            total -= length;
        }
        Ok(())
    }
}

/// Has the weights that `job` left in the cache. `needed` are files that must not go to make room.
pub(crate) async fn fetch(
    endpoint: Endpoint,
    cache: Arc<Cache>,
    job: JobId,
    digest: Digest,
    needed: BTreeSet<Digest>,
) -> Result<(), Failure> {
    let here = Arc::clone(&cache);
    let there = blocking(move || {
        let there = here.has(digest)?;
        here.trim(&needed)?;
        Ok(there)
    });
    if there.await.map_err(|error| unusable(&cache, &error))? {
        return Ok(());
    }
    let what = format!("cannot fetch the weights of job {job}, which it builds on");
    persistently(&what, || get(&endpoint, &cache, job, digest)).await
}

/// Hands the weights that an attempt has left to the coordinator.
pub(crate) async fn deliver(endpoint: Endpoint, cache: Arc<Cache>, digests: BTreeSet<Digest>) -> Result<(), Failure> {
    for digest in digests {
        persistently("cannot deliver the weights that it leaves", || put(&endpoint, &cache, digest)).await?;
    }
    Ok(())
}

/// Why a transfer has not come to its end.
enum Broken {
    /// It may the next time.
    Connection(String),
    /// It will not.
    Refused(String),
}

impl From<tonic::transport::Error> for Broken {
    fn from(error: tonic::transport::Error) -> Self {
        Broken::Connection(root_cause(&error))
    }
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound | Code::InvalidArgument | Code::ResourceExhausted | Code::DataLoss | Code::Unimplemented => {
                Broken::Refused(message)
            }
            // The connection broke, in one of the many ways in which one can.
            _ => Broken::Connection(message),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Refused(error.to_string())
    }
}

/// Tries until it is done or refused. What is refused is tried by another attempt, perhaps on another machine.
async fn persistently<F>(what: &str, transfer: impl FnMut() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Broken>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times();
    let tried = transfer
        .retry(pauses)
        .when(|broken| matches!(broken, Broken::Connection(_)))
        .notify(|broken, _| {
            if let Broken::Connection(why) = broken {
                warn!("{what} yet: {why}");
            }
        })
        .await;
    tried.map_err(|(Broken::Connection(why) | Broken::Refused(why))| {
        Failure::new(FailureKind::Infrastructure, format!("{what}: {why}"))
    })
}

async fn connect(endpoint: &Endpoint) -> Result<WorkerServiceClient<Channel>, Broken> {
    Ok(WorkerServiceClient::new(endpoint.connect().await?))
}

async fn get(endpoint: &Endpoint, cache: &Cache, job: JobId, digest: Digest) -> Result<(), Broken> {
    let request = GetWeightsRequest { weights: Some(parent_weights(job, digest)) };
    let mut inbound = connect(endpoint).await?.get_weights(request).await?.into_inner();
    let (sender, mut parts) = mpsc::channel(PARTS);
    let directory = cache.directory.clone();
    let written = tokio::task::spawn_blocking(move || {
        weights::receive(&directory, digest, std::iter::from_fn(|| parts.blocking_recv()))
    });
    while let Some(part) = inbound.message().await? {
        if sender.send(part.content).await.is_err() {
            break;
        }
    }
    drop(sender);
    let written = written.await.map_err(|error| Broken::Refused(error.to_string()))?;
    written.map_err(|error| Broken::Refused(error.to_string()))
}

async fn put(endpoint: &Endpoint, cache: &Cache, digest: Digest) -> Result<(), Broken> {
    let mut client = connect(endpoint).await?;
    let directory = cache.directory.clone();
    let parts = blocking(move || weights::parts(&directory, digest)).await?;
    let (sender, outbound) = mpsc::channel(PARTS);
    let read = tokio::task::spawn_blocking(move || {
        let mut name = digest.to_string();
        for part in parts {
            let part = WeightsPart { digest: std::mem::take(&mut name), content: part? };
            // The connection may have broken; the answer says so.
            if sender.blocking_send(part).is_err() {
                break;
            }
        }
        Ok::<_, io::Error>(())
    });
    let answer = client.put_weights(ReceiverStream::new(outbound)).await;
    // A file that could not be read is why its end did not come.
    read.await.map_err(|error| Broken::Refused(error.to_string()))??;
    answer?;
    Ok(())
}

fn unusable(cache: &Cache, error: &io::Error) -> Failure {
    let directory = cache.directory.display();
    Failure::new(FailureKind::Infrastructure, format!("cannot use the directory for weights {directory}: {error}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &Cache, content: &[u8], age: u64) -> Digest {
        let digest = Digest::of(content);
        let path = weights::path(cache.directory(), digest);
        fs::write(&path, content).unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
        digest
    }

    #[test]
    fn what_has_lain_unused_the_longest_makes_room_and_what_is_needed_stays() {
        let cache = Cache { limit: 20, ..Cache::open(None).unwrap() };
        let files = [(b"0123456789", 30), (b"abcdefghij", 20), (b"ABCDEFGHIJ", 10)];
        let [oldest, older, newest] = files.map(|(content, age)| put(&cache, content, age));
        let there = || [oldest, older, newest].map(|digest| weights::path(cache.directory(), digest).exists());
        cache.trim(&BTreeSet::from([oldest])).unwrap();
        assert_eq!(there(), [true, false, true]);
        assert!(cache.has(oldest).unwrap(), "and is now the newest");
        put(&cache, b"klmnopqrst", 5);
        cache.trim(&BTreeSet::new()).unwrap();
        assert_eq!(there(), [true, false, false]);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let cache = Cache::open(None).unwrap();
        let file = cache.directory().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::open(Some(&file.join("below"))).unwrap_err();
        assert!(error.to_string().contains("--cache"), "{error}");
    }
}
