//! `plusminus status [SWEEP]`

use crate::arguments::{Output, StatusArgs};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal;
use crate::trouble::{describe_pause, describe_quarantine, pause_json, quarantine_json};
use plusminus_core::display_text::{line, message, shortened};
use plusminus_core::outcome::FailureKind;
use plusminus_proto::v1;
use serde_json::{Value, json};

/// The most running jobs of a sweep that text lists.
const RUNNING: usize = 50;

pub async fn run(arguments: StatusArgs) -> Result<Exit, CliError> {
    let source = arguments.sweep.as_deref().map(|sweep| SweepSource::new(sweep, None)).transpose()?;
    let mut client = Client::open(&arguments.target).await?;
    let live = matches!(client, Client::Live(_));
    let status = client.status(source.as_ref().map_or("", SweepSource::name)).await?;
    match arguments.output {
        Output::Text => terminal::data(&describe(&status, live))?,
        Output::Json => {
            let sweeps: Vec<Value> = status.sweeps.iter().map(sweep_json).collect();
            let workers: Vec<Value> = status.workers.iter().map(worker_json).collect();
            let quarantines: Vec<Value> = status.quarantines.iter().map(quarantine_json).collect();
            let answer = json!({
                "coordinator_running": live, "sweeps": sweeps, "workers": workers, "quarantines": quarantines,
            });
            terminal::data(&format!("{answer:#}\n"))?;
        }
    }
    Ok(Exit::Success)
}

fn describe(status: &v1::StatusResponse, live: bool) -> String {
    let width = status.sweeps.iter().map(|sweep| sweep.sweep.len()).max().unwrap_or(0);
    let mut text = String::new();
    for sweep in &status.sweeps {
        text += &format!("{:width$}  {}\n", line(&sweep.sweep).to_string(), describe_jobs(sweep, live));
        text += &sweep
            .paused
            .as_ref()
            .map_or_else(String::new, |paused| format!("{:width$}  {}\n", "", describe_pause(&sweep.sweep, paused)));
        // Without a coordinator, no job of the store is running.
        let running = if live { &sweep.running_jobs[..] } else { &[] };
        for job in running.iter().take(RUNNING) {
            text += &format!("{:width$}  {}\n", "", describe_running(job));
        }
        if let Some(more) = running.len().checked_sub(RUNNING).filter(|more| *more > 0) {
            text += &format!(
                "{:width$}  {more} more run: `plusminus jobs {} --state running` lists them\n",
                "", sweep.sweep
            );
        }
        for failed in &sweep.failures {
            let Some(failure) = &failed.failure else { continue };
            let kind = FailureKind::from(failure.kind()).name();
            text += &format!(
                "{:width$}  {} failed ({kind}), such as {}: {}\n",
                "",
                failed.jobs,
                line(&failed.example),
                message(&failure.message)
            );
        }
    }
    let others: u64 = status.sweeps.iter().map(|sweep| sweep.other_failures).sum();
    if others > 0 {
        text += &format!("{others} more failed for other reasons\n");
    }
    if status.sweeps.is_empty() {
        text += "no sweep has been submitted\n";
    }
    for worker in &status.workers {
        text += &format!("worker {}  {} of {} slots busy", line(&worker.worker), worker.busy, worker.slots);
        let in_quarantine = status.quarantines.iter().any(|other| other.worker == worker.worker);
        if worker.rests_milliseconds > 0 && !in_quarantine {
            let seconds = worker.rests_milliseconds.div_ceil(1000);
            text += &format!(", gets no jobs for {seconds} s because it gave jobs back");
        }
        text.push('\n');
        // A CPU has no model and no sensors.
        for device in worker.devices.iter().filter(|device| !device.model.is_empty()) {
            text += &format!("  {}\n", describe_device(device));
        }
    }
    for quarantine in &status.quarantines {
        text += &format!("{}\n", describe_quarantine(quarantine));
    }
    if !live {
        text += "no coordinator is running here\n";
    } else if status.workers.is_empty() {
        text += "no worker is connected\n";
    }
    text
}

