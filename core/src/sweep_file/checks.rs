//! Rules across the keys of a configuration.

use super::combination::Combination;
use super::table::Table;
use crate::diagnostics::Diagnostic;
use crate::input::node::{self, Node};
use crate::input::problems::Problems;
use crate::job::Configuration;
use crate::methods::augment::{Augment, Normalize};
use crate::methods::dataset::Dataset;
use crate::methods::losses::{Forward, Loss, TruncatedGce};
use crate::methods::networks::Model;
use crate::methods::noise::Misfit;
use crate::methods::optimizer::Optimizer;
use crate::methods::schedule::Schedule;
use crate::methods::split::Split;
use crate::metric::{EpochSelection, Metric};
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

/// Checks one configuration after another. Keeps what the checks of the whole sweep need.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The last data set and model that were checked: building a network takes time.
    last_network: Option<(Dataset, Model)>,
    any_noise: bool,
    /// The diagnostics of all configurations.
    diagnostics: BTreeSet<Diagnostic>,
    most_classes: usize,
}

/// A configuration with the combination that it was read from.
struct Checked<'a> {
    configuration: &'a Configuration,
    combination: &'a Combination,
    /// Where a problem is reported whose keys the file does not contain.
    elsewhere: &'a Range<usize>,
}

impl Checked<'_> {
    /// The place of the value at `path`, or of the nearest value above it.
    fn place(&self, path: &[&str]) -> Range<usize> {
        find(self.combination, path).map_or_else(|| self.elsewhere.clone(), |node| node.span.clone())
    }
}

impl Checks {
    /// Reports the parts of `configuration` that do not fit together. `table` is absent for parents, which no table shows.
    pub(super) fn check(
        &mut self,
        configuration: &Configuration,
        combination: &Combination,
        table: Option<&Table>,
        elsewhere: &Range<usize>,
        problems: &mut Problems,
    ) {
        let checked = Checked { configuration, combination, elsewhere };
        let Configuration { dataset, noise, .. } = configuration;
        self.check_network(&checked, problems);
        if let Err(Misfit { key, title, label, help }) = noise.fits(dataset) {
            let path: Vec<&str> = std::iter::once("noise").chain(key).collect();
            problems.report(checked.place(&path), title, label, help);
        }
        self.any_noise |= table.is_some() && noise.corrupts();
        self.diagnostics.extend(&configuration.diagnostics);
        self.most_classes = self.most_classes.max(dataset.classes());
        if dataset.vocabulary().is_some() {
            check_text(&checked, problems);
        } else {
            check_images(&checked, problems);
        }
        check_optimizer(&checked, problems);
        check_sizes(&checked, problems);
        check_loss(configuration, &checked.place(&["loss"]), problems);
        check_held_out(configuration, &checked.place(&["validation"]), problems);
        check_split(&checked, problems);
        if let Some(table) = table {
            check_validation(configuration, table, problems);
            check_epochs(configuration, table, problems);
        }
    }

    fn check_network(&mut self, checked: &Checked<'_>, problems: &mut Problems) {
        let Configuration { dataset, model, .. } = checked.configuration;
        if self.last_network.as_ref().is_none_or(|(d, m)| d != dataset || m != model) {
            if let Err(why) = model.network(dataset.input(), dataset.classes()) {
                let title = format!("the model does not fit the samples of `{}`", dataset.name());
                problems.report(checked.place(&["model"]), title, why, None);
            }
            self.last_network = Some((dataset.clone(), model.clone()));
        }
    }

    /// Reports a metric of the table that no configuration can have.
    pub(super) fn finish(&self, table: &Table, problems: &mut Problems) {
        let metric = table.spec.metric;
        let mut report = |title, label: String, help| problems.report(table.metric.clone(), title, label, help);
        if !self.any_noise && metric.needs_noise() {
            report(format!("no mislabelled samples for `{metric}`"), "no job has label noise".to_owned(), None);
        }
        if let Some(diagnostic) = Diagnostic::of(metric).filter(|one| !self.diagnostics.contains(one)) {
            let name = diagnostic.name();
            let help = format!("set `diagnostics: [{name}]` in `base`");
            let label = format!("expected a job with `{name}` in `diagnostics`");
            report(format!("no job measures `{metric}`"), label, Some(help));
        }
        if let Metric::ClassAccuracy(class) = metric
            && class.index() >= self.most_classes
        {
            let label = format!("expected a class from 0 to {}", self.most_classes.saturating_sub(1));
            report(format!("no job has the class of `{metric}`"), label, None);
        }
    }
}

