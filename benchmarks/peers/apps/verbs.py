"""What the benchmark asks of an app, in the environment of its system:

    python verbs.py APP describe WORKERS      its settings and versions, as JSON
    python verbs.py APP enqueue JOBS          put jobs into the store; the seconds, as JSON
    python verbs.py APP work WORKERS JOBS     run them; most go on until they are stopped

`BENCH_URL` is the store, `BENCH_TALLY` the file of the counters, `BENCH_VARIANT` one of two ways
to use a system where there are two. Standard library only.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any


def main(app_name: str, verb: str, *numbers: str) -> None:
    app = import_module(app_name)
    verbs: dict[str, Callable[..., Any]] = {
        "describe": lambda workers: _description(app, workers),
        "enqueue": lambda jobs: {"seconds": app.enqueue(jobs)},
        "work": app.work,
    }
    answer = verbs[verb](*map(int, numbers))
    if answer is not None:
        sys.stdout.write(json.dumps(answer) + "\n")


def _description(app: Any, workers: int) -> dict[str, Any]:
    return {
        "processes": app.processes(workers),
        "settings": app.SETTINGS,
        "versions": {name: version(name) for name in app.DISTRIBUTIONS}
        | {"python": platform.python_version()},
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
