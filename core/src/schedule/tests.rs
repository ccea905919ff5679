//! The machine under scripted and generated events.

use super::event::{Effect, Event, News, Refusal, Report, Session, Submission, SubmitSummary, Ticket};
use super::record::{Ending, NewCell, NewJob, Next, Record, StoredState};
use super::*;
use crate::id::{Attempt, CellId, JobId, SweepName, WorkerName};
use crate::methods::noise::TransitionMatrix;
use crate::metric::Measurements;
use crate::outcome::{Facts, Failure, FailureKind, Samples};
use proptest::prelude::*;
use std::collections::BTreeSet;

const POLICY: Policy = Policy { lease: 100, failures: 3, backoff: 10, backoff_limit: 40, only: None };

fn name(text: &str) -> SweepName {
    text.parse().unwrap()
}

fn job(seed: u64) -> NewJob {
    let cell = CellId::of(&[b"cell"]);
    NewJob { id: JobId::of(&[&seed.to_le_bytes()]), cell, seed }
}

fn submission(sweep: &str, seeds: impl IntoIterator<Item = u64>) -> Submission {
    let cells = vec![NewCell { id: CellId::of(&[b"cell"]), configuration: "{}".into() }];
    Submission { name: name(sweep), source: "".into(), cells, jobs: seeds.into_iter().map(job).collect() }
}

fn facts() -> Box<Facts> {
    let samples = Samples { train: 1, validation: 0, test: 1 };
    let transition = TransitionMatrix::identity(2);
    let (engine, data, weights) = ("none".into(), "".into(), "".into());
    Box::new(Facts { parameters: 1, samples, noise_rate: 0.0, transition, data, engine, weights, start: None })
}

fn worker(n: u64) -> WorkerName {
    WorkerName(format!("w{n}"))
}

/// A machine with a clock, which keeps every record.
struct Bench {
    machine: Machine,
    now: Time,
    records: Vec<Record>,
}

impl Bench {
    fn new() -> Self {
        Bench { machine: Machine::new(POLICY), now: Time(1), records: Vec::new() }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.machine.handle(self.now, event);
        let records = effects.iter().filter_map(|e| if let Effect::Record(r) = e { Some(r.clone()) } else { None });
        self.records.extend(records);
        effects.into_iter().filter(|effect| !matches!(effect, Effect::Record(_) | Effect::Welcome(_))).collect()
    }

    fn submit(&mut self, sweep: &str, seeds: impl IntoIterator<Item = u64>) -> SubmitSummary {
        let effects = self.handle(Event::Submit(Ticket(0), submission(sweep, seeds)));
        effects.iter().find_map(|e| if let Effect::Submitted(_, s) = e { Some(*s) } else { None }).unwrap()
    }

    fn join(&mut self, session: u64, by: u64, slots: u32, holds: &[(u64, u32)]) -> Vec<Effect> {
        let holds = holds.iter().map(|(seed, attempt)| (job(*seed).id, Attempt(*attempt))).collect();
        self.handle(Event::Joined { session: Session(session), worker: worker(by), instance: by, slots, holds })
    }

