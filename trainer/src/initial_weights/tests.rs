use super::*;
use crate::data::DataDirectories;
use crate::train::tests::job;
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::methods::networks::{
    Convolution, Downsample, InitialWeights, Initialisation, Kernel, Layer, Model, Network, Shortcut, word_cnn,
};
use plusminus_core::outcome::Start;
use plusminus_core::random::{Stream, Streams};
use plusminus_engines::{Plan, Role, Weights};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use std::sync::Arc;

/// A small residual network: a stem, two stages of one block each, a classifier.
fn small(classes: usize) -> Network {
    let convolution = |input, output, extent, stride| {
        let kernel = Kernel::Square(extent);
        let convolution = Convolution { input, output, kernel, stride, padding: extent / 2, bias: false };
        vec![Layer::Convolution(convolution), Layer::BatchNorm(output)]
    };
    let block = |input, output, stride, shortcut| {
        let body =
            [convolution(input, output, 3, stride), vec![Layer::Relu], convolution(output, output, 3, 1)].concat();
        Layer::Residual { body, shortcut }
    };
    let mut layers = convolution(1, 4, 3, 1);
    layers.extend([
        Layer::Relu,
        block(4, 4, 1, Shortcut::Identity),
        Layer::Relu,
        block(4, 6, 2, Shortcut::Projection(convolution(4, 6, 1, 2))),
        Layer::Relu,
        Layer::GlobalAveragePool,
        Layer::Flatten,
        Layer::Linear { input: 6, output: classes },
    ]);
    let input = ImageShape { channels: 1, height: 8, width: 8 };
    let network = Network { input, classes, layers, initialisation: Initialisation::HeFanOut };
    network.check().unwrap();
    network
}

fn weights(network: &Network, seed: u64) -> Weights {
    let plan = Arc::new(Plan::of(network));
    let mut weights = plan.initial(&mut Streams::new(seed, seed).generator(Stream::Weights, 0));
    // Values that differ between arrays and that half precision represents exactly.
    let wholes = weights.values_mut().iter_mut().enumerate();
    wholes.for_each(|(i, value)| *value += (i % 7) as f32 / 4.0);
    for (i, value) in weights.values_mut().iter_mut().enumerate() {
        *value = if i % 2 == 0 { (*value * 4.0).round() / 4.0 } else { (value.abs() * 8.0).round() / 8.0 };
    }
    for entry in plan.entries().iter().filter(|entry| entry.role == Role::RunningVariance) {
        weights.values_mut()[entry.range.clone()].iter_mut().for_each(|value| *value = value.abs());
    }
    weights
}

/// An array of a file: name, element type, shape and bytes.
type Array = (String, Dtype, Vec<usize>, Vec<u8>);

/// The arrays of `weights`, renamed by `name`.
fn arrays(weights: &Weights, name: impl Fn(&str) -> String) -> Vec<Array> {
    let array = |entry: &plusminus_engines::WeightEntry| {
        let bytes = weights.values()[entry.range.clone()].iter().flat_map(|value| value.to_le_bytes()).collect();
        (name(&entry.name), Dtype::F32, entry.shape.clone(), bytes)
    };
    weights.plan().entries().iter().map(array).collect()
}

fn file(arrays: &[Array]) -> Vec<u8> {
    let views = arrays
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    serialize(views, None).unwrap()
}

/// Writes `bytes` to a file and reads it for `network`.
fn loaded(bytes: &[u8], network: &Network, random: Weights) -> Result<LoadedWeights, InitialWeightsError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.safetensors");
    std::fs::write(&path, bytes).unwrap();
    load(&path, network, random)
}

/// Torchvision's name for an array of the small network.
fn theirs(ours: &str) -> String {
    let (place, array) = ours.split_at(ours.rfind('.').unwrap());
    let place = match place {
        "0" => "conv1",
        "1" => "bn1",
        "3.body.0" => "layer1.0.conv1",
        "3.body.1" => "layer1.0.bn1",
        "3.body.3" => "layer1.0.conv2",
        "3.body.4" => "layer1.0.bn2",
        "5.body.0" => "layer2.0.conv1",
        "5.body.1" => "layer2.0.bn1",
        "5.body.3" => "layer2.0.conv2",
        "5.body.4" => "layer2.0.bn2",
        "5.shortcut.0" => "layer2.0.downsample.0",
        "5.shortcut.1" => "layer2.0.downsample.1",
        "9" => "fc",
        other => panic!("{other}"),
    };
    format!("{place}{array}")
}

