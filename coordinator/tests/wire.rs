//! The coordinator as its peers see it, over real connections.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_coordinator::Coordinator;
use plusminus_core::id::Digest;
use plusminus_core::schedule::Policy;
use plusminus_proto::v1::sweep_service_client::SweepServiceClient;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker, report::News, to_worker};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

const SWEEP: &str = "\
sweep: small
seeds: 2
base: {dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: adam, epochs: 1, validation: 0.1}
grid:
  noise: [none, {kind: uniform, rate: 0.4}]
";

/// A coordinator that serves, and stops when told to.
struct Served {
    channel: Channel,
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn on(state: &Path, policy: Policy) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let coordinator = Coordinator::bind(listen, state, policy).await.unwrap();
        let url = format!("http://{}", coordinator.address());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async {
            let _ = coordinator.run(async { drop(stopped.await) }).await;
        });
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Served { channel, stop, running }
    }

    fn sweeps(&self) -> SweepServiceClient<Channel> {
        SweepServiceClient::new(self.channel.clone())
    }

    async fn submit(&self, source: &str) -> Result<v1::SubmitResponse, tonic::Status> {
        let request = v1::SubmitRequest { source: source.to_owned(), sweep: String::new() };
        self.sweeps().submit(request).await.map(tonic::Response::into_inner)
    }

    async fn status(&self) -> v1::SweepStatus {
        let request = v1::StatusRequest { sweep: "small".to_owned() };
        self.sweeps().status(request).await.unwrap().into_inner().sweeps.remove(0)
    }

    async fn finished(&self) -> u64 {
        self.status().await.finished
    }

    /// The jobs of the sweep.
    async fn results(&self) -> Vec<v1::JobResult> {
        let request = v1::ResultsRequest { sweep: "small".to_owned(), ..v1::ResultsRequest::default() };
        let mut chunks = self.sweeps().results(request).await.unwrap().into_inner();
        chunks.message().await.unwrap().unwrap().jobs
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }
}

/// A worker played by the test.
struct Worker {
    sender: mpsc::Sender<v1::FromWorker>,
    inbound: Streaming<v1::ToWorker>,
}

impl Worker {
    async fn join(served: &Served, name: &str, slots: u32, holds: Vec<v1::AttemptId>) -> Self {
        let (sender, outbound) = mpsc::channel(16);
        let devices = vec![v1::Device { name: "cpu".to_owned(), slots }];
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = v1::Hello { worker: name.to_owned(), version, devices, holds, instance: 1 };
        let mut worker = {
            sender.send(v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) }).await.unwrap();
            let mut client = WorkerServiceClient::new(served.channel.clone());
            let inbound = client.session(ReceiverStream::new(outbound)).await.unwrap().into_inner();
            Worker { sender, inbound }
        };
        assert!(matches!(worker.told().await, to_worker::Message::Welcome(_)));
        worker
    }

    async fn told(&mut self) -> to_worker::Message {
        let message = tokio::time::timeout(Duration::from_secs(10), self.inbound.message()).await.expect("in time");
        message.unwrap().unwrap().message.unwrap()
    }

    async fn assignment(&mut self) -> v1::AttemptId {
        match self.told().await {
            to_worker::Message::Assignment(assignment) => {
                assignment.job().unwrap();
                assignment.of.unwrap()
            }
            other => panic!("expected an assignment, found {other:?}"),
        }
    }

    async fn report(&self, sequence: u64, of: &v1::AttemptId, news: News) {
        let report = v1::Report { sequence, of: Some(of.clone()), news: Some(news) };
        self.sender.send(v1::FromWorker { message: Some(from_worker::Message::Report(report)) }).await.unwrap();
    }

    async fn acknowledged(&mut self, sequence: u64) {
        match self.told().await {
            to_worker::Message::Acknowledgement(acknowledgement) => assert_eq!(acknowledgement.sequence, sequence),
            other => panic!("expected an acknowledgement, found {other:?}"),
        }
    }
}

fn epoch(accuracy: f64) -> News {
    News::Epoch(v1::Epoch { epoch: 1, measurements: [("test_accuracy".to_owned(), accuracy)].into() })
}

