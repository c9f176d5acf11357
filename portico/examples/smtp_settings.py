"""Where mail goes out, read from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, Self

import msgspec

from portico.exceptions import ConfigurationError

Security = Literal["none", "starttls", "tls"]


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`timeout` is in seconds, for each step of the conversation with the server."""

    host: str = "localhost"
    port: int = 25
    security: Security = "none"
    user: str | None = None
    password: str | None = None
    sender: str = "portico@localhost"
    admin: str | None = None
    timeout: float = 10.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `PORTICO_SMTP_HOST`, `_PORT`, `_SECURITY`, `_USER`, `_PASSWORD`, `_SENDER`,
        `_ADMIN` and `_TIMEOUT`.

        Raises:
            ConfigurationError: a value is not acceptable; the message names the variable.
        """
        prefix = "PORTICO_SMTP_"
        given = {
            field: environment[prefix + field.upper()]
            for field in cls.__struct_fields__
            if prefix + field.upper() in environment
        }
        try:
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{prefix}*: {error}") from error
