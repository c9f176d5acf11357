"""What is wrong with a handler is told when it is loaded, and not at its first job."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from portico.exceptions import ConfigurationError
from portico.kits.job.handlers import handlers_by_type, most_running
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler


async def done(self: Any, job: Job) -> JobResult:
    return JobResult(success=True)


def told(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def untold(function: Any) -> Any:
    def wrapper(self: Any, job: Job) -> Any:
        return function(self, job)

    return wrapper


def plain(self: Any, job: Job) -> JobResult:
    return JobResult(success=True)


def declared(self: Any, job: Job) -> Awaitable[JobResult]:
    return done(self, job)


def generator(self: Any, job: Job) -> Any:
    yield 1


async def async_generator(self: Any, job: Job) -> Any:
    yield 1


async def too_many(self: Any, job: Job, context: Any) -> JobResult:
    return JobResult(success=True)


async def none_at_all(self: Any) -> JobResult:
    return JobResult(success=True)


async def some(self: Any, job: Job, *more: Any, deep: bool = False) -> JobResult:
    return JobResult(success=True)


@contextmanager
def session() -> Any:
    yield 1


def in_a_session(scope: Any) -> Any:
    async def handle(self: Any, job: Job) -> JobResult:
        with scope():
            return JobResult(success=True)

    return handle


def handler(handle: Any = done, **attributes: Any) -> JobHandler:
    kind = type("Handler", (JobHandler,), {"job_type": "a.b", "handle": handle, **attributes})
    made: JobHandler = kind()
    return made


def loaded(one: Any) -> Any:
    return handlers_by_type([one], "the app")


@pytest.mark.parametrize(
    "handle",
    [done, told(done), untold(done), untold(told(done)), declared, some, in_a_session(session),
     AsyncMock(), Mock()],
)  # fmt: skip
def test_what_can_be_awaited_is_taken(handle: Any) -> None:
    assert list(loaded(handler(handle))) == ["a.b"]


def test_a_handle_with_its_dependencies_bound_is_taken() -> None:
    async def handle(service: Any, job: Job) -> JobResult:
        return JobResult(success=True)

    one = handler()
    one.handle = functools.partial(handle, object())  # type: ignore[method-assign]
    assert list(loaded(one)) == ["a.b"]


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        (plain, r"a plain function; write `async def handle\(self, job\)`"),
        (told(plain), "a plain function"),
        (untold(plain), "a plain function"),
        (generator, "a generator"),
        (async_generator, "a generator; write `async def handle"),
        (too_many, r"handle\(job.*, context.*\), which is called with the job alone"),
        (none_at_all, r"handle\(\), which is called with the job alone"),
        (staticmethod(none_at_all), None),
    ],
)
def test_what_no_job_could_be_given_to_is_refused_by_name(handle: Any, words: str | None) -> None:
    if words is None:  # by accident it takes the job, as `self`
        assert loaded(handler(handle))
        return
    with pytest.raises(ConfigurationError, match=rf"\.Handler has .*{words}"):
        loaded(handler(handle))


@pytest.mark.parametrize(
    ("hook", "words"),
    [(done, "called with the job and the error"), (generator, "on_failure that is a generator")],
)
def test_a_hook_that_could_not_be_called_is_refused(hook: Callable[..., Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        loaded(handler(on_failure=hook))


@pytest.mark.parametrize(
    ("misspelt", "right"),
    [("max_runing", "max_running"), ("job_timout", "job_timeout"), ("jobTimeout", "job_timeout"),
     ("MAX_RUNNING", "max_running"), ("killgrace", "kill_grace"), ("on_failiure", "on_failure")],
)  # fmt: skip
def test_an_attribute_that_looks_misspelt_is_refused_with_the_right_name(
    misspelt: str, right: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"'{misspelt}'; did you mean '{right}'"):
        loaded(handler(**{misspelt: 4}))
    one = handler()
    setattr(one, misspelt, 4)
    with pytest.raises(ConfigurationError, match=f"'{misspelt}'; did you mean '{right}'"):
        loaded(one)


def test_attributes_of_the_application_s_own_are_its_own() -> None:
    own = dict.fromkeys(("handler", "job_types", "timeout", "runs", "failures", "_max_runing"), 4)
    assert loaded(handler(**own))
    assert loaded(handler(max_running=2, max_runing=4))  # it has the right one, too
    assert loaded(handler(job_timeout=None, max_running=None))
    assert loaded(Mock(job_type="a.b", handle=AsyncMock()))


@pytest.mark.parametrize("job_type", [5, None, b"a.b", lambda self: "a.b"])
def test_a_job_type_that_is_no_text_is_refused(job_type: Any) -> None:
    with pytest.raises(ConfigurationError, match="has the job_type"):
        loaded(handler(job_type=job_type))


def test_a_job_type_that_cannot_be_read_is_refused_with_its_error() -> None:
    def job_type(_: Any) -> str:
        raise KeyError("JOB_TYPE")

    with pytest.raises(ConfigurationError, match=r"cannot be read: KeyError: 'JOB_TYPE'"):
        loaded(handler(job_type=property(job_type)))


def test_every_attribute_may_be_a_property() -> None:
    attributes: dict[str, Any] = {
        "job_type": property(lambda self: "c.d"),
        "max_running": property(lambda self: 3),
        "job_timeout": property(lambda self: 5.0),
        "kill_grace": property(lambda self: 1.0),
    }
    handlers = loaded(handler(**attributes))
    assert most_running(handlers) == {"c.d": 3}
    with pytest.raises(ConfigurationError, match=r"max_running of .* is 0"):
        loaded(handler(max_running=property(lambda self: 0)))
