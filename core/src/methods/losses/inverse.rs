//! The inverse and the determinant of a small matrix.

/// An inverse, and the determinant of its matrix as a logarithm: determinants of class counts exceed the range of `f64`.
#[derive(Debug)]
pub(super) struct Inverse {
    /// By rows, `[size × size]`.
    pub(super) rows: Vec<f64>,
    /// ln |det|.
    pub(super) log_determinant: f64,
}

/// Inverts a matrix of `size` rows; `None` if a pivot is not above `least`, so that rounding decides the sign of the
/// determinant.
///
/// Gauss-Jordan elimination with full pivoting: vanishing pivots come last, before an entry of the inverse can overflow.
pub(super) fn inverse(size: usize, mut matrix: Vec<f64>, least: f64) -> Option<Inverse> {
    let mut result = vec![0.0; size * size];
    (0..size).for_each(|i| result[i * size + i] = 1.0);
    // The column of each row's pivot.
    let mut columns = Vec::with_capacity(size);
    let mut free = vec![true; size];
    let mut log_determinant = 0.0;
    for step in 0..size {
        let mut largest = (0.0, step, 0);
        for row in step..size {
            for column in (0..size).filter(|column| free[*column]) {
                let candidate = matrix[row * size + column].abs();
                if candidate > largest.0 {
                    largest = (candidate, row, column);
                }
            }
        }
        let (magnitude, row, column) = largest;
        if magnitude <= least {
            return None;
        }
        log_determinant += libm::log(magnitude);
        columns.push(column);
        free[column] = false;
        let pivot = matrix[row * size + column];
        for side in [&mut matrix, &mut result] {
            (0..size).for_each(|j| side.swap(row * size + j, step * size + j));
            side[step * size..][..size].iter_mut().for_each(|value| *value /= pivot);
        }
        let factors: Vec<f64> = (0..size).map(|row| matrix[row * size + column]).collect();
        for side in [&mut matrix, &mut result] {
            let pivot_row = side[step * size..][..size].to_vec();
            for (_, (values, factor)) in
                side.chunks_exact_mut(size).zip(&factors).enumerate().filter(|(row, _)| *row != step)
            {
                values.iter_mut().zip(&pivot_row).for_each(|(value, pivot)| *value -= factor * pivot);
            }
        }
    }
    let mut rows = vec![0.0; size * size];
    for (row, column) in result.chunks_exact(size).zip(columns) {
        rows[column * size..][..size].copy_from_slice(row);
    }
    Some(Inverse { rows, log_determinant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, Streams};
    use rand::RngExt;

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity() {
        let mut generator = Streams::new(1, 1).generator(Stream::Latent, 0);
        for size in [1, 2, 3, 10, 40, 100] {
            let matrix: Vec<f64> = (0..size * size).map(|_| generator.random::<f64>() - 0.3).collect();
            let inverse = inverse(size, matrix.clone(), 1e-14).unwrap();
            for (i, j) in (0..size).flat_map(|i| (0..size).map(move |j| (i, j))) {
                let product: f64 = (0..size).map(|k| matrix[i * size + k] * inverse.rows[k * size + j]).sum();
                assert!((product - if i == j { 1.0 } else { 0.0 }).abs() < 1e-9, "{size}: {i}, {j}: {product}");
            }
        }
    }

    #[test]
    fn the_determinant_equals_its_expansion_by_cofactors() {
        let matrix = vec![2.0, -1.0, 0.5, 3.0, 4.0, -2.0, 1.0, 0.0, 6.0];
        let expected: f64 = 2.0 * 24.0 + (18.0 + 2.0) + 0.5 * (0.0 - 4.0);
        assert!((inverse(3, matrix, 1e-14).unwrap().log_determinant - expected.ln()).abs() < 1e-12);
        let permuted = inverse(2, vec![0.0, 3.0, 5.0, 0.0], 1e-14).unwrap();
        assert!((permuted.log_determinant - 15f64.ln()).abs() < 1e-12);
        assert_eq!(permuted.rows, [0.0, 0.2, 1.0 / 3.0, 0.0]);
    }

    #[test]
    fn a_determinant_beyond_the_range_of_numbers_has_a_logarithm() {
        let mut matrix = vec![0.0; 100 * 100];
        (0..100).for_each(|i| matrix[i * 101] = if i % 2 == 0 { 1e9 } else { 1e-9 });
        assert!(inverse(100, matrix.clone(), 1e-14).unwrap().log_determinant.abs() < 1e-9);
        (0..100).for_each(|i| matrix[i * 101] = 1e9);
        let found = inverse(100, matrix, 1e-14).unwrap().log_determinant;
        assert!((found - 900.0 * 10f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn a_singular_matrix_has_no_inverse() {
        assert!(inverse(2, vec![0.3, 0.7, 0.3, 0.7], 1e-14).is_none());
        assert!(inverse(2, vec![0.0, 0.0, 0.0, 1.0], 1e-14).is_none());
        assert!(inverse(3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 1e-14).is_none());
    }
}
