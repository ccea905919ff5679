//! Access to sweeps and results: through a running coordinator, or from the store of a state directory.

use crate::arguments::TargetArgs;
use crate::error::CliError;
use plusminus_coordinator::address;
use plusminus_coordinator::answer::AtRest;
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::report::JobResult;
use plusminus_proto::STALLED;
use plusminus_proto::endpoint::{endpoint, root_cause};
use plusminus_proto::v1::{self, sweep_service_client::SweepServiceClient};
use prost::Message;
use std::error::Error;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// A running coordinator, or the store of a state directory at rest.
pub enum Client {
    /// The coordinator answers queries.
    Live(LiveClient),
    /// Queries read the store.
    AtRest(Box<AtRest>),
}

/// A connection to a running coordinator.
pub struct LiveClient {
    sweeps: SweepServiceClient<Channel>,
    url: String,
}

impl LiveClient {
    /// Connects to the coordinator at `url`.
    ///
    /// # Errors
    /// If no coordinator answers there.
    pub async fn connect(url: &str) -> Result<LiveClient, CliError> {
        let channel = endpoint(url)?.connect().await;
        let channel =
            channel.map_err(|error| CliError::Unreachable { url: url.to_owned(), problem: root_cause(&error) })?;
        // A table of a million jobs comes in chunks; none is large.
        Ok(LiveClient { sweeps: SweepServiceClient::new(channel), url: url.to_owned() })
    }

    /// Connects to the coordinator at the target's URL, or to the one that runs on its state directory.
    ///
    /// # Errors
    /// If none runs.
    pub async fn open(target: &TargetArgs) -> Result<LiveClient, CliError> {
        let running = LiveClient::running(target).await?;
        running.ok_or_else(|| CliError::NotRunning(target.state.display().to_string()))
    }

    /// Connects as [`LiveClient::open`], or returns `None` if no coordinator runs on the state directory.
    ///
    /// # Errors
    /// If no coordinator answers at the target's URL.
    pub async fn running(target: &TargetArgs) -> Result<Option<LiveClient>, CliError> {
        if let Some(url) = &target.coordinator {
            return LiveClient::connect(url).await.map(Some);
        }
        match address::read(&target.state)? {
            Some(url) => Ok(LiveClient::connect(&url).await.ok()),
            None => Ok(None),
        }
    }

    /// Submits the sweep `sweep` of a sweep file, whose text is `source`.
    ///
    /// # Errors
    /// If the coordinator refuses it.
    pub async fn submit(&mut self, source: &str, sweep: &str) -> Result<v1::SubmitResponse, CliError> {
        let request = v1::SubmitRequest { source: source.to_owned(), sweep: sweep.to_owned() };
        Ok(self.sweeps.submit(request).await.map_err(|status| self.refused(status, Some(source)))?.into_inner())
    }

    /// Returns the text of the sweep file that was submitted under the name.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn source(&mut self, sweep: &str) -> Result<String, CliError> {
        let request =
            v1::ResultsRequest { sweep: sweep.to_owned(), only_source: true, ..v1::ResultsRequest::default() };
        Ok(self.results(request).await?.into_iter().map(|chunk| chunk.source).collect())
    }

    /// Drops the unfinished jobs of a sweep.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn cancel(&mut self, sweep: &str) -> Result<v1::CancelResponse, CliError> {
        let request = v1::CancelRequest { sweep: sweep.to_owned() };
        Ok(self.sweeps.cancel(request).await.map_err(|status| self.refused(status, None))?.into_inner())
    }

    /// Queues jobs of a sweep again.
    ///
    /// # Errors
    /// If there is no such sweep or job.
    pub async fn resume(&mut self, request: v1::ResumeRequest) -> Result<v1::ResumeResponse, CliError> {
        Ok(self.sweeps.resume(request).await.map_err(|status| self.refused(status, None))?.into_inner())
    }

    /// Ends the quarantine of a worker.
    ///
    /// # Errors
    /// If no worker of that name is known.
    pub async fn reinstate(&mut self, worker: &str) -> Result<v1::ReinstateResponse, CliError> {
        let request = v1::ReinstateRequest { worker: worker.to_owned() };
        Ok(self.sweeps.reinstate(request).await.map_err(|status| self.refused(status, None))?.into_inner())
    }

    /// Streams a sweep's status until its last job has ended.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn watch(&mut self, sweep: &str) -> Result<Streaming<v1::WatchUpdate>, CliError> {
        let request = v1::WatchRequest { sweep: sweep.to_owned() };
        Ok(self.sweeps.watch(request).await.map_err(|status| self.refused(status, None))?.into_inner())
    }

    /// Converts a status of the coordinator into an error. `source` is the submitted file, which the status may list problems of.
    pub fn refused(&self, status: Status, source: Option<&str>) -> CliError {
        if let Some(source) = source
            && status.code() == Code::InvalidArgument
            && let Ok(details) = v1::Problems::decode(status.details())
            && !details.problems.is_empty()
        {
            let problems = details.problems.into_iter().map(Into::into).collect();
            return CliError::Problems { file: "as submitted".to_owned(), source_text: source.to_owned(), problems };
        }
        let message = status.message().to_owned();
        if status.metadata().contains_key(STALLED) {
            return CliError::Stalled(message);
        }
        // A broken connection has many codes, and a cause; an answer of the coordinator has none.
        if status.source().is_some() {
            return CliError::Unreachable { url: self.url.clone(), problem: message };
        }
        let url = self.url.clone();
        match status.code() {
            Code::NotFound | Code::InvalidArgument => CliError::NotFound(message),
            Code::FailedPrecondition | Code::Internal => CliError::Coordinator(message),
            Code::Unavailable => CliError::Unavailable { url, problem: message },
            Code::Unimplemented => CliError::OtherVersion(url),
            code => CliError::Answered { url, code: format!("{code:?}"), problem: message },
        }
    }

    async fn explain(&mut self, job: &str) -> Result<v1::ExplainResponse, CliError> {
        let request = v1::ExplainRequest { job: job.to_owned() };
        let stream = self.sweeps.explain_in_parts(request).await.map_err(|status| self.refused(status, None))?;
        let mut parts = stream.into_inner();
        let mut whole: Option<v1::ExplainResponse> = None;
        while let Some(part) = parts.message().await.map_err(|status| self.refused(status, None))? {
            match &mut whole {
                Some(whole) => whole.extend(part),
                None => whole = Some(part),
            }
        }
        whole.ok_or_else(|| CliError::Coordinator("it sent no explanation".to_owned()))
    }

    async fn status(&mut self, sweep: &str) -> Result<v1::StatusResponse, CliError> {
        let request = v1::StatusRequest { sweep: sweep.to_owned() };
        let stream = self.sweeps.status_in_parts(request).await.map_err(|status| self.refused(status, None))?;
        let (mut parts, mut whole) = (stream.into_inner(), v1::StatusResponse::default());
        while let Some(part) = parts.message().await.map_err(|status| self.refused(status, None))? {
            whole.extend(part);
        }
        Ok(whole)
    }

    async fn jobs(&mut self, request: v1::JobsRequest) -> Result<Streaming<v1::JobsPart>, CliError> {
        Ok(self.sweeps.jobs(request).await.map_err(|status| self.refused(status, None))?.into_inner())
    }

    async fn results(&mut self, request: v1::ResultsRequest) -> Result<Vec<v1::ResultsChunk>, CliError> {
        let stream = self.sweeps.results(request).await.map_err(|status| self.refused(status, None))?;
        let mut stream = stream.into_inner();
        let mut chunks = Vec::new();
        while let Some(chunk) = stream.message().await.map_err(|status| self.refused(status, None))? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}

