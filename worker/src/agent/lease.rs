//! Until when what is in hand may be trained: heartbeats, and which of them were answered.

use super::event::BootTime;
use plusminus_proto::v1;
use std::collections::VecDeque;

/// Heartbeats without an answer of which is known when they were sent.
const UNANSWERED: usize = 256;

/// The worker's lease, one for all that it has in hand. It lasts from when the latest answered heartbeat was *sent*, so that it never
/// lasts longer here than at the coordinator.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Milliseconds, less a margin for clocks that differ in speed.
    length: u64,
    until: BootTime,
    /// When the Hello was sent of the connection that is being made.
    hello: Option<BootTime>,
    /// Heartbeats over the present connection that are not answered yet, and when they were sent.
    beats: VecDeque<(u64, BootTime)>,
    last: u64,
}

impl Lease {
    /// A Hello is sent: what went over an older connection is answered no more.
    pub fn hello(&mut self, now: BootTime) {
        self.hello = Some(now);
        self.beats.clear();
    }

    /// The Hello is answered.
    pub fn welcomed(&mut self, welcome: &v1::Welcome) {
        self.length = welcome.lease_milliseconds - welcome.lease_milliseconds / 10;
        if let Some(sent) = self.hello.take() {
            // Not the later of this and what was: leases may be shorter than they were.
            self.until = sent.after(self.length);
        }
    }

    /// The number of a heartbeat that is sent now.
    pub fn beat(&mut self, now: BootTime) -> u64 {
        self.last += 1;
        if self.beats.len() == UNANSWERED {
            self.beats.pop_front();
        }
        self.beats.push_back((self.last, now));
        self.last
    }

    /// A heartbeat is answered, and all before it with it.
    pub fn renewed(&mut self, beat: u64) {
        let Ok(at) = self.beats.binary_search_by_key(&beat, |(beat, _)| *beat) else { return };
        let sent = self.beats[at].1;
        self.beats.drain(..=at);
        self.extend(sent);
    }

    fn extend(&mut self, sent: BootTime) {
        self.until = self.until.max(sent.after(self.length));
    }

    /// When it passes.
    pub fn until(&self) -> BootTime {
        self.until
    }

    /// Whether it has not passed yet.
    pub fn lasts(&self, now: BootTime) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELCOME: v1::Welcome =
        v1::Welcome { heartbeat_milliseconds: 20, lease_milliseconds: 100, stop: Vec::new(), store: 1 };

    #[test]
    fn it_lasts_from_when_the_answered_heartbeat_was_sent_less_a_margin() {
        let mut lease = Lease::default();
        assert!(!lease.lasts(BootTime(0)), "before the first welcome");
        lease.hello(BootTime(1_000));
        lease.welcomed(&WELCOME);
        assert_eq!(lease.until(), BootTime(1_090));
        let beats = [1_020, 1_040, 1_060].map(|now| lease.beat(BootTime(now)));
        lease.renewed(beats[1]);
        assert_eq!(lease.until(), BootTime(1_130));
        lease.renewed(beats[0]);
        lease.renewed(beats[1]);
        lease.renewed(77);
        assert_eq!(lease.until(), BootTime(1_130), "an older answer, a second one, and one to nothing");
        lease.renewed(beats[2]);
        assert_eq!(lease.until(), BootTime(1_150));
        assert!(lease.lasts(BootTime(1_149)) && !lease.lasts(BootTime(1_150)));
    }

    #[test]
    fn an_answer_to_what_went_over_an_older_connection_counts_no_more() {
        let mut lease = Lease::default();
        lease.hello(BootTime(0));
        lease.welcomed(&WELCOME);
        let beat = lease.beat(BootTime(50));
        lease.hello(BootTime(60));
        lease.renewed(beat);
        assert_eq!(lease.until(), BootTime(90));
        lease.hello(BootTime(70));
        lease.welcomed(&WELCOME);
        assert_eq!(lease.until(), BootTime(160), "the latest Hello is the one that was answered");
    }

    #[test]
    fn unanswered_heartbeats_do_not_pile_up() {
        let mut lease = Lease { length: 100, ..Lease::default() };
        let first = lease.beat(BootTime(1));
        for now in 2..=1_000 {
            lease.beat(BootTime(now));
        }
        assert_eq!(lease.beats.len(), UNANSWERED);
        lease.renewed(first);
        assert_eq!(lease.until(), BootTime(0));
        lease.renewed(1_000);
        assert_eq!(lease.until(), BootTime(1_100));
    }
}
