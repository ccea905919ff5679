//! A coordinator on a file system that is full or fails, and one whose files are moved away.

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

#[tokio::test]
async fn a_state_directory_that_is_moved_away_stalls_until_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let [state, aside] = ["state", "aside"].map(|name| place.path().join(name));
    let served = Served::on(&state, Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    fs::rename(&state, &aside).unwrap();
    worker.report(1, &of, epoch(0.5)).await;
    worker.report(2, &of, finished()).await;
    // Whether the reports or this request come first, the store is found to be missing.
    let refused = served.submit(SWEEP).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().contains("was deleted or moved away"), "{}", refused.message());
    assert!(refused.metadata().contains_key(plusminus_proto::STALLED));
    fs::rename(&aside, &state).unwrap();
    while !matches!(worker.next_message().await, to_worker::Message::Acknowledgement(a) if a.sequence == 2) {}
    assert_eq!(served.finished().await, 1);
    served.stop().await;
    let served = Served::on(&state, Policy::default()).await;
    assert_eq!(served.finished().await, 1, "the same number after a restart");
    served.stop().await;
}

/// An ext4 file system in a file, which can be made to fail. Dropping it unmounts it.
struct Fragile(tempfile::TempDir);

impl Fragile {
    /// Returns nothing if mounting is not permitted, or a program is missing.
    fn mount() -> Option<Self> {
        let fragile = Fragile(tempfile::tempdir().unwrap());
        File::create(fragile.image()).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(fragile.path()).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(fragile.image()).output();
        let has_python = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
        let made = made.is_ok_and(|output| output.status.success()) && has_python;
        (made && fragile.mount_image()).then_some(fragile)
    }

    fn image(&self) -> std::path::PathBuf {
        self.0.path().join("image")
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("mounted")
    }

    fn mount_image(&self) -> bool {
        let mounted = Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()).output();
        mounted.is_ok_and(|output| output.status.success())
    }

    /// Every access fails from now on, as on a broken disk.
    fn fail(&self) {
        // EXT4_IOC_SHUTDOWN, which writes the journal first.
        let program = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 1))";
        let failed = Command::new("python3").args(["-c", program]).arg(self.path()).output().unwrap();
        assert!(failed.status.success(), "{}", String::from_utf8_lossy(&failed.stderr));
    }

    fn unmount(&self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.unmount();
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_not_called_damaged() {
    let Some(fragile) = Fragile::mount() else {
        eprintln!("skipped: a file system cannot be made and mounted here");
        return;
    };
    let state = fragile.path().join("state");
    let served = Served::on(&state, Policy::default()).await;
    served.submit(SWEEP).await.unwrap();
    let mut worker = Worker::connect(&served, "w", 1, vec![]).await;
    let of = worker.assignment().await;
    worker.report(1, &of, epoch(0.5)).await;
    worker.acknowledged(1).await;
    fragile.fail();
    worker.report(2, &of, finished()).await;
    let refused = served.submit(&SWEEP.replace("seeds: 2", "seeds: 3")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    assert!(refused.message().contains("check its disk"), "{}", refused.message());
    assert!(!refused.message().contains("damaged"), "{}", refused.message());
    // Opening the store now fails with the same error.
    let texts = [
        plusminus_coordinator::Reader::open(&state)
            .and_then(|reader| reader.records())
            .map_err(|error| error.to_string())
            .err(),
        plusminus_coordinator::Store::open(&state).map_err(|error| error.to_string()).err(),
        plusminus_coordinator::verify(&state).map_err(|error| error.to_string()).err(),
    ];
    assert!(texts.iter().flatten().all(|text| !text.contains("damaged")), "{texts:?}");
    served.stop().await;
    fragile.unmount();
    assert!(fragile.mount_image());
    let served = Served::on(&state, Policy::default()).await;
    assert_eq!(served.status().await.running, 1, "what was acknowledged is there");
    served.stop().await;
}
