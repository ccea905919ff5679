//! The kinds of label noise and their parameters.

use super::draw::Draw;
use crate::input::Fields;
use crate::methods::dataset::Dataset;
use serde::{Deserialize, Serialize};

/// A kind of label noise and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Noise {
    /// Unchanged labels.
    None,
    /// Symmetric noise: with probability `rate` a label is replaced by one drawn uniformly from the other classes
    /// (Zhang & Sabuncu 2018, §3.1), or with `include_true_class` from all classes (ibid. §4.2).
    Uniform {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// Whether a replaced label may be the true one by chance.
        include_true_class: bool,
        /// Whether the rate is a probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// With probability `rate` a class is replaced by the class that it is easily mistaken for, according to the data set or
    /// to `map`.
    ClassDependent {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// Pairs (true, given) in place of the data set's own; no true class occurs twice, and the two classes of a pair differ.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        map: Option<Vec<(usize, usize)>>,
        /// Whether the rate is a probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// Any noise that depends only on the true class.
    TransitionMatrix {
        /// T\[true\]\[given\], `[classes × classes]`; each row sums to 1.
        matrix: Vec<Vec<f64>>,
        /// Whether the rate is a probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// Noise of two classes, as in Xu, Cao, Kong & Wang 2019 (L_DMI), Fig. 2.
    DmiCase {
        /// T with rate r. Case 1: \[\[1−r/2, r/2\], \[r/2, 1−r/2\]\]; case 2: \[\[1−r, r\], \[0, 1\]\]; case 3: \[\[1, 0\], \[r, 1−r\]\].
        case: u8,
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// Whether the rate is a probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// With probability `rate` an image is replaced by one of the data set's pool, which belongs to no class and gets a label
    /// drawn uniformly from all classes (Zhang & Sabuncu 2018, Table 2).
    OpenSet {
        /// 0 ≤ rate ≤ 1.
        rate: f64,
        /// Whether the rate is a probability or an exact share.
        #[serde(default, skip_serializing_if = "Draw::is_default")]
        draw: Draw,
    },
    /// Labels from a file in a directory of data sets.
    File {
        /// The name of the file, or its path below such a directory.
        file: String,
    },
}

impl Noise {
    /// The names of all kinds in sweep files.
    pub const KINDS: &'static [&'static str] =
        &["none", "uniform", "file", "open-set", "dmi-case", "transition-matrix", "class-dependent"];

    /// Symmetric noise without the true class, drawn per sample.
    pub const fn uniform(rate: f64) -> Self {
        Noise::Uniform { rate, include_true_class: false, draw: Draw::PerSample }
    }

    /// The data set's own class-dependent noise, drawn per sample.
    pub const fn class_dependent(rate: f64) -> Self {
        Noise::ClassDependent { rate, map: None, draw: Draw::PerSample }
    }

    /// Reads the parameters of `kind`; `None` for an unknown kind.
    pub fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Noise> {
        let rate =
            |fields: &mut Fields<'_>| fields.about("noise rate").number("rate").at_least(0.0).at_most(1.0).required();
        let draw = |fields: &mut Fields<'_>| {
            fields
                .about("draw each label on its own, or an exact share of each class")
                .choice("draw", Draw::CHOICES)
                .or(Draw::default())
        };
        match kind {
            "none" => Some(Noise::None),
            "uniform" => Some(Noise::Uniform {
                rate: rate(fields),
                include_true_class: fields
                    .about("whether a replaced label may be the true one by chance")
                    .flag("include_true_class")
                    .or(false),
                draw: draw(fields),
            }),
            "class-dependent" => Some(Noise::ClassDependent {
                rate: rate(fields),
                map: fields
                    .about("pairs of true and given class; default: the data set's own")
                    .class_map("map")
                    .optional(),
                draw: draw(fields),
            }),
            "transition-matrix" => Some(Noise::TransitionMatrix {
                matrix: fields.about("T[true][given]").stochastic("matrix").required(),
                draw: draw(fields),
            }),
            "dmi-case" => Some(Noise::DmiCase {
                case: fields.about("T of Xu et al. 2019, Fig. 2").integer("case").at_least(1).at_most(3).required()
                    as u8,
                rate: rate(fields),
                draw: draw(fields),
            }),
            "open-set" => Some(Noise::OpenSet { rate: rate(fields), draw: draw(fields) }),
            "file" => Some(Noise::File {
                file: fields
                    .about("name of a file of labels below a directory of data sets")
                    .text("file")
                    .required("the name of a file of labels")
                    .unwrap_or_default()
                    .to_owned(),
            }),
            _ => None,
        }
    }

    /// The same noise in normal form: a `map` equal to the data set's own list is dropped, so that equal jobs have equal ids.
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

    /// The rate, for kinds that have one.
    pub fn rate(&self) -> Option<f64> {
        match self {
            Noise::None | Noise::TransitionMatrix { .. } | Noise::File { .. } => None,
            Noise::Uniform { rate, .. }
            | Noise::ClassDependent { rate, .. }
            | Noise::DmiCase { rate, .. }
            | Noise::OpenSet { rate, .. } => Some(*rate),
        }
    }

    /// How labels are drawn; the default for kinds that draw none.
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

    /// Whether a label can be wrong. A file is assumed to contain wrong labels.
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
}
