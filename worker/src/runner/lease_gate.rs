//! Decides before each training step whether a lane continues, waits for a lease, or stops.

use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets lanes train while the lease is valid and blocks them while it is expired. Unknown lanes pass the gate and count as idle.
pub(super) struct LeaseGate {
    state: Mutex<State>,
    changed: Condvar,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

struct State {
    /// When the lease expires, in milliseconds of the clock.
    until: u64,
    lanes: Vec<Lane>,
    /// Whether the process exits once all lanes are idle.
    exiting: bool,
}

#[derive(Clone, Default)]
struct Lane {
    /// The number of jobs: the next one may arrive before the end of the last one is recorded.
    jobs: u32,
    /// Whether the present job must stop.
    stop: bool,
}

impl LeaseGate {
    /// A gate for this many lanes, closed until the first lease. `clock` returns milliseconds.
    pub fn new(lanes: usize, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let state = State { until: 0, lanes: vec![Lane::default(); lanes], exiting: false };
        LeaseGate { state: Mutex::new(state), changed: Condvar::new(), clock: Box::new(clock) }
    }

    /// Sets the end of the lease.
    pub fn set_lease(&self, until: u64) {
        self.change(|state| state.until = until);
    }

    /// Records that a lane receives a job. An earlier request to stop was for the previous job.
    pub fn start_job(&self, lane: usize) {
        self.change(|state| {
            let exiting = state.exiting;
            state.lane(lane, |lane| (lane.jobs, lane.stop) = (lane.jobs + 1, exiting));
        });
    }

    /// Requests that the job of a lane stops.
    pub fn stop_job(&self, lane: usize) {
        self.change(|state| state.lane(lane, |lane| lane.stop = true));
    }

    /// Requests that all jobs stop and that the process exits after them. Returns whether there are any.
    pub fn exit(&self) -> bool {
        self.change(|state| {
            state.exiting = true;
            state.lanes.iter_mut().for_each(|lane| lane.stop = true);
            state.is_busy()
        })
    }

    /// Records that the job of a lane has ended and was reported. Returns whether the process must exit.
    pub fn end_job(&self, lane: usize) -> bool {
        self.change(|state| {
            state.lane(lane, |lane| lane.jobs = lane.jobs.saturating_sub(1));
            state.exiting && !state.is_busy()
        })
    }

    /// Waits for a valid lease or a request to stop. Breaks if the job must stop.
    pub fn pass(&self, lane: usize) -> ControlFlow<()> {
        let stops = |state: &State| state.lanes.get(lane).is_some_and(|lane| lane.stop);
        let closed = |state: &mut State| !stops(state) && (self.clock)() >= state.until;
        let state = self.changed.wait_while(self.lock(), closed).unwrap_or_else(PoisonError::into_inner);
        if stops(&state) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Waits for `duration`, or until the job must stop: then it breaks.
    pub fn pause(&self, lane: usize, duration: Duration) -> ControlFlow<()> {
        let stops = |state: &State| state.lanes.get(lane).is_some_and(|lane| lane.stop);
        let waited = self.changed.wait_timeout_while(self.lock(), duration, |state| !stops(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if stops(&state) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, lane: usize, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            change(lane);
        }
    }

    fn is_busy(&self) -> bool {
        self.lanes.iter().any(|lane| lane.jobs > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;

    const CONTINUE: ControlFlow<()> = ControlFlow::Continue(());
    const STOP: ControlFlow<()> = ControlFlow::Break(());

    fn gate() -> (Arc<LeaseGate>, Arc<AtomicU64>) {
        let clock = Arc::new(AtomicU64::new(1_000));
        let time = Arc::clone(&clock);
        (Arc::new(LeaseGate::new(2, move || time.load(Ordering::SeqCst))), clock)
    }

    /// Passes the gate on another thread. The receiver gets the result.
    fn passing(gate: &Arc<LeaseGate>) -> mpsc::Receiver<ControlFlow<()>> {
        let (sender, passed) = mpsc::channel();
        let gate = Arc::clone(gate);
        thread::spawn(move || sender.send(gate.pass(0)));
        passed
    }

    #[test]
    fn training_waits_while_the_lease_is_expired() {
        let (gate, clock) = gate();
        gate.start_job(0);
        let first = passing(&gate);
        assert!(first.try_recv().is_err(), "no lease yet");
        gate.set_lease(1_100);
        assert_eq!(first.recv().unwrap(), CONTINUE);
        clock.store(1_099, Ordering::SeqCst);
        assert_eq!(gate.pass(0), CONTINUE);
        clock.store(1_100, Ordering::SeqCst);
        let second = passing(&gate);
        gate.set_lease(1_100);
        assert!(second.try_recv().is_err(), "the lease is not longer than before");
        gate.set_lease(1_101);
        assert_eq!(second.recv().unwrap(), CONTINUE);
    }

    #[test]
    fn a_waiting_job_can_be_stopped_without_stopping_the_next() {
        let (gate, _) = gate();
        gate.start_job(0);
        let passed = passing(&gate);
        gate.stop_job(0);
        assert_eq!(passed.recv().unwrap(), STOP);
        assert!(!gate.end_job(0));
        gate.start_job(0);
        gate.set_lease(2_000);
        assert_eq!(gate.pass(0), CONTINUE);
    }

    #[test]
    fn a_pause_ends_after_its_time_or_with_a_stop() {
        let (gate, _) = gate();
        gate.start_job(0);
        assert_eq!(gate.pause(0, Duration::from_millis(1)), CONTINUE, "whatever the lease");
        gate.stop_job(0);
        assert_eq!(gate.pause(0, Duration::from_secs(3_600)), STOP);
    }

    #[test]
    fn an_exiting_runner_starts_no_job() {
        let (gate, _) = gate();
        assert!(!gate.exit(), "all lanes are idle");
        gate.start_job(0);
        gate.set_lease(2_000);
        assert_eq!(gate.pass(0), STOP);
        assert!(gate.exit() && gate.end_job(0));
    }

    #[test]
    fn a_lease_can_be_revoked() {
        let (gate, _) = gate();
        gate.start_job(0);
        gate.set_lease(2_000);
        assert_eq!(gate.pass(0), CONTINUE);
        gate.set_lease(0);
        let passed = passing(&gate);
        assert!(passed.try_recv().is_err());
        gate.set_lease(2_000);
        assert_eq!(passed.recv().unwrap(), CONTINUE);
    }

    #[test]
    fn lanes_stop_separately_and_the_process_exits_when_all_are_idle() {
        let (gate, _) = gate();
        gate.set_lease(2_000);
        gate.start_job(0);
        gate.start_job(1);
        gate.stop_job(1);
        assert_eq!((gate.pass(0), gate.pass(1)), (CONTINUE, STOP));
        assert!(!gate.end_job(1));
        assert!(gate.exit(), "the other lane continues");
        assert_eq!(gate.pass(0), STOP);
        gate.start_job(1);
        assert!(!gate.end_job(0), "the other lane has a new job");
        assert_eq!(gate.pass(1), STOP);
        assert!(gate.end_job(1));
    }

    #[test]
    fn an_unknown_lane_counts_as_idle() {
        let (gate, _) = gate();
        gate.start_job(7);
        gate.stop_job(7);
        assert!(!gate.exit() && gate.end_job(7));
    }
}
