//! Which coordinator or state directory a command speaks to, and what it may ask there.

use crate::arguments::Whose;
use crate::exit::CliError;
use plusminus_coordinator::address;
use plusminus_coordinator::answer::AtRest;
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::report::JobResult;
use plusminus_core::sweep_file::{self, Sweep, Sweeps};
use plusminus_proto::STALLED;
use plusminus_proto::endpoint::{endpoint, root_cause};
use plusminus_proto::v1::{self, sweep_service_client::SweepServiceClient};
use prost::Message;
use std::fs;
use std::path::Path;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// A sweep that a user names: by its file, or as submitted before.
pub enum Named {
    /// A file, read and checked.
    File(Box<SweepFile>),
    /// A name.
    Name(String),
}

/// A sweep file that has been checked.
pub struct SweepFile {
    /// Its text.
    pub text: String,
    /// What it says, or what the profile makes of it that was asked for.
    pub sweep: Sweep,
}

impl Named {
    /// What looks like a file or is one is read; anything else is a name. With a profile it is that of the file or name.
    ///
    /// # Errors
    /// If it is a file that cannot be read, has problems, or has no such profile.
    pub fn new(argument: &str, profile: Option<&str>) -> Result<Named, CliError> {
        let path = Path::new(argument);
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml || argument.contains(std::path::MAIN_SEPARATOR) || path.is_file() {
            return Ok(Named::File(Box::new(SweepFile::read(path, profile)?)));
        }
        Ok(Named::Name(profile.map_or_else(|| argument.to_owned(), |profile| format!("{argument}-{profile}"))))
    }

    /// The sweep's name.
    pub fn name(&self) -> &str {
        match self {
            Named::File(file) => file.sweep.name.as_str(),
            Named::Name(name) => name,
        }
    }
}

impl SweepFile {
    /// Reads and checks a sweep file.
    ///
    /// # Errors
    /// If it cannot be read, has problems, or has no such profile.
    pub fn read(path: &Path, profile: Option<&str>) -> Result<SweepFile, CliError> {
        let (text, sweeps) = SweepFile::read_all(path)?;
        let sweep = sweeps.of_profile(profile).map_err(|known| {
            let profile = profile.unwrap_or_default().to_owned();
            CliError::UnknownProfile { file: path.display().to_string(), profile, known }
        })?;
        Ok(SweepFile { text, sweep })
    }

    /// The text of a sweep file, and all sweeps in it.
    ///
    /// # Errors
    /// If it cannot be read or has problems.
    pub fn read_all(path: &Path) -> Result<(String, Sweeps), CliError> {
        let bytes = fs::read(path).map_err(|error| CliError::Unreadable { path: path.to_owned(), error })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error());
            CliError::Unreadable { path: path.to_owned(), error }
        })?;
        match sweep_file::read_all(&text, sweep_file::MAX_JOBS) {
            Ok(sweeps) => Ok((text, sweeps)),
            Err(problems) => Err(CliError::Problems { file: path.display().to_string(), source_text: text, problems }),
        }
    }
}

/// A running coordinator, or a state directory without one.
pub enum Client {
    /// Somebody answers.
    Live(LiveClient),
    /// The store is read.
    AtRest(Box<AtRest>),
}

/// A running coordinator.
pub struct LiveClient {
    sweeps: SweepServiceClient<Channel>,
    url: String,
}

impl LiveClient {
    /// Connects to the coordinator at `url`.
    ///
    /// # Errors
    /// If nobody answers there.
    pub async fn connect(url: &str) -> Result<LiveClient, CliError> {
        let channel = endpoint(url)?.connect().await;
        let channel =
            channel.map_err(|error| CliError::Unreachable { url: url.to_owned(), problem: root_cause(&error) })?;
        // A table of a million jobs comes in chunks; none is large.
        Ok(LiveClient { sweeps: SweepServiceClient::new(channel), url: url.to_owned() })
    }

    /// The coordinator of `whose`, which must be running.
    ///
    /// # Errors
    /// If it is not.
    pub async fn of(whose: &Whose) -> Result<LiveClient, CliError> {
        let running = LiveClient::running(whose).await?;
        running.ok_or_else(|| CliError::NotRunning(whose.state.display().to_string()))
    }

