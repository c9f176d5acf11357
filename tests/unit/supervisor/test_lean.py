"""What supervisors and zygotes do without, and applications keep."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_process_of_ours_has_not_loaded_rich_and_a_handler_in_it_can() -> None:
    loaded = run(
        "import sys; from portico.supervisor import lean; lean.begin()\n"
        "import portico.supervisor.zygote, portico.utils.logging\n"
        "before = sorted({name.split('.')[0] for name in sys.modules} & {'rich', 'pygments'})\n"
        "import rich.table\n"
        "print(before, rich.table.Table.__name__)"
    )
    assert loaded == "[] Table"


def test_a_process_of_an_application_keeps_what_structlog_makes_of_rich() -> None:
    told = run("import portico.compose, structlog.dev; print(structlog.dev.rich is not None)")
    assert told == "True"


def test_importing_modules_of_ours_changes_nothing_in_the_process_that_does() -> None:
    told = run(
        "import gc, portico.supervisor.lean, portico.supervisor.zygote, portico.supervisor.worker\n"
        "import structlog.dev; print(gc.isenabled(), structlog.dev.rich is not None)"
    )
    assert told == "True True"


def test_forked_workers_draw_different_numbers_from_numpy() -> None:
    pytest.importorskip("numpy")
    drawn = run(
        "import os, numpy, time\n"
        "from portico.supervisor import birth\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        birth.reseed()\n"
        "        os.write(1, f'{numpy.random.random()}\\n'.encode())\n"
        "        os._exit(0)\n"
        "for _ in range(4):\n"
        "    os.wait()\n"
    ).split()
    assert len(set(drawn)) == 4
