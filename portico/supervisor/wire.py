"""What travels over a worker's two pipes: length-prefixed msgspec frames.

    supervisor ── Hello, Run, Mourn, Recall, Cancel, Stop, Dump, Answer ────────────────────► worker
    supervisor ◄── Ready, Unready, Batch, Done, Ended, Mourned, Recalled, Dumped, Leaving, Request ─

A frame is a MessagePack array led by its type's tag (`framing`). A lease's payload is a byte string
inside of it, and stays one until the worker decodes the job. What a worker sends is not trusted: a
frame that is larger than any of its kind can be, or of the wrong shape, raises `FrameError`, upon
which the worker is killed. How many frames it may send, `intake` and `claims` say.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Annotated

import msgspec
from msgspec import Meta

from portico.ports.document import MAX_PAYLOAD, MAX_STORED
from portico.ports.job_executor import (
    Failed,
    Interrupted,
    Quarantined,
    Released,
    Unroutable,
    Verdict,
)
from portico.ports.leasing import Evidence, Failure, Lease
from portico.supervisor import framing, tray
from portico.supervisor.framing import MAX_FRAME, MessageReader

VERSION = 6
"""Raised with every change of a frame; a supervisor refuses a worker of another version."""

MAX_BODY = MAX_STORED
"""What may be inside of one, beside short fields."""
MAX_REASON = 64 * 1024
"""Characters of why an application cannot be opened."""
MAX_TYPES = 10_000
"""Job types that an application may serve."""
_TYPES = Meta(max_length=MAX_TYPES)
_Own = dict[str, float | None]
MAX_NAME, MOST_NAMES = 300, 5
"""What goes on after an attempt: characters of each name, and how many are told."""
MAX_STACKS = 64 * 1024
"""Characters of the stacks of one worker."""

_WIDEST = 4
"""Bytes of a character."""
_SMALL, _FIELDS = 64, 1024
"""Bytes: of what has numbers alone, and of short fields."""
LARGEST = {
    b"ready": 2 * 1024 * 1024,
    b"unready": 2 * MAX_REASON * _WIDEST + _FIELDS,
    b"batch": tray.ROOM + _SMALL,
    b"done": MAX_PAYLOAD + _SMALL,
    b"ended": 64 * 1024,
    b"mourned": _SMALL,
    b"recalled": 64 * 1024,
    b"leaving": 4 * _FIELDS,
    b"dumped": MAX_STACKS * _WIDEST + _SMALL,
    b"request": MAX_FRAME,
}
"""Bytes of the largest frame that a worker sends of each kind: what decoding it may cost."""

_HEADER = framing.HEADER
_BATCH = Struct(">7sBQBI")
"""The head of a `Batch`: an array of three and its tag, a number of 64 bits, an array's length."""

_NAME, _MESSAGE, _TRACEBACK = 128, 8 * 1024, 16 * 1024
_NO_FAILURE = Failure("", "")
_VERDICTS: dict[str, Callable[[Failure, bool], Verdict]] = {
    "Failed": Failed,
    "Unroutable": lambda failure, _: Unroutable(failure),
    "Quarantined": lambda failure, _: Quarantined(failure),
    "Interrupted": lambda failure, _: Interrupted(failure),
    "Released": lambda *_: Released(),
}


class _Frame(msgspec.Struct, array_like=True, gc=False):
    pass


class Hello(_Frame, tag="hello"):
    """The first frame a worker reads: who it is and how it runs jobs. Durations in seconds."""

    worker: int
    supervisor: int
    concurrency: int
    job_timeout: float | None
    kill_grace: float
    on_failure_timeout: float
    retry_returned_failures: bool
    log_level: str
    max_jobs: int | None = None
    """After so many it leaves by itself, before its replacement is ready."""
    output_key: bytes = b""
    """Marks in its output where that of a job begins: see `printing`."""
    loop: str = "uvloop"
    """What runs its coroutines: uvloop, or asyncio's own."""
    max_job_timeout: float | None = None
    exit_patience: float = 5.0
    """What Python runs at the end of a process has so long."""


class Run(_Frame, tag="run"):
    """Jobs to run in this order; they carry the serials `first`, `first + 1`, and so on."""

    first: int
    leases: list[Lease]


class Mourn(_Frame, tag="mourn"):
    """Run `on_failure` for an attempt whose process is gone."""

    serial: int
    lease: Lease
    failure: Failure


class Recall(_Frame, tag="recall"):
    """Give back all jobs that have not been started; answered by `Recalled`."""


class Cancel(_Frame, tag="cancel"):
    """Cancel one job: given back when not started, else its coroutine is cancelled.

    `requested` says whether a person asked for it, or the supervisor needs its worker.
    """

    serial: int
    requested: bool


class Stop(_Frame, tag="stop"):
    """Finish what runs, close the application and exit 0."""


class Dump(_Frame, tag="dump"):
    """Answer with the stacks of all threads and tasks."""


class Answer(_Frame, tag="answer"):
    """The reply to a `Request`: its value, or the class name and message of a Portico error."""

    number: int
    value: bytes
    error: str | None = None


