"""What a Redis store keeps of a job, and the domain's values: both ways.

All keys begin with `portico:{namespace}:`, where the braces keep them in one slot of a cluster.

| key | what |
|---|---|
| `job:ID` | hash: the job but for what its body has; a field left out has its default |
| `body:ID` | a line of what never changes, the metadata and the payload: what a lease tells, |
| | to be found by one read, and apart, so that the hash stays in its compact form |
| `history:ID` | list of packed attempts that did not succeed |
| `queue:NAME:ready` | sorted set of places: by priority, then due time, then age |
| `queue:NAME:later` | sorted set of places, by due time |
| `queue:NAME:STATUS` | sorted set of ids that ended so, by when |
| `queue:NAME:STATUS:by` | the same by age, of what failed |
| `queue:NAME:counts` | hash: jobs per status |
| `leases` | sorted set of the ids that run, by when the lease ends |
| `all` | sorted set of ids by age |
| `grant:NONCE` | list of ids that one exchange leased, or the mark that none may be leased any |
| | more; gone after a lease length, or an hour |
| `queues`, `cancels`, `seq`, `wake` | names; ids asked to stop; the last number; the channel |
| `version` | of all of this: `VERSION` of the release that stored the first job |
| `damaged:KEY` | what stood under a key and was of another kind; for people |
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Sequence
from typing import Any

import msgspec

from portico.adapters.job_queue._attempts import StoredAttempt, stored_attempt, worth_noting
from portico.adapters.job_queue._rows import COMPLETED, StoredJob, attempt_of, micros, token_of
from portico.adapters.job_queue._settling import micros_of, told
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import Answer, Failure, Lease, Receipt, Renewal, Settlement, Transition

RENEWALS = {
    b"ok": Renewal(Answer.OK), b"cancel": Renewal(Answer.OK, cancel=True),
    b"lost": Renewal(Answer.LOST), b"not_found": Renewal(Answer.NOT_FOUND),
}  # fmt: skip
RECEIPTS = {
    f"{answer.value}:{status.value}".encode(): Receipt(answer, status)
    for answer in Answer
    for status in JobStatus
} | {b"not_found": Receipt(Answer.NOT_FOUND, None)}
"""What the scripts answer, in words."""

_COMPLETE = Transition.COMPLETE
_KNOWN_BY_ROW = 5
"""Fields of an attempt that the script adds: its number, end, times and owner."""

_NUMBERS = {
    "seq": "seq", "priority": "priority", "max_retries": "max", "created_at": "created",
    "run_at": "due", "retry_count": "retries", "release_count": "releases",
    "snooze_count": "snoozes", "crash_count": "crashes", "expiry_count": "expiries",
    "suspect": "suspect", "cancel_requested": "cancel", "ended_by_attempt": "ended_by",
}  # fmt: skip
"""Fields of a row by the names that its hash has for them; one left out is 0, ..."""
_INSTANTS: dict[str, str] = {
    "snoozed_since": "since", "started_at": "started", "ended_at": "ended",
}  # fmt: skip
"""... or `None`, ..."""
_TEXTS: dict[str, tuple[str, Any]] = {
    "queue_name": ("queue", ""), "job_type": ("type", ""), "status": ("status", ""),
    "settled_as": ("ended_as", None), "error_type": ("error_type", None),
    "error_message": ("error", None), "traceback": ("traceback", None), "owner": ("owner", None),
}  # fmt: skip
"""... or what stands beside its name."""

FARTHEST = 10**18
"""Where numbers end, and instants: no date is as far from 1970 in microseconds."""
_ID = re.compile(b"[0-9a-f]{32}")
_TOKEN = re.compile(rb"[0-9a-f]{32}")

_UNREADABLE = Failure("RecordDamaged", "what the store has kept of this attempt cannot be read")

_pack = msgspec.msgpack.Encoder().encode
_unpack_attempt = msgspec.msgpack.Decoder(tuple[int, str, str, str, str, str]).decode
_note = msgspec.json.Encoder().encode
_read_note = msgspec.json.Decoder(list[Any]).decode


def draft_arguments(draft: Draft) -> tuple[Any, ...]:
    """What `insert.lua` takes of one job."""
    return (
        draft.id.hex,
        draft.queue_name,
        draft.job_type,
        draft.priority,
        draft.max_retries,
        _due(draft),
        _body(draft),
    )


def _due(draft: Draft) -> str | int:
    """When it is due; a number with a sign is counted from when the script stores it."""
    if draft.delay is not None:
        return f"+{draft.delay}"
    return "" if draft.scheduled_at is None else micros(draft.scheduled_at)


def _body(draft: Draft) -> bytes:
    """All of a body but its first word, which is the time at which the script stores it.

    With a delay the script puts the instant, too, where `+` stands now.
    """
    scheduled = "+" if draft.delay is not None else _due(draft)
    by = "" if draft.created_by is None else draft.created_by.hex
    metadata = b"" if draft.metadata == b"{}" else draft.metadata
    head = f"{draft.priority} {draft.max_retries} {scheduled} {by} {len(metadata)} {draft.job_type}"
    return b"%b\n%b%b" % (head.encode(), metadata, draft.payload)


def settlement_arguments(settlements: Sequence[Settlement]) -> list[Any]:
    """What `settle.lua` takes: four of each settlement."""
    arguments: list[Any] = []
    for one in settlements:
        job_id, token, transition, result = one[:4]
        body = (result or b"") if transition is _COMPLETE else ending(one)
        arguments += (
            job_id.hex(),
            "" if token is None else token.hex() or "none",
            transition.value,
            body,
        )
    return arguments


def ending(settlement: Settlement) -> bytes:
    """The packed arguments of `end_attempt` in `ending.lua`."""
    note = note_of(settlement.failure) if worth_noting(settlement) else False
    patience = settlement.patience
    return packed_ending(
        settlement.transition.value,
        settlement.failure,
        delay=micros_of(settlement.delay),
        patience=-1 if patience is None else micros_of(patience),
        note=note,
    )


def packed_ending(
    word: str, failure: Failure | None, *, delay: int = 0, patience: int = -1, note: str | bool
) -> bytes:
    """The same for an end that is no settlement. Lua has no `nil` within a list: `false` is it."""
    what = [False if part is None else part for part in told(word, failure)]
    return _pack([*what, delay, patience, note])


def note_of(failure: Failure | None) -> str:
    """What the history says of a failure and of the evidence, as text."""
    return _note(stored_attempt(0, None, None, "", failure, 0)[_KNOWN_BY_ROW:]).decode()


def attempt_of_note(packed: bytes) -> StoredAttempt:
    """One entry of a history; a damaged one says that it is one."""
    try:
        attempt, word, started, ended, owner, note = _unpack_attempt(packed)
        return StoredAttempt(
            attempt, word, number(started.encode()) if started else None, number(ended.encode()),
            owner or None, *_read_note(note),
        )  # fmt: skip
    except (ValueError, TypeError, RecursionError):
        return stored_attempt(0, None, None, "unreadable", _UNREADABLE, 0)


_NO_PAST = (b"0", None, b"0")
"""Of a first attempt: the retries, the last error, and whether the job is a suspect."""
_HEAD = 7
"""Words of a body's line."""
LEASE_WIDTH = 5
"""Fields of a lease, as `grant` in `lease.lua` lists them."""


