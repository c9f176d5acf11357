from __future__ import annotations

import pytest

from portico.examples.smtp_settings import SmtpSettings
from portico.exceptions import ConfigurationError


def test_settings_come_from_the_environment() -> None:
    settings = SmtpSettings.from_environment(
        {
            "PORTICO_SMTP_HOST": "mail.example.com",
            "PORTICO_SMTP_PORT": "587",
            "PORTICO_SMTP_SECURITY": "starttls",
            "PORTICO_SMTP_TIMEOUT": "2.5",
            "PORTICO_SMTP_COLOUR": "ignored",
        }
    )

    assert settings == SmtpSettings(
        host="mail.example.com", port=587, security="starttls", timeout=2.5
    )


def test_an_empty_environment_means_a_server_on_this_machine() -> None:
    assert SmtpSettings.from_environment({}) == SmtpSettings(host="localhost", port=25)


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "smtp"), ("SECURITY", "ssl"), ("TIMEOUT", "soon")]
)
def test_a_value_that_is_not_acceptable_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name.lower()):
        SmtpSettings.from_environment({f"PORTICO_SMTP_{name}": value})
