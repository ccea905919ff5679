//! Jobs that GPUs alone can train.

use super::super::Waiting;
use super::*;

impl Bench {
    fn join_with_gpu(&mut self, session: u64, by: u64, slots: u32) -> Vec<u64> {
        let (worker, session) = (worker(by), Session(session));
        let joined = Event::Joined { session, worker, instance: by, slots, gpu: true, holds: vec![] };
        given(&self.handle(joined)).into_iter().map(|(_, seed)| seed).collect()
    }

    fn why(&self, seed: u64) -> Option<Waiting> {
        self.machine.position(self.now, job(seed).id).unwrap().waiting
    }
}

/// What is given to whom.
fn given(effects: &[Effect]) -> Vec<(u64, u64)> {
    let assigned = effects.iter().filter_map(|effect| match effect {
        Effect::Assign { session, seed, .. } => Some((session.0, *seed)),
        _ => None,
    });
    assigned.collect()
}

#[test]
fn a_job_that_needs_a_gpu_waits_for_one_and_holds_up_no_other() {
    let mut bench = Bench::new();
    bench.submit("s", [100, 101, 1, 2]);
    assert_eq!(given(&bench.join(1, 1, 4, &[])), [(1, 1), (1, 2)], "what comes before them they cannot train");
    assert_eq!([bench.why(100), bench.why(101)], [Some(Waiting::Gpu), Some(Waiting::Gpu)]);
    assert_eq!(bench.join_with_gpu(2, 2, 1), [100]);
    assert_eq!(bench.why(101), Some(Waiting::Turn(0)), "a worker has one, and is busy");
    bench.handle(Event::Left(Session(2)));
    assert_eq!(bench.why(101), Some(Waiting::Gpu));
}

#[test]
fn a_worker_with_a_gpu_trains_everything_in_its_turn() {
    let mut bench = Bench::new();
    bench.submit("s", [1, 100, 2, 101, 3]);
    assert_eq!(bench.join_with_gpu(1, 1, 4), [1, 100, 2, 101]);
    assert_eq!(bench.why(3), Some(Waiting::Turn(0)));
}

#[test]
fn a_gpu_is_kept_free_of_what_others_can_train_while_jobs_wait_for_it() {
    let mut bench = Bench::new();
    assert!(bench.join_with_gpu(1, 1, 3).is_empty());
    bench.join(2, 2, 2, &[]);
    let effects = bench.handle(Event::Submit(Ticket(0), submission("s", [1, 2, 3, 100])));
    assert_eq!(given(&effects), [(2, 1), (2, 2), (1, 3), (1, 100)]);
    // Without such jobs the freest is given the next.
    let mut bench = Bench::new();
    bench.join_with_gpu(1, 1, 3);
    bench.join(2, 2, 2, &[]);
    let effects = bench.handle(Event::Submit(Ticket(0), submission("s", [1, 2, 3])));
    assert_eq!(given(&effects), [(1, 1), (1, 2), (2, 3)]);
}

#[test]
fn a_restart_knows_which_jobs_need_a_gpu() {
    let mut bench = Bench::new();
    bench.submit("s", [100, 1]);
    let mut bench = Bench { machine: Scheduler::restart(POLICY, bench.records.clone(), bench.now), ..bench };
    assert_eq!(given(&bench.join(1, 1, 2, &[])), [(1, 1)]);
    assert_eq!(bench.join_with_gpu(2, 2, 1), [100]);
}

#[test]
fn a_configurations_own_precision_counts_and_not_its_parents() {
    use crate::job::needs_gpu;
    assert!(needs_gpu(r#"{"precision":"tf32"}"#) && needs_gpu(r#"{"a":1,"precision":"bf16","parent":{}}"#));
    assert!(!needs_gpu(r#"{"parent":{"configuration":{"precision":"bf16"}}}"#));
    assert!(!needs_gpu("{}") && !needs_gpu(r#"{"precision":"f32"}"#) && !needs_gpu(r#"{"precision":"#));
}
