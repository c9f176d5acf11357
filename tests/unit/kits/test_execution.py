from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import pytest

from portico.exceptions import (
    JobTimeoutError,
    NonRetryableError,
    PorticoError,
    ValidationError,
    WorkerLostError,
)
from portico.kits.job.execution import Execution
from portico.ports.job import JobResult
from portico.ports.job_executor import (
    Completed,
    Failed,
    Interrupted,
    Quarantined,
    Released,
    Unroutable,
)
from portico.ports.leasing import Failure
from portico.utils.logging import bind_context, current_context
from tests.support.waiting import wait_until
from tests.unit.kits.parts import Doing, make_lease

FOR_EVER = 1e6


def returning(value):
    async def handle(job):
        return value

    return handle


def raising(error):
    async def handle(job):
        raise error

    return handle


async def sleeping(job):
    await asyncio.sleep(FOR_EVER)


async def execute(handler, lease=None, timeout=None, **options):
    execution = Execution({"test.job": handler}, **options)
    task = asyncio.create_task(execution.run(lease or make_lease(), timeout))
    await asyncio.wait([task])
    return execution.verdict(task)


async def started(execution, handler, timeout=None):
    """A task whose handler has been entered."""
    task = asyncio.create_task(execution.run(make_lease(), timeout))
    await wait_until(lambda: handler.jobs)
    return task


class Payment(NonRetryableError):
    """The card was declined."""


async def test_success_completes_with_the_result_as_json():
    handler = Doing(returning(JobResult(success=True, result_data={"n": 1})))
    assert await execute(handler) == Completed(b'{"n":1}')
    assert handler.told == []


async def test_success_without_a_result_is_an_empty_object():
    assert await execute(Doing()) == Completed(b"{}")


async def test_results_are_brought_into_json_form():
    result = JobResult(success=True, result_data={"when": {3}, 7: (1, b"x")})
    assert await execute(Doing(returning(result))) == Completed(b'{"when":[3],"7":[1,"eA=="]}')


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        ValidationError("no"),
        TimeoutError("no"),
        MemoryError("no"),
        asyncio.CancelledError("no"),
        SystemExit("no"),
        KeyboardInterrupt("no"),
        GeneratorExit("no"),
        BaseException("no"),
        RecursionError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_is_raised_asks_for_a_retry_and_stays_in_here(error):
    handler = Doing(raising(error))
    verdict = await execute(handler, timeout=60)
    assert isinstance(verdict, Failed)
    assert verdict.retryable
    assert verdict.failure[:2] == (type(error).__name__, "no")
    [(job, told)] = handler.told
    assert job == handler.jobs[0]
    assert isinstance(told, Exception)
    assert told is error or told.__cause__ is error


async def test_on_failure_sees_the_job_as_it_was_leased_whatever_the_handler_made_of_it():
    async def spoil(job):
        job.payload["rows"].append(3)
        job.payload["new"] = job.metadata.pop("tenant")
        raise ValueError("no")

    handler = Doing(spoil)
    leased = make_lease(payload=b'{"rows":[1,2]}', metadata=b'{"tenant":"a"}')
    await execute(handler, leased)
    [(job, _)] = handler.told
    assert (job.payload, job.metadata) == ({"rows": [1, 2]}, {"tenant": "a"})


async def test_a_group_of_errors_asks_for_a_retry_too():
    verdict = await execute(Doing(raising(BaseExceptionGroup("all", [SystemExit(1)]))))
    assert verdict.failure.type == "BaseExceptionGroup"
    assert verdict.retryable


async def test_endless_recursion_is_a_failure_like_any_other():
    async def down(job):
        def deeper():
            deeper()

        deeper()

    assert (await execute(Doing(down))).failure.type == "RecursionError"


async def test_a_non_retryable_error_is_final():
    handler = Doing(raising(Payment()))
    verdict = await execute(handler)
    assert not verdict.retryable
    assert verdict.failure[:2] == ("Payment", "The card was declined.")
    assert isinstance(handler.told[0][1], Payment)


