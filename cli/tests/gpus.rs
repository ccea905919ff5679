//! GPUs, as a stand-in for NVIDIA's libraries makes them up: the binary is the one that ships, its processes are real, and kernels run as
//! their twins.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Daemon, Place, children, eventually, signal};
use plusminus_stand_in::settings::{FAIL_AFTER, FAIL_ONCE, MEMORY};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Four jobs of a loss with a state of its own and one without.
const SWEEP: &str = "\
sweep: gpus
seeds: 2
base:
  dataset: fashion-mnist-10k
  model: cnn
  noise: {kind: uniform, rate: 0.4}
  optimizer: {name: adam, lr: 1e-3}
  epochs: 4
  batch_size: 16
  train_size: 64
  test_size: 32
  validation: 0.5
grid:
  loss: [cce, {name: truncated-gce, q: 0.7, k: 0.05, start: 2, every: 1}]
";
const JOBS: usize = 4;

/// The digest of each job's final weights, the engine, and how many attempts it took.
fn results(place: &Place) -> BTreeMap<String, (String, String, u32)> {
    let store = Connection::open(place.path().join(".plusminus/plusminus.sqlite")).unwrap();
    let question = "SELECT id, json_extract(facts, '$.weights'), json_extract(facts, '$.engine'), attempts FROM jobs";
    let mut rows = store.prepare(question).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)));
    rows.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn weights(place: &Place) -> BTreeMap<String, String> {
    results(place).into_iter().map(|(job, (weights, ..))| (job, weights)).collect()
}

/// What every sweep here must come to, whatever befalls it.
fn undisturbed() -> BTreeMap<String, String> {
    static WEIGHTS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let train = || {
        let place = Place::with_gpus(1, &[]);
        place.file("gpus.yaml", SWEEP);
        place.run(&["run", "gpus.yaml", "--slots", "1"]).good();
        let results = results(&place);
        let once_on_a_gpu = |(_, engine, attempts): &(String, String, u32)| engine.contains(" cuda ") && *attempts == 1;
        assert!(results.values().all(once_on_a_gpu), "{results:?}");
        weights(&place)
    };
    WEIGHTS.get_or_init(train).clone()
}

#[test]
fn a_sweep_is_trained_on_all_gpus_and_status_tells_of_them() {
    let place = Place::with_gpus(2, &[]);
    place.file("gpus.yaml", SWEEP);
    let (_coordinator, url) = place.coordinator();
    let _worker = place.start(&["worker", "--coordinator", &url, "--name", "w", "--slots", "2"]);
    place.run(&["submit", "gpus.yaml"]).good();
    let devices = || {
        let status: Value = serde_json::from_str(&place.run(&["status", "--output", "json"]).good()).unwrap();
        status["workers"][0]["devices"].as_array().cloned().unwrap_or_default()
    };
    eventually("sensors have been read", || devices().iter().filter(|gpu| gpu["load_percent"].is_u64()).count() == 2);
    let told = devices();
    for (number, gpu) in told.iter().enumerate() {
        assert_eq!((gpu["device"].as_str(), gpu["slots"].as_u64()), (Some(&*format!("cuda:{number}")), Some(2)));
        assert!(gpu["model"].as_str().is_some_and(|model| !model.is_empty()) && gpu["driver"].is_string(), "{gpu}");
        assert_eq!(gpu["memory_bytes"].as_u64(), Some(1 << 30), "{gpu}");
    }
    let text = place.run(&["status"]).good();
    assert!(text.contains("of 4 slots busy\n  cuda:0  ") && text.contains(" GiB in use"), "{text}");
    place.run(&["watch", "gpus"]).good();
    assert_eq!(weights(&place), undisturbed(), "on whichever GPU, and whatever beside it");
}

