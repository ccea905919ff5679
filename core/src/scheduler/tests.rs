//! The scheduler under scripted events. Modules: jobs with parents, jobs that require a GPU, delayed dispatch, who pays for lost
//! attempts, impossible reports, generated fleets, generated events.

mod blame;
mod fleets;
mod generated;
mod gpus;
mod intake;
mod parents;
mod waiting;

use super::*;
use crate::id::{Attempt, AttemptId, CellId, Digest, JobId, SweepName, WorkerName};
use crate::methods::noise::TransitionMatrix;
use crate::metric::EpochSelection;
use crate::outcome::{Facts, Failure, FailureKind, Samples};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const POLICY: Policy = Policy {
    lease: Duration::from_millis(100),
    failures: 3,
    backoff: Duration::from_millis(10),
    backoff_limit: Duration::from_millis(40),
    quarantine_limit: Duration::from_millis(400),
    only: None,
    lease_before: Duration::ZERO,
};

impl WallTime {
    fn after_ms(self, milliseconds: u64) -> WallTime {
        self.after(Duration::from_millis(milliseconds))
    }
}

fn name(text: &str) -> SweepName {
    text.parse().unwrap()
}

/// A configuration that any worker can train, and one that requires a GPU.
fn cells() -> [NewCell; 2] {
    let cell =
        |name: &[u8], configuration: &str| NewCell { id: CellId::of(&[name]), configuration: configuration.into() };
    [cell(b"cell", "{}"), cell(b"on a GPU", r#"{"precision":"bf16","parent":{"configuration":{}}}"#)]
}

/// Whether the job of that seed requires a GPU.
fn needs_gpu(seed: u64) -> bool {
    seed == 9 || seed >= 100
}

/// The job of that seed. 10 is the parent of 11 and 12; 11 is the parent of 13.
fn job(seed: u64) -> NewJob {
    let cell = cells()[usize::from(needs_gpu(seed))].id;
    let origin = match seed {
        11 => Some(Origin { job: job(10).id, at: EpochSelection::Final }),
        12 => Some(Origin { job: job(10).id, at: EpochSelection::BestValidation }),
        13 => Some(Origin { job: job(11).id, at: EpochSelection::Final }),
        _ => None,
    };
    NewJob { id: JobId::of(&[&seed.to_le_bytes()]), cell, seed, origin }
}

/// The digest of a weights file.
fn file(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn submission(sweep: &str, seeds: impl IntoIterator<Item = u64>) -> Submission {
    let cells = cells().into();
    Submission { name: name(sweep), source: "".into(), cells, jobs: seeds.into_iter().map(job).collect() }
}

fn facts() -> Box<Facts> {
    let samples = Samples { train: 1, validation: 0, test: 1 };
    let transition = TransitionMatrix::identity(2);
    let (engine, data, weights) = ("none".into(), "".into(), "".into());
    let (start, kept) = (None, BTreeMap::new());
    Box::new(Facts { parameters: 1, samples, noise_rate: 0.0, transition, data, engine, weights, start, kept })
}

fn worker(n: u64) -> WorkerName {
    WorkerName(format!("w{n}"))
}

/// A scheduler with a clock. It keeps every record.
struct Bench {
    scheduler: Scheduler,
    now: WallTime,
    records: Vec<Record>,
}

impl Bench {
    fn new() -> Self {
        Bench { scheduler: Scheduler::new(POLICY), now: WallTime(1), records: Vec::new() }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.scheduler.handle(self.now, event);
        let records = effects.iter().filter_map(|e| if let Effect::Record(r) = e { Some(r.clone()) } else { None });
        self.records.extend(records);
        // A welcome without stale attempts is left out.
        let plain = |effect: &Effect| matches!(effect, Effect::Welcome(_, past) if past.is_empty());
        effects.into_iter().filter(|effect| !matches!(effect, Effect::Record(_)) && !plain(effect)).collect()
    }

    fn submit(&mut self, sweep: &str, seeds: impl IntoIterator<Item = u64>) -> SubmitSummary {
        let effects = self.handle(Event::Submit(Ticket(0), submission(sweep, seeds)));
        effects.iter().find_map(|e| if let Effect::Submitted(_, s) = e { Some(*s) } else { None }).unwrap()
    }

    fn join(&mut self, session: u64, by: u64, slots: u32, holds: &[(u64, u32)]) -> Vec<Effect> {
        let holds = holds.iter().map(|(seed, attempt)| AttemptId::new(job(*seed).id, Attempt(*attempt))).collect();
        self.handle(Event::Connected {
            session: Session(session),
            worker: worker(by),
            host: String::new(),
            instance: by,
            slots,
            device: DeviceClass::Cpu,
            holds,
        })
    }

    fn beat(&mut self, session: u64, holds: Vec<AttemptId>) -> Vec<Effect> {
        let mut effects = self.handle(Event::Heartbeat(Heartbeat { session: Session(session), beat: 3, holds }));
        assert_eq!(effects.remove(0), Effect::Renew(Session(session), 3));
        effects
    }

    fn end(&mut self, session: u64, seed: u64, attempt: u32, ending: Ending) -> Vec<Effect> {
        let body = ReportBody::Ended(ending);
        let report = Report { sequence: 7, attempt: AttemptId::new(job(seed).id, Attempt(attempt)), body };
        self.handle(Event::Reported(Session(session), report))
    }

    fn fail(&mut self, session: u64, seed: u64, attempt: u32, kind: FailureKind) -> Vec<Effect> {
        self.end(session, seed, attempt, Ending::Failed(Failure::new(kind, "")))
    }

    /// Advances time with a tick every millisecond.
    fn wait(&mut self, milliseconds: u64) -> Vec<Effect> {
        (0..milliseconds)
            .flat_map(|_| {
                self.now = self.now.after_ms(1);
                self.handle(Event::Tick)
            })
            .collect()
    }

    /// Advances time without ticks, as if the process stood still, then ticks.
    fn stand_still(&mut self, milliseconds: u64) -> Vec<Effect> {
        self.now = self.now.after_ms(milliseconds);
        self.handle(Event::Tick)
    }

    fn state(&self, seed: u64) -> &JobState {
        self.scheduler.state().job(job(seed).id).unwrap()
    }
}

fn message(state: &JobState) -> &str {
    let JobState::Failed(failure) = state else { panic!("{state:?}") };
    &failure.message
}

fn assigned(effects: &[Effect]) -> Vec<(u64, u64, u32)> {
    let assign = |effect: &Effect| match effect {
        Effect::Assign { session, attempt, seed, .. } => Some((session.0, *seed, attempt.attempt.0)),
        _ => None,
    };
    effects.iter().filter_map(assign).collect()
}

fn finished() -> Ending {
    Ending::Finished(facts())
}

/// A result with these kept weights.
fn leaving(kept: &[EpochSelection]) -> Ending {
    let mut facts = facts();
    facts.kept = kept.iter().map(|at| (*at, file(&at.name()))).collect();
    Ending::Finished(facts)
}

const ACKNOWLEDGED: Effect = Effect::Acknowledge(Session(1), 7);

#[test]
fn jobs_are_assigned_to_free_slots_in_order() {
    let mut bench = Bench::new();
    bench.submit("a", 0..3);
    assert_eq!(assigned(&bench.join(1, 1, 2, &[])), [(1, 0, 1), (1, 1, 1)]);
    let effects = bench.end(1, 0, 1, finished());
    assert_eq!(effects[0], ACKNOWLEDGED);
    assert_eq!(assigned(&effects), [(1, 2, 1)]);
    assert_eq!(effects.len(), 2, "nothing else was sent");
}

#[test]
fn a_resubmitted_sweep_trains_only_what_is_missing() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 0, 1, finished());
    bench.fail(1, 1, 1, FailureKind::UserError);
    let summary = bench.submit("a", 0..4);
    assert_eq!(
        summary,
        SubmitSummary { jobs: 4, new: 2, finished: 1, requeued: 1, dropped: 0, ..SubmitSummary::default() }
    );
    assert!(matches!(bench.state(1), JobState::Running { attempt: Attempt(2), .. }));
}

#[test]
fn a_diverged_job_is_not_retried() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.fail(1, 0, 1, FailureKind::Diverged);
    assert_eq!(bench.submit("a", 0..1).requeued, 0);
    assert!(matches!(bench.state(0), JobState::Failed(_)));
}

