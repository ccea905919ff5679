//! Shortages of a host: of processes, threads, memory for them, and open files. They are never the fault of a job.

use std::io;
use std::sync::mpsc;
use std::thread;

/// Describes why the system could not start `what`, such as `a runner process`, with the limit that was reached, if it is known.
pub fn describe(what: &str, error: &io::Error) -> String {
    let limit = limit(error).map_or_else(String::new, |limit| format!(": {limit}"));
    format!("cannot start {what}: {error}{limit}")
}

/// Whether the error is a shortage of processes, threads, memory or open files.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(EAGAIN | ENOMEM | ENFILE | EMFILE))
}

// The same numbers on every Unix.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const ENOMEM: i32 = 12;
#[cfg(target_os = "macos")]
const EAGAIN: i32 = 35;
#[cfg(not(target_os = "macos"))]
const EAGAIN: i32 = 11;

#[cfg(unix)]
fn limit(error: &io::Error) -> Option<String> {
    use rustix::process::{Resource, getrlimit};
    let value = |resource| getrlimit(resource).current;
    match error.raw_os_error()? {
        EAGAIN => Some(value(Resource::Nproc).map_or_else(
            || "the host or its container allows no more processes and threads".to_owned(),
            |limit| format!("this user may have {limit} processes and threads in all programs together (`ulimit -u`)"),
        )),
        EMFILE => value(Resource::Nofile).map(|limit| format!("a process may have {limit} open files (`ulimit -n`)")),
        ENFILE => Some("the host allows no more open files".to_owned()),
        _ => None,
    }
}

#[cfg(not(unix))]
fn limit(_: &io::Error) -> Option<String> {
    None
}

/// Tests whether `number` more threads can run at the same time.
///
/// # Errors
/// The system's, if one of them cannot be started.
pub fn probe_threads(number: usize) -> io::Result<()> {
    let (release, started): (Vec<_>, Vec<_>) = (0..number).map(|_| mpsc::channel::<()>()).unzip();
    let mut threads = Vec::with_capacity(number);
    let started = started.into_iter().try_for_each(|released| {
        threads.push(thread::Builder::new().spawn(move || released.recv().is_ok())?);
        Ok(())
    });
    drop(release);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_described_with_its_limit() {
        let error = io::Error::from_raw_os_error(EAGAIN);
        assert!(is_shortage(&error));
        let text = describe("a runner process", &error);
        assert!(
            text.starts_with("cannot start a runner process: ") && text.contains("processes and threads"),
            "{text}"
        );
        let error = io::Error::from_raw_os_error(EMFILE);
        assert!(is_shortage(&error));
        assert!(describe("a thread", &error).contains("`ulimit -n`"));
        assert!(
            is_shortage(&io::Error::from_raw_os_error(ENOMEM)) && is_shortage(&io::Error::from_raw_os_error(ENFILE))
        );
        let absent = io::Error::from(io::ErrorKind::NotFound);
        assert!(!is_shortage(&absent));
        assert_eq!(describe("a runner process", &absent), format!("cannot start a runner process: {absent}"));
    }

    #[test]
    fn threads_that_were_tested_have_ended() {
        probe_threads(4).unwrap();
        probe_threads(0).unwrap();
    }
}