/// Metric and epoch of the table need validation samples.
fn check_validation(configuration: &Configuration, table: &Table, problems: &mut Problems) {
    if configuration.validates() {
        return;
    }
    let label = "some jobs have no validation samples".to_owned();
    let help = Some("set `validation` in `base`, for instance to 0.1".to_owned());
    if table.spec.metric.needs_validation() {
        let title = format!("no validation samples for `{}`", table.spec.metric);
        problems.report(table.metric.clone(), title, label.clone(), help.clone());
    }
    if table.spec.at.needs_validation() {
        let title = format!("no validation samples for `{}`", table.spec.at);
        problems.report(table.at.clone(), title, label, help);
    }
}

/// A mean over the last n epochs needs n epochs.
fn check_epochs(configuration: &Configuration, table: &Table, problems: &mut Problems) {
    if let EpochSelection::LastMean(wanted) = table.spec.at
        && wanted.get() > configuration.epochs
    {
        let epochs = configuration.epochs;
        let title = format!("not enough epochs for `{}`", table.spec.at);
        let label = format!("expected at least {wanted} epochs, some jobs have {epochs}");
        problems.report(table.at.clone(), title, label, Some(format!("use at most `last-{epochs}-mean`")));
    }
}

/// Normalisation constants and crops must fit the images.
fn check_images(checked: &Checked<'_>, problems: &mut Problems) {
    let Configuration { dataset, normalize, augment, .. } = checked.configuration;
    let shape = dataset.shape();
    if let Normalize::Constants { mean, std } = normalize {
        for (key, values) in [("mean", mean), ("std", std)] {
            if values.len() != shape.channels {
                let title = format!("`{key}` needs one value per channel");
                let label = format!(
                    "expected {} for the images of `{}`, found {}",
                    shape.channels,
                    dataset.name(),
                    values.len()
                );
                problems.report(checked.place(&["normalize", key]), title, label, None);
            }
        }
    }
    let extent = shape.height.min(shape.width);
    for augment in augment {
        if let Augment::Crop(padding) = augment
            && *padding > extent
        {
            let title = "`crop` is larger than the image".to_owned();
            let label = format!("images of `{}` have {}×{} pixels", dataset.name(), shape.height, shape.width);
            problems.report(checked.place(&["augment"]), title, label, Some(format!("use at most {extent}")));
        }
    }
}

/// Text has no pixels to change.
fn check_text(checked: &Checked<'_>, problems: &mut Problems) {
    let name = checked.configuration.dataset.name();
    let help = |key| Some(format!("set `{key}` in `overrides`, only for data sets of images"));
    let title = |done: &str| format!("the text of `{name}` cannot be {done}");
    let augmented = !checked.configuration.augment.is_empty();
    if let Some(node) = find(checked.combination, &["augment"]).filter(|_| augmented) {
        let label = "`augment` changes pixels, and text has none".to_owned();
        problems.report(node.span.clone(), title("augmented"), label, help("augment"));
    }
    if let Some(node) = find(checked.combination, &["normalize"]) {
        let label = "`normalize` scales pixels, and text has none".to_owned();
        problems.report(node.span.clone(), title("normalised"), label, help("normalize"));
    }
}

/// The schedule must fit the epochs and the learning rate, Nesterov's momentum the momentum.
fn check_optimizer(checked: &Checked<'_>, problems: &mut Problems) {
    let Configuration { schedule, optimizer, epochs, .. } = checked.configuration;
    if let Schedule::Step { milestones, .. } = schedule {
        let last = milestones.last().filter(|last| **last >= *epochs);
        if let Some(last) = last {
            let title = format!("the step after epoch {last} never happens");
            let label = format!("training ends after epoch {epochs}");
            let help = Some("set `schedule.milestones` where `epochs` is set".to_owned());
            problems.report(checked.place(&["schedule", "milestones"]), title, label, help);
        }
    }
    if let Schedule::Cosine { lr_min } = *schedule
        && lr_min > optimizer.lr()
    {
        let title = "the learning rate would rise".to_owned();
        let label = format!("expected at most the optimizer's `lr`, {}, found {lr_min}", optimizer.lr());
        problems.report(checked.place(&["schedule", "lr_min"]), title, label, None);
    }
    if let Optimizer::Sgd { momentum: 0.0, nesterov: true, .. } = *optimizer {
        let title = "`nesterov` without `momentum`".to_owned();
        let label = "Nesterov's method needs a momentum above 0".to_owned();
        let help = Some("set `optimizer.momentum`, for instance to 0.9".to_owned());
        problems.report(checked.place(&["optimizer", "nesterov"]), title, label, help);
    }
}

