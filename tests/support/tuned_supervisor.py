"""`python -m portico.supervisor` with constants of it set otherwise: `MODULE:NAME=VALUE ...`.

`$TUNING` says what: that an hour of patience is a second, for one. `retry=0` has retries come at
once, also after a crash.
"""

from __future__ import annotations

import ast
import importlib
import os
from functools import partial

from portico.kits.job import pipeline, settlement
from portico.kits.job.retry import RetryPolicies, RetryPolicy
from portico.supervisor.cli import main


def tune(words: str) -> None:
    for word in words.split():
        place, _, value = word.partition("=")
        if place == "retry":
            policy = RetryPolicy(base_delay=float(value), jitter=0.0)
            setattr(pipeline, "RetryPolicies", partial(RetryPolicies, policy))  # noqa: B010 - for mypy
            settlement.CRASH_POLICY = policy
            continue
        module, _, name = place.partition(":")
        found = importlib.import_module(f"portico.{module}")
        assert hasattr(found, name), place
        setattr(found, name, ast.literal_eval(value))


if __name__ == "__main__":
    tune(os.environ.get("TUNING", ""))
    main(prog_name="python -m portico.supervisor")
