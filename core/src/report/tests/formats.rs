use super::sample::*;
use crate::job::Configuration;
use crate::methods::dataset::Dataset;
use crate::methods::losses::{Gce, Loss};
use crate::methods::noise::Noise;
use crate::metric::Metric;
use crate::report::{Emphasis, Format, Status, Table, latex, markdown, render};
use crate::sweep_file::{Cell, Divergence};
use proptest::prelude::*;

fn printed(table: &Table, format: Format) -> String {
    render(table, format, Emphasis::NONE)
}

/// Two levels of rows under two of columns, one cell excluded.
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
fn a_finished_table_in_every_format() {
    for format in Format::ALL {
        insta::assert_snapshot!(format!("complete_{format}"), printed(&complete(), *format));
    }
}

#[test]
fn a_table_on_its_way_in_every_format() {
    for format in Format::ALL {
        insta::assert_snapshot!(format!("partial_{format}"), printed(&partial(), *format));
    }
}

#[test]
fn a_table_says_what_comes_of_seeds_that_diverged_in_every_format() {
    for policy in Divergence::ALL {
        // Of JSON and LaTeX one is enough: the others say nothing else.
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
fn a_cell_all_of_whose_seeds_diverged_says_so_under_every_policy() {
    for policy in Divergence::ALL {
        let mut sweep = single();
        sweep.table.diverged = *policy;
        let text = printed(&table(&sweep, &[vec![DIVERGED; 5]]), Format::Text);
        assert!(text.contains("cce   diverged\n"), "{text}");
    }
}

#[test]
fn headers_of_two_levels_in_what_people_read() {
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
fn a_cell_without_the_metric_says_so() {
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
fn a_short_cell_shows_its_n_in_everything_that_prints_a_mean() {
    let table = table(&single(), &[finished(&[0.8, 0.9])]);
    assert!(printed(&table, Format::Text).contains("85.00 ± 7.07 (n=2)"));
    assert!(printed(&table, Format::Markdown).contains("85.00 ± 7.07 (n=2)"));
    assert!(printed(&table, Format::Latex).contains("$85.00 \\pm 7.07$ ($n=2$)"));
    assert!(printed(&table, Format::Json).contains("\"n\": 2"));
}

#[test]
fn signs_that_do_not_occur_are_not_explained() {
    let text = printed(&complete(), Format::Text);
    assert!(!text.contains('†') && !text.contains("n=k") && !text.contains("partial"), "{text}");
}

#[test]
fn emphasis_surrounds_the_best_and_moves_nothing() {
    let text = render(&complete(), Format::Text, Emphasis { start: "<b>", end: "</b>" });
    assert!(text.contains("<b>85.27 ± 0.41</b>"), "{text}");
    assert_eq!(text.replace("<b>", "").replace("</b>", ""), printed(&complete(), Format::Text));
}

#[test]
fn wide_signs_keep_the_columns_aligned() {
    let mut table = complete();
    table.rows.labels[1] = vec!["損失".to_owned()];
    let text = printed(&table, Format::Text);
    assert!(text.contains("cce   78.24") && text.contains("損失  83.67"), "{text}");
}

#[test]
fn latex_specials_are_escaped() {
    let escaped = latex::escaped(r"a_b%c&d#e$f{g}h~i^j\k<l>m|n");
    let expected = concat!(
        r"a\_b\%c\&d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k",
        r"\textless{}l\textgreater{}m\textbar{}n"
    );
    assert_eq!(escaped, expected);
    assert_eq!(latex::escaped("–"), "--");
    assert_eq!(latex::escaped("[flip]*"), "{[}flip]{*}", "no arguments of the line break before them");
}

#[test]
fn markdown_signs_are_escaped_where_they_are_signs() {
    assert_eq!(markdown::escaped("a|b*c`d"), r"a\|b\*c\`d");
    assert_eq!(markdown::escaped("test_accuracy _x_"), r"test_accuracy \_x\_");
}

#[test]
fn csv_quotes_what_needs_it_and_reads_back() {
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
fn a_format_has_one_name() {
    for format in Format::ALL {
        assert_eq!(Format::named(format.name()), Some(*format));
    }
    assert_eq!(Format::named("html"), None);
}

#[test]
fn json_that_contradicts_itself_is_refused() {
    let text = printed(&partial(), Format::Json).replace("\"infrastructure\"", "null");
    let error = serde_json::from_str::<Table>(&text).unwrap_err().to_string();
    assert!(error.contains("\"failed\""), "{error}");
}

proptest! {
    #[test]
    fn json_loses_nothing(values in prop::collection::vec(0.0..=1.0f64, 30)) {
        let statuses: Vec<_> = values.chunks(5).map(finished).collect();
        let diverging = Divergence::ALL.iter().map(|policy| diverging(*policy).1);
        for table in [table(&three_by_two(), &statuses), partial(), two_levels()].into_iter().chain(diverging) {
            prop_assert_eq!(&serde_json::from_str::<Table>(&printed(&table, Format::Json)).unwrap(), &table);
        }
    }
}
