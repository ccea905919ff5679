//! Answers stay within the limit of a message, whatever there is to tell.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Served, Worker};
use plusminus_coordinator::answer::AtRest;
use plusminus_core::failure_text::MOST;
use plusminus_core::scheduler::Policy;
use plusminus_proto::parts::WatchedStatus;
use plusminus_proto::v1::{self, report::Body};
use prost::Message;
use std::time::Duration;
use tonic::{Code, Streaming};

/// The limit of clients, which applies to each message.
const LIMIT: usize = 4 << 20;

/// A sweep of `cells` learning rates under `seeds` seeds.
fn sweep(name: &str, cells: usize, seeds: usize) -> String {
    let rates: Vec<String> = (1..=cells).map(|cell| format!("{cell}e-6")).collect();
    // Sweeps of different names share no job.
    let offset = name.bytes().fold(0, |hash, byte| hash * 31 + usize::from(byte));
    format!(
        "sweep: {name}\nseeds: {seeds}\nbase: {{dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: adam, \
         epochs: 1, batch_size: {}, validation: 0.1}}\ngrid:\n  optimizer.lr: [{}]\n",
        offset % 50_000 + 1,
        rates.join(", ")
    )
}

async fn all<T: Message>(mut parts: Streaming<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(part) = tokio::time::timeout(Duration::from_secs(60), parts.message()).await.unwrap().unwrap() {
        assert!(part.encoded_len() < LIMIT / 4, "{}", part.encoded_len());
        all.push(part);
    }
    all
}

async fn status_in_parts(served: &Served, sweep: &str) -> v1::StatusResponse {
    let request = v1::StatusRequest { sweep: sweep.to_owned() };
    let parts = all(served.sweeps().status_in_parts(request).await.unwrap().into_inner()).await;
    let mut whole = v1::StatusResponse::default();
    parts.into_iter().for_each(|part| whole.extend(part));
    whole
}

/// The status in one message.
async fn status(served: &Served, sweep: &str) -> v1::StatusResponse {
    let request = v1::StatusRequest { sweep: sweep.to_owned() };
    served.sweeps().status(request).await.unwrap().into_inner()
}

async fn watch(served: &Served, sweep: &str) -> Streaming<v1::WatchUpdate> {
    served.sweeps().watch(v1::WatchRequest { sweep: sweep.to_owned() }).await.unwrap().into_inner()
}

/// The next whole status of a watch; nothing at its end.
async fn next_status(updates: &mut Streaming<v1::WatchUpdate>) -> Option<v1::SweepStatus> {
    let mut whole = WatchedStatus::default();
    loop {
        let update = tokio::time::timeout(Duration::from_secs(60), updates.message()).await.expect("in time");
        let update = update.unwrap()?;
        assert!(update.encoded_len() < LIMIT / 4);
        if let Some(status) = whole.take(update) {
            return Some(status);
        }
    }
}

async fn jobs(served: &Served, sweep: &str, states: &[&str], conditions: &[(&str, &str)]) -> Vec<v1::JobRow> {
    let parts = all(served.sweeps().jobs(jobs_request(sweep, states, conditions)).await.unwrap().into_inner()).await;
    parts.into_iter().flat_map(|part| part.jobs).collect()
}

fn jobs_request(sweep: &str, states: &[&str], conditions: &[(&str, &str)]) -> v1::JobsRequest {
    let condition = |(key, value): &(&str, &str)| v1::Condition { key: (*key).to_owned(), value: (*value).to_owned() };
    v1::JobsRequest {
        sweep: sweep.to_owned(),
        states: states.iter().map(|state| (*state).to_owned()).collect(),
        r#where: conditions.iter().map(condition).collect(),
    }
}

fn failed(message: String) -> Body {
    let failure = v1::Failure { kind: v1::FailureKind::UserError.into(), message };
    Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) })
}