#[test]
fn a_file_by_a_job_is_read() {
    let network = small(10);
    let (kept, random) = (weights(&network, 1), weights(&network, 2));
    let bytes = file(&arrays(&kept, str::to_owned));
    let found = loaded(&bytes, &network, random).unwrap();
    assert_eq!(found.weights, kept);
    let digest = blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(found.start, Start { digest, random_classifier: false });
    assert_eq!(from_safetensors(&bytes, kept.plan()).unwrap(), kept);
}

#[test]
fn torchvisions_names_are_read_and_its_batch_counters_ignored() {
    let network = small(10);
    let (kept, random) = (weights(&network, 1), weights(&network, 2));
    let mut arrays = arrays(&kept, theirs);
    for norm in ["bn1", "layer1.0.bn1", "layer2.0.downsample.1"] {
        arrays.push((format!("{norm}.num_batches_tracked"), Dtype::I64, vec![], vec![7; 8]));
    }
    // Another order than the network's.
    arrays.reverse();
    let bytes = file(&arrays);
    let found = loaded(&bytes, &network, random).unwrap();
    assert_eq!(found.weights, kept);
    assert_eq!(found.start.digest, blake3::hash(&bytes).to_hex().to_string());
    let refused = from_safetensors(&bytes, kept.plan()).unwrap_err();
    assert!(
        matches!(refused, InitialWeightsError::Missing { .. }),
        "weights of a parent job have the plan's names: {refused}"
    );
}

#[test]
fn half_precision_files_are_read() {
    let network = small(10);
    let (kept, random) = (weights(&network, 1), weights(&network, 2));
    for (dtype, of) in [
        (Dtype::BF16, (|value: f32| (value.to_bits() >> 16) as u16) as fn(f32) -> u16),
        (Dtype::F16, |value: f32| match value.to_bits() {
            0 => 0,
            bits => ((bits >> 16 & 0x8000) | ((bits >> 23 & 0xFF) - 112) << 10 | (bits >> 13 & 0x3FF)) as u16,
        }),
    ] {
        let mut arrays = arrays(&kept, str::to_owned);
        for (_, to, _, bytes) in &mut arrays {
            *to = dtype;
            let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes).abs());
            *bytes = values.flat_map(|value| of(value).to_le_bytes()).collect();
        }
        let found = loaded(&file(&arrays), &network, random.clone()).unwrap().weights;
        let expected: Vec<f32> = kept.values().iter().map(|value| value.abs()).collect();
        assert_eq!(found.values(), expected, "{dtype:?}");
    }
}

#[test]
fn a_classifier_for_other_classes_stays_random() {
    let (from, to) = (small(10), small(4));
    let (kept, random) = (weights(&from, 1), weights(&to, 2));
    for name in [theirs as fn(&str) -> String, str::to_owned] {
        let found = loaded(&file(&arrays(&kept, name)), &to, random.clone()).unwrap();
        assert!(found.start.random_classifier);
        for entry in found.weights.plan().entries() {
            let from = if entry.name.starts_with("9.") { &random } else { &kept };
            let own = from.plan().entries().iter().find(|own| own.name == entry.name).unwrap();
            assert_eq!(found.weights.values()[entry.range.clone()], from.values()[own.range.clone()], "{}", entry.name);
        }
    }
    let refused = from_safetensors(&file(&arrays(&kept, str::to_owned)), random.plan()).unwrap_err();
    assert!(
        matches!(refused, InitialWeightsError::Shape { .. }),
        "weights of a parent job must fit exactly: {refused}"
    );
}

/// The error for the small network's file after `change`, without the file's path.
fn problem(change: impl FnOnce(&mut Vec<Array>)) -> String {
    let network = small(10);
    let mut arrays = arrays(&weights(&network, 1), theirs);
    change(&mut arrays);
    let refused = loaded(&file(&arrays), &network, weights(&network, 2)).unwrap_err().to_string();
    let words = refused.split(' ').filter(|word| !word.ends_with("a.safetensors"));
    words.collect::<Vec<_>>().join(" ")
}

fn array<'a>(arrays: &'a mut [Array], name: &str) -> &'a mut Array {
    arrays.iter_mut().find(|array| array.0 == name).unwrap()
}

