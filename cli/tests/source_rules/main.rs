//! Rules that the source of every crate keeps: no cycle between the files of a crate, files and functions of bounded length, names of
//! tests that can be read at a glance. CONTRIBUTING.md gives the reasons.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod graph;
mod limits;
mod modules;
mod workspace;

use graph::FileGraph;
use modules::{ModuleTree, Sources};
use std::path::Path;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Applies `rule` to every crate and panics with what breaks it.
fn every_crate_keeps(rule: impl Fn(&Path, &str) -> Vec<String>) {
    let broken = workspace::members(repository()).into_iter().flat_map(|member| rule(repository(), &member));
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn no_files_of_a_crate_use_one_another_in_a_cycle() {
    every_crate_keeps(workspace::cycles);
}

#[test]
fn files_and_functions_are_short() {
    every_crate_keeps(workspace::lengths);
}

#[test]
fn names_of_tests_are_short() {
    every_crate_keeps(workspace::test_names);
}

/// The rules above would also hold if nothing were found.
#[test]
fn the_uses_in_this_workspace_are_found() {
    let members = workspace::members(repository());
    assert!(members.len() >= 11, "{members:?}");
    let mut uses = 0;
    for member in &members {
        let sources = workspace::sources(&repository().join(member).join("src"));
        let trees = workspace::crates(&sources);
        assert!(!trees.is_empty(), "{member} has no crate");
        let read: Vec<&str> = trees.iter().flat_map(|tree| &tree.modules).map(|module| module.file.as_str()).collect();
        let unread: Vec<&String> = sources.keys().filter(|file| !read.contains(&file.as_str())).collect();
        assert!(unread.is_empty(), "no module of {member} was found for {unread:?}");
        uses += trees.iter().map(|tree| FileGraph::of(tree).len()).sum::<usize>();
    }
    assert!(uses > 800, "only {uses} uses were found");
    let core = workspace::crates(&workspace::sources(&repository().join("core/src"))).remove(0);
    let core = FileGraph::of(&core);
    for (from, to) in
        [("job.rs", "id.rs"), ("report/table.rs", "report/statistics.rs"), ("report/latex.rs", "report/printed.rs")]
    {
        assert!(core.uses(from, to), "{from} uses {to}");
    }
    assert!(!core.uses("id.rs", "job.rs"));
}

/// A crate with these files below `src`.
fn graph(files: &[(&str, &str)]) -> FileGraph {
    let sources: Sources = files.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect();
    FileGraph::of(&ModuleTree::read(&sources, "lib.rs"))
}

#[test]
fn a_cycle_is_found_through_reexports_globs_paths_and_macros() {
    let closing = [
        "use crate::a::First;",
        "use super::First;",
        "use crate::First as Renamed;",
        "use crate::a::*;",
        "pub type Alias = super::a::First;",
        "pub fn f() { crate::a::helper(); }",
        "pub fn f() { use crate::a; a::helper(); }",
        "pub fn f() { println!(\"{:?}\", crate::First::new()); }",
        "pub mod inline { pub fn f() -> super::super::First { todo!() } }",
    ];
    for text in closing {
        let graph = graph(&[
            ("lib.rs", "mod a; mod b; pub use a::First;"),
            ("a.rs", "use crate::b; pub struct First(b::Second); pub fn helper() {}"),
            ("b.rs", &format!("pub struct Second; {text}")),
        ]);
        let cycles = graph.cycles();
        assert_eq!(cycles.len(), 1, "{text}");
        assert_eq!(cycles[0].iter().copied().collect::<Vec<_>>(), ["a.rs", "b.rs"], "{text}");
    }
}

#[test]
fn a_parent_that_uses_its_child_and_a_child_that_uses_it_are_a_cycle() {
    let child = ("a/b.rs", "use super::Parent; pub fn f(_: Parent) {}");
    let parent = |text| ("a/mod.rs", text);
    let root = ("lib.rs", "mod a;");
    let both = graph(&[root, parent("mod b; pub struct Parent; fn g() { b::f(Parent) }"), child]);
    assert_eq!(both.cycles().len(), 1);
    assert!(
        both.describe(&both.cycles()[0]).contains("a/mod.rs uses a/b.rs: f"),
        "{}",
        both.describe(&both.cycles()[0])
    );
    let one_way = graph(&[root, parent("mod b; pub use b::f; pub struct Parent;"), child]);
    assert_eq!((one_way.cycles().len(), one_way.len()), (0, 1));
    let used_reexport = graph(&[root, parent("mod b; pub use b::f; pub struct Parent; fn g() { f(Parent) }"), child]);
    assert_eq!(used_reexport.cycles().len(), 1);
}

#[test]
fn a_crate_without_cycles_has_none_whatever_its_tests_use() {
    let graph = graph(&[
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod tests; pub use a::First; pub use std::fmt;"),
        ("a.rs", "use crate::b::Second; pub(in crate::b) struct First(Second);"),
        (
            "b.rs",
            "use std::fmt; pub struct Second; #[cfg(test)] mod tests { use crate::a::First; } #[test] fn t() { crate::a::First; }",
        ),
        ("tests.rs", "use crate::a::First; pub fn sample() {}"),
    ]);
    assert_eq!((graph.cycles().len(), graph.len()), (0, 1), "{:?}", graph.0);
    assert!(graph.uses("a.rs", "b.rs"));
}

#[test]
fn a_macro_of_a_module_around_is_a_use_of_its_file() {
    let graph = graph(&[
        ("lib.rs", "macro_rules! made { ($x:ident) => { pub struct $x; mod $x; }; } mod a;"),
        ("a.rs", "made!(Made); pub fn f() { made!(Other) }"),
    ]);
    assert!(graph.uses("a.rs", "lib.rs"));
}

#[test]
fn functions_and_names_of_tests_are_measured() {
    let text = "fn one() {}\nimpl X {\n    fn three(\n    ) {\n    }\n}\n#[cfg(test)]\nmod tests { fn not() {} }\n";
    assert_eq!(limits::functions(text), [("one".to_owned(), 1), ("three".to_owned(), 3)]);
    let text = "#[test] fn a() {} #[tokio::test(flavor = \"x\")] async fn b() {} fn c() {} proptest! { #[test] #[ignore] fn d(x in 1) {} }";
    assert_eq!(limits::tests(text), ["a", "b", "d"]);
}
