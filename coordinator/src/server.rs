//! Listening, and everything that is served.

use crate::address::AddressFile;
use crate::driver::{Driver, Inbox};
use crate::lease::LeaseFile;
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

/// How long open calls may take to end when the coordinator stops.
const GRACE: Duration = Duration::from_secs(2);

/// Why a coordinator cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It would be reachable from elsewhere.
    #[error(
        "refusing to listen on {0}: until TLS and tokens exist plusminus serves the loopback interface only; give --listen 127.0.0.1:PORT and reach it through an SSH tunnel"
    )]
    NotLoopback(SocketAddr),
    /// Somebody else listens there.
    #[error("cannot listen on {0}: the port is in use; give another one with --listen, or port 0 for a free one")]
    PortInUse(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    CannotListen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// gRPC cannot be served.
    #[error("cannot serve: {0}")]
    Serve(String),
}

/// A coordinator that has its store and its port, and is yet to run.
pub struct Coordinator {
    listener: TcpListener,
    address: SocketAddr,
    driver: Driver,
    inbox: Inbox,
    stop_driver: oneshot::Sender<()>,
    sweeps: Sweeps,
    workers: Workers,
    address_file: AddressFile,
    /// How long leases are, in milliseconds.
    lease: u64,
    lease_file: LeaseFile,
}

impl Coordinator {
    /// Opens the state directory and listens.
    ///
    /// # Errors
    /// If the address is not a loopback one or cannot be had, or the state directory cannot be used.
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
        let (lease, lease_file) = (policy.lease, LeaseFile::begin(state, policy.lease)?);
        policy.lease_before = lease_file.before;
        let (stop_driver, stopped) = oneshot::channel();
        let (driver, handle, inbox) = Driver::new(store, policy, stopped)?;
        let sweeps = Sweeps::new(handle.clone(), reader, sweep_file::MAX_JOBS);
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, or until the store fails for good. A full disk is waited for.
    ///
    /// # Errors
    /// If the store is damaged: nothing that was not durable has been acknowledged.
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
        let shorter = tokio::spawn(async move {
            if lease_file.before > lease {
                // As long as the machine waits for whoever holds such a lease.
                tokio::time::sleep(Duration::from_millis(2 * lease_file.before)).await;
                if let Err(error) = lease_file.write(lease) {
                    warn!("{error}: the next coordinator waits for longer leases than there are");
                }
            }
        });
        info!(address = %self.address, "the coordinator listens");
        let ended = tokio::select! {
            () = stop => {
                // Before the lock is: the next coordinator writes its own.
                drop(self.address_file);
                let _ = self.stop_driver.send(());
                driver.await
            }
            ended = &mut driver => ended,
            served = &mut server => return match served {
                Ok(Err(error)) => Err(ServerError::Serve(error.to_string())),
                Ok(Ok(())) => Err(ServerError::Serve("the server has ended".to_owned())),
                Err(error) => Err(ServerError::Serve(error.to_string())),
            },
        };
        shorter.abort();
        // With the driver gone the workers' streams end, and with them the server.
        let _ = stop_server.send(());
        if tokio::time::timeout(GRACE, &mut server).await.is_err() {
            server.abort();
        }
        ended.map_err(|error| ServerError::Serve(error.to_string()))?.map_err(ServerError::Store)
    }
}
