//! Label noise: which kinds there are, and which transition matrix each of them is, where it is one.

mod draw;
mod file;
mod fit;
mod matrix;
mod open_set;

pub use draw::Draw;
pub use fit::Misfit;
pub use matrix::TransitionMatrix;
pub use open_set::{NO_CLASS, Replacement, replacements};

use crate::input::Fields;
use crate::methods::dataset::Dataset;
use serde::{Deserialize, Serialize};

/// How the labels of the training file (validation part included) are corrupted; test labels never are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Noise {
    /// Labels as they are.
    None,
    /// Symmetric noise: with probability `rate` a label becomes any other one, each as likely
    /// (Zhang & Sabuncu 2018, §3.1); with `include_true_class`, any one, the true one among them (ibid. §4.2).
    Uniform {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// Whether a corrupted label may be the true one by chance.
        include_true_class: bool,
        /// A probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// With probability `rate` a class becomes the one it is easily mistaken for, by the data set's own list or by `map`.
    ClassDependent {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// (true, given), in place of the data set's own list; no class stands first twice, or beside itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        map: Option<Vec<(usize, usize)>>,
        /// A probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// Any noise that follows from the true class alone.
    TransitionMatrix {
        /// T\[true\]\[given\]: a row a class, each of as many shares, which sum to 1.
        matrix: Vec<Vec<f64>>,
        /// A probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// The noise of two classes under which Xu, Cao, Kong & Wang 2019 (L_DMI, Fig. 2) compare losses.
    DmiCase {
        /// With r the rate, T is 1: \[\[1−r/2, r/2\], \[r/2, 1−r/2\]\]; 2: \[\[1−r, r\], \[0, 1\]\]; 3: \[\[1, 0\], \[r, 1−r\]\].
        case: u8,
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// A probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// With probability `rate` an image is replaced by one of the data set's pool, which belongs to no class, and which gets any
    /// label, each as likely (Zhang & Sabuncu 2018, Table 2).
    OpenSet {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// A probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// Labels that somebody gave, from a file in the directories of data sets: nothing is drawn.
    File {
        /// Its name, or its path below such a directory.
        file: String,
    },
}

impl Noise {
    /// The kinds that a sweep file may use.
    pub const KINDS: &'static [&'static str] =
        &["none", "uniform", "file", "open-set", "dmi-case", "transition-matrix", "class-dependent"];

    /// Symmetric noise that leaves the true class out, drawn for each sample.
    pub const fn uniform(rate: f64) -> Self {
        Noise::Uniform { rate, include_true_class: false, draw: Draw::PerSample }
    }

    /// The data set's own class-dependent noise, drawn for each sample.
    pub const fn class_dependent(rate: f64) -> Self {
        Noise::ClassDependent { rate, map: None, draw: Draw::PerSample }
    }

    /// Reads the parameters of the kind called `kind`, one of [`Noise::KINDS`].
    pub fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Noise> {
        let rate = |fields: &mut Fields<'_>| fields.number("rate").at_least(0.0).at_most(1.0).required();
        let draw = |fields: &mut Fields<'_>| fields.choice("draw", Draw::CHOICES).or(Draw::default());
        match kind {
            "none" => Some(Noise::None),
            "uniform" => Some(Noise::Uniform {
                rate: rate(fields),
                include_true_class: fields.flag("include_true_class").or(false),
                draw: draw(fields),
            }),
            "class-dependent" => Some(Noise::ClassDependent {
                rate: rate(fields),
                map: fields.class_map("map").optional(),
                draw: draw(fields),
            }),
            "transition-matrix" => {
                Some(Noise::TransitionMatrix { matrix: fields.stochastic("matrix").required(), draw: draw(fields) })
            }
            "dmi-case" => Some(Noise::DmiCase {
                case: fields.integer("case").at_least(1).at_most(3).required() as u8,
                rate: rate(fields),
                draw: draw(fields),
            }),
            "open-set" => Some(Noise::OpenSet { rate: rate(fields), draw: draw(fields) }),
            "file" => Some(Noise::File {
                file: fields.text("file").required("the name of a file of labels").unwrap_or_default().to_owned(),
            }),
            _ => None,
        }
    }

    /// The same noise on `dataset` in the one form that it has: a map that says what the data set's own list says is left out, so
    /// that one training has one name.
    pub fn normal_form(self, dataset: &Dataset) -> Noise {
        let sorted = |mut map: Vec<(usize, usize)>| {
            map.sort_unstable();
            map
        };
        match self {
            Noise::ClassDependent { rate, map: Some(map), draw } => {
                let own = dataset.confusions().map(|own| sorted(own.to_vec()));
                Noise::ClassDependent { rate, map: Some(sorted(map)).filter(|map| Some(map) != own.as_ref()), draw }
            }
            noise => noise,
        }
    }

    /// The rate that was asked for, of the kinds that have one.
    pub fn rate(&self) -> Option<f64> {
        match self {
            Noise::None | Noise::TransitionMatrix { .. } | Noise::File { .. } => None,
            Noise::Uniform { rate, .. }
            | Noise::ClassDependent { rate, .. }
            | Noise::DmiCase { rate, .. }
            | Noise::OpenSet { rate, .. } => Some(*rate),
        }
    }

    /// How its labels are drawn, of the kinds that draw any.
    pub fn draw(&self) -> Draw {
        match self {
            Noise::None | Noise::File { .. } => Draw::default(),
            Noise::Uniform { draw, .. }
            | Noise::ClassDependent { draw, .. }
            | Noise::TransitionMatrix { draw, .. }
            | Noise::DmiCase { draw, .. }
            | Noise::OpenSet { draw, .. } => *draw,
        }
    }

    /// Whether any label can be wrong. What a file says is not known before it is read.
    pub fn corrupts(&self) -> bool {
        match self {
            Noise::None => false,
            Noise::File { .. } => true,
            Noise::TransitionMatrix { matrix, .. } => {
                matrix.iter().enumerate().any(|(class, row)| row.get(class).is_none_or(|stay| *stay < 1.0))
            }
            _ => self.rate() != Some(0.0),
        }
    }

    /// The transition matrix that labels of `dataset` are drawn from.
    ///
    /// # Errors
    /// Why there is none: the noise does not fit the data set, or is none that a transition matrix describes.
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
            Noise::File { file } => {
                Err(format!("no transition matrix is known of the labels in {file}: nobody says how they came about"))
            }
        }
    }
}

/// The matrix of one of the cases.
fn dmi_case(case: u8, r: f64) -> [[f64; 2]; 2] {
    match case {
        1 => [[1.0 - r / 2.0, r / 2.0], [r / 2.0, 1.0 - r / 2.0]],
        2 => [[1.0 - r, r], [0.0, 1.0]],
        _ => [[1.0, 0.0], [r, 1.0 - r]],
    }
}

#[cfg(test)]
mod tests;
