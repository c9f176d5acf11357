"""What every job store must do, as classes of tests that an adapter's own tests inherit.

    class TestMyQueue(NineMethodRules):
        @pytest.fixture
        async def queue(self, clocks):
            queue = MyQueue(clock=clocks.wall)
            await queue.initialize()
            yield queue
            await queue.close()

An adapter of the nine documented methods takes `NineMethodRules` and `BulkRules`. One that
implements the whole leasing surface takes `JobQueueContract`, which is all of them, and besides
`queue` has a fixture `another_queue`: a function that builds an adapter, not initialized, on a
store of its own.

Both give the adapter the clocks of the fixture `clocks`, which run and can be made to jump:
`clocks.wall`, and where leases are timed `clocks.monotonic`. The fixture comes with
`pytest_plugins = ["portico.testing.fixtures"]` in `conftest.py`. Leases last `LEASE_SECONDS`. The
tests are coroutines: have pytest-asyncio run them with `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import pytest

_MODULES = (
    "bulk_rules", "exchange_rules", "history_rules", "leasing_rules", "listing_rules",
    "more_rules", "nine_method_rules", "queue_support", "record_rules", "state_table_rules",
    "wanted_rules",
)  # fmt: skip

# Before they are loaded: otherwise a rule that is broken fails without saying what it saw.
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _MODULES))

from portico.testing.contract.bulk_rules import BulkRules  # noqa: E402
from portico.testing.contract.history_rules import HistoryRules  # noqa: E402
from portico.testing.contract.leasing_rules import LeasingRules  # noqa: E402
from portico.testing.contract.listing_rules import ListingRules  # noqa: E402
from portico.testing.contract.more_rules import MoreRules  # noqa: E402
from portico.testing.contract.nine_method_rules import NineMethodRules  # noqa: E402
from portico.testing.contract.queue_support import LEASE_SECONDS, Clocks  # noqa: E402
from portico.testing.contract.record_rules import RecordRules  # noqa: E402
from portico.testing.contract.state_table_rules import StateTableRules  # noqa: E402
from portico.testing.contract.wanted_rules import WantedRules  # noqa: E402

__all__ = [
    "LEASE_SECONDS",
    "BulkRules",
    "Clocks",
    "HistoryRules",
    "JobQueueContract",
    "LeasingRules",
    "ListingRules",
    "MoreRules",
    "NineMethodRules",
    "RecordRules",
    "StateTableRules",
    "WantedRules",
]


class JobQueueContract(
    NineMethodRules,
    BulkRules,
    LeasingRules,
    WantedRules,
    StateTableRules,
    RecordRules,
    ListingRules,
    HistoryRules,
    MoreRules,
):
    """Every rule, for an adapter that leaves nothing of the port to its defaults."""
