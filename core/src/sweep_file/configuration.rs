//! The keys of a configuration.

use super::{initial_weights, parent};
use crate::diagnostics::Diagnostic;
use crate::input::Declaration;
use crate::input::fields::{Fields, Record, Subject};
use crate::input::node::{MapEntry, Value};
use crate::input::problems::Problems;
use crate::job::Configuration;
use crate::methods::augment::{Augment, Normalize};
use crate::methods::dataset::Dataset;
use crate::methods::losses::Loss;
use crate::methods::networks::Model;
use crate::methods::noise::Noise;
use crate::methods::optimizer::Optimizer;
use crate::methods::precision::Precision;
use crate::methods::schedule::Schedule;
use crate::methods::split::Split;
use std::ops::Range;

/// Where missing keys of a configuration are reported.
#[derive(Clone, Debug)]
pub(super) struct MissingKeys {
    pub(super) span: Range<usize>,
    /// Keys that a rejected part of the file would have set, so that they are not reported as missing too.
    pub(super) excused: Vec<String>,
    /// Whether every key is excused.
    pub(super) all_excused: bool,
}

/// The keys of a configuration.
pub(super) fn declarations() -> Vec<Declaration> {
    Record::of(|fields| _ = read_keys(fields)).keys
}

/// Reads a combination whose methods are in long form, without its parent.
pub(super) fn read(entries: &[MapEntry], missing: &MissingKeys, problems: &mut Problems) -> Option<Configuration> {
    let before = problems.reports();
    let mut fields = Fields::new(entries, Subject("the configuration", None), missing.span.clone(), problems);
    let configuration = read_keys(&mut fields);
    fields.excuse(|key| missing.all_excused || missing.excused.iter().any(|excused| excused == key));
    fields.finish();
    // A configuration with placeholders is dropped here.
    configuration.filter(|_| problems.reports() == before)
}

/// Reads every key before the first `?`, so that all problems are found.
fn read_keys(fields: &mut Fields<'_>) -> Option<Configuration> {
    let dataset = fields.about("data set").method("dataset", "name", Dataset::NAMES, Dataset::read).required();
    let model = fields.about("network").method("model", "name", Model::NAMES, Model::read).required();
    fields.about("file that the weights are initialised from; absent: random");
    let initial_weights = initial_weights::read(fields);
    let loss = fields.about("training loss").method("loss", "name", Loss::NAMES, Loss::read).required();
    fields.about("label noise of the training file, its validation part included");
    let noise = fields.method("noise", "kind", Noise::KINDS, Noise::read).or(Noise::None, "none");
    fields.about("seed of the noise alone; absent: the job's seed");
    let noise_seed = fields.integer("noise_seed").optional();
    fields.about("optimiser");
    let optimizer = fields.method("optimizer", "name", Optimizer::NAMES, Optimizer::read).required();
    fields.about("learning-rate schedule");
    let schedule =
        fields.method("schedule", "name", Schedule::NAMES, Schedule::read).or(Schedule::Constant, "constant");
    fields.about("number of passes over the training samples");
    let epochs = fields.integer("epochs").at_least(1).at_most(100_000).required() as u32;
    fields.about("samples per training step");
    let batch_size = fields.integer("batch_size").at_least(1).at_most(65_536).or(128) as usize;
    fields.about("use only the first N training samples of the file; absent: all");
    let train_size = fields.integer("train_size").at_least(1).optional().map(|size| size as usize);
    fields.about("use only the first N test samples of the file; absent: all");
    let test_size = fields.integer("test_size").at_least(1).optional().map(|size| size as usize);
    fields.about("training samples held out for validation: a share below 1, or a whole number of samples");
    let validation = validation(fields);
    fields.about("which samples are held out for validation");
    let split = fields.choice("split", Split::CHOICES).or(Split::Random);
    fields.about("random changes of the training images, applied in order");
    let augment = fields.list_of("augment", Augment::NAMES, Augment::read);
    fields.about("how pixels are scaled");
    let normalize = fields.one_of("normalize", Normalize::NAMES, Normalize::read, "channel");
    fields.about("precision in which convolutions and linear layers multiply; `tf32` and `bf16` require a GPU");
    let precision = fields.choice("precision", Precision::CHOICES).or(Precision::F32);
    fields.about("additional measurements after every epoch");
    let diagnostics = fields.set_of("diagnostics", Diagnostic::ALL);
    // The parent is read later, from the complete combination.
    fields.about("the job that this one builds on").map("parent", false, parent::declarations);
    let dataset = dataset?;
    // The size of the whole data set is the same as no size: one training must not have two cells.
    let train_size = train_size.filter(|size| dataset.sizes().is_none_or(|(all, _)| *size != all));
    let test_size = test_size.filter(|size| dataset.sizes().is_none_or(|(_, all)| *size != all));
    let noise = noise.map(|noise| noise.normal_form(&dataset));
    Some(Configuration {
        dataset,
        model: model?,
        initial_weights,
        loss: loss?,
        noise: noise?,
        noise_seed,
        optimizer: optimizer?,
        schedule: schedule?,
        epochs,
        batch_size,
        train_size,
        test_size,
        validation,
        split,
        augment,
        normalize: normalize.unwrap_or(Normalize::Channel),
        precision,
        diagnostics,
        parent: None,
    })
}

/// A share of the training samples below 1, or a whole number of samples from 1.
///
/// A number with a decimal point or an exponent is a share: `1.0` is meant as all samples, and would hold out one.
fn validation(fields: &mut Fields<'_>) -> f64 {
    let validation = fields.number("validation").at_least(0.0).or(0.0);
    let Some(node) = fields.written("validation") else { return validation };
    let most = f64::from(u32::MAX);
    let share = matches!(node.value, Value::Float(_)) && !fields.problems().accepted_before();
    if validation < 1.0 || validation.fract() == 0.0 && validation <= most && !share {
        return validation;
    }
    let label = format!("expected a share below 1, or a whole number of samples up to {most}, found {node}");
    let help = (validation.fract() == 0.0 && validation <= most).then(|| match validation {
        1.0 => "all samples cannot be held out; write `1` to hold out one sample".to_owned(),
        _ => format!("write `{validation:.0}` to hold out that many samples"),
    });
    fields.problems().report(node.span.clone(), "`validation` is out of range".to_owned(), label, help);
    0.0
}
