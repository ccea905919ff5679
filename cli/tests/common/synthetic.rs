//! Synthetic data sets in the layouts of the real ones, so that the shipped sweeps train without a download. Images of one class resemble
//! each other and differ from those of other classes.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes the data set `dataset` into `directory`.
pub fn write(directory: &Path, dataset: &str) {
    match dataset {
        "fashion-mnist" => fashion_mnist(&directory.join("fashion-mnist")),
        "cifar-10" => {
            let files = (1..=5).map(|i| (format!("data_batch_{i}.bin"), 10_000));
            let files = files.chain([("test_batch.bin".to_owned(), 10_000)]);
            cifar(&directory.join("cifar-10-batches-bin"), 10, false, files);
        }
        "cifar-100" => {
            let files = [("train.bin".to_owned(), 50_000), ("test.bin".to_owned(), 10_000)];
            cifar(&directory.join("cifar-100-binary"), 100, true, files.into_iter());
        }
        "mr" => movie_reviews(&directory.join("rt-polaritydata")),
        "dogs-vs-cats" => dogs_vs_cats(&directory.join("dogs-vs-cats").join("train")),
        "clothing1m" => clothing1m(&directory.join("clothing1m")),
        other => panic!("no synthetic data set is called {other}"),
    }
}

/// Returns the channels of an image: a grating whose direction and width depend on its class, and its phase on its number.
fn picture(class: usize, number: usize, channels: usize, extent: usize) -> Vec<u8> {
    let (down, across) = (1 + class % 5, 1 + class / 5 % 7);
    let value = |channel: usize, row: usize, column: usize| {
        let place = row * down + column * across + (channel + class) * 3 + number % 4;
        if (place / 4).is_multiple_of(2) { 60 + 9 * (number % 7) as u8 } else { 170 + 7 * (class % 11) as u8 }
    };
    let pixels = |channel| (0..extent * extent).map(move |i| value(channel, i / extent, i % extent));
    (0..channels).flat_map(pixels).collect()
}

fn fashion_mnist(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (name, count) in [("train", 60_000u32), ("t10k", 10_000)] {
        let mut images = BufWriter::new(File::create(directory.join(format!("{name}-images-idx3-ubyte"))).unwrap());
        let mut labels = BufWriter::new(File::create(directory.join(format!("{name}-labels-idx1-ubyte"))).unwrap());
        for number in [2051, count, 28, 28] {
            images.write_all(&number.to_be_bytes()).unwrap();
        }
        for number in [2049, count] {
            labels.write_all(&number.to_be_bytes()).unwrap();
        }
        let kinds: Vec<Vec<u8>> = (0..280).map(|kind| picture(kind % 10, kind / 10, 1, 28)).collect();
        for i in 0..count as usize {
            images.write_all(&kinds[i % kinds.len()]).unwrap();
            labels.write_all(&[(i % 10) as u8]).unwrap();
        }
    }
}

fn cifar(directory: &Path, classes: usize, coarse: bool, files: impl Iterator<Item = (String, usize)>) {
    fs::create_dir_all(directory).unwrap();
    let kinds: Vec<Vec<u8>> = (0..classes * 28).map(|kind| picture(kind % classes, kind / classes, 3, 32)).collect();
    for (name, count) in files {
        let mut file = BufWriter::new(File::create(directory.join(name)).unwrap());
        for i in 0..count {
            let class = (i % classes) as u8;
            let labels = [class / 5, class];
            file.write_all(if coarse { &labels } else { &labels[1..] }).unwrap();
            file.write_all(&kinds[i % kinds.len()]).unwrap();
        }
    }
}

/// Writes sentences of ten words, one of which depends on the polarity.
fn movie_reviews(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (name, telling) in [("rt-polarity.neg", "dull"), ("rt-polarity.pos", "fine")] {
        let sentence = |i: usize| {
            let word = |place: usize| format!("w{}", (i * 31 + place * place * 17) % 2_000);
            let words: Vec<String> = (0..9).map(word).collect();
            format!("{} {telling} .\n", words.join(" "))
        };
        fs::write(directory.join(name), (0..5_331).map(sentence).collect::<String>()).unwrap();
    }
}

fn dogs_vs_cats(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (class, name) in ["cat", "dog"].into_iter().enumerate() {
        let kinds: Vec<Vec<u8>> = (0..28).map(|number| jpeg(class, number, 32)).collect();
        for number in 0..12_500 {
            fs::write(directory.join(format!("{name}.{number}.jpg")), &kinds[number % kinds.len()]).unwrap();
        }
    }
}

/// Writes ten training images per class, and two each for validation and testing.
fn clothing1m(directory: &Path) {
    let parts = [("noisy_train", "noisy", 10), ("clean_val", "clean", 2), ("clean_test", "clean", 2)];
    let mut labels = [String::new(), String::new()];
    for (part, kind, each) in parts {
        let mut list = String::new();
        for (class, number) in (0..each).flat_map(|number| (0..14).map(move |class| (class, number))) {
            let key = format!("images/{part}/{class}-{number}.jpg");
            let path = directory.join(&key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, jpeg(class, number, 80)).unwrap();
            list += &format!("{key}\n");
            labels[usize::from(kind == "clean")] += &format!("{key} {class}\n");
        }
        fs::write(directory.join(format!("{part}_key_list.txt")), list).unwrap();
    }
    fs::write(directory.join("noisy_label_kv.txt"), &labels[0]).unwrap();
    fs::write(directory.join("clean_label_kv.txt"), &labels[1]).unwrap();
}

fn jpeg(class: usize, number: usize, extent: usize) -> Vec<u8> {
    let planes = picture(class, number, 3, extent);
    let pixels = extent * extent;
    let interleaved: Vec<u8> =
        (0..pixels).flat_map(|i| [0, 1, 2].map(|channel| planes[channel * pixels + i])).collect();
    let mut bytes = Vec::new();
    let side = extent as u32;
    JpegEncoder::new(&mut bytes).write_image(&interleaved, side, side, ExtendedColorType::Rgb8).unwrap();
    bytes
}
