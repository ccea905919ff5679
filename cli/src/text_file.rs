//! Files that users write: their text, or why they have none.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// Returns the text of a file.
///
/// # Errors
/// If the file cannot be read, or is not encoded in UTF-8.
pub fn read(path: &Path) -> Result<String> {
    decode(fs::read(path)?).map_err(|problem| Error::new(ErrorKind::InvalidData, problem))
}

/// Returns the remedy for an error of [`read`].
pub fn remedy(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidData => "save the file as UTF-8",
        ErrorKind::IsADirectory => "give a file",
        _ => "check the path",
    }
}

fn decode(bytes: Vec<u8>) -> std::result::Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("the file is encoded in UTF-16".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not encoded in UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_encodings_are_named_with_the_line() {
        assert_eq!(decode(b"sweep: a\n".to_vec()).as_deref(), Ok("sweep: a\n"));
        assert_eq!(decode(vec![0xff, 0xfe, b's', 0]).unwrap_err(), "the file is encoded in UTF-16");
        assert_eq!(decode(b"sweep: a\n# Universit\xe4t\n".to_vec()).unwrap_err(), "line 2 is not encoded in UTF-8");
    }
}
