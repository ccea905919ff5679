//! An agent that is with one coordinator, and then with another.

use super::*;

const OTHER: u32 = 2;

impl Bench {
    /// A connection to the coordinator with that store, to which none of what the Hello names is known.
    fn connect_to(&mut self, store: u32) -> Vec<Effect> {
        let mut effects = self.handle(Event::Connecting);
        let Effect::Send(from_worker::Message::Hello(hello)) = effects.remove(0) else { panic!("no Hello first") };
        let mut effects = self.told(welcome_of(store, hello.holds));
        effects.retain(|effect| !matches!(effect, Effect::Tell { message: to_runner::Message::Lease(_), .. }));
        effects
    }
}

#[test]
fn what_is_for_one_coordinator_is_said_to_no_other_and_kept_for_it() {
    let mut bench = Bench::connected(2);
    bench.assign(of(1, 1));
    bench.ends(0, finished(&[]));
    bench.handle(Event::Disconnected);
    let effects = bench.connect_to(OTHER);
    assert_eq!(
        (reports(&effects), effects),
        (vec![], vec![]),
        "the other one wants it stopped, and nothing is forgotten"
    );
    assert_eq!(bench.beats.last().unwrap().holds, []);
    bench.assign(of(1, 1));
    assert_eq!(reports(&bench.ends(0, finished(&[]))), [(2, id(of(1, 1)))], "the same job, for the other");
    assert_eq!(bench.acknowledge(2)[0], Effect::Delete(2));
    let (hello, effects) = bench.connect();
    assert_eq!(hello.holds, [id(of(1, 1)).unwrap()]);
    assert_eq!(reports(&effects), [(1, id(of(1, 1)))], "its own coordinator hears it at last");
}

#[test]
fn weights_are_handed_in_to_the_coordinator_that_they_are_for() {
    let mut bench = Bench::connected(1);
    let weights = Digest::of(b"weights");
    bench.assign(of(1, 1));
    let deliver = Effect::Deliver { of: of(1, 1), weights: BTreeSet::from([weights]) };
    assert!(bench.ends(0, finished(&[weights])).contains(&deliver));
    bench.handle(Event::Disconnected);
    assert_eq!(bench.connect_to(OTHER), [Effect::Abort(of(1, 1))]);
    bench.handle(Event::Disconnected);
    assert_eq!(bench.connect().1[0], deliver);
    assert_eq!(reports(&bench.handle(Event::Delivered(of(1, 1), Ok(())))), [(1, id(of(1, 1)))]);
}

#[test]
fn who_leaves_waits_for_no_coordinator_but_the_one_that_it_is_with() {
    let mut bench = Bench::connected(1);
    bench.assign(of(1, 1));
    bench.ends(0, finished(&[]));
    bench.connect_to(OTHER);
    assert_eq!(bench.handle(Event::Leave).last(), Some(&Effect::Left { undelivered: 1 }));
}
