//! What the host's side of training asks of a device, whichever that is: memory, copies, launches, and steps that are recorded once and
//! played again.
//!
//! There are two: a GPU behind CUDA's driver (`gpu`), and the processor, on which tests run the very same kernels (`twin`).
//! Launches are made by [`ops`](crate::ops) alone, which checks that kernels stay within what they are given; so nothing here is
//! `unsafe` for those who use it.

use crate::convolution::Convolution;
use crate::signature::{self, Kind, Signature};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What went wrong on a device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// The device's memory does not suffice.
    #[error("the device's memory is full{}; use fewer slots, a smaller batch or another device", asked(*.wanted))]
    OutOfMemory {
        /// Bytes that were asked for; 0 if it was for something of the driver's own.
        wanted: usize,
    },
    /// A library is not there that is needed.
    #[error("{0}")]
    Missing(String),
    /// A kernel does not compile.
    #[error("the kernels do not compile for {architecture}: {log}")]
    Compilation {
        /// Such as `sm_90`.
        architecture: String,
        /// The compiler's words.
        log: String,
    },
    /// The driver or a library refuses.
    #[error("{call} failed: {reason}")]
    Failed {
        /// What was tried.
        call: String,
        /// The library's words.
        reason: String,
    },
    /// A call that does not fit what it is given: a mistake in this program.
    #[error("{0}")]
    Unfit(String),
}

fn asked(wanted: usize) -> String {
    if wanted == 0 { String::new() } else { format!(": {wanted} bytes more were asked for") }
}

impl DeviceError {
    pub(crate) fn failed(call: impl Into<String>, reason: impl Into<String>) -> Self {
        DeviceError::Failed { call: call.into(), reason: reason.into() }
    }
}

/// That a device does not record while something is asked that is no launch.
pub(crate) fn at_once(recording: bool, what: &str) -> Result<(), DeviceError> {
    if recording { Err(DeviceError::Unfit(format!("{what} while launches are recorded"))) } else { Ok(()) }
}