#[test]
fn an_expired_lease_moves_the_job_and_fences_off_the_first_worker() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Disconnected(Session(1)));
    bench.join(2, 2, 1, &[]);
    bench.wait(99);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
    assert_eq!(assigned(&bench.wait(1)), [(2, 0, 2)]);
    // The first worker reconnects with a result.
    let effects = bench.join(1, 1, 1, &[(0, 1)]);
    assert_eq!(
        effects,
        [Effect::Welcome(Session(1), vec![AttemptId::new(job(0).id, Attempt(1))])],
        "the welcome stops the stale attempt"
    );
    let effects = bench.end(1, 0, 1, finished());
    assert_eq!(effects, [ACKNOWLEDGED], "a stale report is acknowledged");
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(2), .. }));
}

#[test]
fn a_silent_worker_gets_no_attempts_until_it_sends_something() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let stop = Effect::Stop { session: Session(1), attempt: AttemptId::new(job(0).id, Attempt(1)) };
    assert_eq!(bench.wait(100), [stop]);
    assert_eq!(bench.wait(50), [], "not even its own lost job");
    // Its slot is free once a heartbeat no longer names the old attempt.
    let still = vec![AttemptId::new(job(0).id, Attempt(1))];
    assert_eq!(assigned(&bench.beat(1, still)), []);
    assert_eq!(assigned(&bench.beat(1, vec![])), [(1, 0, 2)]);
}

