//! The diagnostics of a file, and suggestions for misspelt names.

use super::Problem;
use super::node::shortened;
use std::collections::BTreeSet;
use std::ops::Range;

/// The most problems that are reported; reading stops there.
const MOST: usize = 100;

/// The problems found so far. A problem of a value that a thousand combinations share is kept once.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    seen: BTreeSet<(usize, usize, String)>,
    /// Places of which no further problem is kept.
    closed: BTreeSet<(usize, usize)>,
    reports: usize,
    /// Where each line of the file starts.
    lines: Vec<usize>,
    /// Whether the file was accepted before, perhaps by an earlier version, which refused less.
    accepted_before: bool,
}

impl Problems {
    /// The problems of a file that is in a store. It has only the problems that every version has refused.
    pub(crate) fn of_stored_file() -> Self {
        Problems { accepted_before: true, ..Problems::default() }
    }

    /// Whether the file was accepted before, perhaps by an earlier version, which refused less.
    pub(crate) fn accepted_before(&self) -> bool {
        self.accepted_before
    }

    /// Notes where the lines of the file start.
    pub(crate) fn number_lines(&mut self, text: &str) {
        self.lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    }

    /// The number of the line with the byte `at`, from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at) + 1
    }

    /// Adds a problem, unless the same title was reported at the same place.
    pub(crate) fn report(&mut self, span: Range<usize>, title: String, label: String, help: Option<String>) {
        self.reports += 1;
        if !self.is_full()
            && !self.closed.contains(&(span.start, span.end))
            && self.seen.insert((span.start, span.end, title.clone()))
        {
            self.found.push(Problem { title, span, label, help });
        }
    }

    /// As [`Problems::report`], and drops later problems of the same place.
    pub(crate) fn report_final(&mut self, span: Range<usize>, title: String, label: String, help: Option<String>) {
        self.report(span.clone(), title, label, help);
        self.close(&span);
    }

    /// Drops later problems of this place.
    pub(crate) fn close(&mut self, span: &Range<usize>) {
        self.closed.insert((span.start, span.end));
    }

    /// Counts a problem that another one explains, so that what depends on it is not valid either.
    pub(crate) fn note_derived(&mut self) {
        self.reports += 1;
    }

    /// Whether a problem lies within `span`.
    pub(crate) fn any_within(&self, span: &Range<usize>) -> bool {
        let from = (span.start, 0, String::new());
        self.seen.range(from..).take_while(|(start, ..)| *start <= span.end).any(|(_, end, _)| *end <= span.end)
    }

    /// The number of reports so far, repetitions included. If it is unchanged, what was read in between is valid.
    pub(crate) fn reports(&self) -> usize {
        self.reports
    }

    /// Whether further problems are dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// The problems in the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| (problem.span.start, problem.span.end));
        self.found
    }
}

/// The one of `names` that `wrong` probably stands for, if any is near enough.
pub(crate) fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // A long text is not a typo, and comparing it is slow.
    if wrong.len() > 64 {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['_', ' '], "-");
    let wrong = plain(wrong);
    // A third of the characters may differ.
    let tolerance = (wrong.chars().count() / 3).clamp(1, 4);
    let names: Vec<_> = names.into_iter().collect();
    // `vgg16` for `vgg16-bn`, if only one name starts like this.
    let mut longer = names.iter().filter(|name| wrong.len() >= 4 && plain(name).starts_with(&format!("{wrong}-")));
    let whole = longer.next().filter(|_| longer.next().is_none()).copied();
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, &plain(name)), name))
        .filter(|(distance, name)| *distance <= tolerance && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
        .or(whole)
}

/// "did you mean `gce`?", if a name is near enough.
pub(crate) fn did_you_mean<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(wrong, names).map(|name| format!("did you mean `{name}`?"))
}

/// "expected one of `cce`, `mae`, `gce`".
pub(crate) fn expected_one_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{}`", shortened(name))).collect();
    match names.as_slice() {
        [one] => format!("expected {one}"),
        many => format!("expected one of {}", many.join(", ")),
    }
}
