"""What each column may hold, and what a row becomes that holds more.

SQLite keeps a value of any type in any column, unless the table is STRICT. So are ours, with CHECKs
of what a type does not tell. Where the library is older than 3.37, which cannot read such tables at
all, nor anything else in their file, CHECKs look at the types as well; there of the columns only
that are written once, for each costs something whenever its column is written. Whoever reads is
careful all the same: SQLite can be told to ignore CHECKs. What each start and end of a job writes
(`_HOT`) has none but its type: a job would cost 3 % more.

The rules are those of version 3 of the schema: another rule is another version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LARGEST = 2**31 - 1
"""Of counts and priorities, as all stores have them."""
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first microsecond of the year 1, and the last one of 9999: what a datetime can be."""
_NAME, _TEXT = 128, 65_536
"""Characters: of names, and of what is told of an attempt, which is much shorter."""


class Rule(NamedTuple):
    """What a column may hold, in SQL."""

    type_: str
    """The condition that it is of its type."""
    limit: str
    """What its type does not tell; empty if that is all."""
    mended: str
    """What it becomes when it holds something else."""
    null: str = ""
    """The condition that it holds nothing, if it may."""
    read: str = ""
    """How it is copied where it is sound, if not as it is."""
    once: bool = False
    """Whether it is written once: when the row is made."""

    @property
    def sound(self) -> str:
        """The whole condition."""
        return self._or_nothing(" AND ".join(filter(None, (self.type_, self.limit))))

    @property
    def limits(self) -> str:
        """The condition on a value of the right type."""
        return self.limit and self._or_nothing(self.limit)

    def _or_nothing(self, condition: str) -> str:
        return f"{self.null} OR {condition}" if self.null else condition


def _typed(column: str, kind: str) -> str:
    return f"typeof({column}) = '{kind}'"


def _nothing(column: str) -> str:
    return f"{column} IS NULL"


def _within(column: str, least: int, most: int, mended: str = "0", *, once: bool = True) -> Rule:
    limit = f"{column} BETWEEN {least} AND {most}"
    return Rule(_typed(column, "integer"), limit, mended, once=once)


def _instant(column: str) -> Rule:
    """Only compared and shown; far from where adding to it would make it no integer."""
    return Rule(_typed(column, "integer"), "", "NULL", _nothing(column))


def _text(column: str, most: int) -> Rule:
    mended = f"substr(CAST(coalesce({column}, '') AS TEXT), 1, {most})"
    return Rule(_typed(column, "text"), f"length({column}) <= {most}", mended, once=True)


def _told(column: str) -> Rule:
    limit = f"length({column}) <= {_TEXT}"
    return Rule(_typed(column, "text"), limit, "NULL", _nothing(column))


def _document(column: str, **more: Any) -> Rule:
    """Text, too, in tables that are not STRICT: who mends a job by hand writes that."""
    read = f"CAST({column} AS BLOB)"
    return Rule(f"typeof({column}) IN ('blob', 'text')", "", read, read=read, **more)


def _bytes(column: str, limit: str, mended: str, **more: Any) -> Rule:
    return Rule(_typed(column, "blob"), limit, mended, **more)


NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
_STATUSES = ("running", "completed", "pending", "retrying", "scheduled", "failed", "dead_letter")
_STATUS = " OR ".join(f"status = '{status}'" for status in _STATUSES)
"""As SQLite does it fastest, those first that come most."""
_COUNTS = ("retry_count", "release_count", "snooze_count", "crash_count", "expiry_count")

