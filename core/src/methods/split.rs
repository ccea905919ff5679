//! The validation samples.

use serde::{Deserialize, Serialize};

/// Where validation samples come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Drawn from the training samples, different for each seed.
    #[default]
    Random,
    /// The last training samples in the order of the file, equal for all seeds (Xu et al. 2019: the last 10,000 of
    /// Fashion-MNIST, the last batch of CIFAR-10).
    Last,
    /// The data set's own validation samples with their own labels; all training samples are used for training.
    Official,
}

impl Split {
    /// The names in sweep files and their values.
    pub const CHOICES: &'static [(&'static str, Split)] =
        &[("random", Split::Random), ("last", Split::Last), ("official", Split::Official)];

    /// Whether this is the default.
    pub fn is_default(&self) -> bool {
        *self == Split::default()
    }
}
