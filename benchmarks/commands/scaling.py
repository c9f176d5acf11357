"""`python -m benchmarks scaling`: goal P5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import uvloop

from benchmarks import options, report
from benchmarks.places import place_of, shown
from benchmarks.scaling.plain import calibrated, plain_rate
from benchmarks.scaling.run import Measured, measure
from benchmarks.watch import OnDone

GOAL = 0.97


class Run(NamedTuple):
    """Rates of one run, in jobs per second, and how busy the workers were; by the number of
    processes."""

    milliseconds: float
    sequential: float
    plain: dict[int, float]
    portico: dict[int, float]
    busy: dict[int, float]

    def of_ideal(self, workers: int) -> float:
        """What was reached of as many times the sequential rate."""
        return self.portico[workers] / (workers * self.sequential)

    def of_plain(self, workers: int) -> float:
        """What was reached of as many plain processes at a time: cores share caches and clock."""
        return self.portico[workers] / self.plain[workers]


@click.command()
@options.queue
@click.option(
    "--workers",
    multiple=True,
    default=(1, 2),
    type=click.IntRange(1),
    show_default=True,
    help="How many, no more than cores; may be given several times.",
)
@click.option(
    "--milliseconds",
    multiple=True,
    default=(10.0, 50.0),
    type=click.FloatRange(0, min_open=True),
    show_default=True,
    help="What a job takes, undisturbed; may be given several times.",
)
@click.option(
    "--seconds",
    default=6.0,
    type=click.FloatRange(0, min_open=True),
    show_default=True,
    help="Work per run, for one process.",
)
@options.runs
@options.json_path
def scaling(
    *,
    queue_url: str,
    workers: tuple[int, ...],
    milliseconds: tuple[float, ...],
    seconds: float,
    runs: int,
    json_path: Path | None,
) -> None:
    """Speed-up of jobs that compute, by the number of workers.

    Each run holds Portico against one plain process that does the same work, and against as many
    plain processes as there are workers. A job is a fixed amount of work, calibrated once. How much
    of their time the workers spent inside of handlers tells what Portico itself took, also on a
    machine that others use.
    """
    steps = {each: calibrated(each / 1000) for each in milliseconds}
    found: list[Run] = []
    with options.scratch(queue_url) as directory, options.Bars() as bars:

        def portico(count: int, steps: int, jobs: int, on_done: OnDone) -> Measured:
            async def run() -> Measured:
                async with place_of(queue_url)(queue_url, directory) as url:
                    return await measure(url, count, steps, jobs, on_done)

            return uvloop.run(run())

        for each, work in steps.items():
            jobs = round(seconds * 1000 / each)
            few = jobs // 10 + 1
            portico(max(workers), work, few, bars.bar(f"{each:g} ms, warm-up", few))
            for number in range(1, runs + 1):
                bar = bars.bar(f"{each:g} ms, run {number}", len(workers) * jobs)
                ours = {}
                for place, count in enumerate(workers):
                    ours[count] = portico(count, work, jobs, options.after(bar, place * jobs))
                plain = {count: plain_rate(work, jobs, count) for count in {1, *workers}}
                rates = {count: one.rate for count, one in ours.items()}
                busy = {count: one.busy for count, one in ours.items()}
                found.append(Run(each, plain[1], plain, rates, busy))
    _show(shown(queue_url), found)
    if json_path:
        rows = [one._asdict() for one in found]
        report.write_json(
            json_path, {"benchmark": "scaling", "queue": shown(queue_url), "runs": rows}
        )


def _show(queue: str, found: Sequence[Run]) -> None:
    sizes = dict.fromkeys(one.milliseconds for one in found)
    for size in sizes:
        runs = [one for one in found if one.milliseconds == size]
        rows: dict[str, Any] = {"one plain process": [one.sequential for one in runs]}
        for count in runs[0].portico:
            rows[f"{count} plain processes" if count > 1 else "one plain process"] = [
                one.plain[count] for one in runs
            ]
            rows[f"Portico, {count} workers"] = [one.portico[count] for one in runs]
        title = f"{queue}, jobs of {size:g} ms, {len(runs)} runs"
        report.print_values(options.console, title, "jobs/s", rows)
        for count in runs[0].portico:
            ratios = [one.of_ideal(count) for one in runs]
            what = f"{size:g} ms, {count} workers: part of {count} × one process"
            report.print_goal(options.console, what, ratios, GOAL, least=True)
            plain = [one.of_plain(count) for one in runs]
            report.print_ratio(options.console, plain, f"{count} plain processes")
            busy = [one.busy[count] for one in runs]
            inside = f"{size:g} ms, {count} workers: part of their time inside of handlers"
            report.print_goal(options.console, inside, busy, GOAL, least=True)