async def test_the_traceback_begins_with_the_handlers_own_frame():
    verdict = await execute(Doing(raising(ValueError("no"))))
    first = verdict.failure.traceback.splitlines()[1]
    assert "execution.py" not in first
    assert "in handle" in first


async def test_a_returned_failure_is_final():
    error = ValueError("no such user")
    handler = Doing(returning(JobResult(success=False, error=error)))
    verdict = await execute(handler)
    assert verdict == Failed(
        Failure("ValueError", "no such user", "ValueError: no such user\n"), False
    )
    assert handler.told[0][1] is error


@pytest.mark.parametrize(
    "asking",
    [{"retryable": True}, {"result_data": {"retry_recommended": True}}],
    ids=["retryable", "retry_recommended"],
)
async def test_a_returned_failure_may_ask_for_a_retry(asking):
    result = JobResult(success=False, error=ValueError("busy"), **asking)
    assert (await execute(Doing(returning(result)))).retryable


async def test_only_true_recommends_a_retry():
    result = JobResult(success=False, result_data={"retry_recommended": "no"})
    assert not (await execute(Doing(returning(result)))).retryable


@pytest.mark.parametrize(("error", "retry"), [(ValueError("x"), True), (Payment("x"), False)])
async def test_returned_failures_may_be_judged_like_raised_ones(error, retry):
    handler = Doing(returning(JobResult(success=False, error=error)))
    verdict = await execute(handler, retry_returned_failures=True)
    assert verdict.retryable is retry


async def test_a_returned_failure_without_an_error_says_so():
    handler = Doing(returning(JobResult(success=False)))
    verdict = await execute(handler)
    assert verdict.failure.message == "The handler returned success=False and no error"
    assert type(handler.told[0][1]) is PorticoError


async def test_an_error_that_is_a_text_is_taken_as_one():
    handler = Doing(returning(JobResult(success=False, error="out of paper")))  # type: ignore[arg-type]
    assert (await execute(handler)).failure.message == "out of paper"
    assert isinstance(handler.told[0][1], PorticoError)


@pytest.mark.parametrize(
    ("value", "named"), [(None, "None"), ({"success": True}, "dict"), (True, "bool")]
)
async def test_a_result_of_another_type_is_final_and_says_what_came_back(value, named):
    handler = Doing(returning(value))
    verdict = await execute(handler)
    assert (verdict.failure.type, verdict.retryable) == ("InvalidResult", False)
    assert named in verdict.failure.message
    assert verdict.failure.traceback == ""
    assert isinstance(handler.told[0][1], PorticoError)


async def test_a_handler_that_is_no_async_function_is_told_so():
    handler = SimpleNamespace(handle=lambda job: JobResult(success=True))
    verdict = await execute(handler)
    assert (verdict.failure.type, verdict.retryable) == ("InvalidResult", False)
    assert "async def handle" in verdict.failure.message


def circle():
    loop: dict = {}
    loop["self"] = loop
    return loop


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"x": object()}, "ResultNotSerializable"),
        ({"x": "\ud800"}, "ResultNotSerializable"),
        ({"x": 10**5000}, "ResultNotSerializable"),
        (circle(), "ResultNotSerializable"),
        ("text", "ResultNotSerializable"),
        ({"x": "y" * 1_100_000}, "ResultTooLarge"),
    ],
    ids=["object", "surrogate", "huge number", "circle", "no object", "too large"],
)
async def test_a_result_that_cannot_be_kept_is_final(data, kind):
    handler = Doing(returning(JobResult(success=True, result_data=data)))
    verdict = await execute(handler)
    assert isinstance(verdict, Failed)
    assert (verdict.failure.type, verdict.retryable) == (kind, False)
    assert len(handler.told) == 1


@pytest.mark.parametrize("nothing", [None, [], ()])
async def test_a_result_that_is_empty_but_no_object_counts_as_empty(nothing):
    result = JobResult(success=True, result_data=nothing)
    assert await execute(Doing(returning(result))) == Completed(b"{}")