/// Takes `number` jobs and fails each with its message.
async fn fail_jobs(served: &Served, worker: &mut Worker, number: usize, message: impl Fn(usize) -> String) {
    let mut taken = Vec::new();
    for _ in 0..number {
        taken.push(worker.assignment().await);
    }
    for (nth, of) in taken.iter().enumerate() {
        worker.report(nth as u64 + 1, of, failed(message(nth))).await;
        worker.acknowledged(nth as u64 + 1).await;
    }
    let failed = status_in_parts(served, "").await.sweeps.iter().map(|sweep| sweep.failed).sum::<u64>();
    assert_eq!(failed, number as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_thousand_running_jobs_are_answered_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::on(directory.path(), Policy::default()).await;
    served.submit(&sweep("wide", 120, 100)).await.unwrap();
    let mut workers = Vec::new();
    for number in 0..24 {
        workers.push(Worker::connect(&served, &format!("worker-{number}-{}", "n".repeat(40)), 500, vec![]).await);
    }
    let mut some = None;
    for worker in &mut workers {
        for _ in 0..500 {
            some = Some(worker.assignment().await.job);
        }
    }
    let whole = status_in_parts(&served, "wide").await;
    assert_eq!((whole.sweeps.len(), whole.workers.len(), whole.sweeps[0].running), (1, 24, 12_000));
    let mut seen: Vec<&str> = whole.sweeps[0].running_jobs.iter().map(|job| &*job.of.as_ref().unwrap().job).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 12_000, "every running job is listed once");
    assert!(whole.sweeps[0].running_jobs.iter().all(|job| !job.label.is_empty()));
    for sweep in [status(&served, "wide").await, status(&served, "").await].map(|mut status| status.sweeps.remove(0)) {
        assert_eq!(sweep.running_jobs.len() as u64 + sweep.other_running, 12_000);
    }
    let watched = next_status(&mut watch(&served, "wide").await).await.unwrap();
    assert_eq!((watched.running, watched.running_jobs.len()), (12_000, 12_000));
    let rows = jobs(&served, "wide", &["running"], &[]).await;
    assert!(rows.len() == 12_000 && rows.iter().all(|row| row.worker.starts_with("worker-") && row.attempts == 1));
    assert_eq!(jobs(&served, "wide", &[], &[("seed", "3"), ("optimizer.lr", "0.00002")]).await.len(), 1);
    let request = v1::ExplainRequest { job: some.unwrap() };
    assert_eq!(served.sweeps().explain(request).await.unwrap().into_inner().attempts.len(), 1);
    drop(workers);
    served.stop().await;
}

#[tokio::test]
async fn ordinary_crash_logs_of_thirty_sweeps_do_not_break_status() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::on(directory.path(), Policy::default()).await;
    for number in 0..30 {
        served.submit(&sweep(&format!("s{number}"), 4, 5)).await.unwrap();
    }
    let mut worker = Worker::connect(&served, "w", 600, vec![]).await;
    fail_jobs(&served, &mut worker, 600, |nth| format!("job {nth} crashed\n{}", "a line of its log\n".repeat(550)))
        .await;
    let whole = status_in_parts(&served, "").await;
    assert_eq!(whole.sweeps.len(), 30);
    assert!(whole.sweeps.iter().all(|sweep| (sweep.failed, sweep.failures.len()) == (20, 20)));
    let message = &whole.sweeps[7].failures[0].failure.as_ref().unwrap().message;
    assert!(message.contains(" crashed\n") && message.ends_with("a line of its log\n"), "{message}");
    assert!(message.len() <= MOST && message.contains(" bytes left out …"), "{message}");
    let one_message = status(&served, "").await;
    assert!(one_message.sweeps.len() == 30 && one_message.sweeps.iter().all(|sweep| sweep.failed == 20));
    assert_eq!(next_status(&mut watch(&served, "s7").await).await.unwrap().failures.len(), 20);
    let rows = jobs(&served, "s7", &["failed"], &[]).await;
    assert!(rows.len() == 20 && rows.iter().all(|row| row.failure.as_ref().unwrap().message.ends_with(" crashed")));
    served.stop().await;
    let at_rest = AtRest::open(directory.path()).unwrap();
    assert_eq!(at_rest.status("").unwrap().sweeps, whole.sweeps);
}

