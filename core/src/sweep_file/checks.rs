//! What parts of a configuration ask of one another.

use super::combination::Combination;
use super::table::Table;
use crate::diagnostics::Diagnostic;
use crate::input::node::Node;
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

/// Checks configurations one after another, and remembers what costs time to find out.
#[derive(Debug, Default)]
pub(super) struct Checks {
    fitting: Option<(Dataset, Model)>,
    any_noise: bool,
    /// What any configuration measures beside accuracies and losses.
    diagnostics: BTreeSet<Diagnostic>,
    most_classes: usize,
}

impl Checks {
    /// Reports what does not go together in `configuration`, which was read from `combination`; what was not written is
    /// reported at `place`. A parent is in no table.
    pub(super) fn check(
        &mut self,
        configuration: &Configuration,
        combination: &Combination,
        table: Option<&Table>,
        place: &Range<usize>,
        problems: &mut Problems,
    ) {
        let node = |path: &[&str]| find(combination, path);
        let span = |path: &[&str]| node(path).map_or_else(|| place.clone(), |node| node.span.clone());
        let Configuration { dataset, model, noise, .. } = configuration;
        let shape = dataset.shape();

        if self.fitting.as_ref().is_none_or(|(d, m)| d != dataset || m != model) {
            if let Err(why) = model.network(dataset.input(), dataset.classes()) {
                let title = format!("the model cannot take the samples of `{}`", dataset.name());
                problems.report(span(&["model"]), title, why, None);
            }
            self.fitting = Some((dataset.clone(), model.clone()));
        }
        if let Err(Misfit { key, title, label, help }) = noise.fits(dataset) {
            let path: Vec<&str> = std::iter::once("noise").chain(key).collect();
            problems.report(span(&path), title, label, help);
        }
        self.any_noise |= table.is_some() && noise.corrupts();

        self.diagnostics.extend(&configuration.diagnostics);
        self.most_classes = self.most_classes.max(dataset.classes());

        if dataset.vocabulary().is_some() {
            check_text(configuration, combination, problems);
        } else if let Normalize::Constants { mean, std } = &configuration.normalize {
            for (key, values) in [("mean", mean), ("std", std)] {
                if values.len() != shape.channels {
                    let title = format!("`{key}` has not a value for every channel");
                    let label =
                        format!("images of `{}` have {}, found {}", dataset.name(), shape.channels, values.len());
                    problems.report(span(&["normalize", key]), title, label, None);
                }
            }
        }
        let extent = shape.height.min(shape.width);
        for augment in &configuration.augment {
            if let Augment::Crop(padding) = augment
                && *padding > extent
                && dataset.vocabulary().is_none()
            {
                let title = "`crop` is larger than the image".to_owned();
                let label = format!("images of `{}` are {}×{}", dataset.name(), shape.height, shape.width);
                problems.report(span(&["augment"]), title, label, Some(format!("at most {extent}")));
            }
        }
        if let Schedule::Step { milestones, .. } = &configuration.schedule {
            let last = milestones.last().filter(|last| **last >= configuration.epochs);
            if let Some(last) = last {
                let title = format!("the step after epoch {last} never happens");
                let label = format!("the training ends after epoch {}", configuration.epochs);
                let help = Some("set `schedule.milestones` where `epochs` is set".to_owned());
                problems.report(span(&["schedule", "milestones"]), title, label, help);
            }
        }
        if let Schedule::Cosine { lr_min } = configuration.schedule
            && lr_min > configuration.optimizer.lr()
        {
            let title = "the learning rate would rise".to_owned();
            let label = format!("`lr_min` is above the optimizer's `lr`, {}", configuration.optimizer.lr());
            problems.report(span(&["schedule", "lr_min"]), title, label, None);
        }
        if let Optimizer::Sgd { momentum: 0.0, nesterov: true, .. } = configuration.optimizer {
            let title = "`nesterov` without `momentum`".to_owned();
            let label = "this looks ahead along a momentum that there is not".to_owned();
            let help = Some("set `optimizer.momentum`, to 0.9 for instance".to_owned());
            problems.report(span(&["optimizer", "nesterov"]), title, label, help);
        }
        if let Some((train, test)) = dataset.sizes() {
            let train = ("train_size", configuration.train_size, train, "training");
            let test = ("test_size", configuration.test_size, test, "test");
            for (key, size, all, part) in [train, test] {
                if size.is_some_and(|size| size > all) {
                    let title = format!("`{key}` is larger than the data set");
                    let label = format!("`{}` has {all} {part} samples", dataset.name());
                    problems.report(span(&[key]), title, label, Some(format!("at most {all}")));
                }
            }
        }
        check_loss(configuration, &span(&["loss"]), problems);
        check_held_out(configuration, &span(&["validation"]), problems);
        check_split(configuration, combination, problems);
        if let Some(table) = table {
            self.check_validation(configuration, table, problems);
            check_epochs(configuration, table, problems);
        }
    }

