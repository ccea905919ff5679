//! The open connections: how many there are, what they do, and which are closed.
//!
//! A connection is closed if it sends no request for too long or does not read the answers, and the longest idle one if a new peer
//! finds no room.

use super::kind::Kind;
use super::limits::Limits;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// How a peer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP, from this address.
    Tcp(SocketAddr),
}

/// A connection's bytes.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for S {}

/// The open connections.
pub(crate) struct Connections {
    limit: usize,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

impl Connections {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Connections { limit, open: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// Adds a connection. If there is no room, the longest idle connection is closed for it; `None` if all are in use.
    pub fn admit(self: &Arc<Self>, peer: Peer, socket: impl Socket) -> Option<PeerIo> {
        let mut open = lock(&self.open);
        if open.len() >= self.limit {
            close_longest_idle(&mut open)?;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            number,
            peer,
            activity: Mutex::new(Activity { calls: BTreeMap::new(), requests: 0, since: Instant::now() }),
            closed: AtomicBool::new(false),
            waker: Mutex::new(None),
            registry: Arc::downgrade(self),
        });
        open.insert(number, Arc::clone(&connection));
        Some(PeerIo { socket: Box::new(socket), connection })
    }

    /// Closes the connection that has been without a call for longest, if there is one.
    pub fn close_longest_idle(&self) {
        close_longest_idle(&mut lock(&self.open));
    }

    /// Closes connections that have been without a call for too long, or whose peer does not read.
    pub fn close_stalled(&self, limits: &Limits) {
        let now = Instant::now();
        let is_over = |connection: &Connection| {
            let limit = if connection.has_requested() { limits.idle } else { limits.first_request };
            connection.idle_for(now).is_some_and(|idle| idle >= limit)
                || connection.unread_for(now).is_some_and(|unread| unread >= limits.stall)
        };
        lock(&self.open).values().filter(|connection| is_over(connection)).for_each(|connection| connection.close());
    }

    /// Closes all connections.
    pub fn close_all(&self) {
        lock(&self.open).values().for_each(|connection| connection.close());
    }
}

/// Closes and removes the connection that has been without a call for longest. Those without any request go first.
fn close_longest_idle(open: &mut BTreeMap<u64, Arc<Connection>>) -> Option<()> {
    let now = Instant::now();
    let rank = |connection: &Connection| Some((!connection.has_requested(), connection.idle_for(now)?));
    let idle = open.values().filter_map(|connection| Some((rank(connection)?, connection.number)));
    let (_, longest) = idle.max()?;
    open.remove(&longest)?.close();
    Some(())
}

/// One open connection.
pub(crate) struct Connection {
    number: u64,
    peer: Peer,
    activity: Mutex<Activity>,
    closed: AtomicBool,
    /// The task that serves the connection.
    waker: Mutex<Option<Waker>>,
    registry: Weak<Connections>,
}

struct Activity {
    /// The open calls, by number.
    calls: BTreeMap<u64, CallState>,
    /// Requests since the connection was opened.
    requests: u64,
    /// When the last call ended, or the connection was opened.
    since: Instant,
}

/// An open call.
struct CallState {
    kind: Kind,
    /// Since when it waits for the peer to read.
    unread: Option<Instant>,
}

impl Connection {
    /// How the peer is connected.
    #[allow(dead_code, reason = "the check of access uses it")]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// How long it has been without a call; `None` while a call is open.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let activity = lock(&self.activity);
        activity.calls.is_empty().then(|| now.saturating_duration_since(activity.since))
    }

    /// How long a call has waited for the peer to read.
    fn unread_for(&self, now: Instant) -> Option<Duration> {
        let longest = lock(&self.activity).calls.values().filter_map(|call| call.unread).min()?;
        Some(now.saturating_duration_since(longest))
    }

    fn has_requested(&self) -> bool {
        lock(&self.activity).requests > 0
    }

    /// Ends the connection, and with it all of its calls.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    /// An error if the connection was closed; otherwise `context` is woken when it is.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        let mut waker = lock(&self.waker);
        if self.closed.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Ok(())
    }
}

/// An open call of a connection, until it is dropped.
pub(super) struct OpenCall {
    connection: Arc<Connection>,
    number: u64,
    /// Whether it waits for the peer to read.
    is_unread: bool,
}

