"""What handlers print, told apart by job on its way through a pipe that all of a worker write to.

    print ──► stream ──► key │ sizes │ job │ bytes ──► pipe ──► Reader ──► Piece with its job
    C, os.write, programs that a handler starts ────► pipe ──► Reader ──► Piece without one

Python's own streams put each write into a frame that says whose it is: a job's, or nobody's where
the application prints by itself, beside its jobs. All else arrives bare: at the end of a job that
may have written some, a frame claims what nobody has read yet. The key is random: nothing that a
handler prints passes for a frame by chance. It proves nothing, for a handler could find it: what is
read here is for logs and for people, and decides nothing.
"""

from __future__ import annotations

import io
import os
import sys
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fcntl import ioctl
from select import PIPE_BUF
from struct import Struct
from termios import FIONREAD
from typing import Any, NamedTuple

import msgspec

from portico.ports.leasing import Lease
from portico.utils.log_context import current_context

STDOUT = 1
KEY_SIZE = 8
"""Bytes of a key."""
_NO_TEXT = b"\x1e"
"""How a key begins: text hardly ever ends so, and need not wait for what follows."""

_JOB = ("job_id", "job_type", "queue", "attempt")
"""What a line says of its job."""
_HEAD = Struct("<BHH")
"""What the frame says beside its text, the bytes of the job and those of the text."""
_FRAME = KEY_SIZE + _HEAD.size
_OVER, _CLAIM = 1, 2
_LONGEST_JOB = 1024
_ROOM = PIPE_BUF - KEY_SIZE - _HEAD.size - _LONGEST_JOB
"""Bytes of text in a frame: what a pipe takes as one piece, whoever else writes to it."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Job(msgspec.Struct, frozen=True):
    """Whose output it is, as far as that is known; the texts are those of the log."""

    job_id: str | None = None
    job_type: str | None = None
    queue: str | None = None
    attempt: int | None = None

    def facts(self) -> dict[str, Any]:
        """What is known, for a log line."""
        return {name: value for name in _JOB if (value := getattr(self, name)) is not None}


NOBODY = Job()


class Labels:
    """Whose output is being written in this process; its standard streams share it."""

    def __init__(self) -> None:
        self.key = b""
        self._pipe: tuple[int, int] | None = None
        self.nobodys = b""
        """The label of what no job prints."""
        self.unfinished: dict[tuple[bytes, int], JobWriter] = {}
        """Whose last line has no end yet, on which descriptor, and what has written it."""
        self._known: tuple[Mapping[str, Any] | None, bytes] = (None, b"")
        """The context that asked last, and its label: one value, for threads ask, too."""

    def begin(self, key: bytes, pipe: int) -> None:
        """Write frames with this key, from now on, to this pipe: a supervisor reads them there."""
        self.key, self._pipe = key, _identity(pipe)

    def name_nobody(self) -> None:
        """Say from now on of what no job prints that it is none's: jobs print beside it."""
        self.nobodys, self._known = _encode(NOBODY.facts()), (None, b"")

    def read_at(self, fd: int) -> bool:
        """Whether that is so of this descriptor, now: a handler may have put anything there."""
        return self._pipe is not None and _identity(fd) == self._pipe

    def current(self) -> bytes:
        """The job of the task or thread that asks, encoded; empty where that is not to be said."""
        context = current_context()
        known, label = self._known
        if context is not known:
            job = {name: context[name] for name in _JOB if name in context}
            label = _encode(job) if job else self.nobodys
            label = label if len(label) <= _LONGEST_JOB else b""
            self._known = context, label
        return label

    def finish(self, job_id: object) -> None:
        """An attempt has ended: what it wrote last is a line, whether it has an end or not."""
        wanted = str(job_id)
        for label, fd in [key for key in self.unfinished if _is_of(key[0], wanted)]:
            self.unfinished.pop((label, fd)).end(label)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _is_of(label: bytes, job_id: str) -> bool:
    return msgspec.json.decode(label, type=Job).job_id == job_id


class _Pipe(io.RawIOBase):
    """A descriptor that takes bytes, in frames where there is somebody who reads them."""

    def __init__(self, fd: int, labels: Labels) -> None:
        self._fd = fd
        self._labels = labels
        self.label = b""
        """Whose bytes come next."""
        self.name = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data: Any) -> int:
        text = memoryview(data)
        if not (self.label and self._labels.read_at(self._fd)):
            return os.write(self._fd, text)
        taken = text[:_ROOM]
        _put(self._fd, frame(self._labels.key, self.label, bytes(taken)))
        return len(taken)

    def end(self, label: bytes) -> None:
        """Write that there is no more to come from this job."""
        if self._labels.read_at(self._fd):
            _put(self._fd, frame(self._labels.key, label, b"", _OVER))


class JobWriter(io.BufferedWriter):
    """Keeps what one job has written apart from what another one writes after it."""

    def __init__(self, fd: int, labels: Labels) -> None:
        self._pipe = _Pipe(fd, labels)
        super().__init__(self._pipe)
        self._labels = labels

    def write(self, data: Any) -> int:
        """Buffer bytes of the job that runs where this is called."""
        label = self._labels.current()
        if label != self._pipe.label:
            self.flush()
            self._pipe.label = label
        written = super().write(data)
        if label and written and label != self._labels.nobodys:
            line = label, self._pipe.fileno()
            if bytes(memoryview(data)[-1:]) == b"\n":
                self._labels.unfinished.pop(line, None)
            else:
                self._labels.unfinished[line] = self
        return written

    def end(self, label: bytes) -> None:
        """Write what this job has left here, and that it was the last."""
        self.flush()
        self._pipe.end(label)


