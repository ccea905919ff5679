//! The machine under generated events.

use super::super::event::{Again, Effect, Event, Report, ReportBody, Session, Ticket};
use super::super::record::{Ending, Next, Record};
use super::super::{Counts, JobState, Scheduler, State, WallTime};
use super::{POLICY, file, job, leaving, name, needs_gpu, submission, worker};
use crate::id::{Attempt, AttemptId, JobId, WorkerName};
use crate::metric::{EpochSelection, Measurements};
use crate::outcome::{Failure, FailureKind};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Something that may happen, in few enough variations that generated sequences meet each other.
#[derive(Clone, Debug)]
enum Happening {
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
    /// The chosen one of the running attempts finishes, as its worker says.
    FinishRunning(u8, Vec<EpochSelection>),
    /// It has done an epoch.
    EpochOfRunning(u8, u8),
    /// It fails.
    FailRunning(u8, FailureKind),
    Wait(u8),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let job = 8u8..14;
    let kept = prop::sample::subsequence(vec![EpochSelection::Final, EpochSelection::BestValidation], 0..=2);
    let attempt = 1u8..5;
    let session = 0u8..4;
    let kind = prop::sample::select(FailureKind::ALL);
    let holds = prop::collection::vec((job.clone(), attempt.clone()), 0..4);
    prop_oneof![
        2 => (0u8..3, prop::collection::btree_set(8u8..14, 1..6)).prop_map(|(s, jobs)| Happening::Submit(s, jobs)),
        1 => (0u8..3, prop::collection::btree_set(8u8..14, 1..6)).prop_map(|(s, jobs)| Happening::Continue(s, jobs)),
        1 => (0u8..3).prop_map(Happening::Cancel),
        2 => (0u8..3, prop::option::of(prop::collection::btree_set(8u8..14, 1..3)))
            .prop_map(|(s, jobs)| Happening::Resume(s, jobs)),
        3 => (10u8..12).prop_map(Happening::Lost),
        3 => (session.clone(), 0u8..3, holds.clone()).prop_map(|(s, n, h)| Happening::Join(s, n, h)),
        1 => session.clone().prop_map(Happening::Leave),
        1 => session.clone().prop_map(Happening::Drain),
        1 => (session.clone(), 0u8..4).prop_map(|(session, slots)| Happening::Resize(session, slots)),
        2 => (session.clone(), holds).prop_map(|(s, h)| Happening::Heartbeat(s, h)),
        2 => (session.clone(), job.clone(), attempt.clone(), 1u8..4)
            .prop_map(|(s, j, a, e)| Happening::Epoch(s, j, a, e)),
        2 => (0u8..6, 1u8..4).prop_map(|(n, e)| Happening::EpochOfRunning(n, e)),
        2 => (session.clone(), job.clone(), attempt.clone(), kept.clone())
            .prop_map(|(s, j, a, kept)| Happening::Finish(s, j, a, kept)),
        2 => (session, job, attempt, kind.clone()).prop_map(|(s, j, a, k)| Happening::Fail(s, j, a, k)),
        5 => (0u8..6, kept).prop_map(|(n, kept)| Happening::FinishRunning(n, kept)),
        4 => (0u8..6, kind).prop_map(|(n, k)| Happening::FailRunning(n, k)),
        4 => (0u8..120).prop_map(Happening::Wait),
        1 => Just(Happening::Restart),
    ]
}

/// What happens, half the time to a family of which children are being trained already.
fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let both = vec![EpochSelection::Final, EpochSelection::BestValidation];
    let family = [
        Happening::Submit(0, (10..14).collect()),
        Happening::Join(0, 2, Vec::new()),
        Happening::Join(1, 2, Vec::new()),
        Happening::FinishRunning(0, both),
    ];
    let rest = prop::collection::vec(happening(), 1..80);
    (any::<bool>(), rest).prop_map(move |(begun, then)| {
        let before = if begun { &family[..] } else { &[] };
        before.iter().cloned().chain(then).collect()
    })
}

/// The jobs with all that they build on, parents first.
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

/// Two of the four sessions belong to each of two workers.
fn owner(session: u8) -> WorkerName {
    worker(u64::from(session % 2))
}

/// Of the two the second has a GPU.
fn has_gpu(session: Session) -> bool {
    session.0 % 2 == 1
}

