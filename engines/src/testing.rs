//! Helpers for tests of this crate and of those that use it.

use plusminus_core::methods::losses::{Cce, Loss};
use plusminus_cuda::twin::Twin;
use plusminus_cuda::{Convolution, Device, DeviceError, DeviceMemory, HostBuffer, HostValues, Kind, Recording};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The loss of an engine's step: the mean cross entropy of a batch with these labels.
pub fn cross_entropy(labels: &[u32]) -> impl FnMut(&[f32], &mut [f32]) -> f64 {
    |logits, gradient| Loss::Cce(Cce {}).value_and_gradient(logits, logits.len() / labels.len(), labels, gradient)
}

/// A twin that an engine shares with its test.
#[derive(Clone, Default)]
pub struct SharedTwin(Arc<Mutex<Twin>>);

impl SharedTwin {
    /// The twin, locked.
    pub fn lock(&self) -> MutexGuard<'_, Twin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for SharedTwin {
    fn name(&self) -> String {
        self.lock().name()
    }

    fn reproducibility_key(&self) -> String {
        self.lock().reproducibility_key()
    }

    fn allocate(&mut self, kind: Kind, length: usize) -> Result<DeviceMemory, DeviceError> {
        self.lock().allocate(kind, length)
    }

    fn free(&mut self, memory: DeviceMemory) -> Result<(), DeviceError> {
        self.lock().free(memory)
    }

    fn capacity(&self) -> usize {
        self.lock().capacity()
    }

    fn write(&mut self, values: HostValues<'_>, to: DeviceMemory) -> Result<(), DeviceError> {
        self.lock().write(values, to)
    }

    fn read(&self, from: DeviceMemory, values: HostBuffer<'_>) -> Result<(), DeviceError> {
        self.lock().read(from, values)
    }

    fn launch(&mut self, launch: &plusminus_cuda::Launch) -> Result<(), DeviceError> {
        self.lock().launch(launch)
    }

    fn convolve(&mut self, convolution: &Convolution) -> Result<bool, DeviceError> {
        self.lock().convolve(convolution)
    }

    fn record(&mut self) -> Result<(), DeviceError> {
        self.lock().record()
    }

    fn recorded(&mut self) -> Result<Recording, DeviceError> {
        self.lock().recorded()
    }

    fn play(&mut self, recording: Recording) -> Result<(), DeviceError> {
        self.lock().play(recording)
    }

    fn forget(&mut self) {
        self.lock().forget();
    }
}
