//! The scheduler under generated events.

use super::super::queue::QueueKey;
use super::super::{
    DeviceClass, Effect, Ending, Event, Heartbeat, JobCounts, JobState, Next, Record, Report, ReportBody,
    RetrySelection, Scheduler, Session, State, Ticket, WallTime,
};
use super::{POLICY, file, job, leaving, name, needs_gpu, submission, worker};
use crate::id::{Attempt, AttemptId, JobId, WorkerName};
use crate::metric::{EpochSelection, Measurements};
use crate::outcome::{Failure, FailureKind};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A generated event. The ranges are small, so that the events of a sequence concern the same jobs.
#[derive(Clone, Debug)]
enum Step {
    Submit(u8, BTreeSet<u8>),
    Continue(u8, BTreeSet<u8>),
    Cancel(u8),
    Resume(u8, Option<BTreeSet<u8>>),
    Lost(u8),
    Join(u8, u8, Vec<(u8, u8)>),
    Leave(u8),
    Drain(u8),
    Resize(u8, u8),
    Heartbeat(u8, Vec<(u8, u8)>),
    Epoch(u8, u8, u8, u8),
    Finish(u8, u8, u8, Vec<EpochSelection>),
    Fail(u8, u8, u8, FailureKind),
    /// The worker of the chosen running attempt reports that it finished.
    FinishRunning(u8, Vec<EpochSelection>),
    /// The worker of the chosen running attempt reports an epoch.
    EpochOfRunning(u8, u8),
    /// The worker of the chosen running attempt reports a failure.
    FailRunning(u8, FailureKind),
    Wait(u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let job = 8u8..14;
    let kept = prop::sample::subsequence(vec![EpochSelection::Final, EpochSelection::BestValidation], 0..=2);
    let attempt = 1u8..5;
    let session = 0u8..4;
    let kind = prop::sample::select(FailureKind::ALL);
    let holds = prop::collection::vec((job.clone(), attempt.clone()), 0..4);
    prop_oneof![
        2 => (0u8..3, prop::collection::btree_set(8u8..14, 1..6)).prop_map(|(s, jobs)| Step::Submit(s, jobs)),
        1 => (0u8..3, prop::collection::btree_set(8u8..14, 1..6)).prop_map(|(s, jobs)| Step::Continue(s, jobs)),
        1 => (0u8..3).prop_map(Step::Cancel),
        2 => (0u8..3, prop::option::of(prop::collection::btree_set(8u8..14, 1..3)))
            .prop_map(|(s, jobs)| Step::Resume(s, jobs)),
        3 => (10u8..12).prop_map(Step::Lost),
        3 => (session.clone(), 0u8..3, holds.clone()).prop_map(|(s, n, h)| Step::Join(s, n, h)),
        1 => session.clone().prop_map(Step::Leave),
        1 => session.clone().prop_map(Step::Drain),
        1 => (session.clone(), 0u8..4).prop_map(|(session, slots)| Step::Resize(session, slots)),
        2 => (session.clone(), holds).prop_map(|(s, h)| Step::Heartbeat(s, h)),
        2 => (session.clone(), job.clone(), attempt.clone(), 1u8..4)
            .prop_map(|(s, j, a, e)| Step::Epoch(s, j, a, e)),
        2 => (0u8..6, 1u8..4).prop_map(|(n, e)| Step::EpochOfRunning(n, e)),
        2 => (session.clone(), job.clone(), attempt.clone(), kept.clone())
            .prop_map(|(s, j, a, kept)| Step::Finish(s, j, a, kept)),
        2 => (session, job, attempt, kind.clone()).prop_map(|(s, j, a, k)| Step::Fail(s, j, a, k)),
        5 => (0u8..6, kept).prop_map(|(n, kept)| Step::FinishRunning(n, kept)),
        4 => (0u8..6, kind).prop_map(|(n, k)| Step::FailRunning(n, k)),
        4 => (0u8..120).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// Sequences of events. Half of them start with a trained parent whose children run.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let both = vec![EpochSelection::Final, EpochSelection::BestValidation];
    let family = [
        Step::Submit(0, (10..14).collect()),
        Step::Join(0, 2, Vec::new()),
        Step::Join(1, 2, Vec::new()),
        Step::FinishRunning(0, both),
    ];
    let rest = prop::collection::vec(step(), 1..80);
    (any::<bool>(), rest).prop_map(move |(begun, then)| {
        let before = if begun { &family[..] } else { &[] };
        before.iter().cloned().chain(then).collect()
    })
}

/// The jobs with all their ancestors, parents first.
fn with_parents(mut jobs: BTreeSet<u8>) -> impl Iterator<Item = u64> {
    for (child, parent) in [(13, 11), (12, 10), (11, 10)] {
        if jobs.contains(&child) {
            jobs.insert(parent);
        }
    }
    jobs.into_iter().map(u64::from)
}

fn keys(holds: &[(u8, u8)]) -> Vec<AttemptId> {
    holds.iter().map(|(j, a)| AttemptId::new(job(u64::from(*j)).id, Attempt(u32::from(*a)))).collect()
}

/// Each of two workers has two of the four sessions.
fn owner(session: u8) -> WorkerName {
    worker(u64::from(session % 2))
}

/// The second worker has a GPU.
fn device(session: Session) -> DeviceClass {
    if session.0 % 2 == 1 { DeviceClass::Gpu } else { DeviceClass::Cpu }
}

fn report(session: u8, j: u8, a: u8, body: ReportBody) -> Event {
    let report = Report { sequence: 1, attempt: AttemptId::new(job(u64::from(j)).id, Attempt(u32::from(a))), body };
    Event::Reported(Session(u64::from(session)), report)
}

/// A report about the chosen running attempt, over both sessions of its worker.
fn of_running(state: &State, n: u8, body: ReportBody) -> Vec<(u64, Event)> {
    let running: Vec<_> = state.running.iter().map(|index| &state.jobs[*index as usize]).collect();
    let Some(entry) = running.get(usize::from(n) % running.len().max(1)) else { return Vec::new() };
    let JobState::Running { attempt, worker, .. } = &entry.state else { panic!("{:?}", entry.state) };
    let report = Report { sequence: 1, attempt: AttemptId::new(entry.id, *attempt), body };
    let sessions = (0..4).filter(|session| owner(*session) == *worker);
    sessions.map(|session| (0, Event::Reported(Session(u64::from(session)), report.clone()))).collect()
}

impl Step {
    /// The events for the scheduler, each with the milliseconds since the one before.
    fn events(self, state: &State) -> Vec<(u64, Event)> {
        match self {
            Step::FinishRunning(n, kept) => of_running(state, n, ReportBody::Ended(leaving(&kept))),
            Step::EpochOfRunning(n, e) => of_running(state, n, ReportBody::Epoch(u32::from(e), Measurements::new())),
            Step::FailRunning(n, kind) => {
                of_running(state, n, ReportBody::Ended(Ending::Failed(Failure::new(kind, ""))))
            }
            Step::Wait(milliseconds) => {
                let mut ticks = vec![(20, Event::Tick); usize::from(milliseconds / 20)];
                ticks.push((u64::from(milliseconds % 20), Event::Tick));
                ticks
            }
            Step::Restart => Vec::new(),
            other => vec![(0, other.event())],
        }
    }

    fn event(self) -> Event {
        let on = |session: u8| Session(u64::from(session));
        match self {
            Step::Submit(s, jobs) => Event::Submit(Ticket(0), submission(&format!("s{s}"), with_parents(jobs))),
            Step::Continue(s, jobs) => Event::Extend(submission(&format!("s{s}"), with_parents(jobs))),
            Step::Resume(s, jobs) => {
                let some =
                    |jobs: BTreeSet<u8>| RetrySelection::Jobs(jobs.into_iter().map(|j| job(u64::from(j)).id).collect());
                Event::Resume(Ticket(0), name(&format!("s{s}")), jobs.map_or(RetrySelection::AllFailed, some))
            }
            Step::Cancel(s) => Event::Cancel(Ticket(0), name(&format!("s{s}"))),
            Step::Lost(j) => Event::WeightsLost(job(u64::from(j)).id, file(&EpochSelection::Final.name())),
            Step::Join(s, slots, holds) => {
                let (worker, instance) = (owner(s), u64::from(s / 3));
                let (slots, device) = (u32::from(slots), device(on(s)));
                Event::Connected {
                    session: on(s),
                    worker,
                    host: String::new(),
                    instance,
                    slots,
                    device,
                    holds: keys(&holds),
                }
            }
            Step::Leave(s) => Event::Disconnected(on(s)),
            Step::Drain(s) => Event::Draining(on(s)),
            Step::Resize(s, slots) => Event::Resized(on(s), slots.into()),
            Step::Heartbeat(s, holds) => Event::Heartbeat(Heartbeat { session: on(s), beat: 1, holds: keys(&holds) }),
            Step::Epoch(s, j, a, e) => report(s, j, a, ReportBody::Epoch(u32::from(e), Measurements::new())),
            Step::Finish(s, j, a, kept) => report(s, j, a, ReportBody::Ended(leaving(&kept))),
            Step::Fail(s, j, a, kind) => report(s, j, a, ReportBody::Ended(Ending::Failed(Failure::new(kind, "")))),
            Step::FinishRunning(..)
            | Step::EpochOfRunning(..)
            | Step::FailRunning(..)
            | Step::Wait(_)
            | Step::Restart => Event::Tick,
        }
    }
}

/// Checks the effects of one event, given the state before it.
fn check_effects(before: &State, effects: &[Effect]) {
    let mut state = before.clone();
    for effect in effects {
        match effect {
            Effect::Record(record) => {
                if let Record::Assigned { attempt: AttemptId { job, attempt }, .. } = record {
                    let entry = state.entry(*job).unwrap();
                    assert!(matches!(entry.state, JobState::Queued { .. }), "only queued jobs are assigned");
                    assert_eq!(attempt.0, entry.attempts + 1, "attempts are numbered without gaps");
                    if let Some(origin) = state.parents.origin(*job) {
                        assert_eq!(
                            state.job(origin.job),
                            Some(&JobState::Finished),
                            "a parent finishes before its children start"
                        );
                    }
                }
                if let Record::Ended { attempt, next, .. } = record {
                    assert!(state.is_running(*attempt), "only the current attempt ends");
                    if let Next::Retry { failures, .. } = next {
                        let before = state.entry(attempt.job).unwrap().failures;
                        assert!(*failures <= before + 1, "one attempt costs one failure at most");
                    }
                }
                state.apply(record);
            }
            Effect::Assign { session, attempt, parent, keeps, .. } => {
                let entry = state.entry(attempt.job).unwrap();
                assert!(device(*session).can_train(entry.requires), "only a GPU trains what requires one");
                let origin = state.parents.origin(attempt.job);
                assert_eq!(origin.map(|origin| origin.job), parent.map(|file| file.job));
                assert_eq!(keeps, state.parents.wanted(attempt.job));
                assert!(state.is_running(*attempt), "an assignment follows its record");
            }
            _ => {}
        }
    }
}

/// Checks the invariants that hold between events.
fn check_invariants(scheduler: &Scheduler, wanted: &BTreeSet<JobId>) {
    let state = scheduler.state();
    for entry in &state.jobs {
        let own = |key: &QueueKey| key.position == entry.position && state.jobs[key.job as usize].id == entry.id;
        let queued = state.queue.trainable_on(DeviceClass::Gpu).any(|key| own(&key));
        let on_cpu = state.queue.trainable_on(DeviceClass::Cpu).any(|key| own(&key));
        let gpu_only = entry.requires == DeviceClass::Gpu;
        assert_eq!(on_cpu, queued && !gpu_only, "a worker is offered only jobs that it can train");
        assert_eq!(gpu_only, needs_gpu(entry.seed));
        let later = state.backing_off.iter().find(|(_, key)| own(key));
        let later = later.map(|(not_before, _)| JobState::Queued { not_before: *not_before });
        let backs_off = matches!(entry.state, JobState::Queued { not_before } if not_before > state.now);
        let waits = matches!(entry.state, JobState::Queued { .. });
        let ready = state.has_parent_weights(entry.id);
        assert_eq!(
            (queued, later.as_ref()),
            (waits && ready && !backs_off, Some(&entry.state).filter(|_| waits && ready && backs_off)),
            "the queue holds the queued jobs whose parent's weights are there and whose back-off has ended"
        );
        if waits && !ready && entry.wanted > 0 {
            let parent = state.job(state.parents.origin(entry.id).unwrap().job);
            let comes = matches!(parent, Some(JobState::Queued { .. } | JobState::Running { .. }));
            assert!(comes, "no job waits for a parent that will not finish: {parent:?}");
        }
        let leased = scheduler.lease(entry.id).is_some();
        assert_eq!(leased, matches!(entry.state, JobState::Running { .. }), "exactly the running jobs have a lease");
        if wanted.contains(&entry.id) {
            assert_ne!(entry.state, JobState::Dropped, "a job that a sweep wants is not dropped");
        }
        assert_eq!(entry.wanted > 0, wanted.contains(&entry.id));
    }
}

/// Compares what is maintained for each sweep with what its jobs give: counts, running jobs and failures.
fn check_counts(scheduler: &Scheduler) {
    let view = scheduler.view();
    for sweep in view.sweeps() {
        let (mut counts, mut running) = (JobCounts::default(), BTreeSet::new());
        let mut failures: BTreeMap<(FailureKind, String), (usize, BTreeSet<JobId>)> = BTreeMap::new();
        for job in view.jobs_of(&sweep.name) {
            *counts.of(&job.state) += 1;
            match job.state {
                JobState::Running { .. } => drop(running.insert(job.id)),
                JobState::Failed(failure) => {
                    let (jobs, ids) = failures.entry((failure.kind, failure.message)).or_default();
                    *jobs += 1;
                    ids.insert(job.id);
                }
                _ => {}
            }
        }
        assert_eq!(sweep.counts, counts);
        let maintained = view.running_jobs_of(&sweep.name, 0, usize::MAX);
        assert!(maintained.is_sorted_by_key(|(number, _)| *number));
        assert_eq!(maintained.iter().map(|(_, job)| job.id).collect::<BTreeSet<_>>(), running);
        // Pages of one job each give the same.
        let mut from = 0;
        for job in &maintained {
            let page = view.running_jobs_of(&sweep.name, from, 1);
            assert_eq!(page.first(), Some(job));
            from = page[0].0 + 1;
        }
        let diverged = failures.iter().filter(|((kind, _), _)| *kind == FailureKind::Diverged);
        let diverged: usize = diverged.map(|(_, (jobs, _))| jobs).sum();
        for most in [1, usize::MAX] {
            let summary = view.failures_of(&sweep.name, most);
            assert_eq!(summary.diverged, diverged);
            assert_eq!(summary.groups.len(), failures.len().min(most));
            assert!(summary.groups.is_sorted_by_key(|group| Reverse(group.jobs)));
            assert_eq!(summary.groups.iter().map(|group| group.jobs).sum::<usize>() + summary.others, counts.failed);
            for group in summary.groups {
                let (jobs, ids) = &failures[&(group.failure.kind, group.failure.message.clone())];
                assert_eq!(group.jobs, *jobs);
                assert!(ids.contains(&group.example));
            }
        }
    }
}

fn wanted(state: &State) -> BTreeSet<JobId> {
    let live = state.sweeps.values().filter(|sweep| !sweep.cancelled);
    live.flat_map(|sweep| &sweep.jobs).map(|index| state.jobs[*index as usize].id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_events_breaks_an_invariant(steps in steps()) {
        let mut scheduler = Scheduler::new(POLICY);
        let mut replayed = State::default();
        let mut records = Vec::new();
        let mut finished = BTreeSet::new();
        let mut results = BTreeSet::new();
        let mut now = WallTime(0);
        for step in steps {
            if let Step::Restart = step {
                let before = scheduler.state().clone();
                scheduler = Scheduler::restart(POLICY, records.clone(), now);
                prop_assert_eq!(scheduler.state(), &before);
            }
            for (after, event) in step.events(scheduler.state()) {
                now = now.after_ms(after);
                let before = scheduler.state().clone();
                let effects = scheduler.handle(now, event);
                check_effects(&before, &effects);
                for effect in effects {
                    if let Effect::Record(record) = effect {
                        let again: &[JobId] = match &record {
                            Record::Requeued { job, .. } => std::slice::from_ref(job),
                            Record::Submitted { requeued, .. } => requeued,
                            _ => &[],
                        };
                        for job in again {
                            let unfinished = finished.remove(job) && scheduler.state().parents.children(*job).next().is_none();
                            prop_assert!(!unfinished, "a finished job is retrained only for its weights");
                        }
                        if let Record::Ended { attempt, next: Next::Done, .. } = &record {
                            prop_assert!(finished.insert(attempt.job), "a job finishes once");
                            results.insert(attempt.job);
                        }
                        replayed.apply(&record);
                        records.push(record);
                    }
                }
                replayed.advance_time(now);
                prop_assert_eq!(&replayed, scheduler.state(), "replayed state equals live state");
                for job in &results {
                    let entry = scheduler.state().entry(*job).unwrap();
                    let again = entry.wanted > 0 && matches!(entry.state, JobState::Queued { .. } | JobState::Running { .. });
                    prop_assert!(entry.has_result && (again || entry.state == JobState::Finished), "a job keeps its result: {:?}", entry.state);
                    // A job that is not being retrained may be retrained later.
                    if !again {
                        finished.insert(*job);
                    }
                }
                check_invariants(&scheduler, &wanted(scheduler.state()));
                check_counts(&scheduler);
            }
        }
    }
}