    fn end(&mut self, session: u64, seed: u64, attempt: u32, ending: Ending) -> Vec<Effect> {
        let news = News::Ended(ending);
        let report = Report { sequence: 7, job: job(seed).id, attempt: Attempt(attempt), news };
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
    assert_eq!(effects, [Effect::Stop { session: Session(1), job: job(0).id, attempt: Attempt(1) }]);
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
    let still = vec![(job(0).id, Attempt(1))];
    assert_eq!(assigned(&bench.handle(Event::Heartbeat(Session(1), still))), []);
    assert_eq!(assigned(&bench.handle(Event::Heartbeat(Session(1), vec![]))), [(1, 0, 2)]);
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
    assert_eq!(effects, []);
    assert!(matches!(bench.state(0), JobState::Running { attempt: Attempt(1), .. }));
    assert_eq!(assigned(&bench.wait(10)), [(2, 1, 2)]);
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
fn attempts_lost_with_a_coordinator_cost_their_jobs_no_try() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.join(1, 1, 2, &[]);
    let now = bench.now;
    let mut bench = Bench { machine: Machine::restart(POLICY, bench.records, now), now, records: vec![] };
    bench.join(1, 1, 1, &[(0, 1)]);
    bench.wait(200);
    let failures = |seed| bench.machine.state().entry(job(seed).id).unwrap().failures;
    assert_eq!(failures(1), 0, "the worker came back without it");
    assert_eq!(failures(0), 1, "the worker came back with it, and then was silent");
}

#[test]
fn a_coordinator_of_one_sweep_trains_that_alone() {
    let mut bench = Bench::new();
    bench.submit("a", 0..2);
    bench.submit("b", 1..3);
    let policy = Policy { only: Some(name("b")), ..POLICY };
    let now = bench.now;
    let mut bench = Bench { machine: Machine::restart(policy, bench.records, now), now, records: vec![] };
    assert_eq!(assigned(&bench.join(1, 1, 4, &[])), [(1, 1, 1), (1, 2, 1)]);
    let effects = bench.handle(Event::Submit(Ticket(1), submission("a", 0..9)));
    assert_eq!(effects, [Effect::Refuse(Ticket(1), Refusal::OtherSweep { only: name("b") })]);
}

#[test]
fn another_process_by_the_name_of_a_connected_worker_is_turned_away() {
    let mut bench = Bench::new();
    bench.join(1, 1, 1, &[]);
    let other = Event::Joined { session: Session(2), worker: worker(1), instance: 99, slots: 1, holds: vec![] };
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
    assert_eq!(assigned(&bench.wait(9)), []);
    assert_eq!(assigned(&bench.wait(1)), [(1, 0, 2)]);
    bench.fail(1, 0, 2, FailureKind::OutOfMemory);
    assert_eq!(assigned(&bench.wait(19)), []);
    assert_eq!(assigned(&bench.wait(1)), [(1, 0, 3)]);
    bench.fail(1, 0, 3, FailureKind::Infrastructure);
    assert!(matches!(bench.state(0), JobState::Failed(_)));
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
    let later = Time(1_000_000);
    let mut bench = Bench { machine: Machine::restart(POLICY, bench.records, later), now: later, records: vec![] };
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
    bench.records.push(Record::Restored { job: job(0).id, attempts: 3, failures: 1, state: StoredState::Finished });
    let state = StoredState::Running { worker: worker(1), at: Time(5) };
    bench.records.push(Record::Restored { job: job(1).id, attempts: 2, failures: 1, state });
    let bench = Bench { machine: Machine::restart(POLICY, bench.records, Time(9)), now: Time(9), records: vec![] };
    assert_eq!(bench.state(0), &JobState::Finished);
    let running = JobState::Running { attempt: Attempt(2), worker: worker(1), since: Time(5) };
    assert_eq!(bench.state(1), &running);
}

/// Something that may happen, in few enough variations that generated sequences meet each other.
#[derive(Clone, Debug)]
enum Happening {
    Submit(u8, BTreeSet<u8>),
    Cancel(u8),
    Join(u8, u8, Vec<(u8, u8)>),
    Leave(u8),
    Drain(u8),
    Heartbeat(u8, Vec<(u8, u8)>),
    Epoch(u8, u8, u8),
    Finish(u8, u8, u8),
    Fail(u8, u8, u8, FailureKind),
    Wait(u8),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let job = 0u8..6;
    let attempt = 1u8..5;
    let session = 0u8..4;
    let kind = prop::sample::select(FailureKind::ALL);
    let holds = prop::collection::vec((job.clone(), attempt.clone()), 0..4);
    prop_oneof![
        2 => (0u8..3, prop::collection::btree_set(0u8..6, 1..6)).prop_map(|(s, jobs)| Happening::Submit(s, jobs)),
        1 => (0u8..3).prop_map(Happening::Cancel),
        3 => (session.clone(), 0u8..3, holds.clone()).prop_map(|(s, n, h)| Happening::Join(s, n, h)),
        1 => session.clone().prop_map(Happening::Leave),
        1 => session.clone().prop_map(Happening::Drain),
        2 => (session.clone(), holds).prop_map(|(s, h)| Happening::Heartbeat(s, h)),
        2 => (session.clone(), job.clone(), attempt.clone()).prop_map(|(s, j, a)| Happening::Epoch(s, j, a)),
        4 => (session.clone(), job.clone(), attempt.clone()).prop_map(|(s, j, a)| Happening::Finish(s, j, a)),
        4 => (session, job, attempt, kind).prop_map(|(s, j, a, k)| Happening::Fail(s, j, a, k)),
        4 => (0u8..120).prop_map(Happening::Wait),
        1 => Just(Happening::Restart),
    ]
}

fn keys(holds: &[(u8, u8)]) -> Vec<(JobId, Attempt)> {
    holds.iter().map(|(j, a)| (job(u64::from(*j)).id, Attempt(u32::from(*a)))).collect()
}

/// Two of the four sessions belong to each of two workers.
fn owner(session: u8) -> WorkerName {
    worker(u64::from(session % 2))
}

fn report(session: u8, j: u8, a: u8, news: News) -> Event {
    let report = Report { sequence: 1, job: job(u64::from(j)).id, attempt: Attempt(u32::from(a)), news };
    Event::Reported(Session(u64::from(session)), report)
}

impl Happening {
    /// What the machine is told, each with the time since the one before.
    fn events(self) -> Vec<(u64, Event)> {
        match self {
            Happening::Wait(milliseconds) => {
                let mut ticks = vec![(20, Event::Tick); usize::from(milliseconds / 20)];
                ticks.push((u64::from(milliseconds % 20), Event::Tick));
                ticks
            }
            Happening::Restart => Vec::new(),
            other => vec![(0, other.event())],
        }
    }