    fn check_validation(&self, configuration: &Configuration, table: &Table, problems: &mut Problems) {
        if configuration.validates() {
            return;
        }
        let label = "this needs validation samples, and there are jobs without".to_owned();
        let help = Some("set `validation` in `base`, to 0.1 for instance".to_owned());
        if table.spec.metric.needs_validation() {
            let title = format!("no validation samples for `{}`", table.spec.metric);
            problems.report(table.metric.clone(), title, label.clone(), help.clone());
        }
        if table.spec.at.needs_validation() {
            let title = format!("no validation samples for `{}`", table.spec.at);
            problems.report(table.at.clone(), title, label, help);
        }
    }

    /// Reports what no configuration at all has. Some may be without noise in a table of what noise does.
    pub(super) fn finish(&self, table: &Table, problems: &mut Problems) {
        let metric = table.spec.metric;
        let mut report = |title, label: String, help| problems.report(table.metric.clone(), title, label, help);
        if !self.any_noise && metric.needs_noise() {
            report(format!("no mislabelled samples for `{metric}`"), "no job has noise".to_owned(), None);
        }
        if let Some(diagnostic) = Diagnostic::of(metric).filter(|one| !self.diagnostics.contains(one)) {
            let name = diagnostic.name();
            let help = format!("set `diagnostics: [{name}]` in `base`");
            report(format!("no job measures `{metric}`"), format!("this needs `{name}` in `diagnostics`"), Some(help));
        }
        if let Metric::ClassAccuracy(class) = metric
            && class.index() >= self.most_classes
        {
            let label = format!("there are at most {} classes, counted from 0", self.most_classes);
            report(format!("no job has a class for `{metric}`"), label, None);
        }
    }
}

/// A mean over the last epochs needs so many.
fn check_epochs(configuration: &Configuration, table: &Table, problems: &mut Problems) {
    if let EpochSelection::LastMean(wanted) = table.spec.at
        && wanted.get() > configuration.epochs
    {
        let epochs = configuration.epochs;
        let title = format!("not enough epochs for `{}`", table.spec.at);
        let label = format!("this needs {wanted} epochs, and there are jobs of {epochs}");
        problems.report(table.at.clone(), title, label, Some(format!("at most `last-{epochs}-mean`")));
    }
}

