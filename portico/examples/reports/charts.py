"""The charts. Object-oriented matplotlib throughout: no pyplot, so nothing is kept globally."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import FuncFormatter, MaxNLocator

from portico.examples.reports import look


class Panel(NamedTuple):
    """Bars for the groups of one variable."""

    title: str
    labels: Sequence[str]
    values: Sequence[float]


def arrange(figure: Figure) -> None:
    """Lay the chart out now: saving would first draw the whole figure in vain to do so."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def delays_by_hour(figure: FigureBase, hours: pd.DataFrame) -> None:
    """Median and ninth decile over the hours of the day, above the number of flights."""
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1], "hspace": 0.12}
    )
    upper.fill_between(
        hours.index, hours["median"], hours["p90"], color=look.LATE, alpha=0.16, lw=0
    )
    upper.plot(hours.index, hours["p90"], color=look.LATE, label="one in ten is later")
    upper.plot(hours.index, hours["median"], color=look.GOOD, label="half are later")
    upper.axhline(0, color=look.FAINT, linewidth=0.8)
    _legend(upper)
    upper.set_ylabel("minutes after schedule")
    lower.bar(hours.index, hours["flights"], color=look.FAINT, width=0.7)
    lower.set_ylabel("flights")
    lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    lower.yaxis.set_major_formatter(_thousands())
    lower.set_xlim(hours.index.min() - 0.6, hours.index.max() + 0.6)
    lower.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    lower.xaxis.set_major_formatter(FuncFormatter(lambda hour, _: look.clock(hour % 24)))
    lower.set_xlabel("scheduled hour of departure")
    figure.align_ylabels()


def on_time_by_period(
    figure: FigureBase, periods: pd.DataFrame, network: pd.DataFrame, labels: Sequence[str]
) -> None:
    """Share on time, against all flights, above the share cancelled."""
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.14}
    )
    ticks = list(periods.index)
    if len(network):
        upper.plot(network.index, network["on_time"], color=look.FAINT, linewidth=1.5)
    upper.plot(ticks, periods["on_time"], color=look.GOOD, marker="o", markersize=4)
    upper.set_ylabel("arrived on time")
    _percent(upper.yaxis)
    lower.bar(ticks, periods["cancelled"], color=look.BAD, width=0.62)
    lower.set_ylabel("cancelled")
    _percent(lower.yaxis, 2)
    lower.set_xticks(ticks, labels)
    figure.align_ylabels()


def outcomes(figure: FigureBase, groups: pd.DataFrame, labels: Sequence[str]) -> None:
    """Flights per group as bars, parted into on time, late and cancelled."""
    axes = figure.subplots()
    places = list(range(len(groups)))[::-1]
    left = pd.Series(0.0, index=groups.index)
    parts = (("on time", "n_on_time", look.GOOD), ("late", "n_late", look.LATE))
    for label, column, colour in (*parts, ("cancelled or diverted", "n_lost", look.BAD)):
        axes.barh(places, groups[column], left=left, color=colour, height=0.66, label=label)
        left = left + groups[column]
    axes.set_yticks(places, labels, color=look.INK)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.xaxis.set_major_formatter(_thousands())
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("flights")
    _legend(axes)


def on_time_ranking(
    figure: FigureBase, groups: pd.DataFrame, labels: Sequence[str], average: float
) -> None:
    """Share on time per group as a dot plot around the average of all flights."""
    axes = figure.subplots()
    places = list(range(len(groups)))[::-1]
    axes.hlines(places, average, groups["on_time"], color=look.FAINT, linewidth=2.2)
    colours = [look.GOOD if value >= average else look.BAD for value in groups["on_time"]]
    axes.scatter(groups["on_time"], places, color=colours, s=46, zorder=3)
    axes.axvline(average, color=look.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        f"all flights {look.share(average)}", (average, 1.0), xycoords=("data", "axes fraction"),
        xytext=(0, 4), textcoords="offset points", ha="center", fontsize=8, color=look.MUTED,
    )  # fmt: skip
    axes.set_yticks(places, labels, color=look.INK)
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    _percent(axes.xaxis)
    axes.set_xlabel("arrived on time")


def weather(figure: FigureBase, parts: Sequence[Panel]) -> None:
    """Mean delay per class of weather, on one scale."""
    row = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, part in zip(row, parts, strict=True):
        _columns(axes, part)
    row[0].set_ylabel("mean delay, minutes")


def fleet(figure: FigureBase, ages: Panel, models: Panel) -> None:
    """Flights by the age of the aircraft, and by model."""
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [5, 4]})
    _columns(left, ages)
    left.yaxis.set_major_formatter(_thousands())
    left.set_ylabel("flights")
    places = list(range(len(models.values)))[::-1]
    bars = right.barh(places, models.values, color=look.ACCENT, height=0.62)
    right.bar_label(bars, fmt=look.brief, fontsize=8, color=look.MUTED, padding=4)
    right.set_yticks(places, models.labels, color=look.INK)
    right.set_xticks([])
    right.spines["bottom"].set_visible(False)
    right.margins(x=0.22)
    right.grid(visible=False)
    right.set_title(models.title, pad=10)


def _columns(axes: Axes, part: Panel) -> None:
    bars = axes.bar(range(len(part.values)), part.values, color=look.ACCENT, width=0.66)
    axes.bar_label(bars, fmt=look.brief, fontsize=8, color=look.MUTED, padding=2)
    axes.set_xticks(range(len(part.values)), part.labels, fontsize=7.5)
    axes.set_xlim(-0.6, max(3, len(part.values)) - 0.4)
    axes.set_title(part.title, pad=10)
    axes.margins(y=0.12)


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0, handlelength=1.2,
        handleheight=0.9, columnspacing=1.4,
    )  # fmt: skip


def _percent(axis: Axis, ticks: int = 6) -> None:
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:.4g}%"))


def _thousands() -> FuncFormatter:
    return FuncFormatter(lambda value, _: look.count(value))