    fn event(self) -> Event {
        let on = |session: u8| Session(u64::from(session));
        match self {
            Happening::Submit(s, jobs) => {
                Event::Submit(Ticket(0), submission(&format!("s{s}"), jobs.into_iter().map(u64::from)))
            }
            Happening::Cancel(s) => Event::Cancel(Ticket(0), name(&format!("s{s}"))),
            Happening::Join(s, slots, holds) => {
                let (worker, instance) = (owner(s), u64::from(s / 3));
                Event::Joined { session: on(s), worker, instance, slots: u32::from(slots), holds: keys(&holds) }
            }
            Happening::Leave(s) => Event::Left(on(s)),
            Happening::Drain(s) => Event::Draining(on(s)),
            Happening::Heartbeat(s, holds) => Event::Heartbeat(on(s), keys(&holds)),
            Happening::Epoch(s, j, a) => report(s, j, a, News::Epoch(1, Measurements::new())),
            Happening::Finish(s, j, a) => report(s, j, a, News::Ended(finished())),
            Happening::Fail(s, j, a, kind) => report(s, j, a, News::Ended(Ending::Failed(Failure::new(kind, "")))),
            Happening::Wait(_) | Happening::Restart => Event::Tick,
        }
    }
}

/// What must hold of the effects of one event, given the state before it.
fn effects_keep_the_promises(before: &State, effects: &[Effect]) {
    let mut state = before.clone();
    for effect in effects {
        match effect {
            Effect::Record(record) => {
                if let Record::Assigned { job, attempt, .. } = record {
                    let entry = state.entry(*job).unwrap();
                    assert!(matches!(entry.state, JobState::Queued { .. }), "only a queued job is assigned");
                    assert_eq!(attempt.0, entry.attempts + 1, "attempts are numbered without gaps");
                }
                if let Record::Ended { job, attempt, next, .. } = record {
                    let current = matches!(state.job(*job), Some(JobState::Running { attempt: a, .. }) if a == attempt);
                    assert!(current, "only the current attempt ends");
                    if let Next::Retry { failures, .. } = next {
                        assert!(*failures < POLICY.failures);
                    }
                }
                state.apply(record);
            }
            Effect::Assign { job, attempt, .. } => {
                let current = matches!(state.job(*job), Some(JobState::Running { attempt: a, .. }) if a == attempt);
                assert!(current, "what is assigned has been written down as running");
            }
            _ => {}
        }
    }
}

/// What must hold between events.
fn state_is_sound(machine: &Machine, wanted: &BTreeSet<JobId>) {
    let state = machine.state();
    for entry in &state.jobs {
        let queued =
            state.queue.iter().any(|(turn, index)| *turn == entry.turn && state.jobs[*index as usize].id == entry.id);
        assert_eq!(queued, matches!(entry.state, JobState::Queued { .. }), "the queue is the queued jobs");
        let leased = machine.lease(entry.id).is_some();
        assert_eq!(
            leased,
            matches!(entry.state, JobState::Running { .. }),
            "a lease for every running job and no other"
        );
        if wanted.contains(&entry.id) {
            assert_ne!(entry.state, JobState::Dropped, "no job that a sweep wants is lost");
        }
        assert_eq!(entry.wanted > 0, wanted.contains(&entry.id));
    }
}

fn wanted(state: &State) -> BTreeSet<JobId> {
    let live = state.sweeps.values().filter(|sweep| !sweep.cancelled);
    live.flat_map(|sweep| &sweep.jobs).map(|index| state.jobs[*index as usize].id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_events_breaks_a_promise(happenings in prop::collection::vec(happening(), 1..80)) {
        let mut machine = Machine::new(POLICY);
        let mut replayed = State::default();
        let mut records = Vec::new();
        let mut finished = BTreeSet::new();
        let mut now = Time(0);
        for happening in happenings {
            if let Happening::Restart = happening {
                let before = machine.state().clone();
                machine = Machine::restart(POLICY, records.clone(), now);
                prop_assert_eq!(machine.state(), &before);
            }
            for (after, event) in happening.events() {
                now = now.after(after);
                let before = machine.state().clone();
                let effects = machine.handle(now, event);
                effects_keep_the_promises(&before, &effects);
                for effect in effects {
                    if let Effect::Record(record) = effect {
                        if let Record::Ended { job, next: Next::Done, .. } = &record {
                            prop_assert!(finished.insert(*job), "a job is finished once");
                        }
                        replayed.apply(&record);
                        records.push(record);
                    }
                }
                prop_assert_eq!(&replayed, machine.state(), "replayed state equals live state");
                for job in &finished {
                    prop_assert_eq!(machine.state().job(*job), Some(&JobState::Finished), "a result is kept");
                }
                state_is_sound(&machine, &wanted(machine.state()));
            }
        }
    }
}
