"""The figures, each from what `reading` found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.plotting.reading import Bar, Curve, Line, Peer

OURS, IDEAL, OTHERS = "#1f6feb", "#6e7781", "#c2570c"
_PALETTE = (OURS, OTHERS, "#1a7f4b", "#8250df", "#b3261e", IDEAL)
_STYLE: dict[str, Any] = {
    "font.size": 10, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": "#d8dee4", "grid.linewidth": 0.7,
    "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "portico",
}  # fmt: skip
_SHORTEST = 1e-4
"""Seconds that a wait of none is drawn as: a logarithmic axis has no zero."""
_GOALS = {"memory": 0.17, "sqlite": 0.6, "postgresql": 0.6, "redis": 0.5}


@contextmanager
def _axes(title: str, size: tuple[float, float] = (7.5, 4.2)) -> Iterator[tuple[Figure, Axes]]:
    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        yield figure, axes


def throughput(bars: Sequence[Bar]) -> Figure:
    """Ratios to the raw limits, with the goals."""
    with _axes("Dequeue to acknowledge, as a part of the raw limit") as (figure, axes):
        for place, (name, ratio) in enumerate(bars):
            below, above = ratio.median - ratio.lowest, ratio.highest - ratio.median
            axes.bar(place, ratio.median, 0.6, color=OURS, yerr=[[below], [above]], capsize=4)
            axes.annotate(
                f"{ratio.median:.2f}", (place, ratio.highest), (0, 4),
                textcoords="offset points", ha="center",
            )  # fmt: skip
            if goal := _GOALS.get(name.partition(":")[0]):
                axes.hlines(goal, place - 0.4, place + 0.4, color=OTHERS, linestyle="--")
        axes.plot([], [], color=OTHERS, linestyle="--", label="goal")
        axes.set_xticks(range(len(bars)), [bar.name for bar in bars])
        axes.set_ylim(0, 1)
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper right")
        return figure


def fairness(curves: Sequence[Curve]) -> Figure:
    """How the short jobs' waits are distributed."""
    styles = [(OURS, "-"), (IDEAL, "--"), (OTHERS, "-")]
    with _axes("How long short jobs wait behind long ones") as (figure, axes):
        for (name, values), (color, dashes) in zip(curves, cycle(styles), strict=False):
            _distribution(axes, name, values, color, dashes)
        _finish_distribution(
            axes, "wait before the start, ms; 0.1 stands for none", "share of the short jobs"
        )
        return figure


def latency(curves: Sequence[Curve]) -> Figure:
    """How the times from enqueue to start are distributed."""
    with _axes("From create_job to the handler's first line, idle pool") as (figure, axes):
        for (name, values), color in zip(curves, cycle(_PALETTE), strict=False):
            _distribution(axes, name, values, color, "-")
        _finish_distribution(axes, "ms", "share of the jobs")
        return figure


def _distribution(axes: Axes, name: str, values: Sequence[float], color: str, dashes: str) -> None:
    milliseconds = [1000 * max(value, _SHORTEST) for value in values]
    axes.ecdf(milliseconds, label=name, color=color, linestyle=dashes, linewidth=1.8)


def _finish_distribution(axes: Axes, unit: str, share: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    low, high = axes.get_xlim()
    axes.xaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
    axes.set_xlabel(unit)
    axes.set_ylabel(share)
    axes.axhline(0.99, color=IDEAL, linewidth=0.8, linestyle=":")
    axes.legend(loc="lower right")


def scaling(lines: Sequence[Line]) -> Figure:
    """Speed-ups beside the ideal one."""
    with _axes("Speed-up of jobs that compute", (6.0, 4.2)) as (figure, axes):
        most = max(count for line in lines for count in line.points)
        axes.plot([1, most], [1, most], color=IDEAL, linestyle="--", label="ideal")
        for (name, points), color in zip(lines, cycle(_PALETTE), strict=False):
            medians = [point.median for point in points.values()]
            below = [point.median - point.lowest for point in points.values()]
            above = [point.highest - point.median for point in points.values()]
            axes.errorbar(
                list(points), medians, yerr=[below, above], label=name, color=color, marker="o",
                capsize=3, linestyle="-" if name.startswith("Portico") else ":",
            )  # fmt: skip
        axes.set_xticks(range(1, most + 1))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("processes")
        axes.set_ylabel("times one plain process")
        axes.legend(loc="upper left")
        return figure


def peers(rows: Sequence[Peer]) -> Figure:
    """Rates of all systems, on a logarithmic scale."""
    height = 1.2 + 0.34 * len(rows)
    with _axes("No-op jobs per second, dequeue to done", (7.5, height)) as (figure, axes):
        names = [f"{row.system} · {row.store}" if row.store else row.system for row in rows]
        colors = [OURS if "portico" in row.system.lower() else IDEAL for row in rows]
        axes.barh(range(len(rows)), [row.rate for row in rows], 0.65, color=colors)
        for place, row in enumerate(rows):
            axes.annotate(
                f"{row.rate:,.0f}", (row.rate, place), (4, 0), textcoords="offset points",
                va="center",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("jobs per second, logarithmic")
        return figure
