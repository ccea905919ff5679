//! Answers queries about a state directory on which no coordinator runs.

use super::error::AnswerError;
use super::explain::Explanation;
use super::results::{RequestedJobs, SweepJobs};
use super::status::status;
use crate::progress::LiveProgress;
use crate::store::{Reader, StoreError};
use plusminus_core::scheduler::{Policy, Scheduler, WallTime};
use plusminus_core::sweep_file::MAX_JOBS;
use plusminus_proto::v1;
use std::path::Path;

/// A state directory on which no coordinator runs.
pub struct AtRest {
    scheduler: Scheduler,
    reader: Reader,
}

impl AtRest {
    /// Reads the store in `directory`.
    ///
    /// # Errors
    /// If there is no store, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let reader = Reader::open(directory)?;
        let scheduler = Scheduler::restart(Policy::default(), reader.records()?, WallTime(0));
        Ok(AtRest { scheduler, reader })
    }

    /// The status of one sweep, or of all sweeps if the name is empty.
    ///
    /// # Errors
    /// If the sweep does not exist.
    pub fn status(&self, sweep: &str) -> Result<v1::StatusResponse, AnswerError> {
        status(&self.scheduler, &LiveProgress::default(), WallTime(0), sweep)
    }

    /// Explains the state of the job whose id starts with `job`.
    ///
    /// # Errors
    /// If there is no such job or more than one, or the store cannot be read.
    pub fn explain(&self, job: &str) -> Result<v1::ExplainResponse, AnswerError> {
        let explanation = Explanation::of(&self.scheduler, &LiveProgress::default(), WallTime(0), job)?;
        explanation.with_attempts(&self.reader)
    }

    /// The jobs of a sweep with one metric.
    ///
    /// # Errors
    /// If neither the sweep nor a job of the sweep file exists, or the store cannot be read.
    pub fn results(&self, request: v1::ResultsRequest) -> Result<Vec<v1::ResultsChunk>, AnswerError> {
        let asked = RequestedJobs::new(request, MAX_JOBS)?;
        SweepJobs::of(&self.scheduler, asked)?.results(&self.reader)
    }
}