fn describe_device(device: &v1::Device) -> String {
    const GIBIBYTE: f64 = (1u64 << 30) as f64;
    let v1::Device { name, slots, model, memory, driver, reading } = device;
    let [name, model, driver] = [name, model, driver].map(|text| shortened(text, 100));
    let memory = *memory as f64 / GIBIBYTE;
    let slots = if *slots == 1 { "1 slot".to_owned() } else { format!("{slots} slots") };
    let Some(reading) = reading else { return format!("{name}  {model}, driver {driver}, {slots}, {memory:.0} GiB") };
    let used = reading.memory_used as f64 / GIBIBYTE;
    let mut text = format!("{name}  {model}, driver {driver}, {slots}, {used:.1} of {memory:.0} GiB in use");
    if let Some(load) = reading.load {
        text += &format!(", {load} % busy");
    }
    if let Some(temperature) = reading.temperature {
        text += &format!(", {temperature} °C");
    }
    text
}

fn device_json(device: &v1::Device) -> Value {
    let mut answer = json!({ "device": device.name, "slots": device.slots });
    if !device.model.is_empty() {
        answer["model"] = json!(device.model);
        answer["driver"] = json!(device.driver);
        answer["memory_bytes"] = json!(device.memory);
    }
    if let Some(reading) = device.reading {
        answer["memory_used_bytes"] = json!(reading.memory_used);
        answer["load_percent"] = json!(reading.load);
        answer["temperature_celsius"] = json!(reading.temperature);
    }
    answer
}

fn describe_jobs(sweep: &v1::SweepStatus, live: bool) -> String {
    let counts = [
        (sweep.finished, "finished"),
        (sweep.running, if live { "running" } else { "to be resumed" }),
        (sweep.queued, "queued"),
        (sweep.failed_otherwise(), "failed"),
        (sweep.diverged, "diverged"),
        (sweep.dropped, "cancelled"),
    ];
    let counts: Vec<_> = counts.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let cancelled = if sweep.cancelled { "; cancelled" } else { "" };
    format!("{} jobs: {}{cancelled}", sweep.total(), counts.join(", "))
}

fn describe_running(job: &v1::RunningJob) -> String {
    let of = job.of.clone().unwrap_or_default();
    let progress = job.progress.unwrap_or_default();
    let epoch = match progress.epochs {
        0 => "starting".to_owned(),
        epochs => format!("epoch {}/{epochs}", progress.epoch),
    };
    let attempt = if of.attempt > 1 { format!(", attempt {}", of.attempt) } else { String::new() };
    let seconds = job.running_milliseconds / 1000;
    let (id, worker) = (line(&of.job), line(&job.worker));
    let label = if job.label.is_empty() { String::new() } else { format!("{} · ", line(&job.label)) };
    format!("job {id} ({label}seed {}{attempt})  {epoch}, {seconds} s on {worker}", job.seed)
}

/// Returns a sweep's status as `--output json` prints it.
pub fn sweep_json(sweep: &v1::SweepStatus) -> Value {
    let running: Vec<Value> = sweep.running_jobs.iter().map(running_json).collect();
    let failures: Vec<Value> = sweep.failures.iter().map(failure_json).collect();
    json!({
        "sweep": sweep.sweep,
        "submitted_ms": sweep.submitted,
        "cancelled": sweep.cancelled,
        "jobs": {
            "queued": sweep.queued,
            "running": sweep.running,
            "finished": sweep.finished,
            "failed": sweep.failed,
            "cancelled": sweep.dropped,
        },
        "diverged": sweep.diverged,
        "paused": sweep.paused.as_ref().map(pause_json),
        "running": running,
        "failures": failures,
        "other_failures": sweep.other_failures,
    })
}

/// Returns a running job as `--output json` prints it.
pub fn running_json(job: &v1::RunningJob) -> Value {
    let progress = job.progress.unwrap_or_default();
    json!({
        "job": job.of.as_ref().map(|of| &of.job),
        "attempt": job.of.as_ref().map(|of| of.attempt),
        "seed": job.seed,
        "cell": job.cell,
        "label": (!job.label.is_empty()).then_some(&job.label),
        "worker": job.worker,
        "running_ms": job.running_milliseconds,
        "epoch": progress.epoch,
        "epochs": progress.epochs,
        "step": progress.step,
        "steps": progress.steps,
        "last": job.last.as_ref().map(|epoch| json!({ "epoch": epoch.epoch, "measurements": epoch.measurements })),
    })
}

