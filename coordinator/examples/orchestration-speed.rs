//! Measures the scheduler and the store without the network, and prints each figure with its target:
//! `cargo run --release -p plusminus-coordinator --example orchestration-speed [JOBS] [DIRECTORY]`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that fails has nothing to say")]

use plusminus_coordinator::Store;
use plusminus_core::id::WorkerName;
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Facts, Samples};
use plusminus_core::scheduler::{
    DeviceClass, Effect, Ending, Event, NewCell, NewJob, Policy, Record, Report, ReportBody, Scheduler, Session,
    Submission, Ticket, WallTime,
};
use plusminus_core::sweep_file;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Slots of the worker.
const SLOTS: u32 = 128;
/// Reports in one commit.
const TOGETHER: usize = 1024;
const SESSION: Session = Session(0);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let jobs: u64 = arguments.next().map_or(100_000, |jobs| jobs.parse().unwrap());
    let place = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let directory = tempfile::tempdir_in(place).unwrap();
    let (mut store, mut scheduler) = (Store::open(directory.path()).unwrap(), Scheduler::new(Policy::default()));

    let source = format!(
        "sweep: many\nseeds: {}\nbase: {{dataset: fashion-mnist-10k, model: cnn, optimizer: adam, epochs: 1}}\n\
         grid: {{loss: [cce, mae, gce, sce, mse, rce, unhinged, dmi, imae, {{name: gce, q: 0.5}}]}}\n",
        jobs / 10
    );
    let (began, used) = (Instant::now(), cpu());
    let submission = read(&source);
    let count = submission.jobs.len() as f64;
    let expanded = (began.elapsed(), cpu());
    let effects = scheduler.handle(WallTime(1), Event::Submit(Ticket(0), submission));
    let handled = (began.elapsed(), cpu());
    store.commit(&records(effects)).unwrap();
    let phase = |what, (wall, cpu): (Duration, Duration), before: (Duration, Duration)| {
        println!("  {what}: {:.3} s, {:.2} s of CPU", (wall - before.0).as_secs_f64(), (cpu - before.1).as_secs_f64());
    };
    phase("expanded", expanded, (Duration::ZERO, used));
    phase("handled", handled, expanded);
    phase("committed", (began.elapsed(), cpu()), handled);
    tell(&format!("{count} jobs submitted"), began.elapsed(), 1e5, count, "1 s a 100,000");

    restore(directory.path(), store, count, "waiting");
    let mut store = Store::open(directory.path()).unwrap();

    let (cpu, began) = (cpu(), Instant::now());
    let ended = train(&mut store, &mut scheduler, 20_000.min(jobs as usize));
    tell(&format!("{ended} jobs assigned and ended"), began.elapsed(), ended as f64, ended as f64, "10,000 jobs/s");
    let each = (self::cpu() - cpu).as_secs_f64() * 1e6 / ended as f64;
    println!("  {each:.1} µs of CPU a job (target 50 µs, the network included)");

    let points = epochs(directory.path());
    println!("{points:.0} metric points/s durable (target 200,000)");

    let mut left = 0;
    loop {
        let more = train(&mut store, &mut scheduler, 200_000);
        left += more;
        if more == 0 {
            break;
        }
    }
    println!("{left} further jobs ended");
    let began = Instant::now();
    for _ in 0..100 {
        assert!(scheduler.view().sweep(&"many".parse().unwrap()).unwrap().counts.finished > 0);
    }
    println!("{:.1} µs to count a sweep", began.elapsed().as_secs_f64() * 1e6 / 100.0);
    drop(scheduler);
    restore(directory.path(), store, count, "finished");
    println!("{} MB at most in memory (target 1,000 MB for a million jobs)", memory());
}

/// The submission of a sweep file.
fn read(source: &str) -> Submission {
    let sweep = sweep_file::read(source, 10_000_000).unwrap();
    let cells = sweep.trained().into_iter();
    let cells = cells.map(|cell| NewCell { id: cell.id, configuration: cell.configuration.canonical().into() });
    let jobs = sweep.jobs().map(|job| NewJob { id: job.id(), cell: job.cell, seed: job.seed, origin: None });
    Submission { name: sweep.name.clone(), source: source.into(), cells: cells.collect(), jobs: jobs.collect() }
}

fn records(effects: Vec<Effect>) -> Vec<Record> {
    effects.into_iter().filter_map(|e| if let Effect::Record(record) = e { Some(record) } else { None }).collect()
}

