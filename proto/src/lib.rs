//! The wire: generated code, and conversions between it and core's types.
//!
//! *Architecture invariant:* nothing outside this crate looks into a wire message's optional fields; [`convert`] turns each into a
//! core value or says what is wrong with it.

pub mod convert;
pub mod endpoint;
pub mod session;
pub mod weights;

/// Version 1 of the wire, generated from `proto/plusminus/v1/*.proto`.
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("plusminus.v1");
}

/// A status with this among its metadata says that the coordinator cannot write anything down for now, not that nobody answers.
pub const STALLED: &str = "plusminus-stalled";

/// The descriptors of the wire, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
