//! Signals that ask the process to stop.

use crate::exit::Exit;
use std::future::Future;

/// Completes at Ctrl-C, SIGTERM or SIGHUP. The next such signal ends the process at once.
pub async fn stop_requested() {
    stop_requested_or(std::future::pending()).await;
}

/// Completes at a signal, or when `other` completes. The next signal ends the process at once.
pub async fn stop_requested_or(other: impl Future<Output = ()>) {
    tokio::select! {
        () = signalled() => {}
        () = other => {}
    }
    // tokio has replaced the default action of these signals for good: without a listener they would be lost.
    tokio::spawn(async {
        signalled().await;
        std::process::exit(Exit::Interrupted as i32);
    });
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
        (Ok(mut terminate), Ok(mut hangup)) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        }
        _ => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn signalled() {
    drop(tokio::signal::ctrl_c().await);
}
