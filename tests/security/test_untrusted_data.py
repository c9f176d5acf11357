"""Data makes nothing run: not what is in a store, on the wire, or in a result."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from portico.exceptions import PorticoError
from portico.kits.job.execution import Execution
from portico.kits.job.failures import error_of
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_executor import Unroutable
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, Lease
from portico.supervisor import wire
from portico.supervisor.link import Link
from tests.security.conftest import APP
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place
from tests.support.waiting import wait_until

PACKAGE = Path(__file__).parents[2] / "portico"
MODULES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN_MODULES = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml",
                     "jsonpickle", "code", "codeop", "xmlrpc"}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "import_string", "execfile"}
IMPORTERS = {
    "supervisor/registry.py": "the name is that of --app, which the operator gives",
    "cli/command.py": "the names are a table of its own verbs",
}
"""May import by a name, since it is no data's."""

NAMES = ["os:system", "os.system", "__class__", "__globals__", "subprocess:Popen", "antigravity",
         "portico.exceptions.NonRetryableError", "builtins:exit"]  # fmt: skip


def calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What is called by a plain name, or as the attribute of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0], node.lineno


@pytest.mark.security("S1")
@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_turns_data_into_code(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert not [found for found in imports(tree) if found[0] in FORBIDDEN_MODULES]
    assert not [found for found in calls(tree) if found[0] in FORBIDDEN_CALLS]
    by_name = "import_module" in ast.dump(tree)
    place = str(module.relative_to(PACKAGE))
    lazy_names_of_the_package = module.name == "__init__.py"
    assert not by_name or place in IMPORTERS or lazy_names_of_the_package, place


@pytest.mark.security("S1")
def test_what_the_search_would_find() -> None:
    tree = ast.parse("from pickle import loads\nimport yaml.loader\neval(data)\n")
    assert {name for name, _ in imports(tree)} <= FORBIDDEN_MODULES
    assert {name for name, _ in calls(tree)} <= FORBIDDEN_CALLS


@pytest.mark.security("S2")
@pytest.mark.parametrize("name", NAMES)
def test_the_type_of_an_error_is_a_text_and_no_class(name: str) -> None:
    before = set(sys.modules)
    error = error_of(Failure(name, "no"))
    assert type(error) is PorticoError
    assert error.details == {"error_type": name}
    assert set(sys.modules) == before


@pytest.mark.security("S2")
@pytest.mark.parametrize("name", NAMES)
async def test_the_code_of_an_answer_is_looked_up_and_never_imported(name: str) -> None:
    class Outbox:
        def send(self, message: wire.Request) -> None:
            reply = wire.Answer(message.number, msgspec.msgpack.encode("no"), name)
            asyncio.get_running_loop().call_soon(link.answered, reply)

    link = Link(Outbox())  # type: ignore[arg-type]
    with pytest.raises(PorticoError) as caught:
        await link.ask("get_job", uuid4(), object)
    assert type(caught.value) is PorticoError


@pytest.mark.security("S3")
@pytest.mark.parametrize("name", NAMES)
async def test_a_job_type_is_looked_up_among_the_handlers_and_never_imported(name: str) -> None:
    before = set(sys.modules)
    lease = Lease(uuid4().bytes, b"t", 1, "default", name, b"{}", 0, 3, 0, None, 0, 0, None, b"{}",
                  None, False)  # fmt: skip
    verdict = await Execution({}).run(lease)
    assert isinstance(verdict, Unroutable)
    assert verdict.failure.type == "UnknownJobType"
    assert set(sys.modules) == before


@pytest.mark.security("S2")
@pytest.mark.security("S3")
async def test_names_in_stored_jobs_start_nothing_in_a_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await queue.enqueue(make_job(job_type=name)) for name in NAMES]
    supervisor = here.supervisor("--workers", "1", app=APP)
    for job in jobs:
        await wait_until(lambda job=job: _status_is(queue, job.id, JobStatus.SCHEDULED))
        record = await queue.inspect(job.id)
        assert record is not None
        assert record.error_type == "UnknownJobType"
    fine = await queue.enqueue(
        make_job(
            job_type="test.python",
            payload={"code": "import sys\nresult = 'antigravity' in sys.modules"},
        )
    )
    assert (await ended(queue, fine.id)).status is JobStatus.COMPLETED
    assert await queue.get_result(fine.id) == {"value": False}
    assert supervisor.process.poll() is None