/// Values in a device's memory: a handle, valid for the device that gave it until that is told to free the memory it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub(crate) block: usize,
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl Memory {
    /// How many values.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether they are of 16 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        self.kind == Kind::Halves
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Some of them: `length` values from number `start` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn part(&self, start: usize, length: usize) -> Memory {
        assert!(
            start.checked_add(length).is_some_and(|end| end <= self.length),
            "a part of {length} from {start} on within {}",
            self.length
        );
        Memory { start: self.start + start, length, ..*self }
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    Memory(Memory),
    /// A null pointer.
    Nothing,
    Int(i32),
    Float(f32),
}

/// A kernel that is to run, with its arguments: made by [`ops`](crate::ops) alone.
#[derive(Clone, Debug)]
pub struct Launch {
    pub(crate) kernel: &'static str,
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    pub(crate) arguments: Vec<Argument>,
}

/// Values that are copied to a device.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// For [`Kind::Floats`].
    Floats(&'a [f32]),
    /// For [`Kind::Doubles`].
    Doubles(&'a [f64]),
    /// For [`Kind::Ints`].
    Ints(&'a [i32]),
    /// For [`Kind::Bytes`].
    Bytes(&'a [u8]),
}

impl Values<'_> {
    /// Checks that `to` is of their kind and number.
    pub(crate) fn fit(&self, to: Memory) -> Result<(), DeviceError> {
        let (kind, count) = match self {
            Values::Floats(values) => (Kind::Floats, values.len()),
            Values::Doubles(values) => (Kind::Doubles, values.len()),
            Values::Ints(values) => (Kind::Ints, values.len()),
            Values::Bytes(values) => (Kind::Bytes, values.len()),
        };
        if (kind, count) == (to.kind, to.length) {
            return Ok(());
        }
        Err(DeviceError::Unfit(format!("{count} {kind:?} for {to:?}")))
    }
}

/// Room for values that are copied from a device.
#[derive(Debug)]
pub enum Room<'a> {
    /// Of [`Kind::Floats`].
    Floats(&'a mut [f32]),
    /// Of [`Kind::Doubles`].
    Doubles(&'a mut [f64]),
    /// Of [`Kind::Ints`].
    Ints(&'a mut [i32]),
    /// Of [`Kind::Bytes`].
    Bytes(&'a mut [u8]),
}

impl Room<'_> {
    /// Checks that `from` is of its kind and length.
    pub(crate) fn fits(&self, from: Memory) -> Result<(), DeviceError> {
        match self {
            Room::Floats(values) => Values::Floats(values).fit(from),
            Room::Doubles(values) => Values::Doubles(values).fit(from),
            Room::Ints(values) => Values::Ints(values).fit(from),
            Room::Bytes(values) => Values::Bytes(values).fit(from),
        }
    }
}

/// What a device has recorded, to be played again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording(pub(crate) usize);

/// A device with a queue of its own: what it is given is done in order.
pub trait Device: Send {
    /// What it is, such as `NVIDIA H100 80GB HBM3`.
    fn name(&self) -> String;

    /// What its results follow from, beside the program: its model and architecture and the libraries that compute for it, such as
    /// `NVIDIA H100 80GB HBM3 sm_90 nvrtc 12.9 cudnn 9.10.2`.
    fn kin(&self) -> String;

    /// Memory for so many values, all of them zero.
    ///
    /// # Errors
    /// That there is not so much.
    fn allocate(&mut self, kind: Kind, length: usize) -> Result<Memory, DeviceError>;

    /// Gives back the memory that `memory` is, or is a part of, after all that was asked for before.
    ///
    /// # Errors
    /// That it is none of this device's.
    fn free(&mut self, memory: Memory) -> Result<(), DeviceError>;

    /// Bytes of memory that it has in all.
    fn capacity(&self) -> usize;

    /// Copies values to the device.
    ///
    /// # Errors
    /// That they are of another kind, or not as many as there is memory for, or the driver's refusal.
    fn write(&mut self, values: Values<'_>, to: Memory) -> Result<(), DeviceError>;

    /// Copies values from the device, after all that was asked for before.
    ///
    /// # Errors
    /// What went wrong in any of that; or that they are of another kind, or not as many.
    fn read(&self, from: Memory, values: Room<'_>) -> Result<(), DeviceError>;

    /// [`Device::write`] of `f32`.
    ///
    /// # Errors
    /// As there.
    fn upload(&mut self, values: &[f32], to: Memory) -> Result<(), DeviceError> {
        self.write(Values::Floats(values), to)
    }

    /// [`Device::read`] of `f32`.
    ///
    /// # Errors
    /// As there.
    fn download(&self, from: Memory, values: &mut [f32]) -> Result<(), DeviceError> {
        self.read(from, Room::Floats(values))
    }

    /// Puts a kernel into the queue.
    ///
    /// # Errors
    /// That its arguments are not what it takes, or the driver's refusal.
    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError>;

    /// Computes a convolution by a library that is at hand, in the precision that it says; whether there is one that does.
    ///
    /// # Errors
    /// The library's refusal.
    fn convolve(&mut self, convolution: &Convolution) -> Result<bool, DeviceError>;

    /// From now on launches are recorded and not done, until [`Device::recorded`]. Meanwhile nothing else may be asked: what is copied or
    /// allocated is no part of a recording.
    ///
    /// # Errors
    /// That it cannot record, or does already.
    fn record(&mut self) -> Result<(), DeviceError>;

    /// Ends a recording.
    ///
    /// # Errors
    /// That it cannot be played, or there is none. Launches are done again at once from now on.
    fn recorded(&mut self) -> Result<Recording, DeviceError>;

    /// Puts all that was recorded into the queue.
    ///
    /// # Errors
    /// That there is no such recording, or the driver's refusal.
    fn play(&mut self, recording: Recording) -> Result<(), DeviceError>;

    /// Lets all recordings go.
    fn forget(&mut self);
}

/// Sources of the kernels, with the names of their files.
pub(crate) const SOURCES: [(&str, &str); 11] = [
    ("elementwise.cu", include_str!("kernels/elementwise.cu")),
    ("norm.cu", include_str!("kernels/norm.cu")),
    ("pool.cu", include_str!("kernels/pool.cu")),
    ("convolution.cu", include_str!("kernels/convolution.cu")),
    ("precision.cu", include_str!("kernels/precision.cu")),
    ("text.cu", include_str!("kernels/text.cu")),
    ("update.cu", include_str!("kernels/update.cu")),
    ("gather.cu", include_str!("kernels/gather.cu")),
    // The losses of a batch use what the losses of rows do.
    ("loss.cu", include_str!("kernels/loss.cu")),
    ("loss_determinant.cu", include_str!("kernels/loss_determinant.cu")),
    ("loss_latent.cu", include_str!("kernels/loss_latent.cu")),
];

/// What every kernel takes, by its name.
static SIGNATURES: LazyLock<BTreeMap<String, Signature>> = LazyLock::new(|| {
    // Sources that do not read are found by a test; a kernel of theirs is then unknown.
    let all = SOURCES.iter().flat_map(|(_, source)| signature::read(source).unwrap_or_default());
    all.map(|signature| (signature.name.clone(), signature)).collect()
});

/// What every source begins with.
pub(crate) const COMMON: &str = include_str!("kernels/common.h");

/// What a kernel takes.
#[cfg(feature = "twin")]
pub(crate) fn takes(kernel: &str) -> Option<&'static [Kind]> {
    SIGNATURES.get(kernel).map(|signature| &*signature.kinds)
}

/// The names of all kernels.
pub(crate) fn kernels() -> impl Iterator<Item = &'static str> {
    SIGNATURES.keys().map(String::as_str)
}

/// Checks that a kernel is there and takes these arguments.
pub(crate) fn check(launch: &Launch) -> Result<(), DeviceError> {
    let Some(signature) = SIGNATURES.get(launch.kernel) else {
        return Err(DeviceError::Unfit(format!("no kernel is called {}", launch.kernel)));
    };
    let fits = |(argument, kind): (&Argument, &Kind)| match argument {
        Argument::Memory(memory) => {
            let either = *kind == Kind::Values && matches!(memory.kind, Kind::Floats | Kind::Halves);
            memory.kind == *kind || either
        }
        Argument::Nothing => kind.size().is_some() || *kind == Kind::Values,
        Argument::Int(_) => *kind == Kind::Int,
        Argument::Float(_) => *kind == Kind::Float,
    };
    if launch.arguments.len() == signature.kinds.len() && launch.arguments.iter().zip(&signature.kinds).all(fits) {
        return Ok(());
    }
    Err(DeviceError::Unfit(format!(
        "{} takes {:?} and is given {:?}",
        launch.kernel, signature.kinds, launch.arguments
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_names_its_kernels_and_no_name_twice() {
        let mut count = 0;
        for (file, source) in SOURCES {
            let found = signature::read(source).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(!found.is_empty(), "{file}");
            count += found.len();
        }
        assert_eq!(kernels().count(), count);
    }

    #[test]
    fn memory_that_is_full_is_told_of_with_how_much_was_asked_for_if_that_is_known() {
        let text = |wanted| DeviceError::OutOfMemory { wanted }.to_string();
        assert!(text(12).starts_with("the device's memory is full: 12 bytes more were asked for; use fewer slots"));
        assert!(text(0).starts_with("the device's memory is full; use fewer slots"));
    }

    #[test]
    fn a_launch_with_other_arguments_than_the_kernel_takes_is_refused() {
        let memory = Memory { block: 0, kind: Kind::Floats, start: 0, length: 4 };
        let launch = |arguments| Launch { kernel: "mask", blocks: 1, threads: 32, arguments };
        let good = [Argument::Memory(memory), Argument::Memory(memory), Argument::Int(4)];
        assert_eq!(check(&launch(good.to_vec())), Ok(()));
        assert!(check(&launch(good[1..].to_vec())).is_err(), "too few");
        assert!(check(&launch(vec![good[0], good[1], Argument::Float(4.0)])).is_err(), "another number");
        let doubles = Argument::Memory(Memory { kind: Kind::Doubles, ..memory });
        assert!(check(&launch(vec![good[0], doubles, good[2]])).is_err(), "other values");
        let error = check(&Launch { kernel: "masque", ..launch(good.to_vec()) }).unwrap_err();
        assert_eq!(error.to_string(), "no kernel is called masque");
    }
}
