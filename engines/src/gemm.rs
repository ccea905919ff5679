//! Products of matrices on one thread.
//!
//! The one place in this crate with `unsafe`: the kernels of the `gemm` crate take pointers. Every length is checked before.
//! One thread, so that candle's sums have one order.

/// The version of the `gemm` crate, which it does not tell itself.
pub(crate) const VERSION: &str = "0.19.0";

/// The kernel that the `gemm` crate takes on this machine, by its own rule. Each rounds in its own way.
pub(crate) fn kernel() -> &'static str {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512f";
        }
        if std::arch::is_x86_feature_detected!("fma") {
            return "fma";
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        return "neon";
    }
    "scalar"
}

/// A matrix in a slice, its rows one after the other, or the transpose of one.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` values.
    ///
    /// # Panics
    /// If there are more or fewer values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a {rows}×{columns} matrix");
        Matrix { values, rows, columns, transposed: false }
    }

    /// The transpose, without moving a value.
    pub fn transposed(self) -> Self {
        Matrix { transposed: !self.transposed, ..self }
    }

    /// Rows and columns as seen from outside.
    fn extent(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    /// Steps from a column to the next and from a row to the next.
    fn steps(&self) -> (isize, isize) {
        let step = self.columns as isize;
        if self.transposed { (step, 1) } else { (1, step) }
    }
}

/// output = left · right, or output += left · right where `accumulate` is set; `output` holds its rows one after the other.
///
/// # Panics
/// If the extents disagree.
pub(crate) fn multiply(left: Matrix<'_>, right: Matrix<'_>, output: &mut [f32], accumulate: bool) {
    let ((rows, inner), (right_rows, columns)) = (left.extent(), right.extent());
    assert_eq!(inner, right_rows, "the inner extents of a product");
    assert_eq!(output.len(), rows * columns, "a {rows}×{columns} product");
    let ((left_column, left_row), (right_column, right_row)) = (left.steps(), right.steps());
    #[allow(unsafe_code)]
    // SAFETY: `Matrix::new` and the assertions above make every index that the extents and steps can form lie within its
    // slice, and `output`, borrowed mutably, overlaps neither of the others.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            output.as_mut_ptr(),
            1,
            columns as isize,
            accumulate,
            left.values.as_ptr(),
            left_column,
            left_row,
            right.values.as_ptr(),
            right_column,
            right_row,
            // output = 1 · output (read only where it accumulates) + 1 · left · right.
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_and_its_transposed_forms_agree_with_the_definition() {
        // A is 2×3, B is 3×2.
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.5, -1.0, 2.0, 0.0, 1.0]);
        let (a_transposed, b_transposed) = ([1.0, 4.0, 2.0, 5.0, 3.0, 6.0], [1.0, -1.0, 0.0, 0.5, 2.0, 1.0]);
        let expected = [-1.0, 7.5, -1.0, 18.0];
        let lefts = [Matrix::new(&a, 2, 3), Matrix::new(&a_transposed, 3, 2).transposed()];
        let rights = [Matrix::new(&b, 3, 2), Matrix::new(&b_transposed, 2, 3).transposed()];
        for (left, right) in lefts.iter().flat_map(|l| rights.iter().map(move |r| (*l, *r))) {
            let mut output = [f32::NAN; 4];
            multiply(left, right, &mut output, false);
            assert_eq!(output, expected);
            multiply(left, right, &mut output, true);
            assert_eq!(output, expected.map(|v| 2.0 * v), "accumulated");
        }
    }

    #[test]
    #[should_panic(expected = "inner extents")]
    fn extents_that_disagree_are_refused() {
        multiply(Matrix::new(&[0.0; 6], 2, 3), Matrix::new(&[0.0; 4], 2, 2), &mut [0.0; 4], false);
    }
}
