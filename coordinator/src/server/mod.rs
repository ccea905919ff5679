//! The coordinator process: its listening socket, services and shutdown.
//!
//! - [`limits`]: every limit, in one place.
//! - `accept`: takes connections. `connections`: the open ones, and which are closed.
//! - `call`: calls within limits. `receiving`: the limits on a request's messages.

mod accept;
mod call;
pub(crate) mod connections;
mod kind;
pub mod limits;
mod receiving;

use self::call::{Calls, Limited};
use self::connections::Connections;
use self::limits::Limits;
use crate::address::AddressFile;
use crate::driver::{Driver, Inbox};
use crate::lease_file::LeaseFile;
use crate::services::{sweeps::Sweeps, weights::Weights, workers::Workers};
use crate::store::backup::WEIGHTS;
use crate::store::{FILE, Reader, Store, StoreError};
use plusminus_core::scheduler::Policy;
use plusminus_core::sweep_file;
use plusminus_proto::DESCRIPTORS;
use plusminus_proto::endpoint::{KEEPALIVE, KEEPALIVE_TIMEOUT};
use plusminus_proto::v1::sweep_service_server::SweepServiceServer;
use plusminus_proto::v1::worker_service_server::WorkerServiceServer;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tracing::{info, warn};

/// The most accepted connections that wait to be served.
const ACCEPTED: usize = 16;

/// Why a coordinator cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Other hosts could connect.
    #[error(
        "cannot listen on {0}: plusminus has no encryption or authentication yet and listens on loopback addresses only; give --listen 127.0.0.1:PORT and connect through an SSH tunnel"
    )]
    NotLoopback(SocketAddr),
    /// Another program listens on the port.
    #[error("cannot listen on {0}: the port is in use; give another one with --listen, or port 0 to use a free one")]
    PortInUse(SocketAddr),
    /// The address cannot be used.
    #[error("cannot listen on {address}: {error}")]
    CannotListen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// gRPC cannot be served.
    #[error("cannot serve: {0}")]
    Serve(String),
}

/// A coordinator that has opened its store and its port, ready to run.
pub struct Coordinator {
    listener: TcpListener,
    address: SocketAddr,
    driver: Driver,
    inbox: Inbox,
    stop_driver: oneshot::Sender<()>,
    sweeps: Sweeps,
    workers: Workers,
    weights: Arc<Weights>,
    /// Reads which weights files results refer to.
    orphans: Reader,
    address_file: AddressFile,
    lease: Duration,
    lease_file: LeaseFile,
    limits: Limits,
}

impl Coordinator {
    /// Opens the state directory and listens.
    ///
    /// # Errors
    /// If the address is not a loopback address or cannot be used, or the state directory cannot be used.
    pub async fn bind(listen: SocketAddr, state: &Path, policy: Policy) -> Result<Self, ServerError> {
        Coordinator::bind_with(listen, state, policy, Limits::default()).await
    }

