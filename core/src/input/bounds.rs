//! The range of a number.

use std::fmt;

/// The range of a number; a bound that is absent does not restrict it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Exclusive lower bound.
    pub above: Option<f64>,
    /// Inclusive lower bound.
    pub at_least: Option<f64>,
    /// Exclusive upper bound.
    pub below: Option<f64>,
    /// Inclusive upper bound.
    pub at_most: Option<f64>,
}

impl Bounds {
    /// From `low` to `high`, both included.
    pub(crate) fn between(low: f64, high: f64) -> Self {
        Bounds { at_least: Some(low), at_most: Some(high), ..Bounds::default() }
    }

    /// Whether `value` lies in the range.
    pub(crate) fn contain(&self, value: f64) -> bool {
        self.above.is_none_or(|bound| value > bound)
            && self.at_least.is_none_or(|bound| value >= bound)
            && self.below.is_none_or(|bound| value < bound)
            && self.at_most.is_none_or(|bound| value <= bound)
    }

    /// A remedy for a share that was probably written in per cent.
    pub(crate) fn remedy(&self, value: f64) -> Option<String> {
        let share = self.above.or(self.at_least) == Some(0.0) && self.below.or(self.at_most) == Some(1.0);
        // Rounded: 1.1/100 is not 0.011 in binary.
        let fraction = (value * 1e7).round() / 1e9;
        (share && value > 1.0 && self.contain(fraction)).then(|| format!("write a fraction: {value} % is `{fraction}`"))
    }

    /// A number in range, which replaces an invalid one until the problems are reported.
    pub(crate) fn placeholder(&self) -> f64 {
        let low = self.at_least.or(self.above).unwrap_or(0.0);
        if self.contain(low) { low } else { self.at_most.or(self.below).map_or(low + 1.0, |high| (low + high) / 2.0) }
    }
}

/// A phrase that follows "a number", such as " from 0 to 1" or " above 0 and below 1".
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(low), Some(high)) = (self.at_least, self.at_most) {
            return write!(f, " from {low} to {high}");
        }
        let bounds =
            [("above", self.above), ("of at least", self.at_least), ("below", self.below), ("at most", self.at_most)];
        for (i, (word, bound)) in bounds.iter().filter_map(|(word, bound)| Some((word, (*bound)?))).enumerate() {
            write!(f, "{} {word} {bound}", if i > 0 { " and" } else { "" })?;
        }
        Ok(())
    }
}
