//! Data sets: what is known of them before a file is read.

mod written;

use crate::input::Fields;
use crate::methods::networks::Input;

/// A data set by name, with its parameters.
///
/// In canonical JSON a set without parameters is its name, as `"cifar-10"`, and one with parameters a map, as
/// `{"name":"dogs-vs-cats","size":32}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// Xiao, Rasul & Vollgraf 2017: 60,000 + 10,000 grey images, 28×28, ten classes.
    FashionMnist,
    /// The first 800 + 200 images of every class of Fashion-MNIST, which ship with the binary.
    FashionMnist10k,
    /// Fashion-MNIST in two classes, bags (0) and clothes (1): Xu et al. 2019, §5.1.
    FashionMnistBags,
    /// Krizhevsky 2009: 50,000 + 10,000 colour images, 32×32, ten classes.
    Cifar10,
    /// Krizhevsky 2009: 50,000 + 10,000 colour images, 32×32, a hundred (fine) classes.
    Cifar100,
    /// CIFAR-10 with CIFAR-100's training images as a pool of images of no class, which open-set noise takes from: Wang et al. 2018,
    /// Zhang & Sabuncu 2018, §4.3.
    Cifar10OpenSet,
    /// Pang & Lee 2005: 10,662 sentences of film reviews, negative (0) and positive (1), as rows of numbers of words.
    Mr,
    /// Kaggle 2013: 25,000 colour images of cats (0) and dogs (1), of which a quarter is the test part, stretched to `size` × `size`.
    DogsVsCats {
        /// Pixels along a side.
        size: usize,
    },
    /// Xiao et al. 2015: a million images of clothes under noisy labels, fourteen classes, stretched to `size` × `size`; validation and
    /// test samples have labels of people's.
    Clothing1M {
        /// Pixels along a side.
        size: usize,
    },
    /// A folder of images of one's own.
    Folder(Folder),
}

/// A folder with images, `PATH/train/CLASS/*.{jpg,jpeg,png}` and `PATH/test/CLASS/*.{jpg,jpeg,png}`, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Folder {
    /// Where it is, from the root or from a directory of data sets.
    pub path: String,
    /// Number of classes, 2 to [`CLASSES`].
    pub classes: usize,
    /// Pixels along a side, to which images are stretched, 1 to [`SIDE`].
    pub size: usize,
    /// Whether images are read in grey, one channel, rather than in colour, three.
    pub grey: bool,
}

/// The most pixels along a side of an image.
pub const SIDE: usize = 4_096;

/// The most classes of a folder. What became of the labels, a number for each pair of classes, is told in one message when a job has
/// been trained, and messages are of 4 MiB at most.
pub const CLASSES: usize = 500;

