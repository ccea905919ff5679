//! What a restart must know of failures: where jobs failed, and which sweeps are paused.

use super::*;
use plusminus_core::scheduler::{PausedSweep, Place};

#[test]
fn places_of_failures_and_pauses_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut scheduler) = running(directory.path());
    let crash = ReportBody::Ended(Ending::Failed(Failure::new(FailureKind::Infrastructure, "it crashed")));
    store.commit(&records(scheduler.handle(WallTime(3), reported(2, 1, crash)))).unwrap();
    let failure = Failure::new(FailureKind::UserError, "no data");
    let paused = PausedSweep { failure, jobs: 20, at: WallTime(4) };
    store.commit(&[Record::Paused { name: name(0), paused: paused.clone() }]).unwrap();
    drop(store);
    let mut store = Store::open(directory.path()).unwrap();
    let restarted = |store: &Store| Scheduler::restart(Policy::default(), store.records().unwrap(), WallTime(5));
    let places = vec![Place { worker: WorkerName("w".into()), host: "w".into() }];
    let of_job = |scheduler: &Scheduler| scheduler.view().job(WallTime(5), job(2)).unwrap();
    assert_eq!((of_job(&restarted(&store)).failed_on, of_job(&restarted(&store)).failures), (places.clone(), 1));
    let pause = |store: &Store| restarted(store).view().sweep(&name(0)).unwrap().paused;
    assert_eq!(pause(&store), Some(paused.clone()));
    let both = vec![places[0].clone(), Place { worker: WorkerName("v".into()), host: "h".into() }];
    store
        .commit(&[Record::Released { name: name(0) }, Record::DiedOn { job: job(2), failed_on: both.clone() }])
        .unwrap();
    assert_eq!((pause(&store), of_job(&restarted(&store)).failed_on), (None, both));
    store
        .commit(&[Record::Requeued { job: job(2), at: WallTime(6) }, Record::Paused { name: name(0), paused }])
        .unwrap();
    let cancelled = Record::Cancelled { name: name(0), dropped: vec![], at: WallTime(7) };
    store.commit(&[cancelled]).unwrap();
    assert_eq!((pause(&store), of_job(&restarted(&store)).failed_on), (None, vec![]));
}
