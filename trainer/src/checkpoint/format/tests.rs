//! What is written is read again bit by bit, and nothing else is.

use super::*;
use crate::train::tests::job;
use plusminus_core::job::Job;
use plusminus_core::outcome::Samples;
use plusminus_core::random::Stream;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

/// Values that arithmetic would not bring back.
const ODD: [f64; 6] = [f64::NAN, f64::NEG_INFINITY, -0.0, 5e-324, 0.1, 1.0 / 3.0];

fn plan(job: &Job) -> Arc<Plan> {
    let dataset = &job.configuration.dataset;
    Arc::new(Plan::of(&job.configuration.model.network(dataset.input(), dataset.classes()).unwrap()))
}

/// A training that stands after its third epoch, the second of which was best in both ways of validation.
struct Fixture {
    about: CheckpointOrigin,
    here: Checkpoint,
    second: Snapshot,
    rows: Vec<(u32, Measurements)>,
}

impl Fixture {
    fn of(job: &Job) -> Fixture {
        let plan = plan(job);
        let weights = |epoch| plan.initial(&mut job.streams().generator(Stream::Weights, epoch));
        let mut last = weights(3);
        last.values_mut()[..4].copy_from_slice(&[f32::from_bits(0x7FC0_1234), f32::INFINITY, -0.0, 1e-45]);
        let first = weights(1).values()[..plan.trained()].to_vec();
        let metrics = [Metric::TrainLoss, Metric::TestAccuracy];
        let row = |i: usize| (0..).zip(metrics).map(|(k, metric)| (metric, ODD[2 * i + k])).collect();
        let facts = Facts {
            parameters: 1,
            samples: Samples { train: 1, validation: 2, test: 3 },
            noise_rate: 1.0 / 3.0,
            transition: TransitionMatrix::from_rows(2, vec![0.9, 0.1, 1.0 / 3.0, 2.0 / 3.0]).unwrap(),
            data: "digest".to_owned(),
            engine: "fused 1 cpu avx2".to_owned(),
            weights: String::new(),
            kept: BTreeMap::new(),
            start: None,
        };
        let transition = Some(facts.transition.clone());
        Fixture {
            about: CheckpointOrigin {
                job: job.id(),
                engine: "fused 1 cpu".to_owned(),
                parent: Some(Digest::of(b"weights")),
                facts,
                transition,
            },
            here: Checkpoint { weights: last, optimizer: OptimizerState { steps: 12, first, second: Vec::new() } },
            second: Snapshot { epoch: 2, weights: weights(2) },
            rows: (1..).zip([0, 1, 2].map(row)).collect(),
        }
    }

    fn standing(&self) -> TrainingState<'_> {
        let best = [None, Some((f64::from_bits(0x7FF8_0000_0000_0042), &self.second)), Some((-0.0, &self.second))];
        TrainingState { here: &self.here, criterion: b"state", best, rows: &self.rows }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, &self.about, self.standing()).unwrap();
        bytes
    }
}

/// A directory with a file of these bytes.
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.checkpoint");
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

