//! Which noise can be had on which data set.

use super::{Noise, TransitionMatrix, file};
use crate::methods::dataset::Dataset;
use std::fmt;

/// Why a noise cannot be had on a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The parameter at fault, where it is one.
    pub key: Option<&'static str>,
    /// What is wrong, in a line.
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
    /// Whether `dataset` can have this noise.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn fits(&self, dataset: &Dataset) -> Result<(), Misfit> {
        let (classes, name) = (dataset.classes(), dataset.name());
        let rate = self.rate().filter(|rate| !(0.0..=1.0).contains(rate));
        if let Some(rate) = rate {
            let label = format!("expected a number from 0 to 1, found {rate}");
            return misfit(Some("rate"), "`rate` is out of range".to_owned(), label, None);
        }
        match self {
            Noise::None => Ok(()),
            // With one class there is no other to become.
            Noise::Uniform { include_true_class: false, .. } if classes < 2 => {
                let title = format!("`{name}` has no uniform noise");
                misfit(None, title, "a data set of one class has no wrong labels", None)
            }
            Noise::Uniform { .. } => Ok(()),
            Noise::ClassDependent { map: None, .. } if dataset.confusions().is_none() => {
                let title = format!("`{name}` has no class-dependent noise of its own");
                let help =
                    "give a `map` of true and given classes, such as `[[9, 1], [2, 0]]`, or take `uniform` noise";
                misfit(None, title, "no list of its easily mistaken classes is known", Some(help))
            }
            Noise::ClassDependent { map: None, .. } => Ok(()),
            Noise::ClassDependent { map: Some(map), .. } => fits_map(map, classes, name),
            Noise::TransitionMatrix { matrix, .. } => {
                if matrix.len() != classes || matrix.iter().any(|row| row.len() != classes) {
                    let title = "`matrix` has not a row and a column for every class".to_owned();
                    let longest = matrix.iter().map(Vec::len).max().unwrap_or(0);
                    let label = format!(
                        "`{name}` has {classes} classes, which takes {classes}×{classes} shares, found {}×{longest}",
                        matrix.len()
                    );
                    return misfit(Some("matrix"), title, label, None);
                }
                match TransitionMatrix::from_rows(classes, matrix.concat()) {
                    Ok(_) => Ok(()),
                    Err(why) => misfit(Some("matrix"), "`matrix` is no transition matrix".to_owned(), why, None),
                }
            }
            Noise::DmiCase { .. } if classes != 2 => {
                let title = format!("`{name}` has no `dmi-case` noise");
                let help = "take a data set of two classes, or `transition-matrix` or `class-dependent` noise";
                misfit(None, title, format!("its cases are of two classes, and there are {classes}"), Some(help))
            }
            Noise::DmiCase { case: 1..=3, .. } => Ok(()),
            Noise::DmiCase { case, .. } => misfit(
                Some("case"),
                "`case` is out of range".to_owned(),
                format!("expected 1 to 3, found {case}"),
                None,
            ),
            Noise::OpenSet { .. } if !dataset.has_pool() => {
                let title = format!("`{name}` has no open-set noise");
                let help = "take a data set with a pool, such as `cifar-10-open-set`";
                misfit(None, title, "it has no pool of images that belong to none of its classes", Some(help))
            }
            Noise::OpenSet { .. } => Ok(()),
            Noise::File { file } => match file::wrong_name(file) {
                Some(what) => {
                    let help = "put the file into a directory of data sets, and give its name or its path from there";
                    misfit(
                        Some("file"),
                        "`file` is no file of a data set".to_owned(),
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
            let title = "`map` names a class that there is not".to_owned();
            return misfit(key, title, format!("`{name}` has the classes 0 to {}, found {class}", classes - 1), None);
        }
        if from == to || map[..i].iter().any(|(earlier, _)| earlier == from) {
            let title = "`map` is no list of true and given classes".to_owned();
            let label = format!("expected each class to become one other at most, found [{from}, {to}]");
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
    fn a_matrix_of_another_size_or_that_is_none_is_refused() {
        let matrix = |matrix: Vec<Vec<f64>>| refusal(&Noise::TransitionMatrix { matrix, draw: DRAW });
        let small = matrix(vec![vec![1.0, 0.0], vec![0.0, 1.0]]);
        assert_eq!(small.key, Some("matrix"));
        assert_eq!(small.label, "`cifar-10` has 10 classes, which takes 10×10 shares, found 2×2");
        assert!(matrix(vec![vec![0.1; 10]; 9]).label.ends_with("found 9×10"));
        assert!(matrix(vec![vec![0.2; 10]; 10]).label.contains("in row 0"));
        assert!(matrix(Vec::new()).label.ends_with("found 0×0"));
    }

    #[test]
    fn a_map_names_classes_that_there_are_and_each_once() {
        let map = |map: &[(usize, usize)]| {
            refusal(&Noise::ClassDependent { rate: 0.1, map: Some(map.to_vec()), draw: DRAW }).label
        };
        assert_eq!(map(&[(9, 1), (2, 10)]), "`cifar-10` has the classes 0 to 9, found 10");
        assert!(map(&[(9, 1), (9, 2)]).ends_with("found [9, 2]"));
        assert!(map(&[(3, 3)]).ends_with("found [3, 3]"));
    }

    #[test]
    fn cases_take_two_classes_and_foreign_images_a_pool() {
        let two = refusal(&Noise::DmiCase { case: 1, rate: 0.1, draw: DRAW });
        assert_eq!(two.label, "its cases are of two classes, and there are 10");
        assert!(refusal(&Noise::OpenSet { rate: 0.4, draw: DRAW }).help.unwrap().contains("cifar-10-open-set"));
    }

    #[test]
    fn a_rate_that_is_no_share_is_refused_wherever_the_configuration_came_from() {
        for rate in [-0.1, 1.1, f64::NAN] {
            assert_eq!(refusal(&Noise::uniform(rate)).key, Some("rate"));
        }
    }
}
