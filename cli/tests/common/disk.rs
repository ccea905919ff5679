//! A small file system for state directories, and a thread that fills it up.

use super::Place;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A file system, mounted at the state directory of a [`Place`].
pub struct Mount(pub PathBuf);

impl Mount {
    /// Mounts the file system. Returns `None` if this user may not mount one.
    pub fn new(place: &Place, options: &str) -> Option<Self> {
        let path = place.state();
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

/// Keeps a state directory full, and the store's write-ahead log truncated, until it is dropped.
pub struct Filler {
    path: PathBuf,
    full: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Filler {
    pub fn start(state: &Path) -> Self {
        let (path, full) = (state.join("filler"), Arc::new(AtomicBool::new(true)));
        let mut file = fs::File::create(&path).unwrap();
        let (keep_full, store) = (Arc::clone(&full), state.join("plusminus.sqlite"));
        let fill = move || {
            let store = rusqlite::Connection::open(store).unwrap();
            while keep_full.load(Ordering::Relaxed) {
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