fn finished() -> News {
    let facts = v1::Facts { classes: 1, transition: vec![1.0], ..v1::Facts::default() };
    News::Ended(v1::Ending { how: Some(v1::ending::How::Finished(facts)) })
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(served.channel.clone());
    for service in ["plusminus.v1.SweepService", "plusminus.v1.WorkerService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service} serves");
    }
    use tonic_reflection::pb::v1 as reflection;
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(served.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("plusminus.v1.SweepService") && answer.contains("plusminus.v1.WorkerService"));
    served.stop().await;
}

#[tokio::test]
async fn a_result_that_was_acknowledged_is_there_after_a_restart_and_comes_back_in_full() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(served.submit(SWEEP).await.unwrap().new, 4);
    let mut worker = Worker::join(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    worker.report(1, &of, epoch(0.123_456_789_012_345_67)).await;
    worker.acknowledged(1).await;
    worker.report(2, &of, finished()).await;
    worker.acknowledged(2).await;
    served.stop().await;

    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(served.finished().await, 1);
    let request = v1::ResultsRequest { sweep: "small".to_owned(), ..v1::ResultsRequest::default() };
    let mut chunks = served.sweeps().results(request).await.unwrap().into_inner();
    let chunk = chunks.message().await.unwrap().unwrap();
    assert_eq!(chunk.source, SWEEP);
    let values: Vec<f64> = chunk.jobs.iter().filter_map(|job| job.value).collect();
    assert_eq!(values, [0.123_456_789_012_345_67], "every digit");
    let again = served.submit(SWEEP).await.unwrap();
    assert_eq!((again.jobs, again.new, again.finished), (4, 0, 1));
    served.stop().await;
}

/// Two learning rates under two seeds.
const CHOOSING: &str = "\
sweep: small
seeds: 2
base: {dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: {name: sgd}, epochs: 1, validation: 0.1}
grid: {optimizer.lr: [0.1, 0.01]}
select: {over: [optimizer.lr], by: validation_loss}
";

/// An epoch with this validation loss, and the end of the attempt.
async fn train(worker: &mut Worker, of: &v1::AttemptId, loss: f64) {
    let measurements = [("test_accuracy".to_owned(), 0.5), ("validation_loss".to_owned(), loss)].into();
    worker.report(1, of, News::Epoch(v1::Epoch { epoch: 1, measurements })).await;
    worker.acknowledged(1).await;
    worker.report(2, of, finished()).await;
    worker.acknowledged(2).await;
}

#[tokio::test]
async fn a_winner_s_other_seeds_are_trained_once_the_last_candidate_has_ended() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(served.submit(CHOOSING).await.unwrap().new, 2, "both candidates under the first seed");
    let mut worker = Worker::join(&served, "w", 1, vec![]).await;
    let first = worker.assignment().await;
    train(&mut worker, &first, 0.7).await;
    let second = worker.assignment().await;
    train(&mut worker, &second, 0.3).await;
    let status = served.status().await;
    assert_eq!((status.finished, status.queued + status.running), (2, 1), "it is not over in between");
    let third = worker.assignment().await;
    let jobs = served.results().await;
    let of = |attempt: &v1::AttemptId| jobs.iter().find(|job| job.job == attempt.job).unwrap();
    assert_eq!((&of(&third).cell, of(&third).seed), (&of(&second).cell, 1));
    // The same again is the same sweep, with its winner's jobs.
    let again = served.submit(CHOOSING).await.unwrap();
    assert_eq!((again.jobs, again.new, again.finished, again.dropped), (3, 0, 2, 0));
    // With another loss, who has won goes on undisturbed.
    let more = CHOOSING.replace("grid: {", "grid: {loss: [mae, cce], ");
    let again = served.submit(&more).await.unwrap();
    assert_eq!((again.jobs, again.new, again.finished, again.dropped), (5, 2, 2, 0));
    train(&mut worker, &third, 0.3).await;
    for _ in 0..3 {
        let of = worker.assignment().await;
        train(&mut worker, &of, 0.4).await;
    }
    let status = served.status().await;
    assert_eq!((status.finished, status.queued + status.running), (6, 0));
    served.stop().await;
}