#[test]
fn a_runner_that_is_killed_costs_its_jobs_nothing_but_time() {
    let place = Place::with_gpus(1, &[]);
    place.file("gpus.yaml", SWEEP);
    let (_coordinator, url) = place.coordinator();
    let every = ["--checkpoint-every", "1epochs"];
    let worker = place.start(&[&["worker", "--coordinator", &url, "--name", "w", "--slots", "4"], &every[..]].concat());
    place.run(&["submit", "gpus.yaml"]).good();
    let epochs = || {
        let store = Connection::open(place.path().join(".plusminus/plusminus.sqlite")).unwrap();
        store.query_row("SELECT count(*) FROM epochs", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    eventually("an epoch is done", || epochs() > 0);
    let runners = children(worker.child.id());
    assert_eq!(runners.len(), 1, "one process for all of a GPU's slots");
    signal(runners[0], "KILL");
    place.run(&["watch", "gpus"]).good();
    let results = results(&place);
    assert!(results.values().any(|(_, _, attempts)| *attempts > 1), "{results:?}");
    assert_eq!(weights(&place), undisturbed());
}

#[test]
fn a_gpu_that_fails_a_process_is_used_by_another() {
    let expected = undisturbed();
    for slots in [1, 2] {
        let marker = tempfile::tempdir().unwrap();
        let once = marker.path().join("failed");
        let settings = [(FAIL_AFTER, "1500".to_owned()), (FAIL_ONCE, once.display().to_string())];
        let place = Place::with_gpus(1, &settings);
        place.file("gpus.yaml", SWEEP);
        let answer = place.run(&["run", "gpus.yaml", "--slots", &slots.to_string(), "--checkpoint-every", "1epochs"]);
        assert!(once.is_file(), "nothing has failed");
        answer.good();
        let results = results(&place);
        let again = results.values().filter(|(_, _, attempts)| *attempts > 1).count();
        assert!((1..=slots).contains(&again), "those that it had in hand: {results:?}");
        assert_eq!(weights(&place), expected);
        let store = Connection::open(place.path().join(".plusminus/plusminus.sqlite")).unwrap();
        let blamed = "SELECT count(*) FROM attempts WHERE ending = 'infrastructure'";
        assert_eq!(store.query_row(blamed, [], |row| row.get::<_, u32>(0)).unwrap(), 1, "one job is blamed");
    }
}

#[test]
fn memory_that_does_not_suffice_for_all_slots_is_shared_by_fewer_jobs() {
    // Enough for one job, and for a part of another.
    let place = Place::with_gpus(1, &[(MEMORY, (12_u64 << 20).to_string())]);
    place.file("gpus.yaml", SWEEP);
    let answer = place.run(&["run", "gpus.yaml", "--slots", "4"]);
    let store = Connection::open(place.path().join(".plusminus/plusminus.sqlite")).unwrap();
    let given_back = "SELECT count(*) FROM attempts WHERE ending = 'preempted' AND message LIKE '%memory%fewer%'";
    let given_back: u32 = store.query_row(given_back, [], |row| row.get(0)).unwrap();
    answer.good();
    assert!(given_back > 0, "all slots had room");
    assert_eq!(weights(&place).len(), JOBS);
    assert_eq!(weights(&place), undisturbed());
}

#[test]
fn what_there_is_not_is_told_and_the_processor_is_always_there() {
    let place = Place::with_gpus(2, &[]);
    place.file("gpus.yaml", SWEEP);
    let answer = place.run(&["run", "gpus.yaml", "--device", "cuda:1,cuda:7"]);
    assert_eq!(answer.code, Some(7), "{}", answer.stderr);
    assert!(answer.stderr.contains("cuda:7 not found; usable GPUs: cuda:0, cuda:1"), "{}", answer.stderr);
    let answer = place.run(&["worker", "--device", "cpu,cuda:0"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("start two workers"), "{}", answer.stderr);
    let hidden = |arguments: &[&str]| {
        let output = place.plusminus(arguments).env("CUDA_VISIBLE_DEVICES", "").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = hidden(&["run", "gpus.yaml", "--device", "cuda"]);
    assert!(code == Some(7) && told.contains("shows no GPU"), "{told}");
    let (code, told) = hidden(&["run", "gpus.yaml"]);
    assert!(code == Some(0) && told.contains("training on the processor: the NVIDIA driver shows no GPU"), "{told}");
    assert!(results(&place).values().all(|(_, engine, _)| engine.contains(" cpu")));
}

#[test]
fn what_gpus_alone_train_is_refused_without_one_and_trained_with_one() {
    let place = Place::with_gpus(1, &[]);
    place.file(
        "gpus.yaml",
        SWEEP.replace("  loss: [", "  precision: [f32, bf16]\n  loss: [").replace("seeds: 2", "seeds: 1"),
    );
    let answer = place.run(&["run", "gpus.yaml", "--device", "cpu"]);
    assert_eq!(answer.code, Some(7), "{}", answer.stderr);
    assert!(answer.stderr.contains("`precision: bf16`, in which GPUs alone train"), "{}", answer.stderr);
    place.run(&["run", "gpus.yaml", "--nondeterministic"]).good();
    let engines: Vec<String> = results(&place).into_values().map(|(_, engine, _)| engine).collect();
    assert_eq!(engines.iter().filter(|engine| engine.contains(" bf16")).count(), 2, "{engines:?}");
    assert!(engines.iter().all(|engine| engine.contains("nondeterministic")), "{engines:?}");
}

#[test]
fn a_worker_finds_its_gpus_anew_and_the_order_is_that_of_the_variable() {
    let place = Place::with_gpus(3, &[]);
    let (_coordinator, url) = place.coordinator();
    let mut command = place.plusminus(&["worker", "--coordinator", &url, "--name", "w", "-v"]);
    let _worker = Daemon::of(command.env("CUDA_VISIBLE_DEVICES", "2,0"));
    let status = || place.run(&["status"]).good();
    eventually("the worker is there", || status().contains("worker w "));
    let text = status();
    assert!(text.contains("  cuda:0  ") && text.contains("  cuda:1  ") && !text.contains("  cuda:2  "), "{text}");
}
