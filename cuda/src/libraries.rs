//! Finds NVIDIA's libraries at run time, so that the same program runs on hosts without them.
//!
//! Every use must be preceded by [`Library::require`]: cudarc aborts the program if a library or function is missing. Besides the
//! system's library path, `PLUSMINUS_CUDA_LIBRARIES` names directories such as those of PyTorch's packages (`site-packages/nvidia/…/lib`).

#![allow(unsafe_code, reason = "loads C libraries")]

use crate::error::DeviceError;
use std::sync::Once;

/// Environment variable with a list of directories of NVIDIA's libraries, separated by `:`.
pub const LIBRARY_DIRECTORIES: &str = "PLUSMINUS_CUDA_LIBRARIES";

/// Libraries to load from these directories, each after those that it depends on.
const LOAD_ORDER: [&str; 6] = ["libnvidia-ml", "libcublasLt", "libcublas", "libnvrtc-builtins", "libnvrtc", "libcudnn"];

/// Functions of the driver that this crate or cudarc calls. cudarc aborts the program if one is missing.
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

/// Functions of NVRTC that this crate or cudarc calls.
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
    /// `libcuda`, part of the driver.
    Driver,
    /// `libnvrtc`
    Nvrtc,
    /// `libcudnn`
    Cudnn,
}

impl Library {
    /// Returns whether the library can be loaded.
    pub fn is_available(self) -> bool {
        load_directories();
        // SAFETY: these calls load a library and look up no function. NVIDIA's libraries are sound to load.
        unsafe {
            match self {
                Library::Driver => cudarc::driver::sys::is_culib_present(),
                Library::Nvrtc => cudarc::nvrtc::sys::is_culib_present(),
                Library::Cudnn => cudarc::cudnn::sys::is_culib_present(),
            }
        }
    }

    /// Returns an error unless the library can be loaded and has all functions that are called.
    pub fn require(self) -> Result<(), DeviceError> {
        if self.is_available() {
            return self.missing_function().map_or(Ok(()), |function| {
                let (what, version) = match self {
                    Library::Driver => ("the NVIDIA driver", "525 or later (CUDA 12)"),
                    Library::Nvrtc => ("NVIDIA's compiler NVRTC", "12 or later"),
                    Library::Cudnn => ("cuDNN", "9 or later"),
                };
                Err(DeviceError::Missing(format!("{what} is too old: it has no {function}; install {version}")))
            });
        }
        Err(DeviceError::Missing(match self {
            Library::Driver => {
                "NVIDIA driver not found (no libcuda): install it, or train with `--device cpu`".to_owned()
            }
            Library::Nvrtc => format!(
                "NVIDIA's compiler NVRTC not found (no libnvrtc): install the CUDA toolkit or the package nvidia-cuda-nvrtc, and \
                 name its directory in {LIBRARY_DIRECTORIES}"
            ),
            Library::Cudnn => format!(
                "cuDNN 9 not found (no libcudnn): install it or the package nvidia-cudnn, and name its directory in {LIBRARY_DIRECTORIES}"
            ),
        }))
    }
}

impl Library {
    /// Returns a function that is called and that the loaded library does not have.
    fn missing_function(self) -> Option<String> {
        // SAFETY: the libraries are loaded, and the functions that are looked up are not called.
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

/// Checks the libraries that training on a GPU uses besides the driver. Returns a text about a missing library that is optional.
///
/// # Errors
/// Returns an error if NVRTC is missing, because no kernel can be compiled without it.
pub fn missing_libraries() -> Result<Option<String>, DeviceError> {
    Library::Nvrtc.require()?;
    Ok(Library::Cudnn.require().err().map(|missing| format!("{missing}; convolutions are slow without it")))
}

/// Loads the libraries in [`LIBRARY_DIRECTORIES`], once. A loaded library is afterwards found by its name.
pub(crate) fn load_directories() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(directories) = std::env::var_os(LIBRARY_DIRECTORIES) else { return };
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

/// Returns whether a file is this library: `libnvrtc.so.12`, but not `libnvrtc-builtins.so.12` or `libnvrtc.alt.so.12`.
fn is_library(path: &std::path::Path, library: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(library).is_some_and(|rest| rest.starts_with(".so"))
}

/// Loads a library and keeps it loaded until the process ends.
#[cfg(unix)]
fn open(path: &std::path::Path) {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: NVIDIA's libraries are sound to load, and the user has named their directory.
    if let Ok(library) = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
        std::mem::forget(library);
    }
}

/// Does nothing: on such systems libraries are found through `PATH`.
#[cfg(not(unix))]
fn open(_: &std::path::Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn libraries_are_recognised_by_file_name() {
        assert!(is_library(Path::new("lib/libnvrtc.so.12"), "libnvrtc"));
        assert!(is_library(Path::new("lib/libcudnn.so"), "libcudnn"));
        for other in ["lib/libnvrtc-builtins.so.12.9", "lib/libnvrtc.alt.so.12", "lib/libcudnn_ops.so.9", "lib"] {
            assert!(!is_library(Path::new(other), "libnvrtc") && !is_library(Path::new(other), "libcudnn"), "{other}");
        }
    }

    #[test]
    fn the_error_for_a_missing_library_names_a_remedy() {
        for (library, remedy) in [
            (Library::Driver, "--device cpu"),
            (Library::Nvrtc, LIBRARY_DIRECTORIES),
            (Library::Cudnn, LIBRARY_DIRECTORIES),
        ] {
            match library.require() {
                Ok(()) => assert!(library.is_available()),
                Err(error) => assert!(error.to_string().contains(remedy), "{error}"),
            }
        }
    }
}