#[test]
fn an_array_that_does_not_fit_is_an_error_with_both_shapes() {
    let reshaped = |name: &'static str, shape: Vec<usize>| {
        problem(move |arrays| {
            let (_, _, to, bytes) = array(arrays, name);
            bytes.resize(4 * shape.iter().product::<usize>(), 0);
            *to = shape;
        })
    };
    let remedy = "; use a file for this network";
    assert_eq!(
        reshaped("conv1.weight", vec![4, 3, 3, 3]),
        format!("`conv1.weight` in has the shape [4, 3, 3, 3], expected [4, 1, 3, 3]{remedy}")
    );
    // Half a classifier, or one with other features, is not a classifier for other classes.
    assert_eq!(reshaped("fc.bias", vec![7]), format!("`fc.bias` in has the shape [7], expected [10]{remedy}"));
    assert_eq!(
        reshaped("fc.weight", vec![7, 5]),
        format!("`fc.weight` in has the shape [7, 5], expected [10, 6]{remedy}")
    );
    assert_eq!(
        problem(|arrays| arrays.retain(|array| array.0 != "layer2.0.bn2.running_var")),
        format!("has no array `layer2.0.bn2.running_var`, which the network needs{remedy}")
    );
    assert_eq!(
        problem(|arrays| arrays.push(("layer2.1.conv1.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]))),
        format!("has an array `layer2.1.conv1.weight`, which the network does not have{remedy}")
    );
    assert_eq!(
        problem(|arrays| {
            let (_, dtype, _, bytes) = array(arrays, "fc.bias");
            (*dtype, *bytes) = (Dtype::F64, vec![0; 80]);
        }),
        "`fc.bias` in has the type F64, expected F32, F16 or BF16; convert it"
    );
}

#[test]
fn a_value_that_is_not_finite_is_an_error() {
    let with = |name: &'static str, value: f32| {
        problem(move |arrays| array(arrays, name).3[8..12].copy_from_slice(&value.to_le_bytes()))
    };
    assert_eq!(
        with("layer1.0.conv2.weight", f32::NAN),
        "value 2 of `layer1.0.conv2.weight` in is NaN, expected a finite number; the training that wrote the file diverged"
    );
    assert!(with("fc.bias", f32::INFINITY).starts_with("value 2 of `fc.bias` in is inf"));
    assert!(with("bn1.running_var", -0.5).contains("expected a finite number that is not negative"));
}

#[test]
fn a_truncated_or_extended_file_is_an_error() {
    let network = small(10);
    let kept = weights(&network, 1);
    let whole = file(&arrays(&kept, str::to_owned));
    let refused = |bytes: &[u8]| match loaded(bytes, &network, kept.clone()) {
        Err(InitialWeightsError::Format { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    for length in (0..whole.len()).step_by(97).chain([7, 8, 9, whole.len() - 1]) {
        refused(&whole[..length]);
        assert!(from_safetensors(&whole[..length], kept.plan()).is_err());
    }
    let more = [whole.as_slice(), &[0]].concat();
    assert_eq!(refused(&more), format!("expected {} bytes, found {}", whole.len(), more.len()));
    assert_eq!(refused(&[]), "expected at least 8 bytes, found 0");
}

#[test]
fn a_header_that_contradicts_the_file_is_an_error() {
    let network = small(10);
    let random = weights(&network, 1);
    let with = |header: &str, size: u64| {
        let bytes = [&size.to_le_bytes(), header.as_bytes(), &[0; 16]].concat();
        match loaded(&bytes, &network, random.clone()) {
            Err(error @ InitialWeightsError::Format { .. }) => error.to_string(),
            other => panic!("{header}: {other:?}"),
        }
    };
    for size in [u64::MAX, u64::MAX - 7, i64::MAX as u64, 1 << 40, 18 << 20, 19] {
        assert!(with("{}", size).contains(&format!("its header claims {size}")));
    }
    let array = |shape: &str, from: u64, to: u64| {
        let header = format!(r#"{{"conv1.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#);
        with(&header, header.len() as u64)
    };
    array("[4]", 0, 17);
    array("[4]", 4, 20);
    array("[5]", 0, 16);
    array("[4]", 16, 0);
    array("[18446744073709551615,18446744073709551615]", 0, 16);
    array("[4611686018427387904,4]", 0, 0);
    array("[-1]", 0, 16);
    array("[4]", 0, u64::MAX);
    for header in ["", "{", "[]", "null", "{\"a\":1}", "\u{feff}{}", &"[".repeat(100_000), &"{\"a\":".repeat(10_000)] {
        with(header, header.len() as u64);
    }
    // Two arrays of one name that cover the file together.
    let twice = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#;
    with(twice, twice.len() as u64);
}

#[test]
fn no_change_of_a_header_byte_causes_a_panic() {
    let network = small(10);
    let random = weights(&network, 1);
    let whole = file(&arrays(&random, str::to_owned));
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in (0..header).step_by(3) {
        for byte in [0, b'9', b'"', 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            // Error or not, no panic.
            let _ = from_safetensors(&bytes, random.plan());
        }
    }
}

#[test]
fn every_directory_is_searched_and_the_digest_is_checked() {
    let network = small(10);
    let (kept, random) = (weights(&network, 1), weights(&network, 2));
    let bytes = file(&arrays(&kept, str::to_owned));
    let [empty, full] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    std::fs::create_dir(full.path().join("of")).unwrap();
    std::fs::write(full.path().join("of/a.safetensors"), &bytes).unwrap();
    // A directory of that name is not a match.
    std::fs::create_dir_all(empty.path().join("of/a.safetensors")).unwrap();
    let directories = DataDirectories { directories: vec![empty.path().to_owned(), full.path().to_owned()] };
    let find = |name: &str, blake3: Option<String>, directories: &DataDirectories| {
        find_and_load(&InitialWeights { file: name.to_owned(), blake3 }, directories, &network, random.clone())
    };
    let digest = blake3::hash(&bytes).to_hex().to_string();
    for blake3 in [None, Some(digest.clone())] {
        assert_eq!(find("of/a.safetensors", blake3, &directories).unwrap().weights, kept);
    }
    let other = find("of/a.safetensors", Some("0".repeat(64)), &directories).unwrap_err().to_string();
    assert!(other.contains(&format!("has the BLAKE3 digest {digest}, expected 0000")), "{other}");
    let absent = find("b.safetensors", None, &directories).unwrap_err().to_string();
    assert!(absent.starts_with("initial weights `b.safetensors` not found; searched "), "{absent}");
    assert!(absent.contains(&full.path().join("b.safetensors").display().to_string()), "{absent}");
    let nowhere = find("b.safetensors", None, &DataDirectories::default()).unwrap_err().to_string();
    assert!(nowhere.contains("not found: no `--datasets` directory was given"), "{nowhere}");
    let outside = find("../a.safetensors", None, &directories).unwrap_err();
    assert!(matches!(outside, InitialWeightsError::Name { .. }), "{outside}");
}

#[test]
fn a_job_starts_from_the_file_in_its_configuration() {
    use crate::data::DatasetCache;
    use crate::{TrainInputs, train};
    use plusminus_core::methods::optimizer::Optimizer;
    use plusminus_engines::ExecutionOptions;
    let directory = tempfile::tempdir().unwrap();
    let named = InitialWeights { file: "a.safetensors".to_owned(), blake3: None };
    let job = job(3, |configuration| {
        configuration.train_size = Some(200);
        // No step changes the weights.
        configuration.optimizer = Optimizer::Sgd { lr: 0.0, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        configuration.initial_weights = Some(named);
    });
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let kept = weights(&job.configuration.model.network(shape, 10).unwrap(), 1);
    let bytes = file(&arrays(&kept, str::to_owned));
    std::fs::write(directory.path().join("a.safetensors"), &bytes).unwrap();
    let cache = |directories| DatasetCache::new(DataDirectories { directories });
    let with = |directories| {
        let cache = cache(directories);
        train(&job, TrainInputs::new(&cache, ExecutionOptions::default()), &mut ())
    };
    let trained = with(vec![directory.path().to_owned()]).unwrap();
    assert_eq!(trained.weights.last.weights, kept);
    let digest = blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(trained.facts.start, Some(Start { digest, random_classifier: false }));
    let failure = with(vec![]).unwrap_err();
    assert_eq!(failure.kind, plusminus_core::outcome::FailureKind::UserError);
}

#[test]
fn every_kind_of_network_reads_its_own_file() {
    let image = ImageShape { channels: 3, height: 32, width: 32 };
    let models = [
        Model::Cnn { dropout: 0.5 },
        Model::Cnn8,
        Model::Resnet20 { shortcut: Downsample::Pad },
        Model::Resnet20 { shortcut: Downsample::Projection },
    ];
    let networks = models.map(|model| model.network(image, 10).unwrap());
    for network in networks.into_iter().chain([word_cnn(50, 8, 2, 0.5).unwrap()]) {
        let (kept, random) = (weights(&network, 1), weights(&network, 2));
        let found = loaded(&file(&arrays(&kept, str::to_owned)), &network, random).unwrap();
        assert_eq!(found.weights.digest(), kept.digest());
    }
}
