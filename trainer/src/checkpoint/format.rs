//! The content of a checkpoint file.
//!
//! In this order:
//! - `plusminus checkpoint 2` and a line feed: the magic text and the format version;
//! - the length of the head in bytes, an unsigned little-endian 64-bit number;
//! - the head (`Head`) as JSON: job, engine, digest of the parent's weights, epoch, every epoch's measurements, facts, and the lengths of
//!   what follows;
//! - sets of weights, each with all values in the order of the network's plan, then the optimiser's first and second list, with one value
//!   for each trained weight; all are little-endian `f32`;
//! - the loss's state, in its own format;
//! - BLAKE3 of everything before it, 32 bytes.
//!
//! Weights that several snapshots share are written once. Measurements are stored as the bits of an `f64`, so that every value survives.
//! Writing and reading use a small buffer, so that memory does not hold a network's weights twice.

use crate::kept_weights::Snapshot;
use plusminus_core::id::{Digest, JobId};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::Facts;
use plusminus_engines::{Checkpoint, OptimizerState, Plan, Weights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take, Write};
use std::path::Path;
use std::sync::Arc;

/// The start of a file, before its format version.
const MAGIC: &[u8] = b"plusminus checkpoint ";

/// The format version.
const VERSION: &str = "2";

/// The length of the checksum in bytes.
const CHECKSUM: u64 = 32;

/// The number of values that are converted at once.
const CHUNK: usize = 4 * 1024;

/// Identifies the training to which a checkpoint belongs. It is the same for all checkpoints of a training.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckpointOrigin {
    /// The job.
    pub job: JobId,
    /// The engine's reproducibility key. Another engine with the same key can resume.
    pub engine: String,
    /// The digest of the parent's weights with which the training started.
    pub parent: Option<Digest>,
    /// The facts that are known at the start.
    pub facts: Facts,
    /// The transition matrix of the loss.
    pub transition: Option<TransitionMatrix>,
}

/// The state of a training after an epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainingState<'a> {
    /// The weights and the state of the optimiser.
    pub engine: &'a Checkpoint,
    /// The state of the loss.
    pub criterion: &'a [u8],
    /// Value and snapshot of the best test accuracy, validation accuracy and validation loss.
    pub best: [Option<(f64, &'a Snapshot)>; 3],
    /// The measurements of every completed epoch, from epoch 1.
    pub rows: &'a [(u32, Measurements)],
}

/// The content of a checkpoint: [`CheckpointOrigin`] and [`TrainingState`], owned.
#[derive(Clone, Debug)]
pub(crate) struct SavedCheckpoint {
    pub origin: CheckpointOrigin,
    pub engine: Checkpoint,
    pub criterion: Vec<u8>,
    pub best: [Option<(f64, Snapshot)>; 3],
    pub rows: Vec<(u32, Measurements)>,
}

/// Why a checkpoint is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a checkpoint of plusminus")]
    Foreign,
    #[error("it has format {0}, this version of plusminus reads format {VERSION}")]
    Version(String),
    #[error("its checksum is wrong, so it is truncated or damaged")]
    Damaged,
    #[error("its content is inconsistent: {0}")]
    Contents(String),
    #[error("it belongs to job {0}")]
    Job(JobId),
    #[error("it was written by the engine `{found}`, and this engine, `{expected}`, gives other results")]
    Engine { found: String, expected: String },
    #[error("it was written with other data: the digest, the samples or the noise differ")]
    Data,
    #[error("its training started from other weights of the parent job")]
    Parent,
    #[error("its state does not fit the job: {0}")]
    State(String),
}

/// The bits of an `f64`, because JSON has neither NaN nor infinity.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct Bits(u64);

impl Bits {
    fn of(value: f64) -> Self {
        Bits(value.to_bits())
    }

    fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    job: JobId,
    engine: String,
    parent: Option<Digest>,
    epoch: u32,
    facts: Facts,
    transition: Option<TransitionMatrix>,
    /// The measurements of every epoch.
    rows: Vec<BTreeMap<Metric, Bits>>,
    /// Epoch and value of the best test accuracy, validation accuracy and validation loss.
    best: [Option<(u32, Bits)>; 3],
    /// The epochs of the sets of weights that follow. The first one is the last epoch.
    sets: Vec<u32>,
    /// The number of values in each set.
    values: usize,
    /// The number of steps of the optimiser.
    steps: u64,
    /// The number of values in each of the optimiser's lists.
    moments: [usize; 2],
    /// The length of the loss's state in bytes.
    criterion: usize,
}

impl Head {
    /// The number of bytes between head and checksum; `None` if it overflows.
    fn body(&self) -> Option<u64> {
        let values = self.sets.len().checked_mul(self.values)?;
        let values = self.moments.iter().try_fold(values, |sum, list| sum.checked_add(*list))?;
        values.checked_mul(size_of::<f32>())?.checked_add(self.criterion).map(|bytes| bytes as u64)
    }
}

/// Writes a checkpoint.
///
/// # Errors
/// The error of `out`.
pub(crate) fn write(out: &mut impl Write, origin: &CheckpointOrigin, state: TrainingState<'_>) -> io::Result<()> {
    let TrainingState { engine, criterion, best, rows } = state;
    let epoch = rows.len() as u32;
    let mut sets = vec![(epoch, &engine.weights)];
    for (_, snapshot) in best.iter().flatten() {
        if !sets.iter().any(|(epoch, _)| *epoch == snapshot.epoch) {
            sets.push((snapshot.epoch, &snapshot.weights));
        }
    }
    let OptimizerState { steps, first, second } = &engine.optimizer;
    let bits = |row: &Measurements| row.iter().map(|(metric, value)| (*metric, Bits::of(*value))).collect();
    let head = Head {
        job: origin.job,
        engine: origin.engine.clone(),
        parent: origin.parent,
        epoch,
        facts: origin.facts.clone(),
        transition: origin.transition.clone(),
        rows: rows.iter().map(|(_, row)| bits(row)).collect(),
        best: best.map(|best| best.map(|(value, snapshot)| (snapshot.epoch, Bits::of(value)))),
        sets: sets.iter().map(|(epoch, _)| *epoch).collect(),
        values: engine.weights.values().len(),
        steps: *steps,
        moments: [first.len(), second.len()],
        criterion: criterion.len(),
    };
    let head = serde_json::to_vec(&head)?;
    let mut out = HashingWriter { out, hasher: blake3::Hasher::new() };
    out.write_all(MAGIC)?;
    out.write_all(VERSION.as_bytes())?;
    out.write_all(b"\n")?;
    out.write_all(&(head.len() as u64).to_le_bytes())?;
    out.write_all(&head)?;
    for values in sets.iter().map(|(_, weights)| weights.values()).chain([&first[..], &second[..]]) {
        for chunk in values.chunks(CHUNK) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
    }
    out.write_all(criterion)?;
    let HashingWriter { out, hasher } = out;
    out.write_all(hasher.finalize().as_bytes())
}

