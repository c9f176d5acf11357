"""What the benchmarks print, and what they write down."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.samples import Summary

_DISTRIBUTIONS = ("portico-jobs", "msgspec", "uvloop", "structlog")


def print_rates(console: Console, title: str, rates: Mapping[str, Sequence[float]]) -> None:
    """A table with a row per thing measured, in jobs per second."""
    table = Table(title=title, title_justify="left")
    table.add_column("jobs/s")
    for heading in ("median", "lowest", "highest", "spread"):
        table.add_column(heading, justify="right")
    for name, values in rates.items():
        summary = Summary.of(values)
        table.add_row(
            name,
            *(f"{value:,.0f}" for value in (summary.median, summary.lowest, summary.highest)),
            f"{summary.spread:.0%}",
        )
    console.print(table)


def print_values(
    console: Console, title: str, unit: str, rows: Mapping[str, Sequence[float]]
) -> None:
    """A table with a row per thing measured, with a few digits whatever the size."""
    table = Table(title=title, title_justify="left")
    table.add_column(unit)
    for heading in ("median", "lowest", "highest"):
        table.add_column(heading, justify="right")
    for name, values in rows.items():
        summary = Summary.of(values)
        shown = (summary.median, summary.lowest, summary.highest)
        table.add_row(name, *map(_digits, shown))
    console.print(table)


def print_goal(
    console: Console, what: str, values: Sequence[float], goal: float, *, least: bool = False
) -> None:
    """A median beside what it should be: at most the goal, or at least."""
    summary = Summary.of(values)
    reached = summary.median >= goal if least else summary.median <= goal
    console.print(
        f"{what}: [bold]{_digits(summary.median)}[/], from {_digits(summary.lowest)} to "
        f"{_digits(summary.highest)}; goal {'≥' if least else '≤'} {goal:g}: "
        + ("[green]reached[/]" if reached else "[red]missed[/]"),
        soft_wrap=True,
        highlight=False,
    )


def print_ratio(console: Console, ratios: Sequence[float], of: str) -> None:
    """How much was reached of something measured beside it, run by run."""
    summary = Summary.of(ratios)
    console.print(
        f"ratio to {of}: [bold]{summary.median:.2f}[/], "
        f"from {summary.lowest:.2f} to {summary.highest:.2f}",
        soft_wrap=True,
    )


def print_batches(console: Console, jobs_per_exchange: Sequence[float]) -> None:
    """How well the store's costs are shared."""
    console.print(f"jobs per exchange with the store: {Summary.of(jobs_per_exchange).median:.0f}")


def write_json(path: Path, measured: Mapping[str, Any]) -> None:
    """The raw samples, with what they were measured on."""
    document = {"machine": machine(), "versions": versions(), **measured}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What may explain a figure."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Of all that the hot path runs through."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in _DISTRIBUTIONS},
    }


def _digits(value: float) -> str:
    size = abs(value)
    places = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:,.{places}f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
