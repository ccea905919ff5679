//! Answers queries about a state directory on which no coordinator runs.

use super::error::AnswerError;
use super::explain::Explanation;
use super::jobs::{JobsQuery, SLICE, slice};
use super::labels::Labels;
use super::results::{RequestedJobs, SweepJobs};
use super::status::{Cursor, Sweeps, find_sweep, source, status_part};
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
        let sweeps = Sweeps::of(&self.scheduler, sweep)?;
        let (mut whole, mut next) = (v1::StatusResponse::default(), Some(Cursor::default()));
        while let Some(at) = next {
            let part;
            (part, next) = status_part(&self.scheduler, &LiveProgress::default(), WallTime(0), &sweeps, at);
            whole.extend(part);
        }
        Ok(whole)
    }

    /// The jobs of a sweep that match, in parts.
    ///
    /// # Errors
    /// If the sweep, a state, a setting or a value does not exist, or the store cannot be read.
    pub fn jobs(
        &self,
        request: v1::JobsRequest,
        mut show: impl FnMut(v1::JobsPart) -> bool,
    ) -> Result<(), AnswerError> {
        let sweep = find_sweep(&self.scheduler, &request.sweep)?;
        let labels = Labels::of(&sweep.source, &sweep.name).unwrap_or_default();
        let mut query = JobsQuery::new(request)?;
        let mut from = 0;
        loop {
            let slice = slice(&self.scheduler, &LiveProgress::default(), &sweep, from)?;
            from += SLICE;
            let whole = slice.len() < SLICE;
            for part in query.select(slice, &labels, &self.reader)? {
                if !show(part) {
                    return Ok(());
                }
            }
            if whole {
                return query.finish();
            }
        }
    }

    /// The text of the sweep file that was submitted as `sweep`.
    ///
    /// # Errors
    /// If the sweep does not exist.
    pub fn source(&self, sweep: &str) -> Result<String, AnswerError> {
        source(&self.scheduler, sweep)
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
        Ok(SweepJobs::of(&self.scheduler, asked)?.results(&self.reader)?.collect())
    }
}
