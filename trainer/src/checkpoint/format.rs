//! What is in a checkpoint's file.
//!
//! In this order:
//! - `plusminus checkpoint 2` and a line feed: what it is, and the number of this format;
//! - the length in bytes of what follows, an unsigned little-endian number of 8 bytes;
//! - the head (`Head`) as JSON: job, engine, the weights that it was begun from, epoch, every epoch's measurements, facts, and how much there is of what comes after;
//! - weights, a set after another, each with all values in the order of the network's plan; then the optimiser's first and second list,
//!   a value a trained weight each. All are `f32`, little-endian;
//! - the criterion's state, in its own form;
//! - BLAKE3 of all that, 32 bytes.
//!
//! Weights that several snapshots share are there once. Measurements stand in the head as the bits of an `f64`, so that every one of
//! them survives. Both ways go through a small buffer: a network's weights are not in memory twice because they are written.

use crate::kept_weights::Snapshot;
use plusminus_core::id::{Digest, JobId};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::Facts;
use plusminus_engines::{Checkpoint, OptimizerState, Plan, Weights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// What a file begins with, before the number of its format.
const MAGIC: &[u8] = b"plusminus checkpoint ";

/// The format that is written and read.
const VERSION: &str = "2";

/// Bytes of the checksum.
const CHECKSUM: u64 = 32;

/// Values that are converted at a time.
const CHUNK: usize = 4 * 1024;

/// What a checkpoint belongs to, the same for all of a training.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckpointOrigin {
    /// The job.
    pub job: JobId,
    /// What engines that may go on from it share (`Engine::reproducibility_key`).
    pub engine: String,
    /// The parent's weights that it was begun from, where there is a parent.
    pub parent: Option<Digest>,
    /// What is known of the job before its end.
    pub facts: Facts,
    /// The transition matrix that its loss was given.
    pub transition: Option<TransitionMatrix>,
}

/// Where a training stands after an epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainingState<'a> {
    /// Weights and the optimiser's memory.
    pub here: &'a Checkpoint,
    /// The criterion's state.
    pub criterion: &'a [u8],
    /// Value and weights where each selection's metric was best so far.
    pub best: [Option<(f64, &'a Snapshot)>; 3],
    /// The measurements of every epoch from the first; as many epochs are done.
    pub rows: &'a [(u32, Measurements)],
}

/// What a checkpoint gives back: [`CheckpointOrigin`] and [`TrainingState`].
#[derive(Clone, Debug)]
pub(crate) struct SavedCheckpoint {
    pub about: CheckpointOrigin,
    pub here: Checkpoint,
    pub criterion: Vec<u8>,
    pub best: [Option<(f64, Snapshot)>; 3],
    pub rows: Vec<(u32, Measurements)>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no checkpoint of plusminus")]
    Foreign,
    #[error("it has format {0}, and this version of plusminus reads format {VERSION}")]
    Version(String),
    #[error("its checksum is wrong: it was cut short or damaged")]
    Damaged,
    #[error("it contradicts itself: {0}")]
    Contents(String),
    #[error("it is of job {0}")]
    Job(JobId),
    #[error("it is of the engine `{found}`, and this one is `{expected}`, which gives other bytes")]
    Engine { found: String, expected: String },
    #[error("it was made with other data: their digest or what was made of them is another")]
    Data,
    #[error("it was begun from other weights of the job's parent")]
    Parent,
    #[error("its state does not fit the job: {0}")]
    State(String),
}

/// The number itself, bit by bit: JSON has no NaN and no infinity.
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
    /// The epochs of the sets of weights that follow, the last one's first.
    sets: Vec<u32>,
    /// Values in each.
    values: usize,
    /// Steps that the optimiser has taken.
    steps: u64,
    /// Values in each of its lists.
    moments: [usize; 2],
    /// Bytes of the criterion's state.
    criterion: usize,
}

impl Head {
    /// Bytes that follow, checksum left out; nothing where there cannot be so many.
    fn body(&self) -> Option<u64> {
        let values = self.sets.len().checked_mul(self.values)?;
        let values = self.moments.iter().try_fold(values, |sum, list| sum.checked_add(*list))?;
        values.checked_mul(size_of::<f32>())?.checked_add(self.criterion).map(|bytes| bytes as u64)
    }
}

/// Writes a checkpoint.
///
/// # Errors
/// That of `out`.
pub(crate) fn write(out: &mut impl Write, about: &CheckpointOrigin, standing: TrainingState<'_>) -> io::Result<()> {
    let TrainingState { here, criterion, best, rows } = standing;
    let epoch = rows.len() as u32;
    let mut sets = vec![(epoch, &here.weights)];
    for (_, snapshot) in best.iter().flatten() {
        if !sets.iter().any(|(epoch, _)| *epoch == snapshot.epoch) {
            sets.push((snapshot.epoch, &snapshot.weights));
        }
    }
    let OptimizerState { steps, first, second } = &here.optimizer;
    let bits = |row: &Measurements| row.iter().map(|(metric, value)| (*metric, Bits::of(*value))).collect();
    let head = Head {
        job: about.job,
        engine: about.engine.clone(),
        parent: about.parent,
        epoch,
        facts: about.facts.clone(),
        transition: about.transition.clone(),
        rows: rows.iter().map(|(_, row)| bits(row)).collect(),
        best: best.map(|best| best.map(|(value, snapshot)| (snapshot.epoch, Bits::of(value)))),
        sets: sets.iter().map(|(epoch, _)| *epoch).collect(),
        values: here.weights.values().len(),
        steps: *steps,
        moments: [first.len(), second.len()],
        criterion: criterion.len(),
    };
    let head = serde_json::to_vec(&head)?;
    let mut out = Summing { out, sum: blake3::Hasher::new() };
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
    let Summing { out, sum } = out;
    out.write_all(sum.finalize().as_bytes())
}

