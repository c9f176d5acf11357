"""What goes into `portico_settle` and `portico_exchange`, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from portico.adapters.job_queue._attempts import stored_attempt, worth_noting
from portico.adapters.job_queue._rows import RUNNING, STATUS, attempt_of, status_of, token_of
from portico.adapters.job_queue._settling import micros_of, told
from portico.ports.job import JobStatus
from portico.ports.leasing import (
    MAX_CRASHES,
    MAX_HISTORY,
    Answer,
    Lease,
    Receipt,
    Settlement,
    Transition,
)

_COMPLETED = Receipt(Answer.OK, JobStatus.COMPLETED)
_LARGEST_ATTEMPT = 2**31
_COLUMNS = 20

_SETTLED, _EXCHANGED = _COLUMNS + 3, 10
"""How many arguments the two functions take."""

ERROR_SENT = "pg_catalog.left(error_message, 8192)"
"""What goes to a worker of the last error: all, unless something else has written a longer one."""
# From the id on, the columns are the fields of a `Lease`.
_EXCHANGE = """
SELECT kind, place, -priority::bigint AS rank, run_at, seq, cancel_requested, status, settled_as,
    nonce,
    pg_catalog.uuid_send(id) AS id, pg_catalog.int4send(attempt) || nonce AS token, attempt,
    queue_name, job_type,
    payload, priority, max_retries, retry_count, scheduled_at, started_at, created_at,
    pg_catalog.uuid_send(created_by) AS created_by, metadata,
    {error} AS error_message, suspect
FROM {schema}.portico_exchange({arguments})"""
# The same columns.
_SETTLE = """
SELECT 'settled' AS kind, place, NULL::bigint AS rank, NULL::bigint AS run_at,
    NULL::bigint AS seq, NULL::boolean AS cancel_requested, status, settled_as, nonce,
    NULL::bytea AS id, NULL::bytea AS token, attempt, changed_queue AS queue_name,
    NULL::text AS job_type, NULL::bytea AS payload, NULL::integer AS priority,
    NULL::integer AS max_retries, NULL::integer AS retry_count, NULL::bigint AS scheduled_at,
    NULL::bigint AS started_at, NULL::bigint AS created_at, NULL::bytea AS created_by,
    NULL::bytea AS metadata, NULL::text AS error_message, NULL::boolean AS suspect
