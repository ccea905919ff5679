//! The machine under scripted events; in rooms of their own, jobs that build on others, jobs that need a GPU, what is
//! waited for, and generated events.

mod generated;
mod gpus;
mod lineage;
mod waiting;

use super::event::{Again, Effect, Event, Refusal, Report, ReportBody, Session, Submission, SubmitSummary, Ticket};
use super::record::{Ending, NewCell, NewJob, Origin, Record, StoredState};
use super::*;
use crate::id::{Attempt, AttemptId, CellId, Digest, JobId, SweepName, WorkerName};
use crate::methods::noise::TransitionMatrix;
use crate::metric::EpochSelection;
use crate::outcome::{Facts, Failure, FailureKind, Samples};
use std::collections::{BTreeMap, BTreeSet};

const POLICY: Policy = Policy { lease: 100, failures: 3, backoff: 10, backoff_limit: 40, only: None, lease_before: 0 };

fn name(text: &str) -> SweepName {
    text.parse().unwrap()
}

/// A configuration that any worker can train, and one that needs a GPU.
fn cells() -> [NewCell; 2] {
    let cell =
        |name: &[u8], configuration: &str| NewCell { id: CellId::of(&[name]), configuration: configuration.into() };
    [cell(b"cell", "{}"), cell(b"on a GPU", r#"{"precision":"bf16","parent":{"configuration":{}}}"#)]
}

/// Which jobs need a GPU.
fn needs_gpu(seed: u64) -> bool {
    seed == 9 || seed >= 100
}

/// The job of that seed: 10 is the parent of 11 and 12, and 11 that of 13.
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

/// A file of weights.
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

/// A machine with a clock, which keeps every record.
struct Bench {
    machine: Scheduler,
    now: WallTime,
    records: Vec<Record>,
}

impl Bench {
    fn new() -> Self {
        Bench { machine: Scheduler::new(POLICY), now: WallTime(1), records: Vec::new() }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.machine.handle(self.now, event);
        let records = effects.iter().filter_map(|e| if let Effect::Record(r) = e { Some(r.clone()) } else { None });
        self.records.extend(records);
        // That it is welcome goes without saying, unless something is said besides.
        let plain = |effect: &Effect| matches!(effect, Effect::Welcome(_, past) if past.is_empty());
        effects.into_iter().filter(|effect| !matches!(effect, Effect::Record(_)) && !plain(effect)).collect()
    }

    fn submit(&mut self, sweep: &str, seeds: impl IntoIterator<Item = u64>) -> SubmitSummary {
        let effects = self.handle(Event::Submit(Ticket(0), submission(sweep, seeds)));
        effects.iter().find_map(|e| if let Effect::Submitted(_, s) = e { Some(*s) } else { None }).unwrap()
    }

    fn join(&mut self, session: u64, by: u64, slots: u32, holds: &[(u64, u32)]) -> Vec<Effect> {
        let holds = holds.iter().map(|(seed, attempt)| AttemptId::new(job(*seed).id, Attempt(*attempt))).collect();
        self.handle(Event::Joined {
            session: Session(session),
            worker: worker(by),
            instance: by,
            slots,
            gpu: false,
            holds,
        })
    }

    fn beat(&mut self, session: u64, holds: Vec<AttemptId>) -> Vec<Effect> {
        let mut effects = self.handle(Event::Heartbeat { session: Session(session), beat: 3, holds });
        assert_eq!(effects.remove(0), Effect::Renew(Session(session), 3));
        effects
    }

    fn end(&mut self, session: u64, seed: u64, attempt: u32, ending: Ending) -> Vec<Effect> {
        let body = ReportBody::Ended(ending);
        let report = Report { sequence: 7, job: job(seed).id, attempt: Attempt(attempt), body };
        self.handle(Event::Reported(Session(session), report))
    }

    fn fail(&mut self, session: u64, seed: u64, attempt: u32, kind: FailureKind) -> Vec<Effect> {
        self.end(session, seed, attempt, Ending::Failed(Failure::new(kind, "")))
    }

    /// Lets time pass, ticking as a driver does.
    fn wait(&mut self, milliseconds: u64) -> Vec<Effect> {
        (0..milliseconds)
            .flat_map(|_| {
                self.now = self.now.after(1);
                self.handle(Event::Tick)
            })
            .collect()
    }

    /// Lets time pass without a tick: the whole process stands still.
    fn stand_still(&mut self, milliseconds: u64) -> Vec<Effect> {
        self.now = self.now.after(milliseconds);
        self.handle(Event::Tick)
    }

    fn state(&self, seed: u64) -> &JobState {
        self.machine.state().job(job(seed).id).unwrap()
    }
}

fn message(state: &JobState) -> &str {
    let JobState::Failed(failure) = state else { panic!("{state:?}") };
    &failure.message
}

fn assigned(effects: &[Effect]) -> Vec<(u64, u64, u32)> {
    let assign = |effect: &Effect| match effect {
        Effect::Assign { session, attempt, seed, .. } => Some((session.0, *seed, attempt.0)),
        _ => None,
    };
    effects.iter().filter_map(assign).collect()
}

fn finished() -> Ending {
    Ending::Finished(facts())
}

/// The end of a job that leaves these weights.
fn leaving(kept: &[EpochSelection]) -> Ending {
    let mut facts = facts();
    facts.kept = kept.iter().map(|at| (*at, file(&at.name()))).collect();
    Ending::Finished(facts)
}

const ACKNOWLEDGED: Effect = Effect::Acknowledge(Session(1), 7);

#[test]
fn jobs_go_to_free_slots_in_their_order() {
    let mut bench = Bench::new();
    bench.submit("a", 0..3);
    assert_eq!(assigned(&bench.join(1, 1, 2, &[])), [(1, 0, 1), (1, 1, 1)]);
    let effects = bench.end(1, 0, 1, finished());
    assert_eq!(effects[0], ACKNOWLEDGED);
    assert_eq!(assigned(&effects), [(1, 2, 1)]);
    assert_eq!(effects.len(), 2, "nothing else was sent");
}

#[test]
fn a_sweep_submitted_again_trains_only_what_is_missing() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 1, &[]);
    bench.end(1, 0, 1, finished());
    bench.fail(1, 1, 1, FailureKind::UserError);
    let summary = bench.submit("a", 0..4);
    assert_eq!(summary, SubmitSummary { jobs: 4, new: 2, finished: 1, requeued: 1, dropped: 0 });
    assert!(matches!(bench.state(1), JobState::Running { attempt: Attempt(2), .. }));
}

