"""The streams of the command: whatever they are, what is written is shown, or it is refused."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

_SPELLED_OUT = "backslashreplace"


class OutputLost(OSError):
    """Standard output takes nothing more: it was closed, or its disk is full."""


class _Output(io.FileIO):
    """A descriptor of which one knows that it was the output which failed, and nothing else."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputLost(error.errno, error.strerror) from error


def settle() -> None:
    """Have three streams, and let every character through the two that are written to.

    A stream that was closed when the command was started stays unusable, and says so when it is
    used; without this the next file that is opened, a database say, would get its number. What a
    terminal's encoding lacks is spelled out.
    """
    for fd, unusable in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, unusable), fd)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None or sys.stdout is sys.__stdout__:  # and not what a caller has put there
        encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
        buffer = io.BufferedWriter(_Output(1, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(buffer, encoding, _SPELLED_OUT, line_buffering=os.isatty(1))
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=_SPELLED_OUT)


def shows_unicode() -> bool:
    """Whether what is written to stdout keeps every character as it is."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def colors() -> bool | None:
    """Whether to colour what is written: as NO_COLOR, FORCE_COLOR and TERM say; `None`: as usual,
    on a terminal only."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") in {"dumb", "unknown"} else None


def abandon_stdout() -> None:
    """Write nothing more to stdout, also not what is left for the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
