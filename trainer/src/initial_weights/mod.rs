//! Initial weights from a safetensors file, written by a job or with torchvision's names for residual networks.
//!
//! A file is read once from start to end, with one array in memory at a time. Nothing in it is trusted: the header must account for every
//! byte, every array must belong to the network and have its shape, and every value must be finite. A classifier for another number of
//! classes is not an error; the network then keeps its random one.
//!
//! - `error`: what can be wrong. `array_names`: the names of a network's arrays in a file.
//! - `reader`: reads a file. `load`: finds a file and reads it for a network.

mod array_names;
mod error;
mod load;
mod reader;
#[cfg(test)]
mod tests;

pub use error::InitialWeightsError;
pub use load::{find_and_load, from_safetensors, load};
pub use reader::LoadedWeights;