/// Extent of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageShape {
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// Values in an image; `usize::MAX` if they are beyond counting.
    pub fn len(&self) -> usize {
        product([self.channels, self.height, self.width])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The product, or `usize::MAX` if it is larger.
pub(crate) fn product<const N: usize>(factors: [usize; N]) -> usize {
    factors.into_iter().fold(1, usize::saturating_mul)
}

/// Every class of CIFAR-100 is taken for the next, the last for the first.
const CIRCLE: [(usize, usize); 100] = {
    let mut pairs = [(0, 0); 100];
    let mut class = 0;
    while class < 100 {
        pairs[class] = (class, (class + 1) % 100);
        class += 1;
    }
    pairs
};

impl Dataset {
    /// Every data set that has a name of its own, those with parameters at their defaults.
    pub const ALL: &'static [Dataset] = &[
        Dataset::FashionMnist,
        Dataset::FashionMnist10k,
        Dataset::FashionMnistBags,
        Dataset::Cifar10,
        Dataset::Cifar100,
        Dataset::Cifar10OpenSet,
        Dataset::Mr,
        Dataset::DogsVsCats { size: 32 },
        Dataset::Clothing1M { size: 224 },
    ];

    /// The names that a sweep file may use.
    pub const NAMES: &'static [&'static str] = &[
        "fashion-mnist",
        "fashion-mnist-10k",
        "fashion-mnist-bags",
        "cifar-10",
        "cifar-100",
        "cifar-10-open-set",
        "mr",
        "dogs-vs-cats",
        "clothing1m",
        "folder",
    ];

    /// Reads the parameters of the data set called `name`, one of [`Dataset::NAMES`].
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Dataset> {
        let size = |fields: &mut Fields<'_>, default: usize| {
            fields.integer("size").at_least(1).at_most(SIDE as u64).or(default as u64) as usize
        };
        match name {
            "dogs-vs-cats" => Some(Dataset::DogsVsCats { size: size(fields, 32) }),
            "clothing1m" => Some(Dataset::Clothing1M { size: size(fields, 224) }),
            "folder" => {
                let path = fields.text("path").required("a folder with `train` and `test` in it");
                let classes = fields.integer("classes").at_least(2).at_most(CLASSES as u64).required() as usize;
                let size = fields.integer("size").at_least(1).at_most(SIDE as u64).required() as usize;
                let grey = fields.flag("grey").or(false);
                // Where there is no path that has been reported, and what is read here goes nowhere.
                Some(Dataset::Folder(Folder { path: path.unwrap_or_default().to_owned(), classes, size, grey }))
            }
            name => Dataset::plain(name),
        }
    }

    /// The data set without parameters that is called `name`.
    fn plain(name: &str) -> Option<Dataset> {
        let plain = |dataset: &&Dataset| dataset.name() == name && !dataset.has_parameters();
        Dataset::ALL.iter().find(plain).cloned()
    }

    /// Whether more is to be said than its name.
    fn has_parameters(&self) -> bool {
        matches!(self, Dataset::DogsVsCats { .. } | Dataset::Clothing1M { .. } | Dataset::Folder(_))
    }

    /// The name in a sweep file.
    pub fn name(&self) -> &'static str {
        match self {
            Dataset::FashionMnist => "fashion-mnist",
            Dataset::FashionMnist10k => "fashion-mnist-10k",
            Dataset::FashionMnistBags => "fashion-mnist-bags",
            Dataset::Cifar10 => "cifar-10",
            Dataset::Cifar100 => "cifar-100",
            Dataset::Cifar10OpenSet => "cifar-10-open-set",
            Dataset::Mr => "mr",
            Dataset::DogsVsCats { .. } => "dogs-vs-cats",
            Dataset::Clothing1M { .. } => "clothing1m",
            Dataset::Folder(_) => "folder",
        }
    }

    /// Number of classes, at least 2.
    pub fn classes(&self) -> usize {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k | Dataset::Cifar10 | Dataset::Cifar10OpenSet => 10,
            Dataset::FashionMnistBags | Dataset::Mr | Dataset::DogsVsCats { .. } => 2,
            Dataset::Cifar100 => 100,
            Dataset::Clothing1M { .. } => 14,
            Dataset::Folder(folder) => folder.classes,
        }
    }

    /// Extent of every sample; a sentence is an image of one row, whose values are numbers of words.
    pub fn shape(&self) -> ImageShape {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k | Dataset::FashionMnistBags => {
                ImageShape { channels: 1, height: 28, width: 28 }
            }
            Dataset::Cifar10 | Dataset::Cifar100 | Dataset::Cifar10OpenSet => {
                ImageShape { channels: 3, height: 32, width: 32 }
            }
            // The longest sentence has so many words (Kim 2014, §3).
            Dataset::Mr => ImageShape { channels: 1, height: 1, width: 56 },
            Dataset::DogsVsCats { size } | Dataset::Clothing1M { size } => {
                ImageShape { channels: 3, height: *size, width: *size }
            }
            Dataset::Folder(Folder { size, grey, .. }) => {
                ImageShape { channels: if *grey { 1 } else { 3 }, height: *size, width: *size }
            }
        }
    }

    /// How many tokens there are, where samples are text; nothing where they are images.
    pub fn vocabulary(&self) -> Option<usize> {
        match self {
            // 18,764 words, and what fills up a shorter sentence: |V| of Kim 2014, Table 1.
            Dataset::Mr => Some(18_765),
            _ => None,
        }
    }

    /// What a network is given of it.
    pub fn input(&self) -> Input {
        Input { shape: self.shape(), vocabulary: self.vocabulary() }
    }

    /// Number of training samples (the validation part included) and of test samples, where it is known before the files are read.
    pub fn sizes(&self) -> Option<(usize, usize)> {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnistBags => Some((60_000, 10_000)),
            Dataset::FashionMnist10k => Some((8_000, 2_000)),
            Dataset::Cifar10 | Dataset::Cifar100 | Dataset::Cifar10OpenSet => Some((50_000, 10_000)),
            // Nine tenths and a tenth of 10,662, of which Xu et al. 2019 hold out a fifth for validation.
            Dataset::Mr => Some((9_595, 1_067)),
            Dataset::DogsVsCats { .. } => Some((18_750, 6_250)),
            Dataset::Clothing1M { .. } | Dataset::Folder(_) => None,
        }
    }

    /// Whether it has validation samples of its own, apart from the training samples.
    pub fn has_validation(&self) -> bool {
        matches!(self, Dataset::Clothing1M { .. })
    }

    /// Whether it consists of image files, which are decoded when they are asked for where they do not fit into memory.
    pub fn is_of_files(&self) -> bool {
        matches!(self, Dataset::DogsVsCats { .. } | Dataset::Clothing1M { .. } | Dataset::Folder(_))
    }

    /// Images of no class of the data set, after the training samples: what open-set noise takes from.
    pub fn pool(&self) -> usize {
        match self {
            Dataset::Cifar10OpenSet => 50_000,
            _ => 0,
        }
    }

    /// Whether images that belong to no class stand at the end of the training images, for open-set noise to take from.
    pub fn has_pool(&self) -> bool {
        self.pool() > 0
    }

    /// The classes that class-dependent noise mistakes for others, (true, given): Zhang & Sabuncu 2018, §4.2.
    pub fn confusions(&self) -> Option<&'static [(usize, usize)]> {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k => Some(&[(9, 7), (7, 5), (2, 6), (4, 3), (3, 4)]),
            // Truck → automobile, bird → airplane, deer → horse, cat ↔ dog.
            Dataset::Cifar10 | Dataset::Cifar10OpenSet => Some(&[(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)]),
            Dataset::Cifar100 => Some(&CIRCLE),
            Dataset::FashionMnistBags | Dataset::Mr => None,
            Dataset::DogsVsCats { .. } | Dataset::Clothing1M { .. } | Dataset::Folder(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_mistaken_classes_names_classes_and_no_class_is_mistaken_for_two() {
        for dataset in Dataset::ALL {
            let confusions = dataset.confusions().unwrap_or_default();
            assert!(confusions.iter().all(|(from, to)| from != to && *from.max(to) < dataset.classes()), "{dataset:?}");
            let mistaken: std::collections::BTreeSet<_> = confusions.iter().map(|(from, _)| from).collect();
            assert_eq!(mistaken.len(), confusions.len(), "{dataset:?}");
        }
    }

    #[test]
    fn every_class_of_cifar_100_is_mistaken_for_the_next() {
        let confusions = Dataset::Cifar100.confusions().unwrap();
        assert_eq!((confusions.len(), confusions[0], confusions[98], confusions[99]), (100, (0, 1), (98, 99), (99, 0)));
    }

    #[test]
    fn a_sentence_is_a_row_of_tokens_and_an_image_has_none() {
        let Input { shape, vocabulary } = Dataset::Mr.input();
        assert_eq!((shape, vocabulary), (ImageShape { channels: 1, height: 1, width: 56 }, Some(18_765)));
        assert_eq!(Dataset::Cifar100.input().vocabulary, None);
    }
}
