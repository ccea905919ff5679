//! The fixture of tests with a coordinator and workers: starting them, and looking at the state of their jobs.

use super::{Daemon, Place, eventually};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

impl Place {
    pub fn state(&self) -> PathBuf {
        self.path().join(".plusminus")
    }

    /// Starts a coordinator on a free port, with leases of three seconds. Returns it with its URL.
    pub fn coordinator(&self) -> (Daemon, String) {
        self.coordinator_with_lease(3)
    }

    /// Starts a coordinator on a free port and on the state of earlier ones. Returns it with its URL.
    pub fn coordinator_with_lease(&self, seconds: u64) -> (Daemon, String) {
        let address = self.state().join("address");
        let _ = fs::remove_file(&address);
        let daemon = self.start(&["coordinator", "--listen", "127.0.0.1:0", "--lease", &seconds.to_string()]);
        let url = || fs::read_to_string(&address).unwrap_or_default();
        eventually("the coordinator has written its address", || url().ends_with('\n'));
        (daemon, url().trim().to_owned())
    }

    /// Starts a worker with one slot of one thread. Its state directory has its name.
    pub fn worker(&self, url: &str, name: &str, options: &[&str]) -> Daemon {
        let slots = if options.contains(&"--slots") { &[][..] } else { &["--slots", "1"] };
        let threads = if options.contains(&"--threads") { &[][..] } else { &["--threads", "1"] };
        let arguments = ["worker", "--coordinator", url, "--name", name, "--state", name];
        self.start(&[&arguments[..], slots, threads, options].concat())
    }

    /// Submits `text` as the sweep `name`.
    pub fn submit(&self, name: &str, text: &str) {
        let file = format!("{name}.yaml");
        self.file(&file, text);
        self.run(&["submit", &file]).good();
    }

    /// Returns how many jobs of a sweep are in `state`, such as `finished`; 0 if the status cannot be had.
    pub fn jobs(&self, sweep: &str, state: &str) -> u64 {
        let answer = self.run(&["status", sweep, "--output", "json"]);
        let status: Option<serde_json::Value> =
            (answer.code == Some(0)).then(|| serde_json::from_str(&answer.stdout).unwrap());
        status.and_then(|status| status["sweeps"][0]["jobs"][state].as_u64()).unwrap_or(0)
    }

    pub fn table_json(&self, sweep: &str) -> String {
        self.run(&["table", sweep, "--format", "json"]).good()
    }

    pub fn store(&self) -> Connection {
        Connection::open(self.state().join("plusminus.sqlite")).unwrap()
    }

    /// Returns the only value of a query to the coordinator's store, as text; "" for NULL.
    pub fn query(&self, sql: &str) -> String {
        let value = self.store().query_row(sql, [], |row| row.get(0)).unwrap();
        match value {
            Value::Null => String::new(),
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text,
            other => format!("{other:?}"),
        }
    }

    /// Waits until a job has finished its first epoch.
    pub fn wait_for_an_epoch(&self) {
        eventually("an epoch is finished", || self.query("SELECT count(*) FROM epochs") != "0");
    }

    /// Returns the digest of each job's final weights, by job id.
    pub fn weights(&self) -> BTreeMap<String, String> {
        let store = self.store();
        let mut rows = store.prepare("SELECT id, json_extract(facts, '$.weights') FROM jobs").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }
}
