from __future__ import annotations

import signal
from uuid import uuid4

from portico.ports.job_executor import Crashed, Failed, Interrupted, Outcome, Released, Suspected
from portico.ports.leasing import CANCELLED, Evidence, Failure, Lease
from portico.supervisor.exit import Exit
from portico.supervisor.scheduling.assignment import Assignment, Fate
from portico.supervisor.scheduling.inquest import Death, Ruling, conclude


def held(fate: Fate | None = None) -> Assignment:
    lease = Lease(
        uuid4().bytes, uuid4().bytes, 1, "default", "a.b", b"{}", 0, 3, 0, None, 1, 1, None,
        b"{}", None, False,
    )  # fmt: skip
    assignment = Assignment(lease, None, 0.0)
    assignment.fate = fate
    return assignment


def death(killed_for: str | None = None) -> Death:
    status = Exit(None, signal.SIGSEGV, 4711, 2.5, 48 * 2**20)
    said = "printed at {}\nFatal Python error: Segmentation fault\n\nCurrent thread ..."
    return Death(status, 9.0, killed_for, said.format)


def test_the_only_running_job_crashed_its_worker_and_the_rest_runs_elsewhere() -> None:
    waiting, running, behind = held(), held(), held()
    found = conclude({1: waiting, 2: running, 3: behind}, {2: 5.0}, death())
    assert [c.ruling for c in found] == [Ruling.ELSEWHERE, Ruling.MOURN, Ruling.ELSEWHERE]
    outcome = found[1].outcome
    assert outcome is not None
    assert isinstance(outcome.verdict, Crashed)
    failure = outcome.verdict.failure
    assert failure.message == "the worker was killed by SIGSEGV while it ran this job"
    assert failure.traceback.startswith("Fatal Python error: Segmentation fault")
    assert failure.evidence == Evidence(
        pid=4711, signal="SIGSEGV", run_seconds=4.0, worker_cpu_seconds=2.5,
        worker_peak_rss=48 * 2**20, output="printed at 5.0",
    )  # fmt: skip


def test_several_running_jobs_are_suspects() -> None:
    found = conclude({1: held(), 2: held()}, {1: 1.0, 2: 2.0}, death())
    assert all(isinstance(c.outcome and c.outcome.verdict, Suspected) for c in found)
    assert {c.ruling for c in found} == {Ruling.REPORT}


def test_an_overdue_job_has_failed_and_its_neighbour_is_interrupted() -> None:
    overdue, neighbour = held(Fate.OVERDUE), held()
    overdue.reason = "ran past its deadline"
    found = conclude({1: overdue, 2: neighbour}, {1: 1.0, 2: 2.0}, death("a deadline"))
    first, second = (c.outcome.verdict for c in found if c.outcome)
    assert isinstance(first, Failed)
    assert first.retryable
    assert first.failure[:2] == ("JobTimeoutError", "ran past its deadline")
    assert isinstance(second, Interrupted)


def test_a_job_that_outgrew_the_memory_ceiling_alone_has_failed() -> None:
    (found,) = conclude({1: held(Fate.OVERSIZED)}, {1: 1.0}, death("it grew"))
    assert found.ruling is Ruling.MOURN
    assert found.outcome is not None
    assert isinstance(found.outcome.verdict, Failed)
    assert found.outcome.verdict.retryable
    assert found.outcome.verdict.failure.type == "MemoryCeilingError"


def test_jobs_that_outgrew_it_together_are_suspects() -> None:
    both = {1: held(Fate.OVERSIZED), 2: held(Fate.OVERSIZED)}
    found = conclude(both, {1: 1.0, 2: 2.0}, death("it grew"))
    assert all(isinstance(c.outcome and c.outcome.verdict, Suspected) for c in found)


def test_a_job_whose_lease_was_lost_has_no_end_to_tell() -> None:
    (found,) = conclude({1: held(Fate.FORFEITED)}, {1: 1.0}, death("it was to stop"))
    assert found.ruling is Ruling.REPORT
    assert isinstance(found.outcome and found.outcome.verdict, Released)


def test_a_job_whose_worker_was_killed_for_its_cancellation_is_cancelled() -> None:
    (found,) = conclude({1: held(Fate.CANCELLED)}, {1: 1.0}, death("it was to stop"))
    assert found.ruling is Ruling.REPORT
    assert found.outcome is not None
    assert isinstance(found.outcome.verdict, Failed)
    assert not found.outcome.verdict.retryable
    assert found.outcome.verdict.failure[:2] == CANCELLED[:2]


def short_of_memory(death: Death) -> Death:
    return death._replace(exit=death.exit._replace(oom_suspected=True))


def test_a_suspected_lack_of_memory_is_kept() -> None:
    (found,) = conclude({1: held()}, {1: 1.0}, short_of_memory(death()))
    assert found.failure is not None
    assert found.failure.evidence is not None
    assert found.failure.evidence.oom_suspected


def test_a_death_in_on_failure_leaves_the_failure_as_it_was() -> None:
    mourning = held()
    mourning.outcome = Outcome(mourning.lease, Failed(Failure("ValueError", "no"), retryable=True))
    (found,) = conclude({1: mourning}, {1: 1.0}, death())
    assert found.ruling is Ruling.HOOK_LOST
    assert found.outcome is mourning.outcome
