from __future__ import annotations

import asyncio

from portico.kits.job.deadlines import Deadlines
from tests.support.waiting import wait_until


class Watched:
    """Deadlines of tasks that never end, and the names of those that expired."""

    def __init__(self) -> None:
        self.expired: list[str] = []
        self.deadlines = Deadlines(self._expire, asyncio.get_running_loop())

    def _expire(self, task: asyncio.Task) -> None:
        self.expired.append(task.get_name())
        task.cancel()

    def task(self, name: str) -> asyncio.Task:
        return asyncio.create_task(asyncio.sleep(1e6), name=name)


async def test_deadlines_expire_in_their_order_and_not_in_that_of_setting():
    watched = Watched()
    for name, seconds in (("late", 0.06), ("early", 0.01), ("middle", 0.03)):
        watched.deadlines.set(watched.task(name), seconds)
    await wait_until(lambda: len(watched.expired) == 3)
    assert watched.expired == ["early", "middle", "late"]


async def test_a_cleared_deadline_does_not_expire_and_harms_no_other():
    watched = Watched()
    ended, other = watched.task("ended"), watched.task("other")
    watched.deadlines.set(ended, 0.01)
    watched.deadlines.set(other, 0.03)
    watched.deadlines.clear(ended)
    watched.deadlines.clear(ended)
    await wait_until(lambda: watched.expired)
    assert watched.expired == ["other"]
    ended.cancel()


async def test_a_deadline_set_after_all_others_expired_expires_too():
    watched = Watched()
    for name in ("one", "two"):
        watched.deadlines.set(watched.task(name), 0.01)
        await wait_until(lambda name=name: name in watched.expired)


async def test_one_timer_is_enough_for_all():
    watched, loop = Watched(), asyncio.get_running_loop()
    tasks = [watched.task(f"{n}") for n in range(100)]
    before = len(loop._scheduled)
    for task in tasks:
        watched.deadlines.set(task, 60)
    assert len(loop._scheduled) - before == 1
    for task in tasks:
        task.cancel()
