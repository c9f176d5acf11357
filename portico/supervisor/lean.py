"""How the processes that are ours alone begin, before they import anything else: for a quick start.

Nothing is collected while they import: what is imported stays. The zygote never collects, and the
supervisor goes back to it once it is up (`garbage`).

structlog looks for Rich, which the `portico` command has for its tables, and loads it with a
highlighter and all. Neither a supervisor nor a zygote has any use for that, and it would take each
of them a tenth of a second and several megabytes, which workers then share. Handlers may import
Rich as ever. Processes of applications, and what handlers start, are left alone: what they make of
structlog and of their garbage is their own.
"""

from __future__ import annotations

import gc
import sys

_HIDDEN = "rich"


def begin() -> None:
    """Stop the collector, and load structlog without Rich."""
    gc.disable()
    if _HIDDEN not in sys.modules and "structlog" not in sys.modules:
        sys.modules[_HIDDEN] = None  # type: ignore[assignment] # read as: not installed
        try:
            import structlog  # noqa: F401
        finally:
            del sys.modules[_HIDDEN]
