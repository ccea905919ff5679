//! `plusminus check SWEEP`

use crate::arguments::{CheckArgs, Output};
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepFile;
use crate::{hints, memory, published, terminal};
use plusminus_core::display_text;
use plusminus_core::id::CellId;
use plusminus_core::job::Configuration;
use plusminus_core::report::{Table, cell_names};
use plusminus_core::sweep_file::{Cell, Sweep};
use plusminus_engines::ExecutionOptions;
use plusminus_trainer::MemoryEstimate;
use plusminus_worker::host::{Division, Host, SlotRequest};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::num::NonZeroUsize;

pub fn run(arguments: &CheckArgs) -> Result<Exit, CliError> {
    let profiles = SweepFile::read_all(&arguments.sweep)?.1.profiles;
    let profiles = profiles.iter().map(|(name, sweep)| (name.clone(), sweep.jobs_in_all())).collect();
    let sweep = SweepFile::read(&arguments.sweep, arguments.profile.as_deref())?.sweep;
    match arguments.output {
        Output::Text => terminal::data(&describe(&sweep, &profiles, arguments.jobs))?,
        Output::Json => terminal::data(&format!("{:#}\n", to_json(&sweep, &profiles, arguments.jobs)))?,
    }
    hints::print(&sweep);
    // Not an error: `compare --reference FILE` may name the results.
    if let Some(reference) = sweep.table.reference.as_deref().filter(|name| !published::names().any(|n| n == *name)) {
        let shipped = published::list();
        terminal::note(&format!(
            "no published results called `{reference}` ship ({shipped}); `compare` will need --reference FILE"
        ));
    }
    Ok(Exit::Success)
}

/// The number of jobs of each profile of the file.
type Profiles = BTreeMap<String, usize>;

fn describe(sweep: &Sweep, profiles: &Profiles, list: bool) -> String {
    let trained = sweep.trained();
    let cells = match trained.len() - sweep.cells.len() {
        0 => format!("{} cells", sweep.cells.len()),
        parents => format!("({} cells + {parents} parents)", sweep.cells.len()),
    };
    let (first, all) = (jobs(sweep), sweep.jobs_in_all());
    let mut text = match &sweep.select {
        Some(select) => {
            let candidates: usize = select.groups.iter().map(Vec::len).filter(|size| *size > 1).sum();
            let seeds =
                format!("{candidates} of them candidates under {} of {} seeds", select.seeds, sweep.seeds.len());
            let jobs = format!("{first} jobs for the selection, then {}", all - first);
            format!("{}: {jobs}; {cells}, {seeds}\n", sweep.name)
        }
        None => format!("{}: {all} jobs = {cells} × {} seeds\n", sweep.name, sweep.seeds.len()),
    };
    if let Some(description) = &sweep.description {
        let _ = writeln!(text, "{}", display_text::message(description));
    }
    let configurations = || trained.iter().map(|cell| cell.configuration.as_ref());
    let datasets: BTreeSet<String> = configurations().map(describe_data_set).collect();
    let networks: BTreeSet<String> = configurations().map(describe_network).collect();
    let epochs: u64 = sweep.jobs().map(|job| u64::from(job.configuration.epochs)).sum();
    let of = if sweep.select.is_some() { "for the selection" } else { "in all" };
    let list_of = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join("; ");
    let _ = writeln!(text, "  data      {}", list_of(datasets));
    let _ = writeln!(text, "  networks  {}", list_of(networks));
    let _ = writeln!(text, "  epochs    {epochs} {of}");
    let table = Table::new(sweep, []);
    let _ =
        writeln!(text, "  table     {} × {}, {} at {}", table.rows.len(), table.columns.len(), table.metric, table.at);
    let division = divide(sweep);
    let cells = memory::of_cells(sweep, cpu_options(division.threads));
    let _ = writeln!(text, "  memory    {}", describe_memory(&cells, division));
    if !profiles.is_empty() {
        let profiles = profiles.iter().map(|(name, jobs)| format!("{name} ({jobs} jobs)"));
        let _ = writeln!(text, "  profiles  {}", profiles.collect::<Vec<_>>().join("; "));
    }
    if list {
        let names = cell_names(sweep);
        let memory_of: BTreeMap<CellId, Option<MemoryEstimate>> =
            trained.iter().map(|cell| cell.id).zip(cells).collect();
        for job in sweep.jobs() {
            let memory = memory_of.get(&job.cell).copied().flatten();
            let name = names.get(&job.cell).map_or("parent", String::as_str);
            let _ = writeln!(text, "{}  {name} · seed {} · {}", job.id(), job.seed, memory_or_unknown(memory));
        }
    }
    text
}

