//! Bounds the text of a failure.
//!
//! A runner's log may hold megabytes in one line, and a job may fail hundreds of times. The store, every reply and the memory of the
//! coordinator hold these texts, so a text is cut where a [`Failure`](crate::outcome::Failure) is made.

/// The most bytes of a failure's text, the mark of the cut included.
pub const MOST: usize = 4096;
/// The bytes that are kept of the beginning, which says what happened. The rest is kept of the end, which is the end of a log.
const BEGINNING: usize = 1536;
/// Room for the mark of the cut.
const MARK: usize = 64;

/// The text, or its beginning and its end if it is longer than [`MOST`].
pub fn bounded(text: String) -> String {
    if text.len() <= MOST {
        return text;
    }
    let boundary = |at: &usize| text.is_char_boundary(*at);
    let beginning = (0..=BEGINNING).rev().find(boundary).unwrap_or(0);
    let end = (text.len() - (MOST - MARK - BEGINNING)..text.len()).find(boundary).unwrap_or(text.len());
    let (beginning, end) = (&text[..beginning], &text[end..]);
    let left_out = text.len() - beginning.len() - end.len();
    format!("{beginning}\n… {left_out} bytes left out …\n{end}")
}

/// The first line of a text, at most `most` characters of it.
pub fn first_line(text: &str, most: usize) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let text = format!("the runner was ended by signal 11\n{}the last line", "x".repeat(3_000_000));
        let cut = bounded(text);
        assert!(cut.len() <= MOST, "{}", cut.len());
        assert!(cut.starts_with("the runner was ended by signal 11\nxxx") && cut.ends_with("xxxthe last line"));
        assert!(cut.contains("\n… 2996015 bytes left out …\n"), "{}", &cut[BEGINNING..BEGINNING + 60]);
    }

    #[test]
    fn a_text_of_ordinary_length_stays_as_it_is() {
        for text in [String::new(), "é".repeat(MOST / 2), "x".repeat(MOST)] {
            assert_eq!(bounded(text.clone()), text);
        }
    }

    #[test]
    fn the_first_line_is_cut_between_characters() {
        assert_eq!(first_line("\n no data set\ngive --datasets", 20), "no data set");
        assert_eq!(first_line("ééé", 2), "éé…");
        assert_eq!(first_line("", 2), "");
    }

    proptest! {
        #[test]
        fn a_cut_text_is_short_and_is_not_cut_again(parts in prop::collection::vec("[a-z🦀é\n]{0,40}", 0..400)) {
            let text = parts.concat();
            let cut = bounded(text.clone());
            prop_assert!(cut.len() <= MOST);
            prop_assert_eq!(bounded(cut.clone()), cut.clone());
            prop_assert!(text.len() > MOST || cut == text);
        }
    }
}
