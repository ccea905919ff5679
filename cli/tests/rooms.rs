//! The allowed dependencies between the crates of the workspace. ARCHITECTURE.md gives the reasons.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::process::Command;

/// Each crate with the crates of the workspace that it may depend on.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("plusminus-core", &[]),
    ("plusminus-files", &[]),
    ("plusminus-proto", &["plusminus-core", "plusminus-files"]),
    ("plusminus-kernels", &[]),
    ("plusminus-cuda", &["plusminus-files"]),
    // Only tests use it, so no crate may depend on it.
    ("plusminus-stand-in", &["plusminus-cuda", "plusminus-files"]),
    ("plusminus-engines", &["plusminus-core", "plusminus-files", "plusminus-kernels", "plusminus-cuda"]),
    (
        "plusminus-trainer",
        &["plusminus-core", "plusminus-files", "plusminus-kernels", "plusminus-cuda", "plusminus-engines"],
    ),
    ("plusminus-coordinator", &["plusminus-core", "plusminus-files", "plusminus-proto"]),
    (
        "plusminus-worker",
        &[
            "plusminus-core",
            "plusminus-files",
            "plusminus-proto",
            "plusminus-kernels",
            "plusminus-cuda",
            "plusminus-engines",
            "plusminus-trainer",
        ],
    ),
    (
        "plusminus",
        &[
            "plusminus-core",
            "plusminus-files",
            "plusminus-proto",
            "plusminus-kernels",
            "plusminus-cuda",
            "plusminus-engines",
            "plusminus-trainer",
            "plusminus-coordinator",
            "plusminus-worker",
        ],
    ),
    (
        "plusminus-sim",
        &[
            "plusminus-core",
            "plusminus-files",
            "plusminus-proto",
            "plusminus-kernels",
            "plusminus-cuda",
            "plusminus-engines",
            "plusminus-trainer",
            "plusminus-coordinator",
            "plusminus-worker",
        ],
    ),
];

/// Packages that must not be among a crate's direct or indirect dependencies.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("plusminus-core", &["tokio", "tonic", "prost", "candle-core", "candle-nn", "rusqlite", "getrandom", "indicatif"]),
    ("plusminus-kernels", &["rayon", "tokio", "serde", "candle-core"]),
    ("plusminus-cuda", &["tokio", "serde", "candle-core", "rayon"]),
    ("plusminus-engines", &["tokio", "tonic", "prost", "rusqlite", "indicatif"]),
    ("plusminus-trainer", &["tokio", "tonic", "prost", "rusqlite", "indicatif"]),
    ("plusminus-coordinator", &["candle-core", "candle-nn", "cudarc", "indicatif"]),
];

/// The crate and all of its dependencies, without those of tests, as `cargo tree` prints them.
fn dependencies(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn every_crate_depends_only_on_allowed_crates() {
    for (package, allowed) in ALLOWED {
        let allowed: BTreeSet<&str> = allowed.iter().copied().chain([package]).collect();
        for dependency in dependencies(package).iter().filter(|name| name.starts_with("plusminus")) {
            assert!(allowed.contains(dependency.as_str()), "{package} depends on {dependency}");
        }
    }
}

#[test]
fn no_crate_depends_on_a_forbidden_package() {
    for (package, forbidden) in FORBIDDEN {
        let found = dependencies(package);
        for dependency in forbidden {
            assert!(!found.contains(*dependency), "{package} depends on {dependency}");
        }
    }
}

#[test]
fn every_crate_is_listed() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members = ")).unwrap();
    assert_eq!(members.matches('"').count() / 2, ALLOWED.len(), "{members}");
}
