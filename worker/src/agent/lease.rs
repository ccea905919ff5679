//! The worker's lease: until when its attempts belong to it, computed from answered heartbeats.

use super::event::BootTime;
use plusminus_proto::v1;
use std::collections::VecDeque;
use std::time::Duration;

/// The number of unanswered heartbeats whose sending time is remembered.
const UNANSWERED: usize = 256;

/// One lease for all attempts of the worker. It runs from the time at which the latest answered heartbeat was *sent*, so that it never
/// outlasts the coordinator's.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The coordinator's lease, less a margin for clocks that differ in speed.
    length: Duration,
    until: BootTime,
    /// When the Hello of the connection that is being opened was sent.
    hello: Option<BootTime>,
    /// Unanswered heartbeats over the present connection, with the time of sending.
    beats: VecDeque<(u64, BootTime)>,
    last: u64,
}

impl Lease {
    /// Records that a Hello is sent. Heartbeats over an older connection no longer count.
    pub fn hello(&mut self, now: BootTime) {
        self.hello = Some(now);
        self.beats.clear();
    }

    /// Records the answer to the Hello.
    pub fn welcomed(&mut self, welcome: &v1::Welcome) {
        self.length = Duration::from_millis(welcome.lease_milliseconds - welcome.lease_milliseconds / 10);
        if let Some(sent) = self.hello.take() {
            // Not the maximum with the previous end: the new lease may be shorter.
            self.until = sent.after(self.length);
        }
    }

    /// Records that a heartbeat is sent. Returns its number.
    pub fn beat(&mut self, now: BootTime) -> u64 {
        self.last += 1;
        if self.beats.len() == UNANSWERED {
            self.beats.pop_front();
        }
        self.beats.push_back((self.last, now));
        self.last
    }

    /// Records the answer to a heartbeat, which also answers all earlier ones.
    pub fn renewed(&mut self, beat: u64) {
        let Ok(at) = self.beats.binary_search_by_key(&beat, |(beat, _)| *beat) else { return };
        let sent = self.beats[at].1;
        self.beats.drain(..=at);
        self.until = self.until.max(sent.after(self.length));
    }

    /// When the lease expires.
    pub fn until(&self) -> BootTime {
        self.until
    }

    /// Whether the lease has not expired.
    pub fn is_valid(&self, now: BootTime) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELCOME: v1::Welcome =
        v1::Welcome { heartbeat_milliseconds: 20, lease_milliseconds: 100, stop: Vec::new(), store: 1 };

    #[test]
    fn a_lease_runs_from_the_sending_of_the_answered_heartbeat() {
        let mut lease = Lease::default();
        assert!(!lease.is_valid(BootTime(0)), "before the first welcome");
        lease.hello(BootTime(1_000));
        lease.welcomed(&WELCOME);
        assert_eq!(lease.until(), BootTime(1_090), "a tenth less: the margin");
        let beats = [1_020, 1_040, 1_060].map(|now| lease.beat(BootTime(now)));
        lease.renewed(beats[1]);
        assert_eq!(lease.until(), BootTime(1_130));
        lease.renewed(beats[0]);
        lease.renewed(beats[1]);
        lease.renewed(77);
        assert_eq!(lease.until(), BootTime(1_130), "an older answer, a repeated one, an unknown number");
        lease.renewed(beats[2]);
        assert_eq!(lease.until(), BootTime(1_150));
        assert!(lease.is_valid(BootTime(1_149)) && !lease.is_valid(BootTime(1_150)));
    }

    #[test]
    fn answers_to_heartbeats_of_an_older_connection_do_not_count() {
        let mut lease = Lease::default();
        lease.hello(BootTime(0));
        lease.welcomed(&WELCOME);
        let beat = lease.beat(BootTime(50));
        lease.hello(BootTime(60));
        lease.renewed(beat);
        assert_eq!(lease.until(), BootTime(90));
        lease.hello(BootTime(70));
        lease.welcomed(&WELCOME);
        assert_eq!(lease.until(), BootTime(160), "the Welcome answers the latest Hello");
    }

    #[test]
    fn the_number_of_remembered_heartbeats_is_bounded() {
        let mut lease = Lease { length: Duration::from_millis(100), ..Lease::default() };
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
