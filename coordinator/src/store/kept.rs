//! The weights files that results refer to.

use super::error::StoreError;
use super::read::Reader;
use plusminus_core::id::Digest;
use plusminus_core::metric::EpochSelection;
use std::collections::{BTreeMap, BTreeSet};

impl Reader {
    /// The weights files that finished jobs saved.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn kept_weights(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let kept = || -> rusqlite::Result<_> {
            let mut statement = self.connection.prepare("SELECT kept FROM job_states WHERE kept IS NOT NULL")?;
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = kept().map_err(|error| StoreError::from_sqlite(self.path.clone(), error))?;
        let mut digests = BTreeSet::new();
        for row in rows {
            let files = serde_json::from_str::<BTreeMap<EpochSelection, Digest>>(&row);
            let damaged =
                |error: serde_json::Error| StoreError::Corrupt { path: self.path.clone(), problem: error.to_string() };
            digests.extend(files.map_err(damaged)?.into_values());
        }
        Ok(digests)
    }
}