def leases_of(fields: Sequence[Any], nonce: bytes, started_at: int) -> list[Lease]:
    """The leases that one script granted, given one field after the other."""
    tokens = {attempt: token_of(attempt, nonce) for attempt in set(fields[1::LEASE_WIDTH])}
    return [
        lease_of(row, tokens[row[1]], started_at)
        for row in zip(*[iter(fields)] * LEASE_WIDTH, strict=True)
    ]


def lease_of(fields: Sequence[Any], token: bytes, started_at: int) -> Lease:
    """The lease that a script tells of: from the id on, as `grant` in `lease.lua` lists it."""
    job_id, attempt, queue, body, past = fields
    retries, error, suspect = past or _NO_PAST
    created, priority, most, scheduled, by, job_type, metadata, payload = opened(body)
    return tuple.__new__(  # past the named tuple's own __new__, which costs as much again
        Lease,
        (
            unhexlify(job_id),
            token,
            attempt,
            queue.decode("utf-8", "replace"),
            job_type.decode("utf-8", "replace"),
            payload,
            number(priority),
            number(most),
            number(retries),
            number(scheduled) if scheduled else None,
            started_at,
            number(created),
            _id(by) if by else None,
            metadata,
            None if error is None else error.decode("utf-8", "replace"),
            suspect == b"1",
        ),
    )


