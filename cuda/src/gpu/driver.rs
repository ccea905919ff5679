//! What the driver is asked without a context: which GPUs there are. And whether a context still works.
//!
//! *This has not run on a GPU yet,* as all of `gpu`.

use crate::error::DeviceError;
use crate::libraries::Library;
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUresult};
use cudarc::driver::{DriverError, result};
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};

/// A GPU as the driver tells of it.
pub(crate) struct DeviceProperties {
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Bytes in all.
    pub memory: u64,
    /// Such as 90 for `sm_90`.
    pub architecture: i32,
    /// Of a GPU, or of a part of one (MIG): which of the two it is of, it does not say.
    pub uuid: [u8; 16],
}

/// The name of an error, and the driver's describe for it.
pub(super) fn describe(error: DriverError) -> String {
    let text = |found: Result<&std::ffi::CStr, DriverError>| found.map(|text| text.to_string_lossy().into_owned());
    match (text(error.error_name()), text(error.error_string())) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("{:?}", error.0),
    }
}

/// That memory is short is found apart from other refusals, whatever wants it (a context, a graph): fewer slots may do.
pub(super) fn failed(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| {
        if is_out_of_memory(error) {
            DeviceError::OutOfMemory { wanted: 0 }
        } else {
            DeviceError::failed(call, describe(error))
        }
    }
}

/// Starts the driver; whether it has any GPU. It may be started again and again.
///
/// # Errors
/// That there is no driver, or that it refuses, with what is known to help.
pub(crate) fn init() -> Result<bool, DeviceError> {
    Library::Driver.require()?;
    match result::init() {
        Ok(()) => Ok(count()? > 0),
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(false),
        Err(error) => Err(DeviceError::failed("cuInit", format!("{}{}", describe(error), remedy(error.0)))),
    }
}

/// What helps where the driver does not start.
fn remedy(error: CUresult) -> &'static str {
    match error {
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            "; the driver's library and its kernel module differ, as after an update: restart the machine or load the module \
             again, or train with `--device cpu`"
        }
        CUresult::CUDA_ERROR_SYSTEM_NOT_READY => {
            "; machines with NVSwitch need the service nvidia-fabricmanager: start it, or train with `--device cpu`"
        }
        CUresult::CUDA_ERROR_STUB_LIBRARY => {
            "; the toolkit's stub was found instead of the driver: take its directory out of LD_LIBRARY_PATH"
        }
        CUresult::CUDA_ERROR_UNKNOWN => {
            "; often the module nvidia_uvm is not loaded (`nvidia-modprobe -u -c 0` loads it), or the process may not open \
             /dev/nvidia-uvm; or train with `--device cpu`"
        }
        _ => "; train with `--device cpu` until it does",
    }
}

/// How many GPUs the driver shows. It has been started.
pub(super) fn count() -> Result<usize, DeviceError> {
    match result::device::get_count() {
        Ok(count) => Ok(usize::try_from(count).unwrap_or_default()),
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
        Err(error) => Err(failed("cuDeviceGetCount")(error)),
    }
}

/// The version of CUDA that the driver supports, such as 12080 for 12.8. It needs no GPU.
///
/// # Errors
/// That there is no driver, or that it refuses.
pub(crate) fn version() -> Result<i32, DeviceError> {
    Library::Driver.require()?;
    let mut version = 0;
    // SAFETY: the library is there, and writes to a number that outlives the call.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(failed("cuDriverGetVersion"))?;
    Ok(version)
}

/// The GPUs that the driver shows, in its order. It has been started and has some.
pub(crate) fn devices() -> Result<Vec<DeviceProperties>, DeviceError> {
    (0..count()?).map(|number| properties(device(number)?)).collect()
}

/// The driver's handle of a GPU.
fn device(number: usize) -> Result<sys::CUdevice, DeviceError> {
    let ordinal = c_int::try_from(number).map_err(|_| DeviceError::Unfit(format!("there is no cuda:{number}")))?;
    result::device::get(ordinal).map_err(failed("cuDeviceGet"))
}