/// Hashes the bytes that it writes.
struct HashingWriter<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a checkpoint of `job`, whose network has this plan. The content is parsed only after its checksum has proved right.
///
/// # Errors
/// The reason for which the file is not used.
pub(crate) fn read(path: &Path, job: JobId, plan: &Arc<Plan>) -> Result<SavedCheckpoint, CheckpointError> {
    let mut body = open_verified(path)?;
    let head = read_head(&mut body)?;
    if head.job != job {
        return Err(CheckpointError::Job(head.job));
    }
    if head.body() != Some(body.limit()) {
        return Err(inconsistent("its length differs from the lengths in its head"));
    }
    if head.values != plan.len() {
        return Err(CheckpointError::State(format!("it has {} weights, the network {}", head.values, plan.len())));
    }
    if head.epoch == 0 || head.rows.len() != head.epoch as usize || head.sets.first() != Some(&head.epoch) {
        return Err(inconsistent("its measurements or weights do not fit its epoch"));
    }
    let mut sets = BTreeMap::new();
    for epoch in &head.sets {
        let weights = Weights::from_values(plan, read_values(&mut body, plan.len())?);
        sets.insert(*epoch, weights.ok_or_else(|| inconsistent("a set of weights is incomplete"))?);
    }
    let [first, second] = head.moments;
    let (first, second) = (read_values(&mut body, first)?, read_values(&mut body, second)?);
    let optimizer = OptimizerState { steps: head.steps, first, second };
    let mut criterion = Vec::new();
    body.read_to_end(&mut criterion)?;
    let weights = |epoch: u32| sets.get(&epoch).cloned().ok_or_else(|| inconsistent("it lacks weights that it names"));
    let best = head.best.map(|best| {
        best.map(|(epoch, value)| Ok((value.value(), Snapshot { epoch, weights: weights(epoch)? }))).transpose()
    });
    let [test, validation, validation_loss]: [Result<_, CheckpointError>; 3] = best;
    let row = |row: BTreeMap<Metric, Bits>| row.into_iter().map(|(metric, value)| (metric, value.value())).collect();
    Ok(SavedCheckpoint {
        origin: CheckpointOrigin {
            job: head.job,
            engine: head.engine,
            parent: head.parent,
            facts: head.facts,
            transition: head.transition,
        },
        engine: Checkpoint { weights: weights(head.epoch)?, optimizer },
        criterion,
        best: [test?, validation?, validation_loss?],
        rows: (1..).zip(head.rows.into_iter().map(row)).collect(),
    })
}

/// Opens a file, checks its format version and checksum, and returns a reader of what lies between them.
fn open_verified(path: &Path) -> Result<Take<BufReader<File>>, CheckpointError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = check_format(&mut file)?;
    let content = length.checked_sub(CHECKSUM).filter(|content| *content >= start).ok_or(CheckpointError::Damaged)?;
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&mut file).take(content))?;
    let mut expected = [0; CHECKSUM as usize];
    file.read_exact(&mut expected)?;
    if hasher.finalize() != blake3::Hash::from_bytes(expected) {
        return Err(CheckpointError::Damaged);
    }
    file.seek(SeekFrom::Start(start))?;
    Ok(BufReader::with_capacity(1 << 16, file).take(content - start))
}

/// Reads the first line and returns its length.
fn check_format(file: &mut File) -> Result<u64, CheckpointError> {
    let mut line = Vec::new();
    // The limit leaves room for any version.
    BufReader::new(file.take(MAGIC.len() as u64 + 8)).read_until(b'\n', &mut line)?;
    let version = line.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix(b"\n")).ok_or(CheckpointError::Foreign)?;
    if version != VERSION.as_bytes() {
        return Err(CheckpointError::Version(String::from_utf8_lossy(version).into_owned()));
    }
    Ok(line.len() as u64)
}

/// Reads the head and its length.
fn read_head(body: &mut Take<BufReader<File>>) -> Result<Head, CheckpointError> {
    let mut length = [0; 8];
    body.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > body.limit() {
        return Err(inconsistent("its head is longer than the file"));
    }
    let mut bytes = Vec::new();
    body.take(length).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| inconsistent(&error.to_string()))
}

/// Reads `count` values. The caller has checked that the file has as many bytes.
fn read_values(from: &mut impl Read, count: usize) -> io::Result<Vec<f32>> {
    let mut values = Vec::with_capacity(count);
    let mut bytes = [0; CHUNK * size_of::<f32>()];
    while values.len() < count {
        let bytes = &mut bytes[..CHUNK.min(count - values.len()) * size_of::<f32>()];
        from.read_exact(bytes)?;
        values.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    Ok(values)
}

fn inconsistent(what: &str) -> CheckpointError {
    CheckpointError::Contents(what.to_owned())
}

#[cfg(test)]
mod tests;
