//! Reports that the coordinator has not acknowledged, in memory. `journal` keeps a copy on disk.
//!
//! A report is for one store. The coordinator of another store would treat it as stale and have it dropped, so it is withheld until the
//! worker connects to its own coordinator again.

use super::event::OutboxEntry;
use plusminus_core::id::{AttemptId, Digest};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::v1::{self, report::Body};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// The longest ending that can be sent, in bytes: the coordinator accepts messages of 4 MiB, less a little for the envelope.
const MAX_ENDING: usize = (4 << 20) - 1024;

/// The consequences of a connection to another store than before.
#[derive(Debug, Default)]
pub(super) struct StoreSwitch {
    /// Attempts whose weights were being delivered to the previous store.
    pub aborted: Vec<AttemptId>,
    /// Attempts whose weights are to be delivered to the new store.
    pub to_deliver: Vec<(AttemptId, BTreeSet<Digest>)>,
    /// The number of reports for other stores.
    pub withheld: usize,
}

/// Unacknowledged reports by number. Each stays until it is acknowledged or its attempt is revoked.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: BTreeMap<u64, OutboxEntry>,
    last: u64,
    /// The present coordinator's store; 0 before the first connection. The sets below hold only reports for it.
    store: u32,
    /// Reports that may be sent and were not sent over the present connection.
    unsent: BTreeSet<u64>,
    /// Reports sent over the present connection.
    sent: BTreeSet<u64>,
    /// The attempts of the endings: an index, because endings are few and requested with every heartbeat.
    endings: BTreeMap<u64, AttemptId>,
}

impl Outbox {
    /// Adds the entries that an earlier process stored.
    pub fn load(&mut self, entries: Vec<OutboxEntry>) {
        for entry in entries {
            self.last = self.last.max(entry.sequence);
            self.insert(entry);
        }
    }

    /// Adds a report and returns its entry.
    pub fn push(&mut self, attempt: AttemptId, body: Body, awaits_weights: bool) -> OutboxEntry {
        self.last += 1;
        let (sequence, body, store) = (self.last, sendable(body), self.store);
        let entry = OutboxEntry { sequence, attempt, body, awaits_weights, store };
        self.insert(entry.clone());
        entry
    }

    fn insert(&mut self, entry: OutboxEntry) {
        self.index(&entry);
        self.entries.insert(entry.sequence, entry);
    }

    fn index(&mut self, entry: &OutboxEntry) {
        if !entry.awaits_weights {
            self.unsent.insert(entry.sequence);
        }
        if entry.is_ending() {
            self.endings.insert(entry.sequence, entry.attempt);
        }
    }

    /// Prepares for a new connection to the coordinator of `store`: every report for it is sent again.
    pub fn switch_store(&mut self, store: u32) -> StoreSwitch {
        self.unsent.append(&mut self.sent);
        if store == self.store {
            return StoreSwitch::default();
        }
        let deliveries = |outbox: &Self| {
            let waiting = outbox.of_store().filter(|entry| entry.awaits_weights);
            waiting.map(|entry| (entry.attempt, entry.weights())).collect()
        };
        // Before the first connection no delivery was started.
        let aborted: Vec<_> = if self.store == 0 { Vec::new() } else { deliveries(self) };
        self.store = store;
        self.unsent.clear();
        self.endings.clear();
        let current: Vec<OutboxEntry> = self.of_store().cloned().collect();
        current.iter().for_each(|entry| self.index(entry));
        StoreSwitch {
            aborted: aborted.into_iter().map(|(attempt, _)| attempt).collect(),
            to_deliver: deliveries(self),
            withheld: self.len() - current.len(),
        }
    }

    /// The entries for the present store.
    fn of_store(&self) -> impl Iterator<Item = &OutboxEntry> {
        let current = |entry: &&OutboxEntry| self.store == 0 || entry.store == self.store || entry.store == 0;
        self.entries.values().filter(current)
    }

    /// Makes the ending of an attempt sendable, because its weights are delivered or `replacement` is sent instead.
    pub fn release(&mut self, attempt: AttemptId, replacement: Option<Body>) -> Option<OutboxEntry> {
        let waits = |entry: &&OutboxEntry| entry.awaits_weights && entry.attempt == attempt;
        let sequence = self.of_store().find(waits)?.sequence;
        let entry = self.entries.get_mut(&sequence)?;
        entry.awaits_weights = false;
        if let Some(body) = replacement {
            entry.body = sendable(body);
        }
        self.unsent.insert(entry.sequence);
        Some(entry.clone())
    }

    /// Removes a sent report and returns its entry. `None` if it was not sent over this connection.
    pub fn acknowledge(&mut self, sequence: u64) -> Option<OutboxEntry> {
        if !self.sent.remove(&sequence) {
            return None;
        }
        self.endings.remove(&sequence);
        self.entries.remove(&sequence)
    }

    /// Removes and returns the reports of a revoked attempt.
    pub fn drop_reports(&mut self, attempt: AttemptId) -> Vec<OutboxEntry> {
        let dropped = self.of_store().filter(|entry| entry.attempt == attempt).map(|entry| entry.sequence);
        let dropped: Vec<u64> = dropped.collect();
        let remove = |sequence: u64| {
            self.unsent.remove(&sequence);
            self.sent.remove(&sequence);
            self.endings.remove(&sequence);
            self.entries.remove(&sequence)
        };
        dropped.into_iter().filter_map(remove).collect()
    }