fn restore(directory: &Path, store: Store, count: f64, what: &str) {
    drop(store);
    let (began, used) = (Instant::now(), cpu());
    let store = Store::open(directory).unwrap();
    let opened = began.elapsed();
    let records = store.records().unwrap();
    let read = began.elapsed();
    let scheduler = Scheduler::restart(Policy::default(), records, WallTime(1));
    let [opened, read, all] = [opened, read, began.elapsed()].map(|at| at.as_secs_f64());
    let cpu = (cpu() - used).as_secs_f64();
    println!("  opened {opened:.3} s, read {:.3} s, applied {:.3} s; {cpu:.2} s of CPU", read - opened, all - read);
    let target = if count > 500_000.0 { "5 s" } else { "0.5 s" };
    tell(&format!("{count} jobs restored, {what}"), began.elapsed(), count, count, target);
    drop(scheduler);
}

fn facts() -> Box<Facts> {
    let samples = Samples { train: 1, validation: 0, test: 1 };
    let transition = TransitionMatrix::identity(10);
    let weights = "0".repeat(64);
    let (engine, data, start, kept) = ("none".into(), weights.clone(), None, BTreeMap::new());
    Box::new(Facts { parameters: 1, samples, noise_rate: 0.1, transition, data, engine, weights, start, kept })
}

fn connected() -> Event {
    let (worker, device) = (WorkerName("w".into()), DeviceClass::Cpu);
    Event::Connected { session: SESSION, worker, host: String::new(), instance: 1, slots: SLOTS, device, holds: vec![] }
}

/// Assigns and ends at least `most` jobs if there are as many. Each transaction has the reports of one worker with many slots.
fn train(store: &mut Store, scheduler: &mut Scheduler, most: usize) -> usize {
    let mut effects = scheduler.handle(WallTime(10), Event::Disconnected(SESSION));
    effects.extend(scheduler.handle(WallTime(10_000_000), connected()));
    let mut ended = 0;
    while ended < most {
        let mut given = Vec::new();
        let mut batch = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Record(record) => batch.push(record),
                Effect::Assign { attempt, .. } => given.push(attempt),
                _ => {}
            }
        }
        store.commit(&batch).unwrap();
        if given.is_empty() {
            return ended;
        }
        ended += given.len();
        for attempt in given {
            let epoch = ReportBody::Epoch(1, Measurements::from([(Metric::TestAccuracy, 0.5)]));
            for body in [epoch, ReportBody::Ended(Ending::Finished(facts()))] {
                let report = Report { sequence: ended as u64, attempt, body };
                effects.extend(scheduler.handle(WallTime(10_000_000), Event::Reported(SESSION, report)));
            }
        }
    }
    store.commit(&records(effects)).unwrap();
    ended
}

/// Reports epochs of many attempts for some seconds, in a store of its own. Returns metric points per second.
fn epochs(place: &Path) -> f64 {
    let (mut store, mut scheduler) = (Store::open(&place.join("long")).unwrap(), Scheduler::new(Policy::default()));
    let submission = read(&format!(
        "sweep: long\nseeds: {SLOTS}\nbase: {{dataset: fashion-mnist-10k, model: cnn, loss: cce, optimizer: adam, epochs: 1000000}}\n"
    ));
    for event in [Event::Submit(Ticket(0), submission), connected()] {
        store.commit(&records(scheduler.handle(WallTime(10_000_000), event))).unwrap();
    }
    let metrics = [
        Metric::TrainLoss,
        Metric::CleanAccuracy,
        Metric::NoisyAccuracy,
        Metric::ValidationLoss,
        Metric::ValidationAccuracy,
        Metric::TestAccuracy,
        Metric::LearningRate,
        Metric::ImagesPerSecond,
    ];
    let running: Vec<_> = scheduler.workers().flat_map(|worker| worker.busy.clone()).collect();
    assert!(!running.is_empty(), "jobs are left to train");
    let (began, mut reported) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        let mut batch = Vec::new();
        for _ in 0..TOGETHER {
            let attempt = running[reported % running.len()];
            let value = |metric| (metric, 0.1 + 1.0 / (reported as f64 + 3.0));
            let measurements = Measurements::from_iter(metrics.map(value));
            let body = ReportBody::Epoch(1 + (reported / running.len()) as u32, measurements);
            let report = Report { sequence: reported as u64, attempt, body };
            batch.extend(records(scheduler.handle(WallTime(10_000_000), Event::Reported(SESSION, report))));
            reported += 1;
        }
        store.commit(&batch).unwrap();
    }
    (reported * metrics.len()) as f64 / began.elapsed().as_secs_f64()
}

fn tell(what: &str, took: Duration, per: f64, count: f64, target: &str) {
    let seconds = took.as_secs_f64();
    println!(
        "{what}: {:.3} s, {:.0} a second, {:.3} s a {per:.0} (target {target})",
        seconds,
        count / seconds,
        seconds * per / count
    );
}

/// The processor time that this process has used.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The peak memory of this process in MB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) / 1000
}
