//! An agent that connects to one coordinator and then to another.

use super::*;

const OTHER: u32 = 2;

impl Bench {
    /// Connects to the coordinator with this store, which does not know the attempts that the Hello names.
    fn connect_to(&mut self, store: u32) -> Vec<Effect> {
        let mut effects = self.handle(Event::Connecting);
        let Effect::Send(from_worker::Message::Hello(hello)) = effects.remove(0) else { panic!("no Hello first") };
        let mut effects = self.receive(welcome_of(store, hello.holds));
        effects.retain(|effect| !matches!(effect, Effect::SendToRunner { message: to_runner::Message::Lease(_), .. }));
        effects
    }
}

#[test]
fn reports_for_another_store_are_withheld() {
    let mut bench = Bench::connected(2);
    bench.assign(attempt(1, 1));
    bench.runner_ends(0, finished(&[]));
    bench.handle(Event::Disconnected);
    let effects = bench.connect_to(OTHER);
    assert_eq!(
        (reports(&effects), effects),
        (vec![], vec![]),
        "the other coordinator stops the attempt; its report is kept"
    );
    assert_eq!(bench.beats.last().unwrap().holds, []);
    bench.assign(attempt(1, 1));
    assert_eq!(
        reports(&bench.runner_ends(0, finished(&[]))),
        [(2, id(attempt(1, 1)))],
        "the same job for the other store"
    );
    assert_eq!(bench.acknowledge(2)[0], Effect::DeleteEntry(2));
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(attempt(1, 1)).unwrap()]);
    assert_eq!(reports(&effects), [(1, id(attempt(1, 1)))], "delivered to its own store");
}

#[test]
fn weights_are_delivered_only_to_their_store() {
    let mut bench = Bench::connected(1);
    let weights = Digest::of(b"weights");
    bench.assign(attempt(1, 1));
    let deliver = Effect::DeliverWeights { attempt: attempt(1, 1), weights: BTreeSet::from([weights]) };
    assert!(bench.runner_ends(0, finished(&[weights])).contains(&deliver));
    bench.handle(Event::Disconnected);
    assert_eq!(bench.connect_to(OTHER), [Effect::AbortTransfer(attempt(1, 1))]);
    bench.handle(Event::Disconnected);
    assert_eq!(bench.connect().1[0], deliver);
    assert_eq!(reports(&bench.handle(Event::WeightsDelivered(attempt(1, 1), Ok(())))), [(1, id(attempt(1, 1)))]);
}

#[test]
fn a_drain_waits_only_for_the_present_coordinator() {
    let mut bench = Bench::connected(1);
    bench.assign(attempt(1, 1));
    bench.runner_ends(0, finished(&[]));
    bench.connect_to(OTHER);
    assert_eq!(bench.handle(Event::Drain).last(), Some(&Effect::Exit { undelivered: 1 }));
}
