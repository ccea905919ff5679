//! Data sets: their properties that are known before a file is read.

mod written;

pub use crate::methods::shape::ImageShape;

use crate::input::Fields;
use crate::methods::shape::SampleShape;

/// A data set by name, with its parameters.
///
/// In canonical JSON a set without parameters is a name, such as `"cifar-10"`; one with parameters is a map, such as
/// `{"name":"dogs-vs-cats","size":32}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// Xiao, Rasul & Vollgraf 2017: 60,000 + 10,000 grey images, 28×28, ten classes.
    FashionMnist,
    /// The first 800 + 200 images of each class of Fashion-MNIST, which ship with the binary.
    FashionMnist10k,
    /// Fashion-MNIST in two classes, bags (0) and clothes (1): Xu et al. 2019, §5.1.
    FashionMnistBags,
    /// Krizhevsky 2009: 50,000 + 10,000 colour images, 32×32, ten classes.
    Cifar10,
    /// Krizhevsky 2009: 50,000 + 10,000 colour images, 32×32, a hundred (fine) classes.
    Cifar100,
    /// CIFAR-10 with the training images of CIFAR-100 as the pool for open-set noise: Wang et al. 2018, Zhang & Sabuncu 2018,
    /// §4.3.
    Cifar10OpenSet,
    /// Pang & Lee 2005: 10,662 sentences of film reviews, negative (0) and positive (1), as rows of word indices.
    Mr,
    /// Kaggle 2013: 25,000 colour images of cats (0) and dogs (1), a quarter of them test samples, scaled to `size` × `size`.
    DogsVsCats {
        /// Pixels per side.
        size: usize,
    },
    /// Xiao et al. 2015: a million images of clothes with noisy labels, fourteen classes, scaled to `size` × `size`; people
    /// labelled the validation and test samples.
    Clothing1M {
        /// Pixels per side.
        size: usize,
    },
    /// A folder of images.
    Folder(Folder),
}

/// A folder with the images `PATH/train/CLASS/*.{jpg,jpeg,png}` and `PATH/test/CLASS/*.{jpg,jpeg,png}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Folder {
    /// Its path, absolute or below a directory of data sets.
    pub path: String,
    /// Number of classes, 2 to [`CLASSES`].
    pub classes: usize,
    /// Pixels per side after scaling, 1 to [`SIDE`].
    pub size: usize,
    /// Whether images are read in grey (one channel) instead of colour (three).
    pub grey: bool,
}

/// The largest number of pixels per side.
pub const SIDE: usize = 4_096;

/// The largest number of classes of a folder. The realised transition matrix travels in one message, and messages have at most
/// 4 MiB.
pub const CLASSES: usize = 500;

