"""Systems without pidfd, zygote and memfd (macOS): spawned workers, watched by looking."""

from __future__ import annotations

import os

import pytest

from portico.ports.job_executor import Completed, Crashed, Outcome
from portico.ports.leasing import Lease
from portico.supervisor import running_page
from portico.supervisor.pool import ProcessPool
from tests.support.pools import pool_of_processes
from tests.support.waiting import wait_until


def lease(job_type: str, payload: bytes = b"{}") -> Lease:
    return Lease(
        os.urandom(16), os.urandom(16), 1, "default", job_type, payload, 0, 3, 0, None, 1, 1, None,
        b"{}", None, False,
    )  # fmt: skip


async def outcomes(pool: ProcessPool, count: int) -> list[Outcome]:
    found: list[Outcome] = []

    def enough() -> bool:
        found.extend(pool.finished())
        return len(found) >= count

    await wait_until(enough)
    return found


async def test_jobs_run_and_a_death_is_noticed_and_mended(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(running_page.sys, "platform", "darwin")
    async with pool_of_processes("tests.support.fault_app:app", start_method="spawn") as (pool, _):
        monkeypatch.setattr(running_page.sys, "platform", "linux")
        good, bad = lease("test.fine"), lease("test.leave", b'{"code": 3}')
        pool.submit([bad, good])
        verdicts = {lease.id: verdict for lease, verdict, _ in await outcomes(pool, 2)}
        assert isinstance(verdicts[good.id], Completed)
        crash = verdicts[bad.id]
        assert isinstance(crash, Crashed)
        assert "exited with code 3" in crash.failure.message
        await wait_until(lambda: sum(m.seat.load.open for m in pool.members) == 2)
        after = lease("test.fine")
        pool.submit([after])
        assert [o.lease for o in await outcomes(pool, 1)] == [after]
