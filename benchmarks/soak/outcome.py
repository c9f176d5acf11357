"""The figures of a soak: a table for people, one line of JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.soak.nemesis import Fault
from benchmarks.soak.verdict import Observed, Verdict

_COUNTED_EVENTS = ("lease_lost", "settlement_refused", "job_recovered", "store_unreachable")


def figures(verdict: Verdict, observed: Observed, seed: int, whole: float) -> dict[str, Any]:
    """All figures of a run, which took `whole` seconds with its drain."""
    faults = Counter(action.fault for action in observed.actions)
    kinds = Counter(violation.kind for violation in verdict.violations)
    return {
        "benchmark": "soak",
        "seed": seed,
        "seconds": round(whole, 1),
        "jobs": verdict.returned,
        "executed": verdict.executed,
        "killed_workers": faults[Fault.KILL_WORKER],
        "killed_supervisors": faults[Fault.KILL_SUPERVISOR],
        "faults": {fault.value: faults[fault] for fault in Fault},
        "lost": kinds["lost"],
        "unexpected": kinds["unexpected"],
        "unexplained": kinds["unexplained"],
        "violations": dict(kinds),
        "duplicates": {cause.text: number for cause, number in verdict.duplicates.items()},
        "dead_lettered": verdict.dead,
        "recovered_enqueues": verdict.recovered,
        "seconds_to_next_begin": {
            cause.text: _percentiles(delays) for cause, delays in verdict.delays.items()
        },
        "log": {event: observed.events.get(event, 0) for event in _COUNTED_EVENTS},
    }


def table(found: dict[str, Any]) -> Table:
    """The same as a table."""
    shown = Table(title=f"soak, seed {found['seed']}", title_justify="left", show_header=False)
    shown.add_column()
    shown.add_column(justify="right")
    for name in ("jobs", "executed", "seconds", "dead_lettered", "recovered_enqueues"):
        shown.add_row(name.replace("_", " "), str(found[name]))
    for heading, part in (("fault", "faults"), ("duplicates", "duplicates"), ("log", "log")):
        for name, number in found[part].items():
            shown.add_row(f"{heading}: {name}", str(number))
    for name, delays in found["seconds_to_next_begin"].items():
        shown.add_row(f"{name} → next begin, p50 / p99", f"{delays['p50']} / {delays['p99']} s")
    for name in ("lost", "unexpected", "unexplained"):
        shown.add_row(name, _coloured(found[name]))
    shown.add_row("violations in all", _coloured(sum(found["violations"].values())))
    return shown


def _coloured(number: int) -> str:
    return f"[{'red' if number else 'green'}]{number}[/]"


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)

    def at(share: float) -> float | None:
        last = len(ordered) - 1
        return round(ordered[min(last, int(share * len(ordered)))], 2) if ordered else None

    return {"p50": at(0.5), "p99": at(0.99)}
