//! The text of tables in every format.

use crate::sample::*;
use plusminus_core::job::Configuration;
use plusminus_core::methods::dataset::Dataset;
use plusminus_core::methods::losses::{Gce, Loss};
use plusminus_core::methods::noise::Noise;
use plusminus_core::metric::Metric;
use plusminus_core::report::{Emphasis, Format, Status, Table, render};
use plusminus_core::sweep_file::{Cell, Divergence};
use proptest::prelude::*;

fn printed(table: &Table, format: Format) -> String {
    render(table, format, Emphasis::NONE)
}

/// Two levels of row headers and two of column headers; one cell is excluded.
fn two_levels() -> Table {
    let uniform = [0.2, 0.4].map(Noise::uniform);
    let class_dependent = [0.1, 0.2].map(Noise::class_dependent);
    let mut sweep = sweep(&[GCE, Loss::Gce(Gce { q: 0.3 })], &[uniform, class_dependent].concat());
    sweep.description = Some("Losses & noise,\n100% of them.".to_owned());
    sweep.table.columns = paths(&["noise.kind", "noise.rate"]);
    sweep.table.rows = paths(&["dataset", "loss"]);
    let smaller = |cell: &Cell| Configuration { dataset: Dataset::FashionMnist10k, ..(*cell.configuration).clone() };
    let smaller: Vec<_> = sweep.cells.iter().map(smaller).map(cell).collect();
    sweep.cells.extend(smaller);
    sweep.cells.remove(7);
    let means = [93.24, 94.1, 92.9, 89.5, 93.02, 9.98, 94.85, 93.5, 93.0, 92.1, 92.96, 92.14, 91.0, 90.11, 89.9];
    table(&sweep, &means.map(|mean| around(mean, mean / 100.0)))
}

#[test]
fn every_format_prints_a_finished_table() {
    for format in Format::ALL {
        insta::assert_snapshot!(format!("complete_{format}"), printed(&complete(), *format));
    }
}

#[test]
fn every_format_prints_a_partial_table() {
    for format in Format::ALL {
        insta::assert_snapshot!(format!("partial_{format}"), printed(&partial(), *format));
    }
}

#[test]
fn every_format_shows_diverged_seeds() {
    for policy in Divergence::ALL {
        // One policy is enough for JSON and LaTeX.
        let formats = Format::ALL.iter().filter(|format| {
            *policy == Divergence::Count || [Format::Text, Format::Markdown, Format::Csv].contains(format)
        });
        for format in formats {
            let name = format!("diverged_{}_{format}", policy.name());
            insta::assert_snapshot!(name, printed(&diverging(*policy).1, *format));
        }
    }
}

#[test]
fn a_cell_whose_seeds_all_diverged_shows_it_under_every_policy() {
    for policy in Divergence::ALL {
        let mut sweep = single();
        sweep.table.diverged = *policy;
        let text = printed(&table(&sweep, &[vec![DIVERGED; 5]]), Format::Text);
        assert!(text.contains("cce   diverged\n"), "{text}");
    }
}

#[test]
fn headers_of_two_levels_are_printed() {
    for format in [Format::Text, Format::Markdown, Format::Latex] {
        insta::assert_snapshot!(format!("two_levels_{format}"), printed(&two_levels(), format));
    }
}

#[test]
fn a_plain_metric_has_the_digits_of_its_deviation() {
    let mut sweep = three_by_two();
    sweep.table.metric = Metric::ValidationLoss;
    let means = [230.259, 81.5, 64.03, 41.7, 39.9, 40.0].map(|mean| around(mean, mean / 40.0));
    insta::assert_snapshot!(printed(&table(&sweep, &means), Format::Text));
}

#[test]
fn without_columns_the_metric_heads_the_only_one() {
    let mut sweep = sweep(&[CCE, MAE], &[UNIFORM]);
    sweep.table.columns = Vec::new();
    let table = table(&sweep, &[around(80.0, 1.0), around(90.0, 1.0)]);
    insta::assert_snapshot!(printed(&table, Format::Text));
    assert!(printed(&table, Format::Markdown).contains("| loss | test_accuracy |"));
}

