//! The coordinator as clients and workers see it, over real connections.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{SWEEP, Served, Worker, epoch, finished, get, put};
use plusminus_core::id::Digest;
use plusminus_core::scheduler::Policy;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker, report::Body, to_worker};
use std::time::Duration;
use tonic::Code;

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
async fn an_acknowledged_result_survives_a_restart_exactly() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(served.submit(SWEEP).await.unwrap().new, 4);
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
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
const SELECTING: &str = "\
sweep: small
seeds: 2
base: {dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: {name: sgd}, epochs: 1, validation: 0.1}
grid: {optimizer.lr: [0.1, 0.01]}
select: {over: [optimizer.lr], by: validation_loss}
";

/// Reports an epoch with this validation loss, and a result.
async fn train(worker: &mut Worker, of: &v1::AttemptId, loss: f64) {
    let measurements = [("test_accuracy".to_owned(), 0.5), ("validation_loss".to_owned(), loss)].into();
    worker.report(1, of, Body::Epoch(v1::Epoch { epoch: 1, measurements })).await;
    worker.acknowledged(1).await;
    worker.report(2, of, finished()).await;
    worker.acknowledged(2).await;
}

#[tokio::test]
async fn the_winners_other_seeds_follow_when_the_last_candidate_ends() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(served.submit(SELECTING).await.unwrap().new, 2, "both candidates under the first seed");
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let first = worker.assignment().await;
    train(&mut worker, &first, 0.7).await;
    let second = worker.assignment().await;
    train(&mut worker, &second, 0.3).await;
    let status = served.status().await;
    assert_eq!((status.finished, status.queued + status.running), (2, 1), "the sweep is not over in between");
    let third = worker.assignment().await;
    let jobs = served.results().await;
    let of = |attempt: &v1::AttemptId| jobs.iter().find(|job| job.job == attempt.job).unwrap();
    assert_eq!((&of(&third).cell, of(&third).seed), (&of(&second).cell, 1));
    // Another submission is the same sweep with the winner's jobs.
    let again = served.submit(SELECTING).await.unwrap();
    assert_eq!((again.jobs, again.new, again.finished, again.dropped), (3, 0, 2, 0));
    // With another loss in the grid, the winner's jobs continue.
    let more = SELECTING.replace("grid: {", "grid: {loss: [mae, cce], ");
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
async fn a_selection_that_was_due_at_a_stop_is_made_after_the_restart() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    // The candidates are trained for another sweep, which selects nothing.
    let plain: String =
        SELECTING.lines().filter(|line| !line.starts_with("select")).map(|l| format!("{l}\n")).collect();
    let other = plain.replace("sweep: small", "sweep: other").replace("seeds: 2", "seeds: 1");
    served.submit(&other).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    for loss in [0.2, 0.9] {
        let of = worker.assignment().await;
        train(&mut worker, &of, loss).await;
    }
    served.stop().await;
    // The store is as if the coordinator had been stopped between the last result and the selection.
    let store = rusqlite::Connection::open(state.path().join("plusminus.sqlite")).unwrap();
    let source = SELECTING.replace("sweep: small", "sweep: other");
    store.execute("UPDATE sweeps SET source = ?1", [source]).unwrap();
    // The migration from version 3 computes the checksums of rows.
    let tables = ["epochs", "results", "job_facts", "sweeps"];
    let checksums = tables.map(|table| format!("ALTER TABLE {table} DROP COLUMN checksum;")).concat();
    let older =
        "ALTER TABLE job_states DROP COLUMN failed_on; ALTER TABLE sweeps DROP COLUMN paused; PRAGMA user_version = 3;";
    store.execute_batch(&(checksums + older)).unwrap();
    drop(store);
    let served = Served::on(state.path(), Policy::default()).await;
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    train(&mut worker, &of, 0.2).await;
    // A sweep whose candidates have all ended has its winner when it is submitted.
    served.submit(SELECTING).await.unwrap();
    let status = served.status().await;
    assert_eq!((status.finished, status.queued + status.running), (3, 0));
    served.stop().await;
}

