"""What of the sandbox this kernel offers, and what an operator is told of it."""

from __future__ import annotations

from portico import compose
from portico.supervisor.config import SupervisorConfig
from portico.supervisor.privileges import Limits
from portico.supervisor.sandbox import landlock, seccomp
from portico.supervisor.sandbox.enclosure import SHARED_MEMORY, concealed

STORE_IS_WRITABLE = (
    "handlers could change or remove it; give --limits write= folders in which it does not lie"
)


def lacking(limits: Limits) -> list[str]:
    """What these limits want, and the kernel has not: what a handler can do for that."""
    if not limits.sandbox:
        return []
    found = []
    if landlock.version() < landlock.SCOPES:
        found.append("signals to its supervisor and siblings are not refused (Linux 6.12 can)")
    if not seccomp.offered():
        found.append("ptrace, and limits and priorities of others, are left to the system's rules")
    if limits.write:
        found += _lacking_of_writes()
    return found


def _lacking_of_writes() -> list[str]:
    found = []
    if landlock.version() < landlock.RENAMES:
        found.append("no file can be moved to another folder (Linux 5.19 can)")
    if landlock.version() < landlock.TRUNCATION:
        found.append("files elsewhere can be truncated (Linux 6.2 can refuse that)")
    return found


def described(limits: Limits) -> str:
    """One line of what is in force."""
    if not limits.sandbox:
        return "sandbox off: handlers can do to the supervisor what its user can"
    parts = ["looked into by root alone" if concealed(limits) else "workers can be looked into"]
    if landlock.version() >= landlock.SCOPES:
        parts.append("signals only to a worker's own processes")
    if seccomp.offered():
        parts.append("no calls that reach into others")
    parts.append(f"writes below {', '.join(limits.write)}" if limits.write else "writes anywhere")
    missing = lacking(limits)
    told = f"sandbox ok: {'; '.join(parts)}"
    return f"{told}; here a handler can do more: {'; '.join(missing)}" if missing else told


def open_stores(config: SupervisorConfig) -> list[str]:
    """The files of jobs that handlers may write to although `write=` bounds where they may."""
    if not config.limits.write:
        return []
    paths = (*config.limits.write, SHARED_MEMORY)
    urls = (config.queue_url, config.audit_url or "")
    files = [compose.resolved(file) for file in map(compose.sqlite_file, urls) if file]
    return [
        file
        for file in files
        if any(f"{file}/".startswith(f"{path.rstrip('/')}/") for path in paths)
    ]
