"""What happens when two things happen at once: real workers, in a pool of this process."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from portico.ports.job_executor import (
    Completed,
    Crashed,
    Failed,
    Interrupted,
    Outcome,
    Quarantined,
    Released,
)
from portico.ports.leasing import Failure, Lease
from portico.supervisor import assembly, generations, process
from portico.supervisor import crew as crews
from portico.supervisor.crew import Crew
from portico.supervisor.launch import ZygoteLauncher
from portico.supervisor.member import Member, State
from portico.supervisor.pool import ProcessPool
from tests.support.pools import pool_of_processes
from tests.support.waiting import PATIENCE, wait_until

APP = "tests.support.race_app:app"


class Arena:
    """A pool under test, the files that steer its handlers, and what it has reported."""

    def __init__(self, pool: ProcessPool, crew: Crew, folder: Path) -> None:
        self.pool = pool
        self.crew = crew
        self.folder = folder
        self.outcomes: list[Outcome] = []

    def flag(self, name: str) -> Path:
        return self.folder / name

    def submit(self, name: str, *, suspect: bool = False, **payload: Any) -> Lease:
        lease = Lease(
            uuid4().bytes, uuid4().bytes, 1, "default", f"race.{name}",
            json.dumps(payload).encode(), 0, 3, 0, None,
            1_763_920_000_000_000, 1_763_920_000_000_000, None, b"{}", None, suspect,
        )  # fmt: skip
        self.pool.submit([lease])
        return lease

    async def started(self, lease: Lease) -> None:
        await wait_until(self.flag(f"{lease.job_id}-started").exists)

    async def outcome(self, lease: Lease, timeout: float = PATIENCE) -> Outcome:
        """The outcome of this lease, when it comes; it must be the only one."""
        await wait_until(lambda: self.reported(lease), timeout)
        (found,) = self.reported(lease)
        return found

    def reported(self, lease: Lease) -> list[Outcome]:
        self.outcomes += self.pool.finished()
        return [outcome for outcome in self.outcomes if outcome.lease == lease]

    def of(self, state: State) -> list[Member]:
        return [member for member in self.crew.members if member.state is state]

    def holder(self, lease: Lease) -> Member:
        (found,) = [
            member
            for member in self.crew.members
            if lease in [assignment.lease for assignment in member.seat.inflight.values()]
        ]
        return found

    async def ready(self, count: int, timeout: float = 10.0) -> list[Member]:
        """All members, once there are exactly so many and each of them is ready."""
        await wait_until(
            lambda: [m.state for m in self.crew.members] == [State.READY] * count, timeout
        )
        return self.crew.members


@asynccontextmanager
async def arena(folder: Path, **settings: Any) -> AsyncIterator[Arena]:
    async with pool_of_processes(APP, **settings) as (pool, crew):
        try:
            here = Arena(pool, crew, folder)
            for name in ("hold", "broken", "hold-closing", "go"):
                here.flag(name).unlink(missing_ok=True)
            await here.ready(settings.get("workers", 2))
            yield here
        finally:
            for name in ("hold", "broken", "hold-closing"):
                (folder / name).unlink(missing_ok=True)
            (folder / "go").touch()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RACES", str(tmp_path))
    return tmp_path


class Recorder:
    """Stands in for a module's logger, and keeps the names of the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda event, **_: self.events.append(event)


