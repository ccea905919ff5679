//! Matrix products on one thread, by the `gemm` crate, for the candle engine. One thread keeps the order of sums fixed.
//!
//! The only `unsafe` of this crate is here: `gemm` takes pointers. Every length is checked before the call.

/// The version of the `gemm` crate, which does not export it.
pub(crate) const VERSION: &str = "0.19.0";

/// The kernel that the `gemm` crate selects on this host, by the rule of that crate. Kernels round differently.
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

/// A row-major matrix in a slice, or the transpose of one.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If `values` has another length than `rows` · `columns`.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a {rows}×{columns} matrix");
        Matrix { values, rows, columns, transposed: false }
    }

    /// The transpose, as another view of the same slice.
    pub fn transposed(self) -> Self {
        Matrix { transposed: !self.transposed, ..self }
    }

    /// Rows and columns of the view.
    fn extent(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    /// The strides of columns and rows.
    fn strides(&self) -> (isize, isize) {
        let step = self.columns as isize;
        if self.transposed { (step, 1) } else { (1, step) }
    }
}

/// Computes output = left · right, or output += left · right if `accumulate` is set. `output` is row-major.
///
/// # Panics
/// If the extents do not match.
pub(crate) fn multiply(left: Matrix<'_>, right: Matrix<'_>, output: &mut [f32], accumulate: bool) {
    let ((rows, inner), (right_rows, columns)) = (left.extent(), right.extent());
    assert_eq!(inner, right_rows, "the inner extents of a product");
    assert_eq!(output.len(), rows * columns, "a {rows}×{columns} product");
    let ((left_column, left_row), (right_column, right_row)) = (left.strides(), right.strides());
    #[allow(unsafe_code)]
    // SAFETY: `Matrix::new` and the assertions above keep every index that extents and strides can form within its slice.
    // `output` is borrowed mutably and so overlaps neither input.
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
            // output = 1 · output (read only if it accumulates) + 1 · left · right.
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
    fn extents_that_do_not_match_are_refused() {
        multiply(Matrix::new(&[0.0; 6], 2, 3), Matrix::new(&[0.0; 4], 2, 2), &mut [0.0; 4], false);
    }
}