#[tokio::test]
async fn if_all_candidates_fail_nothing_is_queued_until_the_next_submission() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(SELECTING).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let failure = v1::Failure { kind: v1::FailureKind::UserError.into(), message: "no data".to_owned() };
    let failed = Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) });
    for _ in 0..2 {
        let of = worker.assignment().await;
        worker.report(1, &of, failed.clone()).await;
        worker.acknowledged(1).await;
    }
    let status = served.status().await;
    assert_eq!((status.failed, status.queued + status.running), (2, 0));
    assert_eq!(served.submit(SELECTING).await.unwrap().requeued, 2);
    let of = worker.assignment().await;
    train(&mut worker, &of, 0.5).await;
    // A failed candidate cannot win.
    let of = worker.assignment().await;
    worker.report(3, &of, failed).await;
    worker.acknowledged(3).await;
    let of = worker.assignment().await;
    let jobs = served.results().await;
    assert_eq!(jobs.iter().find(|job| job.job == of.job).unwrap().seed, 1);
    let status = served.status().await;
    assert_eq!((status.finished, status.failed, status.running), (1, 1, 1));
    // A cancelled sweep selects nothing.
    served.sweeps().cancel(v1::CancelRequest { sweep: "small".to_owned() }).await.unwrap();
    assert_eq!(served.status().await.dropped, 1);
    served.stop().await;
}

#[tokio::test]
async fn a_stale_attempts_report_is_acknowledged_and_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let policy = Policy { lease: Duration::from_millis(1_500), backoff: Duration::from_millis(1), ..Policy::default() };
    let served = Served::on(state.path(), policy).await;
    served
        .submit(&SWEEP.replace("[none, {kind: uniform, rate: 0.4}]", "[none]").replace("seeds: 2", "seeds: 1"))
        .await
        .unwrap();
    let mut frozen = Worker::connect(&served, "frozen", 1, vec![]).await;
    let first = frozen.assignment().await;
    // It stays silent for longer than its lease; another worker gets the job.
    let mut other = Worker::connect(&served, "other", 1, vec![]).await;
    let second = other.assignment().await;
    assert_eq!((&second.job, second.attempt), (&first.job, 2));
    assert!(matches!(frozen.next_message().await, to_worker::Message::Stop(_)));
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
async fn an_invalid_sweep_file_is_refused_with_all_problems() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let status = served.submit("sweep: x\nseeds: 0\nbsae: {}\n").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let problems = <v1::Problems as prost::Message>::decode(status.details()).unwrap().problems;
    assert!(problems.len() >= 2, "{problems:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_worker_that_sends_no_hello_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let message = v1::FromWorker { message: Some(from_worker::Message::Draining(v1::Draining {})) };
    let mut client = WorkerServiceClient::new(served.channel.clone());
    let status = client.session(tokio_stream::iter([message])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    served.stop().await;
}

/// The values that a table of a sweep file shows, at three epoch selections.
async fn values_of_file(served: &Served, sweep: &str, source: &str) -> Vec<Result<Vec<f64>, Code>> {
    let mut answers = Vec::new();
    for at in ["final", "best", "last-1-mean"] {
        let request = v1::ResultsRequest {
            sweep: sweep.to_owned(),
            metric: "test_accuracy".to_owned(),
            at: at.to_owned(),
            source: source.to_owned(),
            only_source: false,
        };
        answers.push(match served.sweeps().results(request).await {
            Err(status) => Err(status.code()),
            Ok(chunks) => {
                let jobs = chunks.into_inner().message().await.unwrap().unwrap().jobs;
                Ok(jobs.iter().filter_map(|job| job.value).collect())
            }
        });
    }
    answers
}

#[tokio::test]
async fn a_changed_sweep_keeps_shared_jobs_and_all_results() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    worker.report(1, &of, epoch(0.5)).await;
    worker.report(2, &of, finished()).await;
    worker.acknowledged(1).await;
    worker.acknowledged(2).await;
    // Removes the cell of the finished job, restarts, and adds the cell again.
    let other = SWEEP.replace("[none, ", "[");
    let submitted = served.submit(&other).await.unwrap();
    assert!(submitted.replaced > 0 && submitted.replaced_finished == 1, "{submitted:?}");
    let again = served.submit(&other).await.unwrap();
    assert_eq!((again.replaced, again.replaced_finished), (0, 0), "the same file replaces nothing");
    assert_eq!(values_of_file(&served, "small", SWEEP).await, vec![Ok(vec![0.5]); 3]);
    served.stop().await;
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(served.finished().await, 0);
    assert_eq!(values_of_file(&served, "small", SWEEP).await, vec![Ok(vec![0.5]); 3]);
    let renamed = SWEEP.replace("sweep: small", "sweep: renamed");
    assert_eq!(values_of_file(&served, "renamed", &renamed).await, vec![Ok(vec![0.5]); 3], "no sweep has this name");
    let foreign = renamed.replace("seeds: ", "seeds: [77] # ");
    assert_eq!(values_of_file(&served, "renamed", &foreign).await, vec![Err(Code::NotFound); 3], "no job is known");
    assert_eq!(values_of_file(&served, "small", "sweep: [").await, vec![Err(Code::InvalidArgument); 3]);
    assert_eq!(served.submit(SWEEP).await.unwrap().finished, 1);
    assert_eq!(served.finished().await, 1);
    served.stop().await;
}

