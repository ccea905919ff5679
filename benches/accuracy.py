#!/usr/bin/env python3
"""Compares the test accuracies that PyTorch and plusminus reach with the same settings.

usage: accuracy.py PYTORCH.jsonl OURS.json

PYTORCH.jsonl is the output of `pytorch/train.py`, OURS.json that of `plusminus table SWEEP --format json`. Both have one
value per seed after the last epoch. The seeds of the two sides are unrelated, so the test is Welch's t-test for two samples
of unequal variance. They agree if it shows no difference at 5 %; otherwise the exit code is 1.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys
from dataclasses import dataclass

import common


@dataclass
class Sample:
    """Test accuracies in percent, one per seed."""

    values: list[float]

    @property
    def mean(self) -> float:
        return statistics.mean(self.values)

    @property
    def squared_error(self) -> float:
        """Of the mean."""
        return statistics.variance(self.values) / len(self.values)

    def row(self, name: str) -> list[str]:
        spread = f"{self.mean:.2f} ± {statistics.stdev(self.values):.2f}"
        return [name, str(len(self.values)), spread, f"{min(self.values):.2f}", f"{max(self.values):.2f}"]


def pytorch(path: pathlib.Path) -> Sample:
    """Each seed's value after the last epoch of the settings."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    epochs = next(line["settings"]["epochs"] for line in lines if "settings" in line)
    return Sample([100 * line["test_accuracy"] for line in lines if line.get("epoch") == epochs])


def ours(path: pathlib.Path) -> Sample:
    table = json.loads(path.read_text())
    cells = [cell for row in table["cells"] for cell in row]
    if table["metric"] != "test_accuracy" or table["at"] != "final" or len(cells) != 1:
        sys.exit(f"{path}: expected a table of one cell, of test_accuracy at final")
    return Sample([100 * seed["value"] for seed in cells[0]["seeds"] if seed["value"] is not None])


def compare(theirs: Sample, found: Sample) -> tuple[float, float, float]:
    """Difference of the means, its standard error, and the degrees of freedom of Welch and Satterthwaite."""
    parts = [(sample.squared_error, len(sample.values) - 1) for sample in (theirs, found)]
    total = sum(squared for squared, _ in parts)
    if total == 0:
        sys.exit("no spread over the seeds of either: nothing to test with")
    freedom = total**2 / sum(squared**2 / degrees for squared, degrees in parts)
    return found.mean - theirs.mean, math.sqrt(total), freedom


def probability(t: float, freedom: float) -> float:
    """Two-sided probability of Student's t beyond `t`; integrates the density by Simpson's rule."""
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    steps = 2000
    width = abs(t) / steps
    weights = [1, *([4, 2] * steps)[: steps - 1], 1]
    density = (scale * (1 + (i * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1))
    return 1 - 2 * width / 3 * sum(weight * value for weight, value in zip(weights, density, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pytorch", type=pathlib.Path)
    parser.add_argument("ours", type=pathlib.Path)
    arguments = parser.parse_args()
    theirs, found = pytorch(arguments.pytorch), ours(arguments.ours)
    if min(len(theirs.values), len(found.values)) < 2:
        sys.exit("two finished seeds of each are the least")
    difference, error, freedom = compare(theirs, found)
    rows = [theirs.row("PyTorch"), found.row("plusminus")]
    print(common.markdown(["test accuracy (%)", "seeds", "mean ± std", "least", "most"], rows))
    p = probability(difference / error, freedom)
    print(f"\ndifference {difference:+.2f}, standard error {error:.2f}")
    print(f"Welch's t {difference / error:.2f} with {freedom:.1f} degrees of freedom, p = {p:.3f}")
    print("they agree" if p > 0.05 else "they differ")
    sys.exit(0 if p > 0.05 else 1)


if __name__ == "__main__":
    main()
