//! A coordinator with real connections, and a worker played by the test.

#![allow(dead_code, reason = "each test file uses a part")]

use plusminus_coordinator::Coordinator;
use plusminus_coordinator::server::limits::Limits;
use plusminus_core::scheduler::Policy;
use plusminus_proto::v1::sweep_service_client::SweepServiceClient;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker, report::Body, to_worker};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

pub const SWEEP: &str = "\
sweep: small
seeds: 2
base: {dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: adam, epochs: 1, validation: 0.1}
grid:
  noise: [none, {kind: uniform, rate: 0.4}]
";

/// A running coordinator.
pub struct Served {
    pub address: SocketAddr,
    pub channel: Channel,
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl Served {
    pub async fn on(state: &Path, policy: Policy) -> Self {
        Served::within(state, policy, Limits::default()).await
    }

    pub async fn within(state: &Path, policy: Policy, limits: Limits) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let coordinator = Coordinator::bind_with(listen, state, policy, limits).await.unwrap();
        let address = coordinator.address();
        let url = format!("http://{address}");
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async {
            let _ = coordinator.run(async { drop(stopped.await) }).await;
        });
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Served { address, channel, stop, running }
    }

    pub fn sweeps(&self) -> SweepServiceClient<Channel> {
        SweepServiceClient::new(self.channel.clone())
    }

    pub async fn submit(&self, source: &str) -> Result<v1::SubmitResponse, tonic::Status> {
        let request = v1::SubmitRequest { source: source.to_owned(), sweep: String::new() };
        self.sweeps().submit(request).await.map(tonic::Response::into_inner)
    }

    pub async fn status(&self) -> v1::SweepStatus {
        let request = v1::StatusRequest { sweep: "small".to_owned() };
        self.sweeps().status(request).await.unwrap().into_inner().sweeps.remove(0)
    }

    pub async fn finished(&self) -> u64 {
        self.status().await.finished
    }

    /// The jobs of the sweep.
    pub async fn results(&self) -> Vec<v1::JobResult> {
        let request = v1::ResultsRequest { sweep: "small".to_owned(), ..v1::ResultsRequest::default() };
        let mut chunks = self.sweeps().results(request).await.unwrap().into_inner();
        chunks.message().await.unwrap().unwrap().jobs
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }
}

/// A worker played by the test.
pub struct Worker {
    pub sender: mpsc::Sender<v1::FromWorker>,
    pub inbound: Streaming<v1::ToWorker>,
}

impl Worker {
    pub async fn connect(served: &Served, name: &str, slots: u32, holds: Vec<v1::AttemptId>) -> Self {
        let (sender, outbound) = mpsc::channel(16);
        let devices = vec![v1::Device { name: "cpu".to_owned(), slots, ..v1::Device::default() }];
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = v1::Hello { worker: name.to_owned(), version, devices, holds, instance: 1, ..v1::Hello::default() };
        let mut worker = {
            sender.send(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) }).await.unwrap();
            // Each worker has a connection of its own.
            let channel = Channel::from_shared(format!("http://{}", served.address)).unwrap().connect().await.unwrap();
            let mut client = WorkerServiceClient::new(channel);
            let inbound = client.session(ReceiverStream::new(outbound)).await.unwrap().into_inner();
            Worker { sender, inbound }
        };
        assert!(matches!(worker.next_message().await, to_worker::Message::Welcome(_)));
        worker
    }

    pub async fn next_message(&mut self) -> to_worker::Message {
        let message = tokio::time::timeout(Duration::from_secs(10), self.inbound.message()).await.expect("in time");
        message.unwrap().unwrap().message.unwrap()
    }

    pub async fn assignment(&mut self) -> v1::AttemptId {
        match self.next_message().await {
            to_worker::Message::Assignment(assignment) => {
                assignment.job().unwrap();
                assignment.of.unwrap()
            }
            other => panic!("expected an assignment, found {other:?}"),
        }
    }

    pub async fn report(&self, sequence: u64, of: &v1::AttemptId, body: Body) {
        let report = v1::Report { sequence, of: Some(of.clone()), body: Some(body) };
        self.sender.send(v1::FromWorker { message: Some(from_worker::Message::Report(report)) }).await.unwrap();
    }

    pub async fn acknowledged(&mut self, sequence: u64) {
        match self.next_message().await {
            to_worker::Message::Acknowledgement(acknowledgement) => assert_eq!(acknowledgement.sequence, sequence),
            other => panic!("expected an acknowledgement, found {other:?}"),
        }
    }
}

/// Uploads a weights file of an attempt in parts under a digest.
pub async fn put(
    served: &Served,
    of: Option<&v1::AttemptId>,
    digest: &str,
    parts: &[&[u8]],
) -> Result<(), tonic::Status> {
    let part = |(i, content): (usize, &&[u8])| match i {
        0 => v1::WeightsPart { digest: digest.to_owned(), content: content.to_vec(), of: of.cloned() },
        _ => v1::WeightsPart { content: content.to_vec(), ..v1::WeightsPart::default() },
    };
    let parts: Vec<_> = parts.iter().enumerate().map(part).collect();
    let mut client = WorkerServiceClient::new(served.channel.clone());
    client.put_weights(tokio_stream::iter(parts)).await.map(drop)
}

/// Downloads a weights file.
pub async fn get(served: &Served, digest: &str) -> Result<Vec<u8>, tonic::Status> {
    let weights = v1::ParentWeights { job: "0".repeat(32), digest: digest.to_owned() };
    let request = v1::GetWeightsRequest { weights: Some(weights) };
    let mut client = WorkerServiceClient::new(served.channel.clone());
    let mut parts = client.get_weights(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(part) = parts.message().await? {
        content.extend(part.content);
    }
    Ok(content)
}

pub fn epoch(accuracy: f64) -> Body {
    Body::Epoch(v1::Epoch { epoch: 1, measurements: [("test_accuracy".to_owned(), accuracy)].into() })
}

pub fn finished() -> Body {
    finished_with(&[])
}

/// The end of a job that kept weights, by epoch selection and digest.
pub fn finished_with(kept: &[(&str, &str)]) -> Body {
    let facts = v1::Facts {
        kept: kept.iter().map(|(at, digest)| ((*at).to_owned(), (*digest).to_owned())).collect(),
        parameters: 1,
        train_samples: 1,
        test_samples: 1,
        classes: 1,
        transition: vec![1.0],
        engine: "none".to_owned(),
        weights: "0".repeat(64),
        data: "0".repeat(64),
        ..v1::Facts::default()
    };
    Body::Ended(v1::Ending { how: Some(v1::ending::How::Finished(facts)) })
}