def opened(body: bytes) -> tuple[bytes, ...]:
    """The words of a body's line but for a length, then the metadata and the payload.

    A body that has no such line is a payload: it is left to whoever decodes that to complain.
    """
    end = body.find(b"\n")
    head = body[:end].split(b" ", _HEAD - 1) if end > 0 else []
    if len(head) != _HEAD:
        return b"", b"", b"", b"", b"", b"", b"{}", body
    created, priority, most, scheduled, by, size, job_type = head
    first = end + 1
    if size == b"0":
        return created, priority, most, scheduled, by, job_type, b"{}", body[first:]
    last = first + number(size)
    return created, priority, most, scheduled, by, job_type, body[first:last], body[last:]


def number(value: bytes | None) -> int:
    """A damaged number counts as 0, as it does in the scripts: one row must not stop the others."""
    try:
        found = int(value or 0)
    except ValueError:
        return 0
    return found if -FARTHEST < found < FARTHEST else 0


def token_in(value: bytes | None) -> bytes:
    """A token as a hash has it; a damaged one is empty, as that of nobody."""
    return unhexlify(value) if value and _TOKEN.fullmatch(value) else b""


def _id(value: bytes | None) -> bytes | None:
    if value is None or not _ID.fullmatch(value):
        return None
    return unhexlify(value)


def lost_row(job_id: bytes, kind: str, body: bytes | None) -> StoredJob:
    """What to show of a job whose key is of another kind than a row, before a script buries it."""
    created, priority, most, _, _, job_type, _, _ = opened(body or b"")
    words = f"its row is lost: job:{job_id.hex()} is of the type {kind}"
    pairs = (
        b"status", b"dead_letter", b"error_type", b"RowDamaged", b"error", words.encode(),
        b"type", job_type, b"priority", priority, b"max", most, b"created", created,
    )  # fmt: skip
    return stored_job(job_id, pairs, body)


def stored_job(job_id: bytes, pairs: Sequence[bytes], body: bytes | None) -> StoredJob:
    """A row, from its hash as a script returns it and its payload."""
    row = {
        name.decode("utf-8", "replace"): value
        for name, value in zip(pairs[::2], pairs[1::2], strict=True)
    }
    numbers: dict[str, Any] = {field: number(row.get(name)) for field, name in _NUMBERS.items()}
    instants: dict[str, Any] = {
        field: number(row[name]) if name in row else None for field, name in _INSTANTS.items()
    }
    texts: dict[str, Any] = {
        field: row[name].decode("utf-8", "replace") if name in row else default
        for field, (name, default) in _TEXTS.items()
    }
    token = token_in(row.get("token"))
    attempt, nonce = attempt_of(token)
    _, _, _, scheduled, by, _, metadata, payload = opened(body or b"")
    if texts["status"] == COMPLETED:  # what `complete` in `ending.lua` does not write down
        texts["settled_as"], numbers["ended_by_attempt"] = _COMPLETE.value, 1
    return StoredJob(
        id=job_id,
        payload=payload,
        metadata=metadata,
        scheduled_at=number(scheduled) if scheduled else None,
        result=row.get("result"),
        created_by=_id(by),
        attempt=attempt,
        nonce=nonce if token else None,
        **numbers,
        **instants,
        **texts,
    )


def seconds_until(now: bytes, due: bytes) -> float | None:
    """From the server's time to another one, in its words; `None` where there is none."""
    return max(0, int(due) - int(now)) / 1_000_000 if due else None
