//! What stands between a runner's training and its next step: the lease, and whether it is to stop.

use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets training pass while the lease lasts, and makes it wait when it has passed.
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// By the clock.
    until: u64,
    /// Jobs in hand: the next one may come before the end of the last one has been taken note of.
    busy: u32,
    /// Whether that job is to stop.
    stop: bool,
    /// Whether the process is to end once it has.
    leave: bool,
}

impl Gate {
    /// A gate that is shut until there is a lease, by a `clock` in milliseconds.
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Gate { state: Mutex::default(), changed: Condvar::new(), clock: Box::new(clock) }
    }

    /// Training may go on until then, and no longer.
    pub fn lease(&self, until: u64) {
        self.change(|state| state.until = until);
    }

    /// A job is in hand. What was said before of stopping was for the job before.
    pub fn begin(&self) {
        self.change(|state| (state.busy, state.stop) = (state.busy + 1, state.leave));
    }

    /// The job in hand shall stop.
    pub fn stop(&self) {
        self.change(|state| state.stop = true);
    }

    /// The job in hand shall stop, and the process end after it; says whether there is a job in hand.
    pub fn leave(&self) -> bool {
        self.change(|state| {
            (state.stop, state.leave) = (true, true);
            state.busy > 0
        })
    }

    /// The job in hand has ended and said so; says whether the process is to end.
    pub fn end(&self) -> bool {
        self.change(|state| {
            state.busy = state.busy.saturating_sub(1);
            state.leave
        })
    }

    /// Waits for a lease that lasts, or to be told to stop.
    pub fn pass(&self) -> ControlFlow<()> {
        let shut = |state: &mut State| !state.stop && (self.clock)() >= state.until;
        let state = self.changed.wait_while(self.lock(), shut).unwrap_or_else(PoisonError::into_inner);
        if state.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
        (Arc::new(Gate::new(move || time.load(Ordering::SeqCst))), clock)
    }

    /// Passes on another thread; what comes of it is heard when it has passed.
    fn passing(gate: &Arc<Gate>) -> mpsc::Receiver<ControlFlow<()>> {
        let (sender, passed) = mpsc::channel();
        let gate = Arc::clone(gate);
        thread::spawn(move || sender.send(gate.pass()));
        passed
    }

    #[test]
    fn training_passes_while_the_lease_lasts_and_waits_for_the_next_when_it_has_passed() {
        let (gate, clock) = gate();
        gate.begin();
        let first = passing(&gate);
        assert!(first.try_recv().is_err(), "there is no lease yet");
        gate.lease(1_100);
        assert_eq!(first.recv().unwrap(), GO);
        clock.store(1_099, Ordering::SeqCst);
        assert_eq!(gate.pass(), GO);
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
        gate.begin();
        let passed = passing(&gate);
        gate.stop();
        assert_eq!(passed.recv().unwrap(), STOP);
        assert!(!gate.end());
        gate.begin();
        gate.lease(2_000);
        assert_eq!(gate.pass(), GO);
    }

    #[test]
    fn who_is_to_leave_begins_nothing_more() {
        let (gate, _) = gate();
        assert!(!gate.leave(), "nothing is in hand");
        gate.begin();
        gate.lease(2_000);
        assert_eq!(gate.pass(), STOP);
        assert!(gate.leave() && gate.end());
    }

    #[test]
    fn a_lease_can_be_taken_back() {
        let (gate, _) = gate();
        gate.begin();
        gate.lease(2_000);
        assert_eq!(gate.pass(), GO);
        gate.lease(0);
        let passed = passing(&gate);
        assert!(passed.try_recv().is_err());
        gate.lease(2_000);
        assert_eq!(passed.recv().unwrap(), GO);
    }
}
