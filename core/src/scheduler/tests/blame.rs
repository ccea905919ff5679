//! Who pays for a lost attempt: workers in quarantine, jobs that are given up, paused sweeps.

use super::*;

impl Bench {
    /// Connects a process of a worker on a host.
    fn join_from(&mut self, session: u64, by: u64, host: &str, instance: u64, holds: &[(u64, u32)]) -> Vec<Effect> {
        let holds = holds.iter().map(|(seed, attempt)| AttemptId::new(job(*seed).id, Attempt(*attempt))).collect();
        let (session, worker, host, device) = (Session(session), worker(by), host.to_owned(), DeviceClass::Cpu);
        self.handle(Event::Connected { session, worker, host, instance, slots: 1, device, holds })
    }

    /// The workers in quarantine, each with its pauses.
    fn quarantined(&self) -> Vec<(String, u32)> {
        let all = self.scheduler.view().quarantines(self.now);
        all.map(|(worker, quarantine)| (worker.0.clone(), quarantine.pauses)).collect()
    }

    fn running_on(&self, by: u64) -> Option<(u64, u32)> {
        let seeds = (0..60).filter(|seed| self.scheduler.state().job(job(*seed).id).is_some());
        let mut running = seeds.filter_map(|seed| match self.state(seed) {
            JobState::Running { attempt, worker: on, .. } if *on == worker(by) => Some((seed, attempt.0)),
            _ => None,
        });
        running.next()
    }

    /// Waits until the worker runs a job, for at most a second. Every worker heartbeats meanwhile.
    fn next_of(&mut self, by: u64) -> Option<(u64, u32)> {
        for _ in 0..1_000 {
            if let Some(running) = self.running_on(by) {
                return Some(running);
            }
            self.wait(1);
            let running: Vec<(u64, Vec<AttemptId>)> = self
                .scheduler
                .workers()
                .map(|worker| (worker.session.0, worker.busy.iter().copied().collect()))
                .collect();
            running.into_iter().for_each(|(session, holds)| drop(self.beat(session, holds)));
        }
        None
    }

    fn crash_next_of(&mut self, by: u64) -> Option<u64> {
        let (seed, attempt) = self.next_of(by)?;
        self.fail(by, seed, attempt, FailureKind::Infrastructure);
        Some(seed)
    }

    fn finish_next_of(&mut self, by: u64) -> Option<u64> {
        let (seed, attempt) = self.next_of(by)?;
        self.end(by, seed, attempt, finished());
        Some(seed)
    }

    fn failed_jobs(&self) -> usize {
        let sweeps = self.scheduler.view().sweeps();
        sweeps.iter().map(|sweep| sweep.counts.failed).sum()
    }
}

/// Two workers and a sweep of twelve jobs. The first worker runs job 0.
fn two_workers() -> Bench {
    let mut bench = Bench::new();
    bench.submit("a", 20..32);
    bench.join(1, 1, 1, &[]);
    bench.join(2, 2, 1, &[]);
    bench
}

#[test]
fn a_worker_that_fails_different_jobs_in_a_row_is_quarantined() {
    let mut bench = two_workers();
    for _ in 0..3 {
        assert_eq!(bench.quarantined(), []);
        bench.crash_next_of(2).unwrap();
    }
    assert_eq!(bench.quarantined(), [("w2".to_owned(), 1)]);
    // A pause, a probe, a longer pause.
    for pause in [10, 20, 40, 80, 160, 320, 400, 400] {
        assert_eq!(bench.running_on(2), None);
        let since = bench.now;
        bench.crash_next_of(2).unwrap();
        assert_eq!(bench.now.since(since), Duration::from_millis(pause));
    }
    assert_eq!(bench.failed_jobs(), 0);
    // Every job finishes on the other worker, or as a probe.
    while bench.finish_next_of(1).is_some() {}
    let unfinished = (20..32).filter(|seed| *bench.state(*seed) != JobState::Finished).count();
    assert!(unfinished <= 1, "the probe has at most one");
}