    /// [`bind`](Coordinator::bind) with other limits on what peers may hold.
    ///
    /// # Errors
    /// As there.
    pub async fn bind_with(
        listen: SocketAddr,
        state: &Path,
        mut policy: Policy,
        mut limits: Limits,
    ) -> Result<Self, ServerError> {
        if !listen.ip().is_loopback() {
            return Err(ServerError::NotLoopback(listen));
        }
        let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ServerError::PortInUse(listen),
            _ => ServerError::CannotListen { address: listen, error },
        })?;
        let address = listener.local_addr().map_err(|error| ServerError::CannotListen { address: listen, error })?;
        let store = Store::open(state)?;
        let weights = state.join(WEIGHTS);
        let unusable = |error| StoreError::Unusable { path: weights.clone(), error };
        plusminus_proto::weights::clean(&weights).map_err(unusable)?;
        let (reader, orphans) = (store.reader()?, store.reader()?);
        let (lease, lease_file) = (policy.lease, LeaseFile::open(state, policy.lease)?);
        limits = limits.with_files(open_files());
        limits.silence = limits.silence.max(4 * lease);
        policy.lease_before = lease_file.before;
        let (stop_driver, stopped) = oneshot::channel();
        let (driver, handle, inbox) = Driver::new(store, policy, stopped)?;
        let sweeps = Sweeps::new(handle.clone(), reader, sweep_file::MAX_JOBS, &limits);
        let weights = Weights::new(weights, state.join(FILE), handle.clone(), limits.weights);
        let workers = Workers::new(handle, Arc::clone(&weights), &limits);
        let address_file = AddressFile::write(state, address)?;
        Ok(Coordinator {
            listener,
            address,
            driver,
            inbox,
            stop_driver,
            sweeps,
            workers,
            weights,
            orphans,
            address_file,
            lease,
            lease_file,
            limits,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` or until the store fails for good. While the disk is full, it waits for space.
    ///
    /// # Errors
    /// If the store is damaged. Nothing was acknowledged that was not durable.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<SweepServiceServer<Sweeps>>().await;
        reporter.set_serving::<WorkerServiceServer<Workers>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| ServerError::Serve(error.to_string()))?;
        let (stop_server, server_stopped) = oneshot::channel::<()>();
        let connections = Connections::new(self.limits.connections);
        let (accepted, incoming) = mpsc::channel(ACCEPTED);
        // Ends when the server drops the receiving end.
        tokio::spawn(accept::accept(self.listener, Arc::clone(&connections), self.limits.clone(), accepted));
        let removing_orphans = tokio::spawn(Arc::clone(&self.weights).remove_orphans(self.orphans));
        let closing_stalled = tokio::spawn(close_stalled(Arc::clone(&connections), self.limits.clone()));
        let (limits, calls) = (&self.limits, Calls::new(self.limits.clone()));
        let sweeps = SweepServiceServer::new(self.sweeps).max_decoding_message_size(limits.messages.submission);
        let workers = WorkerServiceServer::new(self.workers).max_decoding_message_size(limits.messages.session);
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(limits.calls_per_connection)
            .initial_stream_window_size(limits.windows.0)
            .initial_connection_window_size(limits.windows.1)
            .http2_max_header_list_size(limits.headers)
            .add_service(Limited::new(health, &calls))
            .add_service(Limited::new(reflection, &calls))
            .add_service(Limited::new(sweeps, &calls))
            .add_service(Limited::new(workers, &calls))
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), async {
                let _ = server_stopped.await;
            });
        let mut server = tokio::spawn(server);
        let mut driver = tokio::spawn(self.driver.run(self.inbox, self.limits.closing));
        let (lease, lease_file) = (self.lease, self.lease_file);
        let shorten_leases = tokio::spawn(async move {
            if lease_file.before > lease {
                // The scheduler waits as long for workers that hold a lease of the previous coordinator process.
                tokio::time::sleep(2 * lease_file.before).await;
                if let Err(error) = lease_file.write(lease) {
                    warn!("{error}: after a restart, the coordinator will wait for longer leases than necessary");
                }
            }
        });
        info!(address = %self.address, "listening");
        let ended = tokio::select! {
            () = stop => {
                // The address file goes before the lock is released, since the next coordinator writes its own.
                drop(self.address_file);
                let _ = self.stop_driver.send(());
                driver.await
            }
            ended = &mut driver => ended,
            served = &mut server => return match served {
                Ok(Err(error)) => Err(ServerError::Serve(error.to_string())),
                Ok(Ok(())) => Err(ServerError::Serve("the server ended unexpectedly".to_owned())),
                Err(error) => Err(ServerError::Serve(error.to_string())),
            },
        };
        shorten_leases.abort();
        // The end of the driver ends the workers' streams, so the server can stop.
        let _ = stop_server.send(());
        if tokio::time::timeout(self.limits.grace, &mut server).await.is_err() {
            server.abort();
        }
        // Calls that their peers have not ended, such as stalled transfers.
        connections.close_all();
        self.weights.uploads_ended(self.limits.grace).await;
        closing_stalled.abort();
        removing_orphans.abort();
        ended.map_err(|error| ServerError::Serve(error.to_string()))?.map_err(ServerError::Store)
    }
}

/// The number of files that this process may open; `None` if there is no limit.
fn open_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Closes idle and stalled connections until it is aborted.
async fn close_stalled(connections: Arc<Connections>, limits: Limits) {
    let shortest = limits.first_request.min(limits.idle).min(limits.stall);
    let mut tick = tokio::time::interval((shortest / 4).max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        connections.close_stalled(&limits);
    }
}