/// The jobs of a sweep, each with its value of one metric.
pub struct Results {
    /// The text of the sweep file as submitted.
    pub source: String,
    /// The jobs, in the order of the sweep.
    pub jobs: Vec<JobResult>,
}

impl Client {
    /// Connects to the target's coordinator. If none runs on the state directory, opens its store.
    ///
    /// # Errors
    /// If no coordinator answers at the URL, or there is no store.
    pub async fn open(target: &TargetArgs) -> Result<Client, CliError> {
        match LiveClient::running(target).await? {
            Some(client) => Ok(Client::Live(client)),
            None => Ok(Client::AtRest(Box::new(AtRest::open(&target.state)?))),
        }
    }

    /// Returns the status of a sweep, or of all sweeps if the name is empty, and the connected workers.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn status(&mut self, sweep: &str) -> Result<v1::StatusResponse, CliError> {
        match self {
            Client::Live(client) => client.status(sweep).await,
            Client::AtRest(store) => Ok(store.status(sweep)?),
        }
    }

    /// Returns a job's state, its reason and its attempts. `job` is an id or a prefix of one.
    ///
    /// # Errors
    /// If the prefix matches no job, or several.
    pub async fn explain(&mut self, job: &str) -> Result<v1::ExplainResponse, CliError> {
        match self {
            Client::Live(client) => client.explain(job).await,
            Client::AtRest(store) => Ok(store.explain(job)?),
        }
    }

    /// Sends the jobs of a sweep that match, in parts, until all are sent or the receiver is gone.
    ///
    /// # Errors
    /// If there is no such sweep, state, setting or value.
    pub async fn jobs(self, request: v1::JobsRequest, parts: mpsc::Sender<v1::JobsPart>) -> Result<(), CliError> {
        match self {
            Client::Live(mut client) => {
                let mut stream = client.jobs(request).await?;
                while let Some(part) = stream.message().await.map_err(|status| client.refused(status, None))? {
                    if parts.send(part).await.is_err() {
                        break;
                    }
                }
                Ok(())
            }
            Client::AtRest(store) => {
                let list = move || store.jobs(request, |part| parts.blocking_send(part).is_ok());
                let listed = tokio::task::spawn_blocking(list).await;
                Ok(listed.map_err(|error| CliError::Coordinator(error.to_string()))??)
            }
        }
    }

    /// Returns a sweep's jobs with their values. `metric` and `at` default to those of the submitted file. `file` is the text of a sweep
    /// file, whose jobs are looked up whether the submitted sweep lists them or not; or it is empty.
    ///
    /// # Errors
    /// If there is no such sweep, and no job of the file.
    pub async fn results(
        &mut self,
        sweep: &str,
        file: &str,
        metric: Option<Metric>,
        at: Option<EpochSelection>,
    ) -> Result<Results, CliError> {
        let request = v1::ResultsRequest {
            sweep: sweep.to_owned(),
            metric: metric.map_or_else(String::new, |metric| metric.name().to_owned()),
            at: at.map_or_else(String::new, |at| at.to_string()),
            source: file.to_owned(),
            only_source: false,
        };
        let chunks = match self {
            Client::Live(client) => client.results(request).await?,
            Client::AtRest(store) => store.results(request)?,
        };
        let mut results = Results { source: String::new(), jobs: Vec::new() };
        for chunk in chunks {
            results.source.push_str(&chunk.source);
            for job in chunk.jobs {
                let job = JobResult::try_from(job).map_err(|error| CliError::Coordinator(error.to_string()))?;
                results.jobs.push(job);
            }
        }
        Ok(results)
    }
}
