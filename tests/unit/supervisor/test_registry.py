from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from portico.exceptions import ConfigurationError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from portico.supervisor.registry import load, open_app


class Mail(JobHandler):
    job_type = "email.send"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True)


class Post(Mail):
    pass


CONTEXT: Any = WorkerContext(None, None, 3, None)  # type: ignore[arg-type]


async def opened(app: Any) -> Any:
    async with AsyncExitStack() as stack:
        return await open_app(app, CONTEXT, stack)


async def test_an_app_may_be_a_mapping_an_iterable_or_a_callable_of_these() -> None:
    async def coroutine() -> list[JobHandler]:
        return [Mail()]

    apps: list[Any] = [{"email.send": Mail()}, [Mail()], lambda: (Mail(),), coroutine]
    for app in apps:
        assert list(await opened(app)) == ["email.send"]


async def test_a_context_manager_is_open_while_the_worker_lives() -> None:
    events = []

    @asynccontextmanager
    async def app(context: WorkerContext) -> AsyncIterator[list[JobHandler]]:
        events.append(f"opened for worker {context.worker}")
        yield [Mail()]
        events.append("closed")

    async with AsyncExitStack() as stack:
        assert list(await open_app(app, CONTEXT, stack)) == ["email.send"]
        assert events == ["opened for worker 3"]
    assert events[-1] == "closed"


async def test_two_handlers_of_one_type_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"two handlers serve 'email.send' in the app: .*"):
        await opened([Mail(), Post()])


async def test_a_key_that_differs_from_its_handler_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"maps 'sms.send' to .* 'email.send'"):
        await opened({"sms.send": Mail()})


@pytest.mark.parametrize("found", [42, "text", None])
async def test_what_is_no_registry_is_refused(found: object) -> None:
    with pytest.raises(ConfigurationError, match="the app is of type"):
        await opened(found)


@pytest.mark.parametrize("found", [[object()], {"a": 1}, [Mail]])
async def test_what_is_no_handler_is_refused(found: object) -> None:
    with pytest.raises(ConfigurationError, match="the app holds"):
        await opened(found)


async def test_an_empty_registry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no handlers in the app"):
        await opened({})


@pytest.mark.parametrize("target", ["module", ":app", "module:", ""])
def test_a_target_without_both_parts_is_refused(target: str) -> None:
    with pytest.raises(ConfigurationError, match="give module:attribute"):
        load(target)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="importing no_such_module failed"):
        load("no_such_module:app")


def test_a_module_that_fails_to_import_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_jobs.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match="RuntimeError: no licence") as caught:
        load("broken_jobs:app")
    assert isinstance(caught.value.cause, RuntimeError)


def test_an_attribute_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="json has no attribute 'app'"):
        load("json:app")


async def no_yield() -> AsyncIterator[list[JobHandler]]:
    for handlers in ():
        yield handlers


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit("DATABASE_URL is missing"), "SystemExit: DATABASE_URL is missing"),
        (SystemExit(0), "SystemExit: 0"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
        (ValueError("no database"), "ValueError: no database"),
        (
            ExceptionGroup("two", [ValueError("no database"), OSError("no cache")]),
            "two (2 sub-exceptions): ValueError: no database; OSError: no cache",
        ),
        (BaseExceptionGroup("one", [KeyboardInterrupt()]), "(1 sub-exception): KeyboardInterrupt"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_factory_raises_is_told_by_name_and_text(
    raised: BaseException, told: str
) -> None:
    async def app() -> list[JobHandler]:
        raise raised

    with pytest.raises(ConfigurationError) as failed:
        await opened(app)
    assert failed.value.message.startswith("opening the app failed: ")
    assert told in failed.value.message
    assert failed.value.cause is raised


async def test_a_context_manager_that_does_not_yield_is_told_of() -> None:
    with pytest.raises(ConfigurationError, match="generator didn't yield"):
        await opened(asynccontextmanager(no_yield))
