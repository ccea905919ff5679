//! Which uploads of weights are expected: files of running attempts, a few of each.

use crate::server::limits::WeightsLimits;
use plusminus_core::id::{AttemptId, Digest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The uploads of running attempts.
pub(crate) struct ExpectedUploads {
    attempts: Mutex<BTreeMap<AttemptId, Uploads>>,
    limits: WeightsLimits,
}

/// The uploads of an attempt.
#[derive(Default)]
struct Uploads {
    open: Vec<Digest>,
    received: BTreeSet<Digest>,
}

/// Why an upload of a running attempt is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMany {
    /// An earlier one may still hold a broken connection.
    #[error("the attempt is uploading {0} files already; retry later")]
    Open(usize),
    #[error("the attempt has uploaded {0} files, the most")]
    Files(usize),
}

impl ExpectedUploads {
    pub fn new(limits: WeightsLimits) -> Arc<Self> {
        Arc::new(ExpectedUploads { attempts: Mutex::default(), limits })
    }

    /// Begins an upload of a running attempt.
    pub fn begin(self: &Arc<Self>, attempt: AttemptId, digest: Digest) -> Result<Upload, TooMany> {
        let mut attempts = self.lock();
        let uploads = attempts.entry(attempt).or_default();
        let WeightsLimits { uploads_per_attempt, files_per_attempt, .. } = self.limits;
        if uploads.open.len() >= uploads_per_attempt {
            return Err(TooMany::Open(uploads.open.len()));
        }
        // The same file may be uploaded again, when the first answer was lost.
        if uploads.received.len() >= files_per_attempt && !uploads.received.contains(&digest) {
            return Err(TooMany::Files(files_per_attempt));
        }
        uploads.open.push(digest);
        Ok(Upload { expected: Arc::clone(self), attempt, digest })
    }

    /// The attempts with uploads.
    pub fn attempts(&self) -> Vec<AttemptId> {
        self.lock().keys().copied().collect()
    }

    /// Forgets the received files of attempts that are not among `running`. Returns the files of the others, and those that are being
    /// received.
    pub fn retain(&self, running: &BTreeSet<AttemptId>) -> BTreeSet<Digest> {
        let mut attempts = self.lock();
        attempts.retain(|attempt, uploads| !uploads.open.is_empty() || running.contains(attempt));
        attempts.values().flat_map(|uploads| uploads.received.iter().chain(&uploads.open)).copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Uploads>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upload that is being received.
pub(crate) struct Upload {
    expected: Arc<ExpectedUploads>,
    attempt: AttemptId,
    digest: Digest,
}

impl Upload {
    /// Notes that the whole file has been received.
    pub fn received(&self) {
        if let Some(uploads) = self.expected.lock().get_mut(&self.attempt) {
            uploads.received.insert(self.digest);
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(uploads) = self.expected.lock().get_mut(&self.attempt)
            && let Some(open) = uploads.open.iter().position(|digest| *digest == self.digest)
        {
            uploads.open.swap_remove(open);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use crate::server::limits::Limits;
    use plusminus_core::id::Attempt;

    #[test]
    fn an_attempt_has_a_few_uploads_and_files() {
        let limits = WeightsLimits { uploads_per_attempt: 1, files_per_attempt: 2, ..Limits::default().weights };
        let expected = ExpectedUploads::new(limits);
        let [first, second] =
            [1, 2].map(|attempt| AttemptId { job: "a".repeat(32).parse().unwrap(), attempt: Attempt(attempt) });
        let [a, b, c] = [b"a", b"b", b"c"].map(|content| Digest::of(content));
        let upload = expected.begin(first, a).unwrap();
        assert_eq!(expected.begin(first, b).err(), Some(TooMany::Open(1)));
        expected.begin(second, b).unwrap();
        upload.received();
        drop(upload);
        expected.begin(first, b).unwrap().received();
        assert_eq!(expected.begin(first, c).err(), Some(TooMany::Files(2)));
        expected.begin(first, a).unwrap();
        assert_eq!(expected.retain(&BTreeSet::from([first])), BTreeSet::from([a, b]));
        assert_eq!(expected.attempts(), [first]);
        assert!(expected.retain(&BTreeSet::new()).is_empty() && expected.attempts().is_empty());
    }
}
