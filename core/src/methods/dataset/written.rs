//! The canonical form of a data set: a name alone, or a map of name and parameters. Data sets without parameters keep the form
//! that they had before there were parameters, so that job ids stay valid.

use super::{CLASSES, Dataset, Folder, SIDE};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The data sets with parameters.
#[derive(Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
enum Parameterised {
    DogsVsCats {
        size: usize,
    },
    #[serde(rename = "clothing1m")]
    Clothing1M {
        size: usize,
    },
    Folder {
        path: String,
        classes: usize,
        size: usize,
        grey: bool,
    },
}

impl Serialize for Dataset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parameterised = match self.clone() {
            Dataset::DogsVsCats { size } => Parameterised::DogsVsCats { size },
            Dataset::Clothing1M { size } => Parameterised::Clothing1M { size },
            Dataset::Folder(Folder { path, classes, size, grey }) => {
                Parameterised::Folder { path, classes, size, grey }
            }
            plain => return serializer.serialize_str(plain.name()),
        };
        parameterised.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Dataset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Dataset;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a data set, or a map of name and parameters")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Dataset, E> {
                Dataset::plain(name).ok_or_else(|| E::unknown_variant(name, Dataset::NAMES))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Dataset, M::Error> {
                let dataset = match Parameterised::deserialize(MapAccessDeserializer::new(map))? {
                    Parameterised::DogsVsCats { size } => Dataset::DogsVsCats { size },
                    Parameterised::Clothing1M { size } => Dataset::Clothing1M { size },
                    Parameterised::Folder { path, classes, size, grey } => {
                        Dataset::Folder(Folder { path, classes, size, grey })
                    }
                };
                let (shape, classes) = (dataset.shape(), dataset.classes());
                // The limits of sweep files apply to messages too: a trainer relies on them.
                if (1..=SIDE).contains(&shape.width) && (2..=CLASSES).contains(&classes) {
                    Ok(dataset)
                } else {
                    Err(M::Error::custom(format!("{} with a parameter out of range", dataset.name())))
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(dataset: &Dataset) -> String {
        let text = serde_json::to_string(dataset).unwrap();
        assert_eq!(serde_json::from_str::<Dataset>(&text).unwrap(), *dataset);
        text
    }

    #[test]
    fn a_data_set_without_parameters_is_stored_as_its_name() {
        let plain = Dataset::ALL.iter().filter(|dataset| !dataset.has_parameters());
        plain.for_each(|dataset| assert_eq!(stored(dataset), format!("{:?}", dataset.name())));
        assert!(serde_json::from_str::<Dataset>("\"cifar10\"").is_err());
        assert!(serde_json::from_str::<Dataset>("\"dogs-vs-cats\"").is_err());
    }

    #[test]
    fn a_data_set_with_parameters_is_stored_as_a_map() {
        assert_eq!(stored(&Dataset::DogsVsCats { size: 64 }), r#"{"name":"dogs-vs-cats","size":64}"#);
        assert_eq!(stored(&Dataset::Clothing1M { size: 224 }), r#"{"name":"clothing1m","size":224}"#);
        let folder = Folder { path: "birds".to_owned(), classes: 5, size: 64, grey: false };
        assert_eq!(
            stored(&Dataset::Folder(folder)),
            r#"{"name":"folder","path":"birds","classes":5,"size":64,"grey":false}"#
        );
    }

    #[test]
    fn a_form_that_no_sweep_file_makes_is_rejected() {
        let wrong = [
            r#"{"name":"dogs-vs-cats","size":0}"#,
            r#"{"name":"dogs-vs-cats","size":32,"path":"a"}"#,
            r#"{"name":"cifar-10"}"#,
            r#"{"name":"folder","path":"birds","classes":1,"size":64,"grey":false}"#,
            r#"{"name":"folder","path":"birds","classes":501,"size":64,"grey":false}"#,
            r#"{"name":"folder","path":"birds","classes":5,"size":64,"grey":2}"#,
        ];
        wrong.iter().for_each(|text| assert!(serde_json::from_str::<Dataset>(text).is_err(), "{text}"));
    }
}