/// `train_size` and `test_size` must not exceed the data set.
fn check_sizes(checked: &Checked<'_>, problems: &mut Problems) {
    let Configuration { dataset, train_size, test_size, .. } = checked.configuration;
    let Some((train, test)) = dataset.sizes() else { return };
    let train = ("train_size", *train_size, train, "training");
    let test = ("test_size", *test_size, test, "test");
    for (key, size, all, part) in [train, test] {
        if size.is_some_and(|size| size > all) {
            let title = format!("`{key}` is larger than the data set");
            let label = format!("`{}` has {all} {part} samples", dataset.name());
            problems.report(checked.place(&[key]), title, label, Some(format!("use at most {all}")));
        }
    }
}

/// Losses that could not learn with these settings.
fn check_loss(configuration: &Configuration, place: &Range<usize>, problems: &mut Problems) {
    let Configuration { dataset, noise, epochs, batch_size, .. } = configuration;
    match configuration.loss {
        Loss::Forward(Forward::True {}) if noise.fits(dataset).is_ok() => {
            if let Err(why) = noise.true_transition(dataset) {
                let title = "`forward` needs a known transition matrix".to_owned();
                let help = Some("use `transition: estimated`, or leave the combination out with `exclude`".to_owned());
                problems.report(place.clone(), title, why, help);
            }
        }
        Loss::TruncatedGce(TruncatedGce { start, .. }) if start >= *epochs => {
            let title = format!("the pruning after epoch {start} never happens");
            let label = format!("training ends after epoch {epochs}");
            let help = Some("set `loss.start` where `epochs` is set, or use `gce`".to_owned());
            problems.report(place.clone(), title, label, help);
        }
        Loss::Dmi(_) if *batch_size < dataset.classes() => {
            let title = "`dmi` learns nothing from batches with fewer samples than classes".to_owned();
            let label = format!("`{}` has {} classes, `batch_size` is {batch_size}", dataset.name(), dataset.classes());
            let help = Some("increase `batch_size` to several samples per class".to_owned());
            problems.report(place.clone(), title, label, help);
        }
        _ => {}
    }
}

/// `split` and `validation` must agree on the validation samples.
fn check_split(checked: &Checked<'_>, problems: &mut Problems) {
    let Configuration { dataset, validation, split, .. } = checked.configuration;
    let Some(node) = find(checked.combination, &["split"]) else { return };
    let mut report = |title: String, label: &str, help: &str| {
        problems.report(node.span.clone(), title, label.to_owned(), Some(help.to_owned()));
    };
    match split {
        Split::Official if !dataset.has_validation() => {
            let title = format!("`{}` has no validation samples of its own", dataset.name());
            let help = "hold out training samples with `split: last` or `random` and `validation`";
            report(title, "`official` needs a data set with validation samples", help);
        }
        Split::Official if *validation > 0.0 => {
            let label = "`official` uses the data set's validation samples, and `validation` holds out others";
            let help = "set `validation: 0`, or use another `split`";
            report("validation samples are requested twice".to_owned(), label, help);
        }
        Split::Last if *validation == 0.0 => {
            let label = "the number of samples to hold out is missing";
            report("`split` without `validation`".to_owned(), label, "set `validation`, for instance to 10000");
        }
        _ => {}
    }
}

/// Some training samples must remain, and some be held out if `validation` is set.
fn check_held_out(configuration: &Configuration, place: &Range<usize>, problems: &mut Problems) {
    // If the size of the data set is unknown, training reports the problem.
    let Some((samples, _)) = configuration.dataset.sizes().filter(|_| configuration.split != Split::Official) else {
        return;
    };
    let samples = configuration.taken(samples);
    let held_out = configuration.held_out(samples);
    let purpose = match held_out {
        0 if configuration.validation > 0.0 => "validate on",
        all if all >= samples => "train on",
        _ => return,
    };
    let title = format!("`validation` leaves no samples to {purpose}");
    let label = format!("holds out {held_out} of the {samples} training samples of `{}`", configuration.dataset.name());
    problems.report(place.clone(), title, label, None);
}

/// The value at `path`, or the nearest value above it that the file contains.
fn find<'n>(combination: &'n Combination, path: &[&str]) -> Option<&'n Rc<Node>> {
    let (first, rest) = path.split_first()?;
    let mut node = node::find(combination.entries(), first)?;
    for key in rest {
        match node.get(key) {
            Some(below) => node = below,
            None => break,
        }
    }
    Some(node)
}
