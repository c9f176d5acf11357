"""The crew, with workers that are none: what it says to whom, and whom it waits for."""

from __future__ import annotations

import asyncio

import pytest

from portico.supervisor import crew as crew_module
from portico.supervisor import wire
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.crew import Crew
from portico.supervisor.process import Exit
from tests.support.waiting import wait_until

READY = wire.Ready(wire.VERSION, ["email"], [])


class Process:
    """A process that does nothing but remember what it was sent."""

    pid = 4711
    alive = False

    def __init__(self, number, slots, listener):
        self.listener = listener
        self.sent = []
        self.started = False

    async def start(self, launcher, hello):
        self.started = True

    def send(self, message):
        self.sent.append(message)

    def collected(self):
        pass

    def kill(self):
        self.exit(None)

    def exit(self, code):
        self.listener.exited(self, Exit(code, None))


class Launcher:
    async def start(self):
        pass

    def close(self):
        pass

    async def end(self, patience):
        pass


@pytest.fixture
async def crew(monkeypatch):
    processes = []

    def make(*arguments):
        processes.append(Process(*arguments))
        return processes[-1]

    monkeypatch.setattr(crew_module, "WorkerProcess", make)
    crew = Crew(SupervisorConfig(workers=2), Launcher(), lambda _: None)
    crew.processes = processes
    return crew


async def test_a_worker_is_replaced_at_its_age_also_when_the_first_attempt_fails(crew):
    crew._config, crew.wanted = SupervisorConfig(workers=1, max_age_per_worker=0.02), 1
    starting = asyncio.create_task(crew.start())
    await wait_until(lambda: crew.processes and crew.processes[0].started)
    crew.received(crew.processes[0], [READY])
    await starting
    old = crew.processes[0]
    await wait_until(lambda: len(crew.processes) == 2 and crew.processes[1].started)
    crew.processes[1].exit(1)
    await wait_until(lambda: len(crew.processes) == 3 and crew.processes[2].started)
    assert not old.sent
    crew.received(crew.processes[2], [READY])
    assert [type(message) for message in old.sent] == [wire.Stop]
    crew.kill_all()


async def test_a_worker_that_gets_ready_during_the_stop_is_taken_in_and_sent_away(crew):
    told = []
    crew.on_ready = lambda member: told.append(("ready", member.number))
    crew.on_closing = lambda member: told.append(("closing", member.number))
    crew.on_messages = lambda member, messages: told.append(("messages", member.number, messages))
    starting = asyncio.create_task(crew.start())
    await wait_until(lambda: len(crew.processes) == 2 and all(p.started for p in crew.processes))
    early, late = crew.processes
    crew.received(early, [READY])
    await starting
    stopping = asyncio.create_task(crew.stop())
    await wait_until(lambda: early.sent)
    early.exit(0)
    assert not late.sent
    crew.received(late, [READY])
    assert [type(message) for message in late.sent] == [wire.Stop]
    late.exit(0)
    await stopping
    assert told == [("ready", 1), ("closing", 1), ("ready", 2), ("closing", 2)]


async def test_a_worker_that_never_gets_ready_does_not_hold_up_the_stop(crew):
    starting = asyncio.create_task(crew.start())
    await wait_until(lambda: len(crew.processes) == 2 and all(p.started for p in crew.processes))
    await crew.stop(0.01)
    assert crew.members == []
    starting.cancel()
