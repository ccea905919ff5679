//! The keys of a configuration: where each is read, and which there are.

use super::initial_weights;
use crate::diagnostics::Diagnostic;
use crate::input::fields::{Fields, Subject};
use crate::input::node::{Entry, Key, Node, Value};
use crate::input::problems::{Problems, did_you_mean};
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
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// A part of the configuration that is one of several methods: a name alone, or a map of the name and its parameters.
struct Method<T> {
    /// Its key, which is also what it is called.
    key: &'static str,
    /// The key of its name.
    tag: &'static str,
    names: &'static [&'static str],
    read: fn(&str, &mut Fields<'_>) -> Option<T>,
}

const DATASET: Method<Dataset> = Method { key: "dataset", tag: "name", names: Dataset::NAMES, read: Dataset::read };
const MODEL: Method<Model> = Method { key: "model", tag: "name", names: Model::NAMES, read: Model::read };
const LOSS: Method<Loss> = Method { key: "loss", tag: "name", names: Loss::NAMES, read: Loss::read };
const NOISE: Method<Noise> = Method { key: "noise", tag: "kind", names: Noise::KINDS, read: Noise::read };
const OPTIMIZER: Method<Optimizer> =
    Method { key: "optimizer", tag: "name", names: Optimizer::NAMES, read: Optimizer::read };
const SCHEDULE: Method<Schedule> =
    Method { key: "schedule", tag: "name", names: Schedule::NAMES, read: Schedule::read };

/// The key under which the method `key` is named, if `key` is a method; or the one that a text alone is short for.
fn tag_of(key: &str) -> Option<&'static str> {
    match key {
        "dataset" | "model" | "loss" | "optimizer" | "schedule" => Some("name"),
        "noise" => Some("kind"),
        "initial_weights" => Some("file"),
        _ => None,
    }
}

/// A method's name alone in its long form, so that `loss.q` can be set beside it and `loss.name` found in it.
pub(super) fn long_form(key: &str, node: &Rc<Node>) -> Rc<Node> {
    match (tag_of(key), &node.value) {
        (Some(tag), Value::Text(_)) => {
            let tag = Key { name: Rc::from(tag), span: node.span.clone() };
            Rc::new(Node::new(node.span.clone(), Value::Map(vec![(tag, Rc::clone(node))])))
        }
        _ => Rc::clone(node),
    }
}

/// Where what a configuration lacks is reported.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) span: Range<usize>,
    /// The keys that were to be set by something that was refused, and that are not to be missed as well.
    pub(super) excused: Vec<String>,
    /// Whether any key may be among them.
    pub(super) all_excused: bool,
}

/// Reads a combination, whose methods are in long form, but for its parent. What it lacks is reported at `place`.
pub(super) fn read(entries: &[Entry], place: &Place, problems: &mut Problems) -> Option<Configuration> {
    let before = problems.reports();
    let mut fields = Fields::new(entries, Subject("the configuration", None), place.span.clone(), problems);
    let parts = parts(&mut fields);
    fields.excuse(|key| place.all_excused || place.excused.iter().any(|excused| excused == key));
    fields.finish();
    // Stand-ins never leave this room.
    parts.filter(|_| problems.reports() == before)
}

