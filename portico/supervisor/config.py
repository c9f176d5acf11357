"""The supervisor's configuration: one frozen value, checked before the first process starts.

A setting comes from its flag, else from `PORTICO_<FLAG>`, else from `portico.toml` (or
`[tool.portico]` in `pyproject.toml`), else from its default.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from portico.exceptions import ConfigurationError
from portico.supervisor import privileges
from portico.supervisor.parsing import Unusable
from portico.supervisor.privileges import DEFAULT_LIMITS, Limits
from portico.supervisor.settings import DEFAULT_APP, DEFAULT_QUEUE_URL, SETTINGS, Setting
from portico.utils.plain_files import oddity, read_plain
from portico.utils.store_urls import shown

_LARGEST = 1024 * 1024
"""Bytes of a configuration file."""

_FILES = ("portico.toml", "pyproject.toml")
"""Where settings are looked for, in a folder; the first one that is there counts."""
_EXAMPLES = DEFAULT_APP.partition(":")[0].split(".")
_SETTING = {setting.name: setting for setting in SETTINGS}
_WHO = ("user", "group")


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    """How one supervisor runs. Durations in seconds, sizes in bytes."""

    workers: int
    app: str = DEFAULT_APP
    queue_url: str = field(default=DEFAULT_QUEUE_URL, repr=False)
    queues: tuple[str, ...] = ("default",)
    concurrency: int = 1
    drain: bool = False
    job_timeout: float | None = 300.0
    kill_grace: float = 5.0
    max_job_timeout: float | None = None
    shutdown_grace: float = 25.0
    lease: float = 60.0
    max_jobs_per_worker: int | None = None
    max_memory_per_worker: int | None = None
    max_age_per_worker: float | None = None
    memory_ceiling: int | None = None
    min_free_memory: int | None = 64 * 1024 * 1024
    kill_orphans: bool = False
    start_method: str = "zygote"
    loop: str = "uvloop"
    limits: Limits = DEFAULT_LIMITS
    pass_env: tuple[str, ...] = ()
    retry_returned_failures: bool = False
    log_level: str = "INFO"
    log_format: str = "console"
    log_errors: str = "text"
    audit_url: str | None = field(default=None, repr=False)
    pid_file: str | None = None
    user: str | None = None
    group: str | None = None
    umask: int = 0o077
    production: bool = False
    allow_root: bool = False
    check: bool = False


def configure(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> SupervisorConfig:
    """Gather and check the configuration.

    Args:
        flags: the text of each flag that was given, by the setting's name.
        environment: variables; those of the process when left out.
        directory: where `portico.toml` and `pyproject.toml` are looked for; the current one when
            left out.

    Raises:
        ConfigurationError: a value is not usable; it names the value, its source and the way out.
    """
    environment = os.environ if environment is None else environment
    directory = directory or Path.cwd()
    told = {name: _find(_SETTING[name], flags, environment, "", {})[1] for name in _WHO}
    _refuse_files_of(told["user"], told["group"], directory)
    path, table = _file_table(directory)
    values = {}
    for setting in SETTINGS:
        source, text = _find(setting, flags, environment, path, table)
        values[setting.name] = _default(setting) if text is None else _parsed(setting, text, source)
    _refuse_files_of(values["user"], values["group"], directory)
    return _consistent(SupervisorConfig(**values))


def resolve_queue_url(flag: str | None, directory: Path | None = None) -> str:
    """The queue's URL alone, by the same rules, for commands that need nothing else.

    Raises:
        ConfigurationError: the configuration file is not usable.
    """
    setting = _SETTING["queue_url"]
    path, table = _file_table(directory or Path.cwd())
    source, text = _find(setting, {"queue_url": flag}, os.environ, path, table)
    return str(setting.default if text is None else _parsed(setting, text, source))


def _find(
    setting: Setting,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    path: str,
    table: Mapping[str, Any],
) -> tuple[str, str | None]:
    """The source that speaks first for a setting, and its text."""
    if (text := flags.get(setting.name)) is not None:
        return setting.flags[0], text
    if (text := environment.get(setting.variable)) is not None:
        return f"environment variable {setting.variable}", text
    if (value := table.get(setting.name)) is not None:
        return f"{setting.name} in {path}", _as_text(value)
    return "default", None


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)


def _parsed(setting: Setting, text: str, source: str) -> Any:
    try:
        return setting.parse(text)
    except Unusable as way_out:
        value = shown(text) if "://" in text else text  # a store's, in the wrong place
        raise ConfigurationError(
            f"{source} is {value!r}: {way_out}", {"setting": setting.name, "value": value}
        ) from None


def _default(setting: Setting) -> Any:
    return setting.default() if callable(setting.default) else setting.default


def _file_table(directory: Path) -> tuple[str, Mapping[str, Any]]:
    """The settings of the configuration file, and its name for error messages."""
    own, project = (directory / name for name in _FILES)
    if own.is_file() or oddity(own):
        return own.name, _checked_keys(own.name, _load(own))
    if project.is_file():
        place = f"[tool.portico] of {project.name}"
        table = _load(project).get("tool", {}).get("portico", {})
        return place, _checked_keys(place, table)
    return "", {}


def _refuse_files_of(user: str | None, group: str | None, directory: Path) -> None:
    """What the user could write whose rights are to be taken on says nothing here; where that user
    is known by then, it is not even read."""
    if user is not None:
        privileges.refuse_reach(user, group, (str(directory / name) for name in _FILES))


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_plain(path, _LARGEST, links=True).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path.name} cannot be read: {said}") from error


def _checked_keys(place: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    known = {one.name for one in fields(SupervisorConfig)}
    by_name = {key.replace("-", "_"): value for key, value in table.items()}
    for key in by_name:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise ConfigurationError(f"{place} has the unknown setting {key!r}; {hint}")
    return by_name


def _consistent(config: SupervisorConfig) -> SupervisorConfig:
    if config.start_method == "zygote" and sys.platform != "linux":
        raise ConfigurationError(
            f"--start-method zygote needs Linux, this is {sys.platform}; use spawn"
        )
    recycled, ceiling = config.max_memory_per_worker, config.memory_ceiling
    if recycled is not None and ceiling is not None and ceiling <= recycled:
        raise ConfigurationError(
            f"--memory-ceiling is {ceiling} bytes and --max-memory-per-worker {recycled}; a worker "
            "is killed at the ceiling, so give one well above the size at which it is replaced"
        )
    if config.max_jobs_per_worker == 1 and config.concurrency > 1:
        raise ConfigurationError(
            f"--max-jobs-per-worker 1 promises a worker for each job, and --concurrency is "
            f"{config.concurrency}; give --concurrency 1, or more jobs per worker"
        )
    if config.production and config.app.partition(":")[0].split(".")[:2] == _EXAMPLES:
        raise ConfigurationError(
            f"--production refuses the bundled examples, --app {config.app!r}: they fetch any "
            "address and read any file that a job names; give --app yourmodule:app"
        )
    return config
