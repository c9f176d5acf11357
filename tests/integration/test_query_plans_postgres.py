"""What the hot path asks of PostgreSQL reads what it needs, however many jobs wait or are kept.

The plans are those that ran, inside of the functions too: the server explains itself into its log.
"""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from portico import compose
from tests.support import hot_path
from tests.support.servers import PostgresServer, server_folder

ROWS = 15_000
MOST_ROWS = 20 * hot_path.BATCH
"""That one step of a plan may read of a table, or sort: some batches, and far from all rows."""
EXPLAINING = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
}
_TABLES = {"portico_jobs", "portico_attempts"}
_PER_BATCH = {"Sort", "CTE Scan"}
"""Steps over a batch: one that is taken for each row of it is quadratic."""

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture(scope="module")
def explaining():
    folder = server_folder("plans")
    server = PostgresServer(folder / "server", EXPLAINING)
    server.start()
    url = f"{server.url()}?schema=plans"
    asyncio.run(filled(url))
    server.run("ANALYZE")
    yield server, url
    server.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


async def filled(url):
    queue = compose.job_queue(url)
    await queue.initialize()
    await hot_path.fill(queue, ROWS)
    await queue.close()


async def plans_of(act, server, url):
    """The plans that the act makes the server use."""
    queue = compose.job_queue(url)
    await queue.initialize()
    try:
        await act(queue, await hot_path.lease(queue))  # what is only done the first time
        held = await hot_path.lease(queue)
        begin = len(server.log.read_text())
        await act(queue, held)
        return explained(server.log.read_text()[begin:])  # written before the session answers
    finally:
        await queue.close()


def explained(log):
    """Every plan in a log, as trees of nodes; a line that goes on begins with a tab."""
    found = []
    for part in log.replace("\n\t", "\n").split("plan:\n")[1:]:
        tree, _ = json.JSONDecoder().raw_decode(part)
        found.append((tree["Query Text"], list(nodes(tree["Plan"]))))
    return found


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows_of(node):
    """How many rows a step saw, those that it threw away included."""
    thrown = sum(value for key, value in node.items() if key.startswith("Rows Removed"))
    return (node["Actual Rows"] + thrown) * node["Actual Loops"]


def flaws(query, found):
    for node in found:
        kind, of_a_table = node["Node Type"], node.get("Relation Name") in _TABLES
        if kind == "Seq Scan" and of_a_table:
            yield f"scans {node['Relation Name']}:\n{query}"
        if (of_a_table or kind in _PER_BATCH) and rows_of(node) > MOST_ROWS:
            yield f"{kind} saw {rows_of(node)} rows:\n{query}"


@pytest.mark.parametrize("act", hot_path.ACTS, ids=lambda act: act.__name__)
async def test_the_hot_path_reads_what_it_needs_and_no_more(act, explaining):
    found = await plans_of(act, *explaining)

    on_jobs = [one for one in found if any(n.get("Relation Name") in _TABLES for n in one[1])]
    assert on_jobs
    assert [flaw for query, plan in on_jobs for flaw in flaws(query, plan)] == []


def test_a_scan_would_be_noticed(explaining):
    server, _ = explaining
    begin = len(server.log.read_text())

    server.run("SELECT count(*) FROM plans.portico_jobs WHERE error_type = 'x'")

    [(query, plan)] = explained(server.log.read_text()[begin:])
    assert len(list(flaws(query, plan))) == 2
