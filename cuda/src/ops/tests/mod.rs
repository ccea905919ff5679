//! Compares every kernel on the CPU with the crate `kernels` (bit for bit) or with sums in `f64`: for lengths that are not multiples of a
//! block, and on several grids. Then runs the same tests through the driver, on the stand-in.

mod convolution;
mod gather;
mod loss;
mod norm;
mod text;
mod values;

use super::*;
use crate::convolution::Convolution;
use crate::device::Recording;
use crate::gpu::Gpu;
use crate::memory::{HostBuffer, HostValues};
use crate::signature::Kind;
use crate::twin::Twin;
use plusminus_kernels::{Instructions, View};

/// A device that launches kernels without barriers on another grid than requested.
pub(super) struct Regrid {
    pub twin: Twin,
    pub blocks: u32,
    pub threads: u32,
}

impl Device for Regrid {
    fn name(&self) -> String {
        self.twin.name()
    }

    fn reproducibility_key(&self) -> String {
        self.twin.reproducibility_key()
    }

    fn allocate(&mut self, kind: Kind, length: usize) -> Result<DeviceMemory, DeviceError> {
        self.twin.allocate(kind, length)
    }

    fn free(&mut self, memory: DeviceMemory) -> Result<(), DeviceError> {
        self.twin.free(memory)
    }

    fn capacity(&self) -> usize {
        self.twin.capacity()
    }

    fn write(&mut self, values: HostValues<'_>, to: DeviceMemory) -> Result<(), DeviceError> {
        self.twin.write(values, to)
    }

    fn read(&self, from: DeviceMemory, values: HostBuffer<'_>) -> Result<(), DeviceError> {
        self.twin.read(from, values)
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        let waits = ["settle", "unsettle", "unsettle_bias", "determinant_invert"].contains(&launch.kernel);
        let (blocks, threads) = if waits { (launch.blocks, launch.threads) } else { (self.blocks, self.threads) };
        self.twin.launch(&Launch { blocks, threads, ..launch.clone() })
    }

    fn convolve(&mut self, convolution: &Convolution) -> Result<bool, DeviceError> {
        self.twin.convolve(convolution)
    }

    fn record(&mut self) -> Result<(), DeviceError> {
        self.twin.record()
    }

    fn recorded(&mut self) -> Result<Recording, DeviceError> {
        self.twin.recorded()
    }

    fn play(&mut self, recording: Recording) -> Result<(), DeviceError> {
        self.twin.play(recording)
    }

    fn forget(&mut self) {
        self.twin.forget();
    }
}

/// Set in the process that runs these tests through the driver.
const THROUGH_THE_DRIVER: &str = "PLUSMINUS_TESTS_THROUGH_THE_DRIVER";

/// Runs `work` on several grids, or through the driver, and panics unless all give the same bits. Returns the result.
pub(super) fn on_any_grid(work: impl Fn(&mut dyn Device) -> Vec<f32>) -> Vec<f32> {
    let found = work(&mut Twin::new());
    if std::env::var_os(THROUGH_THE_DRIVER).is_some() {
        let other = work(&mut Gpu::open(0, None).unwrap());
        assert_eq!(bits(&other), bits(&found), "through the driver");
        return found;
    }
    for (blocks, threads) in [(1, 1), (1, 32), (3, 7), (40, 96)] {
        let other = work(&mut Regrid { twin: Twin::new(), blocks, threads });
        assert_eq!(bits(&other), bits(&found), "{blocks} blocks of {threads} threads");
    }
    found
}

pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Pseudo-random values between −1 and 1, some of them zero.
pub(super) fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mix = |mut h: u32| {
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        h ^ (h >> 16)
    };
    let value = |i: usize| (mix(mix(seed).wrapping_add(i as u32)) >> 12) as f32 / (1 << 19) as f32 - 1.0;
    (0..count).map(|i| if i % 13 == 5 { 0.0 } else { value(i) }).collect()
}

/// Memory with these values.
pub(super) fn upload(device: &mut dyn Device, values: &[f32]) -> DeviceMemory {
    let memory = device.allocate(Kind::Floats, values.len()).unwrap();
    device.upload(values, memory).unwrap();
    memory
}

/// Memory filled with NaN.
pub(super) fn uninitialised(device: &mut dyn Device, length: usize) -> DeviceMemory {
    upload(device, &vec![f32::NAN; length])
}

pub(super) fn read(device: &dyn Device, memory: DeviceMemory) -> Vec<f32> {
    let mut values = vec![0.0; memory.len()];
    device.download(memory, &mut values).unwrap();
    values
}

/// Views with or without scale and shift, rectified or not.
pub(super) struct Views {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Views {
    pub fn new(channels: usize) -> Self {
        Views { scale: noise(91, channels), shift: noise(92, channels) }
    }

    pub fn of_kernels(&self, affine: bool, rectify: bool) -> View<'_> {
        View { affine: affine.then_some((&self.scale, &self.shift)), rectify }
    }

    pub fn of_device(&self, device: &mut dyn Device, values: &[f32], affine: bool, rectify: bool) -> TensorView {
        let values = upload(device, values);
        let [scale, shift] = [&self.scale, &self.shift].map(|factors| affine.then(|| upload(device, factors)));
        TensorView { values, scale, shift, rectify }
    }
}

