"""What a handler may put into a JobResult, judged: kept as it is meant, or refused for good."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from portico.kits.job.judgement import InvalidResult, ResultNotSerializable, judge_result
from portico.ports.job import JobResult
from portico.ports.job_executor import Completed, Failed

FRAME = pd.DataFrame({"a": [1]})
ODD: Any = JobResult


def judged(result: object) -> Any:
    return judge_result(result, retry_returned=False)[0]


@pytest.mark.parametrize("success", [True, 1, np.bool_(True)])
def test_a_success_is_true_or_what_equals_it(success: Any) -> None:
    assert judged(ODD(success=success, result_data={"a": 1})) == Completed(b'{"a":1}')


@pytest.mark.parametrize("success", [False, 0, np.bool_(False)])
def test_a_failure_is_false_or_what_equals_it(success: Any) -> None:
    verdict = judged(ODD(success=success, error=ValueError("x")))
    assert isinstance(verdict, Failed)
    assert (verdict.failure.message, verdict.retryable) == ("x", False)


@pytest.mark.parametrize("flag", ["success", "retryable"])
@pytest.mark.parametrize(
    "value", ["no", "", None, 2, [], FRAME, FRAME["a"], np.arange(2)], ids=repr
)
def test_a_flag_that_is_no_boolean_is_refused_by_name(flag: str, value: Any) -> None:
    with pytest.raises(InvalidResult, match=f"whose {flag} is .*True or False"):
        judged(ODD(**{"success": False, flag: value}))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (FRAME, r'result_data is a DataFrame.*\.to_dict\("records"\)'),
        (FRAME["a"], r"result_data is a Series.*\.tolist\(\)"),
        (np.arange(3), r"result_data is a ndarray.*\.tolist\(\)"),
        ({"rows": FRAME}, r"result_data\['rows'\] is a DataFrame.*\.to_dict\(\"records\"\)"),
        ({"n": np.timedelta64(5, "ns")}, r"result_data\['n'\] is a timedelta64"),
        ([1], "result_data is a list.*under a key"),
        (0, "result_data is an int.*under a key"),
    ],
)
def test_data_is_never_asked_for_its_truth_and_refused_with_the_way_out(
    data: Any, words: str
) -> None:
    with pytest.raises(ResultNotSerializable, match=words):
        judged(ODD(success=True, result_data=data))


def test_a_returned_error_that_is_none_is_told_by_its_text() -> None:
    class Evil:
        def __str__(self) -> str:
            raise RuntimeError("evil")

    assert judged(ODD(False, error="no such user")).failure.message == "no such user"
    assert "Evil" in judged(ODD(False, error=Evil())).failure.message


def test_a_coroutine_is_to_be_awaited_by_the_handler() -> None:
    async def inner() -> JobResult:
        return JobResult(success=True)

    with pytest.raises(InvalidResult, match=r"write `return await \.\.\.`"):
        judged(inner())
