"""Values of rows that something else than Portico has written, made what their types say."""

from __future__ import annotations

from typing import Any

_TEXTS = ("queue_name", "job_type")
_PERHAPS_TEXTS = ("error_type", "error_message", "traceback", "owner")
_NUMBERS = (
    "priority", "max_retries", "retry_count", "attempt", "release_count", "snooze_count",
    "crash_count", "expiry_count",
)  # fmt: skip


def text_of(value: object) -> str:
    """A stored text; of what is none, how Python would write it."""
    return value if isinstance(value, str) else repr(value)


def whole_of(value: object) -> int:
    """A stored whole number; of what is none, zero."""
    return value if isinstance(value, int) else 0


def mended(row: object) -> dict[str, Any]:
    """Those fields of a stored job that are no text, or no number, as they should be, with what is
    shown in their place."""
    values = {name: getattr(row, name) for name in (*_TEXTS, *_PERHAPS_TEXTS, *_NUMBERS)}
    texts = {
        name: text_of(values[name])
        for name in (*_TEXTS, *_PERHAPS_TEXTS)
        if type(values[name]) is not str and (values[name] is not None or name in _TEXTS)
    }
    numbers = {name: whole_of(values[name]) for name in _NUMBERS if type(values[name]) is not int}
    return {**texts, **numbers}
