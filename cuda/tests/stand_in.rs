//! Tests of the calls to NVIDIA's libraries. Each test runs in its own process on the stand-in for these libraries. They check our calls, not
//! NVIDIA's libraries.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_cuda::ops::CopyOrAdd;
use plusminus_cuda::{Cache, Device, DeviceError, DeviceMemory, Gpu, Kind, Monitor, is_usable, survey};
use plusminus_stand_in::settings::{CONTEXT, FAIL_AFTER, FAIL_ONCE, GPUS, MEMORY, POOLS, START};
use plusminus_stand_in::{test, tests};

/// UUIDs of the stand-in's GPUs.
const FIRST: &str = "GPU-5374616e-642d-696e-2047-505500000000";
const SECOND: &str = "GPU-5374616e-642d-696e-2047-505500000001";

fn gpus() -> Vec<(usize, String)> {
    survey().unwrap().unwrap().gpus.into_iter().map(|gpu| (gpu.number, gpu.uuid)).collect()
}

fn on(device: &mut dyn Device, values: &[f32]) -> DeviceMemory {
    let memory = device.allocate(Kind::Floats, values.len()).unwrap();
    device.upload(values, memory).unwrap();
    memory
}

fn read(device: &dyn Device, memory: DeviceMemory) -> Result<Vec<f32>, DeviceError> {
    let mut values = vec![0.0; memory.len()];
    device.download(memory, &mut values).map(|()| values)
}

fn add(gpu: &mut Gpu, values: DeviceMemory, total: DeviceMemory) -> Result<(), DeviceError> {
    CopyOrAdd { values, total, add: true }.run(gpu)
}

#[test]
fn gpus_are_listed_with_name_memory_and_uuid() {
    test("gpus_are_listed_with_name_memory_and_uuid", &[(GPUS, "2"), (MEMORY, "4096")], || {
        let found = survey().unwrap().unwrap();
        assert_eq!((found.cuda, found.driver.as_deref()), ([12, 9], Some("575.57.08")));
        let [first, second] = &found.gpus[..] else { panic!("{found:?}") };
        assert_eq!((first.number, &*first.name, &*first.uuid), (0, "Stand-in GPU", FIRST));
        assert_eq!((second.number, &*second.uuid), (1, SECOND));
        assert_eq!((first.memory, first.architecture), (4096, 90));
    });
}

#[test]
fn cuda_visible_devices_orders_the_list() {
    test("cuda_visible_devices_orders_the_list", &[(GPUS, "2"), ("CUDA_VISIBLE_DEVICES", "1,0")], || {
        assert_eq!(gpus(), [(0, SECOND.to_owned()), (1, FIRST.to_owned())]);
        assert_eq!(Gpu::open(1, None).unwrap().name(), "Stand-in GPU");
    });
}

#[test]
fn cuda_visible_devices_accepts_a_uuid() {
    test("cuda_visible_devices_accepts_a_uuid", &[(GPUS, "2"), ("CUDA_VISIBLE_DEVICES", SECOND)], || {
        assert_eq!(gpus(), [(0, SECOND.to_owned())]);
    });
}

#[test]
fn hiding_all_gpus_gives_an_empty_list_and_no_error() {
    test("hiding_all_gpus_gives_an_empty_list_and_no_error", &[("CUDA_VISIBLE_DEVICES", "")], || {
        assert!(gpus().is_empty());
        let error = Gpu::open(0, None).err().unwrap();
        assert!(matches!(error, DeviceError::Missing(_)), "{error:?}");
        assert!(error.to_string().contains("CUDA_VISIBLE_DEVICES"), "{error}");
        assert!(!is_usable(0));
    });
}

#[test]
fn a_failing_driver_is_reported_with_its_error_and_a_remedy() {
    test("a_failing_driver_is_reported_with_its_error_and_a_remedy", &[(START, "803")], || {
        for error in [survey().unwrap_err(), Gpu::open(0, None).err().unwrap()] {
            let text = error.to_string();
            assert!(text.contains("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: system has"), "{text}");
            assert!(text.contains("reboot the host"), "{text}");
        }
    });
}

#[test]
fn the_error_for_a_missing_gpu_counts_the_existing_ones() {
    test("the_error_for_a_missing_gpu_counts_the_existing_ones", &[(GPUS, "2")], || {
        let error = Gpu::open(2, None).err().unwrap().to_string();
        assert!(error.contains("no cuda:2") && error.contains("2 GPUs"), "{error}");
    });
}

#[test]
fn a_monitor_reads_memory_in_use_and_all_of_it_is_freed() {
    test("a_monitor_reads_memory_in_use_and_all_of_it_is_freed", &[(GPUS, "2")], || {
        let monitor = Monitor::open().unwrap();
        let used = || monitor.read(SECOND).unwrap().memory_used;
        let before = monitor.read(SECOND).unwrap();
        assert_eq!((before.memory_used, before.memory_total), (0, 1 << 30));
        assert_eq!((before.load, before.temperature), (Some(51), Some(41)));
        let mut gpu = Gpu::open(1, None).unwrap();
        let memory = gpu.allocate(Kind::Doubles, 1000).unwrap();
        gpu.allocate(Kind::Ints, 10).unwrap();
        assert_eq!(used(), 8040);
        gpu.free(memory).unwrap();
        assert_eq!(used(), 40);
        drop(gpu);
        assert_eq!(used(), 0);
        assert_eq!(monitor.read("GPU-none"), None);
    });
}

