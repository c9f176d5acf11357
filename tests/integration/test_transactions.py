"""What reaches SQLite: each act of the queue is one transaction, and one statement if it can be."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._sqlite import thread
from portico.adapters.job_queue._sqlite.connection import Place
from portico.kits.job import JobService
from portico.ports.draft import Draft
from portico.ports.leasing import Failure, Settlement, Transition
from tests.support.jobs import make_job

CHANGE = re.compile(r"\b(INSERT|UPDATE|DELETE)\b[^;]*?\b(portico_\w+)")


class Trace(list[str]):
    """Every statement that the writer's connection runs, and the threads that ran them."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def note(self, statement: str) -> None:
        self.append(statement)
        self.threads.add(threading.get_ident())

    def transactions(self) -> list[list[str]]:
        """What each transaction did to the jobs; nothing is changed outside of one."""
        found: list[list[str]] = []
        inside = False
        for statement in self:
            if statement.startswith("BEGIN"):
                assert statement == "BEGIN IMMEDIATE"
                assert not inside
                found.append([])
                inside = True
            elif statement == "COMMIT":
                inside = False
            elif change := CHANGE.search(statement):
                assert inside, statement
                verb, table = change.groups()
                found[-1] += [verb] if table == "portico_jobs" else []
        assert not inside
        self.clear()
        return found


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    trace = Trace()

    def open_traced(place: Place) -> sqlite3.Connection:
        connection = open_writer(place)
        connection.set_trace_callback(trace.note)
        return connection

    open_writer = thread.open_writer
    monkeypatch.setattr(thread, "open_writer", open_traced)
    return trace


@pytest.fixture
async def queue(tmp_path: Path, trace: Trace) -> AsyncIterator[DatabaseJobQueueAdapter]:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{tmp_path / 'jobs.db'}")
    await queue.initialize()
    trace.clear()
    yield queue
    await queue.close()


async def test_enqueue_is_one_statement_in_one_transaction(
    queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    await queue.enqueue(make_job())
    assert trace.transactions() == [["INSERT"]]


async def test_a_thousand_jobs_are_enqueued_in_one_transaction(
    queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    outcomes = await JobService(queue).create_jobs(
        {"job_type": "a.b", "payload": {"n": n}} for n in range(1000)
    )
    assert all(outcome.job for outcome in outcomes)
    (changes,) = trace.transactions()
    assert set(changes) == {"INSERT"}


async def test_many_are_enqueued_in_one_transaction_whatever_becomes_of_each(
    queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    job = make_job()
    created = await queue.enqueue_many([job, make_job(payload={"x": range(3)}), job, make_job()])
    assert [outcome.job is not None for outcome in created] == [True, False, False, True]
    assert len(trace.transactions()) == 1


async def test_a_batch_is_leased_by_one_statement_in_one_transaction(
    queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    await queue.insert([Draft.of(make_job()) for _ in range(50)])
    await queue.dequeue("default", timeout=0)  # makes it an owner of leases
    trace.clear()
    assert len((await queue.exchange((), ("default",), 40)).leases) == 40
    assert trace.transactions() == [["UPDATE"]]


async def test_a_batch_is_settled_and_the_next_one_leased_in_one_transaction(
    queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    await queue.insert([Draft.of(make_job()) for _ in range(64)])
    held = (await queue.exchange((), ("default",), 32)).leases
    done = [Settlement(lease.id, lease.token, Transition.COMPLETE) for lease in held]
    trace.clear()
    exchange = await queue.exchange(done, ("default",), 32)
    assert len(exchange.leases) == len(exchange.receipts) == 32
    (changes,) = trace.transactions()
    assert changes == ["UPDATE"] * (32 + 1), "each row that ends, and all that are leased"


@pytest.mark.parametrize("transition", list(Transition))
async def test_whatever_ends_an_attempt_is_one_statement_in_one_transaction(
    transition: Transition, queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    await queue.insert([Draft.of(make_job())])
    (lease,) = (await queue.exchange((), ("default",), 1)).leases
    trace.clear()
    failure = Failure("RuntimeError", "it went wrong")
    settlement = Settlement(lease.id, lease.token, transition, failure=failure)
    (receipt,) = (await queue.exchange([settlement], (), 0)).receipts
    assert receipt.answer == "ok"
    assert trace.transactions() == [["UPDATE"]]


async def test_an_idle_look_takes_no_lock(queue: DatabaseJobQueueAdapter, trace: Trace) -> None:
    assert (await queue.exchange((), ("default",), 10)).leases == []
    assert trace.transactions() == []


async def test_a_consumer_that_waits_looks_about_once_a_second(
    queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    """It polls as a fallback, and is woken otherwise: nothing turns in a circle."""
    looks: list[object] = []
    exchange = queue.exchange

    async def counted(*arguments: object) -> object:
        looks.append(arguments)
        return await exchange(*arguments)  # type: ignore[arg-type]

    queue.exchange = counted  # type: ignore[method-assign,assignment]
    assert await queue.dequeue("default", timeout=1.5) is None
    assert len(looks) <= 4


async def test_one_thread_writes_and_it_is_not_that_of_the_event_loop(
    queue: DatabaseJobQueueAdapter, trace: Trace
) -> None:
    for _ in range(3):
        await queue.enqueue(make_job())
        await queue.dequeue("default", timeout=0)
    await queue.renew([])
    (writer,) = trace.threads
    assert writer != threading.get_ident()
