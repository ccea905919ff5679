//! The directions of the rooms: who may depend on whom. ARCHITECTURE.md says why.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::process::Command;

/// Which rooms each room may use.
const ROOMS: [(&str, &[&str]); 11] = [
    ("plusminus-core", &[]),
    ("plusminus-proto", &["plusminus-core"]),
    ("plusminus-kernels", &[]),
    ("plusminus-cuda", &[]),
    // Tests alone use it: no room is allowed to.
    ("plusminus-stand-in", &["plusminus-cuda"]),
    ("plusminus-engines", &["plusminus-core", "plusminus-kernels", "plusminus-cuda"]),
    ("plusminus-trainer", &["plusminus-core", "plusminus-kernels", "plusminus-cuda", "plusminus-engines"]),
    ("plusminus-coordinator", &["plusminus-core", "plusminus-proto"]),
    (
        "plusminus-worker",
        &[
            "plusminus-core",
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

/// What a room must be built without, by whatever way.
const ABSENT: [(&str, &[&str]); 6] = [
    ("plusminus-core", &["tokio", "tonic", "prost", "candle-core", "candle-nn", "rusqlite", "getrandom", "indicatif"]),
    ("plusminus-kernels", &["rayon", "tokio", "serde", "candle-core"]),
    ("plusminus-cuda", &["tokio", "serde", "candle-core", "rayon"]),
    ("plusminus-engines", &["tokio", "tonic", "prost", "rusqlite", "indicatif"]),
    ("plusminus-trainer", &["tokio", "tonic", "prost", "rusqlite", "indicatif"]),
    ("plusminus-coordinator", &["candle-core", "candle-nn", "cudarc", "indicatif"]),
];

/// All that a room is built from, as cargo tells, but for tests.
fn built_from(room: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", room, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn every_room_uses_only_the_rooms_below_it() {
    for (room, allowed) in ROOMS {
        let known: BTreeSet<&str> = allowed.iter().copied().chain([room]).collect();
        for package in built_from(room).iter().filter(|name| name.starts_with("plusminus")) {
            assert!(known.contains(package.as_str()), "{room} uses {package}");
        }
    }
}

#[test]
fn rooms_are_built_without_what_is_not_theirs() {
    for (room, absent) in ABSENT {
        let packages = built_from(room);
        for package in absent {
            assert!(!packages.contains(*package), "{room} is built with {package}");
        }
    }
}

#[test]
fn every_room_is_entered_above() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members = ")).unwrap();
    assert_eq!(members.matches('"').count() / 2, ROOMS.len(), "{members}");
}
