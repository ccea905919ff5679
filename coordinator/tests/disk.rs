//! A coordinator on a file system that is really full.

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

/// A file system of its own, in memory, as long as it lasts.
struct Small(tempfile::TempDir);

impl Small {
    /// Nothing where that is not permitted.
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

    /// Takes all the room that is left.
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

/// What the worker is told, if anything for a while.
async fn told(worker: &mut Worker) -> Option<to_worker::Message> {
    let next = tokio::time::timeout(Duration::from_millis(2_500), worker.inbound.message()).await.ok()?;
    next.unwrap().unwrap().message
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_that_is_not_kept_and_it_goes_on_when_there_is_room() {
    let Some(small) = Small::mount("1m") else {
        eprintln!("skipped: a file system cannot be mounted here");
        return;
    };
    let served = Served::on(small.path(), Policy::default()).await;
    served.submit(&SWEEP.replace("seeds: 2", "seeds: 500")).await.unwrap();
    let mut worker = Worker::join(&served, "w", 1, vec![]).await;
    let mut of = worker.assignment().await;
    let (mut sequence, mut reported) = (0, 0);
    small.fill();
    // What the log and the file still have room for is taken in and kept; then nothing is.
    let stalled = loop {
        sequence += 2;
        worker.report(sequence - 1, &of, epoch(0.5)).await;
        worker.report(sequence, &of, finished()).await;
        let mut next = None;
        loop {
            match told(&mut worker).await {
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
    assert!(refused.message().contains("no room is left"), "{}", refused.message());
    assert!(refused.metadata().contains_key(plusminus_proto::STALLED));
    let beat = v1::Heartbeat { holds: vec![of.clone()], beat: 9 };
    worker.sender.send(v1::FromWorker { message: Some(from_worker::Message::Heartbeat(beat)) }).await.unwrap();
    assert!(matches!(worker.told().await, to_worker::Message::Renewed(v1::Renewed { beat: 9 })));
    // Weights that there is no room for are to be tried again.
    let content = vec![7; 4 << 20];
    let digest = plusminus_core::id::Digest::of(&content).to_string();
    let parts = content.chunks(1 << 19).map(|part| v1::WeightsPart { digest: digest.clone(), content: part.to_vec() });
    let mut client = v1::worker_service_client::WorkerServiceClient::new(served.channel.clone());
    let refused = client.put_weights(tokio_stream::iter(parts.collect::<Vec<_>>())).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");

    fs::remove_file(small.path().join("filler")).unwrap();
    while !matches!(worker.told().await, to_worker::Message::Acknowledgement(a) if a.sequence == stalled) {}
    reported += 1;
    assert_eq!(served.finished().await, reported);
    served.stop().await;
    let served = Served::on(small.path(), Policy::default()).await;
    assert_eq!(served.finished().await, reported, "as many as were reported, after a restart too");
    served.stop().await;
}