fn report(session: u8, j: u8, a: u8, body: ReportBody) -> Event {
    let report = Report { sequence: 1, job: job(u64::from(j)).id, attempt: Attempt(u32::from(a)), body };
    Event::Reported(Session(u64::from(session)), report)
}

/// What is said of the chosen one of the running attempts, over both connections that its worker may have.
fn of_running(state: &State, n: u8, body: ReportBody) -> Vec<(u64, Event)> {
    let running: Vec<_> = state.running.iter().map(|index| &state.jobs[*index as usize]).collect();
    let Some(entry) = running.get(usize::from(n) % running.len().max(1)) else { return Vec::new() };
    let JobState::Running { attempt, worker, .. } = &entry.state else { panic!("{:?}", entry.state) };
    let report = Report { sequence: 1, job: entry.id, attempt: *attempt, body };
    let sessions = (0..4).filter(|session| owner(*session) == *worker);
    sessions.map(|session| (0, Event::Reported(Session(u64::from(session)), report.clone()))).collect()
}

impl Happening {
    /// What the machine is told, each with the time since the one before.
    fn events(self, state: &State) -> Vec<(u64, Event)> {
        match self {
            Happening::FinishRunning(n, kept) => of_running(state, n, ReportBody::Ended(leaving(&kept))),
            Happening::EpochOfRunning(n, e) => {
                of_running(state, n, ReportBody::Epoch(u32::from(e), Measurements::new()))
            }
            Happening::FailRunning(n, kind) => {
                of_running(state, n, ReportBody::Ended(Ending::Failed(Failure::new(kind, ""))))
            }
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
            Happening::Submit(s, jobs) => Event::Submit(Ticket(0), submission(&format!("s{s}"), with_parents(jobs))),
            Happening::Continue(s, jobs) => Event::Continue(submission(&format!("s{s}"), with_parents(jobs))),
            Happening::Resume(s, jobs) => {
                let some = |jobs: BTreeSet<u8>| Again::Jobs(jobs.into_iter().map(|j| job(u64::from(j)).id).collect());
                Event::Resume(Ticket(0), name(&format!("s{s}")), jobs.map_or(Again::Failed, some))
            }
            Happening::Cancel(s) => Event::Cancel(Ticket(0), name(&format!("s{s}"))),
            Happening::Lost(j) => Event::Lost(job(u64::from(j)).id, file(&EpochSelection::Final.name())),
            Happening::Join(s, slots, holds) => {
                let (worker, instance) = (owner(s), u64::from(s / 3));
                let (slots, gpu) = (u32::from(slots), has_gpu(on(s)));
                Event::Joined { session: on(s), worker, instance, slots, gpu, holds: keys(&holds) }
            }
            Happening::Leave(s) => Event::Left(on(s)),
            Happening::Drain(s) => Event::Draining(on(s)),
            Happening::Resize(s, slots) => Event::Resized(on(s), slots.into()),
            Happening::Heartbeat(s, holds) => Event::Heartbeat { session: on(s), beat: 1, holds: keys(&holds) },
            Happening::Epoch(s, j, a, e) => report(s, j, a, ReportBody::Epoch(u32::from(e), Measurements::new())),
            Happening::Finish(s, j, a, kept) => report(s, j, a, ReportBody::Ended(leaving(&kept))),
            Happening::Fail(s, j, a, kind) => {
                report(s, j, a, ReportBody::Ended(Ending::Failed(Failure::new(kind, ""))))
            }
            Happening::FinishRunning(..)
            | Happening::EpochOfRunning(..)
            | Happening::FailRunning(..)
            | Happening::Wait(_)
            | Happening::Restart => Event::Tick,
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
                    if let Some(origin) = state.families.origin(*job) {
                        assert_eq!(state.job(origin.job), Some(&JobState::Finished), "a parent has finished first");
                    }
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
            Effect::Assign { session, job, attempt, origin, keeps, .. } => {
                assert!(has_gpu(*session) || !state.entry(*job).unwrap().gpu, "only a GPU trains what needs one");
                assert_eq!(state.families.origin(*job).map(|origin| origin.job), origin.map(|(parent, _)| parent));
                assert_eq!(*keeps, state.families.wanted(*job));
                let current = matches!(state.job(*job), Some(JobState::Running { attempt: a, .. }) if a == attempt);
                assert!(current, "what is assigned has been written down as running");
            }
            _ => {}
        }
    }
}

