//! Peers that hold what others need: connections, calls, threads, memory, disk.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{SWEEP, Served, Worker, epoch, finished, finished_with, get, put};
use plusminus_coordinator::server::limits::{Limits, Share};
use plusminus_core::id::Digest;
use plusminus_core::scheduler::Policy;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker, to_worker};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// A limit in a test that waits for it.
const SHORT: Duration = Duration::from_millis(200);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Waits until a condition holds that nothing announces.
async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn names(state: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(state.join("weights")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn connect(served: &Served) -> Channel {
    Endpoint::from_shared(format!("http://{}", served.address)).unwrap().connect().await.unwrap()
}

/// An upload that sends the first part and then nothing. The sender keeps it open.
async fn stalled_upload(
    channel: Channel,
    of: &v1::AttemptId,
) -> (mpsc::Sender<v1::WeightsPart>, tokio::task::JoinHandle<Result<(), Status>>) {
    let (sender, parts) = mpsc::channel(1);
    let digest = Digest::of(of.job.as_bytes()).to_string();
    sender.send(v1::WeightsPart { digest, content: b"half".to_vec(), of: Some(of.clone()) }).await.unwrap();
    let mut client = WorkerServiceClient::new(channel);
    (sender, tokio::spawn(async move { client.put_weights(ReceiverStream::new(parts)).await.map(drop) }))
}

/// A worker with four running attempts.
async fn four_attempts(served: &Served) -> (Worker, Vec<v1::AttemptId>) {
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(served, "w", 4, vec![]).await;
    let mut attempts = Vec::new();
    for _ in 0..4 {
        attempts.push(worker.assignment().await);
    }
    (worker, attempts)
}

#[tokio::test]
async fn stalled_uploads_delay_no_user_and_are_given_up() {
    let state = tempfile::tempdir().unwrap();
    let mut limits = Limits { stall: Duration::from_secs(1), ..Limits::default() };
    limits.weights.uploads = 2;
    let served = Served::within(state.path(), Policy::default(), limits).await;
    let (_worker, attempts) = four_attempts(&served).await;
    let mut stalled = Vec::new();
    for of in &attempts {
        stalled.push(stalled_upload(connect(&served).await, of).await);
    }
    until(|| names(state.path()).len() == 2).await;
    assert_eq!(served.results().await.len(), 4);
    served.submit(SWEEP).await.unwrap();
    let explained = served.sweeps().explain(v1::ExplainRequest { job: attempts[0].job.clone() }).await.unwrap();
    assert_eq!(explained.into_inner().status(), v1::JobStatus::Running);
    for (sender, upload) in stalled {
        let given_up = soon(upload).await.unwrap().unwrap_err();
        assert_eq!(given_up.code(), Code::DeadlineExceeded, "{given_up}");
        drop(sender);
    }
    until(|| names(state.path()).is_empty()).await;
    // Their places are free again.
    let digest = Digest::of(b"whole").to_string();
    soon(put(&served, Some(&attempts[3]), &digest, &[b"wh", b"ole"])).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn only_running_attempts_may_upload() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let (worker, attempts) = four_attempts(&served).await;
    let digest = Digest::of(b"x").to_string();
    let code = async |of: Option<&v1::AttemptId>| put(&served, of, &digest, &[b"x"]).await.unwrap_err().code();
    assert_eq!(code(None).await, Code::InvalidArgument);
    let later = v1::AttemptId { attempt: 2, ..attempts[0].clone() };
    assert_eq!(code(Some(&later)).await, Code::FailedPrecondition);
    let unknown = v1::AttemptId { job: "0".repeat(32), attempt: 1 };
    assert_eq!(code(Some(&unknown)).await, Code::FailedPrecondition);
    assert_eq!(names(state.path()), [""; 0]);
    put(&served, Some(&attempts[0]), &digest, &[b"x"]).await.unwrap();
    worker.report(1, &attempts[0], epoch(0.5)).await;
    worker.report(2, &attempts[0], finished()).await;
    soon(async { while served.finished().await < 1 {} }).await;
    assert_eq!(code(Some(&attempts[0])).await, Code::FailedPrecondition, "it has ended");
    served.stop().await;
}

/// Two parent jobs with a child job each.
const FAMILIES: &str = "\
sweep: small
seeds: 2
base: {dataset: fashion-mnist-10k, model: cnn, loss: mae, optimizer: adam, epochs: 1, parent: {set: {loss: cce}}}
";

#[tokio::test]
async fn files_that_no_result_refers_to_are_removed() {
    let state = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    (limits.weights.orphan, limits.weights.orphan_tick) = (Duration::ZERO, Duration::from_millis(10));
    let served = Served::within(state.path(), Policy::default(), limits.clone()).await;
    // Only weights that a child job wants are kept.
    served.submit(FAMILIES).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 2, vec![]).await;
    let attempts = [worker.assignment().await, worker.assignment().await];
    let [kept, running, orphan] = ["kept", "running", "orphan"].map(|content| Digest::of(content.as_bytes()));
    put(&served, Some(&attempts[0]), &kept.to_string(), &[b"kept"]).await.unwrap();
    put(&served, Some(&attempts[1]), &running.to_string(), &[b"running"]).await.unwrap();
    worker.report(1, &attempts[0], epoch(0.5)).await;
    worker.report(2, &attempts[0], finished_with(&[("final", &kept.to_string())])).await;
    soon(async { while served.finished().await < 1 {} }).await;
    let weights = state.path().join("weights");
    fs::write(weights.join("notes.txt"), "foreign").unwrap();
    let sorted = || {
        let mut names = names(state.path());
        names.sort();
        names
    };
    let with = |digests: &[Digest]| {
        let mut names: Vec<_> = digests.iter().map(Digest::file_name).chain(["notes.txt".to_owned()]).collect();
        names.sort();
        names
    };
    fs::write(weights.join(orphan.file_name()), "orphan").unwrap();
    until(|| sorted() == with(&[kept, running])).await;
    // An attempt that ends without naming its file leaves an orphan.
    worker.report(3, &attempts[1], epoch(0.5)).await;
    worker.report(4, &attempts[1], finished()).await;
    until(|| sorted() == with(&[kept])).await;
    served.stop().await;
    fs::write(weights.join(orphan.file_name()), "orphan").unwrap();
    let served = Served::within(state.path(), Policy::default(), limits).await;
    until(|| sorted() == with(&[kept])).await;
    assert_eq!(get(&served, &kept.to_string()).await.unwrap(), b"kept");
    served.stop().await;
}

#[tokio::test]
async fn uploads_leave_space_for_the_store() {
    let state = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    (limits.weights.reserved, limits.weights.reserved_part) = ((u64::MAX, u64::MAX), 1);
    let served = Served::within(state.path(), Policy::default(), limits).await;
    let (_worker, attempts) = four_attempts(&served).await;
    let refused = put(&served, Some(&attempts[0]), &Digest::of(b"x").to_string(), &[b"x"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "the worker retries");
    assert!(refused.message().contains("reserved for the coordinator's store"), "{refused}");
    assert_eq!(names(state.path()), [""; 0]);
    served.stop().await;
}

#[tokio::test]
async fn a_download_that_is_not_read_ends_and_gives_its_place_back() {
    let state = tempfile::tempdir().unwrap();
    let mut limits = Limits { stall: SHORT, ..Limits::default() };
    limits.weights.downloads = 1;
    let served = Served::within(state.path(), Policy::default(), limits).await;
    let content = vec![7; 4 << 20];
    let digest = Digest::of(&content);
    fs::create_dir_all(state.path().join("weights")).unwrap();
    fs::write(state.path().join("weights").join(digest.file_name()), &content).unwrap();
    let small = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let small = small.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let weights = v1::ParentWeights { job: "0".repeat(32), digest: digest.to_string() };
    let request = v1::GetWeightsRequest { weights: Some(weights) };
    let mut client = WorkerServiceClient::new(small.connect().await.unwrap());
    let mut unread = client.get_weights(request).await.unwrap().into_inner();
    // The other download waits for its place.
    assert_eq!(soon(get(&served, &digest.to_string())).await.unwrap(), content);
    let ended = async { while unread.message().await.unwrap_or_default().is_some() {} };
    soon(ended).await;
    served.stop().await;
}

#[tokio::test]
async fn users_get_in_although_idle_connections_take_all_places() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { connections: 8, ..Limits::default() };
    let served = Served::within(state.path(), Policy::default(), limits).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut client = v1::sweep_service_client::SweepServiceClient::new(soon(connect(&served)).await);
    let status = soon(client.status(v1::StatusRequest { sweep: String::new() })).await.unwrap().into_inner();
    assert_eq!(status.workers.len(), 1, "the worker's connection is in use and stays");
    worker.assignment().await;
    let mut rest = Vec::new();
    let _ = soon(idle[0].read_to_end(&mut rest)).await;
    served.stop().await;
}

#[tokio::test]
async fn connections_without_a_call_are_closed() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { first_request: SHORT, idle: Duration::from_secs(1), ..Limits::default() };
    let served = Served::within(state.path(), Policy::default(), limits).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut unfinished = TcpStream::connect(served.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut unfinished, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    for socket in [&mut silent, &mut unfinished] {
        // Closed, with or without a reset.
        let _ = soon(socket.read_to_end(&mut rest)).await;
    }
    // A client that was idle connects again. Its call may meet the end of the connection.
    soon(async { while served.submit(SWEEP).await.is_err() {} }).await;
    // A session stays for longer than an idle connection.
    let mut worker = Worker::connect(&served, "w", 0, vec![]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let beat = v1::Heartbeat { holds: vec![], beat: 1 };
    worker.sender.send(v1::FromWorker { message: Some(from_worker::Message::Heartbeat(beat)) }).await.unwrap();
    assert!(matches!(worker.next_message().await, to_worker::Message::Renewed(_)));
    assert_eq!(served.status().await.queued, 4);
    served.stop().await;
}

#[tokio::test]
async fn a_stop_ends_although_transfers_stall() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { grace: SHORT, ..Limits::default() };
    let served = Served::within(state.path(), Policy::default(), limits).await;
    let (_worker, attempts) = four_attempts(&served).await;
    let mut stalled = Vec::new();
    for of in &attempts {
        stalled.push(stalled_upload(connect(&served).await, of).await);
    }
    until(|| names(state.path()).len() == 4).await;
    soon(served.stop()).await;
    assert_eq!(names(state.path()), [""; 0], "no part file is left");
    for (_, upload) in stalled {
        soon(upload).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_hello_of_megabytes_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let holds = vec![v1::AttemptId { job: "0".repeat(32), attempt: 1 }; 50_000];
    let hello = v1::Hello { worker: "w".to_owned(), instance: 1, holds, ..v1::Hello::default() };
    let message = v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) };
    let mut client = WorkerServiceClient::new(served.channel.clone());
    let refused = client.session(tokio_stream::iter([message])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    served.stop().await;
}

#[tokio::test]
async fn a_request_that_is_not_sent_whole_is_given_up() {
    let state = tempfile::tempdir().unwrap();
    let limits = Limits { first_bytes: SHORT, stall: SHORT, ..Limits::default() };
    let served = Served::within(state.path(), Policy::default(), limits).await;
    let mut client = WorkerServiceClient::new(served.channel.clone());
    let (_sender, nothing) = mpsc::channel::<v1::WeightsPart>(1);
    let given_up = soon(client.put_weights(ReceiverStream::new(nothing))).await.unwrap_err();
    assert_eq!(given_up.code(), Code::DeadlineExceeded, "{given_up}");
    let (_sender, nothing) = mpsc::channel::<v1::FromWorker>(1);
    let given_up = soon(client.session(ReceiverStream::new(nothing))).await.unwrap_err();
    assert_eq!(given_up.code(), Code::DeadlineExceeded, "{given_up}");
    served.stop().await;
}

#[tokio::test]
async fn a_silent_worker_is_disconnected() {
    let state = tempfile::tempdir().unwrap();
    let policy = Policy { lease: Duration::from_millis(50), ..Policy::default() };
    let limits = Limits { silence: SHORT, ..Limits::default() };
    let served = Served::within(state.path(), policy, limits).await;
    let mut worker = Worker::connect(&served, "w", 0, vec![]).await;
    let ended = async { while let Ok(Some(_)) = worker.inbound.message().await {} };
    soon(ended).await;
    served.stop().await;
}

#[tokio::test]
async fn calls_of_one_kind_leave_room_for_others() {
    let state = tempfile::tempdir().unwrap();
    let one = Share { all: 3, connection: 2 };
    let limits = Limits { watches: one, ..Limits::default() };
    let served = Served::within(state.path(), Policy::default(), limits).await;
    served.submit(SWEEP).await.unwrap();
    let request = v1::WatchRequest { sweep: "small".to_owned() };
    let first = served.sweeps().watch(request.clone()).await.unwrap();
    let _second = served.sweeps().watch(request.clone()).await.unwrap();
    let refused = served.sweeps().watch(request.clone()).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("this connection has 2 open watches"), "{refused}");
    let watch = async |channel| {
        let mut client = v1::sweep_service_client::SweepServiceClient::new(channel);
        client.watch(request.clone()).await
    };
    let _third = watch(connect(&served).await).await.unwrap();
    let refused = watch(connect(&served).await).await.err().unwrap();
    assert!(refused.message().contains("the coordinator has 3 open watches"), "{refused}");
    assert_eq!(served.status().await.queued, 4, "other calls are answered");
    drop(first);
    soon(async { while watch(connect(&served).await).await.is_err() {} }).await;
    served.stop().await;
}
