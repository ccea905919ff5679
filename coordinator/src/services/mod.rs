//! The gRPC services. They translate between the wire and the driver, and decide nothing.
//!
//! - [`sweeps`]: the service for users. `queries`: its answers. `watching`: the sweeps that clients follow. `labels`: names of cells.
//! - [`workers`]: the service for workers. [`weights`]: transfers of weights, `expected` or not. [`pool`]: blocking work of one kind.
//!   [`status`]: errors as gRPC codes. `streams`: replies in parts.

mod expected;
mod labels;
pub(crate) mod pool;
mod queries;
pub(crate) mod status;
mod streams;
pub(crate) mod sweeps;
mod watching;
pub(crate) mod weights;
pub(crate) mod workers;
