//! In which precision convolutions and linear layers multiply.

use serde::{Deserialize, Serialize};

/// What becomes of the factors of a product before they are multiplied. Sums, weights, batch norm, losses and the optimiser are `f32`
/// (or finer) in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Nothing: the papers' arithmetic.
    #[default]
    F32,
    /// They are rounded to 10 bits after the leading one.
    Tf32,
    /// They are rounded to 7 bits after the leading one.
    Bf16,
}

impl Precision {
    /// The names that a sweep file may use, with what they stand for.
    pub const CHOICES: &'static [(&'static str, Precision)] =
        &[("f32", Precision::F32), ("tf32", Precision::Tf32), ("bf16", Precision::Bf16)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether it is the one that is taken where none is named.
    pub fn is_default(&self) -> bool {
        *self == Precision::default()
    }

    /// Whether GPUs alone train in it.
    pub fn needs_gpu(self) -> bool {
        self != Precision::F32
    }
}
