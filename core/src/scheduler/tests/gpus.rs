//! Jobs that require a GPU.

use super::*;

impl Bench {
    fn join_with_gpu(&mut self, session: u64, by: u64, slots: u32) -> Vec<u64> {
        let (worker, session) = (worker(by), Session(session));
        let joined = Event::Connected {
            session,
            worker,
            host: String::new(),
            instance: by,
            slots,
            device: DeviceClass::Gpu,
            holds: vec![],
        };
        given(&self.handle(joined)).into_iter().map(|(_, seed)| seed).collect()
    }

    fn why(&self, seed: u64) -> Option<WaitReason> {
        self.scheduler.view().job(self.now, job(seed).id).unwrap().waiting
    }
}

/// The session and seed of each assignment.
fn given(effects: &[Effect]) -> Vec<(u64, u64)> {
    let assigned = effects.iter().filter_map(|effect| match effect {
        Effect::Assign { session, seed, .. } => Some((session.0, *seed)),
        _ => None,
    });
    assigned.collect()
}

#[test]
fn a_job_that_requires_a_gpu_waits_without_blocking_other_jobs() {
    let mut bench = Bench::new();
    bench.submit("s", [100, 101, 1, 2]);
    assert_eq!(given(&bench.join(1, 1, 4, &[])), [(1, 1), (1, 2)], "the CPU worker skips jobs that it cannot train");
    assert_eq!([bench.why(100), bench.why(101)], [Some(WaitReason::NoGpu), Some(WaitReason::NoGpu)]);
    assert_eq!(bench.join_with_gpu(2, 2, 1), [100]);
    assert_eq!(bench.why(101), Some(WaitReason::Queue(0)), "the only GPU worker is busy");
    bench.handle(Event::Disconnected(Session(2)));
    assert_eq!(bench.why(101), Some(WaitReason::NoGpu));
}

#[test]
fn a_worker_with_a_gpu_trains_all_jobs_in_queue_order() {
    let mut bench = Bench::new();
    bench.submit("s", [1, 100, 2, 101, 3]);
    assert_eq!(bench.join_with_gpu(1, 1, 4), [1, 100, 2, 101]);
    assert_eq!(bench.why(3), Some(WaitReason::Queue(0)));
}

#[test]
fn a_gpu_is_kept_free_for_jobs_that_require_it() {
    let mut bench = Bench::new();
    assert!(bench.join_with_gpu(1, 1, 3).is_empty());
    bench.join(2, 2, 2, &[]);
    let effects = bench.handle(Event::Submit(Ticket(0), submission("s", [1, 2, 3, 100])));
    assert_eq!(given(&effects), [(2, 1), (2, 2), (1, 3), (1, 100)]);
    // Without such jobs, the worker with the most free slots gets the next job.
    let mut bench = Bench::new();
    bench.join_with_gpu(1, 1, 3);
    bench.join(2, 2, 2, &[]);
    let effects = bench.handle(Event::Submit(Ticket(0), submission("s", [1, 2, 3])));
    assert_eq!(given(&effects), [(1, 1), (1, 2), (2, 3)]);
}

#[test]
fn after_a_restart_jobs_still_require_a_gpu() {
    let mut bench = Bench::new();
    bench.submit("s", [100, 1]);
    let mut bench = Bench { scheduler: Scheduler::restart(POLICY, bench.records.clone(), bench.now), ..bench };
    assert_eq!(given(&bench.join(1, 1, 2, &[])), [(1, 1)]);
    assert_eq!(bench.join_with_gpu(2, 2, 1), [100]);
}

#[test]
fn only_the_configurations_own_precision_requires_a_gpu() {
    use crate::job::needs_gpu;
    assert!(needs_gpu(r#"{"precision":"tf32"}"#) && needs_gpu(r#"{"a":1,"precision":"bf16","parent":{}}"#));
    assert!(!needs_gpu(r#"{"parent":{"configuration":{"precision":"bf16"}}}"#));
    assert!(!needs_gpu("{}") && !needs_gpu(r#"{"precision":"f32"}"#) && !needs_gpu(r#"{"precision":"#));
}