#[test]
fn only_a_finished_job_ends_a_quarantine() {
    let mut bench = two_workers();
    (0..3).for_each(|_| {
        bench.crash_next_of(2);
    });
    let (seed, attempt) = bench.next_of(2).unwrap();
    let body = ReportBody::Epoch(1, BTreeMap::new());
    let report = Report { sequence: 7, attempt: AttemptId::new(job(seed).id, Attempt(attempt)), body };
    bench.handle(Event::Reported(Session(2), report));
    assert_eq!(bench.quarantined().len(), 1, "an epoch proves nothing");
    bench.handle(Event::Resized(Session(2), 3));
    assert_eq!(bench.scheduler.workers().last().unwrap().busy.len(), 1, "one probe at a time");
    let effects = bench.end(2, seed, attempt, finished());
    assert_eq!(bench.quarantined(), []);
    assert_eq!(assigned(&effects).len(), 3, "all slots are used again");
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Notice(Notice::QuarantineEnded { lifted: false, .. })))
    );
}

#[test]
fn a_worker_that_fails_what_another_finishes_is_quarantined() {
    let mut bench = two_workers();
    let seed = bench.crash_next_of(2).unwrap();
    bench.finish_next_of(1);
    while bench.finish_next_of(1) != Some(seed) {}
    assert_eq!(bench.quarantined(), [("w2".to_owned(), 1)]);
}

#[test]
fn a_job_waits_for_a_worker_that_has_not_failed_it() {
    let mut bench = Bench::new();
    bench.submit("a", [20, 21]);
    bench.join(1, 1, 1, &[]);
    bench.join(2, 2, 1, &[]);
    bench.fail(2, 21, 1, FailureKind::OutOfMemory);
    bench.wait(50);
    assert_eq!(bench.running_on(2), None, "worker 1 may finish it");
    assert_eq!(assigned(&bench.end(1, 20, 1, finished())), [(1, 21, 2)]);
}

#[test]
fn a_job_that_sound_workers_on_three_hosts_fail_is_given_up() {
    let mut bench = Bench::new();
    bench.submit("a", 20..30);
    for by in 1..=4 {
        bench.join(by, by, 1, &[]);
    }
    // Every worker finishes another job before.
    (1..=4).for_each(|by| {
        bench.finish_next_of(by);
    });
    let mut failed_on = Vec::new();
    while !matches!(bench.state(29), JobState::Failed(_)) {
        for by in 1..=4 {
            match bench.running_on(by) {
                Some((29, attempt)) => {
                    failed_on.push(by);
                    bench.fail(by, 29, attempt, FailureKind::Infrastructure);
                }
                Some((seed, attempt)) => drop(bench.end(by, seed, attempt, finished())),
                None => {}
            }
        }
        bench.wait(1);
    }
    failed_on.sort_unstable();
    failed_on.dedup();
    assert_eq!(failed_on.len(), 3);
    assert!(message(bench.state(29)).contains("given up after 3 failures"), "{}", message(bench.state(29)));
    assert_eq!(bench.quarantined(), []);
}

#[test]
fn two_workers_on_one_host_count_once() {
    let mut bench = Bench::new();
    bench.submit("a", 20..40);
    let hosts = ["h1", "h1", "h1", "h2"];
    for (by, host) in (1..).zip(hosts) {
        bench.join_from(by, by, host, by, &[]);
    }
    (1..=4).for_each(|by| {
        bench.finish_next_of(by);
    });
    for _ in 0..40 {
        for by in 1..=3 {
            match bench.running_on(by) {
                Some((30, attempt)) => drop(bench.fail(by, 30, attempt, FailureKind::Infrastructure)),
                Some((seed, attempt)) => drop(bench.end(by, seed, attempt, finished())),
                None => {}
            }
        }
        bench.wait(1);
    }
    assert!(!matches!(bench.state(30), JobState::Failed(_)));
}

