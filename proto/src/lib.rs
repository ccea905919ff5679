//! The wire protocol: generated code, and conversions to core's types.
//!
//! - [`convert`]: conversions of messages.
//! - [`limits`]: limits of what a worker may announce.
//! - [`parts`]: replies in several messages.
//! - [`session`]: messages of a worker's session as scheduler events and effects.
//! - [`endpoint`]: the coordinator's URL and connection timeouts.
//! - [`weights`]: weight files in parts.
//!
//! *Architecture invariant:* no other crate reads optional fields of a wire message; [`convert`] turns each into a core value or an error.

pub mod convert;
pub mod endpoint;
pub mod limits;
pub mod parts;
pub mod session;
pub mod weights;

/// Version 1 of the protocol, generated from `proto/plusminus/v1/*.proto`.
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("plusminus.v1");
}

/// The metadata key of a status that means: the coordinator is running, but its store cannot be written at present.
pub const STALLED: &str = "plusminus-stalled";

/// The protocol's file descriptors, for the gRPC reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
