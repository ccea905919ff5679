//! A data set's canonical form: a name alone, as it has been since there were no parameters.

use super::Dataset;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

impl Serialize for Dataset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Dataset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Dataset;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a data set")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Dataset, E> {
                Dataset::plain(name).ok_or_else(|| E::unknown_variant(name, Dataset::NAMES))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::all;
    use super::*;

    #[test]
    fn a_data_set_without_parameters_is_stored_under_the_name_that_a_sweep_file_has() {
        for dataset in all() {
            let stored = serde_json::to_value(&dataset).unwrap();
            assert_eq!(stored, dataset.name());
            assert_eq!(serde_json::from_value::<Dataset>(stored).unwrap(), dataset);
        }
        assert!(serde_json::from_str::<Dataset>("\"cifar10\"").is_err());
    }
}
