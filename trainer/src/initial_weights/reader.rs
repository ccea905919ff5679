//! A safetensors file from its beginning to its end.

use super::array_names::ArrayNames;
use super::{InitialWeightsError, LoadedWeights};
use plusminus_core::outcome::Start;
use plusminus_engines::{Role, WeightEntry, Weights};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};

/// The longest header, in bytes. ResNet-50's has 40,000.
const LONGEST_HEADER: u64 = 16 << 20;

/// A file that is read, with what it is called in errors and the digest of what was read.
pub(super) struct SafetensorsReader<R> {
    file: String,
    source: R,
    hasher: blake3::Hasher,
}

impl<R: Read> SafetensorsReader<R> {
    /// Reads the header of a file of so many bytes, which must account for all of them.
    pub fn open(file: String, source: R, length: u64) -> Result<(Self, Metadata), InitialWeightsError> {
        let mut reader = SafetensorsReader { file, source, hasher: blake3::Hasher::new() };
        if length < 8 {
            return Err(reader.format(format!("it has {length} bytes, and the length of a header alone takes 8")));
        }
        let size = u64::from_le_bytes(reader.take(8)?.try_into().unwrap_or_default());
        if size > LONGEST_HEADER || size > length - 8 {
            return Err(reader.format(format!("it has {length} bytes, and its first eight name {size} for the header")));
        }
        let header = reader.take(size as usize)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| reader.format(format!("its header: {error}")))?;
        let expected = (header.data_len() as u64).checked_add(8 + size);
        if expected != Some(length) {
            let expected = expected.map_or_else(|| "more".to_owned(), |expected| expected.to_string());
            return Err(reader.format(format!("expected {expected} bytes, found {length}")));
        }
        Ok((reader, header))
    }

    /// Reads the arrays that have `names`, and puts them into `weights`.
    pub fn read(
        mut self,
        header: &Metadata,
        names: &ArrayNames,
        mut weights: Weights,
    ) -> Result<LoadedWeights, InitialWeightsError> {
        let plan = weights.plan().clone();
        let arrays: Vec<(&WeightEntry, &str)> =
            plan.entries().iter().zip(names.arrays.iter().map(String::as_str)).collect();
        let other = names.classifier.is_some_and(|classifier| {
            let [matrix, bias] = classifier.map(|place| (arrays[place].0, header.info(arrays[place].1)));
            matches!((matrix, bias), ((entry, Some(matrix)), (_, Some(bias))) if for_other_classes(entry, matrix, bias))
        });
        let random = |place: usize| other && names.classifier.is_some_and(|classifier| classifier.contains(&place));
        // Before a value is read: what is read then is no more than the network has.
        for (place, (entry, name)) in arrays.iter().enumerate() {
            self.check(entry, name, header.info(name), random(place))?;
        }
        let places: HashMap<&str, usize> = arrays.iter().enumerate().map(|(place, (_, name))| (*name, place)).collect();
        let keys = header.offset_keys();
        let ignored = |name: &str| names.ignored.is_some_and(|ending| name.ends_with(ending));
        if let Some(name) = keys.iter().find(|name| !places.contains_key(name.as_str()) && !ignored(name)) {
            return Err(InitialWeightsError::Unknown { file: self.file, name: name.clone() });
        }
        // In the order of the file, in which one begins where the one before ends.
        for (name, info) in keys.iter().filter_map(|name| Some((name, header.info(name)?))) {
            let bytes = info.data_offsets.1 - info.data_offsets.0;
            match places.get(name.as_str()) {
                Some(place) if !random(*place) => {
                    let bytes = self.take(bytes)?;
                    let entry = arrays[*place].0;
                    let values = &mut weights.values_mut()[entry.range.clone()];
                    convert(&bytes, info.dtype, values);
                    self.check_values(entry, name, values)?;
                }
                _ => self.skip(bytes as u64)?,
            }
        }
        let digest = self.hasher.finalize().to_hex().to_string();
        Ok(LoadedWeights { weights, start: Start { digest, random_classifier: other } })
    }

    /// Checks that the file has the array that `entry` is, as what it can be read from; if it is `random`, of any extents.
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

    /// The next so many bytes.
    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, InitialWeightsError> {
        let mut taken = vec![0; bytes];
        let read = self.source.read_exact(&mut taken);
        self.hasher.update(&taken);
        read.map(|()| taken).map_err(|error| self.failed(error))
    }

    /// Passes over the next so many bytes.
    fn skip(&mut self, bytes: u64) -> Result<(), InitialWeightsError> {
        match io::copy(&mut self.source.by_ref().take(bytes), &mut self.hasher) {
            Ok(skipped) if skipped == bytes => Ok(()),
            Ok(_) => Err(self.failed(ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, source: io::Error) -> InitialWeightsError {
        match source.kind() {
            // It became shorter while it was read.
            ErrorKind::UnexpectedEof => self.format("it ends too soon".to_owned()),
            _ => InitialWeightsError::Read { file: self.file.clone(), source },
        }
    }

    fn format(&self, problem: String) -> InitialWeightsError {
        InitialWeightsError::Format { file: self.file.clone(), problem }
    }
}

/// Whether `matrix` and `bias` are a classifier on the features of the one whose matrix is `entry`, for another number of classes.
fn for_other_classes(entry: &WeightEntry, matrix: &TensorInfo, bias: &TensorInfo) -> bool {
    match (entry.shape.as_slice(), matrix.shape.as_slice(), bias.shape.as_slice()) {
        ([classes, features], [others, found], [biases]) => {
            found == features && others == biases && others != classes && *others > 0
        }
        _ => false,
    }
}

/// Puts little-endian values into `values`, of which there are as many.
fn convert(bytes: &[u8], dtype: Dtype, values: &mut [f32]) {
    match dtype {
        Dtype::F16 => half(bytes, values, from_f16),
        // The upper half of an `f32`.
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

/// A number of IEEE 754's binary16: all are numbers of `f32`.
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
    fn every_number_of_two_bytes_is_converted_as_candle_does() {
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
