"""What `python -m benchmarks all` runs."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main
from benchmarks.commands.everything import QUEUES, STEPS


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_a_benchmark_that_takes_these_words(step: str) -> None:
    name, *words = STEPS[step]
    urls = [QUEUES.get(word) or "redis://127.0.0.1" if word in QUEUES else word for word in words]
    context = main.commands[name].make_context(name, [*urls, "--json", "samples.json"])
    assert context.params["json_path"].name == "samples.json"
    if len(words) > 1:
        assert context.params["queue_url"] == urls[1]
