//! Published results: a paper's table as a file, to compare a sweep's table with.
//!
//! A file states the configuration of each number by paths and values, like `when` in a sweep file. They are compared with the
//! JSON of a configuration and never checked against the known methods, so that a file may name methods that do not exist yet.

mod read;

pub(super) use read::check_name;
pub use read::read_published;

use super::path::Path;
use serde_json::Value;

/// A published table.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The name that a sweep file refers to.
    pub name: String,
    /// The title, such as "Zhang & Sabuncu 2018, Table 1".
    pub title: String,
    /// Where the table was printed.
    pub source: Option<String>,
    /// The divisor that converts its numbers: 100 for per cent.
    pub divisor: f64,
    /// The standard deviation after ±.
    pub spread: Spread,
    /// Notes on all numbers.
    pub notes: Vec<String>,
    /// The settings behind the results; later rules take precedence.
    pub protocol: Vec<Protocol>,
    /// The numbers.
    pub results: Vec<PublishedResult>,
}

/// The standard deviation after a published ±.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spread {
    /// Not stated by the paper; treated as that of a sample.
    #[default]
    Unsaid,
    /// Of a sample: divides by n − 1.
    Sample,
    /// Of a population: divides by n.
    Population,
}

/// Settings behind the results of some configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// The conditions on configurations; empty for all.
    pub when: Vec<Condition>,
    /// The settings.
    pub set: Vec<Condition>,
}

/// A path into a configuration and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The path.
    pub path: Path,
    /// The value. A name alone matches every method of that name, a map every map with these entries, and `null` an absent path.
    pub value: Value,
}

/// One published number.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedResult {
    /// The conditions on its configurations.
    pub when: Vec<Condition>,
    /// The metric's name.
    pub metric: String,
    /// The name of the epoch selection.
    pub at: String,
    /// The mean as printed, in the unit of the file.
    pub mean: f64,
    /// The deviation as printed, ≥ 0, in the unit of the file.
    pub std: Option<f64>,
    /// Number of runs; `None` if the paper does not state it.
    pub n: Option<u64>,
    /// The number exactly as printed.
    pub printed: String,
    /// A reason to doubt the number.
    pub doubt: Option<String>,
}

impl Condition {
    /// Whether the JSON of a configuration meets the condition.
    pub fn holds(&self, configuration: &Value) -> bool {
        matches(&self.value, self.path.find(configuration).unwrap_or(&Value::Null))
    }
}

impl PublishedResult {
    /// Whether the number belongs to a configuration, given as JSON.
    pub fn is_for(&self, configuration: &Value) -> bool {
        self.when.iter().all(|condition| condition.holds(configuration))
    }

    /// The sample standard deviation in the unit of the file, as statistical tests need it.
    pub fn sample_std(&self, spread: Spread) -> Option<f64> {
        match (spread, self.n) {
            (Spread::Unsaid | Spread::Sample, _) => self.std,
            (Spread::Population, Some(n)) if n > 1 => self.std.map(|std| std * (n as f64 / (n - 1) as f64).sqrt()),
            (Spread::Population, _) => None,
        }
    }
}

impl Published {
    /// The settings behind the result of a configuration, given as JSON; each path once.
    pub fn settings(&self, configuration: &Value) -> Vec<&Condition> {
        let mut settings: Vec<&Condition> = Vec::new();
        let rules =
            self.protocol.iter().filter(|rule| rule.when.iter().all(|condition| condition.holds(configuration)));
        for setting in rules.flat_map(|rule| &rule.set) {
            match settings.iter_mut().find(|earlier| earlier.path == setting.path) {
                Some(earlier) => *earlier = setting,
                None => settings.push(setting),
            }
        }
        settings
    }
}

