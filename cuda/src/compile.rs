//! Compiles the kernel sources at run time with NVRTC, which also works on a host without a GPU.

#![allow(unsafe_code, reason = "calls a C library")]

use crate::cache::Cache;
use crate::error::DeviceError;
use crate::libraries::Library;
use crate::sources::{COMMON, SOURCES};
use cudarc::nvrtc::{result, sys};
use std::ffi::CString;

/// Multiplications and additions are not contracted unless the source does; roots and quotients are rounded to nearest. The results
/// equal those of the CPU.
const OPTIONS: [&str; 5] = ["--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--std=c++17"];

/// Returns all kernels as one source.
fn source() -> String {
    let files = SOURCES.iter().map(|(file, source)| format!("#line 1 \"{file}\"\n{source}"));
    std::iter::once(format!("#line 1 \"common.h\"\n{COMMON}")).chain(files).collect::<Vec<_>>().join("\n")
}

/// Returns the version of NVRTC.
///
/// # Errors
/// Returns an error if NVRTC is missing.
pub fn version() -> Result<[i32; 2], DeviceError> {
    Library::Nvrtc.require()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is loaded, and both pointers are valid for writes during the call.
    let code = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    code.result().map_err(|error| DeviceError::failed("nvrtcVersion", error.to_string()))?;
    Ok([major, minor])
}

/// Returns the architectures that the installed NVRTC supports, such as 90 for `sm_90`.
///
/// # Errors
/// Returns an error if NVRTC is missing.
pub fn architectures() -> Result<Vec<i32>, DeviceError> {
    Library::Nvrtc.require()?;
    let failed = |error: result::NvrtcError| DeviceError::failed("nvrtcGetSupportedArchs", error.to_string());
    let mut count = 0;
    // SAFETY: the library is loaded, and the pointer is valid for writes during the call.
    unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) }.result().map_err(failed)?;
    let mut found = vec![0; usize::try_from(count).unwrap_or_default()];
    // SAFETY: as above; the vector has the length that the library reported.
    unsafe { sys::nvrtcGetSupportedArchs(found.as_mut_ptr()) }.result().map_err(failed)?;
    Ok(found)
}

/// Returns the code of all kernels for an architecture, such as 90, from `cache` or else from the compiler.
///
/// # Errors
/// Returns an error if NVRTC is missing or does not compile the sources.
pub fn kernels(architecture: i32, cache: Option<&Cache>) -> Result<Vec<u8>, DeviceError> {
    let [major, minor] = version()?;
    let (source, options) = (source(), options(architecture));
    let make = || compile(&source, &options, architecture);
    match cache {
        None => make(),
        Some(cache) => {
            let version = format!("nvrtc {major}.{minor}");
            cache.get_or_make(options.iter().map(String::as_str).chain([&*version, &*source]), make)
        }
    }
}

fn options(architecture: i32) -> Vec<String> {
    let architecture = format!("--gpu-architecture=sm_{architecture}");
    std::iter::once(architecture).chain(OPTIONS.map(str::to_owned)).collect()
}

/// A program of NVRTC, destroyed on drop.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: `create_program` made the program, and it is destroyed once. A failure is ignored: there is no remedy.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

/// Compiles a source. The caller has checked that NVRTC is available.
fn compile(source: &str, options: &[String], architecture: i32) -> Result<Vec<u8>, DeviceError> {
    let failed = |call: &str, error: result::NvrtcError| DeviceError::failed(call, error.to_string());
    let text =
        CString::new(source).map_err(|_| DeviceError::InvalidArgument("the kernel source contains NUL".into()))?;
    let program =
        Program(result::create_program(&text, Some(c"kernels.cu")).map_err(|e| failed("nvrtcCreateProgram", e))?);
    // SAFETY: the program exists, and `text` outlives it.
    if let Err(error) = unsafe { result::compile_program(program.0, options) } {
        // SAFETY: as above.
        let log = unsafe { result::get_program_log(program.0) }.unwrap_or_default();
        let log: Vec<u8> = log.into_iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
        let log = format!("{error}: {}", String::from_utf8_lossy(&log).trim());
        return Err(DeviceError::Compilation { architecture: format!("sm_{architecture}"), log });
    }
    let mut size = 0;
    // SAFETY: the program is compiled, and the pointer is valid for writes during the call.
    unsafe { sys::nvrtcGetCUBINSize(program.0, &mut size) }.result().map_err(|e| failed("nvrtcGetCUBINSize", e))?;
    let mut code = vec![0u8; size];
    // SAFETY: the program is compiled, and the vector has the length that the library reported.
    unsafe { sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()) }
        .result()
        .map_err(|e| failed("nvrtcGetCUBIN", e))?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::kernels as names;
    use std::io::Write;

    /// Architectures from Volta to Hopper.
    const WANTED: [i32; 4] = [70, 80, 86, 90];

    /// Writes to standard error directly, past the output capture of the test harness.
    fn print_skipped(what: &str) {
        writeln!(std::io::stderr(), "SKIPPED: {what}").unwrap();
    }

    /// Returns whether NVRTC is available, and prints a note if it is not.
    fn nvrtc_is_available() -> bool {
        match version() {
            Ok(_) => true,
            Err(error) => {
                print_skipped(&format!("no kernel was compiled: {error}"));
                false
            }
        }
    }

    #[test]
    fn every_kernel_compiles_for_every_architecture_that_nvrtc_supports() {
        if !nvrtc_is_available() {
            return;
        }
        let known = architectures().unwrap();
        let (compiled, left): (Vec<i32>, Vec<i32>) = WANTED.iter().partition(|wanted| known.contains(wanted));
        if !left.is_empty() {
            print_skipped(&format!("NVRTC {:?} does not compile for {left:?}", version().unwrap()));
        }
        assert!(!compiled.is_empty(), "NVRTC compiles for {known:?}");
        for architecture in compiled {
            let code = kernels(architecture, None).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(&code[..4], b"\x7fELF", "sm_{architecture}");
            for name in names() {
                let there = code
                    .windows(name.len() + 1)
                    .any(|bytes| bytes[..name.len()] == *name.as_bytes() && bytes[name.len()] == 0);
                assert!(there, "{name} is not in the code for sm_{architecture}");
            }
        }
    }

    #[test]
    fn compile_errors_name_file_and_line() {
        if !nvrtc_is_available() {
            return;
        }
        let error = compile("#line 1 \"wrong.cu\"\n__global__ void f() { nothing; }", &options(80), 80).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sm_80") && text.contains("wrong.cu(1)") && text.contains("nothing"), "{text}");
    }

    #[test]
    fn an_unknown_architecture_is_an_error() {
        if nvrtc_is_available() {
            assert!(matches!(kernels(1, None), Err(DeviceError::Compilation { .. })));
        }
    }

    #[test]
    fn compiled_kernels_are_cached() {
        if !nvrtc_is_available() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned());
        let made = kernels(80, Some(&cache)).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(kernels(80, Some(&cache)).unwrap(), made);
        assert_ne!(kernels(90, Some(&cache)).unwrap(), made);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
