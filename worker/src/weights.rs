//! Weights that jobs build on and leave: the directory where they lie on this machine, and their ways from and to the coordinator.
//!
//! A transfer is a task beside the agent's loop, which so always has time for a heartbeat. It is tried again for as long as the
//! coordinator cannot be reached, and given up where the coordinator refuses it, or this machine's disk does: then the job is given back,
//! for another machine may have a better one.

use crate::error::WorkerError;
use backon::{ExponentialBuilder, Retryable};
use plusminus_core::id::{Digest, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::convert::parent_weights;
use plusminus_proto::endpoint::root_cause;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{GetWeightsRequest, WeightsPart};
use plusminus_proto::weights::{self, ReceiveError};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::warn;

/// Bytes of files that may lie in the directory; what is needed now is beside the point.
const LIMIT: u64 = 4 << 30;
/// What was used so lately is not removed to make room: a runner may be about to read it.
const LATELY: Duration = Duration::from_secs(3_600);
/// What is unfinished for so long is nobody's any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3_600);
/// Parts of a file that may wait for the disk or the network.
const PARTS: usize = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For how long nothing may move in a transfer before its connection counts as broken.
const STILL: Duration = Duration::from_secs(60);

/// The directory of weights on this machine, one worker's: of what others need in it nothing is known.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    limit: u64,
}

impl Cache {
    /// The cache in `directory`.
    pub fn open(directory: &Path) -> Result<Self, WorkerError> {
        let failed = |error| WorkerError::Cache { path: directory.to_owned(), error };
        // A runner is told where it is, whatever its own directory.
        let directory = std::path::absolute(directory).map_err(failed)?;
        fs::create_dir_all(&directory).map_err(failed)?;
        let cache = Cache { directory, limit: LIMIT };
        if let Err(error) = cache.clean() {
            warn!(%error, "cannot clear away what lies unfinished in the directory for weights");
        }
        Ok(cache)
    }

    /// Removes what was left unfinished long ago by a worker or a runner that was killed.
    fn clean(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let written = name.to_str().is_some_and(|name| name.starts_with(".tmp") && name.ends_with(".tmp"));
            if !written && !weights::is_unfinished(Path::new(&name)) {
                continue;
            }
            let Some(about) = weights::if_there(entry.metadata())? else { continue };
            if about.is_file() && age(about.modified()?) >= ABANDONED {
                weights::if_there(fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the file is there; it then counts as just used.
    fn has(&self, digest: Digest) -> io::Result<bool> {
        if !weights::is_whole(&self.directory, digest)? {
            return Ok(false);
        }
        let file = File::options().write(true).open(weights::path(&self.directory, digest));
        let Some(file) = weights::if_there(file)? else { return Ok(false) };
        file.set_modified(SystemTime::now())?;
        Ok(true)
    }

    /// Removes what has lain unused the longest, until the rest is within the limit; `needed` stays. Blocks. That there is too little
    /// room is no reason not to go on.
    pub fn make_room(&self, needed: &BTreeSet<Digest>) {
        if let Err(error) = self.trim(needed) {
            warn!(%error, "cannot make room in the directory for weights");
        }
    }

    fn trim(&self, needed: &BTreeSet<Digest>) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.split('.').next()?.parse::<Digest>().ok());
            let Some(digest) = digest.filter(|digest| name == *digest.file_name()) else { continue };
            // One that has gone since takes no room.
            if let Some(about) = weights::if_there(entry.metadata())? {
                files.push((about.modified()?, digest, about.len()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, length)| length).sum();
        let spared = |used: SystemTime, digest: &Digest| needed.contains(digest) || age(used) < LATELY;
        for (_, digest, length) in files.into_iter().filter(|(used, digest, _)| !spared(*used, digest)) {
            if total <= self.limit {
                break;
            }
            weights::if_there(fs::remove_file(weights::path(&self.directory, digest)))?;
            total -= length;
        }
        Ok(())
    }
}

/// How long ago that was; nothing where a clock was set back since.
fn age(then: SystemTime) -> Duration {
    then.elapsed().unwrap_or_default()
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
        here.make_room(&needed);
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
    /// It will not on this machine, whose disk is full or fails.
    Here(String),
    /// The coordinator has not got the file: it has it made again, and the job, whose fault it is not, waits for that.
    Gone(String),
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
            Code::NotFound => Broken::Gone(message),
            // Room comes and goes, and the file has nowhere else to go.
            Code::ResourceExhausted if is_full(&message) => Broken::Connection(message),
            Code::InvalidArgument | Code::ResourceExhausted | Code::DataLoss | Code::Unimplemented => {
                Broken::Refused(message)
            }
            // The connection broke, in one of the many ways in which one can.
            _ => Broken::Connection(message),
        }
    }
}

