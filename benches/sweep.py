#!/usr/bin/env python3
"""Times a whole sweep, ours and PyTorch's, in turn, and prints a table.

Ours is `plusminus run` with a fresh state directory; PyTorch's is `pytorch/jobs.py`, which trains the same jobs with a given
number of processes and threads. Seconds are those of the whole command. Memory is the largest sum of the proportional
set sizes (shared memory counts once) of a command's processes, sampled twice a second.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import common

SWEEP = common.ROOT / "benches/sweeps/resnet20-8-jobs.yaml"
OURS = "plusminus"
PROC = pathlib.Path("/proc")


@dataclass
class Result:
    seconds: float
    peak_mib: float
    test_accuracy: float


@dataclass
class Row:
    command: list[str]
    results: list[Result] = field(default_factory=list)


def family(root: int) -> Iterator[int]:
    """`root` and its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may contain any character.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for process in found:
        yield process
        found += parents.get(process, [])


def proportional_mib(process: int) -> float:
    try:
        lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


class Watch:
    """Peak memory of a process and its descendants."""

    def __init__(self, process: int) -> None:
        self.peak = 0.0
        self.process, self.over = process, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self) -> None:
        while not self.over.wait(0.5):
            self.peak = max(self.peak, sum(map(proportional_mib, family(self.process))))

    def end(self) -> float:
        self.over.set()
        self.thread.join()
        return self.peak


def run(command: list[str]) -> Result:
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watch = Watch(process.pid)
        output, errors = process.communicate()
        seconds = time.perf_counter() - begun
        peak = watch.end()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{errors}")
    return Result(seconds, peak, accuracy(json.loads(output)))


def accuracy(output: dict) -> float:
    """The accuracy in PyTorch's line, or in our table's only cell."""
    return output["cells"][0][0]["mean"] if "cells" in output else output["test_accuracy"]


def contenders(arguments: argparse.Namespace) -> dict[str, Row]:
    rows = {OURS: Row([str(arguments.ours), "run", str(SWEEP), "--format", "json"])}
    script = [str(arguments.python), str(common.PYTORCH / "jobs.py")]
    for processes, threads in arguments.arrangements:
        for layout in arguments.layouts:
            name = f"PyTorch, {processes} × {threads}, {layout.replace('_', ' ')}"
            options = ["--processes", str(processes), "--threads", str(threads), "--layout", layout]
            rows[name] = Row([*script, *options])
    return rows


def run_fresh(command: list[str]) -> Result:
    """Runs ours with a fresh state directory."""
    with tempfile.TemporaryDirectory() as state:
        return run([*command, "--state", state])


def table(rows: dict[str, Row]) -> str:
    def middle(row: Row, key: str) -> float:
        return statistics.median(getattr(result, key) for result in row.results)

    best = min((row for name, row in rows.items() if name != OURS), key=lambda row: middle(row, "seconds"))
    lines = []
    for name, row in rows.items():
        ratios = [theirs.seconds / ours.seconds for ours, theirs in zip(row.results, best.results, strict=True)]
        lines.append(
            [
                name,
                f"{middle(row, 'seconds'):.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{middle(row, 'peak_mib'):.0f}",
                f"{100 * middle(row, 'test_accuracy'):.2f}",
            ]
        )
    return common.markdown(["processes × threads", "seconds", "speed", "peak MiB", "test accuracy (%)"], lines)


def arrangement(text: str) -> tuple[int, int]:
    processes, _, threads = text.partition("x")
    return int(processes), int(threads)


def parse() -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--arrangements",
        type=arrangement,
        nargs="+",
        metavar="PxT",
        default=[(cores, 1), (1, cores), (2 * cores, 1)],
        help="processes x threads; default: one process a core, one process for all, two processes a core",
    )
    layouts = ["contiguous", "channels_last"]
    parser.add_argument("--layouts", nargs="+", choices=layouts, default=layouts)
    parser.add_argument("--python", type=pathlib.Path, default=common.PYTHON, help="the Python that has PyTorch")
    parser.add_argument("--ours", type=pathlib.Path, default=common.RELEASE / "plusminus")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    for program in (arguments.ours, arguments.python):
        if not program.exists():
            sys.exit(f"{program} is missing: `just bench-sweep` makes it")
    rows = contenders(arguments)
    for index in range(arguments.rounds):
        for name, row in rows.items():
            print(f"round {index + 1} of {arguments.rounds}: {name}", file=sys.stderr)
            row.results.append(run_fresh(row.command) if name == OURS else run(row.command))
    settings = f"{SWEEP.stem}: {arguments.rounds} rounds, {len(os.sched_getaffinity(0))} cores"
    print(f"{settings}, load {os.getloadavg()[0]:.1f}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
