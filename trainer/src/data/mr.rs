//! Reads MR, sentences of film reviews with their polarity (Pang & Lee 2005, "sentence polarity dataset v1.0"), as rows of word numbers.
//!
//! A file has one sentence on each line and is not UTF-8. Sentences are divided into words by the rules of Kim 2014 (the function
//! `clean_str` of its code, which Xu et al. 2019 use too). Word 0 pads a row at its end. The others are numbered in the order of their first
//! occurrence, negative sentences before positive ones. The data set has no test part of its own: a tenth of the sentences, as many as Xu et
//! al. 2019 use, is drawn with a fixed seed, the same for every job.

use super::directories::DataDirectories;
use super::error::DataError;
use super::loaded_dataset::LoadedDataset;
use super::sample_set::{SampleSet, SampleValues};
use super::shuffle::shuffle;
use plusminus_core::methods::dataset::{Dataset, ImageShape};
use plusminus_core::random::{Stream, Streams};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files by label: negative and positive sentences.
const FILES: [&str; 2] = ["rt-polarity.neg", "rt-polarity.pos"];

/// The folder in the archive.
const FOLDER: &str = "rt-polaritydata";

/// The seed of the draw of the test part.
const SEED: u64 = u64::from_le_bytes(*b"polarity");

/// The most bytes that are read of a file, six times the size of each.
const MAX_BYTES: u64 = 4 << 20;

/// The expected sizes.
struct ExpectedSizes {
    /// Sentences in each file.
    sentences: usize,
    /// Sentences of the test part.
    test: usize,
    /// The most words in a sentence.
    length: usize,
    /// The most different words, plus one for padding.
    vocabulary: usize,
}

/// Reads the data set from the first place that has any of its files.
pub(super) fn from_disk(directories: &DataDirectories) -> Result<LoadedDataset, DataError> {
    let dataset = Dataset::Mr;
    let (train, test) = dataset.sizes().unwrap_or_default();
    let expected = ExpectedSizes {
        sentences: (train + test) / FILES.len(),
        test,
        length: dataset.shape().width,
        vocabulary: dataset.vocabulary().unwrap_or_default(),
    };
    search(directories, &expected)
}

fn search(directories: &DataDirectories, expected: &ExpectedSizes) -> Result<LoadedDataset, DataError> {
    let name = Dataset::Mr.name();
    let places: Vec<PathBuf> = directories.places(&Dataset::Mr).flat_map(|place| [place.join(FOLDER), place]).collect();
    let Some(place) = places.iter().find(|place| FILES.iter().any(|file| place.join(file).is_file())) else {
        let remedy = "unpack https://www.cs.cornell.edu/people/pabo/movie-review-data/rt-polaritydata.tar.gz";
        return Err(DataError::NotFound { name, places, remedy });
    };
    if let Some(file) = FILES.iter().find(|file| !place.join(file).is_file()) {
        return Err(DataError::Incomplete { name, directory: place.clone(), files: vec![(*file).to_owned()] });
    }
    let mut numbers = HashMap::new();
    let mut rows: Vec<(Vec<u32>, u32)> = Vec::new();
    for (file, label) in FILES.iter().zip(0..) {
        let path = place.join(file);
        let wrong = |expected: String, found: String| DataError::Extents { path: path.clone(), expected, found };
        let sentences = read(&path)?;
        if sentences.len() != expected.sentences {
            let found = format!("{}", sentences.len());
            return Err(wrong(format!("{} lines with one sentence each", expected.sentences), found));
        }
        for (line, words) in sentences.into_iter().enumerate() {
            if words.len() > expected.length {
                let found = format!("{} in line {}", words.len(), line + 1);
                return Err(wrong(format!("at most {} words in a line", expected.length), found));
            }
            let mut row = vec![0; expected.length];
            for (place, word) in row.iter_mut().zip(words) {
                let next = numbers.len() as u32 + 1;
                *place = *numbers.entry(word).or_insert(next);
            }
            rows.push((row, label));
        }
        if numbers.len() >= expected.vocabulary {
            let found = format!("{} at the end of this file", numbers.len());
            return Err(wrong(format!("at most {} different words", expected.vocabulary - 1), found));
        }
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    shuffle(&mut order, &mut Streams::new(SEED, SEED).generator(Stream::Split, 0));
    let (train, test) = order.split_at(rows.len().saturating_sub(expected.test));
    let shape = ImageShape { channels: 1, height: 1, width: expected.length };
    let images = |order: &[usize]| {
        let tokens = order.iter().flat_map(|row| &rows[*row].0).copied().collect();
        let labels = order.iter().map(|row| rows[*row].1).collect();
        SampleSet { shape, values: SampleValues::Tokens(tokens), labels, foreign: 0 }
    };
    Ok(LoadedDataset::new(images(train), images(test)))
}

/// The words of each line.
fn read(path: &Path) -> Result<Vec<Vec<String>>, DataError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_BYTES {
        let (expected, found) = (format!("at most {MAX_BYTES} bytes"), "more".to_owned());
        return Err(DataError::Extents { path: path.to_owned(), expected, found });
    }
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    Ok(lines.split(|byte| *byte == b'\n').map(words).collect())
}