labels = Labels()
"""Those of this process; a fork takes a copy along."""


def new_key() -> bytes:
    """A key that nobody has used."""
    return _NO_TEXT + os.urandom(KEY_SIZE - len(_NO_TEXT))


def stream(fd: int) -> io.TextIOWrapper:
    """A text stream to a descriptor, which stays open when the stream is closed."""
    return io.TextIOWrapper(
        JobWriter(fd, labels), errors="backslashreplace", line_buffering=True, write_through=True
    )


def frame(key: bytes, label: bytes, text: bytes, said: int = 0) -> bytes:
    """One write of one job, as it goes through the pipe."""
    return b"".join((key, _HEAD.pack(said, len(label), len(text)), label, text))


def opening_words() -> None:
    """The application is open: what it has printed so far is a line, whether it has an end or not,
    and no job's."""
    for text in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the application may have put anything there
            text.flush()
    labels.name_nobody()
    if labels.read_at(STDOUT):
        _put(STDOUT, frame(labels.key, labels.nobodys, b"", _OVER | _CLAIM))


def last_words(lease: Lease, *, alone: bool) -> None:
    """A job has ended, or is about to fail: what it has printed is in the pipe, under its name.

    Bare bytes that are still in there are its own where it ran `alone`; else nobody can tell.
    """
    labels.finish(lease.job_id)
    if alone and labels.read_at(STDOUT) and _unread(STDOUT):
        job = Job(str(lease.job_id), lease.job_type, lease.queue_name, lease.attempt)
        _put(STDOUT, frame(labels.key, _encode(job.facts()), b"", _OVER | _CLAIM))


def _unread(fd: int) -> int:
    """The bytes in a pipe, as far as the system tells."""
    count = array("i", [0])
    try:
        ioctl(fd, FIONREAD, count)
    except OSError:
        return 0
    return count[0]


def _put(fd: int, whole: bytes) -> None:
    """Write all of it: the supervisor may not find a frame without its end."""
    rest = memoryview(whole)
    while rest:
        rest = rest[os.write(fd, rest) :]


class Piece(NamedTuple):
    """Some output, in the order in which it arrived."""

    text: bytes
    job: Job | None
    """`None`: it did not come through Python's streams, so the worker did not say whose it is."""
    over: bool = False
    """The job has nothing more to say."""
    claims: bool = False
    """What came bare before this is its own, too."""


class Reader:
    """Takes the bytes of a pipe apart."""

    def __init__(self, key: bytes = b"") -> None:
        self.key = key
        self._rest = b""
        self._known: tuple[bytes, Job | None] = (b"", None)
        """The label of the last frame, and what it says."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that are whole now; what may be the beginning of a frame is kept."""
        data = self._rest + data
        at, end = 0, len(data)
        while at < end:
            start = data.find(self.key, at) if self.key else -1
            if start < 0:
                held = _beginning(data[-KEY_SIZE:], self.key)
                if end - held > at:
                    yield Piece(data[at : end - held], None)
                at = end - held
                break
            if start > at:
                yield Piece(data[at:start], None)
                at = start
            taken = self._first_frame(data, at)
            if taken is None:
                break
            piece, size = taken
            yield piece
            at += size
        self._rest = data[at:]

    def close(self) -> Iterator[Piece]:
        """What was kept, now that nothing more comes."""
        rest, self._rest = self._rest, b""
        if rest:
            yield Piece(rest, None)

    def _first_frame(self, data: bytes, at: int) -> tuple[Piece, int] | None:
        """The frame that begins here and its size; `None` while its end has not come."""
        if len(data) < at + _FRAME:
            return None
        said, label_size, text_size = _HEAD.unpack_from(data, at + KEY_SIZE)
        text_at = at + _FRAME + label_size
        if label_size > _LONGEST_JOB or text_size > PIPE_BUF:
            return Piece(self.key, None), KEY_SIZE  # no frame of ours
        if len(data) < text_at + text_size:
            return None
        job = self._job(data[at + _FRAME : text_at])
        if job is None:
            return Piece(self.key, None), KEY_SIZE
        text = data[text_at : text_at + text_size]
        piece = Piece(text, job, bool(said & _OVER), bool(said & _CLAIM))
        return piece, _FRAME + label_size + text_size

    def _job(self, label: bytes) -> Job | None:
        """Whose a frame says that it is; mostly the same one's as before. `None`: no label."""
        known, job = self._known
        if label != known:
            try:
                job = msgspec.json.decode(label, type=Job)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                job = None
            self._known = label, job
        return job


def _beginning(data: bytes, key: bytes) -> int:
    """How many bytes at the end may be the first of a key."""
    longest = min(len(data), max(len(key) - 1, 0))
    return next((n for n in range(longest, 0, -1) if key.startswith(data[-n:])), 0)
