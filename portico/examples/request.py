"""Payloads as typed values: what is wrong with one is told before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from portico.exceptions import ValidationError

Request = TypeVar("Request", bound=msgspec.Struct)


def parse(payload: Mapping[str, Any], kind: type[Request]) -> Request:
    """Read a payload as a request; keys that the request does not have are left alone.

    Raises:
        ValidationError: a field is missing or not acceptable; the message names it.
    """
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise ValidationError(f"payload: {error}") from error
