//! Some hundred clusters, all of whose promises are kept; `just simulate` makes as many as there is time for.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_sim::{Kind, Outcome, simulate};
use std::collections::BTreeMap;

fn clusters(seeds: impl IntoIterator<Item = u64>) -> Vec<Outcome> {
    let run = |seed| simulate(seed, false).unwrap_or_else(|broken| panic!("{broken}"));
    seeds.into_iter().map(run).collect()
}

#[test]
fn hundreds_of_clusters_keep_every_promise_under_faults_of_every_kind() {
    let outcomes = clusters(0..500);
    let mut befallen: BTreeMap<Kind, u64> = BTreeMap::new();
    for (kind, times) in outcomes.iter().flat_map(|outcome| &outcome.faults) {
        *befallen.entry(*kind).or_default() += times;
    }
    for kind in Kind::ALL {
        assert!(
            befallen.get(&kind).is_some_and(|times| *times > 20),
            "{kind:?} hardly ever befell anybody: {befallen:?}"
        );
    }
}

#[test]
fn one_seed_gives_the_same_bytes_twice() {
    assert_eq!(clusters(0..40), clusters(0..40));
}

#[test]
fn what_befalls_the_coordinator_alone_has_no_epoch_trained_twice() {
    let harmless = [Kind::KillCoordinator, Kind::FullDisk, Kind::SlowDisk, Kind::SubmitAgain, Kind::WorkerDiskFull];
    let of_coordinator = |outcome: &Outcome| {
        let happened = outcome.faults.keys().copied().collect::<Vec<_>>();
        happened.contains(&Kind::KillCoordinator) && happened.iter().all(|kind| harmless.contains(kind))
    };
    let mut checked = 0;
    for outcome in clusters(1_000..2_000).iter().filter(|outcome| of_coordinator(outcome)) {
        let (wanted, trained) = outcome.epochs;
        // A job that fails of itself may be submitted again, and fails again.
        let again = outcome.faults.contains_key(&Kind::SubmitAgain);
        assert!(trained == wanted || again && trained > wanted, "{wanted} epochs were to be trained, {trained} were");
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} clusters had nothing else to bear");
}
