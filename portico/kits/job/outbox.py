"""What ended and is not yet known to the store."""

from __future__ import annotations

from collections.abc import Sequence

from portico.exceptions import DatabaseError
from portico.kits.job.retry import RetryPolicies
from portico.kits.job.settlement import settle
from portico.ports.job_executor import Outcome
from portico.ports.leasing import Failure, Settlement, Transition
from portico.utils.logging import get_logger

MOST_RESULTS = 10_000
"""Outcomes that may wait before nothing more is begun: what runs by then still finds room."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of results and error texts that may wait before nothing more is begun."""

_BATCH = 1024
"""Settlements per exchange: an outage may have gathered more than one transaction should hold."""
_MOST_ALONE = 16
"""Settlements in a row, each sent alone, after which a store is one that takes nothing."""
_MOST_SAID = 500
"""Characters of a store's complaint that are kept with a job."""

logger = get_logger(__name__)


class Outbox:
    """Outcomes and what is to become of them, in the order in which they came.

    A batch that the store refuses holds one that it cannot take: the batches become smaller until
    that one stands alone, and the others do not wait for it.
    """

    def __init__(self, policies: RetryPolicies, *, keeps_places: bool = False) -> None:
        """Make it empty; `keeps_places`: jobs that have to wait for their turn need not be put off
        for it."""
        self._policies = policies
        self._keeps_places = keeps_places
        self._outcomes: list[Outcome] = []
        self._settlements: list[Settlement] = []
        self._most = _BATCH
        self._taken = True
        """Whether the store has taken any since it refused a whole batch."""
        self._alone = 0
        """How many in a row it has refused that stood alone."""
        self._reworded: Settlement | None = None

    def __len__(self) -> int:
        return len(self._settlements)

    @property
    def bytes(self) -> int:
        """How much room the results and error texts take; counted anew at each question."""
        return sum(map(_size, self._settlements))

    def over(self, share: float) -> bool:
        """Whether more than this share of the room is taken, by number or by bytes."""
        return len(self) > MOST_RESULTS * share or self.bytes > MOST_BYTES * share

    def add(self, outcomes: list[Outcome]) -> None:
        """Decide what becomes of these attempts; delays count from when the store is told."""
        if not outcomes:
            return
        policies, keeps_place = self._policies, self._keeps_places
        self._outcomes += outcomes
        self._settlements += [
            settle(outcome, policies, keeps_place=keeps_place) for outcome in outcomes
        ]

    def batch(self) -> tuple[Sequence[Outcome], Sequence[Settlement]]:
        """What to tell the store next; stays here until it is `told`."""
        return self._outcomes[: self._most], self._settlements[: self._most]

    def told(self, count: int) -> None:
        """The store has answered to the oldest so many."""
        del self._outcomes[:count], self._settlements[:count]
        self._most = min(_BATCH, 2 * self._most)
        if count:
            self._taken, self._alone = True, 0

    def refused(self, error: DatabaseError) -> None:
        """The store answered, and did not take the batch: look for the one that is to blame.

        One that stands alone is told in plain words instead of its own: a result that cannot be
        stored fails its job. If the store does not take that either, it is given up.

        Raises:
            DatabaseError: the store takes nothing at all.
        """
        if (size := min(self._most, len(self))) > 1:
            self._taken = self._taken and self._most < _BATCH
            self._most = size // 2
            return
        self._alone += 1
        if not self._taken and len(self) > 1:
            if self._alone >= _MOST_ALONE:
                raise error
            self.put_off()  # if it is to blame, the store takes the next one
            return
        (outcome, *_), (settlement, *_) = self._outcomes, self._settlements
        job = {"job_id": outcome.lease.job_id, "job_type": outcome.lease.job_type}
        if settlement is not self._reworded:
            logger.error("outcome_not_storable", **job, error=str(error))
            self._reworded = self._settlements[0] = reworded(settlement, error)
        elif self._taken:
            logger.error(
                "outcome_given_up", **job, error=str(error), next="it is recovered as expired"
            )
            self.told(1)
        else:
            raise error

    def put_off(self) -> None:
        """The store broke off over this batch, and is well otherwise: let others go first."""
        if (size := min(self._most, len(self))) > 1:
            self._most = size // 2
        else:
            self._outcomes.append(self._outcomes.pop(0))
            self._settlements.append(self._settlements.pop(0))


def reworded(settlement: Settlement, error: Exception) -> Settlement:
    """The same end of an attempt, without anything that came from the handler."""
    said = ascii(str(error))[:_MOST_SAID]
    failure = Failure("OutcomeNotStorable", f"the job store did not take how this ended: {said}")
    transition = settlement.transition
    if transition is Transition.COMPLETE:
        transition = Transition.FAIL
    return settlement._replace(transition=transition, result=None, failure=failure)


def _size(settlement: Settlement) -> int:
    size, failure = len(settlement.result or b""), settlement.failure
    if failure is not None:
        size += len(failure.message) + len(failure.traceback)
        size += len(failure.evidence.output) if failure.evidence else 0
    return size
