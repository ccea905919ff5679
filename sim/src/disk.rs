//! The coordinator's disk. Exactly the committed records survive a crash.

use plusminus_coordinator::{Store, StoreError};
use plusminus_core::id::{JobId, SweepName};
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::scheduler::Record;
use std::collections::BTreeMap;
use tempfile::TempDir;

pub(crate) enum Disk {
    /// Records in memory.
    Log(Vec<Record>),
    /// The real store.
    Store(TempDir, Option<Box<Store>>),
}

impl Disk {
    pub fn log() -> Self {
        Disk::Log(Vec::new())
    }

    /// A store in a temporary directory.
    pub fn store() -> Result<Self, StoreError> {
        let unusable = |error| StoreError::Unusable { path: std::env::temp_dir(), error };
        // In memory if possible: the simulated crashes are those of a process, not of a host.
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

    /// The committed records, read as by a restarted coordinator.
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

    /// The test accuracy of each job at an epoch selection. `None` without a real store.
    pub fn table(&self, sweep: &SweepName, at: EpochSelection) -> Result<Option<BTreeMap<JobId, f64>>, StoreError> {
        match self {
            Disk::Log(_) | Disk::Store(_, None) => Ok(None),
            Disk::Store(_, Some(store)) => store.reader()?.values(sweep, Metric::TestAccuracy, at).map(Some),
        }
    }
}
