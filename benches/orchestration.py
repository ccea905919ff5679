#!/usr/bin/env python3
"""Measures the cost of a job besides its training, and prints each figure next to its target and HyperQueue's.

Coordinator, worker daemon and runners are the real processes, over gRPC and pipes, with the store on disk; only the
runners' training loop does nothing (`worker/examples/noop-worker.rs`). Each phase starts with a fresh
state directory. Times are wall-clock times, so other work on the host counts; processor times are of
`/proc/PID/stat`.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import common

LOSSES = ["cce", "mae", "gce", "sce", "mse", "rce", "unhinged", "dmi", "imae", "{name: gce, q: 0.5}"]
METRICS = 10
LONGEST = 900
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Figure:
    """A row of the table: the values of each side, and the target for ours."""

    name: str
    unit: str
    target: float
    most: bool = True
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def row(self) -> list[str]:
        bound = f"{'≤' if self.most else '≥'} {number(self.target)}"
        if not self.ours:
            return [f"{self.name} ({self.unit})", "-", bound, "", self.middle(self.theirs)]
        value = statistics.median(self.ours)
        met = value <= self.target if self.most else value >= self.target
        verdict = "met" if met else "missed"
        return [f"{self.name} ({self.unit})", self.middle(self.ours), bound, verdict, self.middle(self.theirs)]

    @staticmethod
    def middle(values: list[float]) -> str:
        return number(statistics.median(values)) if values else "-"


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Processes.


def processor(pid: int) -> float:
    """Processor seconds of a process: all its threads, and the children that it has waited for."""
    after = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, after[11:15])) / TICKS


def memory(pid: int) -> float:
    """Peak memory of a process in MB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def children(pid: int) -> list[int]:
    listed = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in listed for child in file.read_text().split()]


