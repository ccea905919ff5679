//! Shows text of others: worker names, failures, logs, names in files. It may contain anything, so it is escaped before it reaches a
//! terminal or a log. Escaped text cannot end its line, move the cursor, change colours or reverse the order of letters.
//!
//! Text that plusminus prints and did not write itself goes through [`line()`], [`shortened()`], [`block()`] or [`message()`] where it is
//! put into a sentence or a table. [`page()`] is the last defence, for whole outputs.

use std::fmt::{self, Write};

/// The most characters of a line that are shown.
pub const LINE: usize = 2_000;
/// The most lines of a block that are shown.
pub const LINES: usize = 200;
/// What precedes each line of a block. No line of plusminus's own output starts like this.
pub const MARGIN: &str = "    | ";

/// Whether a character is shown as it is: it is visible or a space, and affects no other character.
pub fn is_plain(c: char) -> bool {
    let invisible = matches!(c,
        // Soft hyphen, joiners, fillers and vowel separators without a glyph.
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}'
        // Zero-width characters and marks of direction.
        | '\u{61c}' | '\u{200b}'..='\u{200f}'
        // Separators of lines and paragraphs; embeddings, overrides and isolates of direction; invisible operators.
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        // Variation selectors, the byte order mark, annotations, musical and shorthand controls, tags.
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    let unassigned = matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff) || matches!(c, '\u{fdd0}'..='\u{fdef}');
    !c.is_control() && !invisible && !unassigned
}

/// Shows `text` on one line, with visible escapes such as `\u{1b}` and at most [`LINE`] characters.
pub fn line(text: &str) -> Line<'_> {
    Line { text, limit: LINE, counts: true }
}

/// Shows at most `limit` characters of `text` on one line, with visible escapes. A longer text ends with `…`.
pub fn shortened(text: &str, limit: usize) -> Line<'_> {
    Line { text, limit, counts: false }
}

/// Shows the first line of `text` as [`line()`] does, and further lines as a [`block()`] below it. A crash log may follow a message.
pub fn message(text: &str) -> Message<'_> {
    Message(text)
}

/// Text that has its own line breaks and may contain text of others: line breaks and tabs stay, and other control characters and
/// invisible ones become JSON's escapes, such as `\u001b`. JSON stays JSON.
pub fn page(text: &str) -> String {
    let mut page = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) || matches!(c, '\n' | '\t') {
            page.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            page.push_str(&units);
        }
    }
    page
}

/// Shows `text` on lines of its own, each after [`MARGIN`]; at most [`LINES`] lines, the last ones of a longer text. It ends without a
/// line break.
pub fn block(text: &str) -> Block<'_> {
    Block(text)
}

/// Text on one line; see [`line()`].
#[derive(Clone, Copy, Debug)]
pub struct Line<'t> {
    text: &'t str,
    limit: usize,
    /// Whether the text ends with the number of missing characters.
    counts: bool,
}

/// A message and what follows it; see [`message()`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'t>(&'t str);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end().split_once('\n') {
            Some((first, rest)) => write!(f, "{}\n{}", line(first.trim_end()), block(rest)),
            None => line(self.0.trim_end()).fmt(f),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.text.chars();
        for c in rest.by_ref().take(self.limit) {
            if is_plain(c) {
                f.write_char(c)?;
            } else if matches!(c, '\n' | '\r' | '\t') {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        match rest.count() {
            0 => Ok(()),
            _ if !self.counts => f.write_char('…'),
            more => write!(f, "… ({more} more characters)"),
        }
    }
}

/// Text on several lines; see [`block()`].
#[derive(Clone, Copy, Debug)]
pub struct Block<'t>(&'t str);

impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.lines().count();
        let mut separator = "";
        if all > LINES {
            write!(f, "{MARGIN}… ({} earlier lines)", all - LINES)?;
            separator = "\n";
        }
        for text in self.0.lines().skip(all.saturating_sub(LINES)) {
            write!(f, "{separator}{MARGIN}{}", line(text))?;
            separator = "\n";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_text_is_shown_as_visible_escapes_on_one_line() {
        let cases = [
            ("plain text, Grüße, 漢字, ± 😀", "plain text, Grüße, 漢字, ± 😀"),
            ("w\nsmall  9 jobs: 9 finished", r"w\nsmall  9 jobs: 9 finished"),
            ("a\r\nb\tc\0", r"a\r\nb\tc\u{0}"),
            ("\u{1b}[31mred\u{1b}[0m", r"\u{1b}[31mred\u{1b}[0m"),
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("\u{9b}2J\u{85}\u{7f}", r"\u{9b}2J\u{85}\u{7f}"),
            ("left\u{202e}thgir\u{202c}", r"left\u{202e}thgir\u{202c}"),
            ("\u{2066}a\u{2069}\u{200f}\u{61c}", r"\u{2066}a\u{2069}\u{200f}\u{61c}"),
            ("ze\u{200b}ro\u{feff}\u{2060}", r"ze\u{200b}ro\u{feff}\u{2060}"),
            ("a\u{2028}b\u{2029}c", r"a\u{2028}b\u{2029}c"),
            ("\u{e0041}\u{fe0f}\u{ffff}", r"\u{e0041}\u{fe0f}\u{ffff}"),
        ];
        for (text, shown) in cases {
            assert_eq!(line(text).to_string(), shown);
        }
    }

    #[test]
    fn long_text_is_cut_and_tells_how_much_is_missing() {
        assert_eq!([shortened("abcdef", 4), shortened("abcd", 4)].map(|text| text.to_string()), ["abcd…", "abcd"]);
        assert!(line(&"x".repeat(LINE + 2)).to_string().ends_with("xx… (2 more characters)"));
        let long = block(&"x\n".repeat(LINES + 5)).to_string();
        assert_eq!((long.lines().count(), long.lines().next()), (LINES + 1, Some("    | … (5 earlier lines)")));
    }

    #[test]
    fn every_line_of_a_block_has_a_margin() {
        let shown = block("thread 'main' panicked\n  at \u{1b}[1mx.rs\nsmall  9 jobs: 9 finished\n").to_string();
        let expected = "    | thread 'main' panicked\n    |   at \\u{1b}[1mx.rs\n    | small  9 jobs: 9 finished";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_message_is_followed_by_its_log() {
        assert_eq!(message("it died\n").to_string(), "it died");
        assert_eq!(
            message("it died\r\nsmall  9 jobs\n\nb").to_string(),
            "it died\n    | small  9 jobs\n    | \n    | b"
        );
    }

    #[test]
    fn a_page_keeps_its_lines_and_stays_json() {
        let text = "a\tb\n\u{1b}[31m\u{202e}\u{e0041}é";
        assert_eq!(page(text), "a\tb\n\\u001b[31m\\u202e\\udb40\\udc41é");
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        assert_eq!(serde_json::from_str::<[String; 1]>(&page(&json)).unwrap(), [text]);
    }

    proptest! {
        #[test]
        fn a_page_of_any_text_has_only_plain_characters_and_breaks(text in any::<String>()) {
            prop_assert!(page(&text).chars().all(|c| is_plain(c) || c == '\n' || c == '\t'));
            prop_assert!(message(&text).to_string().split('\n').all(|line| line.chars().all(is_plain)));
        }

        #[test]
        fn one_line_of_any_text_stays_one_line_of_plain_characters(text in any::<String>()) {
            prop_assert!(line(&text).to_string().chars().all(is_plain));
        }

        #[test]
        fn a_block_of_any_text_has_a_margin_before_each_plain_line(text in "(?s).{0,200}") {
            for shown in block(&text).to_string().split('\n').filter(|_| !text.is_empty()) {
                prop_assert!(shown.starts_with(MARGIN) && shown.chars().all(is_plain), "{shown:?}");
            }
        }
    }
}