#[tokio::test]
async fn a_choice_that_a_stopped_coordinator_left_open_is_made_by_the_next() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    // The candidates are trained for another sweep, which has no choice to make.
    let plain: String = CHOOSING.lines().filter(|line| !line.starts_with("select")).map(|l| format!("{l}\n")).collect();
    let other = plain.replace("sweep: small", "sweep: other").replace("seeds: 2", "seeds: 1");
    served.submit(&other).await.unwrap();
    let mut worker = Worker::join(&served, "w", 1, vec![]).await;
    for loss in [0.2, 0.9] {
        let of = worker.assignment().await;
        train(&mut worker, &of, loss).await;
    }
    served.stop().await;
    // What is in the store is what a coordinator leaves that is stopped between an ending and what follows from it.
    let store = rusqlite::Connection::open(state.path().join("plusminus.sqlite")).unwrap();
    let source = CHOOSING.replace("sweep: small", "sweep: other");
    store.execute("UPDATE sweeps SET source = ?1", [source]).unwrap();
    drop(store);
    let served = Served::on(state.path(), Policy::default()).await;
    let mut worker = Worker::join(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    train(&mut worker, &of, 0.2).await;
    // A sweep whose candidates are all known has its winner when it is submitted.
    served.submit(CHOOSING).await.unwrap();
    let status = served.status().await;
    assert_eq!((status.finished, status.queued + status.running), (3, 0));
    served.stop().await;
}

#[tokio::test]
async fn where_no_candidate_can_be_trained_nothing_more_is_queued_and_the_next_submission_tries_again() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(CHOOSING).await.unwrap();
    let mut worker = Worker::join(&served, "w", 1, vec![]).await;
    let failure = v1::Failure { kind: v1::FailureKind::UserError.into(), message: "no data".to_owned() };
    let failed = News::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) });
    for _ in 0..2 {
        let of = worker.assignment().await;
        worker.report(1, &of, failed.clone()).await;
        worker.acknowledged(1).await;
    }
    let status = served.status().await;
    assert_eq!((status.failed, status.queued + status.running), (2, 0));
    assert_eq!(served.submit(CHOOSING).await.unwrap().requeued, 2);
    let of = worker.assignment().await;
    train(&mut worker, &of, 0.5).await;
    // One that fails is out.
    let of = worker.assignment().await;
    worker.report(3, &of, failed).await;
    worker.acknowledged(3).await;
    let of = worker.assignment().await;
    let jobs = served.results().await;
    assert_eq!(jobs.iter().find(|job| job.job == of.job).unwrap().seed, 1);
    let status = served.status().await;
    assert_eq!((status.finished, status.failed, status.running), (1, 1, 1));
    // Called off, it chooses nothing more.
    served.sweeps().cancel(v1::CancelRequest { sweep: "small".to_owned() }).await.unwrap();
    assert_eq!(served.status().await.dropped, 1);
    served.stop().await;
}

