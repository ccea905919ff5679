//! The parts of the scheduler while it handles one event.

use super::connections::Connections;
use super::event::Effect;
use super::fleet::Fleet;
use super::leases::Leases;
use super::policy::Policy;
use super::record::Record;
use super::state::State;
use super::time::WallTime;

/// Borrows the scheduler's parts and collects the effects of one event.
pub(super) struct Step<'s> {
    pub now: WallTime,
    pub policy: &'s Policy,
    pub state: &'s mut State,
    pub connections: &'s mut Connections,
    pub leases: &'s mut Leases,
    pub fleet: &'s mut Fleet,
    pub effects: Vec<Effect>,
}

impl Step<'_> {
    /// Applies a record to the state and asks the driver to commit it.
    pub fn record(&mut self, record: Record) {
        self.state.apply(&record);
        self.effects.push(Effect::Record(record));
    }
}