/// Every part is read before any is found missing, so that all problems are found.
fn parts(fields: &mut Fields<'_>) -> Option<Configuration> {
    let dataset = DATASET.required(fields);
    let model = MODEL.required(fields);
    let initial_weights = initial_weights::read(fields);
    let loss = LOSS.required(fields);
    let noise = NOISE.or(fields, Noise::None);
    let noise_seed = fields.integer("noise_seed").optional();
    let optimizer = OPTIMIZER.required(fields);
    let schedule = SCHEDULE.or(fields, Schedule::Constant);
    let epochs = fields.integer("epochs").at_least(1).at_most(100_000).required() as u32;
    let batch_size = fields.integer("batch_size").at_least(1).at_most(65_536).or(128) as usize;
    let train_size = fields.integer("train_size").at_least(1).optional().map(|size| size as usize);
    let test_size = fields.integer("test_size").at_least(1).optional().map(|size| size as usize);
    let validation = validation(fields);
    let split = fields.choice("split", Split::CHOICES).or(Split::Random);
    let augment = fields.list_of("augment", Augment::NAMES, Augment::read);
    let normalize = fields.one_of("normalize", Normalize::NAMES, Normalize::read).unwrap_or(Normalize::Channel);
    let precision = fields.choice("precision", Precision::CHOICES).or(Precision::F32);
    let diagnostics = fields.set_of("diagnostics", Diagnostic::ALL);
    // Its configuration is read where all of the combination is at hand.
    fields.node("parent");
    let dataset = dataset?;
    // All of a data set is what there is without the key: no two cells for one training.
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
        normalize,
        precision,
        diagnostics,
        parent: None,
    })
}

/// A share of the training samples below 1, or from 1 on a whole number of them.
fn validation(fields: &mut Fields<'_>) -> f64 {
    let validation = fields.number("validation").at_least(0.0).or(0.0);
    if validation > 1.0 && (validation.fract() != 0.0 || validation > f64::from(u32::MAX)) {
        let label = "expected a share of at least 0 and below 1, or a whole number of samples".to_owned();
        let place = fields.value_place("validation").unwrap_or_else(|| fields.place());
        fields.problems().report(place, "`validation` is out of range".to_owned(), label, None);
        return 0.0;
    }
    validation
}

impl<T> Method<T> {
    fn required(&self, fields: &mut Fields<'_>) -> Option<T> {
        let node = fields.node(self.key);
        if node.is_none() {
            fields.missing(self.key, self.expected());
        }
        self.read(fields, node?)
    }

    /// The method, `default` where its key is not there, or nothing where it is wrong.
    fn or(&self, fields: &mut Fields<'_>, default: T) -> Option<T> {
        match fields.node(self.key) {
            Some(node) => self.read(fields, node),
            None => Some(default),
        }
    }

    fn read(&self, fields: &mut Fields<'_>, node: &Node) -> Option<T> {
        let Some(entries) = node.entries() else {
            fields.unexpected(self.key, node, &self.expected(), None);
            return None;
        };
        let Some(tag) = node.get(self.tag) else {
            let label = format!("expected {}", self.expected());
            let title = format!("`{}` has no `{}`", self.key, self.tag);
            let help = self.names.last().map(|name| format!("for instance `{{{}: {name}, …}}`", self.tag));
            fields.problems().report(node.span.clone(), title, label, help);
            return None;
        };
        let Some(name) = tag.text() else {
            fields.unexpected(self.tag, tag, &format!("the name of a {}", self.key), None);
            return None;
        };
        let subject = Subject(self.key, Some(name));
        let mut parameters = Fields::new(entries, subject, tag.span.clone(), fields.problems());
        parameters.node(self.tag);
        let method = (self.read)(name, &mut parameters);
        match method {
            Some(_) => parameters.finish(),
            None => {
                let what = if self.tag == "kind" { "noise" } else { self.key };
                crate::input::fields::unknown_name(fields.problems(), what, tag, name, self.names.iter().copied());
            }
        }
        method
    }

    fn expected(&self) -> String {
        format!("a name or a map with `{}`", self.tag)
    }

    /// Adds the paths of all its parameters to the schema, asking each method which it would read.
    fn declare(&self, schema: &mut Schema) {
        schema.add(format!("{}.{}", self.key, self.tag), 0);
        for name in self.names {
            let mut ignored = Problems::default();
            let mut probe = Fields::new(&[], Subject(self.key, Some(name)), 0..0, &mut ignored);
            (self.read)(name, &mut probe);
            for asked in probe.asked() {
                schema.add(format!("{}.{}", self.key, asked.key), asked.depth);
            }
        }
    }
}

