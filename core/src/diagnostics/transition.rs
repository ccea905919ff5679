//! The error of an estimated transition matrix.

use super::defined;
use crate::methods::noise::TransitionMatrix;
use crate::metric::{Measurements, Metric};

/// Σ_ij |T̂_ij − T_ij| / C, 0..=2: the L1 distance between the rows, averaged over the C true classes. Absent if the matrices differ in
/// size.
pub fn transition_error(estimated: &TransitionMatrix, realised: &TransitionMatrix) -> Measurements {
    let classes = realised.classes();
    let rows = (0..classes).flat_map(|class| estimated.row(class).iter().zip(realised.row(class)));
    let error = (classes > 0 && estimated.classes() == classes)
        .then(|| rows.map(|(a, b)| (a - b).abs()).sum::<f64>() / classes as f64);
    defined([(Metric::TransitionError, error)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_mean_distance_of_the_rows() {
        let matrix = |rows: [f64; 4]| TransitionMatrix::from_rows(2, rows.to_vec()).unwrap();
        let truth = matrix([0.75, 0.25, 0.0, 1.0]);
        let found = transition_error(&matrix([0.5, 0.5, 0.25, 0.75]), &truth);
        assert_eq!(found, Measurements::from([(Metric::TransitionError, 0.5)]));
        assert_eq!(transition_error(&truth, &truth)[&Metric::TransitionError], 0.0);
        let opposite = transition_error(&matrix([0.0, 1.0, 1.0, 0.0]), &TransitionMatrix::identity(2));
        assert_eq!(opposite[&Metric::TransitionError], 2.0);
    }

    #[test]
    fn matrices_of_different_sizes_are_not_compared() {
        assert_eq!(
            transition_error(&TransitionMatrix::identity(2), &TransitionMatrix::identity(3)),
            Measurements::new()
        );
    }
}
