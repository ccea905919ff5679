//! Published results: a paper's table as a file, so that a sweep's own can be set beside it.
//!
//! A file names the configuration that each number belongs to by paths and values, as a sweep file's `when` does. They are looked up in
//! the JSON of a configuration and never checked against what this version knows, so that a file may speak of methods that are not
//! there yet.

mod read;

pub(super) use read::check_name;
pub use read::read_published;

use super::path::Path;
use serde_json::Value;

/// A published table.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// What a sweep file calls it.
    pub name: String,
    /// What people call it, such as "Zhang & Sabuncu 2018, Table 1".
    pub title: String,
    /// Where it was printed.
    pub source: Option<String>,
    /// What its numbers are to be divided by to be ours: 100 where they are per cent.
    pub divisor: f64,
    /// What follows its ±.
    pub spread: Spread,
    /// What a reader of any of the numbers should know.
    pub notes: Vec<String>,
    /// How its results were had: later rules overrule earlier ones.
    pub protocol: Vec<Protocol>,
    /// Its numbers.
    pub results: Vec<PublishedResult>,
}

/// Which standard deviation follows a published ±.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spread {
    /// The paper does not say; it is taken for the sample's.
    #[default]
    Unsaid,
    /// Over n − 1.
    Sample,
    /// Over n.
    Population,
}

/// Settings with which the results of some configurations were had.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// Which; all where it is empty.
    pub when: Vec<Condition>,
    /// The settings.
    pub set: Vec<Condition>,
}

/// A path into a configuration, and the value that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The path.
    pub path: Path,
    /// The value: a name alone stands for every method of that name, a map for every map with these entries, and nothing for a path that
    /// the configuration does not have.
    pub value: Value,
}

/// One published number.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedResult {
    /// The configurations that it is for.
    pub when: Vec<Condition>,
    /// The metric's name.
    pub metric: String,
    /// The name of the selection of the epoch.
    pub at: String,
    /// As printed, in the file's unit.
    pub mean: f64,
    /// As printed, in the file's unit, ≥ 0; nothing where none is.
    pub std: Option<f64>,
    /// Over how many runs; nothing where the paper does not say.
    pub n: Option<u64>,
    /// As printed, to the digit.
    pub printed: String,
    /// Why it may not be what it seems.
    pub doubt: Option<String>,
}

impl Condition {
    /// Whether it holds of a configuration's JSON.
    pub fn holds(&self, configuration: &Value) -> bool {
        matches(&self.value, self.path.find(configuration).unwrap_or(&Value::Null))
    }
}

impl PublishedResult {
    /// Whether it is for a configuration, given as its JSON.
    pub fn is_for(&self, configuration: &Value) -> bool {
        self.when.iter().all(|condition| condition.holds(configuration))
    }

    /// The sample standard deviation, in the file's unit, which is what a test asks for.
    pub fn sample_std(&self, spread: Spread) -> Option<f64> {
        match (spread, self.n) {
            (Spread::Unsaid | Spread::Sample, _) => self.std,
            (Spread::Population, Some(n)) if n > 1 => self.std.map(|std| std * (n as f64 / (n - 1) as f64).sqrt()),
            (Spread::Population, _) => None,
        }
    }
}

impl Published {
    /// The settings with which the result of a configuration, given as its JSON, was had: each path once.
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

/// Whether a configuration's value is what was asked for: numbers are equal by value, a name alone is any method of that name, and a map
/// asks for its own entries only.
fn matches(asked: &Value, found: &Value) -> bool {
    match (asked, found) {
        (Value::String(name), Value::Object(method)) => {
            method.get("name").or_else(|| method.get("kind")).and_then(Value::as_str) == Some(name)
        }
        (Value::Object(asked), Value::Object(found)) => {
            asked.iter().all(|(key, asked)| matches(asked, found.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(asked), Value::Array(found)) => {
            asked.len() == found.len() && asked.iter().zip(found).all(|(asked, found)| matches(asked, found))
        }
        (Value::Number(asked), Value::Number(found)) => asked.as_f64() == found.as_f64(),
        // A choice of which one is called `true`, which YAML takes for no name.
        (Value::Bool(asked), Value::String(found)) => asked.to_string() == *found,
        _ => asked == found,
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
    fn a_name_alone_is_any_method_of_that_name() {
        assert!(condition("model", json!("cnn")).holds(&configuration()));
        assert!(condition("noise", json!("uniform")).holds(&configuration()));
        assert!(!condition("model", json!("resnet18")).holds(&configuration()));
    }

    #[test]
    fn a_map_asks_for_its_own_entries_and_numbers_are_equal_by_value() {
        assert!(condition("noise", json!({"kind": "uniform", "rate": 0.4})).holds(&configuration()));
        assert!(!condition("noise", json!({"kind": "uniform", "rate": 0.2})).holds(&configuration()));
        assert!(condition("epochs", json!(120.0)).holds(&configuration()));
        assert!(condition("noise.rate", json!(0.4)).holds(&configuration()));
    }

    #[test]
    fn forward_correction_with_the_true_matrix_is_found_as_it_is_written() {
        let asked = condition("loss", json!({"name": "forward", "transition": true}));
        let configuration = |transition| json!({"loss": Loss::Forward(transition)});
        assert!(asked.holds(&configuration(Forward::True {})));
        assert!(!asked.holds(&configuration(Forward::Estimated { percentile: 97.0 })));
    }

    #[test]
    fn lists_are_equal_item_by_item() {
        assert!(condition("augment", json!([{"crop": 4}, "flip"])).holds(&configuration()));
        assert!(!condition("augment", json!(["flip"])).holds(&configuration()));
    }

    #[test]
    fn nothing_is_a_path_that_is_not_there() {
        assert!(condition("train_size", Value::Null).holds(&configuration()));
        assert!(!condition("epochs", Value::Null).holds(&configuration()));
        assert!(!condition("loss.q", json!(0.7)).holds(&configuration()));
    }

    #[test]
    fn later_rules_of_a_protocol_overrule_earlier_ones() {
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
    fn a_population_deviation_is_made_a_samples() {
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