#[test]
fn a_worker_that_reconnects_in_time_keeps_its_attempts() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 2, &[]);
    bench.handle(Event::Disconnected(Session(1)));
    bench.wait(50);
    // It still holds one of the two; the other assignment was lost on the way.
    let effects = bench.join(2, 1, 2, &[(0, 1)]);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
    assert_eq!(assigned(&effects), [(2, 1, 2)]);
    assert_eq!(bench.scheduler.state().entry(job(1).id).unwrap().failures, 0, "a lost assignment is no failure");
}

#[test]
fn attempts_that_die_with_the_workers_process_count_its_host() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Disconnected(Session(1)));
    bench.handle(Event::Connected {
        session: Session(2),
        worker: worker(1),
        host: String::new(),
        instance: 99,
        slots: 1,
        device: DeviceClass::Cpu,
        holds: vec![],
    });
    assert_eq!(bench.scheduler.state().entry(job(0).id).unwrap().failures, 0);
    assert_eq!(bench.scheduler.state().failed_on(job(0).id), [Place { worker: worker(1), host: "w1".into() }]);
}

#[test]
fn heartbeats_renew_assignments_on_their_way_for_two_leases_at_most() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    for _ in 0..20 {
        bench.wait(20);
        bench.beat(1, vec![]);
    }
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(2), .. } | JobState::Queued { .. }));
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.wait(90);
    bench.beat(1, vec![]);
    bench.wait(90);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
}

#[test]
fn a_coordinator_that_stood_still_lets_no_lease_expire() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.wait(10);
    assert_eq!(bench.stand_still(100_000), []);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
    bench.wait(100);
    assert!(matches!(bench.state(0), JobState::Queued { .. }), "a worker that stays silent loses its lease");
}

#[test]
fn a_single_sweep_coordinator_runs_only_that_sweep() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.submit("b", 1..3);
    let policy = Policy { only: Some(name("b")), ..POLICY };
    let now = bench.now;
    let mut bench = Bench { scheduler: Scheduler::restart(policy, bench.records, now), now, records: vec![] };
    assert_eq!(assigned(&bench.join(1, 1, 4, &[])), [(1, 1, 1), (1, 2, 1)]);
    let effects = bench.handle(Event::Submit(Ticket(1), submission("a", 0..9)));
    assert_eq!(effects, [Effect::Refuse(Ticket(1), Refusal::OtherSweep { only: name("b") })]);
}

#[test]
fn another_process_with_a_connected_workers_name_is_rejected() {
    let mut bench = Bench::new();
    bench.join(1, 1, 1, &[]);
    let other = Event::Connected {
        session: Session(2),
        worker: worker(1),
        host: String::new(),
        instance: 99,
        slots: 1,
        device: DeviceClass::Cpu,
        holds: vec![],
    };
    assert_eq!(bench.handle(other), [Effect::Reject(Session(2))]);
    bench.submit("a", 0..2);
    assert!(matches!(bench.state(0), JobState::Running { .. }) && matches!(bench.state(1), JobState::Queued { .. }));
}

#[test]
fn a_new_session_of_a_worker_ends_its_old_one() {
    let mut bench = Bench::new();
    bench.join(1, 1, 1, &[]);
    assert_eq!(bench.join(2, 1, 1, &[]), [Effect::Disconnect(Session(1))]);
    bench.submit("a", 0..2);
    assert!(matches!(bench.state(1), JobState::Queued { .. }), "one slot, not two");
}

#[test]
fn transient_failures_are_retried_with_growing_back_off() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.fail(1, 0, 1, FailureKind::Infrastructure);
    assert_eq!(assigned(&bench.wait(4)), []);
    assert_eq!(assigned(&bench.wait(6)), [(1, 0, 2)]);
    bench.fail(1, 0, 2, FailureKind::OutOfMemory);
    assert_eq!(assigned(&bench.wait(9)), []);
    assert_eq!(assigned(&bench.wait(11)), [(1, 0, 3)]);
    bench.fail(1, 0, 3, FailureKind::Infrastructure);
    assert!(message(bench.state(0)).contains("given up after 3 failures without getting further"));
}