    /// The coordinator of `whose`, if one runs on the state directory; at a URL there must be one.
    async fn running(whose: &Whose) -> Result<Option<LiveClient>, CliError> {
        if let Some(url) = &whose.coordinator {
            return LiveClient::connect(url).await.map(Some);
        }
        match address::read(&whose.state)? {
            Some(url) => Ok(LiveClient::connect(&url).await.ok()),
            None => Ok(None),
        }
    }

    /// Submits the sweep of that name in a sweep file.
    ///
    /// # Errors
    /// If the coordinator refuses it.
    pub async fn submit(&mut self, source: &str, sweep: &str) -> Result<v1::SubmitResponse, CliError> {
        let request = v1::SubmitRequest { source: source.to_owned(), sweep: sweep.to_owned() };
        Ok(self.sweeps.submit(request).await.map_err(|status| self.refused(status, Some(source)))?.into_inner())
    }

    /// The sweep file that was submitted under the name.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn source(&mut self, sweep: &str) -> Result<String, CliError> {
        let request = v1::ResultsRequest { sweep: sweep.to_owned(), ..v1::ResultsRequest::default() };
        Ok(self.results(request).await?.into_iter().map(|chunk| chunk.source).collect())
    }

    /// Cancels a sweep.
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

    /// A sweep's status again and again, until it has settled.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn watch(&mut self, sweep: &str) -> Result<Streaming<v1::WatchUpdate>, CliError> {
        let request = v1::WatchRequest { sweep: sweep.to_owned() };
        Ok(self.sweeps.watch(request).await.map_err(|status| self.refused(status, None))?.into_inner())
    }

    /// A refusal as an error of the command line; the problems of a sweep file come back with it.
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
        match status.code() {
            Code::NotFound | Code::InvalidArgument => CliError::NotFound(message),
            Code::FailedPrecondition | Code::Internal => CliError::Coordinator(message),
            // The connection broke, in one of the many ways in which one can.
            _ => CliError::Unreachable { url: self.url.clone(), problem: message },
        }
    }

    async fn explain(&mut self, job: &str) -> Result<v1::ExplainResponse, CliError> {
        let request = v1::ExplainRequest { job: job.to_owned() };
        Ok(self.sweeps.explain(request).await.map_err(|status| self.refused(status, None))?.into_inner())
    }

    async fn status(&mut self, sweep: &str) -> Result<v1::StatusResponse, CliError> {
        let request = v1::StatusRequest { sweep: sweep.to_owned() };
        Ok(self.sweeps.status(request).await.map_err(|status| self.refused(status, None))?.into_inner())
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

/// A sweep's jobs with one metric.
pub struct Results {
    /// The sweep file as submitted.
    pub source: String,
    /// Its jobs.
    pub jobs: Vec<JobResult>,
}

impl Client {
    /// The coordinator that `whose` names; without a URL, the one that runs on the state directory, or else its store.
    ///
    /// # Errors
    /// If nobody answers at the URL, or there is no store.
    pub async fn of(whose: &Whose) -> Result<Client, CliError> {
        match LiveClient::running(whose).await? {
            Some(client) => Ok(Client::Live(client)),
            None => Ok(Client::AtRest(Box::new(AtRest::open(&whose.state)?))),
        }
    }

    /// Where a sweep stands, or all (empty name), and the workers.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn status(&mut self, sweep: &str) -> Result<v1::StatusResponse, CliError> {
        match self {
            Client::Live(client) => client.status(sweep).await,
            Client::AtRest(store) => Ok(store.status(sweep)?),
        }
    }

    /// Why a job is where it is.
    ///
    /// # Errors
    /// If there is no such job, or more than one whose id begins so.
    pub async fn explain(&mut self, job: &str) -> Result<v1::ExplainResponse, CliError> {
        match self {
            Client::Live(client) => client.explain(job).await,
            Client::AtRest(store) => Ok(store.explain(job)?),
        }
    }

    /// A sweep's jobs, with the metric at the selection that is asked for, or those of the submitted file.
    ///
    /// # Errors
    /// If there is no such sweep.
    pub async fn results(
        &mut self,
        sweep: &str,
        metric: Option<Metric>,
        at: Option<EpochSelection>,
    ) -> Result<Results, CliError> {
        let request = v1::ResultsRequest {
            sweep: sweep.to_owned(),
            metric: metric.map_or_else(String::new, |metric| metric.name().to_owned()),
            at: at.map_or_else(String::new, |at| at.to_string()),
        };
        let chunks = match self {
            Client::Live(client) => client.results(request).await?,
            Client::AtRest(store) => store.results(&request)?,
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