async def test_a_hostile_result_cannot_get_out_either():
    class Hostile(dict):
        def items(self):
            raise RuntimeError("never")

    result = JobResult(success=True, result_data=Hostile(a=object()))
    assert (await execute(Doing(returning(result)))).failure.type == "ResultNotSerializable"


async def test_an_unknown_type_names_itself_and_what_is_served():
    verdict = await execute(Doing(), make_lease(job_type="mail.sent"))
    assert isinstance(verdict, Unroutable)
    assert verdict.failure.type == "UnknownJobType"
    assert "'mail.sent'" in verdict.failure.message
    assert "test.job" in verdict.failure.message


@pytest.mark.parametrize("job_type", ["test.job", "nobody.serves"])
async def test_what_cannot_be_decoded_is_quarantined_unseen(job_type):
    handler = Doing()
    verdict = await execute(handler, make_lease(payload=b"{", job_type=job_type))
    assert isinstance(verdict, Quarantined)
    assert verdict.failure.type == "PayloadInvalid"
    assert handler.jobs == handler.told == []


async def test_the_deadline_cancels_the_handler_and_asks_for_a_retry():
    handler = Doing(sleeping)
    verdict = await execute(handler, timeout=0.01)
    assert verdict.retryable
    assert verdict.failure[:2] == ("JobTimeoutError", "The job ran past its deadline of 0.01 s")
    assert "in sleeping" in verdict.failure.traceback
    assert type(handler.told[0][1]) is JobTimeoutError


async def test_the_deadline_ends_with_the_handler():
    async def clean_up(job, error):
        await asyncio.sleep(0.05)
        done.append(error)

    done: list[Exception] = []
    execution = Execution({"test.job": Doing(raising(ValueError("no")), clean_up)})
    await asyncio.create_task(execution.run(make_lease(), 0.01))
    assert len(done) == 1
    assert not execution._deadlines._due


async def test_each_job_has_its_own_deadline():
    async def handle(job):
        await asyncio.sleep(0.03 if job.payload else FOR_EVER)
        return JobResult(success=True)

    execution = Execution({"test.job": Doing(handle)})
    slow = asyncio.create_task(execution.run(make_lease(payload=b'{"n":1}'), 30))
    stuck = asyncio.create_task(execution.run(make_lease(), 0.01))
    assert await slow == Completed(b"{}")
    assert (await stuck).failure.type == "JobTimeoutError"


async def test_a_handler_that_succeeds_after_its_deadline_has_succeeded():
    async def handle(job):
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            return JobResult(success=True)

    assert await execute(Doing(handle), timeout=0.01) == Completed(b"{}")


@pytest.mark.parametrize(
    ("error", "kind"), [(OSError("connection gone"), "JobTimeoutError"), (Payment("x"), "Payment")]
)
async def test_what_a_stopped_handler_raises_is_the_consequence_of_that(error, kind):
    async def handle(job):
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            raise error

    verdict = await execute(Doing(handle), timeout=0.01)
    assert verdict.failure.type == kind


async def test_a_handlers_own_timeout_is_no_deadline_of_ours():
    async def handle(job):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(FOR_EVER)

    assert (await execute(Doing(handle), timeout=60)).failure.type == "TimeoutError"


async def test_a_handler_that_cancels_itself_has_failed_and_is_tried_again():
    async def handle(job):
        asyncio.current_task().cancel()
        return JobResult(success=True)

    async def handle_and_wait(job):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    assert await execute(Doing(handle)) == Completed(b"{}")
    verdict = await execute(Doing(handle_and_wait))
    assert (verdict.failure.type, verdict.retryable) == ("CancelledError", True)


async def test_a_cancellation_that_was_taken_back_too_late_is_no_release():
    async def handle(job):
        task = asyncio.current_task()
        task.cancel()
        task.uncancel()
        return JobResult(success=True)

    assert await execute(Doing(handle)) != Released()