#[test]
fn jobs_that_failed_together_are_not_retried_together() {
    let mut bench = Bench::new();
    bench.submit("a", 0..8);
    bench.join(1, 1, 8, &[]);
    for seed in 0..8 {
        bench.fail(1, seed, 1, FailureKind::Infrastructure);
    }
    let together: Vec<usize> = (0..10).map(|_| assigned(&bench.wait(1)).len()).collect();
    assert_eq!(together.iter().sum::<usize>(), 8);
    assert!(together.iter().all(|jobs| *jobs <= 5) && together[..4] == [0; 4], "{together:?}");
}

#[test]
fn progress_resets_the_count_of_failures() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let mut fails = |attempt, reached: u32| {
        for epoch in 1..=reached {
            let body = ReportBody::Epoch(epoch, BTreeMap::new());
            let report = Report { sequence: 7, attempt: AttemptId::new(job(0).id, Attempt(attempt)), body };
            bench.handle(Event::Reported(Session(1), report));
        }
        bench.fail(1, 0, attempt, FailureKind::Infrastructure);
        bench.wait(40);
        matches!(bench.state(0), JobState::Failed(_))
    };
    // The third and the fifth attempt get further. A job that always dies in one place is given up.
    let reached = [0, 0, 2, 1, 3, 3, 3];
    let given_up: Vec<bool> = (1..).zip(reached).map(|(attempt, reached)| fails(attempt, reached)).collect();
    assert_eq!(given_up, [false, false, false, false, false, false, true]);
}

#[test]
fn a_user_can_retry_failed_jobs() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 1, 2]);
    bench.join(1, 1, 9, &[]);
    bench.fail(1, 10, 1, FailureKind::UserError);
    bench.fail(1, 1, 1, FailureKind::UserError);
    bench.fail(1, 2, 1, FailureKind::Diverged);
    let resume = |bench: &mut Bench, again| bench.handle(Event::Resume(Ticket(0), name("a"), again));
    let some = |seeds: &[u64]| RetrySelection::Jobs(seeds.iter().map(|seed| job(*seed).id).collect());
    // The failed parent is retried too.
    let effects = resume(&mut bench, some(&[11]));
    assert_eq!((&effects[0], assigned(&effects)), (&Effect::Resumed(Ticket(0), 2), vec![(1, 10, 2)]));
    let effects = resume(&mut bench, RetrySelection::AllFailed);
    assert_eq!((&effects[0], assigned(&effects)), (&Effect::Resumed(Ticket(0), 1), vec![(1, 1, 2)]));
    let effects = resume(&mut bench, some(&[1, 2]));
    assert_eq!(assigned(&effects), [(1, 2, 2)], "a diverged job is retried only by name");
    let refused = resume(&mut bench, some(&[7]));
    assert_eq!(refused, [Effect::Refuse(Ticket(0), Refusal::UnknownJob { name: name("a"), job: job(7).id })]);
    bench.handle(Event::Cancel(Ticket(0), name("a")));
    let refused = resume(&mut bench, RetrySelection::AllFailed);
    assert_eq!(refused, [Effect::Refuse(Ticket(0), Refusal::Cancelled { name: name("a") })]);
}

#[test]
fn a_draining_worker_gets_no_attempts_and_costs_no_failures() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Draining(Session(1)));
    let effects = bench.fail(1, 0, 1, FailureKind::Preempted);
    assert_eq!(effects, [ACKNOWLEDGED]);
    assert_eq!(assigned(&bench.join(2, 2, 1, &[])), [(2, 0, 2)]);
    assert_eq!(bench.scheduler.state().entry(job(0).id).unwrap().failures, 0);
}

#[test]
fn a_resubmitted_job_waits_until_its_revoked_attempt_has_ended() {
    let again = |how: &dyn Fn(&mut Bench) -> Vec<Effect>| {
        let mut bench = Bench::new();
        bench.submit("a", 0..1);
        bench.join(1, 1, 1, &[]);
        bench.join(2, 2, 1, &[]);
        bench.handle(Event::Cancel(Ticket(4), name("a")));
        assert_eq!(bench.submit("a", 0..1).requeued, 1);
        assert_eq!(
            assigned(&bench.beat(1, vec![AttemptId::new(job(0).id, Attempt(1))])),
            [],
            "the revoked attempt still runs"
        );
        assigned(&how(&mut bench))
    };
    let to_either = |assigned: Vec<(u64, u64, u32)>| matches!(assigned[..], [(1 | 2, 0, 2)]);
    assert!(to_either(again(&|bench| bench.beat(1, vec![]))), "a heartbeat no longer names it");
    assert!(to_either(again(&|bench| bench.fail(1, 0, 1, FailureKind::Preempted))), "a report ends it");
    assert!(to_either(again(&|bench| bench.join(3, 1, 1, &[]))), "the worker reconnects without it");
    assert!(to_either(again(&|bench| bench.wait(100))), "its lease expires");
    assert!(!to_either(again(&|bench| bench.wait(50))));
}

