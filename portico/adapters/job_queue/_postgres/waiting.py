"""Counting what waits, also on a connection of the caller's."""

from __future__ import annotations


def waiting_query(schema: str) -> str:
    """Counts the waiting jobs of the queue `$1`; to `$2` of each kind it is exact.

    In the server's own words throughout: a caller's connection may look elsewhere first.
    """
    parts = " UNION ALL ".join(
        f"(SELECT 1 FROM {schema}.portico_jobs WHERE {_same('status', part)}"
        f" AND {_same('queue_name', 'CAST($1 AS pg_catalog.text)')}"
        " LIMIT CAST(CAST($2 AS pg_catalog.text) AS bigint))"
        for part in ("'pending'", "ANY (ARRAY['scheduled', 'retrying'])")
    )
    return f"SELECT pg_catalog.count(*) FROM ({parts}) one"


def _same(column: str, value: str) -> str:
    return f"{column} OPERATOR(pg_catalog.=) {value}"