pub(super) const VIEWS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

pub(super) fn best() -> Instructions {
    Instructions::best()
}

#[cfg(target_os = "linux")]
#[test]
fn all_kernels_give_the_same_results_through_the_driver() {
    let mut again = plusminus_stand_in::program(std::env::current_exe().unwrap());
    again.args(["ops::tests", "--skip", "through_the_driver"]).env(THROUGH_THE_DRIVER, "1");
    let output = again.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = stdout.lines().filter(|line| line.ends_with("... ok")).count();
    assert!(passed >= 20, "{passed} tests\n{stdout}");
}

#[test]
fn a_kernel_that_writes_outside_its_memory_is_detected() {
    let mut twin = Twin::new();
    let [from, to] = [upload(&mut twin, &[1.0; 8]), uninitialised(&mut twin, 4)];
    let number = |value| Argument::Int(value);
    let arguments = vec![Argument::Buffer(from), Argument::Buffer(to), number(0), number(5)];
    let launch = Launch { kernel: "give", blocks: 1, threads: 8, arguments };
    let error = twin.launch(&launch).unwrap_err();
    assert_eq!(error.to_string(), "give failed: the kernel wrote outside its memory");
}

#[test]
fn mismatched_lengths_are_refused_before_any_launch() {
    let mut twin = Twin::new();
    let [a, b] = [upload(&mut twin, &[1.0; 32]), uninitialised(&mut twin, 48)];
    let error = CopyOrAdd { values: a, total: b, add: false }.run(&mut twin).unwrap_err();
    assert_eq!(error.to_string(), "total: expected 32 values, found 48");
    let join = Join {
        first: TensorView::plain(a),
        second: Some(TensorView::plain(b)),
        rectify: false,
        output: a,
        channels: 16,
    };
    assert!(join.run(&mut twin).is_err());
    assert!(Average { samples: 1, pixels: 2, channels: 16 }.run(&mut twin, TensorView::plain(a), b).is_err());
    let windows = Windows { samples: 1, extent: [2, 1], kernel: [3, 3], stride: 1, padding: 0, channels: 16 };
    assert!(MaxPool { windows, places: b }.run(&mut twin, TensorView::plain(a), b).is_err());
    assert_eq!(twin.launches, 0);
}

#[test]
fn freed_memory_is_refused() {
    let mut twin = Twin::new();
    let memory = upload(&mut twin, &[1.0; 4]);
    twin.free(memory).unwrap();
    assert!(twin.upload(&[1.0; 4], memory).is_err() && twin.free(memory).is_err());
    assert!(twin.download(memory, &mut [0.0; 4]).is_err());
    assert!(CopyOrAdd { values: memory, total: memory, add: true }.run(&mut twin).is_err());
}

/// Calls everything that is allowed during a recording, and everything that is not.
fn record_and_play(device: &mut dyn Device) {
    let [one, total] = [upload(device, &[1.0; 5]), upload(device, &[0.0; 5])];
    device.record().unwrap();
    assert!(device.record().is_err(), "already recording");
    CopyOrAdd { values: one, total, add: true }.run(device).unwrap();
    let refused = [
        device.upload(&[2.0; 5], one),
        device.download(total, &mut [0.0; 5]),
        device.allocate(Kind::Floats, 1).map(|_| ()),
        device.free(one),
        device.play(Recording(0)),
    ];
    for refused in refused {
        assert!(refused.unwrap_err().to_string().ends_with("while launches are recorded"));
    }
    CopyOrAdd { values: one, total, add: true }.run(device).unwrap();
    let recording = device.recorded().unwrap();
    assert_eq!(read(device, total), [0.0; 5]);
    device.play(recording).unwrap();
    device.upload(&[3.0; 5], one).unwrap();
    device.play(recording).unwrap();
    assert_eq!(read(device, total), [8.0; 5]);
    device.forget();
    assert!(device.play(recording).is_err());
    assert!(device.recorded().is_err(), "not recording");
    CopyOrAdd { values: one, total, add: true }.run(device).unwrap();
    assert_eq!(read(device, total), [11.0; 5]);
}

#[test]
fn recorded_launches_execute_each_time_they_are_played() {
    record_and_play(&mut Twin::new());
}

#[cfg(target_os = "linux")]
#[test]
fn recorded_launches_execute_when_played_through_the_driver() {
    let name = "ops::tests::recorded_launches_execute_when_played_through_the_driver";
    plusminus_stand_in::test(name, &[], || record_and_play(&mut Gpu::open(0, None).unwrap()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_outside_memory_is_detected_through_the_driver() {
    let name = "ops::tests::a_write_outside_memory_is_detected_through_the_driver";
    plusminus_stand_in::test(name, &[], || {
        let mut gpu = Gpu::open(0, None).unwrap();
        let [from, to] = [upload(&mut gpu, &[1.0; 8]), uninitialised(&mut gpu, 4)];
        let arguments = vec![Argument::Buffer(from), Argument::Buffer(to), Argument::Int(0), Argument::Int(5)];
        gpu.launch(&Launch { kernel: "give", blocks: 1, threads: 8, arguments }).unwrap();
        let error = gpu.download(to, &mut [0.0; 4]).unwrap_err();
        assert!(error.to_string().contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{error}");
    });
}
