//! Device selection and slot counts on simulated hosts.

use super::devices::MAX_LANES;
use super::*;
use crate::host::{Host, SlotRequest};
use plusminus_cuda::{DeviceError, GpuInfo, Survey};
use plusminus_engines::{EngineKind, ExecutionOptions};
use plusminus_trainer::MemoryEstimate;
use std::num::{NonZeroU32, NonZeroUsize};

fn found(number: usize) -> GpuInfo {
    GpuInfo { number, name: "NVIDIA H200".into(), memory: 140 << 30, architecture: 90, uuid: format!("GPU-{number}") }
}

fn inventory(gpus: usize) -> Inventory {
    let survey = Survey { driver: Some("570.86".into()), cuda: [12, 8], gpus: (0..gpus).map(found).collect() };
    Inventory { survey: Ok(Some(survey)), libraries: Ok(None), architectures: vec![80, 90] }
}

fn numbers(devices: &Devices) -> Vec<u32> {
    match devices {
        Devices::Gpus(gpus, _) => gpus.iter().map(|gpu| gpu.number).collect(),
        Devices::Processor(_) => panic!("{devices:?}"),
    }
}

#[test]
fn a_device_selection_is_parsed_and_displayed() {
    for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:3,cuda:1"] {
        assert_eq!(text.parse::<DeviceSelection>().unwrap().to_string(), text);
    }
    for (text, expected) in [
        ("gpu", "unknown device `gpu`"),
        ("cuda:0,cuda:0", "cuda:0 is given twice"),
        ("cuda:0,cpu", "start two workers"),
        ("", "unknown device ``"),
    ] {
        let error = text.parse::<DeviceSelection>().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn all_gpus_are_used_unless_some_are_named() {
    assert_eq!(numbers(&inventory(2).select(&DeviceSelection::Auto, None).unwrap()), [0, 1]);
    assert_eq!(numbers(&inventory(2).select(&DeviceSelection::Gpus, None).unwrap()), [0, 1]);
    assert_eq!(numbers(&inventory(3).select(&DeviceSelection::Named(vec![2, 0]), None).unwrap()), [2, 0]);
    assert_eq!(inventory(2).select(&DeviceSelection::Cpu, None).unwrap(), Devices::Processor(None));
}

#[test]
fn without_a_gpu_the_cpu_is_used_unless_gpus_were_requested() {
    let without = |why: &str| Err::<(), _>(DeviceError::Missing(why.into()));
    let broken = without("the driver is of another version");
    let inventories = [
        (Inventory { survey: Ok(None), ..inventory(0) }, "no NVIDIA driver found"),
        (inventory(0), "shows no GPU"),
        (
            Inventory { libraries: without("NVRTC is missing").map(|()| None), ..inventory(1) },
            "found a GPU, but NVRTC is missing",
        ),
        (Inventory { survey: broken.map(|()| None), ..inventory(0) }, "the driver is of another version"),
        (Inventory { architectures: vec![75], ..inventory(1) }, "cannot compile for NVIDIA H200 (sm_90)"),
    ];
    for (inventory, why) in inventories {
        match inventory.clone().select(&DeviceSelection::Auto, None).unwrap() {
            Devices::Processor(Some(reason)) => assert!(reason.contains(why), "{reason}"),
            other => panic!("{other:?}"),
        }
        let error = inventory.select(&DeviceSelection::Gpus, None).unwrap_err().to_string();
        assert!(error.starts_with("cannot use --device cuda: ") && error.contains(why), "{error}");
    }
}

#[test]
fn a_gpu_without_compiler_support_is_skipped_with_a_warning() {
    let mut mixed = inventory(2);
    if let Ok(Some(survey)) = &mut mixed.survey {
        (survey.gpus[0].architecture, survey.gpus[0].name) = (120, "NVIDIA RTX 5090".into());
    }
    let Devices::Gpus(gpus, Some(warning)) = mixed.select(&DeviceSelection::Auto, None).unwrap() else { panic!() };
    assert_eq!(gpus.iter().map(|gpu| gpu.number).collect::<Vec<_>>(), [1]);
    assert!(warning.contains("cannot compile for NVIDIA RTX 5090 (sm_120)"), "{warning}");
}

#[test]
fn the_candle_engine_uses_the_cpu_even_with_gpus() {
    let candle = Some(EngineKind::Candle);
    assert_eq!(inventory(2).select(&DeviceSelection::Auto, candle).unwrap(), Devices::Processor(None));
    let error = inventory(2).select(&DeviceSelection::Gpus, candle).unwrap_err().to_string();
    assert!(error.contains("--device cpu") && error.contains("--engine fused"), "{error}");
}

#[test]
fn an_unknown_gpu_is_reported_with_the_usable_ones() {
    let error = inventory(2).select(&DeviceSelection::Named(vec![0, 5]), None).unwrap_err().to_string();
    assert_eq!(error, "cannot use --device cuda:0,cuda:5: cuda:5 not found; usable GPUs: cuda:0, cuda:1");
}

#[test]
fn cores_jobs_and_memory_limit_the_slots_of_a_gpu() {
    let devices = inventory(2).select(&DeviceSelection::Auto, None).unwrap();
    let slots = |cores: usize, request: SlotRequest, need: Option<usize>| {
        let host = Host { cores: NonZeroUsize::new(cores).unwrap(), memory: None };
        let equipment = devices.equip(&host, request, ExecutionOptions::default(), &|_| need.map(MemoryEstimate));
        equipment.iter().map(|equipment| equipment.device.slots).collect::<Vec<_>>()
    };
    let none = SlotRequest::default();
    assert_eq!(slots(64, none, None), [MAX_LANES; 2]);
    assert_eq!(slots(8, none, None), [4, 4], "one core per job");
    assert_eq!(slots(1, none, None), [1, 1]);
    assert_eq!(slots(64, SlotRequest { jobs: Some(5), ..none }, None), [3, 3], "five jobs");
    assert_eq!(slots(64, none, Some(50 << 30)), [2, 2], "139 of 140 GiB");
    assert_eq!(slots(64, none, Some(500 << 30)), [1, 1], "at least one slot");
    assert_eq!(slots(1, SlotRequest { slots: NonZeroU32::new(20), ..none }, Some(50 << 30)), [20, 20], "as requested");
}

#[test]
fn every_gpu_gets_as_many_slots_as_the_smallest() {
    let mut mixed = inventory(2);
    if let Ok(Some(survey)) = &mut mixed.survey {
        survey.gpus[1].memory = 25 << 30;
    }
    let host = Host { cores: NonZeroUsize::new(64).unwrap(), memory: None };
    let devices = mixed.select(&DeviceSelection::Auto, None).unwrap();
    let equipment =
        devices.equip(&host, SlotRequest::default(), ExecutionOptions::default(), &|_| Some(MemoryEstimate(8 << 30)));
    assert_eq!(equipment.iter().map(|equipment| equipment.device.slots).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn the_description_names_devices_slots_and_threads() {
    let host = Host { cores: NonZeroUsize::new(4).unwrap(), memory: None };
    let equip = |devices: &Devices| {
        describe(&devices.equip(&host, SlotRequest::default(), ExecutionOptions::default(), &|_| None))
    };
    assert_eq!(equip(&Devices::Processor(None)), ["4 jobs at once, one thread each"]);
    let two = equip(&inventory(2).select(&DeviceSelection::Auto, None).unwrap());
    assert_eq!(two[1], "cuda:1  NVIDIA H200, 140 GiB, driver 570.86: 2 jobs at once, one thread each");
}