/// Sums up what is written.
struct Summing<W> {
    out: W,
    sum: blake3::Hasher,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a checkpoint of `job`, whose network has this plan. Nothing is made of what it says before its checksum has been found right.
///
/// # Errors
/// Why it is not to be used.
pub(crate) fn read(path: &Path, job: JobId, plan: &Arc<Plan>) -> Result<SavedCheckpoint, CheckpointError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = check_format(&mut file)?;
    let content = length.checked_sub(CHECKSUM).filter(|content| *content >= start).ok_or(CheckpointError::Damaged)?;
    file.seek(SeekFrom::Start(0))?;
    let mut sum = blake3::Hasher::new();
    sum.update_reader((&mut file).take(content))?;
    let mut expected = [0; CHECKSUM as usize];
    file.read_exact(&mut expected)?;
    if sum.finalize() != blake3::Hash::from_bytes(expected) {
        return Err(CheckpointError::Damaged);
    }
    file.seek(SeekFrom::Start(start))?;
    let mut rest = BufReader::with_capacity(1 << 16, file).take(content - start);
    let mut head = [0; 8];
    rest.read_exact(&mut head)?;
    let head = u64::from_le_bytes(head);
    if head > rest.limit() {
        return Err(contradiction("its head is longer than it is"));
    }
    let mut bytes = Vec::new();
    (&mut rest).take(head).read_to_end(&mut bytes)?;
    let head: Head = serde_json::from_slice(&bytes).map_err(|error| contradiction(&error.to_string()))?;
    drop(bytes);
    if head.job != job {
        return Err(CheckpointError::Job(head.job));
    }
    if head.body() != Some(rest.limit()) {
        return Err(contradiction("there is more or less of it than its head says"));
    }
    if head.values != plan.len() {
        return Err(CheckpointError::State(format!("it has {} weights, the network {}", head.values, plan.len())));
    }
    if head.epoch == 0 || head.rows.len() != head.epoch as usize || head.sets.first() != Some(&head.epoch) {
        return Err(contradiction("its measurements or weights are not those of its epochs"));
    }
    let mut sets = BTreeMap::new();
    for epoch in &head.sets {
        let weights = Weights::from_values(plan, values(&mut rest, plan.len())?);
        sets.insert(*epoch, weights.ok_or_else(|| contradiction("a set of weights is not whole"))?);
    }
    let [first, second] = head.moments;
    let optimizer =
        OptimizerState { steps: head.steps, first: values(&mut rest, first)?, second: values(&mut rest, second)? };
    let mut criterion = Vec::new();
    rest.read_to_end(&mut criterion)?;
    let weights = |epoch: u32| sets.get(&epoch).cloned().ok_or_else(|| contradiction("it lacks weights that it names"));
    let best = head.best.map(|best| {
        best.map(|(epoch, value)| Ok((value.value(), Snapshot { epoch, weights: weights(epoch)? }))).transpose()
    });
    let [test, validation, validation_loss]: [Result<_, CheckpointError>; 3] = best;
    let row = |row: BTreeMap<Metric, Bits>| row.into_iter().map(|(metric, value)| (metric, value.value())).collect();
    Ok(SavedCheckpoint {
        about: CheckpointOrigin {
            job: head.job,
            engine: head.engine,
            parent: head.parent,
            facts: head.facts,
            transition: head.transition,
        },
        here: Checkpoint { weights: weights(head.epoch)?, optimizer },
        criterion,
        best: [test?, validation?, validation_loss?],
        rows: (1..).zip(head.rows.into_iter().map(row)).collect(),
    })
}

fn contradiction(what: &str) -> CheckpointError {
    CheckpointError::Contents(what.to_owned())
}

/// Reads the first line; how long it is.
fn check_format(file: &mut File) -> Result<u64, CheckpointError> {
    let mut line = Vec::new();
    // No number of a format is longer than this leaves room for.
    BufReader::new(file.take(MAGIC.len() as u64 + 8)).read_until(b'\n', &mut line)?;
    let version = line.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix(b"\n")).ok_or(CheckpointError::Foreign)?;
    if version != VERSION.as_bytes() {
        return Err(CheckpointError::Version(String::from_utf8_lossy(version).into_owned()));
    }
    Ok(line.len() as u64)
}

/// So many values. There are as many bytes: the file's length has been held against its head.
fn values(from: &mut impl Read, count: usize) -> io::Result<Vec<f32>> {
    let mut values = Vec::with_capacity(count);
    let mut bytes = [0; CHUNK * size_of::<f32>()];
    while values.len() < count {
        let bytes = &mut bytes[..CHUNK.min(count - values.len()) * size_of::<f32>()];
        from.read_exact(bytes)?;
        values.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