/// Whether that is what the system says of a disk without room, or a user without any left.
fn is_full(message: &str) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].iter().any(|kind| message.contains(&kind.to_string()))
        || ["No space left on device", "Disk quota exceeded"].iter().any(|text| message.contains(text))
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Here(error.to_string())
    }
}

impl From<ReceiveError> for Broken {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Disk { .. } => Broken::Here(error.to_string()),
            ReceiveError::Other { .. } | ReceiveError::TooLong => Broken::Refused(error.to_string()),
        }
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
    tried.map_err(|broken| {
        let (kind, why) = match broken {
            Broken::Gone(why) | Broken::Here(why) => (FailureKind::Preempted, why),
            Broken::Connection(why) | Broken::Refused(why) => (FailureKind::Infrastructure, why),
        };
        Failure::new(kind, format!("{what}: {why}"))
    })
}

async fn connect(endpoint: &Endpoint) -> Result<WorkerServiceClient<Channel>, Broken> {
    Ok(WorkerServiceClient::new(endpoint.connect().await?))
}

/// What comes of a step of a transfer, unless it takes too long.
async fn moving<T, E>(step: impl Future<Output = Result<T, E>>, still: Duration) -> Result<T, Broken>
where
    Broken: From<E>,
{
    let done = tokio::time::timeout(still, step).await;
    Ok(done.map_err(|_| Broken::Connection(format!("nothing has moved for {} s", still.as_secs_f64())))??)
}

async fn get(endpoint: &Endpoint, cache: &Cache, job: JobId, digest: Digest) -> Result<(), Broken> {
    let request = GetWeightsRequest { weights: Some(parent_weights(job, digest)) };
    let mut client = connect(endpoint).await?;
    let mut inbound = moving(client.get_weights(request), STILL).await?.into_inner();
    let (sender, mut parts) = mpsc::channel(PARTS);
    let directory = cache.directory.clone();
    let written = tokio::task::spawn_blocking(move || {
        weights::receive(&directory, digest, std::iter::from_fn(|| parts.blocking_recv()))
    });
    while let Some(part) = moving(inbound.message(), STILL).await? {
        if sender.send(part.content).await.is_err() {
            break;
        }
    }
    drop(sender);
    let written = written.await.map_err(|error| Broken::Refused(error.to_string()))?;
    Ok(written?)
}

async fn put(endpoint: &Endpoint, cache: &Cache, digest: Digest) -> Result<(), Broken> {
    let mut client = connect(endpoint).await?;
    let directory = cache.directory.clone();
    let parts = blocking(move || weights::parts(&directory, digest)).await?;
    let (sender, outbound) = mpsc::channel(PARTS);
    let (moved, mut moves) = watch::channel(());
    let read = tokio::task::spawn_blocking(move || {
        let mut name = digest.to_string();
        for part in parts {
            let part = WeightsPart { digest: std::mem::take(&mut name), content: part? };
            // The connection may have broken; the answer says so.
            if sender.blocking_send(part).is_err() {
                break;
            }
            moved.send_replace(());
        }
        Ok::<_, io::Error>(())
    });
    let mut call = std::pin::pin!(client.put_weights(ReceiverStream::new(outbound)));
    let answer = loop {
        let step = async {
            tokio::select! {
                answer = &mut call => Ok::<_, Broken>(Some(answer)),
                Ok(()) = moves.changed() => Ok(None),
            }
        };
        // The last part has gone: now the coordinator writes.
        if let Some(answer) = moving(step, STILL).await? {
            break answer;
        }
    };
    // A file that could not be read is why its end did not come.
    read.await.map_err(|error| Broken::Refused(error.to_string()))??;
    answer?;
    Ok(())
}

