//! Reads a safetensors file from start to end.

use super::array_names::ArrayNames;
use super::error::InitialWeightsError;
use plusminus_core::outcome::Start;
use plusminus_engines::{Role, WeightEntry, Weights};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};

/// The most bytes of a header. That of ResNet-50 has 40,000.
const LONGEST_HEADER: u64 = 16 << 20;

/// Weights that were read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedWeights {
    /// All weights of the network. A classifier that the file does not provide has its random values.
    pub weights: Weights,
    /// The file's digest, for the facts of the job.
    pub start: Start,
}

/// A file with its name for error messages and the digest of the bytes read so far.
pub(super) struct SafetensorsReader<R> {
    file: String,
    source: R,
    hasher: blake3::Hasher,
}

impl<R: Read> SafetensorsReader<R> {
    /// Reads the header of a file of `length` bytes. It must account for all of them.
    pub fn open(file: String, source: R, length: u64) -> Result<(Self, Metadata), InitialWeightsError> {
        let mut reader = SafetensorsReader { file, source, hasher: blake3::Hasher::new() };
        if length < 8 {
            return Err(reader.format(format!("expected at least 8 bytes, found {length}")));
        }
        let size = u64::from_le_bytes(reader.read_bytes(8)?.try_into().unwrap_or_default());
        if size > LONGEST_HEADER || size > length - 8 {
            return Err(reader.format(format!("the file has {length} bytes, its header claims {size}")));
        }
        let header = reader.read_bytes(size as usize)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| reader.format(format!("malformed header: {error}")))?;
        let expected = (header.data_len() as u64).checked_add(8 + size);
        if expected != Some(length) {
            let expected = expected.map_or_else(|| "more".to_owned(), |expected| expected.to_string());
            return Err(reader.format(format!("expected {expected} bytes, found {length}")));
        }
        Ok((reader, header))
    }

    /// Reads the arrays with these `names` into `weights`.
    pub fn read(
        mut self,
        header: &Metadata,
        names: &ArrayNames,
        mut weights: Weights,
    ) -> Result<LoadedWeights, InitialWeightsError> {
        let plan = weights.plan().clone();
        let arrays: Vec<(&WeightEntry, &str)> =
            plan.entries().iter().zip(names.arrays.iter().map(String::as_str)).collect();
        let other_classes = names.classifier.is_some_and(|classifier| {
            let [matrix, bias] = classifier.map(|position| (arrays[position].0, header.info(arrays[position].1)));
            matches!((matrix, bias), ((entry, Some(matrix)), (_, Some(bias))) if for_other_classes(entry, matrix, bias))
        });
        let stays_random = |position: usize| {
            other_classes && names.classifier.is_some_and(|classifier| classifier.contains(&position))
        };
        // All checks come before the first value is read, so no more is read than the network has.
        for (position, (entry, name)) in arrays.iter().enumerate() {
            self.check(entry, name, header.info(name), stays_random(position))?;
        }
        let positions: HashMap<&str, usize> =
            arrays.iter().enumerate().map(|(position, (_, name))| (*name, position)).collect();
        let keys = header.offset_keys();
        let ignored = |name: &str| names.ignored.is_some_and(|ending| name.ends_with(ending));
        if let Some(name) = keys.iter().find(|name| !positions.contains_key(name.as_str()) && !ignored(name)) {
            return Err(InitialWeightsError::Unknown { file: self.file, name: name.clone() });
        }
        // In the order of the file, where arrays follow each other without gaps.
        for (name, info) in keys.iter().filter_map(|name| Some((name, header.info(name)?))) {
            let bytes = info.data_offsets.1 - info.data_offsets.0;
            match positions.get(name.as_str()) {
                Some(position) if !stays_random(*position) => {
                    let bytes = self.read_bytes(bytes)?;
                    let entry = arrays[*position].0;
                    let values = &mut weights.values_mut()[entry.range.clone()];
                    convert(&bytes, info.dtype, values);
                    self.check_values(entry, name, values)?;
                }
                _ => self.skip(bytes as u64)?,
            }
        }
        let digest = self.hasher.finalize().to_hex().to_string();
        Ok(LoadedWeights { weights, start: Start { digest, random_classifier: other_classes } })
    }

    /// Checks the presence, shape and element type of the array for `entry`. An array that stays `random` may have any shape.
    fn check(
        &self,
        entry: &WeightEntry,
        name: &str,
        info: Option<&TensorInfo>,
        random: bool,
    ) -> Result<(), InitialWeightsError> {
        let (file, name) = (self.file.clone(), name.to_owned());
        let Some(info) = info else { return Err(InitialWeightsError::Missing { file, name }) };
        if !random && info.shape != entry.shape {
            return Err(InitialWeightsError::Shape {
                file,
                name,
                expected: entry.shape.clone(),
                found: info.shape.clone(),
            });
        }
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(InitialWeightsError::Type { file, name, found: info.dtype });
        }
        Ok(())
    }

    fn check_values(&self, entry: &WeightEntry, name: &str, values: &[f32]) -> Result<(), InitialWeightsError> {
        let variance = entry.role == Role::RunningVariance;
        let sound = |value: f32| value.is_finite() && !(variance && value < 0.0);
        let Some(index) = values.iter().position(|value| !sound(*value)) else { return Ok(()) };
        let expected = if variance { "a finite number that is not negative" } else { "a finite number" };
        let (file, name) = (self.file.clone(), name.to_owned());
        Err(InitialWeightsError::Value { file, name, index, value: values[index], expected })
    }

    /// Reads the next `count` bytes.
    fn read_bytes(&mut self, count: usize) -> Result<Vec<u8>, InitialWeightsError> {
        let mut bytes = vec![0; count];
        let read = self.source.read_exact(&mut bytes);
        self.hasher.update(&bytes);
        read.map(|()| bytes).map_err(|error| self.failed(error))
    }

    /// Skips the next `count` bytes, which still count for the digest.
    fn skip(&mut self, count: u64) -> Result<(), InitialWeightsError> {
        match io::copy(&mut self.source.by_ref().take(count), &mut self.hasher) {
            Ok(skipped) if skipped == count => Ok(()),
            Ok(_) => Err(self.failed(ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, source: io::Error) -> InitialWeightsError {
        match source.kind() {
            // The file became shorter while it was read.
            ErrorKind::UnexpectedEof => self.format("it ends too early".to_owned()),
            _ => InitialWeightsError::Read { file: self.file.clone(), source },
        }
    }

    fn format(&self, problem: String) -> InitialWeightsError {
        InitialWeightsError::Format { file: self.file.clone(), problem }
    }
}

/// Whether `matrix` and `bias` are a classifier with as many features as `entry`, for another number of classes.
fn for_other_classes(entry: &WeightEntry, matrix: &TensorInfo, bias: &TensorInfo) -> bool {
    match (entry.shape.as_slice(), matrix.shape.as_slice(), bias.shape.as_slice()) {
        ([classes, features], [others, found], [biases]) => {
            found == features && others == biases && others != classes && *others > 0
        }
        _ => false,
    }
}

/// Converts little-endian numbers of type `dtype` to `values`, which has the right length.
fn convert(bytes: &[u8], dtype: Dtype, values: &mut [f32]) {
    match dtype {
        Dtype::F16 => half(bytes, values, from_f16),
        // BF16 is the upper half of an `f32`.
        Dtype::BF16 => half(bytes, values, |bits| f32::from_bits(u32::from(bits) << 16)),
        _ => {
            let bytes = bytes.as_chunks().0.iter();
            bytes.zip(values).for_each(|(bytes, value)| *value = f32::from_le_bytes(*bytes));
        }
    }
}

fn half(bytes: &[u8], values: &mut [f32], value: impl Fn(u16) -> f32) {
    let bytes = bytes.as_chunks().0.iter();
    bytes.zip(values).for_each(|(bytes, to)| *to = value(u16::from_le_bytes(*bytes)));
}

/// The value of an IEEE 754 binary16 number. `f32` represents all of them.
fn from_f16(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f32::from(bits & 0x3FF));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1F if fraction == 0.0 => f32::INFINITY,
        0x1F => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    #[test]
    fn half_precision_numbers_convert_as_in_candle() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for (dtype, theirs) in [(Dtype::F16, DType::F16), (Dtype::BF16, DType::BF16)] {
            let mut found = vec![0.0; 1 << 16];
            convert(&bytes, dtype, &mut found);
            let expected = Tensor::from_raw_buffer(&bytes, theirs, &[1 << 16], &Device::Cpu).unwrap();
            let expected: Vec<f32> = expected.to_dtype(DType::F32).unwrap().to_vec1().unwrap();
            for (bits, (found, expected)) in found.iter().zip(expected).enumerate() {
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{dtype:?} {bits:#06x}: {found} for {expected}");
            }
        }
    }
}