/// Each class of CIFAR-100 is mistaken for the next one, the last for the first.
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
    /// All data sets except `folder`, with parameters at their defaults.
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

    /// The names in sweep files.
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

    /// Reads the parameters of the data set `name`; `None` for an unknown name.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Dataset> {
        let size = |fields: &mut Fields<'_>, default: usize| {
            fields.about("pixels per side").integer("size").at_least(1).at_most(SIDE as u64).or(default as u64) as usize
        };
        match name {
            "dogs-vs-cats" => Some(Dataset::DogsVsCats { size: size(fields, 32) }),
            "clothing1m" => Some(Dataset::Clothing1M { size: size(fields, 224) }),
            "folder" => {
                let path = fields
                    .about("folder with `train` and `test`")
                    .text("path")
                    .required("a folder with `train` and `test` in it");
                let classes =
                    fields.about("number of classes").integer("classes").at_least(2).at_most(CLASSES as u64).required()
                        as usize;
                let size = fields.about("pixels per side").integer("size").at_least(1).at_most(SIDE as u64).required()
                    as usize;
                let grey = fields.about("read images in grey instead of colour").flag("grey").or(false);
                // A missing path has been reported, so this value is dropped.
                Some(Dataset::Folder(Folder { path: path.unwrap_or_default().to_owned(), classes, size, grey }))
            }
            name => Dataset::plain(name),
        }
    }

    /// The data set without parameters with this name.
    fn plain(name: &str) -> Option<Dataset> {
        let plain = |dataset: &&Dataset| dataset.name() == name && !dataset.has_parameters();
        Dataset::ALL.iter().find(plain).cloned()
    }

    /// Whether the data set has parameters.
    fn has_parameters(&self) -> bool {
        matches!(self, Dataset::DogsVsCats { .. } | Dataset::Clothing1M { .. } | Dataset::Folder(_))
    }

    /// The name in sweep files.
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

    /// Shape of every sample; a sentence is one row of word indices.
    pub fn shape(&self) -> ImageShape {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k | Dataset::FashionMnistBags => {
                ImageShape { channels: 1, height: 28, width: 28 }
            }
            Dataset::Cifar10 | Dataset::Cifar100 | Dataset::Cifar10OpenSet => {
                ImageShape { channels: 3, height: 32, width: 32 }
            }
            // The longest sentence has 56 words (Kim 2014, §3).
            Dataset::Mr => ImageShape { channels: 1, height: 1, width: 56 },
            Dataset::DogsVsCats { size } | Dataset::Clothing1M { size } => {
                ImageShape { channels: 3, height: *size, width: *size }
            }
            Dataset::Folder(Folder { size, grey, .. }) => {
                ImageShape { channels: if *grey { 1 } else { 3 }, height: *size, width: *size }
            }
        }
    }

    /// Number of tokens of a text data set; `None` for images.
    pub fn vocabulary(&self) -> Option<usize> {
        match self {
            // 18,764 words, and one token of padding: |V| of Kim 2014, Table 1.
            Dataset::Mr => Some(18_765),
            _ => None,
        }
    }

    /// The samples as a network takes them.
    pub fn input(&self) -> SampleShape {
        SampleShape { shape: self.shape(), vocabulary: self.vocabulary() }
    }

    /// Number of training samples, validation part included, and of test samples; `None` if only the files tell.
    pub fn sizes(&self) -> Option<(usize, usize)> {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnistBags => Some((60_000, 10_000)),
            Dataset::FashionMnist10k => Some((8_000, 2_000)),
            Dataset::Cifar10 | Dataset::Cifar100 | Dataset::Cifar10OpenSet => Some((50_000, 10_000)),
            // Nine tenths and one tenth of 10,662; Xu et al. 2019 hold out a fifth of the former for validation.
            Dataset::Mr => Some((9_595, 1_067)),
            Dataset::DogsVsCats { .. } => Some((18_750, 6_250)),
            Dataset::Clothing1M { .. } | Dataset::Folder(_) => None,
        }
    }

    /// Whether the data set has validation samples beside its training samples.
    pub fn has_validation(&self) -> bool {
        matches!(self, Dataset::Clothing1M { .. })
    }

    /// Whether the data set consists of image files, which are decoded on demand if they do not fit into memory.
    pub fn is_of_files(&self) -> bool {
        matches!(self, Dataset::DogsVsCats { .. } | Dataset::Clothing1M { .. } | Dataset::Folder(_))
    }

    /// Number of images in the pool for open-set noise, which follow the training samples and belong to no class.
    pub fn pool(&self) -> usize {
        match self {
            Dataset::Cifar10OpenSet => 50_000,
            _ => 0,
        }
    }

    /// Whether the data set has a pool for open-set noise.
    pub fn has_pool(&self) -> bool {
        self.pool() > 0
    }

    /// Pairs (true, given) of easily mistaken classes, for class-dependent noise: Zhang & Sabuncu 2018, §4.2.
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
    fn mistaken_classes_exist_and_none_is_mistaken_for_two() {
        for dataset in Dataset::ALL {
            let confusions = dataset.confusions().unwrap_or_default();
            assert!(confusions.iter().all(|(from, to)| from != to && *from.max(to) < dataset.classes()), "{dataset:?}");
            let mistaken: std::collections::BTreeSet<_> = confusions.iter().map(|(from, _)| from).collect();
            assert_eq!(mistaken.len(), confusions.len(), "{dataset:?}");
        }
    }

    #[test]
    fn each_class_of_cifar_100_is_mistaken_for_the_next() {
        let confusions = Dataset::Cifar100.confusions().unwrap();
        assert_eq!((confusions.len(), confusions[0], confusions[98], confusions[99]), (100, (0, 1), (98, 99), (99, 0)));
    }

    #[test]
    fn a_sentence_is_a_row_of_tokens_and_an_image_has_no_vocabulary() {
        let SampleShape { shape, vocabulary } = Dataset::Mr.input();
        assert_eq!((shape, vocabulary), (ImageShape { channels: 1, height: 1, width: 56 }, Some(18_765)));
        assert_eq!(Dataset::Cifar100.input().vocabulary, None);
    }
}
