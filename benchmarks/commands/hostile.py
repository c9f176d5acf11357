"""`python -m benchmarks hostile`."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import click

from benchmarks import options, report
from benchmarks.hostile.attacks import ATTACKS, plan
from benchmarks.hostile.run import LONGEST_TURN, MOST_MEMORY, Round, target
from portico.utils.logging import configure_logging

_MIB = 2**20


@click.command()
@click.option("--minutes", default=5.0, type=click.FloatRange(0, min_open=True), show_default=True)
@click.option("--seed", type=int, help="Of all attacks; a random one by default.")
@click.option("--attack", type=click.Choice([*ATTACKS]), help="Only this one.")
@click.option("--only", type=int, help="One round, with this seed; needs --attack.")
@options.json_path
def hostile(
    *,
    minutes: float,
    seed: int | None,
    attack: str | None,
    only: int | None,
    json_path: Path | None,
) -> None:
    """Workers that write whatever they can to what they share with their supervisor.

    Exits with 1 where a turn of the supervisor's loop took too long, it needed too much memory, or
    a healthy job did not end well; the line of that round says how to have it again.
    """
    configure_logging(log_level="CRITICAL")
    seed = secrets.randbelow(10**6) if seed is None else seed
    folder = Path(mkdtemp(prefix="hostile-"))
    click.echo(f"seed {seed}, {minutes:g} min, in {folder}")
    if only is not None and attack is not None:
        rounds = asyncio.run(_rounds(folder, [(attack, only)], 0.0))
    else:
        chosen = ((name, own) for name, own in plan(seed) if attack in (None, name))
        rounds = asyncio.run(_rounds(folder, chosen, minutes))
    turn, memory = max(r.turn for r in rounds), max(r.memory for r in rounds)
    failed = [one for one in rounds if not one.well]
    click.echo(
        f"{len(rounds)} rounds: longest turn {turn * 1000:.0f} ms "
        f"(goal {LONGEST_TURN * 1000:.0f}), "
        f"memory above idle {memory / _MIB:.0f} MiB (goal {MOST_MEMORY / _MIB:.0f}), "
        f"{len(failed)} not well"
    )
    if json_path:
        report.write_json(json_path, {
            "benchmark": "hostile", "seed": seed, "longest_turn_seconds": turn,
            "memory_above_idle_bytes": memory, "rounds": [one._asdict() for one in rounds],
        })  # fmt: skip
    if failed:
        sys.exit(1)
    shutil.rmtree(folder)


async def _rounds(folder: Path, attacks: object, minutes: float) -> list[Round]:
    until, rounds = time.monotonic() + 60 * minutes, []
    async with target(folder) as found:
        for name, seed in attacks:  # type: ignore[attr-defined]
            one = await found.attack(name, seed)
            rounds.append(one)
            click.echo(
                f"{'' if one.well else 'NOT WELL: '}--attack {name} --only {seed}: "
                f"{one.turn * 1000:.0f} ms, {one.memory / _MIB:.0f} MiB {'; '.join(one.wrong)}"
            )
            if time.monotonic() > until or "exited" in "".join(one.wrong):
                break
    return rounds