fn read_bytes(bytes: &[u8], job: &Job) -> Result<SavedCheckpoint, CheckpointError> {
    let (_directory, path) = file(bytes);
    read(&path, job.id(), &plan(job))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn what_is_written_is_read_again_bit_by_bit() {
    let job = job(1, |_| {});
    let state = Fixture::of(&job);
    let bytes = state.bytes();
    let found = read_bytes(&bytes, &job).unwrap();
    assert_eq!((&found.about, &found.criterion[..]), (&state.about, &b"state"[..]));
    assert_eq!(bits(found.here.weights.values()), bits(state.here.weights.values()));
    assert_eq!(found.here.optimizer, state.here.optimizer);
    let bits_of = |rows: &[(u32, Measurements)]| -> Vec<(u32, Vec<(Metric, u64)>)> {
        let row = |row: &Measurements| row.iter().map(|(metric, value)| (*metric, value.to_bits())).collect();
        rows.iter().map(|(epoch, values)| (*epoch, row(values))).collect()
    };
    assert_eq!(bits_of(&found.rows), bits_of(&state.rows));
    for (found, expected) in found.best.iter().zip(state.standing().best) {
        let of = |value: f64, snapshot: &Snapshot| (value.to_bits(), snapshot.clone());
        assert_eq!(found.as_ref().map(|(v, s)| of(*v, s)), expected.map(|(v, s)| of(v, s)));
    }
    let best = found.best;
    let again = TrainingState {
        here: &found.here,
        criterion: &found.criterion,
        best: best.each_ref().map(|best| best.as_ref().map(|(value, snapshot)| (*value, snapshot))),
        rows: &found.rows,
    };
    let mut rewritten = Vec::new();
    write(&mut rewritten, &found.about, again).unwrap();
    assert!(rewritten == bytes, "equal states give equal files");
}

#[test]
fn weights_that_snapshots_share_are_written_once() {
    let job = job(1, |_| {});
    let state = Fixture::of(&job);
    let plan = plan(&job);
    let lists = (2 * plan.len() + plan.trained()) * size_of::<f32>();
    assert!((lists..lists + 2_000).contains(&state.bytes().len()));
}

#[test]
fn what_is_no_checkpoint_of_this_job_and_this_format_is_told_apart() {
    let (job, other) = (job(1, |_| {}), job(2, |_| {}));
    let bytes = Fixture::of(&job).bytes();
    let why = |bytes: &[u8], job: &Job| read_bytes(bytes, job).unwrap_err().to_string();
    assert_eq!(why(&bytes, &other), format!("it is of job {}", job.id()));
    assert_eq!(why(b"", &job), "it is no checkpoint of plusminus");
    assert_eq!(why(b"plusminus checkpoint 2", &job), "it is no checkpoint of plusminus");
    let damaged = "its checksum is wrong: it was cut short or damaged";
    assert_eq!(why(b"plusminus checkpoint 2\n", &job), damaged);
    assert_eq!(why(&bytes[..bytes.len() - 1], &job), damaged);
    assert_eq!(why(&[&bytes[..], b"more"].concat(), &job), damaged);
    for format in ["1", "12"] {
        let other = [MAGIC, format.as_bytes(), &bytes[MAGIC.len() + 1..]].concat();
        let expected = format!("it has format {format}, and this version of plusminus reads format 2");
        assert_eq!(why(&other, &job), expected);
    }
    let missing = tempfile::tempdir().unwrap();
    let error = read(&missing.path().join("a"), job.id(), &plan(&job)).unwrap_err();
    assert!(matches!(error, CheckpointError::Io(_)), "{error}");
}

#[test]
fn a_file_with_a_right_checksum_and_wrong_contents_is_refused_too() {
    let job = job(1, |_| {});
    let state = Fixture::of(&job);
    let bytes = state.bytes();
    let line = MAGIC.len() + VERSION.len() + 1;
    let length = u64::from_le_bytes(bytes[line..line + 8].try_into().unwrap()) as usize;
    let body = &bytes[line + 8 + length..bytes.len() - CHECKSUM as usize];
    let with = |length: u64, head: &str, body: &[u8]| {
        let content = [&bytes[..line], &length.to_le_bytes(), head.as_bytes(), body].concat();
        let sum = blake3::hash(&content);
        read_bytes(&[&content[..], sum.as_bytes()].concat(), &job)
    };
    let head = std::str::from_utf8(&bytes[line + 8..line + 8 + length]).unwrap();
    assert!(with(length as u64, head, body).is_ok());
    let wrong = [
        ("\"epoch\":3", "\"epoch\":0"),
        ("\"epoch\":3", "\"epoch\":2"),
        ("\"sets\":[3,2]", "\"sets\":[3,1]"),
        ("\"sets\":[3,2]", "\"sets\":[]"),
        ("\"sets\":[3,2]", "\"sets\":[3,2,2]"),
        ("\"values\":18378", "\"values\":18446744073709551615"),
        ("\"values\":18378", "\"values\":18377"),
        ("\"criterion\":5", "\"criterion\":18446744073709551615"),
        ("\"steps\"", "\"stepz\""),
        ("\"rows\":[", "\"rows\":[{},"),
    ];
    for (from, to) in wrong {
        assert!(head.contains(from), "{from} in {head}");
        let head = head.replace(from, to);
        assert!(with(head.len() as u64, &head, body).is_err(), "{from} → {to}");
    }
    assert!(with(u64::MAX, head, body).is_err());
    assert!(with(3, head, body).is_err());
    assert!(with(length as u64, head, &body[1..]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_file_with_any_byte_changed_or_any_part_lacking_is_refused(place in any::<prop::sample::Index>(), flip in 0..=255u8) {
        let job = job(1, |_| {});
        let mut bytes = Fixture::of(&job).bytes();
        let place = place.index(bytes.len());
        // A change to nothing: cut off there.
        if flip == 0 { bytes.truncate(place) } else { bytes[place] ^= flip }
        prop_assert!(read_bytes(&bytes, &job).is_err(), "byte {place}");
    }

    #[test]
    fn a_head_with_any_byte_changed_is_refused_or_read_as_it_stands_and_never_a_panic(
        place in any::<prop::sample::Index>(), flip in 1..=255u8
    ) {
        // Its checksum made right again: what checksums are there to keep out.
        let job = job(1, |_| {});
        let mut bytes = Fixture::of(&job).bytes();
        let content = bytes.len() - CHECKSUM as usize;
        let place = place.index(2_000);
        bytes[place] ^= flip;
        let sum = blake3::hash(&bytes[..content]);
        bytes[content..].copy_from_slice(sum.as_bytes());
        if let Ok(saved) = read_bytes(&bytes, &job) {
            prop_assert_eq!((saved.rows.len(), saved.about.job), (3, job.id()));
        }
    }
}
