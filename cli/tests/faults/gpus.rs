//! GPUs, simulated by a stand-in for NVIDIA's libraries. Binary and processes are real, and kernels run as their twins on the CPU.

use crate::common::{Daemon, Place, children, eventually, signal};
use plusminus_stand_in::settings::{FAIL_AFTER, FAIL_ONCE, MEMORY};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Two losses, one of them with state, and two seeds: four jobs.
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

/// Returns each job's digest of the final weights, engine and number of attempts.
fn results(place: &Place) -> BTreeMap<String, (String, String, u32)> {
    let store = place.store();
    let sql = "SELECT id, json_extract(facts, '$.weights'), json_extract(facts, '$.engine'), attempts FROM jobs";
    let mut rows = store.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)));
    rows.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// Returns the weights that every test's sweep must end with: those of an undisturbed run.
fn undisturbed() -> BTreeMap<String, String> {
    static WEIGHTS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let train = || {
        let place = Place::with_gpus(1, &[]);
        place.file("gpus.yaml", SWEEP);
        place.run(&["run", "gpus.yaml", "--slots", "1"]).good();
        let results = results(&place);
        let once_on_a_gpu = |(_, engine, attempts): &(String, String, u32)| engine.contains(" cuda ") && *attempts == 1;
        assert!(results.values().all(once_on_a_gpu), "{results:?}");
        place.weights()
    };
    WEIGHTS.get_or_init(train).clone()
}

#[test]
fn a_sweep_trains_on_all_gpus_and_status_shows_them() {
    let place = Place::with_gpus(2, &[]);
    let (_coordinator, url) = place.coordinator();
    let _worker = place.worker(&url, "w", &["--slots", "2"]);
    place.submit("gpus", SWEEP);
    let devices = || {
        let status: Value = serde_json::from_str(&place.run(&["status", "--output", "json"]).good()).unwrap();
        status["workers"][0]["devices"].as_array().cloned().unwrap_or_default()
    };
    eventually("sensors have been read", || devices().iter().filter(|gpu| gpu["load_percent"].is_u64()).count() == 2);
    for (number, gpu) in devices().iter().enumerate() {
        assert_eq!((gpu["device"].as_str(), gpu["slots"].as_u64()), (Some(&*format!("cuda:{number}")), Some(2)));
        assert!(gpu["model"].as_str().is_some_and(|model| !model.is_empty()) && gpu["driver"].is_string(), "{gpu}");
        assert_eq!(gpu["memory_bytes"].as_u64(), Some(1 << 30), "{gpu}");
    }
    let text = place.run(&["status"]).good();
    assert!(text.contains("of 4 slots busy\n  cuda:0  ") && text.contains(" GiB in use"), "{text}");
    place.run(&["watch", "gpus"]).good();
    assert_eq!(place.weights(), undisturbed(), "results depend neither on the GPU nor on other jobs there");
}

#[test]
fn a_killed_gpu_runner_loses_nothing_but_time() {
    let place = Place::with_gpus(1, &[]);
    let (_coordinator, url) = place.coordinator();
    let worker = place.worker(&url, "w", &["--slots", "4", "--checkpoint-every", "1epochs"]);
    place.submit("gpus", SWEEP);
    place.wait_for_an_epoch();
    let runners = children(worker.id());
    assert_eq!(runners.len(), 1, "one process for all of a GPU's slots");
    signal(runners[0], "KILL");
    place.run(&["watch", "gpus"]).good();
    let results = results(&place);
    assert!(results.values().any(|(_, _, attempts)| *attempts > 1), "{results:?}");
    assert_eq!(place.weights(), undisturbed());
}

#[test]
fn a_gpu_whose_runner_fails_is_used_by_another_runner() {
    let expected = undisturbed();
    for slots in [1, 2] {
        let marker = tempfile::tempdir().unwrap();
        let once = marker.path().join("failed");
        let settings = [(FAIL_AFTER, "1500".to_owned()), (FAIL_ONCE, once.display().to_string())];
        let place = Place::with_gpus(1, &settings);
        place.file("gpus.yaml", SWEEP);
        let answer = place.run(&["run", "gpus.yaml", "--slots", &slots.to_string(), "--checkpoint-every", "1epochs"]);
        assert!(once.is_file(), "no call failed");
        answer.good();
        let results = results(&place);
        let again = results.values().filter(|(_, _, attempts)| *attempts > 1).count();
        assert!((1..=slots).contains(&again), "those that were running: {results:?}");
        assert_eq!(place.weights(), expected);
        let failed = place.query("SELECT count(*) FROM attempts WHERE ending = 'infrastructure'");
        assert_eq!(failed, "1", "the failure counts against one job");
    }
}