@pytest.fixture
def crew_log(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for module in (crews, generations):
        monkeypatch.setattr(module, "logger", recorder)
    return recorder


def kill(member: Member) -> None:
    os.kill(member.process.pid, signal.SIGKILL)


# Deaths


async def test_a_death_is_judged_where_jobs_have_no_deadline(folder: Path) -> None:
    async with arena(folder, job_timeout=None) as here:
        assert isinstance((await here.outcome(here.submit("die"))).verdict, Crashed)
        await here.ready(2)


async def test_a_death_by_a_signal_without_a_name_is_judged_like_any_other(folder: Path) -> None:
    async with arena(folder) as here:
        _, verdict, _ = await here.outcome(here.submit("die", signal=signal.SIGRTMIN + 6))
        assert isinstance(verdict, Crashed)
        assert "signal 40" in verdict.failure.message
        await here.ready(2)


async def test_two_workers_that_die_at_once_are_judged_each_by_its_own_signal(
    folder: Path,
) -> None:
    """Both have ended before either is looked at: whoever collects one must not take the other."""
    async with arena(folder) as here:
        deaths = [(here.submit("wait"), number) for number in (signal.SIGKILL, signal.SIGALRM)]
        for lease, _ in deaths:
            await here.started(lease)
        dying = [here.holder(lease).process.pid for lease, _ in deaths]
        for pid, (_, number) in zip(dying, deaths, strict=True):
            os.kill(pid, number)
        for pid in dying:  # without a turn of the loop, which would collect the first
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        for lease, number in deaths:
            _, verdict, _ = await here.outcome(lease)
            assert isinstance(verdict, Crashed)
            assert f"was killed by {number.name}" in verdict.failure.message
        await here.ready(2)


@pytest.mark.parametrize(
    "frame",
    [
        "done of another", "ended of another", "unknown verdict", "mourned too early",
        "recalled while running", "ready again",
    ],
)  # fmt: skip
async def test_a_job_that_forges_frames_is_charged_with_the_death_of_its_worker(
    folder: Path, frame: str
) -> None:
    """Uncharged it would be run again and again, and kill a worker every time."""
    async with arena(folder) as here:
        _, verdict, _ = await here.outcome(here.submit("forge", frame=frame))
        assert isinstance(verdict, Crashed)
        await here.ready(2)


@pytest.mark.fault("A22")
async def test_nothing_is_killed_by_its_number_after_it_was_collected(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: set[int] = set()
    reap, os_kill, killed_late = process.reap, os.kill, []

    def collecting(pid: int) -> process.Exit:
        collected.add(pid)
        return reap(pid)

    def killing(pid: int, number: int) -> None:
        if pid in collected:
            killed_late.append(pid)
        else:
            os_kill(pid, number)

    monkeypatch.setattr(process, "reap", collecting)
    async with arena(folder, workers=1) as here:
        monkeypatch.setattr(os, "kill", killing)
        here.crew.members[0].process._loop.remove_reader(here.crew.members[0].process._results)
        lease = here.submit("garbage_and_die")
        assert isinstance((await here.outcome(lease)).verdict, Crashed)
        assert collected
        assert not killed_late


async def test_a_process_that_outlives_its_worker_cannot_hold_up_the_judgement_of_its_death(
    folder: Path,
) -> None:
    async with arena(folder) as here:
        lease = here.submit("leave_a_chatterer")
        assert isinstance((await here.outcome(lease)).verdict, Crashed)
        await here.ready(2)


async def test_on_failure_that_kills_a_healthy_worker_too_is_not_repeated(folder: Path) -> None:
    async with arena(folder, workers=1) as here:
        lease = here.submit("mourned_die", die_again=True)
        assert isinstance((await here.outcome(lease)).verdict, Crashed)
        await here.ready(1)
        assert isinstance((await here.outcome(here.submit("fine"))).verdict, Completed)


# The number of workers


async def test_a_worker_that_dies_while_its_successor_fails_to_boot_is_replaced(
    folder: Path,
) -> None:
    async with arena(folder, workers=1) as here:
        here.flag("hold").touch()
        here.flag("broken").touch()
        (old,) = here.crew.members
        here.crew.recycle(old, "test")
        await wait_until(lambda: [m for m in here.of(State.STARTING) if m.process.alive])
        kill(old)
        await wait_until(lambda: old.state is State.GONE)
        (successor,) = here.crew.members
        here.flag("hold").unlink()
        await wait_until(lambda: successor.state is State.GONE)
        here.flag("broken").unlink()
        await here.ready(1)


async def test_one_worker_less_and_one_more_while_the_first_still_runs_its_job(
    folder: Path,
) -> None:
    async with arena(folder) as here:
        leases = [here.submit("wait"), here.submit("wait")]
        for lease in leases:
            await here.started(lease)
        here.crew.resize(-1)
        here.crew.resize(+1)
        await wait_until(lambda: len(here.of(State.READY)) == 2)
        here.flag("go").touch()
        await here.ready(2)


async def test_one_worker_less_while_its_replacement_starts(folder: Path) -> None:
    async with arena(folder) as here:
        here.flag("hold").touch()
        here.crew.recycle(max(here.crew.members, key=lambda m: m.number), "test")
        await wait_until(lambda: here.of(State.STARTING))
        here.crew.resize(-1)
        here.flag("hold").unlink()
        await here.ready(1)


async def test_one_worker_less_while_none_is_ready(folder: Path) -> None:
    async with arena(folder) as here:
        here.flag("hold").touch()
        for member in here.crew.members:
            kill(member)
        await wait_until(lambda: len(here.of(State.STARTING)) == 2)
        here.crew.resize(-1)
        here.flag("hold").unlink()
        await here.ready(1)


@pytest.mark.fault("F1")
async def test_a_supervisor_out_of_descriptors_gets_its_workers_back_later(
    folder: Path, crew_log: Recorder
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with arena(folder) as here:
        before = len(os.listdir("/proc/self/fd"))
        highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    taken.append(os.dup(0))
            kill(here.crew.members[0])
            await wait_until(lambda: "spawn_failed" in crew_log.events)
            assert isinstance((await here.outcome(here.submit("fine"))).verdict, Completed)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in taken:
                os.close(fd)
        await here.ready(2)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.fault("A21")
async def test_a_zygote_that_dies_again_while_it_loads_costs_no_place_in_the_pool(
    folder: Path,
) -> None:
    async with arena(folder) as here:
        launcher = here.crew._launcher
        assert isinstance(launcher, ZygoteLauncher)
        first = launcher.pid
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: launcher._control is None)
        kill(here.crew.members[0])
        await wait_until(lambda: launcher.pid != first)
        os.kill(launcher.pid, signal.SIGKILL)
        await here.ready(2)


@pytest.mark.fault("A21")
async def test_a_zygote_that_hangs_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.supervisor.launch._FORK", 0.2)
    async with arena(folder) as here:
        launcher = here.crew._launcher
        assert isinstance(launcher, ZygoteLauncher)
        hanging = psutil.Process(launcher.pid)
        hanging.suspend()
        kill(here.crew.members[0])
        await wait_until(lambda: len(here.crew.members) == 1)
        await here.ready(2)
        await wait_until(lambda: hanging.status() == psutil.STATUS_ZOMBIE)


# Reloads


async def test_a_reload_whose_zygote_dies_while_it_loads_keeps_the_old_workers(
    folder: Path, crew_log: Recorder
) -> None:
    async with arena(folder) as here:
        before = here.crew.members
        launcher = ZygoteLauncher(APP)
        reload = asyncio.create_task(here.crew.reload(launcher))
        await wait_until(lambda: launcher.pid)
        os.kill(launcher.pid, signal.SIGKILL)
        assert not await reload
        assert "reload_failed" in crew_log.events
        assert here.crew.members == before
        assert isinstance((await here.outcome(here.submit("fine"))).verdict, Completed)


async def test_a_worker_that_is_starting_when_the_application_is_reloaded_gets_the_new_one(
    folder: Path,
) -> None:
    async with arena(folder, workers=1) as here:
        here.flag("hold").touch()
        kill(here.crew.members[0])
        await wait_until(lambda: [m for m in here.of(State.STARTING) if m.process.alive])
        launcher = ZygoteLauncher(APP)
        assert await here.crew.reload(launcher)
        here.flag("hold").unlink()

        async def generation() -> int:
            _, verdict, _ = await here.outcome(here.submit("fine"))
            assert isinstance(verdict, Completed)
            found: int = json.loads(verdict.result)["generation"]
            return found

        await wait_until(lambda: here.of(State.READY))

        async def renewed() -> bool:
            return await generation() == launcher.pid

        await wait_until(renewed)
        await here.ready(1)


async def test_a_worker_that_never_ends_its_closing_is_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crews, "_RETIRE_GRACE", 0.2)
    async with arena(folder, workers=1) as here:
        here.flag("hold-closing").touch()
        (old,) = here.crew.members
        lease = here.submit("wait")
        await here.started(lease)
        here.crew.recycle(old, "test")
        await wait_until(lambda: old.state is State.RETIRING)
        with pytest.raises(TimeoutError):
            await here.outcome(lease, timeout=0.7)  # it may end its job, however long that takes
        here.flag("go").touch()
        assert isinstance((await here.outcome(lease)).verdict, Completed)
        await wait_until(lambda: old.state is State.GONE)


async def test_a_worker_that_never_gets_ready_is_killed_and_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with arena(folder, workers=1) as here:
        monkeypatch.setattr(crews, "_BOOT", 0.3)
        here.flag("hold").touch()
        kill(here.crew.members[0])
        await wait_until(lambda: [m for m in here.of(State.STARTING) if m.process.alive])
        (stuck,) = here.crew.members
        os.kill(stuck.process.pid, signal.SIGSTOP)
        here.flag("hold").unlink()
        await wait_until(lambda: stuck.state is State.GONE)
        await here.ready(1)


# Jobs between workers


async def test_a_job_does_not_wait_for_a_worker_whose_loop_is_blocked_beside_a_free_one(
    folder: Path,
) -> None:
    async with arena(folder, concurrency=2) as here:
        blocker = here.submit("block_until")
        await here.started(blocker)
        for _ in range(3):
            lease = here.submit("fine")
            assert isinstance((await here.outcome(lease, timeout=2)).verdict, Completed)
        assert not here.reported(blocker)


@pytest.mark.fault("A6")
async def test_a_worker_that_was_terminated_is_given_no_more_jobs(folder: Path) -> None:
    """It would hand them back at once, and be given them again, until its own job has ended."""
    async with arena(folder, concurrency=2) as here:
        running = here.submit("wait")
        await here.started(running)
        leaving = here.holder(running)
        os.kill(leaving.process.pid, signal.SIGTERM)
        await wait_until(lambda: not leaving.seat.load.open)
        for _ in range(3):
            lease = here.submit("fine")
            assert isinstance((await here.outcome(lease, timeout=2)).verdict, Completed)
        here.flag("go").touch()
        assert isinstance((await here.outcome(running)).verdict, Completed)
        await wait_until(lambda: leaving.state is State.GONE)
        await here.ready(2)


async def test_what_is_recalled_does_not_count_as_run_by_its_worker(folder: Path) -> None:
    async with arena(folder, workers=1, max_jobs_per_worker=5) as here:
        await here.outcome(here.submit("block", seconds=0.0))
        (member,) = here.crew.members
        long = here.submit("block", seconds=1.0)
        short = [here.submit("block", seconds=0.0) for _ in range(4)]
        await here.started(long)
        await wait_until(lambda: here.pool.waiting == 4 or len(here.reported(long)))
        assert here.pool.waiting == 4
        assert member.seat.retire_after == 4
        for lease in short:
            await here.outcome(lease)


async def test_a_stuck_worker_that_is_to_go_gives_its_jobs_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "UNRESPONSIVE", 0.3)
    async with arena(folder, workers=1) as here:
        (old,) = here.crew.members
        os.kill(old.process.pid, signal.SIGSTOP)
        lease = here.submit("fine")
        here.crew.retire(old)
        here.crew.resize(+1)
        assert isinstance((await here.outcome(lease)).verdict, Completed)


