"""What a role that may create in a schema lays there for others: functions and operators that match
their calls at least as well as the server's own, and run with their rights."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import psycopg

TYPES = (
    "bigint", "integer", "smallint", "numeric", "double precision", "boolean", "text", "name",
    "bytea", "uuid", "bigint[]", "integer[]", "text[]", "uuid[]", "bytea[]", "boolean[]",
)  # fmt: skip
_SYMBOLS = ("=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "||", "~~")
_MOST_ARGUMENTS = 2

_LAYER = """
CREATE FUNCTION pg_temp.lay(
    place text, names text[], arguments text[], signs text[], lefts text[], rights text[]
) RETURNS void LANGUAGE plpgsql AS $do$
DECLARE
    one record;
    made text := 'CREATE FUNCTION %I.%I(%s) RETURNS boolean LANGUAGE plpgsql AS '
        '$$BEGIN RAISE EXCEPTION ''trapped in %s''; END$$';
BEGIN
    FOR one IN SELECT * FROM unnest(names, arguments) AS trap (name, arguments) LOOP
        EXECUTE format(made, place, one.name, one.arguments, one.name);
    END LOOP;
    FOR one IN SELECT * FROM unnest(signs, lefts, rights) AS trap (sign, a, b) LOOP
        EXECUTE format(
            made, place, 'operator ' || one.sign, concat_ws(', ', one.a, one.b), one.sign
        );
        EXECUTE format(
            'CREATE OPERATOR %I.%s (FUNCTION = %I.%I, LEFTARG = %s, RIGHTARG = %s)',
            place, one.sign, place, 'operator ' || one.sign, one.a, one.b
        );
    END LOOP;
END
$do$"""


def lay_traps(connection: psycopg.Connection, schema: str = "public") -> None:
    """For every function of the server's that Portico's SQL may call, and every operator, one of
    the same name for each choice of arguments; whoever comes upon one gets an error."""
    functions = [
        (name, ", ".join(arguments))
        for name in _called(connection)
        for count in range(_MOST_ARGUMENTS + 1)
        for arguments in product(TYPES, repeat=count)
    ]
    operators = [*product(_SYMBOLS, TYPES, TYPES)]
    connection.execute(_LAYER)
    places = ", ".join(["%s"] + 5 * ["%s::text[]"])
    values = (schema, *_columns(functions), *_columns(operators))
    connection.execute(f"SELECT pg_temp.lay({places})", values)


def _columns(rows: list[tuple[str, ...]]) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _called(connection: psycopg.Connection) -> list[str]:
    """The server's functions that our SQL names."""
    folder = files("portico.adapters.job_queue._postgres")
    texts = [
        one.read_text()
        for part in (folder, folder / "migrations")
        for one in part.iterdir()
        if one.name.endswith((".py", ".sql"))
    ]
    named = sorted(set(re.findall(r"(?<![.\w])([a-z_0-9]+)\(", "\n".join(texts))))
    rows = connection.execute(
        "SELECT DISTINCT proname FROM pg_catalog.pg_proc"
        " WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (%s)",
        (named,),
    )
    return [row[0] for row in rows.fetchall()]
