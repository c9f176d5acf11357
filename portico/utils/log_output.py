"""Where log lines go: one descriptor, one write per line, and never an error to the caller."""

from __future__ import annotations

import errno
import io
import os
import re
import select
import stat
import sys
import threading
from typing import IO, Any

from portico.exceptions import ConfigurationError

OUTPUTS = ("stdout", "stderr", "file", "both")

_LONGEST = 64 * 1024
"""Bytes of a line, newline included, that reach a file in one piece."""
_COLOR = re.compile(r"\x1b\[\d+m")
"""What `render_console` puts into a line: of the text itself, no escape gets there."""
_PATIENCE = 100
"""Milliseconds that a full pipe's reader has to make room, before it counts as stuck."""
_LONG_PATIENCE = 1000
"""The same of a reader that is known to read: only the machine may keep it from that."""


class LogOutput:
    """Writes lines to a descriptor, or to a stream that has none.

    A line goes out in one `write`, so the lines of processes that share the descriptor do not mix;
    on a pipe that holds up to `longest` bytes. What cannot be written (broken pipe, full disk, full
    pipe that nobody reads) is dropped and counted in `dropped`.

    Whoever renders a line asks `unreported` first, on the thread that then calls `write`: what that
    line tells is told only when it has been written.
    """

    def __init__(self, stream: IO[Any] | None = None, *, path: str | None = None) -> None:
        self._stream = stream
        self._owner = os.getpid() if path is not None else None
        self._descriptor = _opened(path) if path is not None else descriptor_of(stream)
        self._text = not isinstance(stream, io.RawIOBase | io.BufferedIOBase)
        self._is_pipe = _is_pipe(self._descriptor)
        self.longest = select.PIPE_BUF if self._is_pipe else _LONGEST
        self.is_terminal = self._descriptor is not None and os.isatty(self._descriptor)
        self.is_a_terminal_alone = self.is_terminal
        self.colored = self.is_terminal and not os.environ.get("NO_COLOR")
        self.dropped = 0
        self._reported = 0
        self._torn = False
        self._stuck = False
        self._patience = _PATIENCE
        self._line = threading.local()

    def write(self, line: str) -> None:
        """Write one line, given without its newline."""
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        try:
            self._put(data)
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.dropped += 1
            self._take_back()
        self._line.tells = 0

    def unreported(self) -> int:
        """How many lines were dropped and not told of, for the next line to tell."""
        self._take_back()  # of a line that was rendered and never written
        lost, self._reported = self.dropped - self._reported, self.dropped
        self._line.tells = lost
        return lost

    def drop(self) -> None:
        """Count a line that could not be rendered."""
        self.dropped += 1

    def _take_back(self) -> None:
        """What this thread's line was to tell has not been told."""
        self._reported -= getattr(self._line, "tells", 0)
        self._line.tells = 0

    def close(self) -> None:
        """Close the file, if this output opened one; later lines are dropped.

        A forked child leaves it alone: the number may be another file's by now.
        """
        if self._owner == os.getpid() and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _put(self, data: bytes) -> None:
        if self._descriptor is not None:
            if self._is_pipe:
                self._await_room(self._descriptor)
            self._put_whole(self._descriptor, data)
        elif self._stream is None:
            raise OSError("there is nothing to write to")
        else:
            self._stream.write(data.decode() if self._text else data)
            self._stream.flush()

    def _await_room(self, pipe: int) -> None:
        """Raise where a write would wait for a reader that reads no more, perhaps for ever.

        The pipe is not made non-blocking: others that share it may not know what to do then.
        """
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        if not poll.poll(0 if self._stuck else self._patience):
            self._stuck = True  # the lines after this one are not waited for
            raise BlockingIOError("nobody reads the log")
        self._stuck = False

    def _put_whole(self, descriptor: int, line: bytes) -> None:
        """A regular file may take part of a line when the disk fills up: the next begins anew."""
        rest = data = b"\n" + line if self._torn else line
        try:
            while rest:
                rest = rest[self._put_some(descriptor, rest) :]
            self._torn = False
        except OSError:
            self._torn = self._torn or len(rest) < len(data)
            raise

    def _put_some(self, descriptor: int, rest: bytes) -> int:
        return os.write(descriptor, rest)


