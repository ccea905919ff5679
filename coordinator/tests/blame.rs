//! Workers in quarantine, paused sweeps and limits, over real connections.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{SWEEP, Served, Worker, epoch, finished};
use plusminus_core::scheduler::Policy;
use plusminus_proto::v1::worker_service_client::WorkerServiceClient;
use plusminus_proto::v1::{self, from_worker, report::Body, to_worker};
use std::time::Duration;
use tonic::Code;

fn failed(kind: v1::FailureKind, message: &str) -> Body {
    let failure = v1::Failure { kind: kind.into(), message: message.to_owned() };
    Body::Ended(v1::Ending { how: Some(v1::ending::How::Failed(failure)) })
}

async fn status(served: &Served) -> v1::StatusResponse {
    served.sweeps().status(v1::StatusRequest::default()).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_bad_worker_is_shown_in_quarantine_until_a_user_lifts_it() {
    let state = tempfile::tempdir().unwrap();
    let policy = Policy { backoff: Duration::from_secs(30), ..Policy::default() };
    let served = Served::on(state.path(), policy).await;
    served.submit(&SWEEP.replace("seeds: 2", "seeds: 4")).await.unwrap();
    let mut good = Worker::connect(&served, "good", 1, vec![]).await;
    let of_good = good.assignment().await;
    let mut bad = Worker::connect(&served, "bad", 3, vec![]).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(bad.assignment().await);
    }
    for (sequence, of) in (1..).zip(&jobs) {
        bad.report(sequence, of, failed(v1::FailureKind::Infrastructure, "signal 11")).await;
    }
    while status(&served).await.quarantines.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let quarantine = status(&served).await.quarantines.remove(0);
    assert_eq!((quarantine.worker.as_str(), quarantine.cause.as_str(), quarantine.pauses), ("bad", "failures", 1));
    assert!(quarantine.probation && quarantine.reason.contains("signal 11") && quarantine.pause_milliseconds > 0);
    let request = v1::ExplainRequest { job: jobs[0].job.clone() };
    let explained = served.sweeps().explain(request).await.unwrap().into_inner();
    assert_eq!((explained.failed_on, explained.quarantines.len()), (vec!["bad".to_owned()], 1));
    let reinstate = |worker: &str| v1::ReinstateRequest { worker: worker.to_owned() };
    let unknown = served.sweeps().reinstate(reinstate("other")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("in quarantine: bad"), "{unknown}");
    assert!(served.sweeps().reinstate(reinstate("bad")).await.unwrap().into_inner().was_in_quarantine);
    assert!(status(&served).await.quarantines.is_empty());
    good.report(1, &of_good, epoch(0.5)).await;
    good.report(2, &of_good, finished()).await;
    served.stop().await;
}

#[tokio::test]
async fn a_sweep_whose_first_jobs_fail_alike_is_shown_as_paused() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    served.submit(&SWEEP.replace("seeds: 2", "seeds: 15")).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    for number in 1..=20 {
        let of = loop {
            if let to_worker::Message::Assignment(assignment) = worker.next_message().await {
                break assignment.of.unwrap();
            }
        };
        worker.report(number, &of, failed(v1::FailureKind::UserError, &format!("no data for job {}", of.job))).await;
    }
    worker.acknowledged(20).await;
    let paused = served.status().await.paused.unwrap();
    assert_eq!(paused.jobs, 20);
    assert!(paused.failure.unwrap().message.contains("no data"));
    // The watch of a paused sweep ends once no job runs.
    let watched = served.sweeps().watch(v1::WatchRequest { sweep: "small".to_owned() }).await.unwrap();
    let last = watched.into_inner().message().await.unwrap().unwrap().status.unwrap();
    assert!(last.paused.is_some() && last.is_over());
    let resume = v1::ResumeRequest { sweep: "small".to_owned(), failed: true, jobs: vec![] };
    served.sweeps().resume(resume).await.unwrap();
    assert!(served.status().await.paused.is_none());
    worker.assignment().await;
    served.stop().await;
}

#[tokio::test]
async fn a_hello_beyond_a_limit_is_refused_with_the_limit() {
    let state = tempfile::tempdir().unwrap();
    let served = Served::on(state.path(), Policy::default()).await;
    let device = v1::Device { name: "cpu".to_owned(), slots: 1 << 31, ..v1::Device::default() };
    let hello = v1::Hello { worker: "hog".to_owned(), devices: vec![device], ..v1::Hello::default() };
    let message = v1::FromWorker { message: Some(from_worker::Message::Hello(hello)) };
    let mut client = WorkerServiceClient::new(served.channel.clone());
    let refused = client.session(tokio_stream::iter([message])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "field `slots`: expected at most 1024, found 2147483648");
    // An open session that announces more ends with the same reason.
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let device = v1::Device { name: "cpu".to_owned(), slots: 2_000, ..v1::Device::default() };
    let devices = from_worker::Message::Devices(v1::Devices { devices: vec![device] });
    worker.sender.send(v1::FromWorker { message: Some(devices) }).await.unwrap();
    let ended = worker.inbound.message().await.unwrap_err();
    assert!(ended.message().contains("expected at most 1024, found 2000"), "{ended}");
    served.stop().await;
}