#[test]
fn a_job_that_diverged_is_a_result_and_is_not_tried_again() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.fail(1, 0, 1, FailureKind::Diverged);
    assert_eq!(bench.submit("a", 0..1).requeued, 0);
    assert!(matches!(bench.state(0), JobState::Failed(_)));
}

#[test]
fn a_passed_lease_gives_the_job_to_another_worker_and_the_first_is_not_heard() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Left(Session(1)));
    bench.join(2, 2, 1, &[]);
    bench.wait(99);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
    bench.wait(1);
    assert_eq!(assigned(&bench.wait(10)), [(2, 0, 2)]);
    // The first worker comes back with a result.
    let effects = bench.join(1, 1, 1, &[(0, 1)]);
    assert_eq!(effects, [Effect::Welcome(Session(1), vec![AttemptId::new(job(0).id, Attempt(1))])], "it is to stop it");
    let effects = bench.end(1, 0, 1, finished());
    assert_eq!(effects, [ACKNOWLEDGED], "so that it forgets it");
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(2), .. }));
}

#[test]
fn a_connected_worker_that_has_fallen_silent_gets_nothing_until_it_is_heard() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let stop = Effect::Stop { session: Session(1), job: job(0).id, attempt: Attempt(1) };
    assert_eq!(bench.wait(100), [stop]);
    assert_eq!(bench.wait(50), [], "its own lost job least of all");
    // Its slot is free once it says that it works on the old attempt no more.
    let still = vec![AttemptId::new(job(0).id, Attempt(1))];
    assert_eq!(assigned(&bench.beat(1, still)), []);
    assert_eq!(assigned(&bench.beat(1, vec![])), [(1, 0, 2)]);
}

