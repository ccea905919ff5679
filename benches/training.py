#!/usr/bin/env python3
"""Times training steps of our engine and of PyTorch in turn, and prints a table per network.

Every round runs each of them once in a process of its own, so that other work on the host affects all alike. A
figure is the median over the rounds of each process's median; the speed is the median over the rounds of the ratio to
PyTorch with channels last in the same round (above 1: faster).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

import common

# Timed steps, and steps before them. A round takes about two minutes on two cores, without compilation.
STEPS = {"cnn": (60, 10), "resnet20": (8, 2), "resnet18": (3, 1), "vgg16-bn": (3, 1)}
OURS = "plusminus"
REFERENCE = "PyTorch, channels last"
PEERS = {
    "PyTorch, eager": ["--layout", "contiguous"],
    REFERENCE: ["--layout", "channels_last"],
    "PyTorch, compiled": ["--layout", "channels_last", "--compile"],
}
LONGEST = 900


@dataclass
class Row:
    """One contender's results: one per round, None if it failed."""

    command: list[str]
    results: list[dict[str, float] | None] = field(default_factory=list)
    failure: str = ""


def contenders(arguments: argparse.Namespace, network: str) -> dict[str, Row]:
    steps, warm = STEPS[network]
    options = [network, "--batch", str(arguments.batch), "--steps", str(arguments.steps or steps)]
    options += ["--warm", str(warm), "--threads", str(arguments.threads)]
    script = [str(arguments.python), str(common.PYTORCH / "speed.py")]
    rows = {OURS: Row([str(arguments.ours), *options])}
    peers = {name: layout for name, layout in PEERS.items() if name not in arguments.without}
    return rows | {name: Row([*script, *options, *layout]) for name, layout in peers.items()}


def run(row: Row) -> None:
    """Adds a result to `row`; a contender that fails is not run again."""
    result = None
    if not row.failure:
        try:
            finished = subprocess.run(row.command, capture_output=True, text=True, timeout=LONGEST, check=True)
            result = json.loads(finished.stdout.splitlines()[-1])
        except subprocess.CalledProcessError as error:
            row.failure = reason(error.stderr)
        except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
            row.failure = str(error)
    row.results.append(result)


def reason(output: str) -> str:
    """The line of a program's last output that names the error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error:" in line]
    return (named or lines or ["no output"])[-1]


def speed(row: Row, reference: Row) -> str:
    ratios = [
        theirs["median_ms"] / ours["median_ms"]
        for ours, theirs in zip(row.results, reference.results, strict=True)
        if ours and theirs
    ]
    return f"{statistics.median(ratios):.2f}" if ratios else "-"


def table(rows: dict[str, Row]) -> str:
    lines = []
    for name, row in rows.items():
        results = [result for result in row.results if result]
        if not results:
            lines.append([f"{name}: failed", "-", "-", "-", "-", "-"])
            continue
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        best = min(result["best_ms"] for result in results)
        figures = [f"{middle['median_ms']:.1f}", f"{best:.1f}", f"{middle['images_per_second']:.0f}"]
        lines.append([name, *figures, speed(row, rows[REFERENCE]), f"{middle['peak_mib']:.0f}"])
    headers = ["", "ms a step", "best", "images/s", "speed", "peak MiB"]
    notes = [f"\n\n{name} failed: {row.failure}" for name, row in rows.items() if row.failure]
    return common.markdown(headers, lines) + "".join(notes)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(STEPS)}; without any, all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="timed steps a process in place of each network's number")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    parser.add_argument(
        "--without", action="append", default=[], choices=sorted(PEERS.keys() - {REFERENCE}), help="leave out"
    )
    parser.add_argument("--python", type=pathlib.Path, default=common.PYTHON, help="the Python that has PyTorch")
    parser.add_argument("--ours", type=pathlib.Path, default=common.RELEASE / "examples/training-speed")
    arguments = parser.parse_args()
    unknown = [network for network in arguments.networks if network not in STEPS]
    if unknown:
        parser.error(f"no network {', '.join(unknown)}: there are {', '.join(STEPS)}")
    return arguments


def main() -> None:
    arguments = parse()
    networks = {network: contenders(arguments, network) for network in arguments.networks or STEPS}
    for index in range(arguments.rounds):
        for network, rows in networks.items():
            for name, row in rows.items():
                print(f"round {index + 1} of {arguments.rounds}: {network}, {name}", file=sys.stderr)
                run(row)
    settings = f"batch {arguments.batch}, {arguments.threads} threads, {arguments.rounds} rounds"
    print(f"{settings}, load {os.getloadavg()[0]:.1f}")
    for network, rows in networks.items():
        print(f"\n{network}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
