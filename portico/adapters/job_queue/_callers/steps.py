"""Statements in order, decided without a driver: a dialect says what to run, a caller runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Rows = Sequence[Sequence[Any]]


class Statement(NamedTuple):
    """One statement in the dialect's own placeholders: `?` in SQLite, `$1` in PostgreSQL."""

    text: str
    arguments: tuple[Any, ...] = ()


Steps = Generator[Statement, Rows, T]
"""Yields statements, is sent the rows of each, and returns the outcome."""


def run(steps: Steps[T], execute: Callable[[Statement], Rows]) -> T:
    """Take the steps on a connection; what goes wrong is told to them, and then the caller."""
    try:
        statement = next(steps)
        while True:
            try:
                rows = execute(statement)
            except BaseException as error:  # noqa: BLE001 - thrown into the steps, which raise it
                statement = steps.throw(error)
            else:
                statement = steps.send(rows)
    except StopIteration as done:
        outcome: T = done.value
        return outcome


async def run_async(steps: Steps[T], execute: Callable[[Statement], Awaitable[Rows]]) -> T:
    """Take the steps on a connection that is awaited; a cancellation is told to them as well."""
    try:
        statement = next(steps)
        while True:
            try:
                rows = await execute(statement)
            except BaseException as error:  # noqa: BLE001 - thrown into the steps, which raise it
                statement = steps.throw(error)
            else:
                statement = steps.send(rows)
    except StopIteration as done:
        outcome: T = done.value
        return outcome


def digits(told: object) -> str:
    """Hexadecimal digits that came back as text, in whatever form a connection gives text."""
    text = told.decode("ascii") if isinstance(told, bytes) else str(told)
    return text.lower()