#[test]
fn network_cuts_cost_neither_the_job_nor_its_worker_anything() {
    let mut bench = two_workers();
    for cut in 0..6 {
        let (seed, attempt) = bench.next_of(2).unwrap();
        bench.wait(150);
        assert!(!matches!(bench.state(seed), JobState::Failed(_)), "cut {cut}");
        // The worker still has the attempt, over the same connection or over a new one.
        bench.beat(2, vec![AttemptId::new(job(seed).id, Attempt(attempt))]);
        bench.beat(2, vec![]);
    }
    assert_eq!((bench.quarantined(), bench.failed_jobs()), (vec![], 0));
    assert!((20..32).all(|seed| bench.scheduler.state().entry(job(seed).id).unwrap().failures == 0));
}

#[test]
fn a_worker_that_never_trains_what_it_takes_is_quarantined() {
    let mut bench = two_workers();
    for _ in 0..3 {
        bench.next_of(2).unwrap();
        for _ in 0..30 {
            bench.wait(10);
            bench.beat(2, vec![]);
        }
    }
    assert_eq!(bench.quarantined().len(), 1);
    assert_eq!(bench.failed_jobs(), 0);
}

#[test]
fn a_daemon_that_dies_after_every_start_fails_no_job() {
    let mut bench = Bench::new();
    bench.submit("a", 20..23);
    for instance in 0..40 {
        bench.join_from(1, 1, "", instance, &[]);
        bench.wait(7);
        bench.handle(Event::Disconnected(Session(1)));
        bench.wait(3);
    }
    assert_eq!(bench.failed_jobs(), 0);
    let pauses = bench.quarantined()[0].1;
    assert!((2..=12).contains(&pauses), "{pauses}: the pauses grow, so few attempts are made");
    let attempts: u32 = (20..23).map(|seed| bench.scheduler.state().entry(job(seed).id).unwrap().attempts).sum();
    assert!(attempts < 16, "{attempts}");
}

#[test]
fn a_job_under_which_daemons_die_on_three_hosts_is_given_up() {
    let mut bench = Bench::new();
    bench.submit("a", [20]);
    (1..=3).for_each(|by| drop(bench.join(by, by, 1, &[])));
    for died in 1..=3 {
        let by = (1..=3).find(|by| bench.running_on(*by).is_some()).unwrap();
        bench.handle(Event::Disconnected(Session(by)));
        assert!(!matches!(bench.state(20), JobState::Failed(_)), "{died}");
        bench.join_from(by, by, "", 90 + by, &[]);
        bench.wait(20);
    }
    assert!(message(bench.state(20)).contains("on w1, w2, w3"));
}

#[test]
fn a_sound_worker_gets_a_job_before_one_that_waits_for_a_probe() {
    let mut bench = Bench::new();
    bench.submit("a", 20..24);
    // The bad worker has the older session.
    bench.join(2, 2, 1, &[]);
    bench.join(3, 3, 1, &[]);
    (0..3).for_each(|_| {
        bench.crash_next_of(2);
    });
    while bench.finish_next_of(3).is_some() {}
    bench.stand_still(1_000);
    assert_eq!(bench.quarantined().len(), 1);
    bench.submit("b", [40]);
    assert_eq!(bench.running_on(3), Some((40, 1)));
}

#[test]
fn an_operator_ends_a_quarantine() {
    let mut bench = two_workers();
    (0..3).for_each(|_| {
        bench.crash_next_of(2);
    });
    let refused = bench.handle(Event::Reinstate(Ticket(1), worker(7)));
    let refusal = Refusal::UnknownWorker { name: worker(7), quarantined: vec![worker(2)] };
    assert_eq!(refusal.to_string(), "worker `w7` not found; in quarantine: w2");
    assert_eq!(refused, [Effect::Refuse(Ticket(1), refusal)]);
    let effects = bench.handle(Event::Reinstate(Ticket(2), worker(2)));
    assert!(effects.contains(&Effect::Reinstated(Ticket(2), true)));
    assert_eq!((bench.quarantined(), assigned(&effects).len()), (vec![], 1));
    assert!(bench.handle(Event::Reinstate(Ticket(3), worker(2))).contains(&Effect::Reinstated(Ticket(3), false)));
}