#[test]
fn a_cell_without_the_metric_is_not_applicable() {
    let mut sweep = sweep(&[CCE], &[Noise::None, UNIFORM]);
    sweep.table.metric = Metric::NoisyAccuracy;
    let table = table(&sweep, &[vec![Status::Finished(None); 5], around(30.0, 1.0)]);
    let text = printed(&table, Format::Text);
    assert!(text.contains("n/a   30.00 ± 1.00") && text.contains("n/a  these jobs have no such metric"), "{text}");
}

#[test]
fn one_seed_is_shown_without_a_deviation() {
    let mut sweep = single();
    sweep.seeds = vec![7];
    let text = printed(&table(&sweep, &[finished(&[0.8927])]), Format::Text);
    assert!(
        text.contains("test_accuracy (%) by noise at final: one seed\n") && text.contains("cce   89.27\n"),
        "{text}"
    );
}

#[test]
fn a_cell_that_lacks_seeds_shows_its_n() {
    let table = table(&single(), &[finished(&[0.8, 0.9])]);
    assert!(printed(&table, Format::Text).contains("85.00 ± 7.07 (n=2)"));
    assert!(printed(&table, Format::Markdown).contains("85.00 ± 7.07 (n=2)"));
    assert!(printed(&table, Format::Latex).contains("$85.00 \\pm 7.07$ ($n=2$)"));
    assert!(printed(&table, Format::Json).contains("\"n\": 2"));
}

#[test]
fn the_legend_omits_signs_that_do_not_occur() {
    let text = printed(&complete(), Format::Text);
    assert!(!text.contains('†') && !text.contains("n=k") && !text.contains("partial"), "{text}");
}

#[test]
fn emphasis_surrounds_the_best_without_shifting_columns() {
    let text = render(&complete(), Format::Text, Emphasis { start: "<b>", end: "</b>" });
    assert!(text.contains("<b>85.27 ± 0.41</b>"), "{text}");
    assert_eq!(text.replace("<b>", "").replace("</b>", ""), printed(&complete(), Format::Text));
}

#[test]
fn wide_characters_keep_the_columns_aligned() {
    let mut table = complete();
    table.rows.labels[1] = vec!["損失".to_owned()];
    let text = printed(&table, Format::Text);
    assert!(text.contains("cce   78.24") && text.contains("損失  83.67"), "{text}");
}

#[test]
fn csv_quotes_special_characters_and_reads_back() {
    let mut table = complete();
    let label = "a \"b\", c\nd";
    table.cells[0][0].as_mut().unwrap().labels.insert("loss".to_owned(), label.to_owned());
    let text = printed(&table, Format::Csv);
    assert!(text.contains("\"a \"\"b\"\", c\nd\""));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 30);
    assert_eq!(&records[0][0], label);
    let value: f64 = records[0][8].parse().unwrap();
    assert_eq!(Some(value), table.cells[0][0].as_ref().unwrap().seeds[0].status.value(), "every digit");
}

#[test]
fn a_sweep_without_cells_prints_in_every_format() {
    let mut sweep = sweep(&[], &[]);
    for columns in [paths(&["noise.kind", "noise.rate"]), Vec::new()] {
        sweep.table.columns = columns;
        for format in Format::ALL {
            assert!(!printed(&table(&sweep, &[]), *format).is_empty());
        }
    }
}

#[test]
fn a_format_is_found_by_its_name() {
    for format in Format::ALL {
        assert_eq!(Format::named(format.name()), Some(*format));
    }
    assert_eq!(Format::named("html"), None);
}

#[test]
fn contradictory_json_is_rejected() {
    let text = printed(&partial(), Format::Json).replace("\"infrastructure\"", "null");
    let error = serde_json::from_str::<Table>(&text).unwrap_err().to_string();
    assert!(error.contains("\"failed\""), "{error}");
}

proptest! {
    #[test]
    fn a_table_survives_a_round_trip_through_json(values in prop::collection::vec(0.0..=1.0f64, 30)) {
        let statuses: Vec<_> = values.chunks(5).map(finished).collect();
        let diverging = Divergence::ALL.iter().map(|policy| diverging(*policy).1);
        for table in [table(&three_by_two(), &statuses), partial(), two_levels()].into_iter().chain(diverging) {
            prop_assert_eq!(&serde_json::from_str::<Table>(&printed(&table, Format::Json)).unwrap(), &table);
        }
    }
}
