//! The embedded kernel sources and the signatures read from them.

use crate::signature::{self, Kind, Signature};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// File name and text of every kernel source, in the order in which they are compiled.
pub(crate) const SOURCES: [(&str, &str); 11] = [
    ("elementwise.cu", include_str!("kernels/elementwise.cu")),
    ("norm.cu", include_str!("kernels/norm.cu")),
    ("pool.cu", include_str!("kernels/pool.cu")),
    ("convolution.cu", include_str!("kernels/convolution.cu")),
    ("precision.cu", include_str!("kernels/precision.cu")),
    ("text.cu", include_str!("kernels/text.cu")),
    ("update.cu", include_str!("kernels/update.cu")),
    ("gather.cu", include_str!("kernels/gather.cu")),
    // Losses of a whole batch use device functions of `loss.cu`.
    ("loss.cu", include_str!("kernels/loss.cu")),
    ("loss_determinant.cu", include_str!("kernels/loss_determinant.cu")),
    ("loss_latent.cu", include_str!("kernels/loss_latent.cu")),
];

/// Signatures of all kernels by name.
static SIGNATURES: LazyLock<BTreeMap<String, Signature>> = LazyLock::new(|| {
    // A source that cannot be parsed contributes no kernels here; a test reports it.
    let all = SOURCES.iter().flat_map(|(_, source)| signature::parse(source).unwrap_or_default());
    all.map(|signature| (signature.name.clone(), signature)).collect()
});

/// The header that precedes the sources.
pub(crate) const COMMON: &str = include_str!("kernels/common.h");

/// Parameter types of a kernel; none if there is no such kernel.
#[cfg(feature = "twin")]
pub(crate) fn parameters(kernel: &str) -> Option<&'static [Kind]> {
    SIGNATURES.get(kernel).map(|signature| &*signature.parameters)
}

/// Names of all kernels.
pub(crate) fn kernels() -> impl Iterator<Item = &'static str> {
    SIGNATURES.keys().map(String::as_str)
}

/// The signature of a kernel; none if there is no such kernel.
pub(crate) fn signature(kernel: &str) -> Option<&'static Signature> {
    SIGNATURES.get(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_kernels_and_their_names_are_unique() {
        let mut count = 0;
        for (file, source) in SOURCES {
            let found = signature::parse(source).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(!found.is_empty(), "{file}");
            count += found.len();
        }
        assert_eq!(kernels().count(), count);
    }
}
