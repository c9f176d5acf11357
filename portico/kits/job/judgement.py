"""May this failure be retried? What a handler returned or raised, judged; all of it is pure.

| the handler | verdict |
|---|---|
| returned `JobResult(success=True)` | Completed |
| returned `success=False` | Failed for good, unless the result asks for a retry |
| returned anything else, or a result that JSON cannot hold | Failed for good |
| raised `NonRetryableError`, alone or in a group, stopped or not | Failed for good |
| was stopped at its deadline, by request, by a shutdown | Failed, Failed for good, Interrupted |
| raised anything else | Failed, to be retried |
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import Enum
from inspect import isawaitable, iscoroutine
from typing import assert_never

import msgspec

from portico.exceptions import JobTimeoutError, NonRetryableError, PorticoError, ValidationError
from portico.kits.job.error_kinds import holds, is_a
from portico.kits.job.failures import as_exception, failure, failure_of, text_of
from portico.ports import document
from portico.ports.job import JobResult
from portico.ports.job_executor import Completed, Failed, Interrupted, Verdict
from portico.ports.leasing import CANCELLED, Failure

Judgement = tuple[Verdict, Exception | None]
"""The verdict, and for a failed attempt the error that `on_failure` is told."""

_INTERRUPTED = "A shutdown stopped the job before it had ended; what it has done so far is unknown"
_OWN_FRAMES = 1
_DONE: Judgement = Completed(document.EMPTY), None
_EMPTY = frozenset({dict, list, tuple})
_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class Stop(Enum):
    """Why an attempt is stopped from outside."""

    DEADLINE = "deadline"
    CANCEL = "cancel"
    INTERRUPT = "interrupt"


class _UnusableResult(NonRetryableError):
    """The handler did its work, and what it returned cannot be used."""


class InvalidResult(_UnusableResult):
    """The handler returned something other than a JobResult."""


class ResultNotSerializable(_UnusableResult):
    """The handler's result has no JSON form."""


class ResultTooLarge(_UnusableResult):
    """The handler's result is too large to be kept."""


def judge_result(result: object, retry_returned: bool) -> Judgement:  # noqa: FBT001
    """Judge what a handler returned.

    Raises:
        NonRetryableError: it is not a result, or not one that can be kept.
    """
    if not isinstance(result, JobResult):
        raise _no_result(result)
    if result.success is True or _flag(result, "success"):
        data: object = result.result_data
        if data is None or (type(data) in _EMPTY and not data):  # of others the truth is not asked
            return _DONE
        return Completed(_encoded(data)), None
    error = _returned_error(result)
    return Failed(failure_of(error), _wants_retry(result, error, retry_returned)), error


def _no_result(result: object) -> InvalidResult:
    way_out = "return JobResult(success=True, result_data={...})"
    if iscoroutine(result):
        result.close()  # it is told here, and needs no warning that nobody awaited it
        way_out = "write `return await ...`"
    return InvalidResult(
        f"The handler returned {_described(result)} instead of a JobResult; {way_out}"
    )


def judge_raised(error: BaseException, stopped: Stop | None, timeout: float | None) -> Judgement:
    """Judge what a handler raised; once it was stopped, that is taken for the consequence."""
    final = holds(error, NonRetryableError)
    if stopped is not None and not final:
        return judge_stopped(stopped, failure_of(error, _OWN_FRAMES).traceback, timeout)
    reason = failure_of(error, _OWN_FRAMES)
    if is_a(error, _UnusableResult):
        reason = reason._replace(traceback="")  # nothing but our own frames
    return Failed(reason, not final), as_exception(error)


def judge_stopped(stopped: Stop, where: str = "", timeout: float | None = None) -> Judgement:
    """Judge an attempt that ended because it was stopped; `where` is the traceback of that."""
    match stopped:
        case Stop.DEADLINE:
            late = JobTimeoutError(f"The job ran past its deadline of {timeout or 0:g} s")
            return Failed(failure("JobTimeoutError", late.message, where), retryable=True), late
        case Stop.CANCEL:
            reason = CANCELLED._replace(traceback=where)
            return Failed(reason, retryable=False), PorticoError(CANCELLED.message)
        case Stop.INTERRUPT:
            return Interrupted(failure("Interrupted", _INTERRUPTED, where)), None
        case _:
            assert_never(stopped)


def check_awaitable(pending: object) -> None:
    """Tell a handler that is no async function so, and not with the loop's TypeError.

    Raises:
        InvalidResult: `handle` returned something that cannot be awaited.
    """
    if not isawaitable(pending):
        raise InvalidResult(
            f"handle returned {_described(pending)} without being awaited; write `async def handle`"
        )


def unroutable(job_type: str, served: Mapping[str, object]) -> Failure:
    """Why nobody here can run a job of this type."""
    known = ", ".join(sorted(served)) or "no type at all"
    return failure("UnknownJobType", f"No handler serves {job_type!r}; served here: {known}")


def _encoded(data: object) -> bytes:
    try:
        return document.encode_result(data, encoder=_encode)
    except ValidationError as error:
        kind = ResultTooLarge if "limit" in error.details else ResultNotSerializable
        raise kind(error.message) from error
    except MemoryError:  # not the result's fault: another process may have room for it
        raise
    except Exception as error:
        raise ResultNotSerializable(f"result_data: {failure_of(error).message}") from error


def _returned_error(result: JobResult) -> Exception:
    error: object = result.error
    if error is None:
        return PorticoError("The handler returned success=False and no error")
    return as_exception(error) if isinstance(error, BaseException) else PorticoError(text_of(error))


def _wants_retry(result: JobResult, error: Exception, retry_returned: bool) -> bool:  # noqa: FBT001
    data: object = result.result_data
    asked = isinstance(data, Mapping) and data.get("retry_recommended") is True
    by_default = retry_returned and not holds(error, NonRetryableError)
    return _flag(result, "retryable") or asked or by_default


def _flag(result: JobResult, name: str) -> bool:
    """A boolean of a result, also one of NumPy's; what is none has no truth to go by."""
    value: object = getattr(result, name)
    kind = getattr(sys.modules.get("numpy"), "bool_", bool)
    if isinstance(value, bool | kind) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise InvalidResult(
        f"The handler returned a JobResult whose {name} is {_described(value)}; "
        "give True or False, or bool(...) of it"
    )


def _described(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
