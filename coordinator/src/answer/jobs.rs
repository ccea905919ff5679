//! The jobs of a sweep that match conditions, in parts: a sweep may have a million.

use super::error::AnswerError;
use super::labels::Labels;
use crate::progress::LiveProgress;
use crate::store::{LastAttempt, Reader};
use plusminus_core::failure_text::first_line;
use plusminus_core::id::CellId;
use plusminus_core::outcome::FailureKind;
use plusminus_core::scheduler::{JobState, JobView, ListedJob, Scheduler, SweepView};
use plusminus_proto::v1;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The jobs that one look at the scheduler takes.
pub const SLICE: usize = 2000;
/// The most characters of a failure's first line.
const FAILURE: usize = 400;
/// The jobs in one part.
const PART: usize = 200;
/// The most settings and values that an error about a condition needs.
const KNOWN: usize = 100;

/// The states by which jobs are listed.
const STATES: [&str; 6] = ["queued", "running", "finished", "failed", "diverged", "cancelled"];

/// A job of a slice, with the last epoch of its running attempt.
pub struct SlicedJob {
    listed: ListedJob,
    epoch: Option<u32>,
}

/// The next jobs of a sweep from a position on; fewer than [`SLICE`] at the end.
///
/// # Errors
/// If the sweep has been submitted again since `sweep` was looked up.
pub fn slice(
    scheduler: &Scheduler,
    progress: &LiveProgress,
    sweep: &SweepView,
    from: usize,
) -> Result<Vec<SlicedJob>, AnswerError> {
    let now = scheduler.view().sweep(&sweep.name);
    if now.is_none_or(|now| now.submitted != sweep.submitted || now.source != sweep.source) {
        return Err(AnswerError::Changed(sweep.name.to_string()));
    }
    let jobs = scheduler.view().listed_jobs_of(&sweep.name, from, SLICE);
    Ok(jobs.map(|listed| SlicedJob { epoch: progress.last_epoch(&listed.job), listed }).collect())
}

/// A request for jobs, and what is known of the sweep's configurations so far.
pub struct JobsQuery {
    sweep: String,
    states: BTreeSet<String>,
    conditions: Vec<Condition>,
    /// Whether the conditions hold for a cell, each.
    cells: BTreeMap<CellId, Vec<bool>>,
    /// The settings of all configurations.
    settings: BTreeSet<String>,
}

struct Condition {
    key: String,
    text: String,
    value: Value,
    /// Whether any configuration has the setting, and whether it has the value.
    has_key: bool,
    has_value: bool,
    /// Values of the setting.
    values: BTreeSet<String>,
}

impl JobsQuery {
    /// Checks a request.
    ///
    /// # Errors
    /// If there is no such state, or a value is not YAML.
    pub fn new(request: v1::JobsRequest) -> Result<JobsQuery, AnswerError> {
        if let Some(unknown) = request.states.iter().find(|state| !STATES.contains(&state.as_str())) {
            return Err(AnswerError::UnknownName { what: "state", found: unknown.clone(), known: STATES.to_vec() });
        }
        let condition = |v1::Condition { key, value: text }| {
            let value = serde_yaml::from_str(&text).map_err(|error| AnswerError::NoValue {
                key: key.clone(),
                found: text.clone(),
                problem: error.to_string(),
            })?;
            Ok(Condition { key, text, value, has_key: false, has_value: false, values: BTreeSet::new() })
        };
        Ok(JobsQuery {
            sweep: request.sweep,
            states: request.states.into_iter().collect(),
            conditions: request.r#where.into_iter().map(condition).collect::<Result<_, AnswerError>>()?,
            cells: BTreeMap::new(),
            settings: BTreeSet::new(),
        })
    }

    /// The matching jobs of a slice.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn select(
        &mut self,
        slice: Vec<SlicedJob>,
        labels: &Labels,
        reader: &Reader,
    ) -> Result<Vec<v1::JobsPart>, AnswerError> {
        let mut jobs = slice;
        // Every condition is looked at, so that an error can tell what exists.
        jobs.retain(|job| self.meets_conditions(&job.listed) & self.is_in_states(&job.listed.job.state));
        let mut parts = Vec::new();
        for jobs in jobs.chunks(PART) {
            let ids: Vec<_> = jobs.iter().map(|job| job.listed.job.id).collect();
            let last = reader.last_attempts(&ids)?;
            let rows = jobs.iter().zip(last).map(|(job, last)| row(job, last, labels));
            parts.push(v1::JobsPart { jobs: rows.collect() });
        }
        Ok(parts)
    }

    /// Checks, once all jobs have been looked at, that every condition named something that exists.
    ///
    /// # Errors
    /// If it did not.
    pub fn finish(self) -> Result<(), AnswerError> {
        let sweep = self.sweep;
        for Condition { key, text, has_key, has_value, values, .. } in self.conditions {
            if !has_key {
                let known = self.settings.into_iter().chain(["seed".to_owned()]).collect();
                return Err(AnswerError::UnknownKey { sweep, key, known });
            }
            if !has_value {
                return Err(AnswerError::UnknownValue { sweep, key, found: text, known: values.into_iter().collect() });
            }
        }
        Ok(())
    }

    fn is_in_states(&self, state: &JobState) -> bool {
        self.states.is_empty() || self.states.contains(state_name(state))
    }

    fn meets_conditions(&mut self, job: &ListedJob) -> bool {
        if self.conditions.is_empty() {
            return true;
        }
        if !self.cells.contains_key(&job.job.cell) {
            let holds = self.look_at(&job.configuration);
            self.cells.insert(job.job.cell, holds);
        }
        let holds = &self.cells[&job.job.cell];
        let mut all = true;
        for (condition, holds) in self.conditions.iter_mut().zip(holds) {
            all &= if condition.key == "seed" { condition.has_seed(job.job.seed) } else { *holds };
        }
        all
    }

    /// Notes what a configuration has. Returns which conditions hold for it.
    fn look_at(&mut self, configuration: &str) -> Vec<bool> {
        let configuration: Value = serde_json::from_str(configuration).unwrap_or_default();
        if self.settings.len() < KNOWN {
            list_settings("", &configuration, &mut self.settings);
        }
        let look_at = |condition: &mut Condition| {
            let found = condition.key.split('.').try_fold(&configuration, |value, key| value.get(key));
            let Some(found) = found else { return false };
            condition.note(brief(found));
            let holds = matches(found, &condition.value);
            condition.has_value |= holds;
            holds
        };
        self.conditions.iter_mut().map(look_at).collect()
    }
}