class PipeOutput(LogOutput):
    """A pipe that nobody but this process writes to, and what it forks.

    Its lines need not fit into one piece of a pipe: the threads take turns. The descriptor does not
    block. A reader that makes no room for a second costs the line, and as long as it goes on like
    that the next ones are not waited for.
    """

    def __init__(self, descriptor: int, patience: int = _LONG_PATIENCE) -> None:
        """Write to this descriptor, for whose reader a line waits so many milliseconds."""
        super().__init__()
        self._patience = patience
        self._descriptor = self._pipe = descriptor
        self.longest = _LONGEST
        self._free_the_turn()
        os.register_at_fork(after_in_child=self._free_the_turn)

    def _free_the_turn(self) -> None:
        """In a child, too: the thread that had it may not be there. One that logs from within a
        signal's handler may be at it already."""
        self._turn = threading.RLock()

    def _put(self, data: bytes) -> None:
        with self._turn:
            self._put_whole(self._pipe, data)

    def _put_some(self, descriptor: int, rest: bytes) -> int:
        while True:
            try:
                return os.write(descriptor, rest)
            except BlockingIOError:
                self._await_room(descriptor)


class BothOutputs:
    """Standard output, and a file that gets the same lines without their colors."""

    def __init__(self, shown: LogOutput, kept: LogOutput) -> None:
        self._shown = shown
        self._kept = kept
        self.is_terminal = shown.is_terminal
        self.is_a_terminal_alone = False
        self.colored = shown.colored
        self.longest = min(shown.longest, kept.longest)

    @property
    def dropped(self) -> int:
        """How many lines could not be written to one of them."""
        return self._shown.dropped + self._kept.dropped

    def write(self, line: str) -> None:
        """Write one line to each; what one of them does not take, the other one does."""
        self._shown.write(line)
        self._kept.write(_COLOR.sub("", line))

    def drop(self) -> None:
        """Count a line that could not be rendered."""
        self._shown.drop()

    def unreported(self) -> int:
        """How many lines were dropped and not told of, for the next line to tell."""
        return self._shown.unreported() + self._kept.unreported()

    def close(self) -> None:
        """Close the file."""
        self._kept.close()


Output = LogOutput | BothOutputs


def output_for(
    name: str, path: str | os.PathLike[str] | None = None, stream: IO[Any] | None = None
) -> Output:
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
        case "both" if path:
            return BothOutputs(LogOutput(sys.stdout), LogOutput(path=os.fspath(path)))
        case "file" | "both":
            raise ConfigurationError(
                f"log_output is {name!r} and log_file_path is empty; give log_file_path a path, "
                "or log to stdout or stderr"
            )
    raise ConfigurationError(f"log_output is {name!r}; use one of {', '.join(OUTPUTS)}")


def _opened(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags, 0o640)
        os.set_blocking(descriptor, True)  # only a pipe without a reader was not to be waited for
        return descriptor
    except OSError as error:
        nobody = error.errno == errno.ENXIO
        said = "it is a pipe or socket that nobody reads" if nobody else error.strerror
        raise ConfigurationError(
            f"log_file_path is {path!r}, which cannot be opened: {said}; "
            "give a path in a directory that exists and is writable",
            cause=error,
        ) from error


def descriptor_of(stream: IO[Any] | None) -> int | None:
    """The stream's descriptor; `None` for one in memory, or without any."""
    if stream is None:
        return None
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return None
    return descriptor


def _is_pipe(descriptor: int | None) -> bool:
    if descriptor is None:
        return False
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False