#[tokio::test]
async fn two_failures_of_three_megabytes_are_cut_on_intake() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::on(directory.path(), Policy::default()).await;
    served.submit(&sweep("huge", 2, 1)).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 2, vec![]).await;
    fail_jobs(&served, &mut worker, 2, |nth| format!("{nth} begins {} ends", "é".repeat(1_500_000))).await;
    let sweep = status(&served, "huge").await.sweeps.remove(0);
    assert_eq!(sweep.failures.len(), 2);
    for failure in &sweep.failures {
        let message = &failure.failure.as_ref().unwrap().message;
        assert!(message.contains(" begins é") && message.ends_with("é ends") && message.len() <= MOST);
        let request = v1::ExplainRequest { job: failure.example.clone() };
        let explained = served.sweeps().explain(request).await.unwrap().into_inner();
        assert_eq!(explained.attempts[0].message, *message);
    }
    assert_eq!(next_status(&mut watch(&served, "huge").await).await.unwrap().failed, 2);
    served.stop().await;
    let store = rusqlite::Connection::open(directory.path().join("plusminus.sqlite")).unwrap();
    let longest: i64 =
        store.query_row("SELECT max(length(CAST(message AS BLOB))) FROM attempts", [], |row| row.get(0)).unwrap();
    assert!(longest <= MOST as i64, "{longest}");
}

#[tokio::test]
async fn huge_failures_in_an_old_store_are_cut_when_they_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::on(directory.path(), Policy::default()).await;
    served.submit(&sweep("old", 2, 2)).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 4, vec![]).await;
    fail_jobs(&served, &mut worker, 4, |nth| format!("failure {nth}")).await;
    served.stop().await;
    let store = rusqlite::Connection::open(directory.path().join("plusminus.sqlite")).unwrap();
    let huge = "printf('old %s begins %.*c ends', hex(randomblob(8)), 2500000, 'x')";
    store.execute(&format!("UPDATE job_states SET failure = {huge}"), []).unwrap();
    store.execute(&format!("UPDATE attempts SET message = {huge}"), []).unwrap();
    drop(store);
    let check = |status: &v1::StatusResponse| {
        assert_eq!(status.sweeps[0].failures.len(), 4);
        for failure in &status.sweeps[0].failures {
            let message = &failure.failure.as_ref().unwrap().message;
            assert!(message.starts_with("old ") && message.ends_with("x ends") && message.len() <= MOST, "{message}");
        }
        status.sweeps[0].failures[0].example.clone()
    };
    let at_rest = AtRest::open(directory.path()).unwrap();
    let job = check(&at_rest.status("old").unwrap());
    let attempts = at_rest.explain(&job).unwrap().attempts;
    assert!(attempts[0].message.len() <= MOST && attempts[0].message.starts_with("old "));
    let served = Served::on(directory.path(), Policy::default()).await;
    check(&status(&served, "old").await);
    let explained = served.sweeps().explain(v1::ExplainRequest { job }).await.unwrap().into_inner();
    assert_eq!(explained.attempts, attempts);
    served.stop().await;
}

#[tokio::test]
async fn an_explanation_of_thousands_of_attempts_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::on(directory.path(), Policy::default()).await;
    served.submit(&sweep("long", 1, 1)).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let job = worker.assignment().await.job;
    served.stop().await;
    let store = rusqlite::Connection::open(directory.path().join("plusminus.sqlite")).unwrap();
    store
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO attempts (job, attempt, worker, started, ended, ending, message)
             SELECT number, i, 'w', 1, 2, 'preempted', printf('%.*c', 3000, 'x') FROM n, job_states",
            [],
        )
        .unwrap();
    drop(store);
    let served = Served::on(directory.path(), Policy::default()).await;
    let request = v1::ExplainRequest { job };
    let parts = all(served.sweeps().explain_in_parts(request.clone()).await.unwrap().into_inner()).await;
    let numbers: Vec<u32> = parts.iter().flat_map(|part| &part.attempts).map(|attempt| attempt.attempt).collect();
    assert_eq!(numbers, (1..=3000).collect::<Vec<_>>());
    let whole = served.sweeps().explain(request).await.unwrap().into_inner();
    assert_eq!(whole.attempts.last().unwrap().attempt, 3000);
    served.stop().await;
}

