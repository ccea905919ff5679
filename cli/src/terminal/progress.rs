//! Progress of a sweep: bars on a terminal, plain lines elsewhere.

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use plusminus_core::id::CellId;
use plusminus_core::metric::{Metric, Unit};
use plusminus_core::report::cell_names;
use plusminus_core::sweep_file::Sweep;
use plusminus_proto::v1;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Interval of plain lines while no job ends.
const PLAIN_PACE: Duration = Duration::from_secs(30);

/// The most jobs with a bar; no terminal has room for thousands.
const MOST_BARS: usize = 50;

/// Shows the progress of one sweep on standard error.
pub struct SweepProgress {
    names: CellNames,
    metric: Metric,
    started: Instant,
    /// Jobs that were done at the first status, with the finished parts of running ones.
    done_at_start: Option<f64>,
    view: View,
}

enum View {
    Bars(Bars),
    Plain { ended: u64, last_line: Option<Instant> },
}

struct Bars {
    group: MultiProgress,
    sweep: ProgressBar,
    jobs: BTreeMap<String, ProgressBar>,
}

/// The cells' names, as the table shows them.
struct CellNames(BTreeMap<CellId, String>);

impl CellNames {
    fn job(&self, job: &v1::RunningJob) -> String {
        let cell = job.cell.parse().ok().and_then(|cell: CellId| self.0.get(&cell));
        format!("{} · seed {}", cell.map_or("unknown configuration", String::as_str), job.seed)
    }
}

impl SweepProgress {
    /// Creates the bars of `sweep` if standard error is a terminal.
    pub fn new(sweep: &Sweep) -> Self {
        let view = if io::stderr().is_terminal() {
            let group = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let style = "{prefix:.bold} {wide_bar:.cyan/dim} {msg}";
            let bar = group.add(ProgressBar::new(1000).with_style(style_of(style)).with_prefix(sweep.name.to_string()));
            View::Bars(Bars { group, sweep: bar, jobs: BTreeMap::new() })
        } else {
            View::Plain { ended: u64::MAX, last_line: None }
        };
        let mut names = cell_names(sweep);
        sweep.parents.iter().for_each(|cell| {
            // A parent that is also a cell keeps its name from the table.
            names.entry(cell.id).or_insert_with(|| "parent".to_owned());
        });
        SweepProgress {
            names: CellNames(names),
            metric: sweep.table.metric,
            started: Instant::now(),
            done_at_start: None,
            view,
        }
    }

    /// Shows a new status.
    pub fn show(&mut self, status: &v1::SweepStatus) {
        let done = jobs_done(status);
        let total = status.total();
        let done_at_start = *self.done_at_start.get_or_insert(done);
        let left = time_left(self.started.elapsed(), done - done_at_start, total as f64 - done);
        let summary = summary(status, left);
        match &mut self.view {
            View::Bars(bars) => bars.show(status, done / total.max(1) as f64, summary, &self.names, self.metric),
            View::Plain { ended, last_line } => {
                let now = total - status.queued - status.running;
                let due = last_line.is_none_or(|written| written.elapsed() >= PLAIN_PACE);
                if *ended != now || due {
                    (*ended, *last_line) = (now, Some(Instant::now()));
                    super::note(&format!("{}: {summary}", status.sweep));
                }
            }
        }
    }

    /// Writes a note above the bars.
    pub fn note(&self, text: &str) {
        match &self.view {
            View::Bars(bars) => bars.group.suspend(|| super::note(text)),
            View::Plain { .. } => super::note(text),
        }
    }

    /// Removes the bars.
    pub fn finish(self) {
        if let View::Bars(bars) = self.view {
            let _ = bars.group.clear();
        }
    }
}

impl Bars {
    fn show(&mut self, status: &v1::SweepStatus, share: f64, summary: String, names: &CellNames, metric: Metric) {
        self.sweep.set_position((share * 1000.0) as u64);
        self.sweep.set_message(summary);
        let shown = status.running_jobs.iter().take(MOST_BARS);
        let running: BTreeMap<String, &v1::RunningJob> =
            shown.filter_map(|job| Some((job.of.as_ref()?.job.clone(), job))).collect();
        self.jobs.retain(|job, bar| {
            let keep = running.contains_key(job);
            if !keep {
                bar.finish_and_clear();
            }
            keep
        });
        for (id, job) in running {
            let bar = self.jobs.entry(id).or_insert_with(|| {
                let style = "  {prefix} {bar:12.green/dim} {msg:.dim}";
                self.group.add(ProgressBar::new(1000).with_style(style_of(style)).with_prefix(names.job(job)))
            });
            bar.set_position((epochs_done(job) * 1000.0) as u64);
            bar.set_message(job_line(job, metric));
        }
    }
}

