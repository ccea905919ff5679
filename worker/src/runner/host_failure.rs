//! A runner whose host has no more threads, processes or memory for them exits with a code of its own: its job is not at fault.

use super::framing::HOST_FAILED;
use crate::shortage;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, panic, process};

/// Whether a thread has panicked because the system could not start another one.
static SHORTAGE: AtomicBool = AtomicBool::new(false);

/// The exit code of a panic that is not the host's fault: that of Rust programs.
const PANICKED: i32 = 101;

/// The words of panics of the standard library, tokio and rayon when the system starts no thread.
const WORDS: [&str; 3] = ["failed to spawn thread", "can't spawn worker thread", "ThreadPoolBuildError"];

/// Watches panics from now on for those that the host causes.
pub(super) fn notice_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        if is_shortage(&panicked.to_string()) {
            SHORTAGE.store(true, Ordering::SeqCst);
        }
        print(panicked);
    }));
}

fn is_shortage(panicked: &str) -> bool {
    WORDS.iter().any(|words| panicked.contains(words))
}

/// The exit code after a panic.
pub(super) fn exit_of_panic() -> i32 {
    if SHORTAGE.load(Ordering::SeqCst) { HOST_FAILED } else { PANICKED }
}

/// Exits if the error is a shortage of the host; otherwise returns it.
pub(super) fn exit_at_shortage(error: io::Error) -> io::Error {
    if shortage::is_shortage(&error) {
        tracing::error!("{}", shortage::describe("the threads of a runner", &error));
        process::exit(HOST_FAILED);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_for_want_of_threads_are_recognised() {
        let error =
            r#"failed to spawn thread: Os { code: 11, kind: WouldBlock, message: "Resource temporarily unavailable" }"#;
        assert!(is_shortage(error));
        assert!(!is_shortage("index out of bounds: the len is 3 but the index is 3"));
    }
}