#[tokio::test]
async fn another_process_with_a_connected_workers_name_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let _first = Worker::connect(&served, "w", 1, vec![]).await;
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

#[tokio::test]
async fn uploaded_weights_can_be_downloaded_even_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    // Larger than the limit of one message.
    let content: Vec<u8> = (0..9 << 20).map(|i| (i % 251) as u8).collect();
    let digest = Digest::of(&content).to_string();
    let parts: Vec<&[u8]> = content.chunks(1 << 20).collect();
    for _ in 0..2 {
        put(&served, Some(&of), &digest, &parts).await.unwrap();
        assert_eq!(get(&served, &digest).await.unwrap(), content);
    }
    served.stop().await;
    let served = Served::on(state.path(), Policy::default()).await;
    assert_eq!(get(&served, &digest).await.unwrap(), content);
    served.stop().await;
}

#[tokio::test]
async fn weights_with_a_wrong_digest_are_refused_and_never_served() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let assigned = worker.assignment().await;
    let of = Some(&assigned);
    let digest = Digest::of(b"all of it").to_string();
    assert_eq!(put(&served, of, &digest, &[b"all of"]).await.unwrap_err().code(), Code::DataLoss);
    assert_eq!(put(&served, of, "../up", &[b"x"]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(put(&served, of, &digest, &[]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(get(&served, &digest).await.unwrap_err().code(), Code::NotFound);
    put(&served, of, &digest, &[b"all ", b"of it"]).await.unwrap();
    let file = state.path().join(format!("weights/{digest}.safetensors"));
    std::fs::write(&file, "damaged").unwrap();
    assert_eq!(get(&served, &digest).await.unwrap_err().code(), Code::NotFound);
    assert!(!file.exists());
    served.stop().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_slows_nothing_down() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(&SWEEP.replace("epochs: 1", "epochs: 300")).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    let request = v1::WatchRequest { sweep: "small".to_owned() };
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(served.sweeps().watch(request.clone()).await.unwrap());
    }
    for sequence in 1..=300 {
        let measurements = [("test_accuracy".to_owned(), 0.5)].into();
        worker.report(sequence, &of, Body::Epoch(v1::Epoch { epoch: sequence as u32, measurements })).await;
        worker.acknowledged(sequence).await;
    }
    let began = std::time::Instant::now();
    assert_eq!(served.status().await.running, 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    worker.report(301, &of, finished()).await;
    worker.acknowledged(301).await;
    // A late reader gets buffered updates first and then the current status.
    let mut late = slow.pop().unwrap().into_inner();
    let caught_up = async { while late.message().await.unwrap().unwrap().status.unwrap().finished < 1 {} };
    tokio::time::timeout(Duration::from_secs(10), caught_up).await.expect("in time");
    drop((slow, late));
    served.stop().await;
}

#[tokio::test]
async fn users_resume_cancelled_sweeps_and_failed_jobs_and_explain_jobs() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    let explain = |job: &str| {
        let (mut client, job) = (served.sweeps(), job.to_owned());
        async move { client.explain(v1::ExplainRequest { job }).await.map(tonic::Response::into_inner) }
    };
    let resume = |failed: bool, jobs: &[&str]| {
        let jobs = jobs.iter().map(|job| (*job).to_owned()).collect();
        let (mut client, request) = (served.sweeps(), v1::ResumeRequest { sweep: "small".to_owned(), failed, jobs });
        async move { client.resume(request).await.map(|response| response.into_inner().queued) }
    };
    let explained = explain(&of.job[..16]).await.unwrap();
    assert_eq!((explained.job.clone(), explained.status()), (of.job.clone(), v1::JobStatus::Running));
    assert!(explained.lease_milliseconds > 10_000 && explained.attempts.len() == 1, "{explained:?}");
    let failure = v1::Failure { kind: v1::FailureKind::Diverged.into(), message: "NaN".to_owned() };
    let failed = Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) });
    worker.report(1, &of, failed).await;
    worker.acknowledged(1).await;
    assert_eq!(explain(&of.job).await.unwrap().attempts[0].message, "NaN");
    assert_eq!(resume(true, &[]).await.unwrap(), 0, "it would diverge again");
    assert_eq!(resume(false, &[&of.job[..16]]).await.unwrap(), 1);
    let waiting = explain(&of.job).await.unwrap().waiting.unwrap().why.unwrap();
    let turn = v1::Turn { before: 0, workers: 1, slots: 1, busy: 1, resting: 0 };
    assert_eq!(waiting, v1::waiting::Why::Turn(turn));
    for (jobs, code) in [(["0"; 1], Code::NotFound), (["xyz"; 1], Code::InvalidArgument)] {
        let code_of = |error: tonic::Status| error.code();
        let found = resume(false, &jobs).await.map_err(code_of);
        // One of the four ids may start with it.
        assert!(found == Err(code) || found == Ok(0), "{found:?}");
    }
    served.sweeps().cancel(v1::CancelRequest { sweep: "small".to_owned() }).await.unwrap();
    assert_eq!(resume(true, &[]).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(resume(false, &[]).await.unwrap(), 4, "the whole sweep, as in a new submission");
    served.stop().await;
}