async def test_a_payload_that_fits_no_frame_is_quarantined_and_no_worker_dies_of_it(
    folder: Path,
) -> None:
    async with arena(folder) as here:
        before = here.crew.members
        lease = here.submit("fine", filler="x" * (17 * 1024 * 1024))
        assert isinstance((await here.outcome(lease)).verdict, Quarantined)
        assert here.crew.members == before


async def test_on_failure_comes_to_its_turn_in_a_pool_that_never_runs_dry(folder: Path) -> None:
    async with arena(folder, workers=1) as here:
        for _ in range(3):
            await here.outcome(here.submit("quick"))
        dying = here.submit("mourned_die")
        told = here.flag(f"{dying.job_id}-told")
        until = time.monotonic() + 8
        while not told.exists() and time.monotonic() < until:
            for _ in range(here.pool.free()):
                here.submit("quick")
            here.pool.finished()
            await asyncio.sleep(0.001)
        assert told.exists()
        await here.pool.drain(5)


# Forfeits and cancellations


async def waiting_to_mourn(here: Arena) -> Lease:
    """A job whose worker died, and no worker is there to run its `on_failure`."""
    here.flag("hold").touch()
    lease = here.submit("mourned_die")
    await here.started(lease)
    await wait_until(lambda: here.pool._scheduler._backlog.mourning)
    return lease


