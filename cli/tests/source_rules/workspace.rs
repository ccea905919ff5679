//! Checks every crate of the workspace and lists what breaks a rule.

use crate::graph::FileGraph;
use crate::limits::{self, CHARACTERS_PER_TEST_NAME, LINES_PER_FILE, LINES_PER_FUNCTION};
use crate::modules::{ModuleTree, Sources};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The folders of the workspace's crates, relative to `repository`.
pub fn members(repository: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(repository.join("Cargo.toml")).expect("the workspace has a manifest");
    let line = manifest.lines().find(|line| line.starts_with("members = ")).expect("the manifest lists the members");
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The Rust files below `folder`, by their paths relative to it; empty if there is no such folder.
pub fn sources(folder: &Path) -> Sources {
    let mut found = Sources::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().map(|entry| entry.expect("a folder can be listed")) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(folder).expect("it lies below the folder");
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.insert(relative.to_string_lossy().into_owned(), text);
            }
        }
    }
    found
}

/// The crates of a folder `src`: of its library, of its program or of both.
pub fn crates(sources: &Sources) -> Vec<ModuleTree> {
    let roots = ["lib.rs", "main.rs"].into_iter().filter(|root| sources.contains_key(*root));
    roots.map(|root| ModuleTree::read(sources, root)).collect()
}

/// Every cycle in the crate that lies in `member`, described.
pub fn cycles(repository: &Path, member: &str) -> Vec<String> {
    let graphs: Vec<FileGraph> =
        crates(&sources(&repository.join(member).join("src"))).iter().map(FileGraph::of).collect();
    let described = |graph: &FileGraph| graph.cycles().iter().map(|cycle| graph.describe(cycle)).collect::<Vec<_>>();
    graphs.iter().flat_map(described).map(|cycle| format!("{member}/src: {cycle}")).collect()
}

/// The files and functions of `member` that are too long.
pub fn lengths(repository: &Path, member: &str) -> Vec<String> {
    let sources = sources(&repository.join(member).join("src"));
    let trees = crates(&sources);
    let files: BTreeSet<&str> = trees.iter().flat_map(ModuleTree::files).collect();
    let mut found = Vec::new();
    for file in files {
        let lines = sources[file].lines().count();
        if lines > LINES_PER_FILE {
            found.push(format!("{member}/src/{file} has {lines} lines; at most {LINES_PER_FILE} are allowed"));
        }
        for (name, lines) in limits::functions(&sources[file]) {
            if lines > LINES_PER_FUNCTION {
                found.push(format!(
                    "{member}/src/{file}: `{name}` has {lines} lines; at most {LINES_PER_FUNCTION} are allowed"
                ));
            }
        }
    }
    found
}

/// The tests of `member` whose names are too long.
pub fn test_names(repository: &Path, member: &str) -> Vec<String> {
    let folders = ["src", "tests"].map(|folder| (folder, sources(&repository.join(member).join(folder))));
    let mut found = Vec::new();
    for (folder, sources) in &folders {
        for (file, text) in sources {
            for name in limits::tests(text).iter().filter(|name| name.len() > CHARACTERS_PER_TEST_NAME) {
                let length = name.len();
                found.push(format!(
                    "{member}/{folder}/{file}: `{name}` has {length} characters; at most {CHARACTERS_PER_TEST_NAME} are allowed"
                ));
            }
        }
    }
    found
}
