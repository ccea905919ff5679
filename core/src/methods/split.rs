//! Which samples are held out for validation.

use serde::{Deserialize, Serialize};

/// Where validation samples come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Drawn from the training samples, anew for each seed.
    #[default]
    Random,
    /// The last training samples in file order, the same for each seed (Xu et al. 2019: the last 10,000 of Fashion-MNIST, the
    /// last batch of CIFAR-10).
    Last,
    /// The data set's own validation samples, with their own labels; all training samples are trained on.
    Official,
}

impl Split {
    /// The names that a sweep file may use, with what they stand for.
    pub const CHOICES: &'static [(&'static str, Split)] =
        &[("random", Split::Random), ("last", Split::Last), ("official", Split::Official)];

    /// Whether it is the one that is taken where none is named.
    pub fn is_default(&self) -> bool {
        *self == Split::default()
    }
}