async def test_a_job_that_waits_for_its_on_failure_can_be_forfeited(folder: Path) -> None:
    async with arena(folder, workers=1) as here:
        lease = await waiting_to_mourn(here)
        assert here.pool.held() == [lease]
        here.pool.forfeit([lease])
        assert here.pool.held() == []
        here.flag("hold").unlink()
        await here.ready(1)
        await here.outcome(here.submit("fine"))
        assert not here.reported(lease)


async def test_a_job_that_waits_for_its_on_failure_can_be_cancelled(folder: Path) -> None:
    async with arena(folder, workers=1) as here:
        lease = await waiting_to_mourn(here)
        here.pool.cancel([lease])
        here.flag("hold").unlink()
        _, verdict, _ = await here.outcome(lease)
        assert isinstance(verdict, Failed)
        assert not verdict.retryable


async def test_a_job_that_has_ended_unnoticed_can_be_forfeited(folder: Path) -> None:
    async with arena(folder) as here:
        lease = here.submit("fine")
        await wait_until(lambda: here.pool._scheduler._reports.waiting)
        here.pool.forfeit([lease])
        assert here.pool.finished() == []
        assert here.pool.held() == []


async def test_a_cancelled_job_whose_lease_is_lost_is_not_reported(folder: Path) -> None:
    async with arena(folder) as here:
        lease = here.submit("stubborn")
        await here.started(lease)
        member = here.holder(lease)
        here.pool.cancel([lease])
        here.pool.forfeit([lease])
        assert here.pool.held() == []
        await wait_until(lambda: member.state is State.GONE)
        await here.outcome(here.submit("fine"))
        assert not here.reported(lease)