    /// The next unsent report, which then counts as sent. `None` while `window` reports are unacknowledged.
    pub fn next(&mut self, window: usize) -> Option<v1::Report> {
        if self.sent.len() >= window {
            return None;
        }
        let sequence = self.unsent.pop_first()?;
        self.sent.insert(sequence);
        Some(self.entries.get(&sequence)?.report())
    }

    /// Attempts whose ending is not acknowledged by the present store.
    pub fn endings(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.endings.values().copied()
    }

    /// Attempts whose ending is not acknowledged, for every store.
    pub fn all_endings(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.entries.values().filter(|entry| entry.is_ending()).map(|entry| entry.attempt)
    }

    /// The weight files that are not delivered yet.
    pub fn weights(&self) -> impl Iterator<Item = Digest> + '_ {
        self.entries.values().filter(|entry| entry.awaits_weights).flat_map(OutboxEntry::weights)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether every report for the present store is acknowledged.
    pub fn is_delivered(&self) -> bool {
        self.of_store().next().is_none()
    }
}

/// Replaces an ending that exceeds the message limit by a failure. Sent as it is, it would break every connection.
fn sendable(body: Body) -> Body {
    let Body::Ended(ending) = &body else { return body };
    let length = ending.encoded_len();
    if length <= MAX_ENDING {
        return body;
    }
    let why = format!(
        "the result takes {length} bytes, and a message holds at most {MAX_ENDING}; the noise matrix grows with the square of the number of classes"
    );
    failed(Failure::new(FailureKind::UserError, why))
}

/// The body of a report that an attempt has failed.
pub(super) fn failed(failure: Failure) -> Body {
    Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_core::id::Attempt;

    fn attempt(job: u8) -> AttemptId {
        AttemptId::new(format!("{job:032x}").parse().unwrap(), Attempt(1))
    }

    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        for epoch in 1..=3 {
            outbox.push(attempt(0), Body::Epoch(v1::Epoch { epoch, ..v1::Epoch::default() }), false);
        }
        outbox
    }

    fn send_all(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next(100)).map(|report| report.sequence).collect()
    }

    fn acknowledge(outbox: &mut Outbox, sequence: u64) -> Option<u64> {
        outbox.acknowledge(sequence).map(|entry| entry.sequence)
    }

    #[test]
    fn every_report_is_sent_in_order_and_once_per_connection() {
        let mut outbox = outbox();
        assert_eq!(send_all(&mut outbox), [1, 2, 3]);
        assert!(send_all(&mut outbox).is_empty());
    }

    #[test]
    fn a_new_connection_gets_the_unacknowledged_reports() {
        let mut outbox = outbox();
        send_all(&mut outbox);
        assert_eq!(acknowledge(&mut outbox, 2), Some(2));
        outbox.switch_store(0);
        assert_eq!(acknowledge(&mut outbox, 1), None, "not sent over this connection");
        assert_eq!(send_all(&mut outbox), [1, 3]);
        assert_eq!([1, 3].map(|sequence| acknowledge(&mut outbox, sequence)), [Some(1), Some(3)]);
        assert!(outbox.is_delivered());
    }

    #[test]
    fn the_window_bounds_the_unacknowledged_reports() {
        let mut outbox = outbox();
        let next = |outbox: &mut Outbox| outbox.next(2).map(|report| report.sequence);
        assert_eq!([(); 3].map(|()| next(&mut outbox)), [Some(1), Some(2), None]);
        acknowledge(&mut outbox, 1);
        assert_eq!([(); 2].map(|()| next(&mut outbox)), [Some(3), None]);
    }

    #[test]
    fn an_ending_is_sent_after_its_weights() {
        let mut outbox = outbox();
        let facts = v1::Facts { kept: [("final".to_owned(), "0f".repeat(32))].into(), ..v1::Facts::default() };
        let ending = v1::Ending { how: Some(v1::ending::How::Finished(facts)) };
        outbox.push(attempt(0), Body::Ended(ending), true);
        assert_eq!(send_all(&mut outbox), [1, 2, 3]);
        assert_eq!((outbox.endings().collect::<Vec<_>>(), outbox.weights().count()), (vec![attempt(0)], 1));
        assert_eq!(outbox.release(attempt(1), None), None);
        assert!(outbox.release(attempt(0), None).is_some_and(|entry| !entry.awaits_weights && entry.sequence == 4));
        assert_eq!(outbox.release(attempt(0), None), None, "once");
        assert_eq!((send_all(&mut outbox), outbox.weights().count()), (vec![4], 0));
    }

    #[test]
    fn numbers_continue_after_the_loaded_entries() {
        let mut before = outbox();
        let entries: Vec<OutboxEntry> = std::mem::take(&mut before.entries).into_values().collect();
        let mut outbox = Outbox::default();
        outbox.load(entries);
        assert_eq!(outbox.push(attempt(2), Body::Epoch(v1::Epoch::default()), false).sequence, 4);
        assert_eq!(send_all(&mut outbox), [1, 2, 3, 4]);
        assert_eq!(outbox.drop_reports(attempt(0)).len(), 3);
        assert_eq!((outbox.len(), outbox.is_delivered()), (1, false));
    }

    #[test]
    fn an_ending_that_exceeds_the_message_limit_becomes_a_failure() {
        let ending = |length| {
            let facts = v1::Facts { transition: vec![0.5; length], ..v1::Facts::default() };
            Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(facts)) })
        };
        assert_eq!(sendable(ending(500 * 500)), ending(500 * 500));
        let Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) }) = sendable(ending(800 * 800))
        else {
            panic!("the ending was not replaced");
        };
        let failure = Failure::from(failure);
        assert_eq!(failure.kind, FailureKind::UserError);
        assert!(failure.message.contains("5120"), "{failure}");
    }
}
