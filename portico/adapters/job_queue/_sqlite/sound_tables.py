"""The step of the schema that gives the tables their CHECKs: SQLite can add none to a table that is
there, so each is made anew. Rows that break a rule are kept beside as they are, mended, and their
jobs dead-lettered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from portico.adapters.job_queue._sqlite import sound_rows
from portico.adapters.job_queue._sqlite.sound_rows import Rule

_DAMAGED = """CREATE TABLE portico_damaged (
    seq INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    row_number INTEGER,
    noted_at INTEGER NOT NULL,
    was TEXT NOT NULL
)"""
"""Rows as something else than Portico had left them, for people to read."""
_GO_ON_COUNTING = (
    "DELETE FROM sqlite_sequence WHERE name = 'portico_owners_sound'",
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'portico_owners_sound', seq "
    "FROM sqlite_sequence WHERE name = 'portico_owners'",
)
"""No number of an owner is given out twice."""


class _Table(NamedTuple):
    rules: Mapping[str, Rule]
    mended: Mapping[str, str]
    number: str | None
    """The column by which a row is told from others, if there is one."""


_TABLES = {
    "portico_jobs": _Table(sound_rows.JOBS, sound_rows.buried(), "seq"),
    "portico_queues": _Table(sound_rows.QUEUES, sound_rows.mended(sound_rows.QUEUES), None),
    "portico_owners": _Table(sound_rows.OWNERS, sound_rows.mended(sound_rows.OWNERS), "id"),
}


def script(first: str, *, strict: bool) -> str:
    """The statements, after the script that made the tables.

    Args:
        first: that script.
        strict: whether all who read the file know STRICT tables.
    """
    made = [statement.strip() for statement in first.split(";")]
    steps = [_DAMAGED]
    for name, table in _TABLES.items():
        steps += _made_anew(name, table, made, strict=strict)
    return ";\n".join(steps)


def _made_anew(name: str, table: _Table, made: list[str], *, strict: bool) -> Iterator[str]:
    [before] = (one for one in made if one.startswith(f"CREATE TABLE {name} "))
    head, end, tail = before.rpartition("\n)")
    created = head.replace(name, f"{name}_sound", 1)
    kind = ", ".join(filter(None, (tail.strip(), "STRICT" if strict else "")))
    yield f"{created}{sound_rows.checks(table.rules, strict=strict)}{end} {kind}"
    columns = [line.split()[0] for line in head.splitlines()[1:]]
    damaged = f"({sound_rows.sound(table.rules)}) IS NOT TRUE"
    yield f"{sound_rows.noted(name, columns, table.number)} WHERE {damaged}"
    listed, into = ", ".join(columns), f"INTO {name}_sound"
    noted = f"SELECT row_number FROM portico_damaged WHERE table_name = '{name}'"
    others = f"{table.number} NOT IN ({noted})" if table.number else f"NOT ({damaged})"
    read = ", ".join(_read(table, column) for column in columns)
    yield f"INSERT {into} ({listed}) SELECT {read} FROM {name} WHERE {others}"
    mended = ", ".join(table.mended.get(column, column) for column in columns)
    yield f"INSERT OR IGNORE {into} ({listed}) SELECT {mended} FROM {name} WHERE NOT ({others})"
    if "AUTOINCREMENT" in before:
        yield from _GO_ON_COUNTING
    yield f"DROP TABLE {name}"
    yield f"ALTER TABLE {name}_sound RENAME TO {name}"
    yield from (one for one in made if " INDEX " in one and f"ON {name} " in one)


def _read(table: _Table, column: str) -> str:
    rule = table.rules.get(column)
    return rule.read or column if rule else column
