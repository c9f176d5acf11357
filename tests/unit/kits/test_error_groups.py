"""What a group of errors says, and what it decides."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from portico.exceptions import NonRetryableError
from portico.kits.job.error_kinds import holds, leaves
from portico.kits.job.failures import failure_of
from portico.kits.job.judgement import Stop, judge_raised, judge_result
from portico.ports.job import JobResult
from portico.ports.job_executor import Failed


class Declined(NonRetryableError):
    """The card was declined."""


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Evasive(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise RuntimeError("not yours")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def judged(error: BaseException, stopped: Stop | None = None) -> Failed:
    verdict = judge_raised(raised(error), stopped, None)[0]
    assert isinstance(verdict, Failed)
    return verdict


FINAL = [
    ExceptionGroup("tasks", [Declined()]),
    ExceptionGroup("tasks", [ValueError("x"), Declined()]),
    ExceptionGroup(
        "all", [ExceptionGroup("some", [KeyError("k"), ExceptionGroup("in", [Declined()])])]
    ),
    BaseExceptionGroup("tasks", [SystemExit(1), Declined()]),
    Evasive("tasks", [Declined()]),
]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_a_group_that_holds_one_that_is_not_to_be_retried_is_final(error: BaseException) -> None:
    verdict = judged(error)
    assert not verdict.retryable
    assert "Declined: The card was declined." in verdict.failure.message
    assert not judged(error, Stop.DEADLINE).retryable


async def test_a_task_group_of_a_handler_is_final_by_one_task() -> None:
    async def decline() -> None:
        raise Declined

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(decline())
            tasks.create_task(asyncio.sleep(3600))
    assert judged(caught.value) == Failed(failure_of(caught.value, 1), retryable=False)


@pytest.mark.parametrize(
    "error",
    [
        ExceptionGroup("tasks", [ValueError("x"), KeyError("k")]),
        BaseExceptionGroup("tasks", [KeyboardInterrupt(), ValueError("x")]),
    ],
)
def test_a_group_without_one_is_retried_with_all_of_its_texts(error: BaseException) -> None:
    verdict = judged(error)
    assert verdict.retryable
    assert verdict.failure.message.startswith("tasks (2 sub-exceptions): ")
    assert "ValueError: x" in verdict.failure.message


def test_of_an_error_from_another_the_class_that_was_raised_counts() -> None:
    error = ValueError("the gateway is busy")
    error.__cause__ = Declined()
    assert judged(error).retryable
    final = Declined("no")
    final.__cause__ = ValueError("x")
    assert not judged(final).retryable


def test_a_returned_group_is_final_though_returned_failures_are_retried() -> None:
    result = JobResult(success=False, error=ExceptionGroup("tasks", [Declined()]))
    verdict = judge_result(result, retry_returned=True)[0]
    assert isinstance(verdict, Failed)
    assert not verdict.retryable


def test_a_group_of_thousands_is_bounded_and_mute_errors_are_told() -> None:
    many = ExceptionGroup("rows", [Mute(), *(ValueError(str(n)) for n in range(5000))])
    message = failure_of(many).message
    assert "Mute: <exception str() failed>" in message
    assert "ValueError: 5;" in message
    assert len(message) < 1000
    assert len(list(leaves(many))) == 5001


def test_a_group_in_groups_without_end_is_looked_through() -> None:
    error: Exception = Declined()
    for _ in range(5000):
        error = ExceptionGroup("deep", [error])
    assert holds(error, NonRetryableError)


def timed_out() -> None:
    raise TimeoutError


@pytest.mark.parametrize("error", [TimeoutError(), KeyError(), ValueError(""), Exception("  \n"),
                                   asyncio.CancelledError(), AssertionError()])  # fmt: skip
def test_an_error_that_says_nothing_is_told_by_class_and_place(error: BaseException) -> None:
    message = failure_of(raised(error)).message
    assert message.startswith(
        f"{type(error).__name__} without a text, raised in raised (test_error_"
    )


async def test_a_timeout_without_words_is_told_from_the_job_s_own_and_by_who_awaited() -> None:
    async def fetch() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError) as caught:
        await fetch()
    message = failure_of(caught.value).message
    assert "raised in fetch (test_error_groups.py)" in message
    assert "not the job as a whole" in message