#[test]
fn cancelling_stops_jobs_that_no_other_sweep_wants() {
    let mut bench = Bench::new();
    bench.submit("a", 0..3);
    bench.submit("b", 0..1);
    bench.join(1, 1, 2, &[]);
    let effects = bench.handle(Event::Cancel(Ticket(4), name("a")));
    let stop = Effect::Stop { session: Session(1), attempt: AttemptId::new(job(1).id, Attempt(1)) };
    assert_eq!(effects, [stop, Effect::Cancelled(Ticket(4), 2)]);
    assert!(matches!(bench.state(0), JobState::Running { .. }), "b wants it");
    assert_eq!((bench.state(1), bench.state(2)), (&JobState::Dropped, &JobState::Dropped));
    // A late report changes nothing.
    bench.end(1, 1, 1, finished());
    assert_eq!(bench.state(1), &JobState::Dropped);
}

#[test]
fn cancelling_an_unknown_sweep_names_the_known_ones() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    let effects = bench.handle(Event::Cancel(Ticket(4), name("b")));
    assert_eq!(effects, [Effect::Refuse(Ticket(4), Refusal::UnknownSweep { name: name("b"), known: vec![name("a")] })]);
}

#[test]
fn after_a_restart_workers_claim_their_attempts() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 2, &[]);
    let later = WallTime(1_000_000);
    let mut bench = Bench { scheduler: Scheduler::restart(POLICY, bench.records, later), now: later, records: vec![] };
    assert_eq!(bench.wait(50), []);
    bench.join(1, 1, 2, &[(0, 1), (1, 1)]);
    let effects = bench.end(1, 0, 1, finished());
    assert_eq!(effects, [ACKNOWLEDGED]);
    assert_eq!(bench.state(0), &JobState::Finished);
}

#[test]
fn a_restored_job_has_its_stored_state() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.records.push(Record::Restored {
        job: job(0).id,
        attempts: 3,
        failures: 1,
        failed_on: vec![],
        reached: Reached::default(),
        reported: Reported::default(),
        result: true,
        state: StoredState::Finished { kept: BTreeMap::new() },
    });
    let state = StoredState::Running { worker: worker(1), at: WallTime(5) };
    bench.records.push(Record::Restored {
        job: job(1).id,
        attempts: 2,
        failures: 1,
        failed_on: vec![],
        reached: Reached::default(),
        reported: Reported::default(),
        result: false,
        state,
    });
    let bench =
        Bench { scheduler: Scheduler::restart(POLICY, bench.records, WallTime(9)), now: WallTime(9), records: vec![] };
    assert_eq!(bench.state(0), &JobState::Finished);
    let running = JobState::Running { attempt: Attempt(2), worker: worker(1), since: WallTime(5) };
    assert_eq!(bench.state(1), &running);
}

#[test]
fn an_extended_sweep_gets_its_jobs_and_retries_no_failed_one() {
    let mut bench = Bench::new();
    bench.submit("a", [0, 1]);
    bench.join(1, 1, 2, &[]);
    bench.fail(1, 0, 1, FailureKind::UserError);
    bench.end(1, 1, 1, Ending::Finished(facts()));
    bench.now = bench.now.after_ms(50);
    let effects = bench.handle(Event::Extend(submission("a", [0, 1, 2])));
    assert!(matches!(effects.as_slice(), [Effect::Assign { attempt, .. }] if attempt.job == job(2).id), "{effects:?}");
    assert!(matches!(bench.state(0), JobState::Failed(_)));
    assert_eq!(
        bench.scheduler.view().sweep(&name("a")).unwrap().submitted,
        WallTime(1),
        "the time of the submission stays"
    );
}

#[test]
fn a_cancelled_or_unknown_sweep_is_not_extended() {
    let mut bench = Bench::new();
    bench.submit("a", [0]);
    bench.handle(Event::Cancel(Ticket(1), name("a")));
    let before = bench.scheduler.state().clone();
    assert_eq!(bench.handle(Event::Extend(submission("a", [0, 1]))), []);
    assert_eq!(bench.handle(Event::Extend(submission("b", [2]))), []);
    assert_eq!(*bench.scheduler.state(), before);
}