#[test]
fn values_are_read_back_unchanged_and_other_memory_stays_zero() {
    tests("values_are_read_back_unchanged_and_other_memory_stays_zero", &[&[], &[(POOLS, "0")]], || {
        let mut gpu = Gpu::open(0, None).unwrap();
        let memory = gpu.allocate(Kind::Floats, 6).unwrap();
        gpu.upload(&[1.0, -0.0, f32::NAN], memory.part(2, 3)).unwrap();
        let found = read(&gpu, memory).unwrap().into_iter().map(f32::to_bits);
        assert!(found.eq([0.0, 0.0, 1.0, -0.0, f32::NAN, 0.0].map(f32::to_bits)));
        assert_eq!(read(&gpu, memory.part(6, 0)).unwrap(), []);
        let none = gpu.allocate(Kind::Floats, 0).unwrap();
        gpu.upload(&[], none).unwrap();
        gpu.free(none).unwrap();
        for wrong in [gpu.upload(&[1.0], memory), gpu.upload(&[1.0; 6], none), gpu.free(none)] {
            assert!(matches!(wrong, Err(DeviceError::InvalidArgument(_))), "{wrong:?}");
        }
    });
}

#[test]
fn out_of_memory_is_its_own_error_and_the_gpu_stays_usable() {
    let each: [&[_]; 2] = [&[(MEMORY, "4000")], &[(MEMORY, "4000"), (POOLS, "0")]];
    tests("out_of_memory_is_its_own_error_and_the_gpu_stays_usable", &each, || {
        let mut gpu = Gpu::open(0, None).unwrap();
        let held = on(&mut gpu, &[1.0; 500]);
        let wanted = 600 * size_of::<f32>();
        assert_eq!(gpu.allocate(Kind::Floats, 600), Err(DeviceError::OutOfMemory { wanted }));
        assert!(is_usable(0), "out of memory does not break the GPU");
        assert_eq!(read(&gpu, held).unwrap(), [1.0; 500]);
        gpu.free(held).unwrap();
        gpu.allocate(Kind::Floats, 600).unwrap();
    });
}

#[test]
fn an_illegal_access_breaks_the_gpu_for_the_process_and_no_other_gpu() {
    let settings = [(GPUS, "2"), (FAIL_AFTER, "1")];
    test("an_illegal_access_breaks_the_gpu_for_the_process_and_no_other_gpu", &settings, || {
        let mut gpu = Gpu::open(0, None).unwrap();
        let mut other = Gpu::open(1, None).unwrap();
        let [one, total] = [on(&mut gpu, &[1.0; 5]), on(&mut gpu, &[0.0; 5])];
        let kept = on(&mut other, &[7.0]);
        add(&mut gpu, one, total).unwrap();
        assert_eq!(read(&gpu, total).unwrap(), [1.0; 5]);
        assert!(is_usable(0) && is_usable(1));
        // A launch is only queued. The next synchronisation returns its error.
        add(&mut gpu, one, total).unwrap();
        let error = read(&gpu, total).unwrap_err();
        assert!(error.to_string().contains("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"), "{error}");
        assert!(gpu.allocate(Kind::Floats, 1).is_err() && add(&mut gpu, one, total).is_err());
        assert!(!is_usable(0));
        assert_eq!(read(&other, kept).unwrap(), [7.0]);
        assert!(is_usable(1));
        drop(gpu);
        assert!(Gpu::open(0, None).is_err());
    });
}

#[test]
fn a_failure_set_to_happen_once_spares_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("failed");
    let [after, once] = [(FAIL_AFTER, "0"), (FAIL_ONCE, file.to_str().unwrap())];
    let each: [&[_]; 2] = [&[after, once, ("FAILS", "1")], &[after, once, ("FAILS", "0")]];
    tests("a_failure_set_to_happen_once_spares_the_next_process", &each, || {
        let mut gpu = Gpu::open(0, None).unwrap();
        let one = on(&mut gpu, &[1.0; 5]);
        add(&mut gpu, one, one).unwrap();
        assert_eq!(read(&gpu, one).is_err(), std::env::var("FAILS").unwrap() == "1");
    });
}

#[test]
fn two_slots_of_one_gpu_do_not_disturb_each_other() {
    test("two_slots_of_one_gpu_do_not_disturb_each_other", &[], || {
        let slot = |start: f32| {
            let mut gpu = Gpu::open(0, None).unwrap();
            let [one, total] = [on(&mut gpu, &[1.0; 7]), on(&mut gpu, &[start; 7])];
            for round in 1..=200u8 {
                gpu.record().unwrap();
                add(&mut gpu, one, total).unwrap();
                let recording = gpu.recorded().unwrap();
                gpu.play(recording).unwrap();
                assert!(is_usable(0), "the check does not break the other slot's capture");
                let more = on(&mut gpu, &[2.0; 3]);
                assert_eq!(read(&gpu, total).unwrap(), [start + f32::from(round); 7]);
                gpu.free(more).unwrap();
                gpu.forget();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| slot(0.0));
            scope.spawn(|| slot(1000.0));
        });
    });
}

