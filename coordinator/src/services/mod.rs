//! The gRPC services. They translate between the wire and the driver, and decide nothing.

pub(crate) mod status;
pub(crate) mod sweeps;
pub(crate) mod workers;
