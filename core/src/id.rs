//! Identifiers of jobs, cells, sweeps, workers, attempts and weights files.

use crate::display_text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is not an identifier of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found \"{}\"", display_text::shortened(found, 80))]
pub struct IdError {
    expected: &'static str,
    found: String,
}

impl IdError {
    /// The expected form, as a noun phrase.
    pub fn expected(&self) -> &'static str {
        self.expected
    }
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// The first 128 bits of the BLAKE3 hash of `parts`. Each part is preceded by its length, so that different lists of parts never
            /// hash the same bytes.
            pub(crate) fn of(parts: &[&[u8]]) -> Self {
                let mut hasher = blake3::Hasher::new_derive_key(concat!("plusminus 1 ", stringify!($name)));
                for part in parts {
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
                let mut id = [0; 16];
                id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
                $name(id)
            }

            /// The id with these 16 bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(bytes)
            }

            /// The 16 bytes of the id.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The id as a number. Ids are hashes, so every part of it is uniformly distributed.
            #[allow(dead_code, reason = "only job ids are looked up by number")]
            pub(crate) fn number(&self) -> u128 {
                u128::from_be_bytes(self.0)
            }

            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // A large sweep writes a million ids and a restart reads them, so this avoids the slower number formatting.
                let mut text = [0; 32];
                for (digits, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
                    digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
                }
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError { expected: "32 hexadecimal digits", found: text.to_owned() };
                let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| wrong())?;
                let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8).ok_or_else(wrong);
                let mut id = [0; 16];
                for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = digit(pair[0])? << 4 | digit(pair[1])?;
                }
                Ok($name(id))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

hash_id! {
    /// Identifies a cell: the hash of its configuration in canonical form, without a seed.
    CellId
}
hash_id! {
    /// Identifies a job: the hash of its cell and its seed.
    JobId
}

impl CellId {
    /// The cell of a configuration in canonical form.
    pub fn of_canonical(configuration: &str) -> Self {
        CellId::of(&[configuration.as_bytes()])
    }
}

/// Identifies a weights file: the BLAKE3 hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a file with this content.
    pub fn of(content: &[u8]) -> Self {
        Digest(*blake3::hash(content).as_bytes())
    }

    /// The file's name in a directory of kept weights.
    pub fn file_name(&self) -> String {
        format!("{self}.safetensors")
    }
}

/// Computes the [`Digest`] of a file that is read in parts.
#[derive(Clone, Debug, Default)]
pub struct Digester(blake3::Hasher);

impl Digester {
    /// Adds the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all parts so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let hash = blake3::Hash::from_hex(text);
        let wrong = || IdError { expected: "64 hexadecimal digits", found: text.to_owned() };
        hash.map(|hash| Digest(*hash.as_bytes())).map_err(|_| wrong())
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// The name of a sweep: at most 100 letters, digits, `-`, `_` and `.`, the first of which is a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SweepName(String);

impl SweepName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SweepName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let good = text.len() <= 100
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if good {
            Ok(SweepName(text.to_owned()))
        } else {
            Err(IdError { expected: "a name of at most 100 letters, digits, `-`, `_` and `.`", found: text.to_owned() })
        }
    }
}

impl TryFrom<String> for SweepName {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<SweepName> for String {
    fn from(name: SweepName) -> String {
        name.0
    }
}

impl fmt::Display for SweepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of one try at a job, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The attempt after this one.
    pub fn next(self) -> Attempt {
        Attempt(self.0 + 1)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one attempt at one job. Every report of a worker carries it, so that reports of superseded attempts can be fenced off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct AttemptId {
    /// The job.
    pub job: JobId,
    /// The attempt's number, from 1.
    pub attempt: Attempt,
}

impl AttemptId {
    /// The attempt with this number at `job`.
    pub fn new(job: JobId, attempt: Attempt) -> Self {
        AttemptId { job, attempt }
    }
}

/// The name of a worker: 1 to 100 letters, digits and some punctuation. It stays the same over reconnections and restarts of the worker.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct WorkerName(pub String);

impl WorkerName {
    /// The most characters of a name.
    pub const LONGEST: usize = 100;

    /// Whether a name may contain the character.
    pub fn is_allowed(c: char) -> bool {
        c.is_ascii_alphanumeric() || "-_.:@+".contains(c)
    }
}

impl FromStr for WorkerName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let good = !text.is_empty() && text.len() <= WorkerName::LONGEST && text.chars().all(WorkerName::is_allowed);
        let expected = "a worker name of 1 to 100 letters, digits, `-`, `_`, `.`, `:`, `@` and `+`";
        good.then(|| WorkerName(text.to_owned())).ok_or_else(|| IdError { expected, found: text.to_owned() })
    }
}

/// Names that older versions allowed may contain anything.
impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display_text::shortened(&self.0, WorkerName::LONGEST).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_formatting_and_parsing() {
        let id = JobId::of(&[b"a", b"b"]);
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        assert_ne!(id, JobId::of(&[b"ab"]));
        let digits = "00ff10a2b3c4d5e6f708192a3b4c5d6e";
        assert_eq!(digits.to_uppercase().parse::<JobId>().unwrap().to_string(), digits);
        let digest = Digest::of(b"weights");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        let mut parts = Digester::default();
        ["wei", "", "ghts"].iter().for_each(|part| parts.update(part.as_bytes()));
        assert_eq!(parts.finish(), digest);
    }

    #[test]
    fn malformed_ids_are_refused() {
        assert!("+0000000000000000000000000000000".parse::<JobId>().is_err());
        assert!("xyz".parse::<CellId>().is_err());
        assert!("000000000000000000000000000000ü".parse::<CellId>().is_err());
        assert!("../up".parse::<Digest>().is_err());
        assert!("".parse::<SweepName>().is_err());
        assert!("../up".parse::<SweepName>().is_err());
        let long = "n".repeat(101);
        for name in ["", "a b", "w\nsmall  9 jobs", "\u{1b}[31m", "w\u{202e}", "wörker", long.as_str()] {
            assert!(name.parse::<WorkerName>().is_err(), "{name:?}");
        }
        assert!("gpu-7.cluster.example:2@rack+1_a".parse::<WorkerName>().is_ok());
        assert_eq!(WorkerName("w\n9 finished".into()).to_string(), r"w\n9 finished", "an old name is shown escaped");
    }
}
