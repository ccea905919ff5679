//! What parts of a configuration ask of one another.

use super::combination::Combination;
use super::node::Node;
use super::problems::Problems;
use super::table::Table;
use crate::job::Configuration;
use crate::methods::augment::{Augment, Normalize};
use crate::methods::dataset::Dataset;
use crate::methods::networks::Model;
use crate::methods::noise::Noise;
use crate::methods::optimizer::Optimizer;
use crate::methods::schedule::Schedule;
use crate::metric::{At, Metric};
use std::ops::Range;
use std::rc::Rc;

/// Checks configurations one after another, and remembers what costs time to find out.
#[derive(Debug, Default)]
pub(super) struct Checks {
    fitting: Option<(Dataset, Model)>,
    any_noise: bool,
}

impl Checks {
    /// Reports what does not go together in `configuration`, which was read from `combination`; what was not written is
    /// reported at `place`.
    pub(super) fn check(
        &mut self,
        configuration: &Configuration,
        combination: &Combination,
        table: &Table,
        place: &Range<usize>,
        problems: &mut Problems,
    ) {
        let node = |path: &[&str]| find(combination, path);
        let span = |path: &[&str]| node(path).map_or_else(|| place.clone(), |node| node.span.clone());
        let Configuration { dataset, model, noise, .. } = configuration;
        let shape = dataset.shape();

        if self.fitting.as_ref().is_none_or(|(d, m)| d != dataset || m != model) {
            if let Err(why) = model.network(shape, dataset.classes()) {
                let title = format!("the model cannot take the images of `{}`", dataset.name());
                problems.report(span(&["model"]), title, why, None);
            }
            self.fitting = Some((dataset.clone(), model.clone()));
        }
        if matches!(noise, Noise::ClassDependent { .. }) && dataset.confusions().is_none() {
            let title = format!("`{}` has no class-dependent noise", dataset.name());
            let label = "no list of its easily mistaken classes is known".to_owned();
            problems.report(span(&["noise"]), title, label, Some("take `uniform` noise".to_owned()));
        }
        self.any_noise |=
            !matches!(noise, Noise::None | Noise::Uniform { rate: 0.0, .. } | Noise::ClassDependent { rate: 0.0 });

        if let Normalize::Constants { mean, std } = &configuration.normalize {
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
        if let Some((samples, _)) = dataset.sizes()
            && configuration.train_size.is_some_and(|size| size > samples)
        {
            let title = "`train_size` is larger than the data set".to_owned();
            let label = format!("`{}` has {samples} training samples", dataset.name());
            problems.report(span(&["train_size"]), title, label, Some(format!("at most {samples}")));
        }
        check_held_out(configuration, &span(&["validation"]), problems);
        self.check_validation(configuration, table, problems);
    }

    fn check_validation(&self, configuration: &Configuration, table: &Table, problems: &mut Problems) {
        if configuration.validation > 0.0 {
            return;
        }
        let label = "this needs validation samples, and there are jobs without".to_owned();
        let help = Some("set `validation` in `base`, to 0.1 for instance".to_owned());
        let of_validation = matches!(table.spec.metric, Metric::ValidationLoss | Metric::ValidationAccuracy);
        if of_validation {
            let title = format!("no validation samples for `{}`", table.spec.metric);
            problems.report(table.metric.clone(), title, label.clone(), help.clone());
        }
        if table.spec.at == At::BestValidation {
            problems.report(table.at.clone(), "no validation samples for `best-validation`".to_owned(), label, help);
        }
    }

    /// Reports what no configuration at all has. Some may be without noise in a table of what noise does.
    pub(super) fn finish(&self, table: &Table, problems: &mut Problems) {
        let metric = table.spec.metric;
        if !self.any_noise && matches!(metric, Metric::NoisyAccuracy | Metric::RecoveredAccuracy) {
            let label = "no job has noise".to_owned();
            problems.report(table.metric.clone(), format!("no mislabelled samples for `{metric}`"), label, None);
        }
    }
}

/// Both parts of the training samples must be there where they are asked for.
fn check_held_out(configuration: &Configuration, place: &Range<usize>, problems: &mut Problems) {
    // Without knowing how many there are nothing can be said; the training says it.
    let Some((samples, _)) = configuration.dataset.sizes() else { return };
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
    let top = super::node::find(combination.entries(), first)?;
    Some(rest.iter().try_fold(top, |node, key| node.get(key)).unwrap_or(top))
}