fn failure_json(failed: &v1::FailureCount) -> Value {
    let failure = failed.failure.clone().unwrap_or_default();
    let kind = FailureKind::from(failure.kind()).name();
    json!({ "kind": kind, "message": failure.message, "jobs": failed.jobs, "example": failed.example })
}

fn worker_json(worker: &v1::WorkerStatus) -> Value {
    json!({
        "worker": worker.worker, "slots": worker.slots, "busy": worker.busy, "rests_ms": worker.rests_milliseconds,
        "devices": worker.devices.iter().map(device_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_forges_no_line_of_the_status() {
        let forged = "x\nsmall  9 jobs: 9 finished\n\u{1b}[31m\u{202e}";
        let failure = v1::Failure { message: forged.to_owned(), ..v1::Failure::default() };
        let failures = vec![v1::FailureCount { jobs: 1, failure: Some(failure), ..v1::FailureCount::default() }];
        let running = v1::RunningJob { worker: forged.to_owned(), ..v1::RunningJob::default() };
        let sweep = v1::SweepStatus {
            sweep: "small".into(),
            running_jobs: vec![running],
            failures,
            ..v1::SweepStatus::default()
        };
        let device = v1::Device { model: forged.to_owned(), ..v1::Device::default() };
        let worker =
            v1::WorkerStatus { worker: forged.to_owned(), devices: vec![device], ..v1::WorkerStatus::default() };
        let status = v1::StatusResponse { sweeps: vec![sweep], workers: vec![worker], ..v1::StatusResponse::default() };
        let text = describe(&status, true);
        assert_eq!(text.lines().filter(|line| line.starts_with("small  9")).count(), 0, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert_eq!(text.lines().count(), 7, "a margin precedes the lines of the failure:\n{text}");
        assert!(text.contains("\n    | small  9 jobs: 9 finished\n"), "{text}");
    }

    #[test]
    fn a_gpu_is_shown_with_its_sensors_and_a_cpu_is_not_shown() {
        let gpu = v1::Device {
            name: "cuda:0".into(),
            slots: 4,
            model: "NVIDIA H200".into(),
            memory: 140 << 30,
            driver: "570.86.15".into(),
            reading: None,
        };
        assert_eq!(describe_device(&gpu), "cuda:0  NVIDIA H200, driver 570.86.15, 4 slots, 140 GiB");
        let reading = v1::Reading { memory_used: 33 << 29, load: Some(87), temperature: Some(61) };
        let gpu = v1::Device { slots: 1, reading: Some(reading), ..gpu };
        let line = "cuda:0  NVIDIA H200, driver 570.86.15, 1 slot, 16.5 of 140 GiB in use, 87 % busy, 61 °C";
        assert_eq!(describe_device(&gpu), line);
        let without_sensors = v1::Reading { load: None, temperature: None, ..reading };
        let silent = v1::Device { reading: Some(without_sensors), ..gpu.clone() };
        assert!(describe_device(&silent).ends_with("16.5 of 140 GiB in use"));
        assert_eq!(device_json(&gpu)["temperature_celsius"], 61);

        let cpu = v1::Device { name: "cpu".into(), slots: 2, ..v1::Device::default() };
        assert_eq!(device_json(&cpu), json!({ "device": "cpu", "slots": 2 }));
        let worker =
            v1::WorkerStatus { worker: "w".into(), slots: 3, devices: vec![cpu, gpu], ..v1::WorkerStatus::default() };
        let status = v1::StatusResponse { workers: vec![worker], ..v1::StatusResponse::default() };
        let text = describe(&status, true);
        assert!(text.ends_with(&format!("worker w  0 of 3 slots busy\n  {line}\n")), "{text}");
    }
}
