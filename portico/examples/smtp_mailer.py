"""Sends mail over SMTP."""

from __future__ import annotations

import asyncio
import smtplib
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from string import Template
from typing import NamedTuple

from portico.examples.smtp_settings import SmtpSettings
from portico.exceptions import ExternalServiceError, NonRetryableError, ValidationError

PERMANENT = 500
"""Reply codes from here on mean that trying again will not help."""


class EmailTemplate(NamedTuple):
    """Subject and body with `$name` in place of the variables."""

    subject: str
    body: str


TEMPLATES = {
    "welcome": EmailTemplate(
        "Welcome, $name", "Hello $name,\n\nyour account is ready: $url\n\nSee you there.\n"
    ),
    "report_ready": EmailTemplate(
        "Your report is ready: $title", "Hello $name,\n\n$title is ready to read: $url\n"
    ),
}


class SmtpMailer:
    """An email service on one SMTP server; a connection per message.

    Headers are set through `email.message`, which refuses line breaks in them, and the recipient
    must be a single address: nothing in a payload can add a header or a second recipient.
    """

    def __init__(
        self, settings: SmtpSettings, templates: dict[str, EmailTemplate] | None = None
    ) -> None:
        self._settings = settings
        self._templates = TEMPLATES if templates is None else templates

    async def send_email(self, *, to: str, subject: str, body: str, key: str) -> None:
        """Send a message; `key` becomes its Message-ID, by which receivers drop duplicates.

        Raises:
            ValidationError: the address or the subject is not acceptable.
            NonRetryableError: the server refused the message for good.
            ExternalServiceError: the server could not be reached or asks to come back later.
        """
        message = self._message(to, subject, body)
        message["Message-ID"] = f"<{key}@{_domain(self._settings.sender)}>"
        await asyncio.to_thread(self._deliver, message)

    async def send_templated_email(
        self, *, to: str, template_id: str, variables: dict[str, str | int | float], key: str
    ) -> None:
        """Fill a template and send it; raises as `send_email` does."""
        template = self._templates.get(template_id)
        if template is None:
            known = ", ".join(sorted(self._templates))
            raise ValidationError(f"template_id is {template_id!r}; known are: {known}")
        try:
            subject = Template(template.subject).substitute(variables)
            body = Template(template.body).substitute(variables)
        except KeyError as error:
            raise ValidationError(f"variables lacks {error}, used by {template_id!r}") from error
        await self.send_email(to=to, subject=subject, body=body, key=key)

    async def send_admin_alert(self, *, subject: str, body: str) -> None:
        """Tell `PORTICO_SMTP_ADMIN`; does nothing when it is not set."""
        if self._settings.admin is not None:
            message = self._message(self._settings.admin, subject, body)
            await asyncio.to_thread(self._deliver, message)

    def _message(self, to: str, subject: str, body: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = self._settings.sender
        message["To"] = _address(to)
        try:
            message["Subject"] = subject
        except ValueError as error:
            raise ValidationError(f"subject: {error}") from error
        message.set_content(body)
        return message

    def _deliver(self, message: EmailMessage) -> None:
        try:
            with self._connect() as server:
                server.send_message(message)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException) as error:
            raise _translated(error) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NonRetryableError(f"the mail server cannot send this: {error}") from error
        except (smtplib.SMTPException, OSError) as error:
            where = f"{self._settings.host}:{self._settings.port}"
            raise ExternalServiceError(f"mail server {where}: {error}") from error

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        kind = smtplib.SMTP_SSL if settings.security == "tls" else smtplib.SMTP
        server = kind(settings.host, settings.port, timeout=settings.timeout)
        try:
            if settings.security == "starttls":
                server.starttls()
            if settings.user is not None:
                server.login(settings.user, settings.password or "")
        except BaseException:
            server.close()
            raise
        return server


def _address(text: str) -> Address:
    try:
        return Address(addr_spec=text)
    except (ValueError, MessageError, IndexError) as error:
        raise ValidationError(f"recipient is {text!r}; give one email address") from error


def _domain(address: str) -> str:
    return address.rpartition("@")[2] or "localhost"


def _translated(
    error: smtplib.SMTPRecipientsRefused | smtplib.SMTPResponseException,
) -> NonRetryableError | ExternalServiceError:
    """Final when the server answered 5xx about this message; a login is not the message's fault."""
    code: int
    reason: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, reason = next(iter(error.recipients.values()))
    else:
        code, reason = error.smtp_code, error.smtp_error
    text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
    final = code >= PERMANENT and not isinstance(error, smtplib.SMTPAuthenticationError)
    verdict = NonRetryableError if final else ExternalServiceError
    return verdict(f"mail server answered {code}: {text}")