FROM {schema}.portico_settle({arguments})"""


def exchange_statement(schema: str, first: int = 1) -> str:
    """Completes attempts and leases jobs; its arguments are numbered from the first."""
    arguments = _numbers(first, _EXCHANGED)
    return _EXCHANGE.format(schema=schema, arguments=arguments, error=ERROR_SENT)


def settle_statement(schema: str) -> str:
    """Ends attempts in any way."""
    return _SETTLE.format(schema=schema, arguments=_numbers(1, _SETTLED))


def whole_statement(schema: str) -> str:
    """Ends attempts in any way, then does the exchange, which sees what the first has changed."""
    return f"{settle_statement(schema)}\nUNION ALL{exchange_statement(schema, _SETTLED + 1)}"


def _numbers(first: int, count: int) -> str:
    return ", ".join(f"${number}" for number in range(first, first + count))


class Plan(NamedTuple):
    """In which order settlements are made: waves, then completions. Numbers are their places.

    A wave holds each job once, so that settlements of one job count in order.
    """

    waves: list[list[int]]
    completions: list[int]


def plan_of(settlements: Sequence[Settlement]) -> Plan:
    """Sort settlements by how they can be made; each part by id, so that no two batches that meet
    wait for each other."""
    if len({one.id for one in settlements}) == len(settlements):
        plain = [n for n, one in enumerate(settlements) if _is_plain(one)]
        if len(plain) == len(settlements):
            return Plan([], _by_id(settlements, plain))
        others = [n for n, one in enumerate(settlements) if not _is_plain(one)]
        return Plan([_by_id(settlements, others)], _by_id(settlements, plain))
    waves: list[list[int]] = []
    seen: dict[bytes, int] = {}
    for number, settlement in enumerate(settlements):
        turn = seen.get(settlement.id, 0)
        seen[settlement.id] = turn + 1
        if turn == len(waves):
            waves.append([])
        waves[turn].append(number)
    return Plan([_by_id(settlements, wave) for wave in waves], [])


def _is_plain(settlement: Settlement) -> bool:
    return settlement.transition is Transition.COMPLETE and settlement.token is not None


def _by_id(settlements: Sequence[Settlement], numbers: list[int]) -> list[int]:
    ids = [one.id for one in settlements]
    return sorted(numbers, key=ids.__getitem__)


def completion_arguments(settlements: Sequence[Settlement]) -> list[Any]:
    """The first arguments of an exchange: completions with their tokens, each job once."""
    tokens = [settlement.token or b"" for settlement in settlements]
    fences = {token: fence(token) for token in set(tokens)}  # of one grant, nearly always
    return [
        [settlement.id.hex() for settlement in settlements],  # the driver reads it faster
        [fences[token][0] for token in tokens],
        [fences[token][1] for token in tokens],
        [settlement.result for settlement in settlements],
    ]


def settle_arguments(settlements: Sequence[Settlement], channel: str) -> list[Any]:
    """The arguments of `portico_settle`: each job once."""
    rows = [_settle_row(settlement) for settlement in settlements]
    return [*map(list, zip(*rows, strict=True)), MAX_CRASHES, MAX_HISTORY, channel]


def _settle_row(settlement: Settlement) -> tuple[Any, ...]:
    name, token, patience = settlement.transition.value, settlement.token, settlement.patience
    attempt, nonce = (None, None) if token is None else fence(token)
    complete = settlement.transition is Transition.COMPLETE
    failure = None if complete else settlement.failure
    what = told(name, failure)
    seen = stored_attempt(0, None, None, name, failure, 0)
    return (
        UUID(bytes=settlement.id), attempt, nonce, name,
        settlement.result if complete else None,
        micros_of(settlement.delay), None if patience is None else micros_of(patience),
        what.type, what.message, what.traceback, what.last_word,
        worth_noting(settlement), seen.pid, seen.exit_code, seen.signal, bool(seen.oom_suspected),
        seen.run_seconds, seen.worker_cpu_seconds, seen.worker_peak_rss, seen.output,
    )  # fmt: skip


def fence(token: bytes) -> tuple[int, bytes]:
    """The attempt and the random part; of a token that is none of ours, what matches nothing."""
    attempt, nonce = attempt_of(token)
    return (attempt, nonce) if attempt < _LARGEST_ATTEMPT else (-1, nonce)


def completion_receipts(settlements: Sequence[Settlement], rows: Iterable[Any]) -> list[Receipt]:
    """Completed, but for those whose standing the rows tell."""
    receipts = [_COMPLETED] * len(settlements)
    for row in rows:
        number = row["place"] - 1
        receipts[number] = _standing(settlements[number], row)
    return receipts


def settle_receipts(settlements: Sequence[Settlement], rows: Iterable[Any]) -> list[Receipt]:
    """A receipt for each, told by the rows of `portico_settle`."""
    receipts: dict[int, Receipt] = {}
    for row in rows:
        number = row["place"] - 1
        if row["queue_name"] is not None:
            receipts[number] = Receipt(Answer.OK, STATUS[row["status"]])
        else:
            receipts[number] = _standing(settlements[number], row)
    return [receipts[number] for number in range(len(settlements))]


def _standing(settlement: Settlement, row: Any) -> Receipt:
    """Why a settlement changed nothing."""
    status, nonce = row["status"], row["nonce"]
    if status is None:
        return Receipt(Answer.NOT_FOUND, None)
    again = (
        settlement.token is not None
        and nonce is not None
        and settlement.token == token_of(row["attempt"], nonce)
        and status != RUNNING
        and row["settled_as"] == settlement.transition.value
    )
    return Receipt(Answer.ALREADY if again else Answer.LOST, status_of(status))


_CANCEL, _LEASE, _PAYLOAD = 5, 9, 14
_in_order = itemgetter(slice(1, 5))
"""By queue, rank, due time and age."""


def in_order(rows: Iterable[Any]) -> list[Any]:
    """Rows of leases as they should start: RETURNING keeps no order."""
    return sorted(rows, key=_in_order)


def is_too_large(row: Any) -> bool:
    """Whether the documents of a leased row were left where they are."""
    return row[_PAYLOAD] is None


def is_to_stop(row: Any) -> bool:
    """Whether someone asked to stop the job, during an attempt that ended otherwise."""
    return bool(row[_CANCEL])


def leases_of(rows: Sequence[Any]) -> list[Lease]:
    """The leases of rows that were granted."""
    # Past the named tuple's own constructor: this is done for every job.
    return [tuple.__new__(Lease, row[_LEASE:]) for row in rows]