JOBS = {
    "id": _bytes("id", "length(id) = 16", "randomblob(16)", once=True),
    "status": Rule(_typed("status", "text"), f"({_STATUS})", "'dead_letter'"),
    "queue_name": _text("queue_name", _NAME),
    "job_type": _text("job_type", _NAME),
    "priority": _within("priority", -LARGEST - 1, LARGEST),
    "max_retries": _within("max_retries", 0, LARGEST),
    "attempt": _within("attempt", 0, LARGEST, once=False),
    **{name: _within(name, 0, LARGEST, once=False) for name in _COUNTS},
    **{name: _within(name, 0, 1) for name in ("suspect", "cancel_requested")},
    "ended_by_attempt": Rule(_typed("ended_by_attempt", "integer"), "", "0"),
    "run_at": Rule(_typed("run_at", "integer"), "", "0"),
    "created_at": _within("created_at", EARLIEST, LATEST, NOW),
    "scheduled_at": _within("scheduled_at", EARLIEST, LATEST, "NULL")._replace(
        null=_nothing("scheduled_at")
    ),
    **{
        name: _instant(name)
        for name in ("snoozed_since", "started_at", "ended_at", "owner_id", "owner_beat")
    },
    "created_by": _bytes(
        "created_by", "length(created_by) = 16", "NULL", null=_nothing("created_by"), once=True
    ),
    "nonce": _bytes("nonce", "length(nonce) <= 64", "NULL", null=_nothing("nonce")),
    "payload": _document("payload", once=True),
    "metadata": _document("metadata", once=True),
    "result": _document("result", null=_nothing("result")),
    **{name: _told(name) for name in ("error_type", "error_message", "traceback", "settled_as")},
}
_HOT = ("status", "attempt", "nonce", "settled_as")
_COUNTED = (
    "(SELECT count(*) FROM portico_jobs job WHERE job.queue_name IS portico_queues.queue_name)"
)
QUEUES = {
    "queue_name": _text("queue_name", _NAME),
    "total": Rule(_typed("total", "integer"), "", _COUNTED),
}
OWNERS = {
    **{name: _text(name, _TEXT) for name in ("name", "boot", "namespace", "started")},
    **{name: Rule(_typed(name, "integer"), "", "0") for name in ("pid", "beat", "renews")},
    "lease_seconds": Rule("typeof(lease_seconds) IN ('integer', 'real')", "", "0"),
}


def sound(rules: Mapping[str, Rule], names: Iterable[str] | None = None) -> str:
    """The condition that a row keeps the rules, of all columns or of these."""
    return " AND ".join(f"({rules[name].sound})" for name in names or rules)


def checks(rules: Mapping[str, Rule], *, strict: bool) -> str:
    """The same as constraints of a table, which knows its types or does not."""
    checked = [rule for name, rule in rules.items() if name not in _HOT and (strict or rule.once)]
    found = (rule.limits if strict else rule.sound for rule in checked)
    return "".join(f",\n    CHECK ({condition})" for condition in found if condition)


def mended(rules: Mapping[str, Rule]) -> dict[str, str]:
    """Each column as it is where that is sound, and as it may be otherwise."""
    return {
        name: f"CASE WHEN {rule.sound} THEN {rule.read or name} ELSE {rule.mended} END"
        for name, rule in rules.items()
    }


ERROR_TYPE, ERROR = "RowDamaged", "the stored row has values that Portico does not write there"
_ENDED = "status IN ('completed', 'failed', 'dead_letter')"
_BURIED = {
    "status": "'dead_letter'", "settled_as": "'quarantine'", "ended_at": NOW, "nonce": "NULL",
    "error_type": f"'{ERROR_TYPE}'", "error_message": f"'{ERROR}'",
    **dict.fromkeys(("attempt", "retry_count", "release_count", "snooze_count",
                     "ended_by_attempt"), "0"),
}  # fmt: skip


def buried() -> dict[str, str]:
    """What each column of a damaged job becomes: sound, and dead-lettered if it has not ended."""
    values = mended(JOBS)
    return values | {
        name: f"CASE WHEN {_ENDED} THEN {values[name]} ELSE {value} END"
        for name, value in _BURIED.items()
    }


def noted(table: str, columns: Iterable[str], number: str | None) -> str:
    """A statement, without its condition, that keeps rows as they are before they are mended."""
    told = " || ', ' || ".join(f"'{name} = ' || quote({name})" for name in columns)
    return (
        "INSERT INTO portico_damaged (table_name, row_number, noted_at, was)\n"
        f"SELECT '{table}', {number or 'NULL'}, {NOW}, {told} FROM {table}"
    )