#[test]
fn a_worker_that_reconnects_in_time_keeps_its_attempts() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 2, &[]);
    bench.handle(Event::Left(Session(1)));
    bench.wait(50);
    // One of the two it still has; the other was lost on the way.
    let effects = bench.join(2, 1, 2, &[(0, 1)]);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
    assert_eq!(assigned(&effects), [(2, 1, 2)]);
    assert_eq!(bench.machine.state().entry(job(1).id).unwrap().failures, 0, "which is not the job's fault");
}

#[test]
fn what_a_worker_s_process_took_with_it_when_it_died_costs_a_try() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Left(Session(1)));
    bench.handle(Event::Joined {
        session: Session(2),
        worker: worker(1),
        instance: 99,
        slots: 1,
        gpu: false,
        holds: vec![],
    });
    assert_eq!(bench.machine.state().entry(job(0).id).unwrap().failures, 1);
}

#[test]
fn what_is_on_its_way_to_a_worker_is_leased_from_its_heartbeats_but_not_for_ever() {
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
fn a_coordinator_that_stood_still_takes_no_lease_away() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.wait(10);
    assert_eq!(bench.stand_still(100_000), []);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
    bench.wait(100);
    assert!(matches!(bench.state(0), JobState::Queued { .. }), "a worker that says nothing all the same is given up");
}

#[test]
fn a_coordinator_of_one_sweep_trains_that_alone() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.submit("b", 1..3);
    let policy = Policy { only: Some(name("b")), ..POLICY };
    let now = bench.now;
    let mut bench = Bench { machine: Scheduler::restart(policy, bench.records, now), now, records: vec![] };
    assert_eq!(assigned(&bench.join(1, 1, 4, &[])), [(1, 1, 1), (1, 2, 1)]);
    let effects = bench.handle(Event::Submit(Ticket(1), submission("a", 0..9)));
    assert_eq!(effects, [Effect::Refuse(Ticket(1), Refusal::OtherSweep { only: name("b") })]);
}

#[test]
fn another_process_by_the_name_of_a_connected_worker_is_turned_away() {
    let mut bench = Bench::new();
    bench.join(1, 1, 1, &[]);
    let other =
        Event::Joined { session: Session(2), worker: worker(1), instance: 99, slots: 1, gpu: false, holds: vec![] };
    assert_eq!(bench.handle(other), [Effect::Reject(Session(2))]);
    bench.submit("a", 0..2);
    assert!(matches!(bench.state(0), JobState::Running { .. }) && matches!(bench.state(1), JobState::Queued { .. }));
}

#[test]
fn a_new_connection_of_a_worker_ends_its_old_one() {
    let mut bench = Bench::new();
    bench.join(1, 1, 1, &[]);
    assert_eq!(bench.join(2, 1, 1, &[]), [Effect::Disconnect(Session(1))]);
    bench.submit("a", 0..2);
    assert!(matches!(bench.state(1), JobState::Queued { .. }), "one slot, not two");
}

