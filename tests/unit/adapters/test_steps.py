"""Statements in order, on a connection that fails or whose user is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from portico.adapters.job_queue._callers.steps import Rows, Statement, Steps, run, run_async


def steps() -> Steps[int]:
    ((first,),) = yield Statement("one")
    try:
        yield Statement("two")
    except BaseException:
        yield Statement("undo")
        raise
    return int(first)


class Connection:
    def __init__(self, *failing: str) -> None:
        self.ran: list[str] = []
        self.failing = failing
        self.reached = asyncio.Event()

    def execute(self, statement: Statement) -> Rows:
        self.ran.append(statement.text)
        if statement.text in self.failing:
            raise OSError(statement.text)
        return [(7,)]

    async def await_execute(self, statement: Statement) -> Rows:
        rows = self.execute(statement)
        if statement.text == "two":
            self.reached.set()
            await asyncio.Event().wait()
        return rows


def test_each_statement_gets_its_rows_and_the_last_word_is_the_outcome() -> None:
    connection = Connection()
    assert run(steps(), connection.execute) == 7
    assert connection.ran == ["one", "two"]


@pytest.mark.parametrize(("failing", "ran"), [("one", ["one"]), ("two", ["one", "two", "undo"])])
async def test_what_fails_is_told_to_the_steps_and_then_to_the_caller(
    failing: str, ran: list[str]
) -> None:
    plain, awaited = Connection(failing), Connection(failing)
    with pytest.raises(OSError, match=failing):
        run(steps(), plain.execute)
    with pytest.raises(OSError, match=failing):
        await run_async(steps(), awaited.await_execute)
    assert plain.ran == awaited.ran == ran


async def test_who_is_cancelled_amid_the_steps_undoes_them() -> None:
    connection = Connection()
    task = asyncio.create_task(run_async(steps(), connection.await_execute))
    await connection.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.ran == ["one", "two", "undo"]
