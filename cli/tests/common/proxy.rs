//! A proxy between workers and their coordinator that can reset connections and hold back bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Forwards connections to the address at which the coordinator currently listens.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    _runtime: Runtime,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    connections: Mutex<BTreeMap<u64, watch::Sender<bool>>>,
    last: AtomicU64,
    /// Holds bytes back: connections stay open, and nothing arrives.
    cut: AtomicBool,
    held_back: AtomicU64,
}

impl Proxy {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(None),
            connections: Mutex::default(),
            last: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            held_back: AtomicU64::new(0),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Proxy { shared, address, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forwards new connections to this URL.
    pub fn aim(&self, url: &str) {
        *self.shared.target.lock().unwrap() = Some(url.trim_start_matches("http://").parse().unwrap());
    }

    /// Resets every open connection, and returns their number.
    pub fn reset(&self) -> usize {
        let connections = std::mem::take(&mut *self.shared.connections.lock().unwrap());
        connections.values().filter(|connection| connection.send(true).is_ok()).count()
    }

    /// Starts or stops holding bytes back.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::SeqCst);
    }

    /// Number of reads that were held back so far.
    pub fn held_back(&self) -> u64 {
        self.shared.held_back.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let Some(target) = *shared.target.lock().unwrap() else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            // Closing sends a reset.
            let _ = (client.set_zero_linger(), server.set_zero_linger());
            let number = shared.last.fetch_add(1, Ordering::SeqCst);
            let (reset, mut requested) = watch::channel(false);
            shared.connections.lock().unwrap().insert(number, reset);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let there = tokio::spawn(forward(from_client, to_server, Arc::clone(&shared)));
            let back = tokio::spawn(forward(from_server, to_client, Arc::clone(&shared)));
            let (stop_there, stop_back) = (there.abort_handle(), back.abort_handle());
            tokio::select! {
                _ = there => {}
                _ = back => {}
                _ = requested.wait_for(|requested| *requested) => {}
            }
            stop_there.abort();
            stop_back.abort();
            shared.connections.lock().unwrap().remove(&number);
        });
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        if shared.cut.load(Ordering::SeqCst) {
            shared.held_back.fetch_add(1, Ordering::SeqCst);
            while shared.cut.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
