//! `plusminus resume`, `explain`, `backup` and `restore`.

use crate::common::{Place, SMALL};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_cancelled_sweep_is_resumed_explained_backed_up_and_restored() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let (coordinator, _) = place.coordinator();
    place.run(&["submit", "small.yaml"]).good();
    place.run(&["cancel", "small"]).good();
    let again = place.run(&["resume", "small"]);
    assert!(
        again.stderr.contains("small: queued 4 jobs again; follow with `plusminus watch small`"),
        "{}",
        again.stderr
    );
    assert_eq!(json(&place.run(&["resume", "small", "--failed", "--format", "json"]).good())["queued"], 0);
    assert_eq!(place.run(&["resume", "large"]).code, Some(7));
    assert_eq!(place.run(&["resume", "small", "--job", "not an id"]).code, Some(7));

    let job = place.query("SELECT max(id) FROM jobs");
    let explained = place.run(&["explain", &job[..12]]).good();
    assert!(explained.contains(&job) && explained.contains("no worker is connected"), "{explained}");
    assert_eq!(json(&place.run(&["explain", &job, "--format", "json"]).good())["waiting"]["workers"], 0);
    assert_eq!(place.run(&["explain", &"0".repeat(32)]).code, Some(7));

    place.run(&["backup", "copy"]).good();
    let taken = place.run(&["backup", "copy"]);
    assert!(taken.code == Some(6) && taken.stderr.contains("copy already exists"), "{}", taken.stderr);
    let in_use = place.run(&["restore", "copy", "--force"]);
    assert!(in_use.code == Some(6) && in_use.stderr.contains("in use"), "{}", in_use.stderr);
    coordinator.signal("TERM");
    coordinator.wait();
    let refused = place.run(&["restore", "copy"]);
    assert!(refused.code == Some(6) && refused.stderr.contains("contains sweeps (small)"), "{}", refused.stderr);
    let forced = place.run(&["restore", "copy", "--force"]);
    assert!(forced.stderr.contains("is kept as .plusminus/plusminus.sqlite.replaced"), "{}", forced.stderr);
    place.run(&["restore", "copy", "--state", "fresh"]).good();
    for state in [".plusminus", "fresh", "copy"] {
        let explained = place.run(&["explain", &job, "--state", state]).good();
        assert!(explained.contains("no coordinator runs here"), "{explained}");
        assert_eq!(
            json(&place.run(&["status", "--state", state, "--output", "json"]).good())["sweeps"][0]["jobs"]["queued"],
            4
        );
    }
}
