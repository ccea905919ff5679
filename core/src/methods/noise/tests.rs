use super::transition::dmi_case;
use super::*;
use crate::methods::dataset::Dataset;
use serde_json::json;

const DRAW: Draw = Draw::PerSample;

fn matrix(noise: &Noise) -> TransitionMatrix {
    noise.true_transition(&Dataset::FashionMnist).unwrap()
}

#[test]
fn uniform_noise_excludes_the_true_class_by_default() {
    let left_out = matrix(&Noise::uniform(0.6));
    assert!((left_out.row(3)[3] - 0.4).abs() < 1e-12 && (left_out.row(3)[0] - 0.6 / 9.0).abs() < 1e-12);
    let included = matrix(&Noise::Uniform { rate: 0.6, include_true_class: true, draw: DRAW });
    assert!((included.row(3)[3] - 0.46).abs() < 1e-12 && (included.row(3)[0] - 0.06).abs() < 1e-12);
}

#[test]
fn every_row_sums_to_one() {
    let mapped = Noise::ClassDependent { rate: 0.4, map: Some(vec![(0, 9), (9, 0)]), draw: DRAW };
    for noise in [Noise::None, Noise::uniform(0.6), Noise::class_dependent(0.3), mapped] {
        let matrix = matrix(&noise);
        (0..10).for_each(|i| assert!((matrix.row(i).iter().sum::<f64>() - 1.0).abs() < 1e-12));
    }
}

#[test]
fn fashion_mnist_confuses_the_papers_classes() {
    let matrix = matrix(&Noise::class_dependent(0.3));
    for (from, to) in [(9, 7), (7, 5), (2, 6), (4, 3), (3, 4)] {
        assert_eq!((matrix.row(from)[to], matrix.row(from)[from]), (0.3, 0.7));
    }
    assert_eq!(matrix.row(0)[0], 1.0);
}

#[test]
fn a_map_replaces_the_pairs_of_the_data_set() {
    let matrix = matrix(&Noise::ClassDependent { rate: 0.3, map: Some(vec![(0, 8)]), draw: DRAW });
    assert_eq!((matrix.row(0)[8], matrix.row(0)[0]), (0.3, 0.7));
    assert_eq!(matrix.row(9)[9], 1.0, "9 becomes 7 by the data set's list");
}

#[test]
fn a_map_equal_to_that_of_the_data_set_makes_no_other_cell() {
    let mapped = |map: &[(usize, usize)]| Noise::ClassDependent { rate: 0.3, map: Some(map.to_vec()), draw: DRAW };
    let written = |map: &[(usize, usize)]| mapped(map).normal_form(&Dataset::Cifar10);
    assert_eq!(written(&[(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)]), Noise::class_dependent(0.3));
    // DMI's list goes one way between cat and dog.
    let one_way = written(&[(9, 1), (2, 0), (4, 7), (3, 5)]);
    assert_eq!(one_way, mapped(&[(2, 0), (3, 5), (4, 7), (9, 1)]));
    assert_eq!(one_way, written(&[(3, 5), (4, 7), (9, 1), (2, 0)]), "the order of the pairs does not matter");
}

#[test]
fn a_matrix_is_used_unchanged() {
    let mut rows = vec![vec![0.1; 10]; 10];
    rows[4] = [vec![0.0; 9], vec![1.0]].concat();
    let noise = Noise::TransitionMatrix { matrix: rows.clone(), draw: DRAW };
    let matrix = matrix(&noise);
    assert!((0..10).all(|class| matrix.row(class) == rows[class]));
}

#[test]
fn the_cases_are_those_of_the_paper() {
    assert_eq!(dmi_case(1, 0.5), [[0.75, 0.25], [0.25, 0.75]]);
    assert_eq!(dmi_case(2, 0.5), [[0.5, 0.5], [0.0, 1.0]]);
    assert_eq!(dmi_case(3, 0.25), [[1.0, 0.0], [0.25, 0.75]]);
}

#[test]
fn cases_need_a_data_set_of_two_classes() {
    for dataset in Dataset::ALL {
        let found = Noise::DmiCase { case: 2, rate: 0.3, draw: DRAW }.true_transition(dataset);
        assert_eq!(found.is_ok(), dataset.classes() == 2, "{dataset:?}");
    }
}

#[test]
fn noise_without_a_matrix_is_an_error() {
    let refusal = |noise: Noise| noise.true_transition(&Dataset::Cifar10).unwrap_err();
    assert!(refusal(Noise::File { file: "a.txt".to_owned() }).contains("labels in a.txt"));
    assert!(refusal(Noise::File { file: "../a.txt".to_owned() }).contains("leads out of the directory"));
    assert!(refusal(Noise::OpenSet { rate: 0.4, draw: DRAW }).contains("cannot have open-set noise"));
}

#[test]
fn noise_that_corrupts_no_label_is_recognised() {
    let identity =
        |stay: f64| Noise::TransitionMatrix { matrix: vec![vec![stay, 1.0 - stay], vec![0.0, 1.0]], draw: DRAW };
    assert!(!Noise::None.corrupts() && !Noise::uniform(0.0).corrupts() && !identity(1.0).corrupts());
    assert!(Noise::class_dependent(0.1).corrupts() && identity(0.9).corrupts());
    assert!(Noise::File { file: "a.txt".to_owned() }.corrupts());
}

/// A change here makes stored results unreachable.
#[test]
fn the_canonical_form_omits_new_parameters_at_their_defaults() {
    let form = |noise: &Noise| serde_json::to_string(noise).unwrap();
    assert_eq!(form(&Noise::uniform(0.4)), r#"{"kind":"uniform","rate":0.4,"include_true_class":false}"#);
    assert_eq!(form(&Noise::class_dependent(0.4)), r#"{"kind":"class-dependent","rate":0.4}"#);
    let mapped = Noise::ClassDependent { rate: 0.4, map: Some(vec![(0, 1)]), draw: Draw::Exact };
    assert_eq!(form(&mapped), r#"{"kind":"class-dependent","rate":0.4,"map":[[0,1]],"draw":"exact"}"#);
    let case = Noise::DmiCase { case: 2, rate: 0.3, draw: DRAW };
    assert_eq!(form(&case), r#"{"kind":"dmi-case","case":2,"rate":0.3}"#);
    let open = Noise::OpenSet { rate: 0.4, draw: Draw::Exact };
    assert_eq!(form(&open), r#"{"kind":"open-set","rate":0.4,"draw":"exact"}"#);
    let rows = Noise::TransitionMatrix { matrix: vec![vec![1.0, 0.0], vec![0.5, 0.5]], draw: DRAW };
    assert_eq!(form(&rows), r#"{"kind":"transition-matrix","matrix":[[1.0,0.0],[0.5,0.5]]}"#);
    let file = Noise::File { file: "worst.txt".to_owned() };
    assert_eq!(form(&file), r#"{"kind":"file","file":"worst.txt"}"#);
    for noise in [Noise::None, Noise::uniform(0.4), mapped, case, open, rows, file] {
        assert_eq!(serde_json::from_str::<Noise>(&form(&noise)).unwrap(), noise);
    }
    assert!(serde_json::from_value::<Noise>(json!({"kind": "file", "file": "a", "rate": 0.1})).is_err());
}
