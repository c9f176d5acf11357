"""A terminal for what the command writes."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout

import click
import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(write: Callable[[], object]) -> list[str]:
    """The lines of what is written to a terminal of 80 columns, without colours."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(Terminal()) as stream:
        patch.setenv("COLUMNS", "80")
        write()
    return click.unstyle(stream.getvalue()).splitlines()
