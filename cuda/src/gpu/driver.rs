//! Calls to the driver that need no open GPU: listing GPUs, and checking whether a context still works.
//!
//! *Not yet tested on a GPU,* like all of `gpu`.

use crate::error::DeviceError;
use crate::libraries::Library;
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUresult};
use cudarc::driver::{DriverError, result};
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};

/// A GPU as the driver describes it.
pub(crate) struct DeviceProperties {
    /// Model, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Total memory in bytes.
    pub memory: u64,
    /// Compute capability, such as 90 for `sm_90`.
    pub architecture: i32,
    /// UUID of the GPU or of the MIG instance; the driver does not tell which.
    pub uuid: [u8; 16],
}

/// The name and the driver's description of an error.
pub(super) fn describe(error: DriverError) -> String {
    let text = |found: Result<&std::ffi::CStr, DriverError>| found.map(|text| text.to_string_lossy().into_owned());
    match (text(error.error_name()), text(error.error_string())) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("{:?}", error.0),
    }
}

/// Converts a driver error. Running out of memory is its own error, whatever needed the memory (a context, a graph): fewer slots may help.
pub(super) fn failed(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| {
        if is_out_of_memory(error) {
            DeviceError::OutOfMemory { wanted: 0 }
        } else {
            DeviceError::failed(call, describe(error))
        }
    }
}

/// Initialises the driver and returns whether it has any GPU. May be called repeatedly.
///
/// # Errors
/// Returns an error with a remedy if there is no driver or it fails.
pub(crate) fn init() -> Result<bool, DeviceError> {
    Library::Driver.require()?;
    match result::init() {
        Ok(()) => Ok(count()? > 0),
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(false),
        Err(error) => Err(DeviceError::failed("cuInit", format!("{}{}", describe(error), remedy(error.0)))),
    }
}

/// What to do if the driver cannot be initialised.
fn remedy(error: CUresult) -> &'static str {
    match error {
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            "; the versions of the driver's library and its kernel module differ, as after an update: reboot the host or reload \
             the module, or train with `--device cpu`"
        }
        CUresult::CUDA_ERROR_SYSTEM_NOT_READY => {
            "; hosts with NVSwitch need the service nvidia-fabricmanager: start it, or train with `--device cpu`"
        }
        CUresult::CUDA_ERROR_STUB_LIBRARY => {
            "; the toolkit's stub was found instead of the driver: remove its directory from LD_LIBRARY_PATH"
        }
        CUresult::CUDA_ERROR_UNKNOWN => {
            "; a common cause is that the module nvidia_uvm is not loaded (load it with `nvidia-modprobe -u -c 0`) or that the \
             process has no access to /dev/nvidia-uvm; or train with `--device cpu`"
        }
        _ => "; train with `--device cpu` until the driver works",
    }
}

/// Number of GPUs. Requires [`init`].
pub(super) fn count() -> Result<usize, DeviceError> {
    match result::device::get_count() {
        Ok(count) => Ok(usize::try_from(count).unwrap_or_default()),
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
        Err(error) => Err(failed("cuDeviceGetCount")(error)),
    }
}

/// Highest CUDA version that the driver supports, such as 12080 for 12.8. Works without a GPU.
///
/// # Errors
/// Returns an error if there is no driver or it fails.
pub(crate) fn version() -> Result<i32, DeviceError> {
    Library::Driver.require()?;
    let mut version = 0;
    // SAFETY: the library is loaded, and the pointer is valid for writes during the call.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(failed("cuDriverGetVersion"))?;
    Ok(version)
}

/// The GPUs in the driver's order. Requires [`init`] to have returned true.
pub(crate) fn devices() -> Result<Vec<DeviceProperties>, DeviceError> {
    (0..count()?).map(|number| properties(device(number)?)).collect()
}

/// The driver's handle of a GPU.
fn device(number: usize) -> Result<sys::CUdevice, DeviceError> {
    let ordinal =
        c_int::try_from(number).map_err(|_| DeviceError::InvalidArgument(format!("there is no cuda:{number}")))?;
    result::device::get(ordinal).map_err(failed("cuDeviceGet"))
}