#[tokio::test]
async fn what_a_past_attempt_says_is_acknowledged_and_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy { lease: 1_500, backoff: 1, ..Policy::default() }).await;
    served
        .submit(&SWEEP.replace("[none, {kind: uniform, rate: 0.4}]", "[none]").replace("seeds: 2", "seeds: 1"))
        .await
        .unwrap();
    let mut frozen = Worker::join(&served, "frozen", 1, vec![]).await;
    let first = frozen.assignment().await;
    // It says nothing for longer than its lease; another worker takes the job.
    let mut other = Worker::join(&served, "other", 1, vec![]).await;
    let second = other.assignment().await;
    assert_eq!((&second.job, second.attempt), (&first.job, 2));
    assert!(matches!(frozen.told().await, to_worker::Message::Stop(_)));
    frozen.report(1, &first, epoch(0.9)).await;
    frozen.acknowledged(1).await;
    frozen.report(2, &first, finished()).await;
    frozen.acknowledged(2).await;
    assert_eq!(served.finished().await, 0);
    other.report(1, &second, epoch(0.5)).await;
    other.acknowledged(1).await;
    other.report(2, &second, finished()).await;
    other.acknowledged(2).await;
    assert_eq!(served.finished().await, 1);
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_sweep_file_is_refused_with_every_problem() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let status = served.submit("sweep: x\nseeds: 0\nbsae: {}\n").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let problems = <v1::Problems as prost::Message>::decode(status.details()).unwrap().problems;
    assert!(problems.len() >= 2, "{problems:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_worker_that_does_not_introduce_itself_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let message = v1::FromWorker { message: Some(from_worker::Message::Draining(v1::Draining {})) };
    let mut client = WorkerServiceClient::new(served.channel.clone());
    let status = client.session(tokio_stream::iter([message])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    served.stop().await;
}

#[tokio::test]
async fn a_sweep_submitted_in_another_form_keeps_what_it_shares_and_forgets_no_result() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::join(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    worker.report(1, &of, epoch(0.5)).await;
    worker.report(2, &of, finished()).await;
    worker.acknowledged(1).await;
    worker.acknowledged(2).await;
    // Without the cell that the finished job belongs to, and then with it again, over a restart.
    served.submit(&SWEEP.replace("[none, ", "[")).await.unwrap();
    served.stop().await;
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(served.finished().await, 0);
    assert_eq!(served.submit(SWEEP).await.unwrap().finished, 1);
    assert_eq!(served.finished().await, 1);
    served.stop().await;
}

#[tokio::test]
async fn another_process_by_a_connected_workers_name_is_told_so() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let _first = Worker::join(&served, "w", 1, vec![]).await;
    let hello = v1::Hello { worker: "w".to_owned(), instance: 2, ..v1::Hello::default() };
    let message = v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) };
    let mut client = WorkerServiceClient::new(served.channel.clone());
    let refused = match client.session(tokio_stream::iter([message])).await {
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    served.stop().await;
}

/// Hands a file in as parts under a digest.
async fn put(served: &Served, digest: &str, parts: &[&[u8]]) -> Result<(), tonic::Status> {
    let part = |(i, content): (usize, &&[u8])| v1::WeightsPart {
        digest: if i == 0 { digest.to_owned() } else { String::new() },
        content: content.to_vec(),
    };
    let parts: Vec<_> = parts.iter().enumerate().map(part).collect();
    let mut client = WorkerServiceClient::new(served.channel.clone());
    client.put_weights(tokio_stream::iter(parts)).await.map(drop)
}

async fn get(served: &Served, digest: &str) -> Result<Vec<u8>, tonic::Status> {
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

#[tokio::test]
async fn weights_that_are_handed_in_are_had_again_also_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    // More than a message may hold.
    let content: Vec<u8> = (0..9 << 20).map(|i| (i % 251) as u8).collect();
    let digest = Digest::of(&content).to_string();
    let parts: Vec<&[u8]> = content.chunks(1 << 20).collect();
    for _ in 0..2 {
        put(&served, &digest, &parts).await.unwrap();
        assert_eq!(get(&served, &digest).await.unwrap(), content);
    }
    served.stop().await;
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(get(&served, &digest).await.unwrap(), content);
    served.stop().await;
}

#[tokio::test]
async fn weights_that_are_not_what_they_are_called_are_refused_and_never_given_out() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let digest = Digest::of(b"all of it").to_string();
    assert_eq!(put(&served, &digest, &[b"all of"]).await.unwrap_err().code(), Code::DataLoss);
    assert_eq!(put(&served, "../up", &[b"x"]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(put(&served, &digest, &[]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(get(&served, &digest).await.unwrap_err().code(), Code::NotFound);
    put(&served, &digest, &[b"all ", b"of it"]).await.unwrap();
    let file = state.path().join(format!("weights/{digest}.safetensors"));
    std::fs::write(&file, "damaged").unwrap();
    assert_eq!(get(&served, &digest).await.unwrap_err().code(), Code::NotFound);
    assert!(!file.exists());
    served.stop().await;
}
