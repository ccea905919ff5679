//! Published results that a sweep can be compared with: those that ship inside the program, and files.

use crate::error::CliError;
use crate::text_file;
use plusminus_core::sweep_file::{Published, read_published};
use std::path::{MAIN_SEPARATOR, Path};

/// The results that ship, by name. Each is a file `sweeps/published/NAME.yaml`.
const SHIPPED: [(&str, &str); 4] = [
    ("dmi-table1", include_str!("../../sweeps/published/dmi-table1.yaml")),
    ("gce-table1", include_str!("../../sweeps/published/gce-table1.yaml")),
    ("gce-table2", include_str!("../../sweeps/published/gce-table2.yaml")),
    ("imae-table", include_str!("../../sweeps/published/imae-table.yaml")),
];

/// Returns the names of the results that ship.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// Returns the published results of a name or a file: an existing file, or what looks like a path, is read.
///
/// # Errors
/// If no results have the name, or the file cannot be read or has problems.
pub fn find(reference: &str) -> Result<Published, CliError> {
    let path = Path::new(reference);
    let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if yaml || reference.contains(MAIN_SEPARATOR) || path.is_file() {
        let text = text_file::read(path);
        let text = text.map_err(|error| CliError::UnreadablePublished { path: path.to_owned(), error })?;
        return read(reference, &text);
    }
    match SHIPPED.iter().find(|(name, _)| *name == reference) {
        Some((name, text)) => read(name, text),
        None => Err(CliError::UnknownPublished(reference.to_owned(), list())),
    }
}

/// Returns the names of the results that ship, as a list for a message.
pub fn list() -> String {
    names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn read(file: &str, text: &str) -> Result<Published, CliError> {
    read_published(text).map_err(|problems| CliError::PublishedProblems {
        file: file.to_owned(),
        source_text: text.to_owned(),
        problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn every_published_file_is_in_the_program_under_its_own_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sweeps/published");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: BTreeSet<String> =
            files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(files, names().map(str::to_owned).collect());
        for name in names() {
            assert_eq!(find(name).unwrap().name, name);
        }
    }

    #[test]
    fn the_shipped_tables_have_every_printed_number() {
        let count = |name: &str| {
            let published = find(name).unwrap();
            let with_std = published.results.iter().filter(|result| result.std.is_some()).count();
            (published.results.len(), with_std)
        };
        // Table 1: 3 data sets × 6 losses × 8 noises. Table 2: 5 losses × 2 noises. IMAE: 2 networks × 3 losses × (5 + 5 + 4) numbers.
        assert_eq!(count("gce-table1"), (144, 144));
        assert_eq!(count("gce-table2"), (10, 0));
        assert_eq!(count("imae-table"), (84, 0));
        assert_eq!(count("dmi-table1"), (5, 0));
    }

    #[test]
    fn numbers_are_in_the_cells_where_the_papers_print_them() {
        let configuration = serde_json::json!({
            "dataset": "cifar-100",
            "noise": {"kind": "class-dependent", "rate": 0.4},
            "loss": {"name": "truncated-gce", "q": 0.7, "k": 0.5},
        });
        let published = find("gce-table1").unwrap();
        let results: Vec<_> = published.results.iter().filter(|result| result.is_for(&configuration)).collect();
        assert_eq!(results.iter().map(|result| result.printed.as_str()).collect::<Vec<_>>(), [TRUNCATED_CIFAR_100]);
        let setting = |path: &str| {
            let settings = published.settings(&configuration);
            settings
                .into_iter()
                .find(|setting| setting.path.to_string() == path)
                .map(|setting| setting.value.to_string())
        };
        assert_eq!(setting("epochs").as_deref(), Some("150"));
        assert_eq!(setting("loss.start").as_deref(), Some("80"));
        assert_eq!(setting("model").as_deref(), Some("\"resnet34\""));
    }

    #[test]
    fn a_sweep_with_the_papers_settings_has_no_differences() {
        let text = "
sweep: faithful
seeds: 5
base:
  dataset: fashion-mnist
  model: resnet18
  optimizer: {name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 1e-4}
  schedule: {name: step, milestones: [40, 80]}
  epochs: 120
  validation: 0.1
  augment: [{crop: 4}, flip]
  normalize: pixel-mean
grid:
  noise: [{kind: uniform, rate: [0.2, 0.8]}, {kind: class-dependent, rate: 0.1}]
  loss: [cce, {name: gce, q: 0.7}]
";
        let sweep = plusminus_core::sweep_file::read(text, 100).unwrap();
        let published = find("gce-table1").unwrap();
        assert_eq!(sweep.cells.len(), 6);
        for cell in &sweep.cells {
            let configuration = serde_json::to_value(&*cell.configuration).unwrap();
            assert_eq!(published.results.iter().filter(|result| result.is_for(&configuration)).count(), 1);
            let differing: Vec<_> = published
                .settings(&configuration)
                .into_iter()
                .filter(|setting| !setting.holds(&configuration))
                .collect();
            assert!(differing.is_empty(), "{differing:?}");
        }
    }

    /// The last number of the last row of Zhang & Sabuncu's Table 1.
    const TRUNCATED_CIFAR_100: &str = "47.66 ± 0.69";

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_ones() {
        let error = find("gce-table9").unwrap_err().to_string();
        assert!(error.contains("gce-table9") && error.contains("`gce-table1`"), "{error}");
    }
}