#[test]
fn fewer_jobs_share_a_gpu_without_memory_for_all_slots() {
    // Enough memory for one job and a part of another.
    let place = Place::with_gpus(1, &[(MEMORY, (12_u64 << 20).to_string())]);
    place.file("gpus.yaml", SWEEP);
    let answer = place.run(&["run", "gpus.yaml", "--slots", "4"]);
    answer.good();
    let preempted = "SELECT count(*) FROM attempts WHERE ending = 'preempted' AND message LIKE '%memory%fewer%'";
    assert_ne!(place.query(preempted), "0", "all slots had enough memory");
    assert_eq!(place.weights().len(), JOBS);
    assert_eq!(place.weights(), undisturbed());
}

#[test]
fn missing_gpus_are_reported_and_the_cpu_is_always_available() {
    let place = Place::with_gpus(2, &[]);
    place.file("gpus.yaml", SWEEP);
    let answer = place.run(&["run", "gpus.yaml", "--device", "cuda:1,cuda:7"]);
    assert_eq!(answer.code, Some(7), "{}", answer.stderr);
    assert!(answer.stderr.contains("cuda:7 not found"), "{}", answer.stderr);
    assert!(answer.stderr.contains("hint: usable GPUs: cuda:0, cuda:1"), "{}", answer.stderr);
    let answer = place.run(&["worker", "--device", "cpu,cuda:0"]);
    assert!(answer.code == Some(2) && answer.stderr.contains("start two workers"), "{}", answer.stderr);
    let hidden = |arguments: &[&str]| {
        let output = place.plusminus(arguments).env("CUDA_VISIBLE_DEVICES", "").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = hidden(&["run", "gpus.yaml", "--device", "cuda"]);
    assert!(code == Some(7) && text.contains("shows no GPU"), "{text}");
    let (code, text) = hidden(&["run", "gpus.yaml"]);
    assert!(code == Some(0) && text.contains("training on the CPU: the NVIDIA driver shows no GPU"), "{text}");
    assert!(results(&place).values().all(|(_, engine, _)| engine.contains(" cpu")));
}

#[test]
fn bf16_requires_a_gpu() {
    let place = Place::with_gpus(1, &[]);
    place.file(
        "gpus.yaml",
        SWEEP.replace("  loss: [", "  precision: [f32, bf16]\n  loss: [").replace("seeds: 2", "seeds: 1"),
    );
    let answer = place.run(&["run", "gpus.yaml", "--device", "cpu"]);
    assert_eq!(answer.code, Some(7), "{}", answer.stderr);
    assert!(answer.stderr.contains("`precision: bf16` requires a GPU"), "{}", answer.stderr);
    place.run(&["run", "gpus.yaml", "--nondeterministic"]).good();
    let engines: Vec<String> = results(&place).into_values().map(|(_, engine, _)| engine).collect();
    assert_eq!(engines.iter().filter(|engine| engine.contains(" bf16")).count(), 2, "{engines:?}");
    assert!(engines.iter().all(|engine| engine.contains("nondeterministic")), "{engines:?}");
}

#[test]
fn cuda_visible_devices_hides_and_orders_gpus() {
    let place = Place::with_gpus(3, &[]);
    let (_coordinator, url) = place.coordinator();
    let mut command = place.plusminus(&["worker", "--coordinator", &url, "--name", "w", "-v"]);
    let _worker = Daemon::start(command.env("CUDA_VISIBLE_DEVICES", "2,0"));
    let status = || place.run(&["status"]).good();
    eventually("the worker is connected", || status().contains("worker w "));
    let text = status();
    assert!(text.contains("  cuda:0  ") && text.contains("  cuda:1  ") && !text.contains("  cuda:2  "), "{text}");
}
