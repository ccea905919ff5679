//! NVIDIA's libraries, found when the program runs: a machine without them runs the same program.
//!
//! They are asked for before anything else, for cudarc ends the program where one is missing. Where they are not among the system's,
//! `PLUSMINUS_CUDA_LIBRARIES` names directories, as PyTorch's packages have them (`site-packages/nvidia/…/lib`).

#![allow(unsafe_code, reason = "libraries of C are loaded")]

use crate::error::DeviceError;
use std::sync::Once;

/// Names directories with NVIDIA's libraries, with `:` between them.
pub const DIRECTORIES: &str = "PLUSMINUS_CUDA_LIBRARIES";

/// Every library that is looked for there, in an order in which each finds those that it needs.
const LOAD_ORDER: [&str; 6] = ["libnvidia-ml", "libcublasLt", "libcublas", "libnvrtc-builtins", "libnvrtc", "libcudnn"];

/// What is called of the driver, here and by cudarc, which ends the program where one of these is missing.
const DRIVER_FUNCTIONS: [&[u8]; 34] = [
    b"cuCtxGetCurrent\0",
    b"cuCtxSetCurrent\0",
    b"cuDeviceGet\0",
    b"cuDeviceGetAttribute\0",
    b"cuDeviceGetCount\0",
    b"cuDeviceGetName\0",
    b"cuDevicePrimaryCtxRelease_v2\0",
    b"cuDevicePrimaryCtxRetain\0",
    b"cuDeviceTotalMem_v2\0",
    b"cuDriverGetVersion\0",
    b"cuGetErrorName\0",
    b"cuGetErrorString\0",
    b"cuGraphDestroy\0",
    b"cuGraphExecDestroy\0",
    b"cuGraphInstantiateWithFlags\0",
    b"cuGraphLaunch\0",
    b"cuInit\0",
    b"cuLaunchKernel\0",
    b"cuMemAllocAsync\0",
    b"cuMemAlloc_v2\0",
    b"cuMemFreeAsync\0",
    b"cuMemFree_v2\0",
    b"cuMemGetInfo_v2\0",
    b"cuMemcpyDtoHAsync_v2\0",
    b"cuMemcpyHtoDAsync_v2\0",
    b"cuMemsetD8Async\0",
    b"cuModuleGetFunction\0",
    b"cuModuleLoadData\0",
    b"cuModuleUnload\0",
    b"cuStreamBeginCapture_v2\0",
    b"cuStreamCreate\0",
    b"cuStreamDestroy_v2\0",
    b"cuStreamEndCapture\0",
    b"cuStreamSynchronize\0",
];

/// What is called of NVRTC.
const NVRTC_FUNCTIONS: [&[u8]; 10] = [
    b"nvrtcCompileProgram\0",
    b"nvrtcCreateProgram\0",
    b"nvrtcDestroyProgram\0",
    b"nvrtcGetCUBIN\0",
    b"nvrtcGetCUBINSize\0",
    b"nvrtcGetNumSupportedArchs\0",
    b"nvrtcGetProgramLog\0",
    b"nvrtcGetProgramLogSize\0",
    b"nvrtcGetSupportedArchs\0",
    b"nvrtcVersion\0",
];

/// A library that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// `libcuda`, which comes with the driver.
    Driver,
    /// `libnvrtc`
    Nvrtc,
    /// `libcudnn`
    Cudnn,
}

impl Library {
    /// Whether it can be loaded.
    pub fn is_available(self) -> bool {
        load_directories();
        // SAFETY: these load a library and look nothing up in it. What NVIDIA's libraries do when they are loaded is sound.
        unsafe {
            match self {
                Library::Driver => cudarc::driver::sys::is_culib_present(),
                Library::Nvrtc => cudarc::nvrtc::sys::is_culib_present(),
                Library::Cudnn => cudarc::cudnn::sys::is_culib_present(),
            }
        }
    }