/// Returns the slots and threads that `run` without options would use on this host.
fn divide(sweep: &Sweep) -> Division {
    let wanted = SlotRequest { jobs: Some(jobs(sweep)), ..SlotRequest::default() };
    Host::here().divide(wanted, |threads| Some(memory::largest(sweep, cpu_options(threads))?.0))
}

fn cpu_options(threads: NonZeroUsize) -> ExecutionOptions {
    ExecutionOptions { threads, ..ExecutionOptions::default() }
}

/// Describes the memory of the largest job, and of as many as `run` would train at once on this host.
fn describe_memory(cells: &[Option<MemoryEstimate>], division: Division) -> String {
    let known = cells.iter().copied().collect::<Option<Vec<_>>>();
    let Some(most) = known.and_then(|known| known.into_iter().max()) else { return "unknown".to_owned() };
    let total = MemoryEstimate(most.0.saturating_mul(division.slots.get() as usize));
    format!("about {most} a job; {total} on this machine ({division})")
}

fn memory_or_unknown(memory: Option<MemoryEstimate>) -> String {
    memory.map_or_else(|| "memory unknown".to_owned(), |memory| memory.to_string())
}

fn jobs(sweep: &Sweep) -> usize {
    sweep.jobs().len()
}

fn describe_data_set(configuration: &Configuration) -> String {
    let Some((train, test)) = configuration.dataset.sizes() else { return configuration.dataset.name().to_owned() };
    let train = configuration.taken(train);
    let held_out = configuration.held_out(train);
    format!(
        "{} ({} for training, {held_out} for validation, {} for testing)",
        configuration.dataset.name(),
        train - held_out,
        configuration.tested(test)
    )
}

fn describe_network(configuration: &Configuration) -> String {
    let name = serde_json::to_value(&configuration.model).ok();
    let name = name.as_ref().and_then(|model| model["name"].as_str()).unwrap_or("a network").to_owned();
    match configuration.model.network(configuration.dataset.input(), configuration.dataset.classes()) {
        Ok(network) => format!("{name} ({} weights)", network.parameters()),
        Err(problem) => format!("{name} ({problem})"),
    }
}

fn to_json(sweep: &Sweep, profiles: &Profiles, list: bool) -> Value {
    let division = divide(sweep);
    let memory = memory::of_cells(sweep, cpu_options(division.threads));
    let bytes = memory.iter().map(|memory| memory.map(|memory| memory.0));
    let trained = sweep.trained();
    let memory_of: BTreeMap<CellId, Option<usize>> = trained.iter().map(|cell| cell.id).zip(bytes).collect();
    let listed = |cells: &[Cell]| -> Vec<Value> {
        let cells = cells.iter().map(
            |cell| json!({ "id": cell.id, "configuration": &*cell.configuration, "memory": memory_of.get(&cell.id) }),
        );
        cells.collect()
    };
    let mut answer = json!({
        "sweep": sweep.name,
        "description": sweep.description,
        "jobs": jobs(sweep),
        "profiles": profiles,
        "seeds": sweep.seeds,
        "cells": listed(&sweep.cells),
        "parents": listed(&sweep.parents),
        "slots": division.slots,
        "threads": division.threads,
    });
    if let Some(select) = &sweep.select {
        let over: Vec<String> = select.over.iter().map(ToString::to_string).collect();
        let (seeds, in_all) = (&sweep.seeds[..select.seeds], sweep.jobs_in_all());
        answer["select"] =
            json!({ "over": over, "by": select.by, "at": select.at, "seeds": seeds, "jobs_in_all": in_all });
    }
    if list {
        let jobs = sweep.jobs().map(
            |job| json!({ "id": job.id(), "cell": job.cell, "seed": job.seed, "memory": memory_of.get(&job.cell) }),
        );
        answer["job_list"] = jobs.collect();
    }
    answer
}