impl OpenCall {
    /// Adds a call, unless the connection has `most` of its kind.
    pub fn on(connection: &Arc<Connection>, kind: Kind, most: usize) -> Option<Self> {
        let mut activity = lock(&connection.activity);
        activity.requests += 1;
        if activity.calls.values().filter(|call| call.kind == kind).count() >= most {
            return None;
        }
        let number = activity.requests;
        activity.calls.insert(number, CallState { kind, unread: None });
        drop(activity);
        Some(OpenCall { connection: Arc::clone(connection), number, is_unread: false })
    }

    /// Notes that the call has sent something and waits until the peer has read it.
    pub fn wait_for_peer(&mut self) {
        self.set_unread(Some(Instant::now()));
    }

    /// Notes that the peer has read what was sent.
    pub fn peer_has_read(&mut self) {
        if self.is_unread {
            self.set_unread(None);
        }
    }

    fn set_unread(&mut self, since: Option<Instant>) {
        self.is_unread = since.is_some();
        if let Some(call) = lock(&self.connection.activity).calls.get_mut(&self.number) {
            call.unread = since;
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut activity = lock(&self.connection.activity);
        activity.calls.remove(&self.number);
        activity.since = Instant::now();
    }
}

/// The bytes of an open connection.
pub(crate) struct PeerIo {
    socket: Box<dyn Socket>,
    connection: Arc<Connection>,
}

impl Connected for PeerIo {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}

impl Drop for PeerIo {
    fn drop(&mut self) {
        if let Some(registry) = self.connection.registry.upgrade() {
            lock(&registry.open).remove(&self.connection.number);
        }
    }
}

impl AsyncRead for PeerIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.check(cx)?;
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check(cx)?;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check(cx)?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check(cx)?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check(cx)?;
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn admit(connections: &Arc<Connections>) -> Option<PeerIo> {
        connections.admit(Peer::Tcp(([127, 0, 0, 1], 1).into()), tokio::io::duplex(1).0)
    }

    fn is_closed(io: &PeerIo) -> bool {
        io.connection.closed.load(Ordering::Acquire)
    }

    #[test]
    fn the_longest_idle_connection_makes_room_and_used_ones_stay() {
        let connections = Connections::new(4);
        let [used, asked, silent, other] = [(); 4].map(|()| admit(&connections).unwrap());
        let _call = OpenCall::on(&used.connection, Kind::Session, 1).unwrap();
        drop(OpenCall::on(&asked.connection, Kind::Request, 1));
        let closed = || [&used, &asked, &silent, &other].map(is_closed);
        let fifth = admit(&connections).unwrap();
        assert_eq!(closed(), [false, false, true, false], "the older of those without a request");
        let sixth = admit(&connections).unwrap();
        assert_eq!(closed(), [false, false, true, true]);
        let calls = [&asked, &fifth, &sixth].map(|io| OpenCall::on(&io.connection, Kind::Request, 1).unwrap());
        assert!(admit(&connections).is_none(), "all are in use");
        drop(calls);
        drop((asked, fifth));
        assert!(admit(&connections).is_some(), "closed ones leave their places");
        assert!(!is_closed(&used) && !is_closed(&sixth));
    }

    #[test]
    fn a_connection_has_a_share_of_the_calls_of_a_kind() {
        let connections = Connections::new(1);
        let io = admit(&connections).unwrap();
        let first = OpenCall::on(&io.connection, Kind::Watch, 1).unwrap();
        assert!(OpenCall::on(&io.connection, Kind::Watch, 1).is_none());
        let _other = OpenCall::on(&io.connection, Kind::Request, 1).unwrap();
        drop(first);
        OpenCall::on(&io.connection, Kind::Watch, 1).unwrap();
    }

    #[test]
    fn only_peers_that_do_not_read_are_closed_as_stalled() {
        let connections = Connections::new(2);
        let [reading, unread] = [(); 2].map(|()| admit(&connections).unwrap());
        let calls = [&reading, &unread].map(|io| OpenCall::on(&io.connection, Kind::Watch, 1).unwrap());
        let [mut read, mut waiting] = calls;
        read.wait_for_peer();
        read.peer_has_read();
        waiting.wait_for_peer();
        connections.close_stalled(&Limits { stall: Duration::ZERO, ..Limits::default() });
        assert_eq!([&reading, &unread].map(is_closed), [false, true]);
    }
}
