"""How the reports look: colours, type and number formats, the same in HTML and PDF."""

from __future__ import annotations

import math
from typing import Any

INK = "#1c2430"
MUTED = "#69727f"
FAINT = "#c9ced6"
GRID = "#e8eaee"
GOOD = "#1f7a8c"
LATE = "#e09f3e"
BAD = "#b23a48"
ACCENT = "#28527a"

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "portico",
    "pdf.fonttype": 3,
}

ABSENT = "–"


def count(value: float) -> str:
    """A whole number: 336,776."""
    return f"{value:,.0f}"


TENS_OF_THOUSANDS = 10_000
NO_DIFFERENCE = 0.0005


def brief(value: float) -> str:
    """A number for a tight place: 105k, 9,641, 12."""
    return f"{value / 1000:,.0f}k" if value >= TENS_OF_THOUSANDS else _minus(f"{value:,.0f}")


def share(value: float) -> str:
    """A share of one as a percentage: 76.4%."""
    return ABSENT if math.isnan(value) else f"{value * 100:.1f}%"


def minutes(value: float) -> str:
    """A time span in minutes: 12.6, and −2.0 with a real minus sign."""
    return ABSENT if math.isnan(value) else _minus(f"{value:.1f}")


def clock(hour: float) -> str:
    """An hour of the day: 06:00."""
    return f"{int(hour):02d}:00"


def points(value: float) -> str:
    """A difference of two shares in percentage points: 2.1 points above."""
    if math.isnan(value):
        return "not comparable with"
    if abs(value) < NO_DIFFERENCE:
        return "level with"
    return f"{abs(value) * 100:.1f} points {'above' if value > 0 else 'below'}"


def shortened(text: str, length: int = 24) -> str:
    """A name that fits into a table."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _minus(text: str) -> str:
    return text.replace("-", "\u2212")
