//! The transition matrix of each kind of noise that has one.

use super::kinds::Noise;
use super::matrix::TransitionMatrix;
use crate::methods::dataset::Dataset;

impl Noise {
    /// The transition matrix that labels of `dataset` are drawn from.
    ///
    /// # Errors
    /// If the noise does not fit the data set, or has no transition matrix.
    pub fn true_transition(&self, dataset: &Dataset) -> Result<TransitionMatrix, String> {
        self.fits(dataset).map_err(|misfit| misfit.to_string())?;
        let classes = dataset.classes();
        match self {
            Noise::None => Ok(TransitionMatrix::identity(classes)),
            Noise::Uniform { rate, include_true_class, .. } => {
                Ok(TransitionMatrix::uniform(classes, *rate, *include_true_class))
            }
            Noise::ClassDependent { rate, map, .. } => {
                let pairs = map.as_deref().or(dataset.confusions()).unwrap_or_default();
                Ok(TransitionMatrix::of_pairs(classes, pairs, *rate))
            }
            Noise::TransitionMatrix { matrix, .. } => TransitionMatrix::from_rows(classes, matrix.concat()),
            Noise::DmiCase { case, rate, .. } => TransitionMatrix::from_rows(2, dmi_case(*case, *rate).concat()),
            Noise::OpenSet { .. } => {
                Err("open-set noise has no transition matrix: its images belong to no class".to_owned())
            }
            Noise::File { file } => Err(format!("no transition matrix is known for the labels in {file}")),
        }
    }
}

/// T of a case of [`Noise::DmiCase`].
pub(super) fn dmi_case(case: u8, r: f64) -> [[f64; 2]; 2] {
    match case {
        1 => [[1.0 - r / 2.0, r / 2.0], [r / 2.0, 1.0 - r / 2.0]],
        2 => [[1.0 - r, r], [0.0, 1.0]],
        _ => [[1.0, 0.0], [r, 1.0 - r]],
    }
}
