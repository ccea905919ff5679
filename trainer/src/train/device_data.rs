//! A job's samples in the memory of the engine's device.

use super::failure::engine_failure;
use crate::data::{InputPipeline, LoadedDataset, SampleSet, SampleValues};
use plusminus_core::outcome::Failure;
use plusminus_engines::{Engine, Samples};

/// Evidence that the engine's device holds the data: the training file, then the data set's own validation samples, then the test
/// file, numbered without gaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceData;

impl DeviceData {
    /// Copies the data to the engine's device. Returns `None` if the engine has no device, the data are not in memory, or they do not
    /// fit.
    pub fn upload(
        data: &LoadedDataset,
        inputs: &InputPipeline,
        engine: &mut dyn Engine,
    ) -> Result<Option<Self>, Failure> {
        let Some(device) = engine.on_device() else { return Ok(None) };
        let Some(samples) = samples(data, inputs) else { return Ok(None) };
        Ok(device.hold_samples(&samples).map_err(engine_failure)?.then_some(DeviceData))
    }

    /// The device's number of the first sample of `sample_set`, which must be a part of `data`.
    pub fn offset(self, data: &LoadedDataset, sample_set: &SampleSet) -> usize {
        let before = parts(data).into_iter().take_while(|part| !std::ptr::eq(*part, sample_set));
        before.map(SampleSet::len).sum()
    }
}

/// All parts, in the order in which a device holds them.
fn parts(data: &LoadedDataset) -> Vec<&SampleSet> {
    [Some(&data.train), data.validation.as_ref(), Some(&data.test)].into_iter().flatten().collect()
}

/// The samples as a device takes them; `None` if some of them are in files.
fn samples<'a>(data: &'a LoadedDataset, inputs: &'a InputPipeline) -> Option<Samples<'a>> {
    let parts = parts(data);
    let (table, centre) = inputs.lookup_table();
    let bytes = parts.iter().map(|part| match &part.values {
        SampleValues::Bytes(bytes) => Some(&**bytes),
        _ => None,
    });
    let tokens = parts.iter().map(|part| match &part.values {
        SampleValues::Tokens(tokens) => Some(&**tokens),
        _ => None,
    });
    let images = bytes.collect::<Option<_>>().map(|parts| Samples::Images { parts, table, centre });
    images.or_else(|| tokens.collect::<Option<_>>().map(|parts| Samples::Tokens { parts }))
}
