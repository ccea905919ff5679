//! Labels from a file, such as those that people gave: how the file may be called. The trainer reads it.

use std::path::{Component, Path};

/// What is wrong with the name of a file of labels, which is looked for in the directories of data sets and nowhere else: a sweep
/// file that came from somewhere else shall not name any file of a worker's machine.
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