fn properties(device: sys::CUdevice) -> Result<DeviceProperties, DeviceError> {
    let name = result::device::get_name(device).map_err(failed("cuDeviceGetName"))?;
    // SAFETY: the handle is one that the driver has given.
    let memory = unsafe { result::device::total_mem(device) }.map_err(failed("cuDeviceTotalMem"))?;
    let attribute = |which| {
        // SAFETY: as above.
        unsafe { result::device::get_attribute(device, which) }.map_err(failed("cuDeviceGetAttribute"))
    };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(DeviceProperties { name, memory: memory as u64, architecture: 10 * major + minor, uuid: uuid(device)? })
}

/// The second version tells parts of a GPU (MIG) apart, and is not in drivers before 470.
fn uuid(device: sys::CUdevice) -> Result<[u8; 16], DeviceError> {
    type GetUuid = unsafe extern "C" fn(*mut [u8; 16], sys::CUdevice) -> CUresult;
    let mut uuid = [0; 16];
    // SAFETY: the library is there, and both functions, where they are, have this form.
    let code = unsafe {
        let library = sys::culib();
        let get_uuid =
            library.get::<GetUuid>(b"cuDeviceGetUuid_v2\0").or_else(|_| library.get::<GetUuid>(b"cuDeviceGetUuid\0"));
        match get_uuid {
            Ok(get_uuid) => get_uuid(&mut uuid, device),
            Err(_) => return Err(DeviceError::Missing("the NVIDIA driver is too old: it knows no UUIDs".into())),
        }
    };
    code.result().map_err(failed("cuDeviceGetUuid"))?;
    Ok(uuid)
}

/// Whether this process can still use GPU number `number`. An illegal access poisons what all its threads share of the GPU (its primary
/// context): from then on every call is answered with that error, and nothing but another process helps.
///
/// Where there was a [`Gpu`](crate::Gpu), it is the same context that is asked, which the process keeps. Memory that is short is no illness.
pub fn is_well(number: usize) -> bool {
    match init() {
        Ok(true) => {}
        _ => return false,
    }
    let Ok(device) = device(number) else { return false };
    // SAFETY: the handle is one that the driver has given, and what is retained is released below.
    let context = match unsafe { result::primary_ctx::retain(device) } {
        Ok(context) => context,
        Err(error) => return is_out_of_memory(error),
    };
    let answer = probe(context);
    // SAFETY: retained above. That it could not be released is found by what was asked.
    let _ = unsafe { result::primary_ctx::release(device) };
    answer.map_or_else(is_out_of_memory, |()| true)
}

/// Keeps the primary context of GPU number `number` until the process ends, once for each. One that nobody holds is gone, and to make it
/// anew takes as long as a short job; and what has poisoned it could not be seen any more.
pub(super) fn retain_context(number: usize) {
    static KEPT: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
    let Ok(device) = device(number) else { return };
    if KEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        // SAFETY: the handle is one that the driver has given. Where it refuses, whoever asked for a context is found.
        let _ = unsafe { result::primary_ctx::retain(device) };
    }
}

fn is_out_of_memory(error: DriverError) -> bool {
    error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
}

/// Calls that properties of earlier errors. The whole context is not waited for: that would break what other threads record.
fn probe(context: sys::CUcontext) -> Result<(), DriverError> {
    let before = result::ctx::get_current()?;
    // SAFETY: the context is retained; the stream is used and destroyed here.
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
    fn a_driver_that_does_not_start_is_told_of_with_what_helps() {
        assert!(remedy(CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH).contains("restart the machine"));
        assert!(remedy(CUresult::CUDA_ERROR_OPERATING_SYSTEM).contains("--device cpu"));
    }

    #[test]
    fn a_gpu_that_there_is_not_is_not_well() {
        assert!(!is_well(1_000_000));
    }
}
