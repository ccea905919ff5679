//! The functions of NVRTC that this project calls. The compiled code is a text with the architecture and the kernels' names; the twins in
//! this library execute it.

use crate::settings::settings;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::{LazyLock, Mutex, PoisonError};

const SUCCESS: u32 = 0;
const INVALID_INPUT: u32 = 3;
const INVALID_PROGRAM: u32 = 4;
const INVALID_OPTION: u32 = 5;
const COMPILATION: u32 = 6;

/// A version that NVIDIA has not released, so that cached code is never mistaken for real code.
const VERSION: [c_int; 2] = [12, 999];

const ARCHITECTURES: [c_int; 6] = [70, 75, 80, 86, 89, 90];

/// Supported options, except for the architecture.
const OPTIONS: [&str; 5] = ["--fmad=", "--ftz=", "--prec-div=", "--prec-sqrt=", "--std="];

/// First line of the code.
const MAGIC: &str = "stand-in for a cubin";

#[derive(Default)]
struct Program {
    source: String,
    log: CString,
    code: Vec<u8>,
}

fn programs() -> std::sync::MutexGuard<'static, BTreeMap<usize, Program>> {
    static PROGRAMS: LazyLock<Mutex<BTreeMap<usize, Program>>> = LazyLock::new(Mutex::default);
    // Reports invalid settings before anything is compiled.
    settings();
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the code for an architecture.
fn code(architecture: c_int, source: &str) -> Vec<u8> {
    let names = source.split("\nKERNEL ").skip(1).filter_map(|text| text.split_once('(')).map(|(name, _)| name);
    let lines: Vec<&str> = names.collect();
    format!("{MAGIC}\nsm_{architecture}\n{}\0", lines.join("\n")).into_bytes()
}

/// Returns the architecture and the kernels of a code; none if this library did not produce it.
pub(crate) fn read_image(code: &CStr) -> Option<(c_int, Vec<&'static str>)> {
    let mut lines = code.to_str().ok()?.lines();
    if lines.next()? != MAGIC {
        return None;
    }
    let architecture = lines.next()?.strip_prefix("sm_")?.parse().ok()?;
    Some((architecture, lines.filter_map(plusminus_cuda::twin::kernel_name).collect()))
}

/// Returns the code, or NVRTC's result and log for an error.
fn compile(source: &str, options: &[String]) -> Result<Vec<u8>, (u32, String)> {
    let mut architecture = None;
    for option in options {
        if let Some(named) = option.strip_prefix("--gpu-architecture=") {
            let number = named.strip_prefix("sm_").and_then(|number| number.parse().ok());
            let known = number.filter(|number| ARCHITECTURES.contains(number));
            let wrong = || (INVALID_OPTION, format!("nvrtc: error: invalid value for --gpu-architecture: {named}"));
            architecture = Some(known.ok_or_else(wrong)?);
        } else if !OPTIONS.iter().any(|known| option.starts_with(known)) {
            return Err((INVALID_OPTION, format!("nvrtc: error: unrecognized option {option}")));
        }
    }
    if let Some(line) = source.lines().find(|line| line.starts_with("#error")) {
        return Err((COMPILATION, format!("kernels.cu: catastrophic error: {line}")));
    }
    Ok(code(architecture.ok_or((INVALID_OPTION, "no architecture".to_owned()))?, source))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> u32 {
    // SAFETY: the caller passes pointers that are valid for writes.
    unsafe {
        *major = VERSION[0];
        *minor = VERSION[1];
    }
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetNumSupportedArchs(count: *mut c_int) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    unsafe { *count = ARCHITECTURES.len() as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetSupportedArchs(all: *mut c_int) -> u32 {
    // SAFETY: the caller passes an array of the length that the function above reported.
    unsafe { std::ptr::copy_nonoverlapping(ARCHITECTURES.as_ptr(), all, ARCHITECTURES.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut usize,
    source: *const c_char,
    _: *const c_char,
    headers: c_int,
    _: *const *const c_char,
    _: *const *const c_char,
) -> u32 {
    if source.is_null() || headers != 0 {
        return INVALID_INPUT;
    }
    // SAFETY: the caller passes a string that ends with NUL.
    let source = unsafe { CStr::from_ptr(source) }.to_string_lossy().into_owned();
    let mut programs = programs();
    let handle = programs.last_key_value().map_or(0, |(last, _)| *last) + 16;
    programs.insert(handle, Program { source, ..Program::default() });
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    unsafe { *program = handle };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcCompileProgram(program: usize, count: c_int, options: *const *const c_char) -> u32 {
    let mut programs = programs();
    let Some(program) = programs.get_mut(&program) else { return INVALID_PROGRAM };
    let count = usize::try_from(count).unwrap_or_default();
    // SAFETY: the caller passes `count` strings that end with NUL.
    let options: Vec<String> =
        (0..count).map(|i| unsafe { CStr::from_ptr(*options.add(i)) }.to_string_lossy().into_owned()).collect();
    match compile(&program.source, &options) {
        Ok(code) => {
            program.code = code;
            SUCCESS
        }
        Err((answer, log)) => {
            program.log = CString::new(log).unwrap_or_default();
            answer
        }
    }
}

/// Lets `read` copy something of a program to the caller.
fn with_program(program: usize, read: impl FnOnce(&Program)) -> u32 {
    match programs().get(&program) {
        Some(program) => {
            read(program);
            SUCCESS
        }
        None => INVALID_PROGRAM,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLogSize(program: usize, size: *mut usize) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    with_program(program, |program| unsafe { *size = program.log.as_bytes_with_nul().len() })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLog(program: usize, log: *mut c_char) -> u32 {
    with_program(program, |program| {
        let bytes = program.log.as_bytes_with_nul();
        // SAFETY: the caller passes a buffer of the size that the function above reported.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), log, bytes.len()) };
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBINSize(program: usize, size: *mut usize) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    with_program(program, |program| unsafe { *size = program.code.len() })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBIN(program: usize, code: *mut c_char) -> u32 {
    // SAFETY: the caller passes a buffer of the size that the function above reported.
    with_program(program, |program| unsafe {
        std::ptr::copy_nonoverlapping(program.code.as_ptr().cast(), code, program.code.len());
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcDestroyProgram(program: *mut usize) -> u32 {
    // SAFETY: the caller passes a pointer that is valid for writes, or null.
    let handle = unsafe { std::mem::take(&mut *program) };
    if programs().remove(&handle).is_some() { SUCCESS } else { INVALID_PROGRAM }
}
