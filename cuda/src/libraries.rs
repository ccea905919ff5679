//! NVIDIA's libraries, found when the program runs: a machine without them runs the same program.
//!
//! They are asked for before anything else, for cudarc ends the program where one is missing. Where they are not among the system's,
//! `PLUSMINUS_CUDA_LIBRARIES` names directories, as PyTorch's packages have them (`site-packages/nvidia/…/lib`).

#![allow(unsafe_code, reason = "libraries of C are loaded")]

use crate::device::DeviceError;
use std::sync::Once;

/// Names directories with NVIDIA's libraries, with `:` between them.
pub const DIRECTORIES: &str = "PLUSMINUS_CUDA_LIBRARIES";

/// Every library that is looked for there, in an order in which each finds those that it needs.
const ORDER: [&str; 5] = ["libcublasLt", "libcublas", "libnvrtc-builtins", "libnvrtc", "libcudnn"];

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
    pub fn is_there(self) -> bool {
        load();
        // SAFETY: these load a library and look nothing up in it. What NVIDIA's libraries do when they are loaded is sound.
        unsafe {
            match self {
                Library::Driver => cudarc::driver::sys::is_culib_present(),
                Library::Nvrtc => cudarc::nvrtc::sys::is_culib_present(),
                Library::Cudnn => cudarc::cudnn::sys::is_culib_present(),
            }
        }
    }

    /// That it can be loaded.
    pub fn need(self) -> Result<(), DeviceError> {
        if self.is_there() {
            return Ok(());
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

/// Loads what [`DIRECTORIES`] has, once. A library that is loaded is found by its name from then on.
fn load() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(directories) = std::env::var_os(DIRECTORIES) else { return };
        for library in ORDER {
            for directory in std::env::split_paths(&directories) {
                let Ok(files) = std::fs::read_dir(directory) else { continue };
                let mut names: Vec<_> =
                    files.flatten().map(|file| file.path()).filter(|path| is(path, library)).collect();
                names.sort();
                names.iter().for_each(|path| open(path));
            }
        }
    });
}

/// Whether a file is this library: `libnvrtc.so.12`, and neither `libnvrtc-builtins.so.12` nor `libnvrtc.alt.so.12`.
fn is(path: &std::path::Path, library: &str) -> bool {
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
        assert!(is(Path::new("lib/libnvrtc.so.12"), "libnvrtc"));
        assert!(is(Path::new("lib/libcudnn.so"), "libcudnn"));
        for other in ["lib/libnvrtc-builtins.so.12.9", "lib/libnvrtc.alt.so.12", "lib/libcudnn_ops.so.9", "lib"] {
            assert!(!is(Path::new(other), "libnvrtc") && !is(Path::new(other), "libcudnn"), "{other}");
        }
    }

    #[test]
    fn a_library_that_is_missing_is_an_error_that_says_what_to_do() {
        for (library, remedy) in
            [(Library::Driver, "--device cpu"), (Library::Nvrtc, DIRECTORIES), (Library::Cudnn, DIRECTORIES)]
        {
            match library.need() {
                Ok(()) => assert!(library.is_there()),
                Err(error) => assert!(error.to_string().contains(remedy), "{error}"),
            }
        }
    }
}
