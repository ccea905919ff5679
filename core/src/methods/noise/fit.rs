//! Which noise fits which data set.

use super::{Noise, TransitionMatrix, file};
use crate::methods::dataset::Dataset;
use std::fmt;

/// Why a noise does not fit a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The parameter at fault, if it is a single one.
    pub key: Option<&'static str>,
    /// The problem in one line.
    pub title: String,
    /// What was expected and found.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.label)?;
        self.help.iter().try_for_each(|help| write!(f, " ({help})"))
    }
}

fn misfit(
    key: Option<&'static str>,
    title: String,
    label: impl Into<String>,
    help: Option<&str>,
) -> Result<(), Misfit> {
    Err(Misfit { key, title, label: label.into(), help: help.map(str::to_owned) })
}

impl Noise {
    /// Checks that this noise fits `dataset`.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn fits(&self, dataset: &Dataset) -> Result<(), Misfit> {
        let (classes, name) = (dataset.classes(), dataset.name());
        let rate = self.rate().filter(|rate| !(0.0..=1.0).contains(rate));
        if let Some(rate) = rate {
            let label = format!("expected a number from 0 to 1, found {rate}");
            return misfit(Some("rate"), "`rate` is out of range".to_owned(), label, None);
        }
        match self {
            Noise::None => Ok(()),
            // A single class has no other class.
            Noise::Uniform { include_true_class: false, .. } if classes < 2 => {
                let title = format!("`{name}` cannot have uniform noise");
                misfit(None, title, "a data set of one class has no wrong labels", None)
            }
            Noise::Uniform { .. } => Ok(()),
            Noise::ClassDependent { map: None, .. } if dataset.confusions().is_none() => {
                let title = format!("`{name}` defines no class-dependent noise");
                let help =
                    "set `map` to pairs of true and given class, such as `[[9, 1], [2, 0]]`, or use `uniform` noise";
                misfit(None, title, "its easily mistaken classes are not known", Some(help))
            }
            Noise::ClassDependent { map: None, .. } => Ok(()),
            Noise::ClassDependent { map: Some(map), .. } => fits_map(map, classes, name),
            Noise::TransitionMatrix { matrix, .. } => {
                if matrix.len() != classes || matrix.iter().any(|row| row.len() != classes) {
                    let title = "`matrix` does not have the size of the data set".to_owned();
                    let longest = matrix.iter().map(Vec::len).max().unwrap_or(0);
                    let label = format!(
                        "expected {classes}×{classes} shares for the {classes} classes of `{name}`, found {}×{longest}",
                        matrix.len()
                    );
                    return misfit(Some("matrix"), title, label, None);
                }
                match TransitionMatrix::from_rows(classes, matrix.concat()) {
                    Ok(_) => Ok(()),
                    Err(why) => misfit(Some("matrix"), "`matrix` is not a transition matrix".to_owned(), why, None),
                }
            }
            Noise::DmiCase { .. } if classes != 2 => {
                let title = format!("`{name}` cannot have `dmi-case` noise");
                let help = "use a data set of two classes, or `transition-matrix` or `class-dependent` noise";
                misfit(None, title, format!("expected 2 classes, found {classes}"), Some(help))
            }
            Noise::DmiCase { case: 1..=3, .. } => Ok(()),
            Noise::DmiCase { case, .. } => misfit(
                Some("case"),
                "`case` is out of range".to_owned(),
                format!("expected 1 to 3, found {case}"),
                None,
            ),
            Noise::OpenSet { .. } if !dataset.has_pool() => {
                let title = format!("`{name}` cannot have open-set noise");
                let help = "use a data set with a pool, such as `cifar-10-open-set`";
                misfit(
                    None,
                    title,
                    "open-set noise needs a pool of images that belong to none of the classes",
                    Some(help),
                )
            }
            Noise::OpenSet { .. } => Ok(()),
            Noise::File { file } => match file::wrong_name(file) {
                Some(what) => {
                    let help = "move the file into a directory of data sets, and give its name or its path below that directory";
                    misfit(
                        Some("file"),
                        "`file` is not below a directory of data sets".to_owned(),
                        format!("found {what}"),
                        Some(help),
                    )
                }
                None => Ok(()),
            },
        }
    }
}

fn fits_map(map: &[(usize, usize)], classes: usize, name: &str) -> Result<(), Misfit> {
    let key = Some("map");
    for (i, (from, to)) in map.iter().enumerate() {
        if let Some(class) = [from, to].into_iter().find(|class| **class >= classes) {
            let title = "`map` names a class that does not exist".to_owned();
            return misfit(
                key,
                title,
                format!("expected classes of `{name}`, 0 to {}, found {class}", classes - 1),
                None,
            );
        }
        if from == to || map[..i].iter().any(|(earlier, _)| earlier == from) {
            let title = "`map` is not a list of true and given classes".to_owned();
            let label = format!("expected each true class once, with another given class, found [{from}, {to}]");
            return misfit(key, title, label, None);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Draw;
    use super::*;

    const DRAW: Draw = Draw::PerSample;

    fn refusal(noise: &Noise) -> Misfit {
        noise.fits(&Dataset::Cifar10).unwrap_err()
    }

    #[test]
    fn a_matrix_of_another_size_or_with_other_sums_is_rejected() {
        let matrix = |matrix: Vec<Vec<f64>>| refusal(&Noise::TransitionMatrix { matrix, draw: DRAW });
        let small = matrix(vec![vec![1.0, 0.0], vec![0.0, 1.0]]);
        assert_eq!(small.key, Some("matrix"));
        assert_eq!(small.label, "expected 10×10 shares for the 10 classes of `cifar-10`, found 2×2");
        assert!(matrix(vec![vec![0.1; 10]; 9]).label.ends_with("found 9×10"));
        assert!(matrix(vec![vec![0.2; 10]; 10]).label.contains("in row 0"));
        assert!(matrix(Vec::new()).label.ends_with("found 0×0"));
    }

    #[test]
    fn a_map_names_existing_classes_and_each_true_class_once() {
        let map = |map: &[(usize, usize)]| {
            refusal(&Noise::ClassDependent { rate: 0.1, map: Some(map.to_vec()), draw: DRAW }).label
        };
        assert_eq!(map(&[(9, 1), (2, 10)]), "expected classes of `cifar-10`, 0 to 9, found 10");
        assert!(map(&[(9, 1), (9, 2)]).ends_with("found [9, 2]"));
        assert!(map(&[(3, 3)]).ends_with("found [3, 3]"));
    }

    #[test]
    fn cases_need_two_classes_and_open_set_noise_a_pool() {
        let two = refusal(&Noise::DmiCase { case: 1, rate: 0.1, draw: DRAW });
        assert_eq!(two.label, "expected 2 classes, found 10");
        assert!(refusal(&Noise::OpenSet { rate: 0.4, draw: DRAW }).help.unwrap().contains("cifar-10-open-set"));
    }

    #[test]
    fn a_rate_outside_0_to_1_is_rejected() {
        for rate in [-0.1, 1.1, f64::NAN] {
            assert_eq!(refusal(&Noise::uniform(rate)).key, Some("rate"));
        }
    }
}