/// Whether `found` meets the condition `wanted`: numbers are equal by value, a name alone matches every method of that name, and a
/// map requires only its own entries.
fn matches(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::String(name), Value::Object(method)) => {
            method.get("name").or_else(|| method.get("kind")).and_then(Value::as_str) == Some(name)
        }
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(key, wanted)| matches(wanted, found.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| matches(wanted, found))
        }
        (Value::Number(wanted), Value::Number(found)) => wanted.as_f64() == found.as_f64(),
        // YAML reads the name `true` as a boolean.
        (Value::Bool(wanted), Value::String(found)) => wanted.to_string() == *found,
        _ => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::losses::{Forward, Loss};
    use serde_json::json;

    fn condition(path: &str, value: Value) -> Condition {
        Condition { path: Path(path.split('.').map(str::to_owned).collect()), value }
    }

    fn configuration() -> Value {
        json!({
            "dataset": "cifar-10",
            "model": {"name": "cnn", "dropout": 0.5},
            "noise": {"kind": "uniform", "rate": 0.4, "include_true_class": false},
            "augment": [{"crop": 4}, "flip"],
            "epochs": 120,
        })
    }

    #[test]
    fn a_name_alone_matches_every_method_of_that_name() {
        assert!(condition("model", json!("cnn")).holds(&configuration()));
        assert!(condition("noise", json!("uniform")).holds(&configuration()));
        assert!(!condition("model", json!("resnet18")).holds(&configuration()));
    }

    #[test]
    fn a_map_requires_its_own_entries_and_numbers_compare_by_value() {
        assert!(condition("noise", json!({"kind": "uniform", "rate": 0.4})).holds(&configuration()));
        assert!(!condition("noise", json!({"kind": "uniform", "rate": 0.2})).holds(&configuration()));
        assert!(condition("epochs", json!(120.0)).holds(&configuration()));
        assert!(condition("noise.rate", json!(0.4)).holds(&configuration()));
    }

    #[test]
    fn the_name_true_is_matched_as_a_boolean() {
        let wanted = condition("loss", json!({"name": "forward", "transition": true}));
        let configuration = |transition| json!({"loss": Loss::Forward(transition)});
        assert!(wanted.holds(&configuration(Forward::True {})));
        assert!(!wanted.holds(&configuration(Forward::Estimated { percentile: 97.0 })));
    }

    #[test]
    fn lists_are_equal_item_by_item() {
        assert!(condition("augment", json!([{"crop": 4}, "flip"])).holds(&configuration()));
        assert!(!condition("augment", json!(["flip"])).holds(&configuration()));
    }

    #[test]
    fn null_matches_an_absent_path() {
        assert!(condition("train_size", Value::Null).holds(&configuration()));
        assert!(!condition("epochs", Value::Null).holds(&configuration()));
        assert!(!condition("loss.q", json!(0.7)).holds(&configuration()));
    }

    #[test]
    fn later_rules_of_a_protocol_take_precedence() {
        let set = |epochs: u32| vec![condition("epochs", json!(epochs)), condition("batch_size", json!(epochs))];
        let rules = [(vec![], set(1)), (vec![condition("dataset", json!("cifar-10"))], set(2))];
        let never = (vec![condition("dataset", json!("mr"))], set(3));
        let protocol = rules.into_iter().chain([never]).map(|(when, set)| Protocol { when, set }).collect();
        let published = Published {
            name: "a".to_owned(),
            title: "A".to_owned(),
            source: None,
            divisor: 1.0,
            spread: Spread::Unsaid,
            notes: Vec::new(),
            protocol,
            results: Vec::new(),
        };
        let configuration = configuration();
        let settings = published.settings(&configuration);
        assert_eq!(settings.iter().map(|setting| setting.value.clone()).collect::<Vec<_>>(), [json!(2), json!(2)]);
    }

    #[test]
    fn a_population_deviation_is_converted_to_that_of_a_sample() {
        let result = |n| PublishedResult {
            when: Vec::new(),
            metric: "test_accuracy".to_owned(),
            at: "final".to_owned(),
            mean: 90.0,
            std: Some(2.0),
            n,
            printed: "90 ± 2".to_owned(),
            doubt: None,
        };
        assert_eq!(result(Some(5)).sample_std(Spread::Population), Some(5f64.sqrt()));
        assert_eq!(result(Some(5)).sample_std(Spread::Unsaid), Some(2.0));
        assert_eq!(result(None).sample_std(Spread::Population), None);
    }
}
