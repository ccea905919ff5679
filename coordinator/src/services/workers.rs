//! The stream of a worker.

use super::status::{invalid, stopping};
use crate::driver::{Handle, Request};
use plusminus_core::id::WorkerName;
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::schedule::{Ending, News, Report, Session};
use plusminus_proto::convert::{Invalid, attempts, required_attempt};
use plusminus_proto::v1::{self, from_worker, worker_service_server::WorkerService};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};
use tracing::{info, warn};

/// Messages that may wait for a worker before it is cut off.
const OUTBOX: usize = 4096;
/// How long a worker may take to introduce itself.
const HELLO: Duration = Duration::from_secs(10);

pub(crate) struct Workers {
    handle: Handle,
    sessions: AtomicU64,
}

impl Workers {
    pub fn new(handle: Handle) -> Self {
        Workers { handle, sessions: AtomicU64::new(0) }
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type SessionStream = ReceiverStream<Result<v1::ToWorker, Status>>;

    async fn session(
        &self,
        request: tonic::Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = tokio::time::timeout(HELLO, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("expected a Hello first"))??;
        let Some(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) }) = hello else {
            return Err(Status::invalid_argument("expected a Hello first"));
        };
        let session = Session(self.sessions.fetch_add(1, Ordering::Relaxed));
        let (outbox, outbound) = mpsc::channel(OUTBOX);
        let worker = WorkerName(hello.worker);
        if hello.version != env!("CARGO_PKG_VERSION") {
            warn!(%worker, theirs = hello.version, ours = env!("CARGO_PKG_VERSION"), "another version of plusminus");
        }
        let slots = hello.devices.iter().map(|device| device.slots).sum();
        let holds = attempts(&hello.holds).map_err(invalid)?;
        let join = Request::Join { session, worker: worker.clone(), instance: hello.instance, slots, holds, outbox };
        self.handle.send(join).await.map_err(stopping)?;
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let ended = listen(&handle, session, inbound).await;
            info!(%worker, reason = %ended.err().map_or_else(|| "it left".to_owned(), |e| e.message().to_owned()), "a worker is gone");
            let _ = handle.send(Request::Leave(session)).await;
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// A report, or, where it says what cannot be, the end of its attempt: the worker would send it for ever.
fn understood(report: v1::Report) -> Result<Report, Invalid> {
    let (sequence, of) = (report.sequence, required_attempt(report.of.as_ref()));
    Report::try_from(report).or_else(|error| {
        let (job, attempt) = of?;
        let message = format!("the worker's report is not understood: {error}; is it of the same version?");
        let failure = Failure::new(FailureKind::Infrastructure, message);
        Ok(Report { sequence, job, attempt, news: News::Ended(Ending::Failed(failure)) })
    })
}

/// Passes on what a worker says until it says no more.
async fn listen(handle: &Handle, session: Session, mut inbound: Streaming<v1::FromWorker>) -> Result<(), Status> {
    while let Some(message) = inbound.message().await? {
        let request = match message.message {
            Some(from_worker::Message::Heartbeat(heartbeat)) => {
                Request::Heartbeat(session, attempts(&heartbeat.holds).map_err(invalid)?)
            }
            Some(from_worker::Message::Report(report)) => {
                Request::Report(session, understood(report).map_err(invalid)?)
            }
            Some(from_worker::Message::Progress(v1::ProgressReport { of, progress: Some(progress) })) => {
                let (job, attempt) = required_attempt(of.as_ref()).map_err(invalid)?;
                Request::Progress(job, attempt, progress)
            }
            Some(from_worker::Message::Draining(_)) => Request::Drain(session),
            // A second Hello, or a message of a later version.
            Some(from_worker::Message::Hello(_) | from_worker::Message::Progress(_)) | None => continue,
        };
        handle.send(request).await.map_err(stopping)?;
    }
    Ok(())
}