@contextlib.contextmanager
def process(command: list[str], log: pathlib.Path, stop: int = signal.SIGINT) -> Iterator[subprocess.Popen]:
    """Runs a daemon, and stops it at the end."""
    with log.open("ab") as output:
        daemon = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield daemon
    finally:
        if daemon.poll() is None:
            daemon.send_signal(stop)
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def run(command: list[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    if finished.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {finished.stderr}")
    return finished.stdout


def wait(what: str, holds: Callable[[], bool], pause: float, longest: float = LONGEST) -> None:
    until = time.monotonic() + longest
    while not holds():
        if time.monotonic() > until:
            raise RuntimeError(f"{what} has not come in {longest} s")
        time.sleep(pause)


# Ours.


class Ours:
    """A state directory and the processes that use it."""

    def __init__(self, arguments: argparse.Namespace, place: pathlib.Path) -> None:
        self.program, self.noop = str(arguments.ours), str(arguments.noop)
        self.place, self.state = place, place / "state"
        place.mkdir()

    @contextlib.contextmanager
    def coordinator(self, stop: int = signal.SIGKILL) -> Iterator[tuple[subprocess.Popen, float]]:
        """A coordinator, and the seconds from its start to its first answer."""
        began, address = time.monotonic(), self.state / "address"
        # The previous coordinator may have been killed.
        address.unlink(missing_ok=True)
        command = [self.program, "coordinator", "--listen", "127.0.0.1:0", "--state", str(self.state)]
        with process(command, self.place / "coordinator.log", stop) as daemon:
            wait("the coordinator", address.exists, 0.001, 120)
            self.url = address.read_text().strip()
            while subprocess.run(self.command("status"), capture_output=True, timeout=LONGEST).returncode:
                pass
            yield daemon, time.monotonic() - began

    def command(self, name: str, *options: str) -> list[str]:
        return [self.program, name, *options, "--coordinator", self.url]

    def sweep(self, jobs: int, epochs: int) -> str:
        """Write a sweep file with `jobs` jobs of `epochs` epochs each."""
        path = self.place / "many.yaml"
        path.write_text(
            f"sweep: many\nseeds: {jobs // len(LOSSES)}\n"
            f"base: {{dataset: fashion-mnist-10k, model: cnn, optimizer: adam, epochs: {epochs}}}\n"
            f"grid: {{loss: [{', '.join(LOSSES)}]}}\n"
        )
        return str(path)

    def submit(self, jobs: int, epochs: int = 1) -> float:
        path, began = self.sweep(jobs, epochs), time.monotonic()
        run(self.command("submit", path))
        return time.monotonic() - began

    def worker(self, slots: int, *options: str) -> contextlib.AbstractContextManager[subprocess.Popen]:
        command = [self.noop, "--coordinator", self.url, "--state", str(self.place / "worker")]
        return process([*command, "--slots", str(slots), *options], self.place / "worker.log")

    def ask(self, query: str) -> tuple:
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/plusminus.sqlite?mode=ro", uri=True)) as store:
            return store.execute(query).fetchone()

    def finish(self) -> float:
        """Waits for the last job; seconds between the first assignment and the last ending, as stored."""
        # Jobs are trained in order: check the last one first, and the whole table only at the end.
        left = """SELECT count(*) FROM (SELECT 1 FROM job_states WHERE state IN ('queued', 'running')
                                        ORDER BY number DESC LIMIT 1)"""
        wait("the end of the sweep", lambda: self.ask(left) == (0,), 0.25)
        began, ended, finished = self.ask("SELECT min(started), max(ended), count(*) FROM attempts")
        (jobs,) = self.ask("SELECT count(*) FROM jobs WHERE state = 'finished'")
        if jobs != finished:
            raise RuntimeError(f"{finished} attempts for {jobs} jobs: some failed")
        return (ended - began) / 1e3


def many(figures: dict[str, Figure], arguments: argparse.Namespace, place: pathlib.Path) -> None:
    """Submissions, restarts, and one complete sweep."""
    jobs = arguments.jobs
    for index in range(arguments.rounds):
        ours = Ours(arguments, place / f"many-{index}")
        with ours.coordinator():
            figures["submit"].ours.append(ours.submit(jobs))
        with ours.coordinator() as (daemon, took):
            figures["restore"].ours.append(took)
            before = processor(daemon.pid)
            with ours.worker(arguments.slots) as worker:
                seconds = ours.finish()
                others = [processor(worker.pid), sum(map(processor, children(worker.pid)))]
            shares = [each / jobs * 1e6 for each in [processor(daemon.pid) - before, *others]]
            figures["rate"].ours.append(jobs / seconds)
            figures["cpu"].ours.append(shares[0])
            figures["memory"].ours.append(memory(daemon.pid))
        names = ["coordinator", "worker daemon", f"{arguments.slots} runners"]
        costs = ", ".join(f"{name} {share:.1f}" for name, share in zip(names, shares, strict=True))
        say(f"  {jobs / seconds:,.0f} jobs/s; µs of processor a job: {costs}")
        with ours.coordinator() as (_, took):
            figures["restore-finished"].ours.append(took)


def points(figures: dict[str, Figure], arguments: argparse.Namespace, place: pathlib.Path) -> None:
    """Jobs that report many epochs."""
    jobs, epochs = 1280, arguments.epochs
    ours = Ours(arguments, place / "points")
    with ours.coordinator() as (daemon, _):
        ours.submit(jobs, epochs)
        before = processor(daemon.pid)
        with ours.worker(arguments.slots, "--metrics", str(METRICS)) as worker:
            seconds = ours.finish()
            used = [processor(daemon.pid) - before, processor(worker.pid), sum(map(processor, children(worker.pid)))]
        told = ours.ask("SELECT count(*) FROM epochs")[0]
    if told != jobs * epochs:
        raise RuntimeError(f"{told} epochs are stored of {jobs * epochs}")
    figures["points"].ours.append(told * METRICS / seconds)
    costs = ", ".join(f"{each / told * 1e6:.1f}" for each in used)
    say(f"  µs of processor an epoch of {METRICS} points: {costs} (coordinator, worker daemon, runners)")


def latency(figures: dict[str, Figure], arguments: argparse.Namespace, place: pathlib.Path) -> None:
    """Slots that are seldom free."""
    ours = Ours(arguments, place / "latency")
    gaps = place / "gaps"
    gaps.mkdir()
    with ours.coordinator():
        ours.submit(1000)
        with ours.worker(arguments.busy, "--work", str(arguments.work), "--gaps", str(gaps)):
            ours.finish()
    idle = sorted(float(line) for file in gaps.iterdir() for line in file.read_text().split())
    figures["latency"].ours.append(statistics.median(idle))
    say(f"  idle between jobs: median {statistics.median(idle):.2f} ms, nine tenths below {idle[len(idle) * 9 // 10]:.2f}")


def million(figures: dict[str, Figure], arguments: argparse.Namespace, place: pathlib.Path) -> None:
    ours = Ours(arguments, place / "million")
    with ours.coordinator() as (daemon, _):
        took = ours.submit(1_000_000)
        say(f"  submitted in {took:.1f} s, {memory(daemon.pid):,.0f} MB at most")
    with ours.coordinator() as (daemon, took):
        figures["million"].ours.append(took)
        figures["million-memory"].ours.append(memory(daemon.pid))


# HyperQueue.


def hyperqueue(figures: dict[str, Figure], arguments: argparse.Namespace, place: pathlib.Path) -> None:
    """The same with `hq`: the same number of tasks in one array, a worker of as many CPUs, the journal on disk."""
    hq, jobs = str(arguments.hq), arguments.jobs
    for index in range(arguments.rounds):
        own = place / f"hq-{index}"
        own.mkdir()
        base = [hq, "--server-dir", str(own / "server")]
        server = [*base, "server", "start", "--journal", str(own / "journal")]

        @contextlib.contextmanager
        def serving() -> Iterator[tuple[subprocess.Popen, float]]:
            shutil.rmtree(own / "server", ignore_errors=True)
            began = time.monotonic()
            with process(server, own / "server.log", signal.SIGKILL) as daemon:
                access = own / "server/hq-current/access.json"
                wait("HyperQueue's server", access.exists, 0.001, 120)
                while subprocess.run([*base, "job", "list"], capture_output=True, timeout=LONGEST).returncode:
                    pass
                yield daemon, time.monotonic() - began

        with serving():
            began = time.monotonic()
            # The output of tasks is discarded.
            quiet = ["--stdout", "none", "--stderr", "none"]
            run([*base, "submit", *quiet, "--cwd", "/tmp", "--array", f"1-{jobs}", "--", arguments.task])
            figures["submit"].theirs.append(time.monotonic() - began)
            # It writes its journal only every 30 s, unless asked to.
            run([*base, "journal", "flush"])
        with serving() as (daemon, took):
            figures["restore"].theirs.append(took)
            before, began = processor(daemon.pid), time.monotonic()
            worker = [*base, "worker", "start", "--cpus", str(arguments.slots)]
            with process(worker, own / "worker.log"):
                done = lambda: waiting(base) == 0  # noqa: E731
                wait("the end of HyperQueue's tasks", done, 0.25)
                seconds = time.monotonic() - began
            figures["rate"].theirs.append(jobs / seconds)
            figures["cpu"].theirs.append((processor(daemon.pid) - before) / jobs * 1e6)
            figures["memory"].theirs.append(memory(daemon.pid))
            run([*base, "journal", "flush"])
        with serving() as (_, took):
            figures["restore-finished"].theirs.append(took)
        say(f"  {jobs / seconds:,.0f} tasks/s")


def waiting(base: list[str]) -> int:
    """Number of unfinished tasks."""
    listed = json.loads(run([*base, "--output-mode", "json", "job", "list", "--all"]))
    return sum(job["task_stats"]["waiting"] + job["task_stats"]["running"] for job in listed)


# The whole.


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phases", nargs="*", help=f"of {', '.join(PHASES)}; without any, all")
    parser.add_argument("--jobs", type=int, default=100_000, help="in the phase `many`")
    parser.add_argument("--rounds", type=int, default=3, help="of the phases `many` and `hyperqueue`: medians are told")
    parser.add_argument("--slots", type=int, default=128, help="of the one worker")
    parser.add_argument("--epochs", type=int, default=150, help="that each job of the phase `points` tells of")
    parser.add_argument("--busy", type=int, default=8, help="slots in the phase `latency`")
    parser.add_argument("--work", type=int, default=100, help="how long a job takes there, in milliseconds")
    parser.add_argument("--place", type=pathlib.Path, default=common.ROOT / "target", help="a directory on a real disk")
    parser.add_argument("--ours", type=pathlib.Path, default=common.RELEASE / "plusminus")
    parser.add_argument("--noop", type=pathlib.Path, default=common.RELEASE / "examples/noop-worker")
    parser.add_argument("--hq", type=pathlib.Path, default=os.environ.get("HQ"), help="HyperQueue's program [env: HQ]")
    parser.add_argument("--task", default="true", help="the program that is each of HyperQueue's tasks")
    arguments = parser.parse_args()
    unknown = [phase for phase in arguments.phases if phase not in PHASES]
    if unknown:
        parser.error(f"no phase {', '.join(unknown)}: there are {', '.join(PHASES)}")
    if arguments.hq is not None and not arguments.hq.is_file():
        parser.error(f"no file {arguments.hq}: HyperQueue's program is to be given by --hq or HQ")
    return arguments


PHASES = {"many": many, "points": points, "latency": latency, "million": million, "hyperqueue": hyperqueue}


def main() -> None:
    arguments = parse()
    scale = arguments.jobs / 100_000
    jobs = f"{arguments.jobs:,} jobs"
    figures = {
        "submit": Figure(f"{jobs} submitted", "s", 1 * scale),
        "rate": Figure(f"through {arguments.slots} slots of one worker", "jobs/s", 10_000, most=False),
        "cpu": Figure("processor time of the coordinator a job", "µs", 50),
        "restore": Figure(f"{jobs} restored, all waiting", "s", 0.5 * scale),
        "restore-finished": Figure(f"{jobs} restored, all finished", "s", 0.5 * scale),
        "memory": Figure(f"memory of the coordinator with {jobs}", "MB", 1000),
        "million": Figure("1,000,000 jobs restored", "s", 5),
        "million-memory": Figure("memory of the coordinator with them", "MB", 1000),
        "points": Figure("metric points taken in", "points/s", 200_000, most=False),
        "latency": Figure("a slot free to the next job begun, median", "ms", 5),
    }
    phases = arguments.phases or list(PHASES)
    if arguments.hq is None and "hyperqueue" in phases:
        phases = [phase for phase in phases if phase != "hyperqueue"]
        say("no HyperQueue: its program is given by --hq or HQ (benches/README.md)")
    arguments.place.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="orchestration-", dir=arguments.place) as place:
        for phase in phases:
            say(phase)
            PHASES[phase](figures, arguments, pathlib.Path(place))
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, load before {load:.1f} and after {os.getloadavg()[0]:.1f}, medians of {arguments.rounds} rounds\n")
    rows = [figure.row() for figure in figures.values() if figure.ours or figure.theirs]
    print(common.markdown(["", "plusminus", "target", "", "HyperQueue"], rows))


if __name__ == "__main__":
    main()
