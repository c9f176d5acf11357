from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, ConnectionError, TimeoutError  # noqa: A004

from portico.adapters.job_queue._redis.sentinels import Sentinels

UP = {"ip": "10.0.0.1", "port": 6379, "is_master": True, "is_sdown": False, "is_odown": False,
      "num-other-sentinels": 2}  # fmt: skip


class Told:
    """A sentinel that answers so."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer

    async def sentinel_masters(self) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def asked(*answers: dict[str, Any] | Exception) -> Sentinels:
    sentinels = Sentinels([("h", number + 1) for number in range(len(answers))])  # type: ignore[no-untyped-call]
    sentinels.sentinels = [Told(answer) for answer in answers]
    return sentinels


async def test_the_first_that_knows_the_primary_is_asked_first_from_then_on() -> None:
    sentinels = asked(ConnectionError("away"), {"other": UP}, {"jobs": UP})
    assert await sentinels.discover_master("jobs") == ("10.0.0.1", 6379)
    assert sentinels.sentinels[0].answer == {"jobs": UP}
    assert len(sentinels.sentinels) == 3


@pytest.mark.parametrize("down", ["is_sdown", "is_odown"])
async def test_a_primary_that_is_down_is_as_good_as_none(down: str) -> None:
    with pytest.raises(MasterNotFoundError, match="no primary 'jobs' that is up"):
        await asked({"jobs": {**UP, down: True}}, TimeoutError("late")).discover_master("jobs")


async def test_where_none_answers_the_first_ones_reason_is_told() -> None:
    wrong = AuthenticationError("WRONGPASS invalid username-password pair")
    with pytest.raises(AuthenticationError, match="WRONGPASS"):
        await asked(wrong, ConnectionError("away")).discover_master("jobs")