fn unusable(cache: &Cache, error: &io::Error) -> Failure {
    let directory = cache.directory.display();
    Failure::new(FailureKind::Preempted, format!("cannot use the directory for weights {directory}: {error}"))
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
        let place = tempfile::tempdir().unwrap();
        let cache = Cache { limit: 20, ..Cache::open(place.path()).unwrap() };
        const HOUR: u64 = 3_600;
        let files = [(b"0123456789", 4 * HOUR), (b"abcdefghij", 3 * HOUR), (b"ABCDEFGHIJ", 2 * HOUR)];
        let [oldest, older, newest] = files.map(|(content, age)| put(&cache, content, age));
        let directory = cache.directory().to_owned();
        let there = || [oldest, older, newest].map(|digest| weights::path(&directory, digest).exists());
        cache.trim(&BTreeSet::from([oldest])).unwrap();
        assert_eq!(there(), [true, false, true]);
        assert!(cache.has(oldest).unwrap(), "and is now the newest");
        let lately = put(&cache, b"klmnopqrst", 5);
        cache.trim(&BTreeSet::new()).unwrap();
        assert_eq!(there(), [true, false, false]);
        let cache = Cache { limit: 1, ..cache };
        cache.trim(&BTreeSet::new()).unwrap();
        assert!(
            there()[0] && cache.has(lately).unwrap(),
            "both were used lately, and somebody may be about to read them"
        );
        fs::remove_file(weights::path(cache.directory(), lately)).unwrap();
        assert!(!cache.has(lately).unwrap());
    }

    #[test]
    fn what_a_killed_process_left_unfinished_goes_when_it_is_old() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::open(place.path()).unwrap();
        const DAY: u64 = 24 * 3_600;
        let files = [
            ("ab.0f.part", 2 * DAY),
            (".tmpAbCdEf.tmp", 2 * DAY),
            ("cd.0f.part", DAY / 2),
            (".tmpGhIjKl.tmp", DAY / 2),
            ("somebody's.tmp", 2 * DAY),
        ];
        for (name, age) in files {
            let then = SystemTime::now() - Duration::from_secs(age);
            File::create_new(cache.directory().join(name)).unwrap().set_modified(then).unwrap();
        }
        let again = Cache::open(cache.directory()).unwrap();
        assert_eq!(
            files.map(|(name, _)| again.directory().join(name).exists()),
            [false, false, true, true, true],
            "what is new may be being written, and what is not ours stays"
        );
    }

    #[tokio::test]
    async fn weights_that_the_coordinator_has_not_got_cost_the_job_no_try() {
        let gone = || async { Err(Broken::from(Status::not_found("it is trained again"))) };
        let failure = persistently("cannot fetch", gone).await.unwrap_err();
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Preempted, "cannot fetch: it is trained again"));
        let refused = || async { Err(Broken::from(Status::data_loss("damaged"))) };
        assert_eq!(persistently("cannot fetch", refused).await.unwrap_err().kind, FailureKind::Infrastructure);
    }

    #[tokio::test]
    async fn a_disk_of_this_machine_that_is_full_or_fails_costs_the_job_no_try() {
        let kind = |broken: Broken| async {
            let failed = std::sync::Mutex::new(Some(broken));
            let next = || std::future::ready(Err(failed.lock().unwrap().take().unwrap()));
            persistently("cannot fetch", next).await.unwrap_err().kind
        };
        let full = || io::Error::from_raw_os_error(28);
        let written = ReceiveError::Disk { path: "weights".into(), error: full() };
        assert_eq!(kind(Broken::from(written)).await, FailureKind::Preempted);
        assert_eq!(kind(Broken::from(full())).await, FailureKind::Preempted, "what is to be delivered cannot be read");
        let [expected, found] = [Digest::of(b"a"), Digest::of(b"b")];
        let damaged = ReceiveError::Other { expected, found };
        assert_eq!(kind(Broken::from(damaged)).await, FailureKind::Infrastructure, "on its way");

        let place = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(&place.path().join("weights")).unwrap());
        fs::remove_dir(cache.directory()).unwrap();
        fs::write(cache.directory(), "in the way").unwrap();
        let nobody = Endpoint::from_static("http://127.0.0.1:1");
        let job = "0".repeat(32).parse().unwrap();
        let failure = fetch(nobody, cache, job, expected, BTreeSet::new()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Preempted, "{failure}");
        assert!(failure.message.contains("directory for weights"), "{failure}");
    }

    #[tokio::test]
    async fn a_coordinator_without_room_is_tried_again_until_it_has_some() {
        let full = format!("cannot keep the weights in x: {}", io::Error::from_raw_os_error(28));
        let answers = std::sync::Mutex::new(vec![Ok(()), Err(Broken::from(Status::resource_exhausted(full)))]);
        let next = || std::future::ready(answers.lock().unwrap().pop().unwrap());
        assert_eq!(persistently("cannot deliver", next).await, Ok(()));
        let long = || async { Err(Broken::from(Status::resource_exhausted("the weights are longer than 1 bytes"))) };
        assert_eq!(persistently("cannot deliver", long).await.unwrap_err().kind, FailureKind::Infrastructure);
    }

    #[tokio::test]
    async fn a_transfer_in_which_nothing_moves_is_a_broken_connection() {
        let step = std::future::pending::<Result<(), Status>>();
        let broken = moving(step, Duration::from_millis(5)).await;
        assert!(matches!(broken, Err(Broken::Connection(why)) if why.contains("0.005 s")));
        assert!(moving(std::future::ready(Ok::<_, Status>(3)), STILL).await.is_ok_and(|three| three == 3));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::open(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("--cache"), "{error}");
    }
}
