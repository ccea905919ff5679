//! A coordinator on a file system that is full.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed")]

mod common;

use common::{SWEEP, Served, Worker, epoch, finished};
use plusminus_core::scheduler::Policy;
use plusminus_proto::v1::{self, from_worker, to_worker};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A small file system in memory. Dropping it unmounts it.
struct Small(tempfile::TempDir);

impl Small {
    /// Returns nothing if mounting is not permitted.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(directory.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Small(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills the rest of the file system.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.path().join("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// The next message to the worker, if one arrives within 2.5 s.
async fn message_soon(worker: &mut Worker) -> Option<to_worker::Message> {
    let next = tokio::time::timeout(Duration::from_millis(2_500), worker.inbound.message()).await.ok()?;
    next.unwrap().unwrap().message
}

#[tokio::test]
async fn on_a_full_disk_only_durable_reports_are_acknowledged() {
    let Some(small) = Small::mount("1m") else {
        eprintln!("skipped: a file system cannot be mounted here");
        return;
    };
    let served = Served::on(small.path(), Policy::default()).await;
    served.submit(&SWEEP.replace("seeds: 2", "seeds: 500")).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let mut of = worker.assignment().await;
    let (mut sequence, mut reported) = (0, 0);
    small.fill();
    // Reports are accepted as long as the log and the file have space.
    let stalled = loop {
        sequence += 2;
        worker.report(sequence - 1, &of, epoch(0.5)).await;
        worker.report(sequence, &of, finished()).await;
        let mut next = None;
        loop {
            match message_soon(&mut worker).await {
                Some(to_worker::Message::Acknowledgement(a)) if a.sequence == sequence => reported += 1,
                Some(to_worker::Message::Assignment(assignment)) => next = assignment.of,
                Some(_) => {}
                None => break,
            }
            if next.is_some() && reported * 2 == sequence {
                break;
            }
        }
        match next {
            Some(next) => of = next,
            None => break sequence,
        }
        small.fill();
    };
    let refused = served.submit(SWEEP).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().contains("no space is left"), "{}", refused.message());
    assert!(refused.metadata().contains_key(plusminus_proto::STALLED));
    let beat = v1::Heartbeat { holds: vec![of.clone()], beat: 9 };
    worker.sender.send(v1::FromWorker { message: Some(from_worker::Message::Heartbeat(beat)) }).await.unwrap();
    assert!(matches!(worker.next_message().await, to_worker::Message::Renewed(v1::Renewed { beat: 9 })));
    // A transfer of weights that do not fit is to be retried.
    let content = vec![7; 4 << 20];
    let digest = plusminus_core::id::Digest::of(&content).to_string();
    let parts = content.chunks(1 << 19).map(|part| v1::WeightsPart {
        digest: digest.clone(),
        content: part.to_vec(),
        of: Some(of.clone()),
    });
    let mut client = v1::worker_service_client::WorkerServiceClient::new(served.channel.clone());
    let refused = client.put_weights(tokio_stream::iter(parts.collect::<Vec<_>>())).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");

    fs::remove_file(small.path().join("filler")).unwrap();
    while !matches!(worker.next_message().await, to_worker::Message::Acknowledgement(a) if a.sequence == stalled) {}
    reported += 1;
    assert_eq!(served.finished().await, reported);
    served.stop().await;
    let served = Served::on(small.path(), Policy::default()).await;
    assert_eq!(served.finished().await, reported, "the same number after a restart");
    served.stop().await;
}
