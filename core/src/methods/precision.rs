//! The precision in which convolutions and linear layers multiply.

use serde::{Deserialize, Serialize};

/// How factors are rounded before they are multiplied. Sums, weights, batch norm, losses and the optimiser always use `f32` or
/// finer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not rounded, as in the papers.
    #[default]
    F32,
    /// Rounded to 10 bits after the leading one.
    Tf32,
    /// Rounded to 7 bits after the leading one.
    Bf16,
}

impl Precision {
    /// The names in sweep files and their values.
    pub const CHOICES: &'static [(&'static str, Precision)] =
        &[("f32", Precision::F32), ("tf32", Precision::Tf32), ("bf16", Precision::Bf16)];

    /// The name in sweep files.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether this is the default.
    pub fn is_default(&self) -> bool {
        *self == Precision::default()
    }

    /// Whether only GPUs train in this precision.
    pub fn needs_gpu(self) -> bool {
        self != Precision::F32
    }
}
