"""Paths and Markdown tables that the scripts of this folder share."""

import pathlib
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON = ROOT / "target/pytorch/bin/python"
RELEASE = ROOT / "target/release"
PYTORCH = ROOT / "benches/pytorch"


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text; the others are numbers."""
    widths = [max(len(row[column]) for row in [headers, *rows]) for column in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(padded) + " |"

    rules = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    return "\n".join([line(headers), "|" + "|".join(rules) + "|", *map(line, rows)])
