//! Initial weights of a network from a file.

use serde::{Deserialize, Serialize};

/// The file with the initial weights of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialWeights {
    /// Its name below a directory of data sets; see [`InitialWeights::check_file`].
    pub file: String,
    /// BLAKE3 digest of its bytes in hexadecimal; a job fails if the file differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

/// The suffix of a valid file name.
const SUFFIX: &str = ".safetensors";

/// The longest name, in bytes.
const LONGEST: usize = 1_024;

impl InitialWeights {
    /// Checks that `file` names a safetensors file inside a directory: no part between slashes may lead out of it.
    ///
    /// # Errors
    /// A phrase that starts with "expected".
    pub fn check_file(file: &str) -> Result<(), String> {
        if file.len() > LONGEST {
            return Err(format!("expected a name of at most {LONGEST} bytes"));
        }
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']);
        if !file.split('/').all(plain) || file.contains(char::is_control) {
            return Err("expected the name of a file below a directory of data sets, such as \
                        `weights/resnet50.safetensors`"
                .to_owned());
        }
        match file.strip_suffix(SUFFIX) {
            Some(stem) if !stem.is_empty() && !stem.ends_with('/') => Ok(()),
            _ => Err(format!("expected a safetensors file, whose name ends with `{SUFFIX}`")),
        }
    }

    /// Checks that `digest` has the form of a BLAKE3 digest.
    ///
    /// # Errors
    /// A phrase that starts with "expected".
    pub fn check_blake3(digest: &str) -> Result<(), String> {
        let hexadecimal = digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digest.len() == 64 && hexadecimal {
            return Ok(());
        }
        Err("expected 64 hexadecimal digits in lower case, as `b3sum FILE` prints them".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outside_its_directory_or_of_another_format_is_rejected() {
        for file in ["resnet50.safetensors", "weights/v1.5/resnet50.safetensors", "a b..safetensors"] {
            assert_eq!(InitialWeights::check_file(file), Ok(()), "{file}");
        }
        let outside =
            ["", "/etc/a.safetensors", "../a.safetensors", "a//b.safetensors", "a/./b.safetensors", "a\\b.safetensors"];
        for file in outside.into_iter().chain(["c:a.safetensors", "a\n.safetensors", "a/../b.safetensors"]) {
            let error = InitialWeights::check_file(file).unwrap_err();
            assert!(error.starts_with("expected the name of a file below"), "{file:?}: {error}");
        }
        for file in ["resnet50.pth", "safetensors", ".safetensors", "a/.safetensors", "a.safetensors.gz"] {
            let error = InitialWeights::check_file(file).unwrap_err();
            assert!(error.ends_with("whose name ends with `.safetensors`"), "{file:?}: {error}");
        }
        assert!(InitialWeights::check_file(&format!("{}.safetensors", "a".repeat(LONGEST))).is_err());
    }

    #[test]
    fn a_digest_has_64_hexadecimal_digits() {
        assert_eq!(InitialWeights::check_blake3(&"0af9".repeat(16)), Ok(()));
        for digest in [String::new(), "0af9".repeat(15), "0AF9".repeat(16), "0ag9".repeat(16), "é".repeat(32)] {
            assert!(InitialWeights::check_blake3(&digest).is_err(), "{digest}");
        }
    }

    #[test]
    fn the_canonical_form_omits_an_absent_digest() {
        let mut weights = InitialWeights { file: "a.safetensors".to_owned(), blake3: None };
        assert_eq!(serde_json::to_string(&weights).unwrap(), r#"{"file":"a.safetensors"}"#);
        weights.blake3 = Some("0af9".repeat(16));
        let text = serde_json::to_string(&weights).unwrap();
        assert_eq!(serde_json::from_str::<InitialWeights>(&text).unwrap(), weights);
    }
}