#[test]
fn transient_failures_are_retried_with_growing_pauses_up_to_the_limit() {
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
fn jobs_that_failed_together_are_not_tried_again_together() {
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
fn an_attempt_that_came_further_than_all_before_it_was_not_in_vain() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    let mut fails = |attempt, reached: u32| {
        for epoch in 1..=reached {
            let body = ReportBody::Epoch(epoch, BTreeMap::new());
            let report = Report { sequence: 7, job: job(0).id, attempt: Attempt(attempt), body };
            bench.handle(Event::Reported(Session(1), report));
        }
        bench.fail(1, 0, attempt, FailureKind::Infrastructure);
        bench.wait(40);
        matches!(bench.state(0), JobState::Failed(_))
    };
    // The third and the fifth come further; a job that always dies in one place is given up all the same.
    let reached = [0, 0, 2, 1, 3, 3, 3];
    let given_up: Vec<bool> = (1..).zip(reached).map(|(attempt, reached)| fails(attempt, reached)).collect();
    assert_eq!(given_up, [false, false, false, false, false, false, true]);
}

#[test]
fn failed_jobs_are_tried_again_when_a_user_asks() {
    let mut bench = Bench::new();
    bench.submit("a", [10, 11, 1, 2]);
    bench.join(1, 1, 9, &[]);
    bench.fail(1, 10, 1, FailureKind::UserError);
    bench.fail(1, 1, 1, FailureKind::UserError);
    bench.fail(1, 2, 1, FailureKind::Diverged);
    let resume = |bench: &mut Bench, again| bench.handle(Event::Resume(Ticket(0), name("a"), again));
    let some = |seeds: &[u64]| Again::Jobs(seeds.iter().map(|seed| job(*seed).id).collect());
    // What a job builds on comes along.
    let effects = resume(&mut bench, some(&[11]));
    assert_eq!((&effects[0], assigned(&effects)), (&Effect::Resumed(Ticket(0), 2), vec![(1, 10, 2)]));
    let effects = resume(&mut bench, Again::Failed);
    assert_eq!((&effects[0], assigned(&effects)), (&Effect::Resumed(Ticket(0), 1), vec![(1, 1, 2)]));
    let effects = resume(&mut bench, some(&[1, 2]));
    assert_eq!(assigned(&effects), [(1, 2, 2)], "only who names it has a diverged job trained again");
    let refused = resume(&mut bench, some(&[7]));
    assert_eq!(refused, [Effect::Refuse(Ticket(0), Refusal::UnknownJob { name: name("a"), job: job(7).id })]);
    bench.handle(Event::Cancel(Ticket(0), name("a")));
    let refused = resume(&mut bench, Again::Failed);
    assert_eq!(refused, [Effect::Refuse(Ticket(0), Refusal::Cancelled { name: name("a") })]);
}

#[test]
fn a_worker_that_leaves_costs_its_jobs_no_try_and_gets_no_more() {
    let mut bench = Bench::new();
    bench.submit("a", 0..1);
    bench.join(1, 1, 1, &[]);
    bench.handle(Event::Draining(Session(1)));
    let effects = bench.fail(1, 0, 1, FailureKind::Preempted);
    assert_eq!(effects, [ACKNOWLEDGED]);
    assert_eq!(assigned(&bench.join(2, 2, 1, &[])), [(2, 0, 2)]);
    assert_eq!(bench.machine.state().entry(job(0).id).unwrap().failures, 0);
}

#[test]
fn what_was_cancelled_and_is_wanted_again_waits_until_nobody_trains_it_any_more() {
    let again = |how: &dyn Fn(&mut Bench) -> Vec<Effect>| {
        let mut bench = Bench::new();
        bench.submit("a", 0..1);
        bench.join(1, 1, 1, &[]);
        bench.join(2, 2, 1, &[]);
        bench.handle(Event::Cancel(Ticket(4), name("a")));
        assert_eq!(bench.submit("a", 0..1).requeued, 1);
        assert_eq!(assigned(&bench.beat(1, vec![AttemptId::new(job(0).id, Attempt(1))])), [], "it still winds down");
        assigned(&how(&mut bench))
    };
    let to_either = |assigned: Vec<(u64, u64, u32)>| matches!(assigned[..], [(1 | 2, 0, 2)]);
    assert!(to_either(again(&|bench| bench.beat(1, vec![]))), "it says that it has nothing in hand");
    assert!(to_either(again(&|bench| bench.fail(1, 0, 1, FailureKind::Preempted))), "it says that it has ended");
    assert!(to_either(again(&|bench| bench.join(3, 1, 1, &[]))), "it comes back without it");
    assert!(to_either(again(&|bench| bench.wait(100))), "its lease would have passed");
    assert!(!to_either(again(&|bench| bench.wait(50))));
}

#[test]
fn cancelling_stops_what_no_other_sweep_wants() {
    let mut bench = Bench::new();
    bench.submit("a", 0..3);
    bench.submit("b", 0..1);
    bench.join(1, 1, 2, &[]);
    let effects = bench.handle(Event::Cancel(Ticket(4), name("a")));
    let stop = Effect::Stop { session: Session(1), job: job(1).id, attempt: Attempt(1) };
    assert_eq!(effects, [stop, Effect::Cancelled(Ticket(4), 2)]);
    assert!(matches!(bench.state(0), JobState::Running { .. }), "b wants it");
    assert_eq!((bench.state(1), bench.state(2)), (&JobState::Dropped, &JobState::Dropped));
    // What the worker had done by then is heard and changes nothing.
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
fn after_a_restart_leases_are_renewed_and_the_worker_claims_its_attempts() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 2, &[]);
    let later = WallTime(1_000_000);
    let mut bench = Bench { machine: Scheduler::restart(POLICY, bench.records, later), now: later, records: vec![] };
    assert_eq!(bench.wait(50), []);
    bench.join(1, 1, 2, &[(0, 1), (1, 1)]);
    let effects = bench.end(1, 0, 1, finished());
    assert_eq!(effects, [ACKNOWLEDGED]);
    assert_eq!(bench.state(0), &JobState::Finished);
}