#[tokio::test]
async fn jobs_are_listed_by_state_and_setting_on_either_side() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::on(directory.path(), Policy::default()).await;
    let text = "sweep: small\nseeds: 3\nbase: {dataset: fashion-mnist-10k, model: cnn, optimizer: adam, epochs: 1, \
                validation: 0.1}\ngrid:\n  loss: [cce, {name: gce, q: 0.7}]\n  noise: [none, {kind: uniform, rate: 0.4}]\n";
    served.submit(text).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 2, vec![]).await;
    let (first, second) = (worker.assignment().await, worker.assignment().await);
    worker.report(1, &first, common::epoch(0.5)).await;
    worker.acknowledged(1).await;
    worker.report(2, &second, failed("no data set\ngive --datasets".to_owned())).await;
    worker.acknowledged(2).await;
    let running = jobs(&served, "small", &["running"], &[]).await;
    let row = running.iter().find(|row| row.job == first.job).unwrap();
    assert_eq!((row.label.as_str(), row.seed, row.epoch, row.worker.as_str()), ("cce · none", 0, 1, "w"));
    let row = jobs(&served, "small", &["failed"], &[]).await.remove(0);
    let failure = row.failure.unwrap();
    assert_eq!((row.job, row.attempts, failure.message.as_str()), (second.job, 1, "no data set"));
    let shown = status(&served, "small").await.sweeps.remove(0).running_jobs;
    assert!(shown.iter().any(|job| job.label == "cce · none"), "{shown:?}");
    let count = |states: &'static [&str], conditions: &'static [(&str, &str)]| {
        let (served, directory) = (&served, directory.path());
        async move {
            let live = jobs(served, "small", states, conditions).await;
            let mut stored = Vec::new();
            let at_rest = AtRest::open(directory).unwrap();
            let request = jobs_request("small", states, conditions);
            at_rest.jobs(request, |part| (stored.extend(part.jobs), true).1).unwrap();
            assert_eq!(live, stored);
            live.len()
        }
    };
    assert_eq!(count(&[], &[]).await, 12);
    assert_eq!(count(&["queued", "failed"], &[]).await, 10);
    assert_eq!(count(&[], &[("loss", "gce")]).await, 6);
    assert_eq!(count(&[], &[("loss", "{name: gce, q: 0.70}"), ("noise", "uniform")]).await, 3);
    assert_eq!(count(&[], &[("noise.rate", "4e-1"), ("seed", "2")]).await, 2);
    for (states, conditions, code, message) in [
        (&["broken"][..], &[][..], Code::InvalidArgument, "choose one of queued, running"),
        (&[], &[("los", "gce")][..], Code::NotFound, "no configuration of `small` has a setting `los`; choose one of "),
        (&[], &[("loss", "gcee")], Code::NotFound, "no job of `small` has loss=gcee; its values are cce, gce"),
        (&[], &[("seed", "9")], Code::NotFound, "no job of `small` has seed=9; its values are 0, 1, 2"),
        (&[], &[("loss", "{")], Code::InvalidArgument, "expected a value in YAML in `loss={`"),
    ] {
        let error = match served.sweeps().jobs(jobs_request("small", states, conditions)).await {
            Ok(parts) => {
                let mut parts = parts.into_inner();
                loop {
                    match parts.message().await {
                        Ok(part) => assert!(part.unwrap().jobs.is_empty()),
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    let error = served.sweeps().jobs(jobs_request("other", &[], &[])).await.unwrap_err();
    assert!(error.code() == Code::NotFound && error.message().contains("known sweeps: small"), "{error}");
    served.stop().await;
}

#[tokio::test]
async fn ten_watchers_see_the_end_beside_one_that_does_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::on(directory.path(), Policy::default()).await;
    served.submit(&sweep("seen", 40, 5)).await.unwrap();
    let _silent = watch(&served, "seen").await;
    let mut watchers = Vec::new();
    for _ in 0..10 {
        watchers.push(watch(&served, "seen").await);
    }
    for watcher in &mut watchers {
        assert_eq!(next_status(watcher).await.unwrap().queued, 200);
    }
    let mut worker = Worker::connect(&served, "w", 200, vec![]).await;
    fail_jobs(&served, &mut worker, 200, |nth| format!("failure {nth}")).await;
    for mut watcher in watchers {
        let mut last = None;
        while let Some(status) = next_status(&mut watcher).await {
            last = Some(status);
        }
        assert_eq!(last.unwrap().failed, 200);
    }
    assert_eq!(next_status(&mut watch(&served, "seen").await).await.unwrap().failed, 200, "also afterwards");
    served.stop().await;
}