/// Divides a line into words. Words end at any byte that is not a letter, a digit, one of `(),!?'` or a backtick. The marks `(),!?` are
/// words themselves, and so are the endings 's, 've, n't, 're, 'd and 'll.
fn words(line: &[u8]) -> Vec<String> {
    let kept = |byte: &u8| match *byte {
        byte if byte.is_ascii_alphanumeric() || b"(),!?'`".contains(&byte) => char::from(byte),
        _ => ' ',
    };
    let mut text: String = line.iter().map(kept).collect();
    for ending in ["'s", "'ve", "n't", "'re", "'d", "'ll"] {
        text = text.replace(ending, &format!(" {ending}"));
    }
    for mark in [",", "!", "(", ")", "?"] {
        text = text.replace(mark, &format!(" {mark} "));
    }
    text.to_ascii_lowercase().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    const SMALL: ExpectedSizes = ExpectedSizes { sentences: 4, test: 3, length: 5, vocabulary: 12 };

    /// The two files have ten different words.
    const NEGATIVE: &str = "a bad film\nbad , bad\nit isn't good\n\n";
    const POSITIVE: &str = "good\na good film !\ngood\nit is a\n";

    fn found(negative: &[u8], positive: &[u8], expected: &ExpectedSizes) -> Result<LoadedDataset, DataError> {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(FILES[0]), negative).unwrap();
        fs::write(folder.join(FILES[1]), positive).unwrap();
        search(&DataDirectories { directories: vec![directory.path().to_owned()] }, expected)
    }

    fn tokens(images: &SampleSet) -> Vec<&[u32]> {
        match &images.values {
            SampleValues::Tokens(tokens) => tokens.chunks_exact(images.shape.len()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_are_divided_by_kims_rules() {
        let split = |line: &[u8]| words(line).join(" ");
        assert_eq!(split(b"He's sure they've lost, isn't it?"), "he 's sure they 've lost , is n't it ?");
        assert_eq!(split(b"we're (not) done! i'd say; you'll see"), "we 're ( not ) done ! i 'd say you 'll see");
        assert_eq!(split(b"clich\xe9d -- `so' to-day...  "), "clich d `so' to day");
        assert_eq!(split(b" \xff. "), "");
    }

    #[test]
    fn words_are_numbered_by_first_occurrence_and_rows_are_padded() {
        let data = found(NEGATIVE.as_bytes(), POSITIVE.as_bytes(), &SMALL).unwrap();
        let mut rows: Vec<(&[u32], u32)> = Vec::new();
        for images in [&data.train, &data.test] {
            rows.extend(tokens(images).into_iter().zip(images.labels.iter().copied()));
        }
        rows.sort_unstable();
        let expected: [(&[u32], u32); 8] = [
            (&[0, 0, 0, 0, 0], 0),
            (&[1, 2, 3, 0, 0], 0),
            (&[1, 8, 3, 9, 0], 1),
            (&[2, 4, 2, 0, 0], 0),
            (&[5, 6, 1, 0, 0], 1),
            (&[5, 6, 7, 8, 0], 0),
            (&[8, 0, 0, 0, 0], 1),
            (&[8, 0, 0, 0, 0], 1),
        ];
        assert_eq!(rows, expected);
        assert_eq!((data.train.len(), data.test.len()), (5, 3));
    }

    #[test]
    fn the_test_part_is_the_same_every_time() {
        let lines = |word: &str| (0..40).map(|i| format!("{word}{i}\n")).collect::<String>();
        let expected = ExpectedSizes { sentences: 40, test: 20, length: 5, vocabulary: 81 };
        let read = || found(lines("no").as_bytes(), lines("yes").as_bytes(), &expected).unwrap();
        let data = read();
        assert_eq!(data, read());
        let drawn: BTreeSet<u32> = tokens(&data.test).iter().map(|row| row[0]).collect();
        let left: BTreeSet<u32> = tokens(&data.train).iter().map(|row| row[0]).collect();
        assert_eq!(drawn.union(&left).copied().collect::<Vec<_>>(), (1..=80).collect::<Vec<_>>());
        let positive = data.test.labels.iter().sum::<u32>();
        assert!((4..=16).contains(&positive), "{positive} of 20 are positive");
    }

    #[test]
    fn files_of_other_sizes_are_errors() {
        let message = |negative: &[u8], positive: &[u8], expected: &ExpectedSizes| {
            let text = found(negative, positive, expected).unwrap_err().to_string();
            text.split_once(": ").unwrap().1.to_owned()
        };
        let (n, p) = (NEGATIVE.as_bytes(), POSITIVE.as_bytes());
        let remedy = "; check that it belongs to the data set";
        assert_eq!(message(&n[..9], p, &SMALL), format!("expected 4 lines with one sentence each, found 1{remedy}"));
        assert_eq!(message(b"", p, &SMALL), format!("expected 4 lines with one sentence each, found 0{remedy}"));
        let more = [p, b"one\n"].concat();
        assert_eq!(message(n, &more, &SMALL), format!("expected 4 lines with one sentence each, found 5{remedy}"));
        let long = "a\na\na b c d e f\na\n";
        assert_eq!(
            message(long.as_bytes(), p, &SMALL),
            format!("expected at most 5 words in a line, found 6 in line 3{remedy}")
        );
        let few = ExpectedSizes { vocabulary: 9, ..SMALL };
        assert_eq!(
            message(n, p, &few),
            format!("expected at most 8 different words, found 9 at the end of this file{remedy}")
        );
        assert_eq!(
            message(&vec![b'a'; 5 << 20], p, &SMALL),
            format!("expected at most 4194304 bytes, found more{remedy}")
        );
    }

    #[test]
    fn a_missing_data_set_or_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let datasets = DataDirectories { directories: vec![directory.path().to_owned()] };
        let text = from_disk(&datasets).unwrap_err().to_string();
        assert!(text.contains("rt-polaritydata.tar.gz") && text.contains("--datasets DIR"), "{text}");
        fs::write(directory.path().join(FILES[1]), POSITIVE).unwrap();
        let text = from_disk(&datasets).unwrap_err().to_string();
        assert!(text.ends_with("lacks rt-polarity.neg; add the file"), "{text}");
    }

    #[test]
    fn the_published_files_have_the_expected_words_and_length() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        // Skipped if the data set is not there.
        if !directory.join("mr").is_dir() {
            return;
        }
        let data = from_disk(&DataDirectories { directories: vec![directory] }).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (9_595, 1_067));
        let all = || [&data.train, &data.test].into_iter().flat_map(tokens);
        assert_eq!(all().flatten().max(), Some(&18_764));
        assert!(all().any(|row| row[55] != 0), "a sentence has 56 words");
        let positive = data.train.labels.iter().chain(&data.test.labels).sum::<u32>();
        assert_eq!(positive, 5_331);
    }
}