#[test]
fn a_restored_job_stands_where_the_store_kept_it() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.records.push(Record::Restored {
        job: job(0).id,
        attempts: 3,
        failures: 1,
        reached: (0, 0),
        result: true,
        state: StoredState::Finished { kept: BTreeMap::new() },
    });
    let state = StoredState::Running { worker: worker(1), at: WallTime(5) };
    bench.records.push(Record::Restored {
        job: job(1).id,
        attempts: 2,
        failures: 1,
        reached: (0, 0),
        result: false,
        state,
    });
    let bench =
        Bench { machine: Scheduler::restart(POLICY, bench.records, WallTime(9)), now: WallTime(9), records: vec![] };
    assert_eq!(bench.state(0), &JobState::Finished);
    let running = JobState::Running { attempt: Attempt(2), worker: worker(1), since: WallTime(5) };
    assert_eq!(bench.state(1), &running);
}

#[test]
fn a_sweep_that_goes_on_has_its_further_jobs_and_tries_nothing_again_that_has_failed() {
    let mut bench = Bench::new();
    bench.submit("a", [0, 1]);
    bench.join(1, 1, 2, &[]);
    bench.fail(1, 0, 1, FailureKind::UserError);
    bench.end(1, 1, 1, Ending::Finished(facts()));
    bench.now = bench.now.after(50);
    let effects = bench.handle(Event::Continue(submission("a", [0, 1, 2])));
    assert!(matches!(effects.as_slice(), [Effect::Assign { job: new, .. }] if *new == job(2).id), "{effects:?}");
    assert!(matches!(bench.state(0), JobState::Failed(_)));
    assert_eq!(bench.machine.sweep(&name("a")).unwrap().submitted, WallTime(1), "its user submitted it then");
}

#[test]
fn a_sweep_that_is_cancelled_or_not_known_does_not_go_on() {
    let mut bench = Bench::new();
    bench.submit("a", [0]);
    bench.handle(Event::Cancel(Ticket(1), name("a")));
    let before = bench.machine.state().clone();
    assert_eq!(bench.handle(Event::Continue(submission("a", [0, 1]))), []);
    assert_eq!(bench.handle(Event::Continue(submission("b", [2]))), []);
    assert_eq!(*bench.machine.state(), before);
}
