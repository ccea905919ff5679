//! The class of device that a worker offers and a job requires.

use crate::job::needs_gpu;

/// A class of device. A worker of class [`Gpu`](DeviceClass::Gpu) can train every job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceClass {
    /// As an offer: CPU slots only. As a requirement: any worker can train the job.
    Cpu,
    /// As an offer: GPU slots. As a requirement: only a GPU can train the job.
    Gpu,
}

impl DeviceClass {
    /// The class that jobs of a configuration in canonical form require.
    pub(super) fn required_by(configuration: &str) -> Self {
        if needs_gpu(configuration) { DeviceClass::Gpu } else { DeviceClass::Cpu }
    }

    /// Whether a worker of this class can train a job that requires `required`.
    pub fn can_train(self, required: DeviceClass) -> bool {
        self >= required
    }
}
