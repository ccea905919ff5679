//! The pages: links lead somewhere, the book's summary lists every page, and the two entry pages stay short.
//!
//! mdBook reports none of this on a code host, where most readers are, and CI does not install it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Pages outside `docs/` whose links are checked.
const PAGES: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benches/README.md"];

/// Pages that fit on a few screens, and the limit in bytes.
const SHORT: [&str; 2] = ["README.md", "ARCHITECTURE.md"];
const LIMIT: u64 = 8_192;

const SUMMARY: &str = "docs/SUMMARY.md";

fn root() -> PathBuf {
    normal(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => _ = normal.pop(),
            other => normal.push(other),
        }
    }
    normal
}

/// A Markdown file: the links in it with their lines, and the anchors of its headings.
#[derive(Default)]
struct Page {
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn read(path: &Path) -> Page {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut page = Page::default();
        let mut repetitions: BTreeMap<String, usize> = BTreeMap::new();
        let mut heading: Option<String> = None;
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line = text[..range.start].matches('\n').count() + 1;
                    page.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(part) | Event::Code(part) => heading.iter_mut().for_each(|title| title.push_str(&part)),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let times = repetitions.entry(anchor.clone()).or_default();
                    page.anchors.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
                    *times += 1;
                }
                _ => {}
            }
        }
        page
    }

    /// The links to files and headings of the repository.
    fn own_links(&self) -> impl Iterator<Item = &(usize, String)> {
        self.links.iter().filter(|(_, link)| !link.contains("://") && !link.starts_with("mailto:"))
    }
}

/// The anchor that code hosts and mdBook give a heading.
fn anchor(title: &str) -> String {
    let letters = title.trim().chars().flat_map(char::to_lowercase);
    let letters = letters.map(|letter| if letter == ' ' { '-' } else { letter });
    letters.filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_')).collect()
}

/// Every Markdown file below `folder`.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(markdown(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What is wrong with the links of the page `path`.
fn broken(path: &Path, pages: &mut BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut broken = Vec::new();
    let links: Vec<_> = Page::read(path).own_links().cloned().collect();
    for (line, link) in links {
        let (file, anchor) = link.split_once('#').map_or((&*link, None), |(file, anchor)| (file, Some(anchor)));
        let target = if file.is_empty() { path.to_owned() } else { normal(&path.parent().unwrap().join(file)) };
        let why = match anchor {
            _ if !target.exists() => "there is no such file",
            Some(anchor) if target.extension().is_some_and(|extension| extension == "md") => {
                let page = pages.entry(target.clone()).or_insert_with(|| Page::read(&target));
                if page.anchors.contains(anchor) {
                    continue;
                }
                "the page has no such heading"
            }
            _ => continue,
        };
        broken.push(format!("{}:{line}: {link}: {why}", path.strip_prefix(root()).unwrap().display()));
    }
    broken
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut pages = BTreeMap::new();
    let mut files: Vec<PathBuf> = PAGES.iter().map(|page| root().join(page)).collect();
    files.extend(markdown(&root().join("docs")));
    let broken: Vec<String> = files.iter().flat_map(|file| broken(file, &mut pages)).collect();
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn the_summary_lists_every_page_of_the_book_once() {
    let (docs, summary) = (root().join("docs"), root().join(SUMMARY));
    let links = Page::read(&summary).links;
    let listed: BTreeSet<PathBuf> = links.iter().map(|(_, link)| normal(&docs.join(link))).collect();
    assert_eq!(listed.len(), links.len(), "SUMMARY.md lists a page twice");
    let pages: BTreeSet<PathBuf> = markdown(&docs).into_iter().filter(|page| *page != summary).collect();
    let unlisted: Vec<_> = pages.difference(&listed).collect();
    assert!(unlisted.is_empty(), "SUMMARY.md does not list {unlisted:?}");
    let missing: Vec<_> = listed.difference(&pages).collect();
    assert!(missing.is_empty(), "SUMMARY.md lists {missing:?}, which are no pages of docs/");
}

#[test]
fn the_entry_pages_stay_short() {
    for page in SHORT {
        let bytes = fs::metadata(root().join(page)).unwrap().len();
        assert!(bytes <= LIMIT, "{page} has {bytes} bytes, expected at most {LIMIT}: move reference material to docs/");
    }
}

#[test]
fn an_anchor_is_the_heading_in_lower_case_with_hyphens() {
    for (title, expected) in [
        ("Seeds that diverge", "seeds-that-diverge"),
        ("run", "run"),
        ("submit, watch, status, cancel", "submit-watch-status-cancel"),
        ("DMI, Fig. 2: Fashion-MNIST", "dmi-fig-2-fashion-mnist"),
    ] {
        assert_eq!(anchor(title), expected);
    }
}