#[test]
fn a_worker_offers_at_most_1024_slots() {
    let mut bench = Bench::new();
    bench.join(1, 1, u32::MAX, &[]);
    bench.handle(Event::Resized(Session(1), u32::MAX));
    assert_eq!(bench.scheduler.workers().next().unwrap().slots, 1_024);
}

/// A sweep of 30 jobs whose jobs fail one after another with these messages.
fn failing(messages: impl Fn(u64) -> (FailureKind, String), jobs: u64) -> Bench {
    let mut bench = Bench::new();
    bench.submit("a", 20..50);
    bench.join(1, 1, 1, &[]);
    for _ in 0..jobs {
        let (seed, attempt) = bench.running_on(1).unwrap();
        let (kind, message) = messages(seed);
        bench.end(1, seed, attempt, Ending::Failed(Failure::new(kind, message)));
    }
    bench
}

fn paused(bench: &Bench) -> bool {
    bench.scheduler.view().sweep(&name("a")).unwrap().paused.is_some()
}

#[test]
fn a_sweep_whose_first_20_jobs_fail_alike_is_paused() {
    let alike = |seed| (FailureKind::UserError, format!("no data in /data/{seed} for job {}", job(seed).id));
    assert!(!paused(&failing(alike, 19)));
    let mut bench = failing(alike, 20);
    assert!(paused(&bench));
    assert_eq!(bench.running_on(1), None);
    let why = bench.scheduler.view().job(bench.now, job(45).id).unwrap().waiting;
    assert!(matches!(why, Some(WaitReason::Paused(sweep, pause)) if sweep == name("a") && pause.jobs == 20));
    // Another sweep that wants a job gets it, and a restart keeps the pause.
    let now = bench.now;
    bench = Bench { scheduler: Scheduler::restart(POLICY, bench.records.clone(), now), ..bench };
    assert!(paused(&bench));
    assert_eq!(assigned(&bench.join(1, 1, 1, &[])), []);
    bench.submit("b", [45]);
    assert_eq!(bench.running_on(1), Some((45, 1)));
    assert!(paused(&bench));
    bench.end(1, 45, 1, finished());
    assert!(!paused(&bench), "a finished job shows that the sweep can work");
    assert!(bench.running_on(1).is_some());
}

#[test]
fn a_user_resumes_a_paused_sweep() {
    let alike = |_| (FailureKind::UserError, "no data".to_owned());
    let mut bench = failing(alike, 20);
    bench.handle(Event::Resume(Ticket(0), name("a"), RetrySelection::AllFailed));
    assert!(!paused(&bench) && bench.running_on(1).is_some());
    let mut bench = failing(alike, 20);
    bench.submit("a", 20..50);
    assert!(!paused(&bench) && bench.running_on(1).is_some());
    let mut bench = failing(alike, 20);
    bench.handle(Event::Cancel(Ticket(0), name("a")));
    assert!(!paused(&bench));
}

#[test]
fn a_sweep_whose_jobs_fail_differently_goes_on() {
    let kinds = |seed| {
        let kind = if seed == 25 { FailureKind::Diverged } else { FailureKind::UserError };
        (kind, "no data".to_owned())
    };
    assert!(!paused(&failing(kinds, 25)));
    let messages = |seed| (FailureKind::UserError, if seed == 25 { "no host" } else { "no data" }.to_owned());
    assert!(!paused(&failing(messages, 25)));
    assert!(!paused(&failing(|_| (FailureKind::Diverged, "the loss is NaN".to_owned()), 25)), "that is a result");
}
