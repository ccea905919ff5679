//! A file system that has little room, and what takes the rest of it.

#![allow(dead_code, reason = "each test file uses a part")]

use super::common::Place;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A file system of its own in the directory, or nothing where this user may not mount one.
pub struct Mount(pub PathBuf);

impl Mount {
    pub fn new(place: &Place, options: &str) -> Option<Self> {
        let path = place.path().join("state");
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Mount(path))
    }

    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Leaves no room in the state directory, not in the store's log either, until it is dropped.
pub struct Filler {
    path: PathBuf,
    full: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Filler {
    pub fn start(state: &Path) -> Self {
        let (path, full) = (state.join("filler"), Arc::new(AtomicBool::new(true)));
        let mut file = fs::File::create(&path).unwrap();
        let (goes_on, store) = (Arc::clone(&full), state.join("plusminus.sqlite"));
        let fill = move || {
            let store = rusqlite::Connection::open(store).unwrap();
            while goes_on.load(Ordering::Relaxed) {
                let _ = store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                while file.write_all(&[0; 4096]).is_ok() {}
                thread::sleep(Duration::from_millis(20));
            }
        };
        Filler { path, full, thread: Some(thread::spawn(fill)) }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.full.store(false, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        fs::remove_file(&self.path).unwrap();
    }
}
