//! The coordinator's disk: what is committed, and nothing else, is there after a crash.

use plusminus_coordinator::{Store, StoreError};
use plusminus_core::id::{JobId, SweepName};
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::scheduler::Record;
use std::collections::BTreeMap;
use tempfile::TempDir;

pub(crate) enum Disk {
    /// The records as they are.
    Log(Vec<Record>),
    /// The store that coordinators have.
    Store(TempDir, Option<Box<Store>>),
}

impl Disk {
    pub fn log() -> Self {
        Disk::Log(Vec::new())
    }

    /// A store in a temporary directory.
    pub fn store() -> Result<Self, StoreError> {
        let unusable = |error| StoreError::Unusable { path: std::env::temp_dir(), error };
        // In memory, where there is such a place: what is simulated here is a crash of the process, not of the machine.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).map_err(unusable)?;
        let store = Store::open(directory.path())?;
        Ok(Disk::Store(directory, Some(Box::new(store))))
    }

    pub fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        match self {
            Disk::Log(log) => log.extend_from_slice(records),
            Disk::Store(_, store) => store.as_mut().map_or(Ok(()), |store| store.commit(records))?,
        }
        Ok(())
    }

    /// What a coordinator finds that is started again.
    pub fn records(&mut self) -> Result<Vec<Record>, StoreError> {
        match self {
            Disk::Log(log) => Ok(log.clone()),
            Disk::Store(directory, store) => {
                *store = None;
                let store = store.insert(Box::new(Store::open(directory.path())?));
                store.records()
            }
        }
    }

    /// The test accuracies at a selection, where there is a store to ask.
    pub fn table(&self, sweep: &SweepName, at: EpochSelection) -> Result<Option<BTreeMap<JobId, f64>>, StoreError> {
        match self {
            Disk::Log(_) | Disk::Store(_, None) => Ok(None),
            Disk::Store(_, Some(store)) => store.reader()?.values(sweep, Metric::TestAccuracy, at).map(Some),
        }
    }
}
