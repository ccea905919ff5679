//! What stands between a runner's training and its next step: the lease, and whether a lane is to stop.

use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets training pass while the lease lasts, and makes it wait when it has passed. Lanes that there are not are let through and have
/// nothing in hand.
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

struct State {
    /// By the clock.
    until: u64,
    lanes: Vec<Lane>,
    /// Whether the process is to end once nothing is in hand any more.
    leave: bool,
}

#[derive(Clone, Default)]
struct Lane {
    /// Jobs in hand: the next one may come before the end of the last one has been taken note of.
    busy: u32,
    /// Whether that job is to stop.
    stop: bool,
}

impl Gate {
    /// A gate for so many lanes that is shut until there is a lease, by a `clock` in milliseconds.
    pub fn new(lanes: usize, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let state = State { until: 0, lanes: vec![Lane::default(); lanes], leave: false };
        Gate { state: Mutex::new(state), changed: Condvar::new(), clock: Box::new(clock) }
    }

    /// Training may go on until then, and no longer.
    pub fn lease(&self, until: u64) {
        self.change(|state| state.until = until);
    }

    /// A lane has a job in hand. What was said before of stopping was for the job before.
    pub fn begin(&self, lane: usize) {
        self.change(|state| {
            let leave = state.leave;
            state.lane(lane, |lane| (lane.busy, lane.stop) = (lane.busy + 1, leave));
        });
    }

    /// The job that a lane has in hand shall stop.
    pub fn stop(&self, lane: usize) {
        self.change(|state| state.lane(lane, |lane| lane.stop = true));
    }

    /// The jobs in hand shall stop, and the process end after them; says whether there are any.
    pub fn leave(&self) -> bool {
        self.change(|state| {
            state.leave = true;
            state.lanes.iter_mut().for_each(|lane| lane.stop = true);
            state.is_busy()
        })
    }

    /// The job that a lane had in hand has ended and said so; says whether the process is to end.
    pub fn end(&self, lane: usize) -> bool {
        self.change(|state| {
            state.lane(lane, |lane| lane.busy = lane.busy.saturating_sub(1));
            state.leave && !state.is_busy()
        })
    }

    /// Waits for a lease that lasts, or for the lane to be told to stop.
    pub fn pass(&self, lane: usize) -> ControlFlow<()> {
        let stops = |state: &State| state.lanes.get(lane).is_some_and(|lane| lane.stop);
        let shut = |state: &mut State| !stops(state) && (self.clock)() >= state.until;
        let state = self.changed.wait_while(self.lock(), shut).unwrap_or_else(PoisonError::into_inner);
        if stops(&state) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn change<T>(&self, how: impl FnOnce(&mut State) -> T) -> T {
        let changed = how(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, lane: usize, how: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            how(lane);
        }
    }

    fn is_busy(&self) -> bool {
        self.lanes.iter().any(|lane| lane.busy > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;

    const GO: ControlFlow<()> = ControlFlow::Continue(());
    const STOP: ControlFlow<()> = ControlFlow::Break(());

    fn gate() -> (Arc<Gate>, Arc<AtomicU64>) {
        let clock = Arc::new(AtomicU64::new(1_000));
        let time = Arc::clone(&clock);
        (Arc::new(Gate::new(2, move || time.load(Ordering::SeqCst))), clock)
    }

    /// Passes on another thread; what comes of it is heard when it has passed.
    fn passing(gate: &Arc<Gate>) -> mpsc::Receiver<ControlFlow<()>> {
        let (sender, passed) = mpsc::channel();
        let gate = Arc::clone(gate);
        thread::spawn(move || sender.send(gate.pass(0)));
        passed
    }

    #[test]
    fn training_passes_while_the_lease_lasts_and_waits_for_the_next_when_it_has_passed() {
        let (gate, clock) = gate();
        gate.begin(0);
        let first = passing(&gate);
        assert!(first.try_recv().is_err(), "there is no lease yet");
        gate.lease(1_100);
        assert_eq!(first.recv().unwrap(), GO);
        clock.store(1_099, Ordering::SeqCst);
        assert_eq!(gate.pass(0), GO);
        clock.store(1_100, Ordering::SeqCst);
        let second = passing(&gate);
        gate.lease(1_100);
        assert!(second.try_recv().is_err(), "that is no longer one");
        gate.lease(1_101);
        assert_eq!(second.recv().unwrap(), GO);
    }

    #[test]
    fn who_waits_can_be_stopped_and_the_next_job_is_not() {
        let (gate, _) = gate();
        gate.begin(0);
        let passed = passing(&gate);
        gate.stop(0);
        assert_eq!(passed.recv().unwrap(), STOP);
        assert!(!gate.end(0));
        gate.begin(0);
        gate.lease(2_000);
        assert_eq!(gate.pass(0), GO);
    }

    #[test]
    fn who_is_to_leave_begins_nothing_more() {
        let (gate, _) = gate();
        assert!(!gate.leave(), "nothing is in hand");
        gate.begin(0);
        gate.lease(2_000);
        assert_eq!(gate.pass(0), STOP);
        assert!(gate.leave() && gate.end(0));
    }

    #[test]
    fn a_lease_can_be_taken_back() {
        let (gate, _) = gate();
        gate.begin(0);
        gate.lease(2_000);
        assert_eq!(gate.pass(0), GO);
        gate.lease(0);
        let passed = passing(&gate);
        assert!(passed.try_recv().is_err());
        gate.lease(2_000);
        assert_eq!(passed.recv().unwrap(), GO);
    }

    #[test]
    fn lanes_stop_one_by_one_and_the_process_leaves_when_none_has_anything_in_hand() {
        let (gate, _) = gate();
        gate.lease(2_000);
        gate.begin(0);
        gate.begin(1);
        gate.stop(1);
        assert_eq!((gate.pass(0), gate.pass(1)), (GO, STOP));
        assert!(!gate.end(1));
        assert!(gate.leave(), "the other goes on");
        assert_eq!(gate.pass(0), STOP);
        gate.begin(1);
        assert!(!gate.end(0), "another has come meanwhile");
        assert_eq!(gate.pass(1), STOP);
        assert!(gate.end(1));
    }

    #[test]
    fn a_lane_that_there_is_not_does_no_harm() {
        let (gate, _) = gate();
        gate.begin(7);
        gate.stop(7);
        assert!(!gate.leave() && gate.end(7));
    }
}
