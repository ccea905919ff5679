//! Signals that ask the process to stop. Those that the process that started this one has set to be ignored stay ignored.

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
    use plusminus_worker::ignored_signals::Signal;
    tokio::select! {
        () = received(Signal::Terminate) => {}
        () = received(Signal::Hangup) => {}
        () = received(Signal::Interrupt) => {}
    }
}

/// Completes when the signal arrives: never, if it is ignored.
#[cfg(unix)]
async fn received(signal: plusminus_worker::ignored_signals::Signal) {
    use tokio::signal::unix::SignalKind;
    // A handler would end that `nohup` and the shell's `&` protect this process.
    if plusminus_worker::ignored_signals::is_ignored(signal) {
        return std::future::pending().await;
    }
    match tokio::signal::unix::signal(SignalKind::from_raw(signal as i32)) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(error) => {
            tracing::warn!(%error, ?signal, "cannot wait for a signal: it ends this process at once");
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
async fn signalled() {
    drop(tokio::signal::ctrl_c().await);
}
