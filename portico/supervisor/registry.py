"""From `module:attribute` to the mapping of job types to handlers.

The attribute may be a mapping, an iterable of handlers, a callable that returns one of these, or
an async context manager (or a callable returning one) that yields one: opened on the worker's own
loop, closed when the worker retires. A callable may take one argument, the `WorkerContext`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import ModuleType
from typing import Any

from portico.exceptions import ConfigurationError
from portico.kits.job.failures import failure_of
from portico.kits.job.handlers import Handlers, handlers_by_type
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext
from portico.utils import import_path
from portico.utils.logging import get_logger

logger = get_logger(__name__)

_NOT_HERE = " (not from the current folder: Python was started with -P or -I)"


def load(target: str, folder: str = "") -> Any:
    """Import the application and return what `target` names.

    Args:
        target: `module:attribute`.
        folder: where modules are looked for first, from now on; nowhere else unless given.

    Raises:
        ConfigurationError: no `module:attribute`, or it cannot be imported or found.
    """
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(
            f"--app is {target!r}: give module:attribute, such as myproject.jobs:app"
        )
    import_path.put_first(folder)
    found: Any = import_module(module_name, target)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(
                f"--app is {target!r}: {module_name} has no attribute {attribute!r}"
            ) from None
    return found


def preload(target: str) -> None:
    """Call the function `preload` of the module that was loaded, if there is one.

    Raises:
        ConfigurationError: it fails; the cause has the traceback.
    """
    function = getattr(sys.modules[target.partition(":")[0]], "preload", None)
    if callable(function):
        try:
            function()
        except BaseException as error:
            raise _failed(f"--app is {target!r}: preload()", error) from error


def import_module(module_name: str, target: str) -> ModuleType:
    """Import a module.

    Raises:
        ConfigurationError: it cannot be imported; the cause has the traceback.
    """
    try:
        return importlib.import_module(module_name)
    except BaseException as error:
        where = _NOT_HERE if sys.flags.safe_path and isinstance(error, ModuleNotFoundError) else ""
        raise _failed(f"--app is {target!r}: importing {module_name}{where}", error) from error


def _failed(what: str, error: BaseException) -> ConfigurationError:
    """Whatever the application's own code raises, `sys.exit("no database")` too, is its message."""
    reason = failure_of(error)
    told = f": {reason.message}" if reason.message != reason.type else ""
    return ConfigurationError(f"{what} failed: {reason.type}{told}", cause=error)


class Checked(dict[str, JobHandler]):
    """Handlers that were looked at already."""


def checked(app: Any) -> Any:
    """The handlers of an application that is a registry, looked at once for all workers that are
    forked from here: each of them would make copies of the memory that this touches. Anything else
    stays as it is.

    Raises:
        ConfigurationError: it is no registry, or two handlers serve one type.
    """
    if _is_factory(app) or inspect.isawaitable(app) or isinstance(app, AbstractAsyncContextManager):
        return app
    try:
        return Checked(handlers_by_type(app, "the app"))
    except ConfigurationError:
        raise
    except BaseException as error:
        raise _failed("opening the app", error) from error


async def open_app(app: Any, context: WorkerContext, stack: AsyncExitStack) -> Handlers:
    """Turn what `load` found into handlers; context managers are entered on `stack`.

    Raises:
        ConfigurationError: its code raises something, then the cause has the traceback; or what it
            yields is no registry, or two handlers serve one type.
    """
    if type(app) is Checked:
        return app
    try:
        if _is_factory(app):
            app = app(context) if _takes_context(app) else app()
        if inspect.isawaitable(app):
            app = await app
        if isinstance(app, AbstractAsyncContextManager):
            app = await stack.enter_async_context(app)
        return handlers_by_type(app, "the app")
    except ConfigurationError:
        raise
    except BaseException as error:
        raise _failed("opening the app", error) from error


async def close_app(stack: AsyncExitStack) -> None:
    """Exit the context managers on `stack`; what that raises is logged, and changes nothing."""
    try:
        await stack.aclose()
    except BaseException as error:  # noqa: BLE001 - the application may raise anything
        reason = failure_of(error)
        logger.error(
            "app_close_failed",
            error_type=reason.type,
            error=reason.message,
            traceback=reason.traceback,
            note="what the application does after its yield; the worker ends all the same",
        )


def _is_factory(app: Any) -> bool:
    return callable(app) and not isinstance(app, AbstractAsyncContextManager | Mapping)


def _takes_context(factory: Any) -> bool:
    """Whether a factory wants the context: it has a parameter that must be given, or one that is
    called `context`."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return any(
        p.kind in positional and (p.default is inspect.Parameter.empty or p.name == "context")
        for p in parameters
    )
