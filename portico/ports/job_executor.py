"""The port of the places where jobs run: tasks of this process, or a pool of processes.

An executor is batch-shaped and decides nothing about a job's fate: it takes leases and hands back
outcomes. A worker's death is one more outcome on the same path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from portico.ports.leasing import Failure, Lease


class Completed(NamedTuple):
    """The handler succeeded; `result` is its `result_data` as JSON bytes."""

    result: bytes


class Failed(NamedTuple):
    """The handler raised, returned a failure, or ran past its deadline."""

    failure: Failure
    retryable: bool


class Unroutable(NamedTuple):
    """No handler here serves the job's type."""

    failure: Failure


class Quarantined(NamedTuple):
    """The stored payload cannot be decoded: no attempt can ever succeed."""

    failure: Failure


class Crashed(NamedTuple):
    """The worker died while it ran this job and no other."""

    failure: Failure


class Suspected(NamedTuple):
    """The worker died while it ran this job and others: any of them may be the cause."""

    failure: Failure


class Interrupted(NamedTuple):
    """A shutdown had to kill it after it was started."""

    failure: Failure


class Released(NamedTuple):
    """It was never started."""


class Deferred(NamedTuple):
    """It was never started: as many of its type run and wait here as may, and it is to come again.

    Where its type can be left out of what is leased meanwhile, it keeps its place."""

    delay: float
    """Where that cannot be: in so many seconds."""


Verdict = (
    Completed
    | Failed
    | Unroutable
    | Quarantined
    | Crashed
    | Suspected
    | Interrupted
    | Released
    | Deferred
)


class Outcome(NamedTuple):
    """How one leased attempt ended."""

    lease: Lease
    verdict: Verdict
    seconds: float | None = None
    """How long it ran, as far as that is known; a worker's word for it."""


class JobExecutor(ABC):
    """Runs leased jobs somewhere. Knows no queue, decides no retry.

    All calls come from one event loop. Every lease that was submitted comes back in exactly one
    outcome, unless it was forfeited.
    """

    @abstractmethod
    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `finished()` or `free()` may answer differently."""

    @abstractmethod
    def free(self) -> int:
        """How many more leases to ask for right now."""

    def room(self) -> Mapping[str, int]:
        """How many more to ask for at most, of types of which no more may wait here; mostly none
        are named."""
        return {}

    @abstractmethod
    def submit(self, leases: Sequence[Lease]) -> None:
        """Take leases, in the order in which they should start; never blocks."""

    def pause(self, *, paused: bool) -> None:  # noqa: B027 - many begin all that they are given
        """Begin nothing more until told otherwise; what runs goes on.

        For executors that hold leases which they have not begun; `submit` is not called meanwhile.
        """

    @abstractmethod
    def finished(self) -> list[Outcome]:
        """The outcomes since the last call; never blocks."""

    @abstractmethod
    def held(self) -> list[Lease]:
        """The leases to renew: waiting, running within their deadline, or being wound up."""

    @abstractmethod
    def forfeit(self, leases: Sequence[Lease]) -> None:
        """Stop these jobs at once, by force where needed, and never report them: they are lost."""

    @abstractmethod
    def cancel(self, leases: Sequence[Lease]) -> None:
        """Stop these jobs by request; each ends in a `Failed` outcome that is not retryable."""

    @abstractmethod
    def mourn(self, lease: Lease, failure: Failure) -> None:
        """Run `on_failure` for an attempt that ended elsewhere; brings no outcome."""

    @abstractmethod
    async def drain(self, grace: float) -> None:
        """Return when nothing is left to run.

        What was not started is released at once; what runs has `grace` seconds, is then cancelled
        and at last interrupted by force. Outcomes are still to be fetched with `finished()`. A
        second call with a shorter grace shortens the first.
        """
