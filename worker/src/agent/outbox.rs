//! What is yet to be acknowledged by the coordinator, as the agent knows it. (The disk has a copy: `journal`.)
//!
//! A report is for one coordinator's store. Another coordinator would take it for one of a past attempt and have it forgotten: so it is
//! said to nobody until the worker is with its own again.

use super::event::Entry;
use plusminus_core::id::{AttemptId, Digest};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::v1::{self, report::Body};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of an ending that can be sent: the coordinator takes messages of 4 MiB, and there is a little around it.
const LONGEST: usize = (4 << 20) - 1024;

/// What it means that the worker is with a coordinator of another store than before.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// Attempts whose weights are for the one before, and were being handed in.
    pub away: Vec<AttemptId>,
    /// Attempts whose weights are to be handed in now.
    pub back: Vec<(AttemptId, BTreeSet<Digest>)>,
    /// Reports for neither.
    pub others: usize,
}

/// Reports in the order in which they were made, each kept until it is acknowledged.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<u64, Entry>,
    last: u64,
    /// Whose coordinator the worker is with; 0 before there has been any. The sets below are of what is for it.
    store: u32,
    /// What the present connection has not had, and may have.
    unsent: BTreeSet<u64>,
    /// What it has had.
    sent: BTreeSet<u64>,
    /// Which of what is waiting are endings, and whose: few among many epochs, and asked for often.
    endings: BTreeMap<u64, AttemptId>,
}

impl Outbox {
    /// Takes in what an earlier process has left.
    pub fn load(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.last = self.last.max(entry.sequence);
            self.insert(entry);
        }
    }

    /// Takes in a report, which `waits` for weights or does not.
    pub fn push(&mut self, of: AttemptId, body: Body, waits: bool) -> Entry {
        self.last += 1;
        let entry = Entry { sequence: self.last, of, body: sendable(body), waits, store: self.store };
        self.insert(entry.clone());
        entry
    }

    fn insert(&mut self, entry: Entry) {
        self.sort_in(&entry);
        self.waiting.insert(entry.sequence, entry);
    }

    fn sort_in(&mut self, entry: &Entry) {
        if !entry.waits {
            self.unsent.insert(entry.sequence);
        }
        if entry.is_ending() {
            self.endings.insert(entry.sequence, entry.of);
        }
    }

    /// A new connection, to the coordinator with this store: everything that is for it is sent again.
    pub fn turn_to(&mut self, store: u32) -> Turned {
        self.unsent.append(&mut self.sent);
        if store == self.store {
            return Turned::default();
        }
        let of = |outbox: &Self| outbox.ours().filter(|entry| entry.waits).map(|e| (e.of, e.weights())).collect();
        // Before there was any, nothing was handed in.
        let away: Vec<_> = if self.store == 0 { Vec::new() } else { of(self) };
        self.store = store;
        self.unsent.clear();
        self.endings.clear();
        let ours: Vec<Entry> = self.ours().cloned().collect();
        ours.iter().for_each(|entry| self.sort_in(entry));
        Turned { away: away.into_iter().map(|(of, _)| of).collect(), back: of(self), others: self.len() - ours.len() }
    }

    /// What is for the coordinator that the worker is with.
    fn ours(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.values().filter(|entry| self.is_ours(entry))
    }

    fn is_ours(&self, entry: &Entry) -> bool {
        self.store == 0 || entry.store == self.store || entry.store == 0
    }

    /// The weights of an attempt's ending are handed in, or the attempt has ended in another way.
    pub fn settle(&mut self, of: AttemptId, instead: Option<Body>) -> Option<Entry> {
        let sequence = self.ours().find(|entry| entry.waits && entry.of == of)?.sequence;
        let entry = self.waiting.get_mut(&sequence)?;
        entry.waits = false;
        if let Some(body) = instead {
            entry.body = sendable(body);
        }
        self.unsent.insert(entry.sequence);
        Some(entry.clone())
    }

    /// A report that was sent is acknowledged.
    pub fn acknowledge(&mut self, sequence: u64) -> Option<Entry> {
        if !self.sent.remove(&sequence) {
            return None;
        }
        self.endings.remove(&sequence);
        self.waiting.remove(&sequence)
    }

    /// Nobody wants to hear of an attempt any more. Its entries.
    pub fn forget(&mut self, of: AttemptId) -> Vec<Entry> {
        let forgotten: Vec<u64> = self.ours().filter(|entry| entry.of == of).map(|entry| entry.sequence).collect();
        let remove = |sequence: u64| {
            self.unsent.remove(&sequence);
            self.sent.remove(&sequence);
            self.endings.remove(&sequence);
            self.waiting.remove(&sequence)
        };
        forgotten.into_iter().filter_map(remove).collect()
    }

    /// The next report that the present connection has not had, unless so many are on their way already. It is then.
    pub fn next(&mut self, window: usize) -> Option<v1::Report> {
        if self.sent.len() >= window {
            return None;
        }
        let sequence = self.unsent.pop_first()?;
        self.sent.insert(sequence);
        Some(self.waiting.get(&sequence)?.report())
    }

    /// Attempts whose ending has yet to be delivered to the coordinator that the worker is with.
    pub fn endings(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.endings.values().copied()
    }

    /// Attempts whose ending has yet to be delivered to whichever coordinator.
    pub fn all_endings(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.waiting.values().filter(|entry| entry.is_ending()).map(|entry| entry.of)
    }

    /// Files of weights that are yet to be handed in.
    pub fn weights(&self) -> impl Iterator<Item = Digest> + '_ {
        self.waiting.values().filter(|entry| entry.waits).flat_map(Entry::weights)
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is nothing for the coordinator that the worker is with.
    pub fn is_delivered(&self) -> bool {
        self.ours().next().is_none()
    }
}

