"""The systems that are compared, and about how fast each is: that only sets the number of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SECONDS = 5.0
"""How long the work of one run is to last."""
FEWEST = 200


class Peer(NamedTuple):
    """One system on one store. How it is set up stands in its app, in `apps/`."""

    key: str
    """Its name on the command line."""
    name: str
    store: str
    """`memory`, `sqlite`, `postgresql` or `redis`: what Portico on the same is compared with."""
    app: str
    expected: float
    """Jobs per second on two cores, from dequeue to done."""
    requirements: tuple[str, ...] = ()
    """What pip installs for it; nothing: it runs in the interpreter of the benchmark."""
    variant: str = ""

    @property
    def is_portico(self) -> bool:
        """Whether it is what the others are compared with."""
        return self.key.startswith("portico-")

    @property
    def enqueues_first(self) -> bool:
        """Whether jobs are put into a store of its own by another process; pools have none."""
        return self.store != "memory"


_REDIS = "redis[hiredis]"  # its documentation: the C parser is faster, and is used when it is there

PEERS = (
    Peer("portico-memory", "Portico", "memory", "portico_app", 65_000),
    Peer("portico-sqlite", "Portico", "sqlite", "portico_app", 27_000),
    Peer("portico-postgresql", "Portico", "postgresql", "portico_app", 15_000),
    Peer("portico-redis", "Portico", "redis", "portico_app", 25_000),
    Peer("executor", "ProcessPoolExecutor", "memory", "pools_app", 11_000,
         variant="executor"),
    Peer("loky", "loky", "memory", "loky_app", 7_500, ("loky",)),
    Peer("imap", "Pool.imap", "memory", "pools_app", 50_000, variant="imap"),
    Peer("imap-64", "Pool.imap", "memory", "pools_app", 400_000,
         variant="imap-64"),
    Peer("pgqueuer", "PgQueuer", "postgresql", "pgqueuer_app", 20_000,
         ("pgqueuer[asyncpg]", "uvloop")),
    Peer("procrastinate", "Procrastinate", "postgresql", "procrastinate_app", 500,
         ("procrastinate", "psycopg[binary,pool]")),
    Peer("taskiq", "Taskiq", "redis", "taskiq_app", 5_500,
         ("taskiq", "taskiq-redis", _REDIS, "uvloop", "orjson")),
    Peer("dramatiq", "Dramatiq", "redis", "dramatiq_app", 9_000, ("dramatiq[redis]", _REDIS)),
    Peer("huey", "Huey", "redis", "huey_app", 6_000, ("huey", _REDIS)),
    Peer("saq", "SAQ", "redis", "saq_app", 4_000,
         ("saq[redis,hiredis]", "typing_extensions", "uvloop")),  # it imports what it does not name
    Peer("arq", "arq", "redis", "arq_app", 2_500, ("arq", _REDIS, "uvloop")),
    Peer("streaq", "streaQ", "redis", "streaq_app", 2_000, ("streaq", "uvloop")),
    Peer("celery", "Celery", "redis", "celery_app", 900, ("celery[redis]", _REDIS)),
    Peer("rq", "RQ", "redis", "rq_app", 1200, ("rq", _REDIS), "simple"),
    Peer("rq-fork", "RQ", "redis", "rq_app", 120, ("rq", _REDIS), "fork"),
)  # fmt: skip


def named(names: Sequence[str]) -> tuple[Peer, ...]:
    """Those with these keys, or with a key that begins so: `portico` is all of Portico; else all.

    Raises:
        ValueError: there is none for a name.
    """
    for name in names:
        if not any(_is(peer, name) for peer in PEERS):
            keys = ", ".join(peer.key for peer in PEERS)
            raise ValueError(f"there is no {name!r}; there are {keys}")
    return tuple(peer for peer in PEERS if not names or any(_is(peer, name) for name in names))


def jobs_of(peer: Peer, most: int | None = None) -> int:
    """How many jobs make a run of some seconds; never more than `most`, never few."""
    jobs = max(FEWEST, round(peer.expected * SECONDS, -2))
    return int(jobs if most is None else min(jobs, most))


def _is(peer: Peer, name: str) -> bool:
    return peer.key == name.lower() or peer.key.startswith(f"{name.lower()}-")
