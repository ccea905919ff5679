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