/// Losses that would not do what they are for.
fn check_loss(configuration: &Configuration, place: &Range<usize>, problems: &mut Problems) {
    let Configuration { dataset, noise, epochs, batch_size, .. } = configuration;
    match configuration.loss {
        Loss::Forward(Forward::True {}) if noise.fits(dataset).is_ok() => {
            if let Err(why) = noise.true_transition(dataset) {
                let title = "there is no true transition matrix for `forward`".to_owned();
                let help = Some("take `transition: estimated`, or leave the combination out with `exclude`".to_owned());
                problems.report(place.clone(), title, why, help);
            }
        }
        Loss::TruncatedGce(TruncatedGce { start, .. }) if start >= *epochs => {
            let title = format!("the pruning after epoch {start} never happens");
            let label = format!("the training ends after epoch {epochs}");
            let help = Some("set `loss.start` where `epochs` is set, or take `gce`".to_owned());
            problems.report(place.clone(), title, label, help);
        }
        Loss::Dmi(_) if *batch_size < dataset.classes() => {
            let title = "`dmi` learns nothing from batches of fewer samples than classes".to_owned();
            let label = format!("`{}` has {} classes, `batch_size` is {batch_size}", dataset.name(), dataset.classes());
            problems.report(
                place.clone(),
                title,
                label,
                Some("a batch should have several samples of each class".to_owned()),
            );
        }
        _ => {}
    }
}

/// Text is given to the network as it is: nothing that changes pixels may be asked of it.
fn check_text(configuration: &Configuration, combination: &Combination, problems: &mut Problems) {
    let name = configuration.dataset.name();
    let help = |key| Some(format!("set `{key}` by `overrides`, for the data sets that have images"));
    let title = |done: &str| format!("the text of `{name}` cannot be {done}");
    if let Some(node) = find(combination, &["augment"]).filter(|_| !configuration.augment.is_empty()) {
        let label = "changes pixels, and there are none".to_owned();
        problems.report(node.span.clone(), title("augmented"), label, help("augment"));
    }
    if let Some(node) = find(combination, &["normalize"]) {
        let label = "numbers of words pass as they are".to_owned();
        problems.report(node.span.clone(), title("normalised"), label, help("normalize"));
    }
}

/// What is held out must be said once.
fn check_split(configuration: &Configuration, combination: &Combination, problems: &mut Problems) {
    let Configuration { dataset, validation, split, .. } = configuration;
    let Some(node) = find(combination, &["split"]) else { return };
    let mut report = |title: String, label: &str, help: &str| {
        problems.report(node.span.clone(), title, label.to_owned(), Some(help.to_owned()));
    };
    match split {
        Split::Official if !dataset.has_validation() => {
            let title = format!("`{}` has no validation samples of its own", dataset.name());
            report(
                title,
                "there is nothing to take",
                "hold out training samples: `last` or `random`, and `validation`",
            );
        }
        Split::Official if *validation > 0.0 => {
            let label = "takes the data set's own validation samples, and `validation` others";
            report(
                "validation samples are asked for twice".to_owned(),
                label,
                "set `validation: 0`, or another `split`",
            );
        }
        Split::Last if *validation == 0.0 => {
            let label = "the last so many samples, and it is not said how many";
            report("`split` without `validation`".to_owned(), label, "set `validation`, to 10000 for instance");
        }
        _ => {}
    }
}

/// Both parts of the training samples must be there where they are asked for.
fn check_held_out(configuration: &Configuration, place: &Range<usize>, problems: &mut Problems) {
    // Without knowing how many there are nothing can be said; the training says it.
    let Some((samples, _)) = configuration.dataset.sizes().filter(|_| configuration.split != Split::Official) else {
        return;
    };
    let samples = configuration.taken(samples);
    let held_out = configuration.held_out(samples);
    let nothing = match held_out {
        0 if configuration.validation > 0.0 => "validate on",
        all if all >= samples => "train on",
        _ => return,
    };
    let title = format!("`validation` leaves nothing to {nothing}");
    let label = format!("holds out {held_out} of the {samples} training samples of `{}`", configuration.dataset.name());
    problems.report(place.clone(), title, label, None);
}

/// The value at `path`, or the nearest one above it that was written.
fn find<'n>(combination: &'n Combination, path: &[&str]) -> Option<&'n Rc<Node>> {
    let (first, rest) = path.split_first()?;
    let top = crate::input::node::find(combination.entries(), first)?;
    Some(rest.iter().try_fold(top, |node, key| node.get(key)).unwrap_or(top))
}
