//! Answers to users' questions, each in parts of bounded size that are made as the client reads them.

use super::labels::LabelCache;
use super::pool::Pool;
use super::status::{answer as answer_error, request_error};
use super::streams::{self, Gone, Parts, send};
use crate::answer::explain::Explanation;
use crate::answer::{self, AnswerError, Cursor, JobsQuery, RequestedJobs, SLICE, SweepJobs};
use crate::driver::DriverHandle;
use crate::progress::LiveProgress;
use crate::store::Reader;
use plusminus_core::scheduler::{Scheduler, SweepView, WallTime};
use plusminus_proto::v1;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::Status;

/// Answers from the driver's scheduler and from the store.
#[derive(Clone)]
pub(super) struct Queries {
    driver: DriverHandle,
    reader: Arc<Mutex<Reader>>,
    labels: LabelCache,
    max_jobs: u64,
    /// Reads of the store, and of sweep files for tables.
    reads: Pool,
}

impl Queries {
    pub fn new(driver: DriverHandle, reader: Reader, labels: LabelCache, max_jobs: u64, reads: Pool) -> Self {
        Queries { driver, reader: Arc::new(Mutex::new(reader)), labels, max_jobs, reads }
    }

    /// Asks the scheduler.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Scheduler, &LiveProgress, WallTime) -> Result<T, AnswerError> + Send + 'static,
    ) -> Result<T, Status> {
        self.driver.query(question).await.map_err(request_error)?.map_err(answer_error)
    }

    /// Asks the store.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, AnswerError> + Send + 'static,
    ) -> Result<T, Status> {
        let reader = Arc::clone(&self.reader);
        let read = move || question(&reader.lock().unwrap_or_else(PoisonError::into_inner));
        self.reads.run(read).await?.map_err(answer_error)
    }

    async fn sweep(&self, name: String) -> Result<SweepView, Status> {
        self.ask(move |scheduler, _, _| answer::find_sweep(scheduler, &name)).await
    }

    pub async fn explain(&self, request: v1::ExplainRequest) -> Result<v1::ExplainResponse, Status> {
        let job = request.job;
        let explained =
            self.ask(move |scheduler, progress, now| Explanation::of(scheduler, progress, now, &job)).await?;
        self.read(move |reader| explained.with_attempts(reader)).await
    }

    pub async fn status(&self, request: v1::StatusRequest) -> Result<v1::StatusResponse, Status> {
        let name = request.sweep;
        let mut status =
            self.ask(move |scheduler, progress, now| answer::status(scheduler, progress, now, &name)).await?;
        self.label(&mut status).await;
        Ok(status)
    }

    pub async fn status_in_parts(&self, request: v1::StatusRequest) -> Result<Parts<v1::StatusResponse>, Status> {
        let name = request.sweep;
        let sweeps = self.ask(move |scheduler, _, _| answer::Sweeps::of(scheduler, &name)).await?;
        let (queries, sweeps) = (self.clone(), Arc::new(sweeps));
        Ok(streams::made_by(|sender| async move {
            let mut next = Some(Cursor::default());
            while let Some(at) = next {
                let sweeps = Arc::clone(&sweeps);
                let asked = queries
                    .ask(move |scheduler, progress, now| Ok(answer::status_part(scheduler, progress, now, &sweeps, at)))
                    .await;
                let mut part = match asked {
                    Ok((part, then)) => {
                        next = then;
                        part
                    }
                    Err(status) => return Ok(Err(status)),
                };
                queries.label(&mut part).await;
                send(&sender, part).await?;
            }
            Ok(Ok(()))
        }))
    }

    /// Labels the running jobs of a status.
    async fn label(&self, status: &mut v1::StatusResponse) {
        for sweep in status.sweeps.iter_mut().filter(|sweep| !sweep.running_jobs.is_empty()) {
            // The sweep may have been removed since.
            if let Ok(view) = self.sweep(sweep.sweep.clone()).await {
                self.labels.label(&view, std::slice::from_mut(sweep)).await;
            }
        }
    }

    pub async fn results(&self, request: v1::ResultsRequest) -> Result<Parts<v1::ResultsChunk>, Status> {
        if request.only_source {
            let source = self.sweep(request.sweep).await?.source.to_string();
            return Ok(streams::of(std::iter::once(Ok(v1::ResultsChunk { source, jobs: Vec::new() }))));
        }
        let max_jobs = self.max_jobs;
        let asked = self.reads.run(move || RequestedJobs::new(request, max_jobs)).await?.map_err(answer_error)?;
        let jobs = self.ask(move |scheduler, _, _| SweepJobs::of(scheduler, asked)).await?;
        let chunks = self.read(move |reader| jobs.results(reader)).await?;
        Ok(streams::of(chunks.map(Ok)))
    }

    pub async fn jobs(&self, request: v1::JobsRequest) -> Result<Parts<v1::JobsPart>, Status> {
        let sweep = self.sweep(request.sweep.clone()).await?;
        let query = JobsQuery::new(request).map_err(answer_error)?;
        let queries = self.clone();
        Ok(streams::made_by(|sender| async move { queries.send_jobs(sweep, query, sender).await }))
    }

    async fn send_jobs(
        self,
        sweep: SweepView,
        mut query: JobsQuery,
        sender: streams::Sender<v1::JobsPart>,
    ) -> Result<Result<(), Status>, Gone> {
        let labels = self.labels.of(&sweep).await;
        let mut from = 0;
        loop {
            let (asked, labels) = (sweep.clone(), Arc::clone(&labels));
            let slice = self.ask(move |scheduler, progress, _| answer::slice(scheduler, progress, &asked, from)).await;
            let slice = match slice {
                Ok(slice) => slice,
                Err(status) => return Ok(Err(status)),
            };
            from += SLICE;
            let whole = slice.len() < SLICE;
            let selected = self
                .read(move |reader| {
                    let parts = query.select(slice, &labels, reader)?;
                    Ok((query, parts))
                })
                .await;
            let parts;
            (query, parts) = match selected {
                Ok(selected) => selected,
                Err(status) => return Ok(Err(status)),
            };
            for part in parts {
                send(&sender, part).await?;
            }
            if whole {
                return Ok(query.finish().map_err(answer_error));
            }
        }
    }
}
