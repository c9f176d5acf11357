"""Every broken pool is found out by a test of the suite, which has nothing against a sound one.

A mutant that its judge lets pass means that the judge has lost what it was there for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from portico import compose
from tests.faults import (
    test_handler_processes,
    test_races,
    test_time_faults,
    test_worker_boot,
    test_worker_crashes,
    test_worker_death,
    test_worker_signals,
    test_worker_trays,
)
from tests.mutants import pools
from tests.mutants.pools import Mutant, command_of
from tests.support import supervisors, waiting
from tests.support.supervisors import COMMAND, TUNED, Place, SupervisorProcess


class Judge(NamedTuple):
    """A test of the suite, by which a mutant must be found out."""

    test: Callable[..., Any]
    because: str
    """What it must say of the mutant (a pattern): it may fail for that alone."""
    case: dict[str, Any]
    """One of its parameters' cases."""


def judge(test: Callable[..., Any], because: str, **case: Any) -> Judge:
    return Judge(test, because, case)


FOUND_OUT_BY: dict[Mutant, Judge] = {
    pools.death_is_end_of_file: judge(
        test_handler_processes.test_a_forked_child_is_killed_with_its_worker_and_leaves_no_zombie,
        "event worker_exited did not come",
    ),
    pools.the_sweep_collects_every_child: judge(
        test_worker_signals.test_the_sweep_leaves_the_death_of_a_worker_to_the_crew,
        "'SIGKILL' in .*the worker vanished",
    ),
    pools.a_death_collects_every_child: judge(
        test_races.test_two_workers_that_die_at_once_are_judged_each_by_its_own_signal,
        "'was killed by SIG.* in 'the worker vanished",
    ),
    pools.a_death_is_judged_before_the_pipe_is_read: judge(
        test_worker_crashes.test_a_large_result_is_read_to_its_end_before_the_death_behind_it_is_judged,
        "'crashes': 1",
    ),
    pools.a_death_is_judged_without_the_tray: judge(
        test_worker_trays.test_no_job_whose_handler_had_returned_runs_again_or_is_charged,
        r"where 2 = count\('BEGIN'",
        injury="after-result",
    ),
    pools.a_tray_is_read_whatever_has_arrived: judge(
        test_worker_trays.test_no_job_whose_handler_had_returned_runs_again_or_is_charged,
        "'event': 'frame_invalid'",
        injury="after-batch",
    ),
    pools.whatever_a_dead_worker_held_is_charged: judge(
        test_worker_death.test_jobs_that_wait_behind_a_killer_are_not_charged,
        r"where 0 = count\('BEGIN'|== \(1, 0\)",
    ),
    pools.a_death_is_charged_to_nobody: judge(
        test_races.test_a_death_by_a_signal_without_a_name_is_judged_like_any_other,
        r"isinstance\(Released\(\), Crashed\)",
    ),
    pools.siblings_hold_the_pipes_of_older_workers: judge(
        test_worker_boot.test_the_pipes_of_a_worker_are_its_own_and_the_supervisors,
        r"assert \d+ == 4",
        method="zygote",
    ),
    pools.deadlines_by_wall_clock: judge(
        test_time_faults.test_a_wall_clock_that_jumps_moves_no_deadline_of_a_job,
        r">= 1\.3",
        jump=test_time_faults.HOUR,
    ),
    pools.signals_go_to_collected_numbers: judge(
        test_races.test_nothing_is_killed_by_its_number_after_it_was_collected,
        r"assert not \[\d+\]",
    ),
    pools.one_death_breaks_the_pool: judge(
        test_worker_crashes.test_running_jobs_do_not_notice_that_the_zygote_is_killed,
        "'crashes': 1",
    ),
}
"""Which test finds which mutant."""
PATIENCE = 3.0
"""Seconds that a judge waits for an event of a broken pool, where nothing else runs."""


class BrokenPlace(Place):
    """A place whose supervisors all have the same fault, or none."""

    def __init__(self, folder: Path, mutant: Mutant | None) -> None:
        super().__init__(folder)
        self._mutant = mutant

    def supervisor(
        self, *arguments: str, command: Sequence[str] | None = None, **more: Any
    ) -> SupervisorProcess:
        if self._mutant is not None:
            usual = TUNED if "TUNING" in more else COMMAND
            _, _, module, *words = command or usual
            command = command_of(self._mutant, module, *words)
        return super().supervisor(*arguments, command=command, **more)


async def hold(judge: Judge, mutant: Mutant | None, folder: Path) -> None:
    """Run a test of the suite on a pool with this fault, or on a sound one."""
    here = BrokenPlace(folder, mutant)
    clock = folder / "clock"
    clock.write_text("0")
    queue = compose.job_queue(here.url)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("RACES", str(folder))
        offered = {
            "here": here, "queue": queue, "folder": folder, "monkeypatch": monkeypatch,
            "clock": clock, **judge.case,
        }  # fmt: skip
        wanted = inspect.signature(judge.test).parameters
        if "here" not in wanted and mutant is not None:  # the pool is in this process
            mutant(monkeypatch.setattr)
        try:
            await queue.initialize()
            await judge.test(**{name: offered[name] for name in wanted})
        finally:
            await queue.close()
            here.destroy()


MUTANTS = pytest.mark.parametrize("mutant", FOUND_OUT_BY, ids=lambda mutant: mutant.__name__)


@MUTANTS
def test_a_broken_pool_is_found_out(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def impatiently(predicate: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        for _ in range(round(min(timeout, PATIENCE) / waiting.STEP)):  # longer on a busy machine
            with suppress(TimeoutError):
                return await waiting.wait_until(predicate, 0.0)
            await asyncio.sleep(waiting.STEP)
        raise TimeoutError(f"not after {PATIENCE:g} s of looks")

    monkeypatch.setattr(supervisors, "wait_until", impatiently)
    judge = FOUND_OUT_BY[mutant]
    with pytest.raises(AssertionError, match=judge.because):
        asyncio.run(hold(judge, mutant, tmp_path))


@MUTANTS
def test_what_finds_a_broken_pool_out_has_nothing_against_a_sound_one(
    mutant: Mutant, tmp_path: Path
) -> None:
    asyncio.run(hold(FOUND_OUT_BY[mutant], None, tmp_path))