#[test]
fn a_gpu_may_move_between_threads() {
    test("a_gpu_may_move_between_threads", &[(GPUS, "2")], || {
        let mut gpus = [Gpu::open(0, None).unwrap(), Gpu::open(1, None).unwrap()];
        for round in [1.0, 2.0] {
            gpus = std::thread::spawn(move || {
                // One thread uses both GPUs in turn.
                for gpu in &mut gpus {
                    let one = on(gpu, &[round; 3]);
                    add(gpu, one, one).unwrap();
                    assert_eq!(read(gpu, one).unwrap(), [2.0 * round; 3]);
                }
                gpus
            })
            .join()
            .unwrap();
        }
    });
}

#[test]
fn memory_is_freed_from_any_thread() {
    let name = "memory_is_freed_from_any_thread";
    tests(name, &[&[(GPUS, "2")], &[(GPUS, "2"), (POOLS, "0")]], || {
        let monitor = Monitor::open().unwrap();
        // Keeps the contexts that the other GPUs share.
        let _kept = [Gpu::open(0, None).unwrap(), Gpu::open(1, None).unwrap()];
        let mut gpus = [Gpu::open(0, None).unwrap(), Gpu::open(1, None).unwrap()];
        let first = gpus.each_mut().map(|gpu| on(gpu, &[1.0; 10]));
        let _more = gpus.each_mut().map(|gpu| on(gpu, &[1.0; 20]));
        let used = || [FIRST, SECOND].map(|uuid| monitor.read(uuid).unwrap().memory_used);
        assert_eq!(used(), [120; 2]);
        gpus = std::thread::spawn(move || {
            gpus.each_mut().into_iter().zip(first).for_each(|(gpu, memory)| gpu.free(memory).unwrap());
            gpus
        })
        .join()
        .unwrap();
        assert_eq!(used(), [80; 2]);
        std::thread::spawn(move || drop(gpus)).join().unwrap();
        assert_eq!(used(), [0; 2]);
    });
}

#[test]
fn a_gpu_without_memory_for_a_context_is_reported_as_out_of_memory() {
    test(
        "a_gpu_without_memory_for_a_context_is_reported_as_out_of_memory",
        &[(MEMORY, "4096"), (CONTEXT, "5000")],
        || {
            assert_eq!(Gpu::open(0, None).err(), Some(DeviceError::OutOfMemory { wanted: 0 }));
        },
    );
}

#[test]
fn compiled_kernels_are_cached_and_a_broken_file_is_compiled_again() {
    test("compiled_kernels_are_cached_and_a_broken_file_is_compiled_again", &[], || {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned());
        let reproducibility_key = Gpu::open(0, Some(&cache)).unwrap().reproducibility_key();
        assert_eq!(reproducibility_key, "Stand-in GPU sm_90 nvrtc 12.999 own convolutions");
        let kept = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&kept, "broken").unwrap();
        Gpu::open(0, Some(&cache)).unwrap();
        assert!(std::fs::read(kept).unwrap().len() > 100);
    });
}

#[test]
fn without_nvrtc_a_gpu_is_listed_but_cannot_be_opened() {
    let directory = tempfile::tempdir().unwrap();
    let alone = plusminus_stand_in::directory_of(directory.path(), &[plusminus_stand_in::CUDA]);
    let settings = [("LD_LIBRARY_PATH", alone.to_str().unwrap())];
    test("without_nvrtc_a_gpu_is_listed_but_cannot_be_opened", &settings, || {
        assert_eq!(gpus(), [(0, FIRST.to_owned())]);
        // Unless NVRTC is installed on this host.
        if plusminus_cuda::compile::version().is_err() {
            let error = Gpu::open(0, None).err().unwrap();
            assert!(error.to_string().contains("no libnvrtc"), "{error}");
        }
        if Monitor::open().is_none() {
            assert_eq!(survey().unwrap().unwrap().driver, None);
        }
    });
}

#[test]
fn a_driver_without_a_required_function_is_an_error_not_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    // Any library that certainly exists, under the name of the driver's.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let other = maps.split_whitespace().find(|word| word.starts_with('/') && word.contains("libc.")).unwrap();
    std::os::unix::fs::symlink(other, directory.path().join("libcuda.so")).unwrap();
    let settings = [("LD_LIBRARY_PATH", directory.path().to_str().unwrap())];
    test("a_driver_without_a_required_function_is_an_error_not_a_panic", &settings, || {
        for error in [survey().unwrap_err(), Gpu::open(0, None).err().unwrap()] {
            let expected = "the NVIDIA driver is too old: it has no cuCtxGetCurrent; install 525 or later (CUDA 12)";
            assert_eq!(error.to_string(), expected);
        }
        assert!(!is_usable(0));
    });
}
