//! Errors of devices.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_full_is_told_of_with_how_much_was_asked_for_if_that_is_known() {
        let text = |wanted| DeviceError::OutOfMemory { wanted }.to_string();
        assert!(text(12).starts_with("the device's memory is full: 12 bytes more were asked for; use fewer slots"));
        assert!(text(0).starts_with("the device's memory is full; use fewer slots"));
    }
}