async def test_an_interrupted_attempt_is_no_failure():
    handler = Doing(sleeping)
    execution = Execution({"test.job": handler})
    task = await started(execution, handler)
    execution.interrupt(task)
    await asyncio.wait([task])
    verdict = execution.verdict(task)
    assert isinstance(verdict, Interrupted)
    assert "shutdown" in verdict.failure.message
    assert handler.told == []


async def test_a_cancelled_attempt_has_failed_for_good():
    handler = Doing(sleeping)
    execution = Execution({"test.job": handler})
    task = await started(execution, handler)
    execution.cancel(task)
    await asyncio.wait([task])
    verdict = execution.verdict(task)
    assert (verdict.failure.message, verdict.retryable) == ("Job cancelled", False)
    assert str(handler.told[0][1]) == "Job cancelled"


async def test_the_first_reason_to_stop_counts():
    handler = Doing(sleeping)
    execution = Execution({"test.job": handler})
    task = await started(execution, handler)
    execution.cancel(task)
    execution.interrupt(task)
    await asyncio.wait([task])
    assert isinstance(execution.verdict(task), Failed)


async def test_an_attempt_stopped_before_its_first_step_was_never_started():
    handler = Doing()
    execution = Execution({"test.job": handler})
    task = asyncio.create_task(execution.run(make_lease()))
    execution.interrupt(task)
    await asyncio.wait([task])
    assert execution.verdict(task) == Released()
    assert handler.jobs == []


async def test_a_request_to_cancel_counts_also_before_the_first_step():
    execution = Execution({"test.job": Doing()})
    task = asyncio.create_task(execution.run(make_lease()))
    execution.cancel(task)
    await asyncio.wait([task])
    assert execution.verdict(task).failure.message == "Job cancelled"


async def test_on_failure_may_await_after_a_deadline():
    async def clean_up(job, error):
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        done.append(error)

    done: list[Exception] = []
    await execute(Doing(sleeping, clean_up), timeout=0.01)
    assert len(done) == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("worse"), SystemExit(1), asyncio.CancelledError(), GeneratorExit()]
)
async def test_what_on_failure_raises_is_logged_and_changes_nothing(error, caplog):
    async def hook(job, first):
        raise error

    verdict = await execute(Doing(raising(ValueError("first")), hook))
    assert (verdict.failure.message, verdict.retryable) == ("first", True)
    assert "on_failure_raised" in caplog.text
    assert type(error).__name__ in caplog.text


async def test_an_on_failure_that_hangs_is_ended_and_changes_nothing(caplog):
    async def hook(job, error):
        await asyncio.sleep(FOR_EVER)

    handler = Doing(raising(ValueError("first")), hook)
    verdict = await execute(handler, on_failure_timeout=0.01)
    assert verdict.failure.message == "first"
    assert "on_failure_timed_out" in caplog.text
    assert len(handler.told) == 1


async def test_a_shutdown_during_on_failure_leaves_the_failure_as_it_is():
    async def hook(job, error):
        await asyncio.sleep(FOR_EVER)

    handler = Doing(raising(ValueError("first")), hook)
    execution = Execution({"test.job": handler})
    task = asyncio.create_task(execution.run(make_lease()))
    await wait_until(lambda: handler.told)
    execution.interrupt(task)
    await asyncio.wait([task])
    assert execution.verdict(task).failure.message == "first"


async def test_a_handler_needs_no_on_failure():
    handler = SimpleNamespace(handle=raising(ValueError("no")))
    assert (await execute(handler)).failure.message == "no"


async def test_a_mock_can_stand_in_for_a_handler():
    handler = Mock(handle=AsyncMock(return_value=JobResult(success=True)))
    assert await execute(handler) == Completed(b"{}")
    handler.handle.side_effect = ValueError("no")
    assert (await execute(handler)).failure.message == "no"
    handler.on_failure.assert_called_once()


