//! Replies in several messages, so that none outgrows the limit of a gRPC message (4 MiB), whatever a coordinator has to tell.

use crate::v1;
use prost::Message;

/// The bytes after which a message is full. One more entry may follow, which is far below the limit of a message.
pub const FULL: usize = 256 << 10;
/// The most bytes of a reply that comes in one message.
pub const WHOLE: usize = 3 << 20;

/// Splits entries into lists that each fill one message. There is at least one, which may be empty.
pub fn split<T: Message>(entries: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let (mut parts, mut size): (Vec<Vec<T>>, usize) = (vec![Vec::new()], 0);
    for entry in entries {
        if size > FULL {
            parts.push(Vec::new());
            size = 0;
        }
        size += entry.encoded_len();
        if let Some(part) = parts.last_mut() {
            part.push(entry);
        }
    }
    parts
}

impl v1::SweepStatus {
    /// Adds what the next part says of the same sweep.
    pub fn extend(&mut self, next: v1::SweepStatus) {
        self.running_jobs.extend(next.running_jobs);
    }
}

impl v1::StatusResponse {
    /// Adds the next part.
    pub fn extend(&mut self, next: v1::StatusResponse) {
        for sweep in next.sweeps {
            match self.sweeps.last_mut() {
                Some(last) if last.sweep == sweep.sweep => last.extend(sweep),
                _ => self.sweeps.push(sweep),
            }
        }
        self.workers.extend(next.workers);
        self.quarantines.extend(next.quarantines);
    }
}

impl v1::ExplainResponse {
    /// Adds the attempts of the next part.
    pub fn extend(&mut self, next: v1::ExplainResponse) {
        self.attempts.extend(next.attempts);
    }

    /// Leaves out the first attempts until the rest fits into one message.
    pub fn abridge(&mut self) {
        if self.encoded_len() <= WHOLE {
            return;
        }
        let mut room = WHOLE - FULL * 4;
        let fits = |attempt: &&v1::AttemptRow| {
            let size = attempt.encoded_len() + 8;
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        };
        let kept = self.attempts.iter().rev().take_while(fits).count();
        self.attempts.drain(..self.attempts.len() - kept);
    }
}

/// Joins the parts of a watch's updates into whole statuses.
#[derive(Debug, Default)]
pub struct WatchedStatus {
    begun: Option<v1::SweepStatus>,
}

impl WatchedStatus {
    /// Takes the next update. Returns the status once it is whole.
    pub fn take(&mut self, update: v1::WatchUpdate) -> Option<v1::SweepStatus> {
        match (&mut self.begun, update.status) {
            (Some(begun), Some(next)) => begun.extend(next),
            (begun @ None, next) => *begun = next,
            (Some(_), None) => {}
        }
        if update.continues { None } else { self.begun.take() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(attempt: u32) -> v1::AttemptRow {
        v1::AttemptRow { attempt, message: "x".repeat(4000), ..v1::AttemptRow::default() }
    }

    #[test]
    fn entries_are_split_into_messages_of_bounded_size() {
        let parts = split((0..1000).map(attempt));
        assert!(parts.len() > 10 && parts.len() < 20, "{}", parts.len());
        assert!(parts.iter().all(|part| part.iter().map(Message::encoded_len).sum::<usize>() < 2 * FULL));
        let numbers: Vec<u32> = parts.into_iter().flatten().map(|attempt| attempt.attempt).collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        assert_eq!(split(Vec::<v1::AttemptRow>::new()), [vec![]]);
    }

    #[test]
    fn an_explanation_that_is_too_long_keeps_the_last_attempts() {
        let whole = v1::ExplainResponse { attempts: (0..100).map(attempt).collect(), ..Default::default() };
        let mut abridged = whole.clone();
        abridged.abridge();
        assert_eq!(abridged, whole);
        let mut long = v1::ExplainResponse { attempts: (0..3000).map(attempt).collect(), ..Default::default() };
        long.abridge();
        assert_eq!(long.attempts.last().unwrap().attempt, 2999);
        assert!(long.attempts.len() > 500 && long.encoded_len() < 4 << 20, "{}", long.attempts.len());
    }

    #[test]
    fn a_status_in_parts_is_joined_by_sweep() {
        let sweep = |name: &str, seeds: &[u64]| v1::SweepStatus {
            sweep: name.to_owned(),
            running_jobs: seeds.iter().map(|seed| v1::RunningJob { seed: *seed, ..Default::default() }).collect(),
            ..Default::default()
        };
        let mut status = v1::StatusResponse {
            sweeps: vec![sweep("a", &[]), sweep("b", &[1, 2])],
            workers: vec![],
            ..v1::StatusResponse::default()
        };
        status.extend(v1::StatusResponse {
            sweeps: vec![sweep("b", &[3]), sweep("c", &[4])],
            workers: vec![],
            ..v1::StatusResponse::default()
        });
        assert_eq!(status.sweeps, [sweep("a", &[]), sweep("b", &[1, 2, 3]), sweep("c", &[4])]);
        let update = |status, continues| v1::WatchUpdate { status: Some(status), continues };
        let mut watched = WatchedStatus::default();
        assert_eq!(watched.take(update(sweep("a", &[1]), true)), None);
        assert_eq!(watched.take(update(sweep("a", &[2]), false)), Some(sweep("a", &[1, 2])));
        assert_eq!(watched.take(update(sweep("a", &[]), false)), Some(sweep("a", &[])));
    }
}
