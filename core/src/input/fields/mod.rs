//! Typed access to the keys of one map.
//!
//! An invalid value is reported and replaced by a placeholder, so that reading continues and all problems of a file are
//! reported at once. A key that no code reads is unknown: parameters are listed only where they are read. The same reading
//! code, run on a [`Record`], yields the declarations.

mod list;
mod map;
mod method;
mod number;
mod rows;
mod word;

pub(crate) use list::items;
pub use map::Fields;
pub(crate) use map::{Record, Subject};
pub use method::ReadMethod;
pub(crate) use number::integer;
pub(crate) use rows::SHARES_TOLERANCE;
pub(crate) use word::NamesAndPattern;