async def test_what_a_handler_binds_does_not_reach_the_next_job():
    async def handle(job):
        seen.append(dict(current_context()))
        bind_context(user=job.payload.get("user"))
        return JobResult(success=True)

    seen: list[dict] = []
    bind_context(worker=3)
    for attempt in (1, 2):
        lease = make_lease(attempt=attempt, payload=b'{"user":7}')
        await execute(Doing(handle), lease)
        assert seen[-1] == {
            "worker": 3,
            "job_id": lease.job_id,
            "job_type": "test.job",
            "queue": "default",
            "attempt": attempt,
        }


async def test_mourning_tells_the_handler_of_an_attempt_that_ended_elsewhere():
    handler = Doing()
    execution = Execution({"test.job": handler})
    await execution.mourn(make_lease(retry_count=3), Failure("WorkerLostError", "signal 9"))
    [(job, error)] = handler.told
    assert job.retry_count == 3
    assert type(error) is WorkerLostError
    assert str(error) == "signal 9"


@pytest.mark.parametrize("lease", [{"job_type": "nobody.serves"}, {"payload": b"{"}])
async def test_nobody_mourns_what_nobody_can_run(lease):
    handler = Doing()
    execution = Execution({"test.job": handler})
    await execution.mourn(make_lease(**lease), Failure("WorkerLostError", "signal 9"))
    assert handler.told == []


async def test_mourning_never_raises(caplog):
    handler = Doing(on_failure=raising(SystemExit(1)))
    handler.on_failure = AsyncMock(side_effect=SystemExit(1))
    await Execution({"test.job": handler}).mourn(make_lease(), Failure("WorkerLostError", "x"))
    assert "on_failure_raised" in caplog.text


def test_a_coroutine_closed_with_its_loop_runs_no_on_failure():
    handler = Doing(sleeping)
    loop = asyncio.new_event_loop()

    async def begin():
        return Execution({"test.job": handler}).run(make_lease(), 60)

    coroutine = loop.run_until_complete(begin())
    task = loop.create_task(coroutine)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert handler.jobs
    coroutine.close()
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    assert handler.told == []
    loop.close()


async def test_a_failed_attempt_leaves_no_cycle_behind():
    async def handle(job):
        error = Payment("no")
        seen.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    class Forgetful(Doing):
        async def on_failure(self, job, error):
            pass

    seen: list[weakref.ref] = []
    gc.disable()
    try:
        await execute(Forgetful(handle))
        assert seen[0]() is None
    finally:
        gc.enable()


async def test_a_stopped_attempt_leaves_nothing_behind_in_the_books():
    execution = Execution({"test.job": Doing(sleeping)})
    task = asyncio.create_task(execution.run(make_lease(), 0.001))
    await asyncio.wait([task])
    execution.verdict(task)
    assert not execution._stopped
    assert not execution._deadlines._due


class Unclassed(Exception):
    """Runs code when it is asked what it is."""

    def __getattribute__(self, name):
        raise KeyboardInterrupt(name)


async def test_an_exception_is_never_asked_what_it_is():
    verdict = await execute(Doing(raising(Unclassed())))
    assert (verdict.failure.type, verdict.retryable) == ("Unclassed", True)


async def test_memory_that_runs_out_over_a_result_is_not_the_results_fault(monkeypatch):
    def encode(data):
        raise MemoryError

    monkeypatch.setattr("portico.kits.job.judgement._encode", encode)
    handler = Doing(returning(JobResult(success=True, result_data={"n": 1})))
    verdict = await execute(handler)
    assert (verdict.failure.type, verdict.retryable) == ("MemoryError", True)


@pytest.mark.parametrize(("error", "exhausted"), [(MemoryError(), True), (ValueError(), False)])
async def test_a_handler_that_ran_out_of_memory_leaves_its_mark(error, exhausted):
    execution = Execution({"test.job": Doing(raising(error))})
    await asyncio.wait([asyncio.create_task(execution.run(make_lease()))])
    assert execution.exhausted is exhausted