    /// That it can be loaded, and is not so old that it missing_function what is called.
    pub fn require(self) -> Result<(), DeviceError> {
        if self.is_available() {
            return self.missing_function().map_or(Ok(()), |function| {
                let (what, version) = match self {
                    Library::Driver => ("the NVIDIA driver", "525 or later (CUDA 12)"),
                    Library::Nvrtc => ("NVIDIA's compiler NVRTC", "12 or later"),
                    Library::Cudnn => ("cuDNN", "9 or later"),
                };
                Err(DeviceError::Missing(format!("{what} is too old, it has no {function}: install {version}")))
            });
        }
        Err(DeviceError::Missing(match self {
            Library::Driver => {
                "no NVIDIA driver is here (libcuda was not found): install it, or train with `--device cpu`".to_owned()
            }
            Library::Nvrtc => format!(
                "NVIDIA's compiler NVRTC is not here (libnvrtc was not found): install the CUDA toolkit or the package \
                 nvidia-cuda-nvrtc, and name its directory in {DIRECTORIES}"
            ),
            Library::Cudnn => format!(
                "cuDNN 9 is not here (libcudnn was not found): install it or the package nvidia-cudnn, and name its directory in \
                 {DIRECTORIES}"
            ),
        }))
    }
}

impl Library {
    /// A function that is called and that it does not have. It is there.
    fn missing_function(self) -> Option<String> {
        // SAFETY: the libraries are there, and what is looked up in them is not called.
        let (library, names) = unsafe {
            match self {
                Library::Driver => (cudarc::driver::sys::culib(), &DRIVER_FUNCTIONS[..]),
                Library::Nvrtc => (cudarc::nvrtc::sys::culib(), &NVRTC_FUNCTIONS[..]),
                Library::Cudnn => return None,
            }
        };
        // SAFETY: as above.
        let missing = |name: &&&[u8]| unsafe { library.get::<unsafe extern "C" fn()>(**name) }.is_err();
        names.iter().find(missing).map(|name| String::from_utf8_lossy(&name[..name.len() - 1]).into_owned())
    }
}

/// What is missing of the libraries that training on a GPU takes, beside the driver: nothing, or what can be done without, in words.
///
/// # Errors
/// That one is missing without which no kernel can be compiled.
pub fn what_is_missing() -> Result<Option<String>, DeviceError> {
    Library::Nvrtc.require()?;
    Ok(Library::Cudnn.require().err().map(|missing| format!("{missing}; without it convolutions are slow")))
}

/// Loads what [`DIRECTORIES`] has, once. A library that is loaded is found by its name from then on.
pub(crate) fn load_directories() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(directories) = std::env::var_os(DIRECTORIES) else { return };
        for library in LOAD_ORDER {
            for directory in std::env::split_paths(&directories) {
                let Ok(files) = std::fs::read_dir(directory) else { continue };
                let mut names: Vec<_> =
                    files.flatten().map(|file| file.path()).filter(|path| is_library(path, library)).collect();
                names.sort();
                names.iter().for_each(|path| open(path));
            }
        }
    });
}

/// Whether a file is this library: `libnvrtc.so.12`, and neither `libnvrtc-builtins.so.12` nor `libnvrtc.alt.so.12`.
fn is_library(path: &std::path::Path, library: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(library).is_some_and(|rest| rest.starts_with(".so"))
}

/// Loads a library for as long as the program runs.
#[cfg(unix)]
fn open(path: &std::path::Path) {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: what NVIDIA's libraries do when they are loaded is sound; the user has said where they are.
    if let Ok(library) = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
        std::mem::forget(library);
    }
}

/// Where libraries are found by their directories alone, those are in `PATH`.
#[cfg(not(unix))]
fn open(_: &std::path::Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_library_is_known_by_its_name() {
        assert!(is_library(Path::new("lib/libnvrtc.so.12"), "libnvrtc"));
        assert!(is_library(Path::new("lib/libcudnn.so"), "libcudnn"));
        for other in ["lib/libnvrtc-builtins.so.12.9", "lib/libnvrtc.alt.so.12", "lib/libcudnn_ops.so.9", "lib"] {
            assert!(!is_library(Path::new(other), "libnvrtc") && !is_library(Path::new(other), "libcudnn"), "{other}");
        }
    }

    #[test]
    fn a_library_that_is_missing_is_an_error_that_says_what_to_do() {
        for (library, remedy) in
            [(Library::Driver, "--device cpu"), (Library::Nvrtc, DIRECTORIES), (Library::Cudnn, DIRECTORIES)]
        {
            match library.require() {
                Ok(()) => assert!(library.is_available()),
                Err(error) => assert!(error.to_string().contains(remedy), "{error}"),
            }
        }
    }
}
