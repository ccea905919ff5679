//! Where problems are gathered, and the nearest right name.

use super::Problem;
use super::node::shortened;
use std::collections::BTreeSet;
use std::ops::Range;

/// More problems than a person reads; the search for further ones then ends.
const ENOUGH: usize = 100;

/// The problems found so far, each once: a value that a thousand combinations share is wrong once.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    seen: BTreeSet<(usize, usize, String)>,
    settled: BTreeSet<(usize, usize)>,
    reports: usize,
}

impl Problems {
    /// Takes a problem unless the same was reported of the same place.
    pub(crate) fn report(&mut self, span: Range<usize>, title: String, label: String, help: Option<String>) {
        self.reports += 1;
        if !self.is_enough()
            && !self.settled.contains(&(span.start, span.end))
            && self.seen.insert((span.start, span.end, title.clone()))
        {
            self.found.push(Problem { title, span, label, help });
        }
    }

    /// As [`Problems::report`], where nothing that is reported of the place later tells more.
    pub(crate) fn settle(&mut self, span: Range<usize>, title: String, label: String, help: Option<String>) {
        self.report(span.clone(), title, label, help);
        self.settled.insert((span.start, span.end));
    }

    /// How often anything was reported, repetitions counted: tells whether what was just read is sound.
    pub(crate) fn reports(&self) -> usize {
        self.reports
    }

    /// Whether looking on is pointless.
    pub(crate) fn is_enough(&self) -> bool {
        self.found.len() >= ENOUGH
    }

    /// All of them, in the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| (problem.span.start, problem.span.end));
        self.found
    }
}

/// The one of `names` that was probably meant by `wrong`, if any is near enough.
pub(crate) fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // A long text is no slip of the keyboard, and comparing it would take long.
    if wrong.len() > 64 {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['_', ' '], "-");
    let wrong = plain(wrong);
    // Half of a short name being different is a different name.
    let tolerance = (wrong.chars().count() / 3).clamp(1, 4);
    let names: Vec<_> = names.into_iter().collect();
    // `vgg16` for `vgg16-bn`, where there is only one such name.
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

/// "did you mean `gce`?", where something near enough is known.
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
