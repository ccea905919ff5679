//! The gRPC services. They translate between the wire and the driver, and decide nothing.

mod expected;
pub(crate) mod pool;
pub(crate) mod status;
pub(crate) mod sweeps;
pub(crate) mod weights;
pub(crate) mod workers;
