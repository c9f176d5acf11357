"""From `module:attribute` to the mapping of job types to handlers.

The attribute may be a mapping, an iterable of handlers, a callable that returns one of these, or
an async context manager (or a callable returning one) that yields one: opened on the worker's own
loop, closed when the worker retires. A callable may take one argument, the `WorkerContext`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import ModuleType
from typing import Any

from portico.exceptions import ConfigurationError
from portico.kits.job.handlers import Handlers, handlers_by_type
from portico.ports.worker_context import WorkerContext


def load(target: str) -> Any:
    """Import the application and return what `target` names.

    Raises:
        ConfigurationError: no `module:attribute`, or it cannot be imported or found.
    """
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(
            f"--app is {target!r}: give module:attribute, such as myproject.jobs:app"
        )
    found: Any = import_module(module_name, target)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(
                f"--app is {target!r}: {module_name} has no attribute {attribute!r}"
            ) from None
    return found


def import_module(module_name: str, target: str) -> ModuleType:
    """Import a module, with the current folder on the path.

    Raises:
        ConfigurationError: it cannot be imported; the cause has the traceback.
    """
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(module_name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigurationError(
            f"--app is {target!r}: importing {module_name} failed: {type(error).__name__}: {error}",
            cause=error,
        ) from error


async def open_app(app: Any, context: WorkerContext, stack: AsyncExitStack) -> Handlers:
    """Turn what `load` found into handlers; context managers are entered on `stack`.

    Raises:
        ConfigurationError: what it yields is no registry, or two handlers serve one type.
    """
    if _is_factory(app):
        app = app(context) if _takes_context(app) else app()
    if inspect.isawaitable(app):
        app = await app
    if isinstance(app, AbstractAsyncContextManager):
        app = await stack.enter_async_context(app)
    return handlers_by_type(app, "the app")


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
