//! Notices that the reader of standard output has gone, also while nothing is written.

/// Completes once the reader of standard output has gone; never if standard output is no pipe.
#[cfg(unix)]
#[allow(
    deprecated,
    reason = "the other constructor of AsyncFd is unsafe; this one owns its descriptor, which nothing else closes"
)]
pub async fn closed() {
    use std::io;
    use std::os::fd::AsFd;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let stdout = io::stdout().as_fd().try_clone_to_owned();
    // A file cannot be waited for, and has no reader.
    let Some(stdout) =
        stdout.and_then(|stdout| AsyncFd::with_interest(stdout, Interest::READABLE | Interest::ERROR)).ok()
    else {
        return std::future::pending().await;
    };
    loop {
        let Ok(mut guard) = stdout.ready(Interest::READABLE | Interest::ERROR).await else {
            return std::future::pending().await;
        };
        let ready = guard.ready();
        if ready.is_error() || ready.is_read_closed() || ready.is_write_closed() {
            return;
        }
        guard.clear_ready();
    }
}

/// Completes once the reader of standard output has gone. This system does not tell.
#[cfg(not(unix))]
pub async fn closed() {
    std::future::pending().await
}