/// What must hold between events.
fn state_is_sound(machine: &Scheduler, wanted: &BTreeSet<JobId>) {
    let state = machine.state();
    for entry in &state.jobs {
        let own = |(turn, index): (_, u32)| turn == entry.turn && state.jobs[index as usize].id == entry.id;
        let queued = state.queue.in_turn(true).any(own);
        assert_eq!(state.queue.in_turn(false).any(own), queued && !entry.gpu, "nobody is offered what he cannot train");
        assert_eq!(entry.gpu, needs_gpu(entry.seed));
        let later = state.later.iter().find(|(_, turn, index)| own((*turn, *index)));
        let later = later.map(|(not_before, ..)| JobState::Queued { not_before: *not_before });
        let comes_later = matches!(entry.state, JobState::Queued { not_before } if not_before > state.now);
        let waits = matches!(entry.state, JobState::Queued { .. });
        let ready = state.has_what_it_builds_on(entry.id);
        assert_eq!(
            (queued, later.as_ref()),
            (waits && ready && !comes_later, Some(&entry.state).filter(|_| waits && ready && comes_later)),
            "the queue is the queued jobs that have what they build on, once their time has come"
        );
        if waits && !ready && entry.wanted > 0 {
            let parent = state.job(state.families.origin(entry.id).unwrap().job);
            let comes = matches!(parent, Some(JobState::Queued { .. } | JobState::Running { .. }));
            assert!(comes, "nobody waits for a parent that will not come: {parent:?}");
        }
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

/// The counts of a sweep are those that going through its jobs would give.
fn counts_are_right(machine: &Scheduler) {
    for sweep in machine.sweeps() {
        let mut counts = Counts::default();
        machine.jobs_of(&sweep.name).for_each(|job| *counts.of(&job.state) += 1);
        assert_eq!(sweep.counts, counts);
    }
}

fn wanted(state: &State) -> BTreeSet<JobId> {
    let live = state.sweeps.values().filter(|sweep| !sweep.cancelled);
    live.flat_map(|sweep| &sweep.jobs).map(|index| state.jobs[*index as usize].id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_events_breaks_a_promise(happenings in happenings()) {
        let mut machine = Scheduler::new(POLICY);
        let mut replayed = State::default();
        let mut records = Vec::new();
        let mut finished = BTreeSet::new();
        let mut results = BTreeSet::new();
        let mut now = WallTime(0);
        for happening in happenings {
            if let Happening::Restart = happening {
                let before = machine.state().clone();
                machine = Scheduler::restart(POLICY, records.clone(), now);
                prop_assert_eq!(machine.state(), &before);
            }
            for (after, event) in happening.events(machine.state()) {
                now = now.after(after);
                let before = machine.state().clone();
                let effects = machine.handle(now, event);
                effects_keep_the_promises(&before, &effects);
                for effect in effects {
                    if let Effect::Record(record) = effect {
                        let again: &[JobId] = match &record {
                            Record::Requeued { job, .. } => std::slice::from_ref(job),
                            Record::Submitted { requeued, .. } => requeued,
                            _ => &[],
                        };
                        for job in again {
                            let unfinished = finished.remove(job) && machine.state().families.children(*job).next().is_none();
                            prop_assert!(!unfinished, "only for weights is a finished job trained again");
                        }
                        if let Record::Ended { job, next: Next::Done, .. } = &record {
                            prop_assert!(finished.insert(*job), "a job is finished once");
                            results.insert(*job);
                        }
                        replayed.apply(&record);
                        records.push(record);
                    }
                }
                replayed.pass(now);
                prop_assert_eq!(&replayed, machine.state(), "replayed state equals live state");
                for job in &results {
                    let entry = machine.state().entry(*job).unwrap();
                    let again = entry.wanted > 0 && matches!(entry.state, JobState::Queued { .. } | JobState::Running { .. });
                    prop_assert!(entry.result && (again || entry.state == JobState::Finished), "a result is kept: {:?}", entry.state);
                    // Where it is not trained again any more, it may be once more.
                    if !again {
                        finished.insert(*job);
                    }
                }
                state_is_sound(&machine, &wanted(machine.state()));
                counts_are_right(&machine);
            }
        }
    }
}