async def test_a_cancelled_job_that_runs_into_its_deadline_stays_cancelled(folder: Path) -> None:
    async with arena(folder, job_timeout=0.3, kill_grace=0.2) as here:
        lease = here.submit("stubborn")
        await here.started(lease)
        here.pool.cancel([lease])
        _, verdict, _ = await here.outcome(lease)
        assert isinstance(verdict, Failed)
        assert not verdict.retryable
        assert verdict.failure.message == "Job cancelled"


async def test_a_cancellation_that_crosses_the_end_of_its_job_changes_nothing(
    folder: Path,
) -> None:
    async with arena(folder) as here:
        for _ in range(200):
            lease = here.submit("quick")
            here.pool.cancel([lease])
            _, verdict, _ = await here.outcome(lease)
            assert isinstance(verdict, Completed | Failed)
        assert all(member.state is State.READY for member in here.crew.members)
        assert here.pool.held() == []


# Drains


async def test_a_drain_does_not_wait_for_a_worker_to_run_on_failure(folder: Path) -> None:
    async with arena(folder, workers=1) as here:
        lease = await waiting_to_mourn(here)
        await asyncio.wait_for(here.pool.drain(0), 4)
        assert isinstance((await here.outcome(lease)).verdict, Crashed)
        assert here.pool.held() == []


async def test_a_job_that_crashes_while_the_pool_drains_is_mourned_within_the_grace(
    folder: Path,
) -> None:
    async with arena(folder) as here:
        lease = here.submit("mourned_die")
        await here.started(lease)
        await asyncio.wait_for(here.pool.drain(5), 4)
        assert isinstance((await here.outcome(lease)).verdict, Crashed)
        assert here.flag(f"{lease.job_id}-told").exists()


async def test_a_drain_ends_although_a_worker_is_stopped(folder: Path) -> None:
    async with arena(folder) as here:
        running = here.submit("wait")
        await here.started(running)
        waiting = here.submit("wait")
        for member in here.crew.members:
            os.kill(member.process.pid, signal.SIGSTOP)
        await asyncio.wait_for(here.pool.drain(0.1), 6)
        assert isinstance((await here.outcome(running)).verdict, Interrupted)
        assert isinstance((await here.outcome(waiting)).verdict, Released | Interrupted)


async def test_a_drain_waits_as_long_as_its_grace(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wait of the loop is shorter than the longest grace."""
    monkeypatch.setattr("portico.supervisor.pool._LONGEST_WAIT", 0.01)
    async with arena(folder) as here:
        lease = here.submit("wait")
        await here.started(lease)
        drain = asyncio.create_task(here.pool.drain(60))
        await wait_until(lambda: here.pool._scheduler._phase)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(drain), 0.1)
        here.flag("go").touch()
        await drain
        assert isinstance((await here.outcome(lease)).verdict, Completed)


async def test_mourning_a_recovered_job_does_not_hold_up_a_drain(folder: Path) -> None:
    async with arena(folder, workers=1) as here:
        here.flag("hold").touch()
        kill(here.crew.members[0])
        await wait_until(lambda: here.of(State.STARTING))
        lease = Lease(
            uuid4().bytes, uuid4().bytes, 1, "default", "race.mourned_die", b"{}", 0, 3, 3, None,
            0, 0, None, b"{}", None, False,
        )  # fmt: skip
        here.pool.mourn(lease, Failure("WorkerLostError", "vanished"))
        await asyncio.wait_for(here.pool.drain(0), 4)
        assert here.pool.finished() == []