impl Condition {
    fn has_seed(&mut self, seed: u64) -> bool {
        self.note(seed.to_string());
        let holds = matches(&Value::from(seed), &self.value);
        self.has_value |= holds;
        holds
    }

    fn note(&mut self, value: String) {
        self.has_key = true;
        if self.values.len() < KNOWN {
            self.values.insert(value);
        }
    }
}

/// The paths of all settings: `loss`, `loss.q`.
fn list_settings(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        list_settings(&path, value, into);
        into.insert(path);
    }
}

/// A method by its name, and anything else as it is.
fn brief(value: &Value) -> String {
    match (name(value), value) {
        (Some(name), _) => name.to_owned(),
        (None, Value::String(text)) => text.clone(),
        (None, other) => other.to_string(),
    }
}

/// The name of a method.
fn name(value: &Value) -> Option<&str> {
    value.get("name").or_else(|| value.get("kind"))?.as_str()
}

/// Whether a setting is as asked: a method may be given by its name or by some of its parameters, and a number in any notation.
fn matches(found: &Value, asked: &Value) -> bool {
    match (found, asked) {
        (Value::Object(_), Value::String(asked)) => name(found) == Some(asked),
        (Value::Object(found), Value::Object(asked)) => {
            asked.iter().all(|(key, asked)| found.get(key).is_some_and(|found| matches(found, asked)))
        }
        (Value::Array(found), Value::Array(asked)) => {
            found.len() == asked.len() && found.iter().zip(asked).all(|(found, asked)| matches(found, asked))
        }
        (Value::Number(found), Value::Number(asked)) => found == asked || found.as_f64() == asked.as_f64(),
        // The text of a setting may look like a number.
        (Value::String(found), Value::Number(_) | Value::Bool(_)) => {
            let asked = asked.to_string();
            *found == asked
        }
        _ => found == asked,
    }
}

fn state_name(state: &JobState) -> &'static str {
    match state {
        JobState::Queued { .. } => "queued",
        JobState::Running { .. } => "running",
        JobState::Finished => "finished",
        JobState::Failed(failure) if failure.kind == FailureKind::Diverged => "diverged",
        JobState::Failed(_) => "failed",
        JobState::Dropped => "cancelled",
    }
}

fn row(SlicedJob { listed, epoch }: &SlicedJob, last: LastAttempt, labels: &Labels) -> v1::JobRow {
    let JobView { id, cell, seed, attempts, state } = &listed.job;
    let failure = match state {
        JobState::Failed(failure) => Some(v1::Failure {
            kind: v1::FailureKind::from(failure.kind).into(),
            message: first_line(&failure.message, FAILURE),
        }),
        _ => None,
    };
    v1::JobRow {
        job: id.to_string(),
        cell: cell.to_string(),
        label: labels.label(*cell),
        seed: *seed,
        state: state_name(state).to_owned(),
        attempts: *attempts,
        worker: last.worker,
        epoch: epoch.unwrap_or(last.epoch),
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_setting_matches_its_name_its_parameters_and_any_notation() {
        let gce = json!({"name": "gce", "q": 0.7});
        for (found, asked, expected) in [
            (gce.clone(), "gce", true),
            (gce.clone(), "cce", false),
            (gce.clone(), "{name: gce}", true),
            (gce.clone(), "{name: gce, q: 7e-1}", true),
            (gce, "{q: 0.3}", false),
            (json!({"kind": "uniform", "rate": 0.4}), "uniform", true),
            (json!(0.4), "0.40", true),
            (json!(1.0), "1", true),
            (json!(120), "120.0", true),
            (json!("cifar-10"), "cifar-10", true),
            (json!("2024"), "2024", true),
            (json!(null), "null", true),
            (json!([40, 80]), "[40, 80.0]", true),
            (json!([40, 80]), "[40]", false),
        ] {
            let value: Value = serde_yaml::from_str(asked).unwrap();
            assert_eq!(matches(&found, &value), expected, "{found} {asked}");
        }
    }

    #[test]
    fn settings_are_listed_with_their_paths() {
        let mut settings = BTreeSet::new();
        list_settings("", &json!({"loss": {"name": "gce", "q": 0.7}, "epochs": 2}), &mut settings);
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), ["epochs", "loss", "loss.name", "loss.q"]);
    }
}
