"""Where log lines go: one descriptor, one write per line, and never an error to the caller."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from typing import IO, Any

from portico.exceptions import ConfigurationError

OUTPUTS = ("stdout", "stderr", "file")

_LONGEST = 64 * 1024


class LogOutput:
    """Writes lines to a descriptor, or to a stream that has none.

    A line goes out in one `write`, so the lines of processes that share the descriptor do not mix;
    on a pipe that holds up to `longest` bytes. What cannot be written (broken pipe, full disk, full
    non-blocking pipe) is dropped and counted in `dropped`.
    """

    def __init__(self, stream: IO[Any] | None = None, *, path: str | None = None) -> None:
        self._stream = stream
        self._owner = os.getpid() if path is not None else None
        self._descriptor = _opened(path) if path is not None else _descriptor_of(stream)
        self._text = not isinstance(stream, io.RawIOBase | io.BufferedIOBase)
        self.longest = _longest(self._descriptor)
        self.colored = _colored(self._descriptor)
        self.dropped = 0
        self._reported = 0

    def write(self, line: str) -> None:
        """Write one line, given without its newline."""
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        try:
            self._put(data)
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.dropped += 1

    def unreported(self) -> int:
        """How many lines were dropped since the last call, for the next line to tell."""
        lost, self._reported = self.dropped - self._reported, self.dropped
        return lost

    def close(self) -> None:
        """Close the file, if this output opened one; later lines are dropped.

        A forked child leaves it alone: the number may be another file's by now.
        """
        if self._owner == os.getpid() and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _put(self, data: bytes) -> None:
        if self._descriptor is not None:
            while data:  # a regular file may take part of a line when the disk fills up
                data = data[os.write(self._descriptor, data) :]
        elif self._stream is None:
            raise OSError("there is nothing to write to")
        else:
            self._stream.write(data.decode() if self._text else data)
            self._stream.flush()


def output_for(
    name: str, path: str | os.PathLike[str] | None = None, stream: IO[Any] | None = None
) -> LogOutput:
    """Open the destination that `configure_logging` was asked for.

    Raises:
        ConfigurationError: no such output, no path for a file, or a file that cannot be opened.
    """
    if stream is not None:
        return LogOutput(stream)
    match name:
        case "stdout":
            return LogOutput(sys.stdout)
        case "stderr":
            return LogOutput(sys.stderr)
        case "file" if path:
            return LogOutput(path=os.fspath(path))
        case "file":
            raise ConfigurationError(
                "log_output is 'file' and log_file_path is empty; give log_file_path a path, "
                "or log to stdout or stderr"
            )
    raise ConfigurationError(f"log_output is {name!r}; use one of {', '.join(OUTPUTS)}")


def _opened(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o640)
    except OSError as error:
        raise ConfigurationError(
            f"log_file_path is {path!r}, which cannot be opened: {error.strerror}; "
            "give a path in a directory that exists and is writable",
            cause=error,
        ) from error


def _descriptor_of(stream: IO[Any] | None) -> int | None:
    """The stream's descriptor; `None` for one in memory, or without any."""
    if stream is None:
        return None
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return None
    return descriptor


def _longest(descriptor: int | None) -> int:
    """How many bytes of a line, newline included, reach the destination in one piece."""
    if descriptor is None:
        return _LONGEST
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return _LONGEST
    return select.PIPE_BUF if is_pipe else _LONGEST


def _colored(descriptor: int | None) -> bool:
    return descriptor is not None and os.isatty(descriptor) and not os.environ.get("NO_COLOR")
