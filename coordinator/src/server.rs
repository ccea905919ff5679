//! The coordinator process: its listening socket, services and shutdown.

use crate::address::AddressFile;
use crate::driver::{Driver, Inbox};
use crate::lease_file::LeaseFile;
use crate::services::{sweeps::Sweeps, workers::Workers};
use crate::store::backup::WEIGHTS;
use crate::store::{Store, StoreError};
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
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tracing::{info, warn};

/// The grace period for open calls when the coordinator stops.
const GRACE: Duration = Duration::from_secs(2);

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
    address_file: AddressFile,
    lease: Duration,
    lease_file: LeaseFile,
}

impl Coordinator {
    /// Opens the state directory and listens.
    ///
    /// # Errors
    /// If the address is not a loopback address or cannot be used, or the state directory cannot be used.
    pub async fn bind(listen: SocketAddr, state: &Path, mut policy: Policy) -> Result<Self, ServerError> {
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
        let reader = store.reader()?;
        let (lease, lease_file) = (policy.lease, LeaseFile::open(state, policy.lease)?);
        policy.lease_before = lease_file.before;
        let (stop_driver, stopped) = oneshot::channel();
        let trains_only = policy.only.clone();
        let (driver, handle, inbox) = Driver::new(store, policy, stopped)?;
        let sweeps = Sweeps::new(handle.clone(), reader, sweep_file::MAX_JOBS, trains_only);
        let workers = Workers::new(handle, weights);
        let address_file = AddressFile::write(state, address)?;
        Ok(Coordinator {
            listener,
            address,
            driver,
            inbox,
            stop_driver,
            sweeps,
            workers,
            address_file,
            lease,
            lease_file,
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
        let server = Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(health)
            .add_service(reflection)
            .add_service(SweepServiceServer::new(self.sweeps))
            .add_service(WorkerServiceServer::new(self.workers))
            .serve_with_incoming_shutdown(TcpListenerStream::new(self.listener), async {
                let _ = server_stopped.await;
            });
        let mut server = tokio::spawn(server);
        let mut driver = tokio::spawn(self.driver.run(self.inbox));
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
        if tokio::time::timeout(GRACE, &mut server).await.is_err() {
            server.abort();
        }
        ended.map_err(|error| ServerError::Serve(error.to_string()))?.map_err(ServerError::Store)
    }
}