/// An ending that is too long for a message would break every connection that it is sent over: the attempt ends with that instead.
fn sendable(body: Body) -> Body {
    let Body::Ended(ending) = &body else { return body };
    let length = ending.encoded_len();
    if length <= LONGEST {
        return body;
    }
    let why = format!(
        "what the attempt has to report takes {length} bytes, and a message has room for {LONGEST}; are there very many classes?"
    );
    failed(Failure::new(FailureKind::UserError, why))
}

/// The news that an attempt has failed.
pub(super) fn failed(failure: Failure) -> Body {
    Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_core::id::Attempt;

    fn of(job: u8) -> AttemptId {
        AttemptId::new(format!("{job:032x}").parse().unwrap(), Attempt(1))
    }

    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        for epoch in 1..=3 {
            outbox.push(of(0), Body::Epoch(v1::Epoch { epoch, ..v1::Epoch::default() }), false);
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
    fn every_report_is_sent_once_a_connection_and_in_order() {
        let mut outbox = outbox();
        assert_eq!(send_all(&mut outbox), [1, 2, 3]);
        assert!(send_all(&mut outbox).is_empty());
    }

    #[test]
    fn a_new_connection_is_sent_what_was_not_acknowledged() {
        let mut outbox = outbox();
        send_all(&mut outbox);
        assert_eq!(acknowledge(&mut outbox, 2), Some(2));
        outbox.turn_to(0);
        assert_eq!(acknowledge(&mut outbox, 1), None, "what this connection has not had it cannot acknowledge");
        assert_eq!(send_all(&mut outbox), [1, 3]);
        assert_eq!([1, 3].map(|sequence| acknowledge(&mut outbox, sequence)), [Some(1), Some(3)]);
        assert!(outbox.is_delivered());
    }

    #[test]
    fn no_more_are_on_their_way_than_the_window_is_wide() {
        let mut outbox = outbox();
        let next = |outbox: &mut Outbox| outbox.next(2).map(|report| report.sequence);
        assert_eq!([(); 3].map(|()| next(&mut outbox)), [Some(1), Some(2), None]);
        acknowledge(&mut outbox, 1);
        assert_eq!([(); 2].map(|()| next(&mut outbox)), [Some(3), None]);
    }

    #[test]
    fn an_ending_that_waits_for_weights_is_sent_when_they_are_handed_in() {
        let mut outbox = outbox();
        let facts = v1::Facts { kept: [("final".to_owned(), "0f".repeat(32))].into(), ..v1::Facts::default() };
        let ending = v1::Ending { how: Some(v1::ending::How::Finished(facts)) };
        outbox.push(of(0), Body::Ended(ending), true);
        assert_eq!(send_all(&mut outbox), [1, 2, 3]);
        assert_eq!((outbox.endings().collect::<Vec<_>>(), outbox.weights().count()), (vec![of(0)], 1));
        assert_eq!(outbox.settle(of(1), None), None);
        assert!(outbox.settle(of(0), None).is_some_and(|entry| !entry.waits && entry.sequence == 4));
        assert_eq!(outbox.settle(of(0), None), None, "once");
        assert_eq!((send_all(&mut outbox), outbox.weights().count()), (vec![4], 0));
    }

    #[test]
    fn numbers_go_on_from_what_was_loaded() {
        let mut before = outbox();
        let entries: Vec<Entry> = std::mem::take(&mut before.waiting).into_values().collect();
        let mut outbox = Outbox::default();
        outbox.load(entries);
        assert_eq!(outbox.push(of(2), Body::Epoch(v1::Epoch::default()), false).sequence, 4);
        assert_eq!(send_all(&mut outbox), [1, 2, 3, 4]);
        assert_eq!(outbox.forget(of(0)).len(), 3);
        assert_eq!((outbox.len(), outbox.is_delivered()), (1, false));
    }

    #[test]
    fn an_ending_that_is_too_long_for_a_message_is_a_failure_that_says_so() {
        let ending = |length| {
            let facts = v1::Facts { transition: vec![0.5; length], ..v1::Facts::default() };
            Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(facts)) })
        };
        assert_eq!(sendable(ending(500 * 500)), ending(500 * 500));
        let Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) }) = sendable(ending(800 * 800))
        else {
            panic!("it would be sent for ever");
        };
        let failure = Failure::from(failure);
        assert_eq!(failure.kind, FailureKind::UserError);
        assert!(failure.message.contains("5120"), "{failure}");
    }
}
