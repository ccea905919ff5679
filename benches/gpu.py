#!/usr/bin/env python3
"""Times training steps on a GPU, ours and PyTorch's in turn, and prints a table per network.

Ours runs as one job and as several at once (total images per second), PyTorch's eager, compiled and as a CUDA graph. A figure is the
median over the rounds; the speed is the median over the rounds of the ratio to the fastest of PyTorch's in the same
round, and to eager.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import common

NETWORKS = ["resnet20", "resnet18", "resnet34"]
MODES = ["eager", "compiled", "graph"]
LONGEST = 600


def run(command: list[str]) -> dict[str, float] | str:
    """The command's line of JSON, or the reason why it printed none."""
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=True)
        return json.loads(finished.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        return (error.stderr.strip().splitlines() or ["no output"])[-1]
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return str(error)


def contenders(arguments: argparse.Namespace, network: str) -> dict[str, list[str]]:
    options = [network, "--batch", str(arguments.batch)]
    ours = [str(arguments.ours), *options, "--device", arguments.device]
    theirs = [str(arguments.python), str(common.PYTORCH / "gpu_speed.py"), *options]
    jobs = {f"plusminus, {jobs} jobs" if jobs > 1 else "plusminus": [*ours, "--jobs", str(jobs)] for jobs in arguments.jobs}
    return jobs | {f"PyTorch, {mode}": [*theirs, "--mode", mode] for mode in MODES}


def ratio(rounds: list[dict[str, dict[str, float] | str]], name: str, peers: list[str]) -> str:
    found = []
    for results in rounds:
        speeds = [results[peer]["images_per_second"] for peer in peers if not isinstance(results[peer], str)]
        if speeds and not isinstance(results[name], str):
            found.append(results[name]["images_per_second"] / max(speeds))
    return f"{statistics.median(found):.2f}" if found else "-"


def table(rounds: list[dict[str, dict[str, float] | str]]) -> str:
    peers = [f"PyTorch, {mode}" for mode in MODES]
    lines, notes = [], []
    for name in rounds[0]:
        results = [results[name] for results in rounds if not isinstance(results[name], str)]
        notes += sorted({f"\n\n{name} failed: {results[name]}" for results in rounds if isinstance(results[name], str)})
        if not results:
            lines.append([f"{name}: failed", "-", "-", "-", "-"])
            continue
        middle = {key: statistics.median(result[key] for result in results) for key in ["median_ms", "images_per_second"]}
        figures = [f"{middle['median_ms']:.3f}", f"{middle['images_per_second']:.0f}"]
        lines.append([name, *figures, ratio(rounds, name, peers), ratio(rounds, name, peers[:1])])
    return common.markdown(["", "ms a step", "images/s", "times the fastest", "times eager"], lines) + "".join(notes)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"without any, {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--python", type=pathlib.Path, default=common.PYTHON, help="the Python that has PyTorch")
    parser.add_argument("--ours", type=pathlib.Path, default=common.RELEASE / "examples/gpu-training-speed")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    all_rounds = {network: [] for network in arguments.networks}
    for index in range(arguments.rounds):
        for network, rounds in all_rounds.items():
            results = {}
            for name, command in contenders(arguments, network).items():
                print(f"round {index + 1} of {arguments.rounds}: {network}, {name}", file=sys.stderr)
                results[name] = run(command)
            rounds.append(results)
    print(f"batch {arguments.batch}, {arguments.rounds} rounds")
    for network, rounds in all_rounds.items():
        print(f"\n{network}\n\n{table(rounds)}")


if __name__ == "__main__":
    main()
