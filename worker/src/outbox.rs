//! What is yet to be acknowledged by the coordinator.

use plusminus_core::id::{Attempt, JobId};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_proto::convert::attempt_id;
use plusminus_proto::v1::{self, report::News};
use std::collections::VecDeque;

/// Bytes of an ending that can be sent: the coordinator takes messages of 4 MiB, and there is a little around it.
const LONGEST: usize = (4 << 20) - 1024;

/// Reports in the order in which they were made, each kept until it is acknowledged.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Entry>,
    last: u64,
    /// The last sequence number that has been sent over the present connection.
    sent: u64,
}

struct Entry {
    sequence: u64,
    of: (JobId, Attempt),
    news: News,
}

impl Outbox {
    pub fn push(&mut self, of: (JobId, Attempt), news: News) {
        self.last += 1;
        self.waiting.push_back(Entry { sequence: self.last, of, news: sendable(news) });
    }

    pub fn acknowledge(&mut self, sequence: u64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&sequence, |entry| entry.sequence) {
            self.waiting.remove(at);
        }
    }

    /// A new connection: everything is sent again.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next report that the present connection has not had.
    pub fn unsent(&self) -> Option<v1::Report> {
        let entry = self.waiting.get(self.waiting.partition_point(|entry| entry.sequence <= self.sent))?;
        let of = Some(attempt_id(entry.of.0, entry.of.1));
        Some(v1::Report { sequence: entry.sequence, of, news: Some(entry.news.clone()) })
    }

    pub fn sent(&mut self, sequence: u64) {
        self.sent = sequence;
    }

    /// Attempts whose ending has yet to be delivered.
    pub fn endings(&self) -> impl Iterator<Item = (JobId, Attempt)> + '_ {
        self.waiting.iter().filter(|entry| matches!(entry.news, News::Ended(_))).map(|entry| entry.of)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// An ending that is too long for a message would break every connection that it is sent over: the attempt ends with that instead.
fn sendable(news: News) -> News {
    let length = news.encoded_len();
    if length <= LONGEST || !matches!(news, News::Ended(_)) {
        return news;
    }
    let why = format!(
        "what the attempt has to report takes {length} bytes, and a message has room for {LONGEST}; are there very many classes?"
    );
    let failure = Failure::new(FailureKind::UserError, why);
    News::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure.into())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        for epoch in 1..=3 {
            let news = News::Epoch(v1::Epoch { epoch, ..v1::Epoch::default() });
            outbox.push(("0".repeat(32).parse().unwrap(), Attempt(1)), news);
        }
        outbox
    }

    fn send_all(outbox: &mut Outbox) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(report) = outbox.unsent() {
            outbox.sent(report.sequence);
            sent.push(report.sequence);
        }
        sent
    }

    #[test]
    fn every_report_is_sent_once_a_connection_and_in_order() {
        let mut outbox = outbox();
        assert_eq!(send_all(&mut outbox), [1, 2, 3]);
        assert!(send_all(&mut outbox).is_empty());
    }

    #[test]
    fn an_ending_that_is_too_long_for_a_message_is_a_failure_that_says_so() {
        let ending = |length| {
            let facts = v1::Facts { transition: vec![0.5; length], ..v1::Facts::default() };
            News::Ended(v1::Ending { how: Some(v1::ending::How::Finished(facts)) })
        };
        assert_eq!(sendable(ending(500 * 500)), ending(500 * 500));
        let News::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) }) = sendable(ending(800 * 800))
        else {
            panic!("it would be sent for ever");
        };
        let failure = Failure::from(failure);
        assert_eq!(failure.kind, FailureKind::UserError);
        assert!(failure.message.contains("5120"), "{failure}");
    }

    #[test]
    fn a_new_connection_is_sent_what_was_not_acknowledged() {
        let mut outbox = outbox();
        send_all(&mut outbox);
        outbox.acknowledge(2);
        outbox.rewind();
        assert_eq!(send_all(&mut outbox), [1, 3]);
        [1, 3].into_iter().for_each(|sequence| outbox.acknowledge(sequence));
        assert!(outbox.is_empty());
    }
}
