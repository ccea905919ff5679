//! The shuffle that orders samples.

use rand::{Rng, RngExt};

/// Shuffles `items`; every order is equally likely (Fisher and Yates, in Durstenfeld's form). It is written out here so that a new
/// version of a library does not change results. `rand` still draws the number below a bound; a test notices if that changes.
pub(crate) fn shuffle(items: &mut [usize], generator: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, generator.random_range(0..=i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::job;
    use plusminus_core::random::Stream;

    #[test]
    fn a_shuffle_keeps_every_item_and_moves_them() {
        let mut items: Vec<usize> = (0..100).collect();
        let job = job(3, |_| {});
        shuffle(&mut items, &mut job.streams().generator(Stream::Order, 1));
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
