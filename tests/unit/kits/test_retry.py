from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.exceptions import ConfigurationError
from portico.kits.job.retry import RetryPolicies, RetryPolicy

WHOLE = lambda: 0.0  # noqa: E731 - the random number that takes nothing away


def test_delays_double_from_two_seconds_up_to_an_hour():
    policy = RetryPolicy()
    delays = [policy.delay(n, WHOLE) for n in (0, 1, 2, 3, 10, 11, 12)]
    assert delays == [2, 4, 8, 16, 2048, 3600, 3600]


def test_jitter_takes_at_most_one_half():
    policy = RetryPolicy()
    assert policy.delay(3, lambda: 1.0) == 8
    assert policy.delay(3, lambda: 0.5) == 12


@given(st.integers(-5, 10**9), st.floats(0, 1))
def test_no_count_overflows_and_every_delay_is_within_its_bounds(retry_count, chance):
    delay = RetryPolicy().delay(retry_count, lambda: chance)
    assert 1 <= delay <= 3600


def test_ten_thousand_retries_do_not_overflow():
    assert RetryPolicy().delay(10_000, WHOLE) == 3600


def test_without_jitter_chance_has_no_say():
    assert RetryPolicy(jitter=0).delay(1, lambda: 0.9) == 4


def test_a_policy_of_zeros_retries_at_once():
    assert RetryPolicy(base_delay=0, max_delay=0).delay(7) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"base_delay": -1}, {"max_delay": math.inf}, {"jitter": 1.5}, {"base_delay": math.nan}],
)
def test_a_value_out_of_range_is_named(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


def test_a_job_type_may_have_a_policy_of_its_own():
    slow = RetryPolicy(base_delay=60)
    policies = RetryPolicies(by_type={"report.generate": slow})
    assert policies.of("report.generate") is slow
    assert policies.of("email.send") == RetryPolicy()
