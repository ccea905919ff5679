//! The sweep files that ship: each passes `check` with its profiles, and its smoke profile trains on synthetic data. Tests that take
//! longer than a few seconds are ignored here; `just smoke` runs them.

use crate::common::{Place, synthetic};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sweeps")
}

fn shipped() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut names: Vec<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Sweeps that are small enough without a smoke profile.
const SMALL: [&str; 2] = ["fashion-mnist", "quickstart"];

#[test]
fn every_shipped_sweep_passes_check_and_has_the_name_of_its_file() {
    let place = Place::new();
    for name in shipped() {
        let file = folder().join(format!("{name}.yaml"));
        let output = place.run(&["check", file.to_str().unwrap()]).good();
        assert!(output.starts_with(&format!("{name}: ")), "{output}");
        if !SMALL.contains(&&*name) {
            place.run(&["check", file.to_str().unwrap(), "--profile", "smoke"]).good();
        }
    }
}

/// Trains the smoke profile of a sweep on synthetic data, and checks that every cell of its table has a mean.
fn smoke(name: &str, datasets: &[&str]) {
    let place = Place::new();
    let data = place.path().join("data");
    datasets.iter().for_each(|dataset| synthetic::write(&data, dataset));
    let file = folder().join(format!("{name}.yaml"));
    let arguments = ["run", file.to_str().unwrap(), "--profile", "smoke", "--format", "json", "--datasets"];
    let answer = place.run(&[&arguments[..], &[data.to_str().unwrap()]].concat()).good();
    let table: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let rows = table["cells"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    let cells: Vec<_> = rows.filter(|cell| !cell.is_null()).collect();
    assert!(!cells.is_empty());
    for cell in cells {
        assert!(cell["mean"].is_number(), "{cell}");
    }
}

macro_rules! smokes {
    ($($(#[$attribute:meta])* $test:ident $name:literal $datasets:expr;)+) => {
        $(#[test] $(#[$attribute])* fn $test() { smoke($name, &$datasets); })+

        #[test]
        fn every_shipped_sweep_has_a_smoke_test() {
            let mut named = vec![$($name),+];
            named.extend(SMALL);
            named.sort_unstable();
            assert_eq!(shipped(), named);
        }
    };
}

smokes! {
    dmi_fig2_trains "dmi-fig2" ["fashion-mnist"];
    dmi_fig3_mr_trains "dmi-fig3-mr" ["mr"];
    #[ignore = "a minute; `just smoke`"]
    dmi_table1_clothing1m_trains "dmi-table1-clothing1m" ["clothing1m"];
    #[ignore = "a minute; `just smoke`"]
    dmi_fig3_cifar_10_trains "dmi-fig3-cifar-10" ["cifar-10"];
    #[ignore = "a minute; `just smoke`"]
    dmi_fig3_dogs_vs_cats_trains "dmi-fig3-dogs-vs-cats" ["dogs-vs-cats"];
    #[ignore = "a minute; `just smoke`"]
    gce_fig1_trains "gce-fig1" ["cifar-10", "cifar-100"];
    #[ignore = "a minute; `just smoke`"]
    gce_fig2_trains "gce-fig2" ["cifar-10"];
    #[ignore = "a minute; `just smoke`"]
    gce_table1_cifar_10_trains "gce-table1-cifar-10" ["cifar-10"];
    #[ignore = "a minute; `just smoke`"]
    gce_table1_cifar_100_trains "gce-table1-cifar-100" ["cifar-100"];
    #[ignore = "a minute; `just smoke`"]
    gce_table1_fashion_mnist_trains "gce-table1-fashion-mnist" ["fashion-mnist"];
    #[ignore = "a minute; `just smoke`"]
    gce_table2_trains "gce-table2" ["cifar-10", "cifar-100"];
    #[ignore = "a minute; `just smoke`"]
    imae_fig4_trains "imae-fig4" ["cifar-10"];
    #[ignore = "a minute; `just smoke`"]
    imae_gradients_trains "imae-gradients" ["cifar-10"];
    #[ignore = "a minute; `just smoke`"]
    imae_table_trains "imae-table" ["cifar-10"];
    #[ignore = "a minute; `just smoke`"]
    sce_class_bias_trains "sce-class-bias" ["cifar-10", "fashion-mnist"];
}