/// The next message to a worker that is not an acknowledgement of another report.
async fn stopped(worker: &mut Worker) -> v1::AttemptId {
    match worker.next_message().await {
        to_worker::Message::Stop(stop) => stop.of.unwrap(),
        other => panic!("expected a stop, found {other:?}"),
    }
}

#[tokio::test]
async fn an_impossible_report_reaches_no_table_and_stops_its_attempt() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    worker.report(1, &of, epoch(7.0)).await;
    assert_eq!(stopped(&mut worker).await, of);
    worker.acknowledged(1).await;
    // Later reports of the attempt are acknowledged and change nothing.
    worker.report(2, &of, finished()).await;
    worker.acknowledged(2).await;
    assert_eq!(served.finished().await, 0);
    assert!(served.results().await.iter().all(|job| job.value.is_none()));
    let request = v1::ExplainRequest { job: of.job.clone() };
    let explained = served.sweeps().explain(request).await.unwrap().into_inner();
    let attempt = &explained.attempts[0];
    let reason = "worker w reported an impossible value: test_accuracy 7 at epoch 1 (expected 0 to 1)";
    assert_eq!((attempt.ending.as_str(), attempt.message.as_str()), ("infrastructure", reason));
    served.stop().await;
}

#[tokio::test]
async fn no_worker_changes_the_progress_of_a_foreign_attempt() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(&SWEEP.replace("epochs: 1", "epochs: 10")).await.unwrap();
    let mut alice = Worker::connect(&served, "alice", 1, vec![]).await;
    let of = alice.assignment().await;
    let mut mallory = Worker::connect(&served, "mallory", 0, vec![]).await;
    let progress = |epoch, epochs| {
        let progress = Some(v1::Progress { epoch, epochs, step: 1, steps: 2 });
        let report = v1::ProgressReport { of: Some(of.clone()), progress };
        v1::FromWorker { message: Some(from_worker::Message::Progress(report)) }
    };
    alice.sender.send(progress(3, 10)).await.unwrap();
    alice.sender.send(progress(77, 99)).await.unwrap();
    alice.report(1, &of, epoch(0.5)).await;
    alice.acknowledged(1).await;
    mallory.sender.send(progress(9, 10)).await.unwrap();
    mallory.report(1, &of, epoch(0.9)).await;
    mallory.acknowledged(1).await;
    let running = served.status().await.running_jobs.remove(0);
    assert_eq!(running.progress.map(|progress| (progress.epoch, progress.epochs)), Some((3, 10)));
    assert_eq!(running.last.map(|last| last.measurements["test_accuracy"]), Some(0.5));
    served.stop().await;
}

#[tokio::test]
async fn a_worker_with_a_name_that_would_forge_output_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    for name in ["", "w\nsmall  9 jobs: 9 finished", &"n".repeat(1_000)] {
        let hello = v1::Hello { worker: name.to_owned(), ..v1::Hello::default() };
        let message = v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) };
        let outbound = tokio_stream::once(message);
        let mut client = WorkerServiceClient::new(served.channel.clone());
        let refused = client.session(outbound).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("expected a worker name") && !refused.message().contains('\n'));
        assert!(refused.message().len() < 500, "{}", refused.message());
    }
    served.stop().await;
}
