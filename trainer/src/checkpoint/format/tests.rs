//! A checkpoint is read back bit by bit, and any other file is an error.

use super::*;
use crate::train::tests::job;
use plusminus_core::job::Job;
use plusminus_core::outcome::Samples;
use plusminus_core::random::Stream;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

/// Values that a conversion to text or another number would change.
const ODD: [f64; 6] = [f64::NAN, f64::NEG_INFINITY, -0.0, 5e-324, 0.1, 1.0 / 3.0];

fn plan(job: &Job) -> Arc<Plan> {
    let dataset = &job.configuration.dataset;
    Arc::new(Plan::of(&job.configuration.model.network(dataset.input(), dataset.classes()).unwrap()))
}

/// A training after its third epoch. The second one was best by both validation metrics.
struct Fixture {
    origin: CheckpointOrigin,
    engine: Checkpoint,
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
            origin: CheckpointOrigin {
                job: job.id(),
                engine: "fused 1 cpu".to_owned(),
                parent: Some(Digest::of(b"weights")),
                facts,
                transition,
            },
            engine: Checkpoint { weights: last, optimizer: OptimizerState { steps: 12, first, second: Vec::new() } },
            second: Snapshot { epoch: 2, weights: weights(2) },
            rows: (1..).zip([0, 1, 2].map(row)).collect(),
        }
    }

    fn training_state(&self) -> TrainingState<'_> {
        let best = [None, Some((f64::from_bits(0x7FF8_0000_0000_0042), &self.second)), Some((-0.0, &self.second))];
        TrainingState { engine: &self.engine, criterion: b"state", best, rows: &self.rows }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, &self.origin, self.training_state()).unwrap();
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
fn a_checkpoint_is_read_back_bit_by_bit() {
    let job = job(1, |_| {});
    let fixture = Fixture::of(&job);
    let bytes = fixture.bytes();
    let found = read_bytes(&bytes, &job).unwrap();
    assert_eq!((&found.origin, &found.criterion[..]), (&fixture.origin, &b"state"[..]));
    assert_eq!(bits(found.engine.weights.values()), bits(fixture.engine.weights.values()));
    assert_eq!(found.engine.optimizer, fixture.engine.optimizer);
    let bits_of = |rows: &[(u32, Measurements)]| -> Vec<(u32, Vec<(Metric, u64)>)> {
        let row = |row: &Measurements| row.iter().map(|(metric, value)| (*metric, value.to_bits())).collect();
        rows.iter().map(|(epoch, values)| (*epoch, row(values))).collect()
    };
    assert_eq!(bits_of(&found.rows), bits_of(&fixture.rows));
    for (found, expected) in found.best.iter().zip(fixture.training_state().best) {
        let of = |value: f64, snapshot: &Snapshot| (value.to_bits(), snapshot.clone());
        assert_eq!(found.as_ref().map(|(v, s)| of(*v, s)), expected.map(|(v, s)| of(v, s)));
    }
    let best = found.best;
    let again = TrainingState {
        engine: &found.engine,
        criterion: &found.criterion,
        best: best.each_ref().map(|best| best.as_ref().map(|(value, snapshot)| (*value, snapshot))),
        rows: &found.rows,
    };
    let mut rewritten = Vec::new();
    write(&mut rewritten, &found.origin, again).unwrap();
    assert!(rewritten == bytes, "equal states give equal files");
}

#[test]
fn weights_that_snapshots_share_are_written_once() {
    let job = job(1, |_| {});
    let fixture = Fixture::of(&job);
    let plan = plan(&job);
    let lists = (2 * plan.len() + plan.trained()) * size_of::<f32>();
    assert!((lists..lists + 2_000).contains(&fixture.bytes().len()));
}

#[test]
fn a_wrong_file_is_an_error_with_its_reason() {
    let (job, other) = (job(1, |_| {}), job(2, |_| {}));
    let bytes = Fixture::of(&job).bytes();
    let why = |bytes: &[u8], job: &Job| read_bytes(bytes, job).unwrap_err().to_string();
    assert_eq!(why(&bytes, &other), format!("it belongs to job {}", job.id()));
    assert_eq!(why(b"", &job), "it is not a checkpoint of plusminus");
    assert_eq!(why(b"plusminus checkpoint 2", &job), "it is not a checkpoint of plusminus");
    let damaged = "its checksum is wrong, so it is truncated or damaged";
    assert_eq!(why(b"plusminus checkpoint 2\n", &job), damaged);
    assert_eq!(why(&bytes[..bytes.len() - 1], &job), damaged);
    assert_eq!(why(&[&bytes[..], b"more"].concat(), &job), damaged);
    for format in ["1", "12"] {
        let other = [MAGIC, format.as_bytes(), &bytes[MAGIC.len() + 1..]].concat();
        let expected = format!("it has format {format}, this version of plusminus reads format 2");
        assert_eq!(why(&other, &job), expected);
    }
    let missing = tempfile::tempdir().unwrap();
    let error = read(&missing.path().join("a"), job.id(), &plan(&job)).unwrap_err();
    assert!(matches!(error, CheckpointError::Io(_)), "{error}");
}

#[test]
fn wrong_content_with_a_right_checksum_is_an_error() {
    let job = job(1, |_| {});
    let fixture = Fixture::of(&job);
    let bytes = fixture.bytes();
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
    fn a_changed_byte_or_a_missing_end_is_an_error(place in any::<prop::sample::Index>(), flip in 0..=255u8) {
        let job = job(1, |_| {});
        let mut bytes = Fixture::of(&job).bytes();
        let place = place.index(bytes.len());
        // No change: truncate instead.
        if flip == 0 { bytes.truncate(place) } else { bytes[place] ^= flip }
        prop_assert!(read_bytes(&bytes, &job).is_err(), "byte {place}");
    }

    #[test]
    fn a_changed_head_with_a_right_checksum_never_causes_a_panic(
        place in any::<prop::sample::Index>(), flip in 1..=255u8
    ) {
        let job = job(1, |_| {});
        let mut bytes = Fixture::of(&job).bytes();
        let content = bytes.len() - CHECKSUM as usize;
        let place = place.index(2_000);
        bytes[place] ^= flip;
        let sum = blake3::hash(&bytes[..content]);
        bytes[content..].copy_from_slice(sum.as_bytes());
        if let Ok(saved) = read_bytes(&bytes, &job) {
            prop_assert_eq!((saved.rows.len(), saved.origin.job), (3, job.id()));
        }
    }
}