/// The paths that a configuration can have.
#[derive(Debug, Default)]
pub(super) struct Schema {
    /// In the order of a configuration.
    paths: Vec<String>,
    /// How many lists deep their values are, where they are lists.
    lists: BTreeMap<String, usize>,
}

impl Schema {
    /// What the methods say that they read.
    pub(super) fn new() -> Self {
        let mut ignored = Problems::default();
        let mut probe = Fields::new(&[], Subject("the configuration", None), 0..0, &mut ignored);
        parts(&mut probe);
        let mut schema = Schema::default();
        for asked in probe.asked() {
            schema.add(asked.key.to_owned(), asked.depth);
            match asked.key {
                "dataset" => DATASET.declare(&mut schema),
                "model" => MODEL.declare(&mut schema),
                "loss" => LOSS.declare(&mut schema),
                "noise" => NOISE.declare(&mut schema),
                "optimizer" => OPTIMIZER.declare(&mut schema),
                "schedule" => SCHEDULE.declare(&mut schema),
                "initial_weights" => initial_weights::PATHS.iter().for_each(|path| schema.add((*path).to_owned(), 0)),
                "parent" => ["parent.set", "parent.at"].iter().for_each(|path| schema.add((*path).to_owned(), 0)),
                _ => {}
            }
        }
        // The constants of a normalisation are set together or not at all: no paths lead to them.
        schema.lists.extend(["normalize.mean", "normalize.std"].map(|path| (path.to_owned(), 1)));
        schema
    }

    fn add(&mut self, path: String, depth: usize) {
        if depth > 0 {
            self.lists.insert(path.clone(), depth);
        }
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    /// Every path, in the order of a configuration.
    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The values that a list at `path` names one after another. Where the value is itself a list, several are a list of
    /// lists, and one list alone is one value.
    pub(super) fn alternatives<'n>(&self, path: &str, node: &'n Rc<Node>) -> &'n [Rc<Node>] {
        let depth = self.lists.get(path).copied().unwrap_or(0);
        match &node.value {
            Value::Seq(items) if node.is_nested(depth + 1) => items,
            _ => std::slice::from_ref(node),
        }
    }

    /// Splits the path `key`, or reports that it leads nowhere.
    pub(super) fn check(&self, name: &str, span: &Range<usize>, problems: &mut Problems) -> Option<Route> {
        if self.paths.iter().any(|path| path == name) {
            let keys = name.split('.').map(|key| Key { name: Rc::from(key), span: span.clone() }).collect();
            return Some(Route { keys, name: name.to_owned() });
        }
        let title = format!("unknown path `{}`", crate::input::node::shortened(name));
        let paths = || self.paths.iter().map(String::as_str);
        // A parameter without its method: `lr` for `optimizer.lr`.
        let suffix = format!(".{name}");
        let full = paths().find(|path| path.ends_with(&suffix)).map(|path| format!("did you mean `{path}`?"));
        let label = match name.split_once('.') {
            Some((head, _)) if paths().any(|path| path == head) => {
                let prefix = format!("{head}.");
                let below: Vec<_> =
                    paths().filter(|path| path.starts_with(&prefix)).map(|p| format!("`{p}`")).collect();
                match below.as_slice() {
                    [] => format!("`{head}` has nothing below it"),
                    below => format!("`{head}` has {}", below.join(", ")),
                }
            }
            _ => "no configuration has this".to_owned(),
        };
        problems.report(span.clone(), title, label, full.or_else(|| did_you_mean(name, paths())));
        None
    }
}

/// A path into a configuration, as it was written.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) keys: Vec<Key>,
    pub(super) name: String,
}

impl Route {
    /// Where it was written.
    pub(super) fn span(&self) -> Range<usize> {
        self.keys[0].span.clone()
    }
}
