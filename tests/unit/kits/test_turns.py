from __future__ import annotations

import pytest

from portico.exceptions import ConfigurationError
from portico.kits.job.handlers import handlers_by_type, most_running
from portico.kits.job.turns import LONGEST, SHORTEST, Turns
from tests.unit.kits.parts import Doing


def test_a_type_with_a_limit_is_full_until_one_of_its_jobs_ends():
    turns = Turns({"import": 2})
    for _ in range(2):
        assert not turns.full("import")
        turns.begin("import")
    assert turns.full("import")
    turns.end("import")
    assert not turns.full("import")


def test_a_type_without_a_limit_is_never_full():
    turns = Turns({"import": 1})
    for _ in range(100):
        turns.begin("mail")
    assert not turns.full("mail")


def test_turns_come_at_the_pace_at_which_jobs_of_the_type_end():
    turns = Turns({"import": 2})
    assert [turns.delay("import", 8.0, now=100.0) for _ in range(4)] == [4.0, 8.0, 12.0, 16.0]
    assert turns.delay("import", 8.0, now=110.0) == 10.0


def test_no_turn_comes_sooner_than_is_worth_a_lease_nor_later_than_a_change_of_pace_may():
    turns = Turns({"import": 1})
    assert turns.delay("import", 0.001, now=0.0) == SHORTEST
    waits = [turns.delay("import", 60.0, now=0.0) for _ in range(1000)]
    assert max(waits) <= LONGEST
    assert len(set(waits[100:])) > 2, "they do not all come at once"


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "2"])
def test_an_impossible_limit_is_a_configuration_error(most):
    handler = Doing()
    handler.max_running = most
    with pytest.raises(ConfigurationError, match="max_running"):
        handlers_by_type([handler])


def test_only_types_that_say_so_have_a_limit():
    handler = Doing()
    assert most_running({"test.job": handler}) == {}
    handler.max_running = 3
    assert most_running({"test.job": handler}) == {"test.job": 3}