fn properties(device: sys::CUdevice) -> Result<DeviceProperties, DeviceError> {
    let name = result::device::get_name(device).map_err(failed("cuDeviceGetName"))?;
    // SAFETY: the driver returned this handle.
    let memory = unsafe { result::device::total_mem(device) }.map_err(failed("cuDeviceTotalMem"))?;
    let attribute = |which| {
        // SAFETY: as above.
        unsafe { result::device::get_attribute(device, which) }.map_err(failed("cuDeviceGetAttribute"))
    };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(DeviceProperties { name, memory: memory as u64, architecture: 10 * major + minor, uuid: uuid(device)? })
}

/// Prefers the second version, which distinguishes MIG instances. Drivers before 470 lack it.
fn uuid(device: sys::CUdevice) -> Result<[u8; 16], DeviceError> {
    type GetUuid = unsafe extern "C" fn(*mut [u8; 16], sys::CUdevice) -> CUresult;
    let mut uuid = [0; 16];
    // SAFETY: the library is loaded, and both functions have this signature.
    let code = unsafe {
        let library = sys::culib();
        let get_uuid =
            library.get::<GetUuid>(b"cuDeviceGetUuid_v2\0").or_else(|_| library.get::<GetUuid>(b"cuDeviceGetUuid\0"));
        match get_uuid {
            Ok(get_uuid) => get_uuid(&mut uuid, device),
            Err(_) => {
                return Err(DeviceError::Missing(
                    "the NVIDIA driver is too old: it does not support UUIDs; install 525 or later".into(),
                ));
            }
        }
    };
    code.result().map_err(failed("cuDeviceGetUuid"))?;
    Ok(uuid)
}

/// Returns whether this process can still use GPU `number`. An illegal access corrupts the primary context that all threads of the
/// process share: every later call returns that error, and only a new process can use the GPU.
///
/// The check uses the same context as `Gpu`. Running out of memory does not count as a failure.
pub fn is_usable(number: usize) -> bool {
    match init() {
        Ok(true) => {}
        _ => return false,
    }
    let Ok(device) = device(number) else { return false };
    // SAFETY: the driver returned this handle, and the context is released below.
    let context = match unsafe { result::primary_ctx::retain(device) } {
        Ok(context) => context,
        Err(error) => return is_out_of_memory(error),
    };
    let answer = probe(context);
    // SAFETY: retained above. A failed release is ignored: the probe has the same error.
    let _ = unsafe { result::primary_ctx::release(device) };
    answer.map_or_else(is_out_of_memory, |()| true)
}

/// Retains the primary context of GPU `number` until the process ends, once per GPU. A released context would be destroyed: creating it
/// again takes as long as a short job, and its error could no longer be read.
pub(super) fn retain_context(number: usize) {
    static KEPT: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
    let Ok(device) = device(number) else { return };
    if KEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        // SAFETY: the driver returned this handle. A failure is ignored: opening the context reports it.
        let _ = unsafe { result::primary_ctx::retain(device) };
    }
}

fn is_out_of_memory(error: DriverError) -> bool {
    error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
}

/// Makes calls that return earlier errors. It does not synchronise the whole context, which would break other threads' captures.
fn probe(context: sys::CUcontext) -> Result<(), DriverError> {
    let before = result::ctx::get_current()?;
    // SAFETY: the context is retained, and the stream is used and destroyed here.
    unsafe {
        result::ctx::set_current(context)?;
        let asked = result::mem_get_info().and_then(|_| {
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
            result::stream::synchronize(stream).and(result::stream::destroy(stream))
        });
        let back = result::ctx::set_current(before.unwrap_or(std::ptr::null_mut()));
        asked.and(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_fails_to_initialise_is_reported_with_a_remedy() {
        assert!(remedy(CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH).contains("reboot the host"));
        assert!(remedy(CUresult::CUDA_ERROR_OPERATING_SYSTEM).contains("--device cpu"));
    }

    #[test]
    fn a_gpu_that_does_not_exist_is_not_usable() {
        assert!(!is_usable(1_000_000));
    }
}
