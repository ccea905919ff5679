//! Valid names of label files. The trainer reads the files.

use std::path::{Component, Path};

/// What is wrong with the name of a label file. The name must lie below a directory of data sets: a sweep file from elsewhere
/// must not name other files of a worker's host.
pub(super) fn wrong_name(name: &str) -> Option<&'static str> {
    let inside = |part| matches!(part, Component::Normal(_));
    match name {
        _ if name.trim().is_empty() => Some("an empty name"),
        _ if name.contains(|c: char| c.is_control() || c == '\\') => Some("a name with `\\` or control characters"),
        _ if !Path::new(name).components().all(inside) => Some("a path that leads out of the directory"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_the_directory_of_its_data_set() {
        for good in ["labels.txt", "cifar10n/worst.csv", "a..b", "Ü 1"] {
            assert_eq!(wrong_name(good), None, "{good}");
        }
        for wrong in ["", " ", "/etc/passwd", "../labels", "a/../../b", "./a", "a\nb", "C:\\labels"] {
            assert!(wrong_name(wrong).is_some(), "{wrong}");
        }
    }
}