async def _status_is(queue: JobQueueAdapter, job_id: UUID, status: JobStatus) -> bool:
    job = await queue.get_job(job_id)
    return job is not None and job.status is status


FORGED = {
    "what is no frame": b"\x04\x00\x00\x00\xff\xff\xff\xff",
    "a length that cannot be": b"\xff\xff\xff\xff",
    "a job that it was not given": wire.frame(wire.Done(999_999, b"{}", 0.1)),
    "an end that there is not": wire.frame(
        wire.Ended(1, "os.system", Failure("", ""), True, 0.1, False)
    ),
    "a hook that nobody asked for": wire.frame(wire.Mourned(1)),
    "a job back that it does not hold": wire.frame(wire.Recalled([999_999])),
    "that it is ready, twice": wire.frame(wire.Ready(wire.VERSION, [], [])),
    "a frame of its supervisor": wire.frame(wire.Stop()),
}


@pytest.mark.security("S4")
@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED.keys())
async def test_a_worker_that_sends_what_cannot_be_loses_its_own_job_and_no_other(
    here: Place, queue: JobQueueAdapter, data: bytes
) -> None:
    forger = make_job(job_type="test.forger", payload={"data": data.hex()}, max_retries=0)
    await queue.enqueue(forger)
    supervisor = here.supervisor("--workers", "1", app=APP)
    assert (await ended(queue, forger.id)).status is JobStatus.DEAD_LETTER
    assert await supervisor.event("frame_invalid")
    fine = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, fine.id)).status is JobStatus.COMPLETED
    assert supervisor.process.poll() is None


def _draft(**fields: object) -> Draft:
    return Draft.of(make_job())._replace(**fields)


REQUESTS = {
    "a queue name of control characters": [_draft(queue_name="\x1b[2J\n")],
    "a queue name without end": [_draft(queue_name="q" * 129)],
    "a job type that is none": [_draft(job_type="")],
    "a priority beyond all": [_draft(priority=2**40)],
    "retries below none": [_draft(max_retries=-1)],
    "a payload over the limit": [_draft(payload=b'{"x":"' + b"x" * 2**20 + b'"}')],
    "metadata over the limit": [_draft(metadata=b'{"x":"' + b"x" * 2**16 + b'"}')],
    "a payload too deep": [_draft(payload=b'{"x":' + b"[" * 900 + b"]" * 900 + b"}")],
    "no list at all": {"id": 1},
}


@pytest.mark.security("S4")
async def test_requests_past_the_rules_of_admission_store_nothing(
    here: Place, queue: JobQueueAdapter
) -> None:
    frames = [
        wire.Request(number, "insert", msgspec.msgpack.encode(body))
        for number, body in enumerate(REQUESTS.values(), 1_000_000)
    ]
    frames.append(wire.Request(2_000_000, "exchange", b""))
    frames.append(wire.Request(2_000_001, "close", b""))
    frames.append(wire.Request(2_000_002, "get_job", b"\x91" * 100_000 + b"\xc0"))
    supervisor = here.supervisor("--workers", "1", app=APP)
    data = b"".join(map(wire.frame, frames))
    path = here.folder / "forged"
    path.write_bytes(data)
    code = (
        "import os\n"
        f"data = open({str(path)!r}, 'rb').read()\n"
        "context.job_queue._link._outbox._lock.acquire()\n"
        "fd = context.job_queue._link._outbox._fd\n"
        "while data: data = data[os.write(fd, data):]\n"
        "context.job_queue._link._outbox._lock.release()\n"
    )
    forger = await queue.enqueue(make_job(job_type="test.python", payload={"code": code}))
    assert (await ended(queue, forger.id)).status is JobStatus.COMPLETED
    fine = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, fine.id)).status is JobStatus.COMPLETED
    stats = await queue.all_stats()
    assert {name: found.total for name, found in stats.items()} == {"default": 2}
    assert not supervisor.events("worker_exited")