class Ready(_Frame, tag="ready"):
    """The application is open; jobs may come."""

    version: int
    job_types: Annotated[list[str], _TYPES]
    mourners: Annotated[list[str], _TYPES]
    """The job types whose handler overrides `on_failure`."""
    most_running: Annotated[dict[str, int], _TYPES] = msgspec.field(default_factory=dict)
    """How many jobs may run at a time, of the types that have a limit."""
    alone: Annotated[frozenset[str], _TYPES] = frozenset()
    """The types whose jobs share a worker with nothing."""
    limits: Annotated[dict[str, _Own], _TYPES] = msgspec.field(default_factory=dict)
    """The time limits that types have of their own."""


class Unready(_Frame, tag="unready"):
    """The application cannot be opened, and the worker exits: a configuration error."""

    message: Annotated[str, Meta(max_length=MAX_REASON)]
    traceback: Annotated[str, Meta(max_length=MAX_REASON)]


End = tuple[int, bytes, float]
"""A handler that succeeded: serial, result, run time in seconds."""


class Done(_Frame, tag="done"):
    """The handler succeeded; its result does not fit into a tray."""

    serial: int
    result: bytes
    elapsed: float


class Batch(_Frame, tag="batch"):
    """Handlers that succeeded, one after the other. Batches are numbered from 1 without a gap."""

    number: int
    ends: list[End]


class Ended(_Frame, tag="ended"):
    """The attempt ended otherwise; `kind` is the verdict's class name.

    Sent before `on_failure` runs, with `mourning`, so that a worker which dies in there has
    already told what became of the attempt; `Mourned` follows.
    """

    serial: int
    kind: str
    failure: Failure
    retryable: bool
    elapsed: float
    mourning: bool
    goes_on: Annotated[
        list[Annotated[str, Meta(max_length=MAX_NAME)]], Meta(max_length=MOST_NAMES)
    ] = msgspec.field(default_factory=list)
    """What the attempt has started and could not be ended. No `on_failure` has run, and none will
    in this worker, which is to be killed before anything else happens to the job."""

    @classmethod
    def of(
        cls,
        serial: int,
        verdict: Verdict,
        elapsed: float,
        *,
        mourning: bool,
        evidence: Evidence | None = None,
    ) -> Ended:
        """Put a verdict on the wire, with what was seen of the attempt."""
        failure: Failure = getattr(verdict, "failure", _NO_FAILURE)
        failure = failure._replace(evidence=evidence)
        retryable = isinstance(verdict, Failed) and verdict.retryable
        return cls(serial, type(verdict).__name__, failure, retryable, elapsed, mourning)

    def verdict(self) -> Verdict | None:
        """The verdict that was sent; `None` for a kind that no worker may claim."""
        make = _VERDICTS.get(self.kind)
        return None if make is None else make(_cut(self.failure), self.retryable)


class Mourned(_Frame, tag="mourned"):
    """`on_failure` has ended, one way or the other."""

    serial: int


class Recalled(_Frame, tag="recalled"):
    """These had not been started, and will not be; nor will others, when it is `closing`."""

    serials: list[int]
    closing: bool = False


class Leaving(_Frame, tag="leaving"):
    """Not fit for more jobs: it ends what runs, gives back the rest and exits with code 0."""

    reason: str


class Dumped(_Frame, tag="dumped"):
    """The stacks that `Dump` asked for."""

    text: str


class Request(_Frame, tag="request"):
    """A question of a handler to the store; `verb` and `body` are `requests`' business."""

    number: int
    verb: str
    body: bytes


def _cut(failure: Failure) -> Failure:
    """What a worker says of a failure, no longer than an honest one would: it is logged."""
    return failure._replace(
        type=failure.type[:_NAME],
        message=failure.message[:_MESSAGE],
        traceback=failure.traceback[-_TRACEBACK:],
    )


ToWorker = Hello | Run | Mourn | Recall | Cancel | Stop | Dump | Answer
FromWorker = (
    Ready | Unready | Batch | Done | Ended | Mourned | Recalled | Leaving | Dumped | Request
)

_encoder = msgspec.msgpack.Encoder()
_encode = _encoder.encode


def frame(message: ToWorker | FromWorker) -> bytearray:
    """The bytes of one message."""
    whole = bytearray()
    _encoder.encode_into(message, whole, _HEADER)
    whole[:_HEADER] = (len(whole) - _HEADER).to_bytes(_HEADER, "little")
    return whole


def end_item(serial: int, result: bytes, elapsed: float) -> bytes:
    """One element of a batch, on its own: what a tray holds."""
    return _encode((serial, result, elapsed))


def batch_frame(gathered: tray.Gathered) -> bytes:
    """The bytes of a `Batch` whose elements are encoded already."""
    head = _BATCH.pack(b"\x93\xa5batch", 0xCF, gathered.number, 0xDD, gathered.results)
    size = len(head) + len(gathered.items)
    return size.to_bytes(_HEADER, "little") + head + gathered.items


_of_worker = msgspec.msgpack.Decoder(FromWorker).decode
_of_supervisor = msgspec.msgpack.Decoder(ToWorker).decode
"""Made before workers are forked: to look at all these types would cost each 400 KiB of memory."""


def reader_of_worker() -> MessageReader:
    """Reads what a worker sends."""
    return MessageReader(_of_worker, LARGEST)


def reader_of_supervisor() -> MessageReader:
    """Reads what a supervisor sends."""
    return MessageReader(_of_supervisor)
