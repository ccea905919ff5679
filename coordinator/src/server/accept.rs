//! Accepts connections, within limits. If the system has no files or memory left, it waits and says so.

use super::connections::{Connections, Peer, PeerIo, Socket};
use super::limits::Limits;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::warn;

/// Where connections come from.
pub(crate) trait Listener: Send + 'static {
    type Socket: Socket;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Socket, Peer)>> + Send;
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (socket, address) = TcpListener::accept(self).await?;
        // A connection that has ended already fails on its first read.
        let _ = socket.set_nodelay(true);
        Ok((socket, Peer::Tcp(address)))
    }
}

/// Accepts connections until the receiving end is dropped.
pub(crate) async fn accept(
    listener: impl Listener,
    connections: Arc<Connections>,
    limits: Limits,
    accepted: mpsc::Sender<io::Result<PeerIo>>,
) {
    let (shortest, longest) = limits.accept_pause;
    let (mut pause, mut log) = (shortest, Log::new(limits.log_pause));
    loop {
        let next = tokio::select! {
            next = listener.accept() => next,
            () = accepted.closed() => return,
        };
        match next {
            Ok((socket, peer)) => {
                pause = shortest;
                match connections.admit(peer, socket) {
                    Some(io) => {
                        if accepted.send(Ok(io)).await.is_err() {
                            return;
                        }
                    }
                    None => log.warn("all connections are in use: refusing another one"),
                }
            }
            // The peer has gone.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                log.warn(&format!("cannot accept connections: {error}; retrying. Open ones continue"));
                // An idle connection that ends gives its file to the next one.
                connections.close_longest_idle();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

/// Logs trouble that repeats, once per pause.
struct Log {
    pause: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl Log {
    fn new(pause: Duration) -> Self {
        Log { pause, last: None, suppressed: 0 }
    }

    fn warn(&mut self, message: &str) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) < self.pause) {
            self.suppressed += 1;
            return;
        }
        match std::mem::take(&mut self.suppressed) {
            0 => warn!("{message}"),
            times => warn!("{message} ({times} times since the last line)"),
        }
        self.last = Some(now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Fails to accept for a while, as without a free file, and then accepts one connection.
    struct Exhausted {
        failures: usize,
        accepts: Arc<AtomicUsize>,
    }

    impl Listener for Exhausted {
        type Socket = tokio::io::DuplexStream;

        async fn accept(&self) -> io::Result<(Self::Socket, Peer)> {
            /// EMFILE.
            const TOO_MANY_FILES: i32 = 24;
            match self.accepts.fetch_add(1, Ordering::Relaxed) {
                made if made < self.failures => Err(io::Error::from_raw_os_error(TOO_MANY_FILES)),
                made if made == self.failures => Ok((tokio::io::duplex(1).0, Peer::Tcp(([127, 0, 0, 1], 1).into()))),
                _ => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn failed_accepts_are_followed_by_growing_pauses() {
        let limits = Limits { accept_pause: (Duration::from_millis(1), Duration::from_secs(60)), ..Limits::default() };
        let (sender, mut accepted) = mpsc::channel(1);
        let accepts = Arc::new(AtomicUsize::new(0));
        let listener = Exhausted { failures: 4, accepts: Arc::clone(&accepts) };
        let connections = Connections::new(8);
        let began = Instant::now();
        let accepting = tokio::spawn(accept(listener, connections, limits, sender));
        accepted.recv().await.unwrap().unwrap();
        assert!(began.elapsed() >= Duration::from_millis(1 + 2 + 4 + 8));
        drop(accepted);
        accepting.await.unwrap();
        assert!(accepts.load(Ordering::Relaxed) <= 6, "it does not spin");
    }

    #[test]
    fn repeated_trouble_is_logged_once_per_pause() {
        let mut log = Log::new(Duration::from_secs(3_600));
        for _ in 0..3 {
            log.warn("no files are left");
        }
        assert_eq!(log.suppressed, 2);
        log.pause = Duration::ZERO;
        log.warn("no files are left");
        assert_eq!(log.suppressed, 0);
    }
}