fn style_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─")
}

/// Number of ended jobs, plus the finished part of each running one.
fn jobs_done(status: &v1::SweepStatus) -> f64 {
    let ended = status.finished + status.failed + status.dropped;
    ended as f64 + status.running_jobs.iter().map(epochs_done).sum::<f64>()
}

/// Finished part of a job's epochs, from 0 to 1.
fn epochs_done(job: &v1::RunningJob) -> f64 {
    let Some(progress) = &job.progress else { return 0.0 };
    let step = f64::from(progress.step) / f64::from(progress.steps.max(1));
    let epochs = f64::from(progress.epoch.saturating_sub(1)) + step;
    (epochs / f64::from(progress.epochs.max(1))).clamp(0.0, 1.0)
}

/// Estimates the remaining time from the time that `done` took; `None` at the start.
fn time_left(elapsed: Duration, done: f64, left: f64) -> Option<Duration> {
    (done > 0.01).then(|| Duration::from_secs_f64((elapsed.as_secs_f64() * left / done).clamp(0.0, 1e9)))
}

fn summary(status: &v1::SweepStatus, left: Option<Duration>) -> String {
    let mut text = format!("{} of {} jobs finished", status.finished, status.total());
    let counts = [
        (status.running, "running"),
        (status.failed_otherwise(), "failed"),
        (status.diverged, "diverged"),
        (status.dropped, "cancelled"),
    ];
    for (count, what) in counts {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if let Some(left) = left
        && status.queued + status.running > 0
    {
        text += &format!(", {} left", HumanDuration(left));
    }
    text
}

/// Formats epoch, metric and remaining time of a running job.
fn job_line(job: &v1::RunningJob, metric: Metric) -> String {
    let Some(progress) = &job.progress else { return "starting".to_owned() };
    let mut text = format!("epoch {}/{}", progress.epoch, progress.epochs);
    if let Some(value) = job.last.as_ref().and_then(|epoch| epoch.measurements.get(metric.name())) {
        text += &match metric.unit() {
            Unit::Share => format!("  {metric} {:.1}%", value * 100.0),
            Unit::Plain => format!("  {metric} {value:.4}"),
        };
    }
    let done = epochs_done(job);
    if let Some(left) = time_left(Duration::from_millis(job.running_milliseconds), done, 1.0 - done) {
        text += &format!("  {} left", HumanDuration(left));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(epoch: u32, step: u32) -> v1::RunningJob {
        let progress = v1::Progress { epoch, epochs: 10, step, steps: 50 };
        let measurements = [("test_accuracy".to_owned(), 0.8125)].into();
        let last = Some(v1::Epoch { epoch: epoch - 1, measurements });
        v1::RunningJob { progress: Some(progress), last, running_milliseconds: 30_000, ..v1::RunningJob::default() }
    }

    #[test]
    fn a_running_job_shows_epoch_metric_and_time_left() {
        assert_eq!(job_line(&job(6, 0), Metric::TestAccuracy), "epoch 6/10  test_accuracy 81.2%  30 seconds left");
        assert_eq!(job_line(&v1::RunningJob::default(), Metric::TestAccuracy), "starting");
    }

    #[test]
    fn the_time_left_follows_from_the_jobs_done_since_the_start() {
        let status =
            v1::SweepStatus { finished: 5, queued: 4, running: 1, running_jobs: vec![job(6, 0)], ..Default::default() };
        assert_eq!(jobs_done(&status), 5.5);
        assert_eq!(time_left(Duration::from_secs(10), 2.0, 4.0), Some(Duration::from_secs(20)));
        assert_eq!(time_left(Duration::from_secs(10), 0.0, 4.0), None);
        assert_eq!(summary(&status, None), "5 of 10 jobs finished, 1 running");
    }
}
