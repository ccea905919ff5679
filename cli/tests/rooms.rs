//! The directions of the rooms: who may depend on whom. ARCHITECTURE.md says why.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which rooms each room may use.
const ROOMS: [(&str, &[&str]); 6] = [
    ("plusminus-core", &[]),
    ("plusminus-proto", &["plusminus-core"]),
    ("plusminus-trainer", &["plusminus-core"]),
    ("plusminus-coordinator", &["plusminus-core", "plusminus-proto"]),
    ("plusminus-worker", &["plusminus-core", "plusminus-proto", "plusminus-trainer"]),
    (
        "plusminus",
        &["plusminus-core", "plusminus-proto", "plusminus-trainer", "plusminus-coordinator", "plusminus-worker"],
    ),
];

/// What a room must be built without, by whatever way.
const ABSENT: [(&str, &[&str]); 3] = [
    ("plusminus-core", &["tokio", "tonic", "prost", "candle-core", "candle-nn", "rusqlite", "getrandom", "indicatif"]),
    ("plusminus-trainer", &["tokio", "tonic", "prost", "rusqlite", "indicatif"]),
    ("plusminus-coordinator", &["candle-core", "candle-nn", "indicatif"]),
];

/// Every package of the workspace with all that it is built from, but for tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeMap<String, String> =
        metadata["packages"].as_array().unwrap().iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let built_with = |node: &Value| -> Vec<String> {
        let linked = |dependency: &&Value| {
            dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
        };
        node["deps"].as_array().unwrap().iter().filter(linked).map(|dependency| text(&dependency["pkg"])).collect()
    };
    let graph: BTreeMap<String, Vec<String>> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| (text(&node["id"]), built_with(node))).collect();
    let all = |root: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![root.clone()]);
        while let Some(id) = next.pop() {
            for dependency in &graph[&id] {
                if seen.insert(dependency.clone()) {
                    next.push(dependency.clone());
                }
            }
        }
        seen.iter().map(|id| names[id].clone()).collect()
    };
    let members = metadata["workspace_members"].as_array().unwrap();
    members.iter().map(|id| (names[&text(id)].clone(), all(&text(id)))).collect()
}

#[test]
fn every_room_uses_only_the_rooms_below_it() {
    let dependencies = dependencies();
    assert_eq!(dependencies.len(), ROOMS.len(), "a new room is entered in this list");
    for (room, allowed) in ROOMS {
        let used: BTreeSet<&str> =
            dependencies[room].iter().map(String::as_str).filter(|name| name.starts_with("plusminus")).collect();
        assert_eq!(used.difference(&allowed.iter().copied().collect()).next(), None, "{room}");
    }
}

#[test]
fn rooms_are_built_without_what_is_not_theirs() {
    let dependencies = dependencies();
    for (room, absent) in ABSENT {
        for package in absent {
            assert!(!dependencies[room].contains(*package), "{room} is built with {package}");
        }
    }
}
