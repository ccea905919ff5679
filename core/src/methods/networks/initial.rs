//! Weights from a file that a network starts with in place of random ones.

use serde::{Deserialize, Serialize};

/// The file that a network's initial weights are taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialWeights {
    /// Its name, looked for in the directories of data sets; see [`InitialWeights::check_file`].
    pub file: String,
    /// BLAKE3 of its bytes, in hexadecimal: with it, a job starts from this content or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

/// The kind of file that is read.
const SUFFIX: &str = ".safetensors";

/// The longest name, in bytes.
const LONGEST: usize = 1_024;

impl InitialWeights {
    /// Checks that `file` names a safetensors file within a directory: parts between slashes, none of which leads out of it.
    ///
    /// # Errors
    /// What is expected of a name.
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
            _ => Err(format!("expected a file in the format of safetensors, whose name ends with `{SUFFIX}`")),
        }
    }

    /// Checks that `digest` can be one of BLAKE3.
    ///
    /// # Errors
    /// What is expected of a digest.
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
    fn a_name_that_leads_out_of_its_directory_or_is_of_another_format_is_refused() {
        for file in ["resnet50.safetensors", "weights/v1.5/resnet50.safetensors", "a b..safetensors"] {
            assert_eq!(InitialWeights::check_file(file), Ok(()), "{file}");
        }
        let outside =
            ["", "/etc/a.safetensors", "../a.safetensors", "a//b.safetensors", "a/./b.safetensors", "a\\b.safetensors"];
        for file in outside.into_iter().chain(["c:a.safetensors", "a\n.safetensors", "a/../b.safetensors"]) {
            let refused = InitialWeights::check_file(file).unwrap_err();
            assert!(refused.starts_with("expected the name of a file below"), "{file:?}: {refused}");
        }
        for file in ["resnet50.pth", "safetensors", ".safetensors", "a/.safetensors", "a.safetensors.gz"] {
            let refused = InitialWeights::check_file(file).unwrap_err();
            assert!(refused.ends_with("whose name ends with `.safetensors`"), "{file:?}: {refused}");
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
    fn the_canonical_form_has_a_digest_only_where_there_is_one() {
        let mut weights = InitialWeights { file: "a.safetensors".to_owned(), blake3: None };
        assert_eq!(serde_json::to_string(&weights).unwrap(), r#"{"file":"a.safetensors"}"#);
        weights.blake3 = Some("0af9".repeat(16));
        let text = serde_json::to_string(&weights).unwrap();
        assert_eq!(serde_json::from_str::<InitialWeights>(&text).unwrap(), weights);
    }
}
