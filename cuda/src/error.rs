//! Errors of devices and of the libraries behind them.

/// An error of a device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// The device has too little free memory.
    #[error("the device is out of memory{}; use fewer slots, a smaller batch or another device", requested(*.wanted))]
    OutOfMemory {
        /// Requested bytes; 0 if the driver or a library needed the memory for itself.
        wanted: usize,
    },
    /// A library, a driver or a GPU is missing; the text says which and what to do.
    #[error("{0}")]
    Missing(String),
    /// The kernels do not compile.
    #[error("the kernels do not compile for {architecture}: {log}")]
    Compilation {
        /// The target, such as `sm_90`.
        architecture: String,
        /// The compiler's log.
        log: String,
    },
    /// A call to the driver or a library failed.
    #[error("{call} failed: {reason}")]
    Failed {
        /// The function, such as `cuLaunchKernel`.
        call: String,
        /// The error's name and description.
        reason: String,
    },
    /// Arguments that do not match: a bug in this program.
    #[error("{0}")]
    InvalidArgument(String),
}

fn requested(wanted: usize) -> String {
    if wanted == 0 { String::new() } else { format!(": an allocation of {wanted} bytes failed") }
}

impl DeviceError {
    pub(crate) fn failed(call: impl Into<String>, reason: impl Into<String>) -> Self {
        DeviceError::Failed { call: call.into(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_errors_name_the_requested_bytes_if_known() {
        let text = |wanted| DeviceError::OutOfMemory { wanted }.to_string();
        assert!(text(12).starts_with("the device is out of memory: an allocation of 12 bytes failed; use fewer slots"));
        assert!(text(0).starts_with("the device is out of memory; use fewer slots"));
    }
}
