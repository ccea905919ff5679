//! Generated fleets with one worker that finishes every job. The others fail, return, or never train what they get, or their daemons die.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Finishes,
    Fails(FailureKind),
    Dies,
    /// It heartbeats, and never trains.
    Idles,
}

#[derive(Clone, Debug)]
struct Member {
    behaviour: Behaviour,
    slots: u32,
    /// Several members may be on one host.
    host: u8,
    session: u64,
    instance: u64,
    holds: Vec<AttemptId>,
}

/// A step: a member acts, time passes, or the coordinator restarts.
#[derive(Clone, Copy, Debug)]
enum Step {
    Act(usize),
    Wait(u8),
    Restart,
}

struct Cluster {
    bench: Bench,
    members: Vec<Member>,
    sessions: u64,
}

impl Cluster {
    fn new(members: Vec<Member>) -> Self {
        let mut cluster = Cluster { bench: Bench::new(), members, sessions: 0 };
        cluster.handle(Event::Submit(Ticket(0), submission("a", 20..28)));
        // The sound worker comes last.
        (0..cluster.members.len()).rev().for_each(|member| cluster.connect(member));
        cluster
    }

    fn handle(&mut self, event: Event) {
        for effect in self.bench.handle(event) {
            match effect {
                Effect::Assign { session, attempt, .. } => {
                    let member = self.members.iter_mut().find(|member| member.session == session.0);
                    member.unwrap().holds.push(attempt);
                }
                Effect::Stop { session, attempt } => {
                    let member = self.members.iter_mut().find(|member| member.session == session.0);
                    member.unwrap().holds.retain(|held| *held != attempt);
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, number: usize) {
        self.sessions += 1;
        let member = &mut self.members[number];
        member.session = self.sessions;
        let (session, instance, slots, holds) =
            (Session(member.session), member.instance, member.slots, member.holds.clone());
        let (host, device) = (format!("h{}", member.host), DeviceClass::Cpu);
        self.handle(Event::Connected { session, worker: worker(number as u64), host, instance, slots, device, holds });
    }

    fn act(&mut self, number: usize) {
        let member = &mut self.members[number];
        let Some(attempt) = member.holds.first().copied() else { return };
        let session = Session(member.session);
        let ending = match member.behaviour {
            Behaviour::Finishes => finished(),
            Behaviour::Fails(kind) => Ending::Failed(Failure::new(kind, "it crashed")),
            Behaviour::Dies => {
                member.holds.clear();
                member.instance += 100;
                self.handle(Event::Disconnected(session));
                return self.connect(number);
            }
            Behaviour::Idles => return,
        };
        member.holds.remove(0);
        let report = Report { sequence: 1, attempt, body: ReportBody::Ended(ending) };
        self.handle(Event::Reported(session, report));
    }

    fn wait(&mut self, milliseconds: u64) {
        for _ in 0..=milliseconds / 10 {
            self.bench.now = self.bench.now.after_ms(10);
            for number in 0..self.members.len() {
                let member = &self.members[number];
                let idles = matches!(member.behaviour, Behaviour::Idles);
                let holds = if idles { Vec::new() } else { member.holds.clone() };
                self.handle(Event::Heartbeat(Heartbeat { session: Session(member.session), beat: 1, holds }));
            }
            self.handle(Event::Tick);
        }
    }

    fn restart(&mut self) {
        let before = self.bench.scheduler.state().durable_jobs();
        let records = self.bench.records.clone();
        self.bench.scheduler = Scheduler::restart(POLICY, records, self.bench.now);
        assert_eq!(self.bench.scheduler.state().durable_jobs(), before);
        (0..self.members.len()).rev().for_each(|member| self.connect(member));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Act(member) => self.act(member % self.members.len()),
            Step::Wait(milliseconds) => self.wait(milliseconds.into()),
            Step::Restart => self.restart(),
        }
        for seed in 20..28 {
            let failed = matches!(self.bench.state(seed), JobState::Failed(_));
            assert!(!failed, "a sound worker lives: {:?}", self.bench.state(seed));
        }
    }

    fn is_finished(&self) -> bool {
        (20..28).all(|seed| *self.bench.state(seed) == JobState::Finished)
    }
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    use FailureKind::{Infrastructure, OutOfMemory, Preempted};
    prop_oneof![
        3 => prop::sample::select(vec![Infrastructure, OutOfMemory, Preempted]).prop_map(Behaviour::Fails),
        1 => Just(Behaviour::Dies),
        1 => Just(Behaviour::Idles),
    ]
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let member = |(behaviour, slots, host)| Member { behaviour, slots, host, session: 0, instance: 1, holds: vec![] };
    let bad = prop::collection::vec((behaviour(), 1u32..4, 0u8..6).prop_map(member), 1..6);
    (bad, 1u32..3).prop_map(move |(bad, slots)| {
        let sound = member((Behaviour::Finishes, slots, 0));
        std::iter::once(sound).chain(bad).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Mostly a bad worker acts.
        20 => (1usize..6).prop_map(Step::Act),
        1 => Just(Step::Act(0)),
        6 => (0u8..60).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn with_one_sound_worker_every_job_finishes(members in members(), steps in prop::collection::vec(step(), 0..120)) {
        let mut cluster = Cluster::new(members);
        steps.into_iter().for_each(|step| cluster.step(step));
        for _ in 0..2_000 {
            if cluster.is_finished() {
                break;
            }
            (0..cluster.members.len()).rev().for_each(|member| cluster.step(Step::Act(member)));
            cluster.step(Step::Wait(0));
        }
        let states: Vec<&JobState> = (20..28).map(|seed| cluster.bench.state(seed)).collect();
        prop_assert!(cluster.is_finished(), "{states:?}");
    }
}
