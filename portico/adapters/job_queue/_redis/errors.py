"""The errors of Redis, and of its driver, in Portico's words."""

from __future__ import annotations

import re

from redis import exceptions as trouble

from portico.adapters.job_queue._redis.place import RedisPlace
from portico.exceptions import ConfigurationError, DatabaseError, PorticoError, QueueConnectionError

_PASSING = {
    "LOADING": "it is loading its data",
    "READONLY": "it is a replica and takes no writes",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "its cluster is moving the keys",
    "UNBLOCKED": "it has become a replica",
    "NOREPLICAS": "it has too few replicas to take writes",
    "BUSY": "it is busy with a script",
    "MISCONF": "it cannot save its data, and therefore takes no writes; see its log",
    "OOM": "its memory is full (maxmemory); nothing was changed, purge jobs or give it more",
    "FAILOVER": "it is being replaced by another",
    "MAXCLIENTS": "it takes no more clients; raise its maxclients",
    "DENIED": "it takes clients of its own machine only (protected-mode)",
}
_CODE = re.compile("-?([A-Z]+)")
_CODES = (
    (trouble.OutOfMemoryError, "OOM"), (trouble.ReadOnlyError, "READONLY"),
    (trouble.BusyLoadingError, "LOADING"), (trouble.MasterDownError, "MASTERDOWN"),
    (trouble.ClusterDownError, "CLUSTERDOWN"), (trouble.TryAgainError, "TRYAGAIN"),
)  # fmt: skip
"""What the driver has a class for, it tells without its code."""


def translated(error: BaseException, place: RedisPlace) -> PorticoError:
    """A driver's error in the words of the port."""
    if isinstance(error, trouble.RedisClusterException) and error.__cause__ is not None:
        error = error.__cause__  # what the last node that was asked had to say
    said = str(error) or type(error).__name__
    code = match[1] if (match := _CODE.match(said)) else ""
    code = next((name for kind, name in _CODES if isinstance(error, kind)), code)
    code = "MAXCLIENTS" if "max number of clients" in said else code
    refused = _refused(error, code, said, place)
    if refused is not None:
        what, text = refused
        return ConfigurationError(text, {"reason": what})
    cause = error if isinstance(error, Exception) else None
    if code in _PASSING:
        reason = "full" if code == "OOM" else code.lower()
        text = f"{place} cannot be used right now: {_PASSING[code]}"
        return QueueConnectionError(text, {"reason": reason}, cause)
    if isinstance(error, trouble.TimeoutError | TimeoutError):
        text = f"{place} did not answer within {place.timeout:g} s"
        return QueueConnectionError(text, {"reason": "timeout"}, cause)
    if isinstance(error, trouble.ResponseError) and not isinstance(error, trouble.ClusterError):
        return DatabaseError(f"{place}: {said}", cause=cause)
    text = f"{place} cannot be reached: {said}"
    return QueueConnectionError(text, {"reason": "unreachable"}, cause)


def _refused(
    error: BaseException, code: str, said: str, place: RedisPlace
) -> tuple[str, str] | None:
    """What waiting does not mend, unless the server was well before: for programs, and in words."""
    if isinstance(error, trouble.AuthenticationError) or code in ("WRONGPASS", "NOAUTH"):
        return "login", (
            f"{place} refuses the user or the password ({said}); correct them in the queue's "
            "URL: redis://user:password@host:6379/0, a password alone as redis://:password@host"
        )
    may_not = "user executing the script can't" in said  # the script itself it may run
    if may_not or isinstance(error, trouble.NoPermissionError) or code == "NOPERM":
        return "rights", (
            f"{place}: this user may not do what a queue needs ({said}); with ACLs, allow it "
            f"~{place.prefix}* &{place.prefix}* +@all -@admin -@dangerous +info"
        )
    if isinstance(error, trouble.MovedError) and place.kind != "cluster":
        return "cluster", (
            f"{place} is one node of a cluster, and the jobs belong on another ({said}); give "
            "redis+cluster://host:6379"
        )
    if "DB index" in said:
        return "database", f"{place} has no database {place.database} ({said})"
    if "certificate" in said.lower():
        return "certificate", (
            f"{place}: its certificate does not verify ({said}); give the authority that "
            "signed it with tls_ca=FILE, and the host name that it was made for"
        )
    return None
