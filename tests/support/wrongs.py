"""What a handler may return and raise that nobody expects: `test.returns` and `test.raises`, by
`kind`."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

from portico.ports.job import Job, JobResult


class Opaque:
    """Has no JSON form."""


def circle() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["itself"] = data
    return data


RESULTS: dict[str, Callable[[], Any]] = {
    "object": Opaque,
    "surrogate": lambda: "\ud800",
    "endless number": lambda: 10**5000,
    "circle": circle,
    "large": lambda: "x" * (100 << 20),
    "large number": lambda: 2**70,
    "set": lambda: {3},
    "tuple": lambda: (1, 2),
    "bytes": lambda: b"x",
    "not a number": lambda: float("nan"),
}
"""What `result_data["value"]` may be."""


def frame() -> JobResult:
    import pandas as pd  # as a handler may; nothing else here needs it

    return JobResult(success=True, result_data=pd.DataFrame({"a": [1]}))  # type: ignore[arg-type]


RETURNS: dict[str, Callable[[], Any]] = {
    "frame": frame,
    "nothing": lambda: None,
    "number": lambda: 42,
    "mapping": lambda: {"success": True},
    "class": lambda: JobResult,
    "failure": lambda: JobResult(success=False, error=ValueError("no such account")),
    "failure to retry": lambda: JobResult(
        success=False, error=ValueError("later"), result_data={"retry_recommended": True}
    ),
}
"""What `handle` itself may return."""


async def returns(job: Job) -> Any:
    kind = job.payload["kind"]
    if kind in RETURNS:
        return RETURNS[kind]()
    return JobResult(success=True, result_data={"value": RESULTS[kind]()})


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Hostile(Exception):
    __qualname__ = "x" * 100_000

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    def __repr__(self) -> str:
        raise SystemExit(3)

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt(name)


def in_a_circle() -> BaseException:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def recursion() -> BaseException:
    def deeper() -> None:
        deeper()

    deeper()
    raise AssertionError


ERRORS: dict[str, Callable[[], BaseException]] = {
    "speechless": Speechless,
    "endless message": lambda: ValueError("m" * (50 << 20)),
    "lock": lambda: ValueError(threading.Lock()),
    "hostile": Hostile,
    "circle": in_a_circle,
    "SystemExit": lambda: SystemExit(0),
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "BaseException": lambda: BaseException("base"),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("all", [SystemExit(1), ValueError("one")]),
    "recursion": recursion,
}


def overflow(_: int = 0) -> list[int]:
    """Through C in every step: the C stack is what runs out."""
    return sorted([0], key=lambda _: overflow()[0])


async def raises(job: Job) -> None:
    kind = job.payload["kind"]
    if kind == "sys.exit":
        sys.exit(0)
    if kind == "overflow":
        sys.setrecursionlimit(10**9)
        overflow()
    error = ERRORS[kind]()
    raise error
